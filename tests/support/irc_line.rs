//! An IRC line, taken apart for tests. It is deliberately not the bridge's own parser: a bug there must not hide here.

use std::fmt;

/// One line without its line ending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IrcLine {
    /// The line as it was received; bytes that are no UTF-8 are shown as U+FFFD.
    pub raw: String,
    /// The message tags, unescaped, in order.
    pub tags: Vec<(String, String)>,
    /// The source without its colon: `nick!user@host`, a server, or empty.
    pub source: String,
    /// The command in upper case, or the three digits of a numeric.
    pub command: String,
    /// The parameters; the last may have blanks.
    pub params: Vec<String>,
}

impl IrcLine {
    /// Takes a line apart. Nothing is an error: what is missing is empty.
    pub fn parse(line: &str) -> Self {
        let mut rest = line.trim_end_matches(['\r', '\n']);
        let raw = rest.to_owned();
        let mut word = |sigil: char| {
            let (first, tail) = rest.strip_prefix(sigil)?.split_once(' ').unwrap_or((&rest[1..], ""));
            rest = tail.trim_start_matches(' ');
            Some(first)
        };
        let tags = word('@').map(parse_tags).unwrap_or_default();
        let source = word(':').unwrap_or_default().to_owned();
        let (command, mut rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let mut params = Vec::new();
        while !rest.is_empty() {
            if let Some(trailing) = rest.strip_prefix(':') {
                params.push(trailing.to_owned());
                break;
            }
            let (param, tail) = rest.split_once(' ').unwrap_or((rest, ""));
            params.push(param.to_owned());
            rest = tail.trim_start_matches(' ');
        }
        Self { raw, tags, source, command: command.to_ascii_uppercase(), params }
    }

    /// The nick of the source (or the server's name).
    pub fn nick(&self) -> &str {
        self.source.split('!').next().unwrap_or_default()
    }

    /// The parameter at this place, or the empty string.
    pub fn param(&self, at: usize) -> &str {
        self.params.get(at).map(String::as_str).unwrap_or_default()
    }

    /// The last parameter, or the empty string.
    pub fn text(&self) -> &str {
        self.params.last().map(String::as_str).unwrap_or_default()
    }

    /// The value of a tag.
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.tags.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// True for this command or numeric.
    pub fn is(&self, command: &str) -> bool {
        self.command == command
    }

    /// True for a PRIVMSG to `target` with this text from someone.
    pub fn is_privmsg(&self, target: &str, from: impl Fn(&str) -> bool, text: &str) -> bool {
        self.is("PRIVMSG") && self.param(0).eq_ignore_ascii_case(target) && from(self.nick()) && self.param(1) == text
    }
}

impl fmt::Display for IrcLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.raw)
    }
}

fn parse_tags(tags: &str) -> Vec<(String, String)> {
    tags.split(';')
        .map(|tag| {
            let (key, value) = tag.split_once('=').unwrap_or((tag, ""));
            (key.to_owned(), unescape(value))
        })
        .collect()
}

fn unescape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            text.push(char);
            continue;
        }
        match chars.next() {
            Some(':') => text.push(';'),
            Some('s') => text.push(' '),
            Some('r') => text.push('\r'),
            Some('n') => text.push('\n'),
            Some(other) => text.push(other),
            None => {}
        }
    }
    text
}

/// Escapes a tag's value.
pub fn escape(value: &str) -> String {
    value.replace('\\', r"\\").replace(';', r"\:").replace(' ', r"\s").replace('\r', r"\r").replace('\n', r"\n")
}
