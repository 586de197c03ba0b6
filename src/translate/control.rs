//! IRC's formatting codes: taken out of plain text, or made into HTML.
//!
//! The codes are those of <https://modern.ircdocs.horse/formatting>. They only ever switch something on or off for
//! the text after them, so a text is a sequence of runs, each in one style. To know another code, add it to [`TAGS`]
//! or to the iterator of [`Runs`].

use std::{borrow::Cow, fmt::Write};

use super::palette;

/// Longer HTML isn't worth its bytes: one event of Matrix has room for 64 KiB.
const LONGEST_HTML: usize = 32 * 1024;

/// The codes that toggle, and what each is in HTML.
const TAGS: [(char, &str); 5] = [('\x02', "b"), ('\x1d', "i"), ('\x1f', "u"), ('\x1e', "del"), ('\x11', "code")];

/// `text` without formatting codes and other control characters, all else as it is (tabs too).
#[must_use]
pub fn strip(text: &str) -> Cow<'_, str> {
    if text.contains(is_code) { Runs::of(text).map(|(_, text)| text).collect() } else { Cow::Borrowed(text) }
}

/// `text` as the HTML that Matrix knows; `None` if nothing in it is formatted, or if the HTML would be too long.
///
/// Elements are well nested, no deeper than six, and reverse video is shown where there are colours to swap.
#[must_use]
pub fn to_html(text: &str) -> Option<String> {
    if !text.contains(is_code) {
        return None;
    }
    let mut html = String::with_capacity(text.len() * 2);
    let mut open: Vec<Tag> = Vec::new();
    let mut formatted = false;
    for (style, text) in Runs::of(text) {
        let wanted: Vec<Tag> = style.tags().collect();
        let common = open.iter().zip(&wanted).take_while(|(open, wanted)| open == wanted).count();
        open.drain(common..).rev().for_each(|tag| tag.close(&mut html));
        wanted[common..].iter().for_each(|tag| tag.open(&mut html));
        open = wanted;
        formatted |= !open.is_empty();
        escape(text, &mut html);
        if html.len() > LONGEST_HTML {
            return None;
        }
    }
    open.drain(..).rev().for_each(|tag| tag.close(&mut html));
    formatted.then_some(html)
}

/// Appends `text` to `html` so that it means itself.
pub(super) fn escape(text: &str, html: &mut String) {
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            _ => html.push(c),
        }
    }
}

/// A control character: a formatting code, or one that Matrix has no use for.
fn is_code(c: char) -> bool {
    c.is_control() && c != '\t'
}

/// How a run of text looks. Colours are `0xRRGGBB`, `None` the reader's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Style {
    /// One for each of [`TAGS`].
    on: [bool; TAGS.len()],
    foreground: Option<u32>,
    background: Option<u32>,
}

impl Style {
    /// The elements of this style, outermost first.
    fn tags(self) -> impl Iterator<Item = Tag> {
        let coloured = self.foreground.is_some() || self.background.is_some();
        let colours = coloured.then_some(Tag::Colours(self.foreground, self.background));
        let elements = TAGS.into_iter().zip(self.on).filter(|(_, on)| *on).map(|((_, name), _)| Tag::Element(name));
        colours.into_iter().chain(elements)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tag {
    Colours(Option<u32>, Option<u32>),
    Element(&'static str),
}

impl Tag {
    fn open(self, html: &mut String) {
        let written = match self {
            Self::Element(name) => write!(html, "<{name}>"),
            Self::Colours(foreground, background) => {
                html.push_str("<span");
                [("data-mx-color", foreground), ("data-mx-bg-color", background)]
                    .into_iter()
                    .filter_map(|(name, colour)| Some((name, colour?)))
                    .try_for_each(|(name, colour)| write!(html, " {name}=\"#{colour:06x}\""))
                    .and_then(|()| html.write_char('>'))
            }
        };
        written.expect("a String takes everything");
    }

    fn close(self, html: &mut String) {
        let name = if let Self::Element(name) = self { name } else { "span" };
        write!(html, "</{name}>").expect("a String takes everything");
    }
}

/// The runs of a text, none empty, each with its style.
struct Runs<'a> {
    rest: &'a str,
    style: Style,
}

impl<'a> Runs<'a> {
    fn of(text: &'a str) -> Self {
        Self { rest: text, style: Style::default() }
    }

    /// Reads the colours after a code, `FOREGROUND[,BACKGROUND]`; without any, both are the reader's own again.
    fn colours(&mut self, read: fn(&str) -> Option<Colour>) {
        let Some((foreground, len)) = read(self.rest) else {
            (self.style.foreground, self.style.background) = (None, None);
            return;
        };
        self.style.foreground = foreground;
        self.rest = &self.rest[len..];
        if let Some(after) = self.rest.strip_prefix(',')
            && let Some((background, len)) = read(after)
        {
            self.style.background = background;
            self.rest = &after[len..];
        }
    }
}

impl<'a> Iterator for Runs<'a> {
    type Item = (Style, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let end = self.rest.find(is_code).unwrap_or(self.rest.len());
            if end > 0 {
                let (text, rest) = self.rest.split_at(end);
                self.rest = rest;
                return Some((self.style, text));
            }
            let mut rest = self.rest.chars();
            let code = rest.next()?;
            self.rest = rest.as_str();
            match code {
                '\x03' => self.colours(number),
                '\x04' => self.colours(hexadecimal),
                '\x0f' => self.style = Style::default(),
                '\x16' => std::mem::swap(&mut self.style.foreground, &mut self.style.background),
                _ => {
                    if let Some(index) = TAGS.iter().position(|(toggle, _)| *toggle == code) {
                        self.style.on[index] ^= true;
                    }
                }
            }
        }
    }
}

/// A colour in a text (`None` the reader's own), and how many bytes it takes there.
type Colour = (Option<u32>, usize);

/// A colour of one or two digits.
fn number(text: &str) -> Option<Colour> {
    let len = text.bytes().take(2).take_while(u8::is_ascii_digit).count();
    text[..len].parse().ok().map(|number| (palette::rgb(number), len))
}

/// A colour of six hexadecimal digits.
fn hexadecimal(text: &str) -> Option<Colour> {
    let digits = text.get(..6).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
    u32::from_str_radix(digits, 16).ok().map(|colour| (Some(colour), 6))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn codes_go_and_the_text_stays() {
        for (text, expected) in [
            ("", ""),
            ("plain\ttext \u{200b}", "plain\ttext \u{200b}"),
            ("\x02b\x02 \x1di\x1d \x1fu\x1f \x1es\x1e \x11c\x11 \x16r\x16\x0f", "b i u s c r"),
            ("\x034red\x03 \x0304red \x0304,12on blue \x0399,99none", "red red on blue none"),
            ("\x03123", "3"),
            ("\x031,234", "4"),
            ("\x03,5", ",5"),
            ("\x034,text", ",text"),
            ("\x0312,x\x03,", ",x,"),
            ("\x04ff0000red\x04ff0000,00FF00both\x04", "redboth"),
            ("\x04ff00text", "ff00text"),
            ("\x04ff0000,12text", ",12text"),
            ("\x04ééé", "ééé"),
            ("a\0b\x07c\x01d\x7fe\u{9b}f\r\n", "abcdef"),
        ] {
            assert_eq!(strip(text), expected, "{text:?}");
        }
        assert!(matches!(strip("no code"), Cow::Borrowed(_)));
    }

    #[test]
    fn formatting_becomes_nested_html() {
        for (text, expected) in [
            ("plain <b>", None),
            ("\x02\x02plain", None),
            ("no visible format\x02", None),
            ("\x02bold\x02 plain", Some("<b>bold</b> plain")),
            ("\x02bold \x1dboth\x02 italic", Some("<b>bold <i>both</i></b><i> italic</i>")),
            ("\x1du\x1ds\x1fx\x1ey\x11z", Some("<i>u</i>s<u>x<del>y<code>z</code></del></u>")),
            ("\x034red\x03 & \"<\x0f", Some("<span data-mx-color=\"#ff0000\">red</span> &amp; &quot;&lt;")),
            (
                "\x02\x034,1a\x03b",
                Some("<span data-mx-color=\"#ff0000\" data-mx-bg-color=\"#000000\"><b>a</b></span><b>b</b>"),
            ),
            ("\x034,1\x16a", Some("<span data-mx-color=\"#000000\" data-mx-bg-color=\"#ff0000\">a</span>")),
            ("\x0399a\x0398b", Some("a<span data-mx-color=\"#ffffff\">b</span>")),
            ("\x04abcdefa", Some("<span data-mx-color=\"#abcdef\">a</span>")),
            ("\x02\x1da\x0fb", Some("<b><i>a</i></b>b")),
            ("\x16a", None),
        ] {
            assert_eq!(to_html(text).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn html_is_bounded() {
        let line = "\x02\x1d\x1f\x1e\x11\x034,5a\x035,4b".repeat(2_000);
        assert_eq!(to_html(&line), None);
        assert_eq!(strip(&line), "ab".repeat(2_000));
    }

    /// Undoes [`to_html`], and panics where elements aren't well nested.
    fn text_of(html: &str) -> String {
        let (mut text, mut open, mut rest) = (String::new(), Vec::new(), html);
        while let Some((before, after)) = rest.split_once('<') {
            text.push_str(before);
            let (tag, after) = after.split_once('>').unwrap();
            match tag.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name)),
                None => open.push(tag.split(' ').next().unwrap()),
            }
            rest = after;
        }
        assert_eq!(open, Vec::<&str>::new());
        text.push_str(rest);
        text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
    }

    fn formatted() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "([\x01-\x1f\x7f]|\x03[0-9]{0,3}(,[0-9]{0,3})?|\x04[0-9a-f]{6}|[a-c<>&;\" ]){0,40}"
        ]
    }

    proptest! {
        #[test]
        fn html_shows_exactly_the_text(text in formatted()) {
            if let Some(html) = to_html(&text) {
                prop_assert_eq!(text_of(&html), strip(&text));
            }
        }

        #[test]
        fn no_control_is_left(text in formatted()) {
            prop_assert!(!strip(&text).contains(is_code));
            prop_assert!(!to_html(&text).unwrap_or_default().contains(is_code));
        }

        #[test]
        fn text_without_codes_is_untouched(text in "[^\\p{Cc}]*") {
            prop_assert_eq!(strip(&text), text.as_str());
            prop_assert_eq!(to_html(&text), None);
        }
    }
}
