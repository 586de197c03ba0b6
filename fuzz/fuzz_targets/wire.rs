//! Any bytes as a line from IRC, and any text as the parameters of every command to it.
#![no_main]

use footbridge::irc::wire::{Illegal, Line, LineWriter, MAX_LINE, unescape};
use libfuzzer_sys::fuzz_target;

type Write<'a> = &'a dyn Fn(LineWriter<'_>) -> Result<(), Illegal>;

/// Every constructor: the command it makes, and the parameters that must come back, if it isn't refused. `tests/fuzz.rs`
/// notices when one is missing.
fn every_constructor<'a>(a: &'a str, b: &'a str, c: &'a str, mut check: impl FnMut(&str, &[&str], Write<'_>)) {
    check("PRIVMSG", &[a, b], &|w| w.privmsg(a, b));
    check("NOTICE", &[a, b], &|w| w.notice(a, b));
    check("TOPIC", &[a, b], &|w| w.topic(a, b));
    check("TOPIC", &[a], &|w| w.ask_topic(a));
    check("NAMES", &[a], &|w| w.names(a));
    check("MODE", &[a], &|w| w.ask_modes(a, None));
    check("MODE", &[a, "+b"], &|w| w.ask_modes(a, Some('b')));
    check("WHO", &[a, "%tcna,7"], &|w| w.who_accounts(a, 7));
    check("KICK", &[a, b, c], &|w| w.kick(a, b, Some(c)));
    check("KICK", &[a, b], &|w| w.kick(a, b, None));
    check("MODE", &[a, "+b-o", b, c], &|w| w.modes(a, "+b-o", &[b, c]));
    check("MODE", &[a, b], &|w| w.modes(a, b, &[]));
    check("INVITE", &[a, b], &|w| w.invite(a, b));
    check("PART", &[a, b], &|w| w.part(a, Some(b)));
    check("PART", &[a], &|w| w.part(a, None));
    check("JOIN", &[a], &|w| w.join(&[(a, None)]));
    check("JOIN", &[a, b], &|w| w.join(&[(a, Some(b))]));
    // Channels with keys go first.
    check("JOIN", &[&format!("{b},{a}"), c], &|w| w.join(&[(a, None), (b, Some(c))]));
    check("JOIN", &[&format!("{a},{b}"), &format!("{b},{c}")], &|w| w.join(&[(a, Some(b)), (b, Some(c))]));
    check("NICK", &[a], &|w| w.nick(a));
    check("PASS", &[a], &|w| w.pass(a));
    check("USER", &[a, "0", "*", b], &|w| w.user(a, b));
    check("QUIT", &[a], &|w| w.quit(a));
    check("PING", &[a], &|w| w.ping(a));
    check("PONG", &[a], &|w| w.pong(a.as_bytes()));
    check("CAP", &[a, b], &|w| w.cap(a, Some(b)));
    check("CAP", &[a], &|w| w.cap(a, None));
    check("AUTHENTICATE", &[a], &|w| w.authenticate(a));
    check("LIST", &[a, b, c], &|w| w.line("LIST", &[a, b], Some(c)));
}

/// The line without its tags and its end, which must be the only one.
fn one_line(wire: &[u8], limit: usize, label: Option<u64>) -> &[u8] {
    let tags = label.map(|label| format!("@label={label} ")).unwrap_or_default();
    let line = wire.strip_prefix(tags.as_bytes()).expect("the label is in front");
    assert!(line.len() <= limit, "{} bytes of {limit}", line.len());
    let body = line.strip_suffix(b"\r\n").expect("a line has its end");
    assert!(!body.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)), "{body:?}");
    body
}

fuzz_target!(|input: (&[u8], &str, &str, &str, u16, Option<u64>)| {
    let (bytes, a, b, c, limit, label) = input;
    if let Ok(line) = Line::parse(bytes) {
        let _ = (line.nick(), line.numeric(), line.param(0), line.last_param(), line.tags.get("time").map(unescape));
        assert!(line.params().count() <= bytes.len());
    }
    // Mostly the usual limit; sometimes one that cuts and refuses what it can.
    let limit = if limit < 600 { usize::from(limit) } else { MAX_LINE };
    every_constructor(a, b, c, |command, params, write| {
        let mut wire = Vec::new();
        if write(LineWriter::new(&mut wire, limit).labelled(label)).is_err() {
            assert!(wire.is_empty(), "{command}: a refused line leaves nothing behind");
            return;
        }
        let read = Line::parse(one_line(&wire, limit, label)).expect("what we write, we can read");
        assert!(read.source.is_none() && read.command == command.as_bytes());
        assert_eq!(read.params().count(), params.len(), "{command}: another number of parameters");
        for (at, (read, meant)) in read.params().zip(params).enumerate() {
            let cut = at + 1 == params.len() && meant.as_bytes().starts_with(read) && std::str::from_utf8(read).is_ok();
            assert!(read == meant.as_bytes() || cut, "{command}: {meant:?} became {read:?}");
        }
    });
    // What a server asks to have said back need not be text.
    let mut wire = Vec::new();
    if LineWriter::new(&mut wire, limit).labelled(label).pong(bytes).is_ok() {
        assert_eq!(Line::parse(one_line(&wire, limit, label)).map(|line| line.param(0)), Ok(bytes));
    }
    // A command is a word, whoever names it.
    let mut wire = Vec::new();
    if LineWriter::new(&mut wire, limit).labelled(label).line(a, &[b], Some(c)).is_ok() {
        assert_eq!(Line::parse(one_line(&wire, limit, label)).map(|line| line.command), Ok(a.as_bytes()));
    }
});
