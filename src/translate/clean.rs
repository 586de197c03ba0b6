//! What anybody writes on Matrix, made harmless for IRC.
//!
//! IRC is a protocol of lines, and CTCP lives between two `\x01`: neither a line end nor NUL nor `\x01` of Matrix
//! may reach it (R104). The line writer refuses such bytes once more; here they are mended, so that it needn't.

/// The lines of a message's body, ready to be split to the byte budget.
///
/// Every Unicode line end starts a new line; lines without anything to see are dropped. IRC's formatting codes and
/// tabs stay, every other control character goes.
#[must_use]
pub fn lines(body: &str) -> Vec<String> {
    body.split(is_line_end).filter(|line| is_visible(line)).map(without_controls).collect()
}

/// The whole text on one line, without any control or formatting code: for topics and reasons.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for part in text.split(|c: char| is_line_end(c) || c == '\t').filter(|part| is_visible(part)) {
        let part: String = part.chars().filter(|c| !c.is_control()).collect();
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(part.trim());
    }
    line
}

/// Whether `text` shows nothing by its nature, rather than by what is taken out of it: blanks and formatting codes alone.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || is_formatting(c))
}

/// The mandatory breaks of <https://www.unicode.org/reports/tr14/>.
const fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\x0b' | '\x0c' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// The codes of <https://modern.ircdocs.horse/formatting>.
const fn is_formatting(c: char) -> bool {
    matches!(c, '\x02' | '\x03' | '\x04' | '\x0f' | '\x11' | '\x16' | '\x1d' | '\x1e' | '\x1f')
}

fn is_visible(line: &str) -> bool {
    line.chars().any(|c| !c.is_whitespace() && !c.is_control())
}

fn without_controls(line: &str) -> String {
    line.chars().filter(|&c| !c.is_control() || is_formatting(c) || c == '\t').collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn newlines_become_lines_and_blank_ones_go() {
        let table: &[(&str, &[&str])] = &[
            ("", &[]),
            (" \n\t\r\n \u{3000}", &[]),
            ("\x02\x03\x0f", &[]),
            ("one", &["one"]),
            ("one\ntwo\r\nthree\rfour", &["one", "two", "three", "four"]),
            ("a\n\n\nb\n", &["a", "b"]),
            ("a\u{2028}b\u{2029}c\u{85}d\x0be\x0cf", &["a", "b", "c", "d", "e", "f"]),
            ("  indented\tcode ", &["  indented\tcode "]),
            ("\x02bold\x02 \x0304red\x0f", &["\x02bold\x02 \x0304red\x0f"]),
            ("\x01ACTION waves\x01", &["ACTION waves"]),
            ("a\0b\x07c\x1b[31md\x7f\u{9b}e", &["abc[31mde"]),
            ("👩‍👩‍👧 שלום\u{200b}", &["👩‍👩‍👧 שלום\u{200b}"]),
        ];
        for (body, expected) in table {
            assert_eq!(lines(body), *expected, "{body:?}");
        }
    }

    #[test]
    fn one_line_has_no_code_left() {
        for (text, expected) in [
            ("", ""),
            ("\n \r\n", ""),
            ("a\r\nb\n\n c", "a b c"),
            ("\x02bold\x02 \x01x\0", "bold x"),
            ("tab\tbed", "tab bed"),
            ("\x02\nQUIT", "QUIT"),
        ] {
            assert_eq!(one_line(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn r104_no_line_end_nul_or_ctcp_gets_through(text in any::<String>(), injected in "[\\x00-\\x1f\u{85}\u{2028}a ]*") {
            let text = format!("{injected}{text}{injected}");
            for line in lines(&text).into_iter().chain([one_line(&text)]) {
                prop_assert!(!line.contains(['\r', '\n', '\0', '\x01']), "{line:?}");
            }
            prop_assert!(lines(&text).iter().all(|line| !line.trim().is_empty()));
            prop_assert!(!one_line(&text).contains(char::is_control));
        }

        #[test]
        fn ordinary_text_is_untouched(text in "[^\\p{C}\\p{Z}]+( [^\\p{C}\\p{Z}]+)*") {
            prop_assert_eq!(lines(&text), vec![text.clone()]);
            prop_assert_eq!(one_line(&text), text);
        }
    }
}
