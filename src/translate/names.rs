//! Which nicks and channels may be asked of a network at all.
//!
//! Names come from Matrix ids and aliases that anybody may invent. What passes here can't be a list of targets, a
//! mask of servers (`$*`), a rank's prefix or a second parameter.

use crate::model::Isupport;

/// The longest nick that is tried where the server doesn't say NICKLEN, in bytes.
const LONGEST_NICK: usize = 64;

/// Whether `nick` could be somebody's nick on that server.
///
/// Servers give and allow more than RFC 2812 does: `00AAAAAAB` is an InspIRCd user's who has no other. Refused is only
/// what would be something else in the place of a nick: a channel, a rank, a list, a mask, a server.
#[must_use]
pub fn possible_nick(nick: &str, isupport: &Isupport) -> bool {
    let is_rank = |first| isupport.prefix.iter().any(|(_, rank)| *rank == first);
    may_be_nick(nick)
        && nick.len() <= isupport.nicklen.unwrap_or(LONGEST_NICK)
        && !nick.starts_with(|first| isupport.chantypes.contains(first) || is_rank(first))
}

/// What of [`possible_nick`] is true on all servers.
pub(super) fn may_be_nick(nick: &str) -> bool {
    !nick.is_empty()
        && !nick.starts_with(['$', '#'])
        && !nick.contains(|c| is_blank(c) || matches!(c, ',' | '*' | '?' | '!' | '@' | '.' | ':'))
}

/// Whether one of our own may ask for this nick on that server.
///
/// ASCII as RFC 2812 has it; other letters are taken, as some networks do, but no blanks or control characters.
#[must_use]
pub fn valid_nick(nick: &str, isupport: &Isupport) -> bool {
    nick.len() <= isupport.nicklen.unwrap_or(LONGEST_NICK)
        && nick.chars().next().is_some_and(|first| !first.is_ascii_digit() && first != '-')
        && nick.chars().all(is_nick_char)
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
    fn r80_nicks_of_others_are_taken_as_servers_give_them() {
        let isupport = Isupport { nicklen: Some(10), ..Isupport::default() };
        for good in ["00AAAAAAB", "1a", "-a", "a'b", "<a>", "a#b", "a=b", "Jürgen", "Alice[m]", "~a"] {
            assert!(possible_nick(good, &isupport), "{good}");
        }
        let bad = "|a b|a,b|a!b|a@b|a*|?|:a|#a|&a|$*|@a|+a|a.b|a\0|a\r\nQUIT|a\x01|a\u{a0}b|abcdefghijk";
        for bad in bad.split('|') {
            assert!(!possible_nick(bad, &isupport), "{bad:?}");
        }
        let ranks = Isupport { prefix: vec![('q', '~'), ('o', '@')], chantypes: "#".to_owned(), ..isupport };
        assert!(!possible_nick("~a", &ranks) && possible_nick("&a", &ranks) && possible_nick("+a", &ranks));
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
