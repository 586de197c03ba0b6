//! Which nicks and channels may be asked of a network at all.
//!
//! Names come from Matrix ids and aliases that anybody may invent. What passes here can't be a list of targets, a
//! mask of servers (`$*`), a rank's prefix or a second parameter.

use crate::model::Isupport;

/// The longest nick that is tried where the server doesn't say NICKLEN, in bytes.
const LONGEST_NICK: usize = 64;

/// Whether `nick` could be somebody's nick on that server.
///
/// ASCII as RFC 2812 has it; other letters are taken, as some networks do, but no blanks or control characters.
#[must_use]
pub fn valid_nick(nick: &str, isupport: &Isupport) -> bool {
    is_nick(nick) && nick.len() <= isupport.nicklen.unwrap_or(LONGEST_NICK)
}

/// Whether `name` could be a channel on that server: its first character one of CHANTYPES, something after it, no
/// longer than CHANNELLEN, and no blank, comma or control character in it.
#[must_use]
pub fn valid_channel(name: &str, isupport: &Isupport) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|first| isupport.chantypes.contains(first))
        && !chars.as_str().is_empty()
        && name.len() <= isupport.channellen
        && !name.contains(|c: char| c == ',' || is_blank(c))
}

/// [`valid_nick`] without a limit of length.
pub(super) fn is_nick(nick: &str) -> bool {
    nick.chars().next().is_some_and(|first| !first.is_ascii_digit() && first != '-') && nick.chars().all(is_nick_char)
}

fn is_nick_char(c: char) -> bool {
    is_ascii_nick_char(c) || (!c.is_ascii() && !is_blank(c))
}

/// The characters of nicks that every network allows.
pub(super) const fn is_ascii_nick_char(c: char) -> bool {
    matches!(c, 'A'..='Z' | 'a'..='z' | '0'..='9' | '-' | '_' | '[' | ']' | '\\' | '`' | '^' | '{' | '|' | '}')
}

fn is_blank(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r80_only_nicks_are_dialled() {
        let isupport = Isupport { nicklen: Some(10), ..Isupport::default() };
        for good in ["a", "Alice[m]", "_x-1", "`^{|}\\", "Jürgen", "李", "abcdefghij"] {
            assert!(valid_nick(good, &isupport), "{good}");
        }
        for bad in [
            "",
            "1a",
            "-a",
            "a b",
            "a,b",
            "a!b",
            "a@b",
            "a*",
            "?",
            ":a",
            "#a",
            "&a",
            "$a",
            "+a",
            "~a",
            "%a",
            "a.b",
            "a:b",
            "a\0",
            "a\r\nQUIT",
            "a\x01",
            "a\u{a0}b",
            "a\u{2028}b",
            "abcdefghijk",
        ] {
            assert!(!valid_nick(bad, &isupport), "{bad:?}");
        }
        assert!(valid_nick(&"a".repeat(64), &Isupport::default()));
        assert!(!valid_nick(&"a".repeat(65), &Isupport::default()));
    }

    #[test]
    fn r105_only_channels_are_dialled() {
        let isupport = Isupport { channellen: 12, ..Isupport::default() };
        for good in ["#a", "&local", "##", "#c++", "#foo:bar", "#ärger", "#a*b?"] {
            assert!(valid_channel(good, &isupport), "{good}");
        }
        for bad in [
            "",
            "#",
            "a",
            "0",
            "+a",
            "@#a",
            "#a,#b",
            "#a b",
            "#a\x07",
            "#a\r\n",
            "#a\0",
            "#\x02b",
            "#a\u{3000}",
            "#abcdefghijkl",
        ] {
            assert!(!valid_channel(bad, &isupport), "{bad:?}");
        }
    }
}
