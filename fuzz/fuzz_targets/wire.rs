//! Any bytes as a line from IRC, and as the parameters of a command to it.
#![no_main]

use footbridge::irc::wire::{Line, LineWriter, MAX_LINE};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|parts: (&[u8], &str, Vec<&str>, Option<&str>)| {
    let (bytes, command, middles, trailing) = parts;
    if let Ok(line) = Line::parse(bytes) {
        let _ = (line.nick(), line.numeric(), line.param(0), line.last_param());
    }
    let mut wire = Vec::new();
    match LineWriter::new(&mut wire, MAX_LINE).line(command, &middles, trailing) {
        Ok(()) => {
            let line = wire.strip_suffix(b"\r\n").expect("a line has its end");
            assert!(wire.len() <= MAX_LINE && !line.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)));
            let read = Line::parse(line).expect("what we write, we can read");
            assert_eq!(read.param(middles.len()), trailing.unwrap_or_default().as_bytes());
        }
        Err(_) => assert!(wire.is_empty(), "a refused line leaves nothing behind"),
    }
});
