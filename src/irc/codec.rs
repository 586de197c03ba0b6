//! Bytes in chunks become lines; bytes that aren't UTF-8 become text.
//!
//! [`Framing`] belongs to the link that owns the socket. It keeps only what a chunk ended in the middle of, and no
//! memory at all between whole lines, so that thousands of quiet links cost nothing here.

use std::borrow::Cow;

use encoding_rs::Encoding;

/// The longest tags of a line, `@` and blank included: <https://ircv3.net/specs/extensions/message-tags#size-limit>.
const MAX_TAGS: usize = 8191;

/// Cuts a stream of bytes into lines.
#[derive(Debug)]
pub struct Framing {
    partial: Vec<u8>,
    limit: usize,
    /// Whether the rest of a line that was too long is being thrown away.
    skipping: bool,
    dropped: u64,
}

impl Default for Framing {
    fn default() -> Self {
        Self { partial: Vec::new(), limit: MAX_TAGS + super::wire::MAX_LINE, skipping: false, dropped: 0 }
    }
}

impl Framing {
    /// Allows lines of `linelen` bytes (the server's LINELEN) beside their tags.
    pub fn set_linelen(&mut self, linelen: usize) {
        self.limit = MAX_TAGS + linelen;
    }

    /// Takes a chunk, and gives each line that ends in it to `line`, without its LF or CR LF. Empty lines are left
    /// out. A line over the limit is dropped up to its end, and counted.
    pub fn feed<'a>(&mut self, chunk: &'a [u8], mut line: impl FnMut(&[u8])) {
        let mut rest: &'a [u8] = chunk;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (head, tail) = (&rest[..end], &rest[end + 1..]);
            rest = tail;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            if self.partial.len() + head.len() > self.limit {
                self.partial = Vec::new();
                self.dropped += 1;
            } else if self.partial.is_empty() {
                whole(head, &mut line);
            } else {
                let mut partial = std::mem::take(&mut self.partial);
                partial.extend_from_slice(head);
                whole(&partial, &mut line);
            }
        }
        if self.skipping || rest.is_empty() {
            return;
        }
        if self.partial.len() + rest.len() > self.limit {
            self.partial = Vec::new();
            self.dropped += 1;
            self.skipping = true;
        } else {
            self.partial.extend_from_slice(rest);
        }
    }

    /// How many lines were too long, so far.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }
}

fn whole(bytes: &[u8], line: &mut impl FnMut(&[u8])) {
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    if !bytes.is_empty() {
        line(bytes);
    }
}

/// The encoding of a label from the configuration; windows-1252 if there is none of that name.
#[must_use]
pub fn encoding(label: &str) -> &'static Encoding {
    Encoding::for_label(label.as_bytes()).unwrap_or(encoding_rs::WINDOWS_1252)
}

/// Text as it was meant: UTF-8, else `fallback` (R14). Never fails.
///
/// A line that a server cut at its byte limit may end inside a character, which is left out. Only what has whole
/// characters of several bytes before is known to be UTF-8 then: `caf\xe9` has not.
#[must_use]
pub fn decode<'a>(bytes: &'a [u8], fallback: &'static Encoding) -> Cow<'a, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(error) if error.error_len().is_none() && !bytes[..error.valid_up_to()].is_ascii() => {
            String::from_utf8_lossy(&bytes[..error.valid_up_to()])
        }
        Err(_) => fallback.decode_without_bom_handling(bytes).0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(chunks: &[&[u8]]) -> (Vec<Vec<u8>>, Framing) {
        let mut framing = Framing::default();
        let mut lines = Vec::new();
        for chunk in chunks {
            framing.feed(chunk, |line| lines.push(line.to_vec()));
        }
        (lines, framing)
    }

    #[test]
    fn lf_and_cr_lf_end_lines_wherever_the_chunks_end() {
        let (got, framing) = lines(&[b"PING a\r\nPING", b" b\nPI", b"NG c\r", b"\n\r\n\nrest"]);
        assert_eq!(got, [b"PING a", b"PING b", b"PING c"]);
        assert_eq!(framing.partial, b"rest");
    }

    #[test]
    fn nothing_is_held_between_whole_lines() {
        let (_, framing) = lines(&[b"PING", b" a\r\n"]);
        assert_eq!(framing.partial.capacity(), 0);
    }

    #[test]
    fn a_line_over_the_limit_is_dropped_and_counted_and_the_next_one_read() {
        let long = vec![b'x'; 100_000];
        for chunk in [1000, 5000, 100_000] {
            let mut chunks: Vec<&[u8]> = long.chunks(chunk).collect();
            chunks.push(b"tail\r\nPING a\r\n");
            let (got, framing) = lines(&chunks);
            assert_eq!(got, [b"PING a"]);
            assert_eq!(framing.dropped(), 1);
            assert_eq!(framing.partial.capacity(), 0);
        }
        let mut full = vec![b'x'; 8191 + 512];
        full.push(b'\n');
        assert_eq!(lines(&[&full]).0.len(), 1);
    }

    #[test]
    fn r14_what_is_no_utf8_is_read_in_the_networks_encoding() {
        assert_eq!(decode("grün".as_bytes(), encoding("windows-1252")), "grün");
        assert_eq!(decode(b"gr\xfcn \x80", encoding("windows-1252")), "grün €");
        assert_eq!(decode(b"\xc0\xd2", encoding("koi8-r")), "юр");
        assert_eq!(decode(b"\xfc", encoding("no such thing")), "ü");
    }

    #[test]
    fn r14_a_line_that_was_cut_inside_a_character_loses_no_other() {
        for (bytes, cut, text) in [
            ("привет, мир", 1, "привет, ми"),
            ("schön 🫖", 1, "schön "),
            ("schön 🫖", 3, "schön "),
            ("grün", 0, "grün"),
        ] {
            let bytes = &bytes.as_bytes()[..bytes.len() - cut];
            assert_eq!(decode(bytes, encoding("windows-1252")), text);
        }
        assert_eq!(decode(b"caf\xe9", encoding("windows-1252")), "café");
        assert_eq!(decode(b"gr\xfc\xdf d\xe9j\xe0", encoding("windows-1252")), "grüß déjà");
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_cut_makes_no_difference(
            bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..300),
            size in 1_usize..40,
        ) {
            let whole = lines(&[&bytes]).0;
            let chunked = lines(&bytes.chunks(size).collect::<Vec<_>>()).0;
            prop_assert_eq!(whole, chunked);
        }
    }
}
