//! Long lines, cut to the exact number of bytes that IRC has room for (R62).
//!
//! A server cuts what is too long when it passes the line on with the sender's full name before it, so the budget
//! counts that name. Where the link doesn't know its own user or host yet, the longest known is assumed.

use unicode_segmentation::GraphemeCursor;

use crate::model::{Source, TextKind};

/// The longest user name of any server known (Ergo, and ngIRCd if built so), in bytes, `~` included.
const LONGEST_USER: usize = 20;
/// The longest host name of any server known (`InspIRCd`, ngIRCd), in bytes.
const LONGEST_HOST: usize = 64;
/// Room for one character of any kind: less would be no budget at all.
const LEAST_BUDGET: usize = 4;

/// How many bytes of text fit in one line that `own` says to `target`, on a server that takes lines of `linelen`
/// bytes (CR LF included).
///
/// What is counted is the line as others receive it: `:nick!user@host PRIVMSG target :text`, and for
/// [`TextKind::Action`] the CTCP framing too. Never less than room for one character.
#[must_use]
pub fn budget(linelen: usize, own: &Source, kind: TextKind, target: &str) -> usize {
    let user = own.user.as_ref().map_or(LONGEST_USER, String::len);
    let host = own.host.as_ref().map_or(LONGEST_HOST, String::len);
    let name = ":!@".len() + own.nick.len() + user + host;
    let command = match kind {
        TextKind::Privmsg => " PRIVMSG  :".len(),
        TextKind::Notice => " NOTICE  :".len(),
        TextKind::Action => " PRIVMSG  :\x01ACTION \x01".len(),
    };
    linelen.saturating_sub(name + command + target.len() + "\r\n".len()).max(LEAST_BUDGET)
}

/// Cuts `line` into pieces of at most `budget` bytes, none empty.
///
/// It cuts at a blank where there is one in the later three quarters of the piece, and drops that one blank; else
/// between what readers see as characters (an emoji family stays whole), and only where one of those alone is
/// larger than the budget between code points. So the pieces are slices of `line`, in order, with nothing or one
/// blank between them. A budget below four bytes counts as four.
///
/// ```
/// # use footbridge::translate::split;
/// assert_eq!(split("one two three", 8).collect::<Vec<_>>(), ["one two", "three"]);
/// ```
pub fn split(line: &str, budget: usize) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let (piece, next) = first_piece(rest, budget);
        rest = next;
        Some(piece).filter(|piece| !piece.is_empty())
    })
}

/// The first of the pieces that [`split`] makes of `line`, and what is left for the others: for whoever sends them one
/// by one, under a budget that may change meanwhile.
#[must_use]
pub fn first_piece(line: &str, budget: usize) -> (&str, &str) {
    let budget = budget.max(LEAST_BUDGET);
    if line.len() <= budget {
        return (line, "");
    }
    match blank(line, budget) {
        Some(at) => (&line[..at], &line[at + 1..]),
        None => line.split_at(character_end(line, budget)),
    }
}

/// The last blank that ends a piece worth sending and has something after it, in a text longer than `budget`.
fn blank(text: &str, budget: usize) -> Option<usize> {
    // The blank itself may be the byte after the last that fits. An emoji or letter of several bytes never contains
    // a blank's byte, so looking at bytes is safe.
    let window = &text.as_bytes()[..=budget];
    let from = (budget / 4).max(1);
    (from..=budget).rev().find(|&at| window[at] == b' ' && at + 1 < text.len() && is_boundary(text, at + 1))
}

/// The last end of a visible character within `budget`, or of a code point if there is none.
fn character_end(text: &str, budget: usize) -> usize {
    let at = text.floor_char_boundary(budget);
    if is_boundary(text, at) {
        return at;
    }
    match GraphemeCursor::new(at, text.len(), true).prev_boundary(text, 0) {
        Ok(Some(boundary)) if boundary > 0 => boundary,
        _ => at,
    }
}

/// Whether two visible characters meet at `at`: a combining accent after a blank, say, belongs to the blank.
fn is_boundary(text: &str, at: usize) -> bool {
    GraphemeCursor::new(at, text.len(), true).is_boundary(text, 0) == Ok(true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use unicode_segmentation::UnicodeSegmentation;

    use super::*;

    fn source(nick: &str, user: Option<&str>, host: Option<&str>) -> Source {
        Source { nick: nick.into(), user: user.map(Into::into), host: host.map(Into::into) }
    }

    #[test]
    fn r62_a_line_of_the_whole_budget_fills_the_line_exactly() {
        let own = source("nick", Some("~user"), Some("host.example"));
        for (kind, head, tail) in [
            (TextKind::Privmsg, ":nick!~user@host.example PRIVMSG #c :", "\r\n"),
            (TextKind::Notice, ":nick!~user@host.example NOTICE #c :", "\r\n"),
            (TextKind::Action, ":nick!~user@host.example PRIVMSG #c :\x01ACTION ", "\x01\r\n"),
        ] {
            assert_eq!(budget(512, &own, kind, "#c") + head.len() + tail.len(), 512, "{kind:?}");
        }
    }

    #[test]
    fn r62_the_longest_name_is_assumed_where_it_is_unknown() {
        let longest = source("nick", Some(&"u".repeat(20)), Some(&"h".repeat(64)));
        let unknown = source("nick", None, None);
        assert_eq!(budget(512, &unknown, TextKind::Privmsg, "#c"), budget(512, &longest, TextKind::Privmsg, "#c"));
        assert_eq!(budget(20, &unknown, TextKind::Privmsg, "#c"), 4);
    }

    #[test]
    fn r62_lines_are_cut_between_words_then_between_characters() {
        let table: &[(&str, usize, &[&str])] = &[
            ("", 10, &[]),
            ("short", 10, &["short"]),
            ("exactly 10", 10, &["exactly 10"]),
            ("exactly 10 ", 10, &["exactly", "10 "]),
            ("the quick brown fox", 9, &["the quick", "brown fox"]),
            ("the quick brown fox", 10, &["the quick", "brown fox"]),
            ("two  blanks here", 5, &["two ", "blank", "s", "here"]),
            ("a bcdefghijklmnop", 8, &["a bcdefg", "hijklmno", "p"]),
            ("ééééé", 5, &["éé", "éé", "é"]),
            ("e\u{301}e\u{301}e\u{301}", 4, &["e\u{301}", "e\u{301}", "e\u{301}"]),
            ("ab👩‍👩‍👧cd", 18, &["ab", "👩‍👩‍👧", "cd"]),
            ("👩‍👩‍👧", 8, &["👩\u{200d}", "👩\u{200d}", "👧"]),
            ("🇩🇪🇫🇷", 12, &["🇩🇪", "🇫🇷"]),
            ("שלום עולם", 12, &["שלום", "עולם"]),
            ("aaaa \u{301}bbbb", 6, &["aaaa", " \u{301}bbb", "b"]),
        ];
        for (line, budget, expected) in table {
            assert_eq!(split(line, *budget).collect::<Vec<_>>(), *expected, "{line:?} in {budget}");
        }
    }

    #[test]
    fn a_budget_of_nothing_still_ends() {
        assert_eq!(split("añ漢🙂", 0).collect::<String>(), "añ漢🙂");
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "([a-z]{1,12} ){0,60}",
            "(👩‍👩‍👧|🇩🇪|e\u{301}|ש|漢| ){0,60}",
            "[ a\u{301}\u{200d}👧🏽]{0,90}",
        ]
    }

    proptest! {
        #[test]
        fn r62_what_receivers_put_together_is_what_was_said(line in text(), budget in 4_usize..120) {
            let pieces: Vec<&str> = split(&line, budget).collect();
            let mut at = 0;
            for piece in &pieces {
                prop_assert!(!piece.is_empty() && piece.len() <= budget);
                let start = piece.as_ptr() as usize - line.as_ptr() as usize;
                prop_assert!(matches!(&line[at..start], "" | " "), "lost {:?}", &line[at..start]);
                at = start + piece.len();
            }
            prop_assert_eq!(at, line.len());
        }

        #[test]
        fn r62_visible_characters_that_fit_stay_whole(line in text(), budget in 30_usize..120) {
            prop_assume!(line.graphemes(true).all(|g| g.len() <= budget));
            let ends: Vec<usize> = line.grapheme_indices(true).map(|(at, _)| at).collect();
            for piece in split(&line, budget).skip(1) {
                let start = piece.as_ptr() as usize - line.as_ptr() as usize;
                prop_assert!(ends.contains(&start), "cut inside a character at {start}");
            }
        }

        #[test]
        fn no_piece_is_needlessly_short(line in text(), budget in 60_usize..120) {
            prop_assume!(line.graphemes(true).all(|g| g.len() <= 25));
            let pieces: Vec<&str> = split(&line, budget).collect();
            for piece in pieces.iter().rev().skip(1) {
                prop_assert!(piece.len() >= budget / 4, "{piece:?}");
            }
        }
    }
}
