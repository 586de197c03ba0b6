//! IRC lines as bytes: the tokeniser of what comes in, and the only maker of what goes out.
//!
//! [`Line`] reads any bytes without copying and never panics. [`LineWriter`] takes typed parameters and refuses
//! whatever would become a second line or another parameter (R104). Nothing outside this folder knows the `irc` crate,
//! which lends us the names of the [`numeric`]s and, in tests, a second opinion on parsing.
//!
//! To send another command, add a constructor to [`LineWriter`] and a row to `every_constructor` in the tests.
//! Grammar: <https://modern.ircdocs.horse/#message-format>, tags: <https://ircv3.net/specs/extensions/message-tags>.

pub mod numeric;
mod writer;

use std::borrow::Cow;

pub use writer::{Illegal, LineWriter};

/// The longest line that every server takes, CR LF included.
pub const MAX_LINE: usize = 512;

/// Why bytes are no IRC line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// NUL, or a CR or LF that ends nothing.
    #[error("a NUL, CR or LF inside the line")]
    Control,
    /// No command, or one that isn't letters or three digits.
    #[error("no command where one should be")]
    Command,
}

/// One line, without its CR LF, taken apart without copying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// The tags, undivided.
    pub tags: Tags<'a>,
    /// Who sent it (`nick!user@host` or a server), without the colon.
    pub source: Option<&'a [u8]>,
    /// The command or numeric, as it was written.
    pub command: &'a [u8],
    params: &'a [u8],
}

impl<'a> Line<'a> {
    /// Takes `line` apart. Any number of blanks may stand wherever one may.
    pub fn parse(line: &'a [u8]) -> Result<Self, Malformed> {
        if memchr::memchr3(0, b'\r', b'\n', line).is_some() {
            return Err(Malformed::Control);
        }
        let mut rest = skip_blanks(line);
        let mut tags = Tags(&[]);
        if let Some(tagged) = rest.strip_prefix(b"@") {
            let (word, after) = word(tagged);
            (tags, rest) = (Tags(word), after);
        }
        let mut source = None;
        if let Some(sourced) = rest.strip_prefix(b":") {
            let (word, after) = word(sourced);
            (source, rest) = (Some(word), after);
        }
        let (command, params) = word(rest);
        let letters = command.iter().all(u8::is_ascii_alphabetic);
        let digits = command.len() == 3 && command.iter().all(u8::is_ascii_digit);
        if command.is_empty() || !(letters || digits) {
            return Err(Malformed::Command);
        }
        Ok(Self { tags, source, command, params })
    }

    /// The parameters, however many.
    #[must_use]
    pub const fn params(&self) -> Params<'a> {
        Params(self.params)
    }

    /// The parameter at `index`, from 0; empty if there is none.
    #[must_use]
    pub fn param(&self, index: usize) -> &'a [u8] {
        self.params().nth(index).unwrap_or_default()
    }

    /// The last parameter; empty if there is none.
    #[must_use]
    pub fn last_param(&self) -> &'a [u8] {
        self.params().last().unwrap_or_default()
    }

    /// The command's number, if it is a numeric.
    #[must_use]
    pub fn numeric(&self) -> Option<u16> {
        if !self.command[0].is_ascii_digit() {
            return None;
        }
        Some(self.command.iter().fold(0, |n, digit| n * 10 + u16::from(digit - b'0')))
    }

    /// The nick of the sender; the server's name if it is a server; empty if nobody is named.
    #[must_use]
    pub fn nick(&self) -> &'a [u8] {
        let source = self.source.unwrap_or_default();
        &source[..memchr::memchr2(b'!', b'@', source).unwrap_or(source.len())]
    }
}

/// Iterates over a line's parameters.
#[derive(Debug, Clone)]
pub struct Params<'a>(&'a [u8]);

impl<'a> Iterator for Params<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if let Some(trailing) = self.0.strip_prefix(b":") {
            self.0 = &[];
            return Some(trailing);
        }
        if self.0.is_empty() {
            return None;
        }
        let (param, rest) = word(self.0);
        self.0 = rest;
        Some(param)
    }
}

/// The tags of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tags<'a>(&'a [u8]);

impl<'a> Tags<'a> {
    /// The value of the last tag named `key`, as it was written (see [`unescape`]); empty for a tag without one.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let mut found = None;
        for tag in self.0.split(|b| *b == b';') {
            if let Some(rest) = tag.strip_prefix(key.as_bytes()) {
                match rest.first() {
                    None => found = Some(rest),
                    Some(b'=') => found = Some(&rest[1..]),
                    Some(_) => {}
                }
            }
        }
        found
    }
}

/// The meaning of a tag's value: `\:` is `;`, `\s` a blank, `\r` CR, `\n` LF, `\\` one backslash; any other
/// backslash is dropped.
#[must_use]
pub fn unescape(value: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut plain = Vec::with_capacity(value.len());
    let mut bytes = value.iter();
    while let Some(&byte) = bytes.next() {
        plain.push(match (byte, if byte == b'\\' { bytes.next() } else { None }) {
            (b'\\', None) => break,
            (b'\\', Some(b':')) => b';',
            (b'\\', Some(b's')) => b' ',
            (b'\\', Some(b'r')) => b'\r',
            (b'\\', Some(b'n')) => b'\n',
            (b'\\', Some(&other)) => other,
            (plain, _) => plain,
        });
    }
    Cow::Owned(plain)
}

fn skip_blanks(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.iter().position(|b| *b != b' ').unwrap_or(bytes.len())..]
}

/// The bytes up to the next blank, and those after the blanks.
fn word(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b' ', bytes).unwrap_or(bytes.len());
    (&bytes[..end], skip_blanks(&bytes[end..]))
}

#[cfg(test)]
mod tests;
