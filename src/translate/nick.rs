//! The nicks of puppets (R72).
//!
//! A nick is made from a template such as `{display}[m]`. Letters that IRC doesn't know are transliterated rather
//! than dropped, so that people stay recognisable; the variable part is cut so that the whole fits NICKLEN and the
//! template's fixed end survives. How puppets are told apart otherwise is in [`super::identity`].

use ruma::UserId;

use super::{
    identity::fnv,
    names::is_ascii_nick_char,
    template::{self, Part, TemplateError},
};

/// What a nick is made of where neither display name nor localpart leaves anything.
const NAMELESS: &str = "matrix";
/// Put before a nick whose first character only other positions may have.
const FIRST: char = '_';
/// No server allows less; below it there would be no room to tell nicks apart.
const LEAST_NICKLEN: usize = 4;
/// How many characters of a display name are looked at: enough for any nick, whatever is dropped.
const DISPLAY_CHARS: usize = 256;
/// How many numbers in a row are tried before others, of which each owner has its own.
const IN_A_ROW: usize = 4;
/// How many other nicks one user may be given.
const ALTERNATIVES: usize = 12;

/// How puppets are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NickTemplate {
    parts: Vec<Part<Variable>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variable {
    Display,
    Localpart,
    Server,
}

impl NickTemplate {
    /// Reads a template of fixed text, `{display}`, `{localpart}` and `{server}`.
    ///
    /// # Errors
    /// The first two are what tells users apart, so one of them is needed; the rest must be legal in a nick.
    pub fn new(template: &str) -> Result<Self, TemplateError> {
        let known = [("display", Variable::Display), ("localpart", Variable::Localpart), ("server", Variable::Server)];
        let parts = template::parse(template, &known)?;
        for part in &parts {
            if let Part::Text(text) = part
                && let Some(found) = text.chars().find(|&c| !is_ascii_nick_char(c))
            {
                let allowed = "letters, digits and - _ [ ] \\ ` ^ |";
                return Err(TemplateError::BadCharacter { found, allowed });
            }
        }
        let telling = |part: &Part<_>| matches!(part, Part::Value(Variable::Display | Variable::Localpart));
        if parts.iter().any(telling) {
            Ok(Self { parts })
        } else {
            Err(TemplateError::Missing("{display} or {localpart}"))
        }
    }

    /// The nick that `user` ought to have, in at most `nicklen` bytes (of which fewer than four are taken for four).
    #[must_use]
    pub fn nick(&self, user: &UserId, display_name: Option<&str>, nicklen: usize) -> String {
        let nicklen = nicklen.max(LEAST_NICKLEN);
        let mut values: Vec<String> = self
            .parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Value(Variable::Display) => display_name
                    .and_then(legible)
                    .or_else(|| legible(user.localpart()))
                    .unwrap_or_else(|| NAMELESS.to_owned()),
                Part::Value(Variable::Localpart) => legible(user.localpart()).unwrap_or_else(|| NAMELESS.to_owned()),
                Part::Value(Variable::Server) => legible(user.server_name().as_str()).unwrap_or_default(),
            })
            .collect();
        if values.iter().flat_map(|value| value.chars()).next().is_some_and(is_no_first) {
            values[0].insert(0, FIRST);
        }
        self.fit(&mut values, nicklen);
        let mut nick = values.concat();
        nick.truncate(nicklen);
        nick
    }

    /// The fixed end of every nick, by which puppets are known; empty if there is none.
    #[must_use]
    pub fn end(&self) -> &str {
        match self.parts.last() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    /// Cuts the longest variable values until all fit; their last character is left to them as long as may be.
    fn fit(&self, values: &mut [String], nicklen: usize) {
        let mut excess = values.iter().map(String::len).sum::<usize>().saturating_sub(nicklen);
        let is_value = |index: &usize| matches!(self.parts[*index], Part::Value(_));
        while excess > 0 {
            let longest = (0..values.len()).filter(is_value).max_by_key(|&index| values[index].len());
            let Some(value) = longest.map(|index| &mut values[index]).filter(|value| value.len() > 1) else { break };
            value.pop();
            excess -= 1;
            // A cut right after a word leaves no separator dangling.
            while excess == 0 && value.len() > 1 && value.ends_with('_') {
                value.pop();
            }
        }
    }

    /// Other nicks for `user`, to be tried in this order where `nick` is taken.
    #[must_use]
    pub fn alternatives(&self, nick: &str, user: &UserId, nicklen: usize) -> Vec<String> {
        let number = |n| nick_number(user.as_str(), n, nicklen);
        (1..=ALTERNATIVES).map(|n| self.alternative(nick, number(n), nicklen)).collect()
    }

    /// The `n`th other nick (from 1) to try where `nick` is taken: a number before the template's fixed end, else at
    /// the end. Never longer than `nicklen`, never `nick` itself, all different for `n` up to 99.
    #[must_use]
    pub fn alternative(&self, nick: &str, n: u32, nicklen: usize) -> String {
        let nicklen = nicklen.max(LEAST_NICKLEN);
        let number = n.to_string();
        // Room for two digits even if there is one, or `ab1` + `2` and `ab` + `12` would be the same.
        let room = number.len().max(2);
        let suffix = Some(self.end()).filter(|end| nick.len() > end.len() && nick.ends_with(end)).unwrap_or_default();
        let suffix = if room + suffix.len() < nicklen { suffix } else { "" };
        let base = &nick[..nick.len() - suffix.len()];
        let base = &base[..base.floor_char_boundary(nicklen - room - suffix.len())];
        let alternative = format!("{base}{number}{suffix}");
        // Only where `nick` ends with the very number that its end was cut off for.
        if alternative == nick { self.alternative(nick, n + 100, nicklen) } else { alternative }
    }
}

/// The `n`th number (from 1) for the nick of `owner` where nicks have `nicklen` bytes.
///
/// The first few are everybody's. Then come those of a hash, which are one's own more or less: however many have the same
/// name, each finds a free number after few tries, and the same one every time.
#[must_use]
pub fn nick_number(owner: &str, n: usize, nicklen: usize) -> u32 {
    if n <= IN_A_ROW {
        return u32::try_from(n).unwrap_or(u32::MAX);
    }
    // Where nicks are very short, two digits are all that there is room for.
    let (least, count) = if nicklen < 9 { (10, 90) } else { (1_000, 9_000) };
    least + u32::try_from(fnv(&format!("{owner} {n}")) % count).unwrap_or_default()
}

const fn is_no_first(c: char) -> bool {
    c.is_ascii_digit() || c == '-'
}

/// What of `text` can be written in a nick; `None` if nothing.
fn legible(text: &str) -> Option<String> {
    let text: String = text.chars().take(DISPLAY_CHARS).collect();
    let words = nick_characters(&text.replace(is_emoji, " "));
    let nick = if words.is_empty() { nick_characters(&text) } else { words };
    (!nick.is_empty()).then_some(nick)
}

/// Transliterates and puts `_` where something was dropped between two letters or digits.
fn nick_characters(text: &str) -> String {
    let mut nick = String::with_capacity(text.len());
    let mut dropped = false;
    for c in deunicode::deunicode_with_tofu(text, "").chars() {
        if is_ascii_nick_char(c) {
            if dropped && c.is_ascii_alphanumeric() && nick.ends_with(|last: char| last.is_ascii_alphanumeric()) {
                nick.push('_');
            }
            nick.push(c);
            dropped = false;
        } else if !matches!(c, '\'' | '"') {
            dropped = true;
        }
    }
    nick
}

/// Pictures, which transliterate to long English words, and the invisible characters that join and modify them.
const fn is_emoji(c: char) -> bool {
    matches!(c, '\u{200d}' | '\u{2190}'..='\u{21ff}' | '\u{2300}'..='\u{27bf}' | '\u{2900}'..='\u{297f}'
        | '\u{2b00}'..='\u{2bff}' | '\u{fe00}'..='\u{fe0f}' | '\u{1f000}'..='\u{1faff}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;
    use ruma::user_id;

    use super::*;
    use crate::{model::Isupport, translate::valid_nick};

    fn template() -> NickTemplate {
        NickTemplate::new("{display}[m]").unwrap()
    }

    #[test]
    fn r72_nicks_stay_recognisable() {
        let user = user_id!("@famfo:example.org");
        for (display, nick) in [
            (Some("Alice"), "Alice[m]"),
            (None, "famfo[m]"),
            (Some("famfo (4211/4212)"), "famfo_4211_4212[m]"),
            (Some("René O'Connor"), "Rene_OConnor[m]"),
            (Some("Жанна"), "Zhanna[m]"),
            (Some("李明"), "Li_Ming[m]"),
            (Some("Jürgen Groß"), "Jurgen_Gross[m]"),
            (Some("🦄 Uni 🌈"), "Uni[m]"),
            (Some("🦄"), "unicorn[m]"),
            (Some("4211"), "_4211[m]"),
            (Some("-dash-"), "_-dash-[m]"),
            (Some("foo [away]"), "foo[away][m]"),
            (Some("a - b"), "a-b[m]"),
            (Some("x\r\nQUIT :\0\x01"), "x_QUIT[m]"),
            (Some(" @#,:! "), "famfo[m]"),
            (Some(""), "famfo[m]"),
        ] {
            assert_eq!(template().nick(user, display, 30), nick, "{display:?}");
        }
        assert_eq!(template().nick(user_id!("@=.=:example.org"), Some("…"), 30), "...[m]".replace("...", NAMELESS));
    }

    #[test]
    fn r72_the_variable_part_is_cut_and_the_fixed_end_survives() {
        let user = user_id!("@alice:example.org");
        for (text, nicklen, nick) in [
            ("{display}[m]", 16, "Maximilian_Mu[m]"),
            ("{display}[m]", 14, "Maximilian[m]"),
            ("{display}[m]", 9, "Maximi[m]"),
            ("m-{display}", 9, "m-Maximil"),
            ("{display}|{server}", 20, "Maximilian|example_o"),
            ("{display}[matrixmatrix]", 9, "M[matrixm"),
            ("{localpart}[m]", 9, "alice[m]"),
        ] {
            let template = NickTemplate::new(text).unwrap();
            assert_eq!(template.nick(user, Some("Maximilian Mustermann"), nicklen), nick, "{text} in {nicklen}");
        }
    }

    #[test]
    fn templates_must_make_legal_nicks_that_differ() {
        assert!(matches!(NickTemplate::new("{display} m"), Err(TemplateError::BadCharacter { found: ' ', .. })));
        assert_eq!(NickTemplate::new("{server}[m]"), Err(TemplateError::Missing("{display} or {localpart}")));
        assert!(matches!(NickTemplate::new("{nick}"), Err(TemplateError::Unknown { .. })));
    }

    #[test]
    fn r72_alternatives_go_before_the_fixed_end() {
        let template = template();
        assert_eq!(template.alternative("alice[m]", 1, 30), "alice1[m]");
        assert_eq!(template.alternative("alice[m]", 12, 30), "alice12[m]");
        assert_eq!(template.alternative("Maximi[m]", 1, 9), "Maxi1[m]");
        assert_eq!(template.alternative("Maxi12[m]", 12, 9), "Max112[m]");
        assert_eq!(template.alternative("chosen", 3, 30), "chosen3");
        assert_eq!(template.alternative("abc[m]", 10, 4), "ab10");
    }

    #[test]
    fn r72_any_number_of_users_of_one_name_find_a_nick_each_after_few_tries() {
        for nicklen in [9, 30] {
            let (mut taken, mut tries) = (HashSet::new(), 0);
            for n in 0..1_000 {
                let user = UserId::parse(format!("@alex{n}:example.org")).unwrap();
                let nick = template().nick(&user, Some("Alex"), nicklen);
                let mut others = template().alternatives(&nick, &user, nicklen).into_iter();
                assert_eq!(others.as_slice(), template().alternatives(&nick, &user, nicklen));
                let mut nick = nick;
                while !taken.insert(nick.clone()) {
                    nick = others.next().expect("one of them is free");
                    assert!(nick.ends_with("[m]") && nick.starts_with("Al") && nick.len() <= nicklen, "{nick}");
                    tries += 1;
                }
            }
            assert!(tries < 6_000, "{tries}");
        }
    }

    proptest! {
        #[test]
        fn r72_every_nick_is_legal_and_fits(
            display in proptest::option::of(any::<String>()),
            localpart in "[a-z0-9._=/+-]{0,40}",
            nicklen in 9_usize..40,
            text in prop_oneof![Just("{display}[m]"), Just("{localpart}|{server}"), Just("{display}[averylongsuffix]")],
        ) {
            let user = UserId::parse(format!("@{localpart}:example.org")).unwrap();
            let nick = NickTemplate::new(text).unwrap().nick(&user, display.as_deref(), nicklen);
            let isupport = Isupport { nicklen: Some(nicklen), ..Isupport::default() };
            prop_assert!(nick.is_ascii() && valid_nick(&nick, &isupport), "{nick:?}");
            if text.ends_with("[m]") {
                prop_assert!(nick.ends_with("[m]"));
            }
        }

        #[test]
        fn r72_alternatives_are_legal_and_all_different(
            nick in "[a-z_^`][a-z0-9_-]{0,40}(\\[m\\])?",
            nicklen in 4_usize..40,
        ) {
            let nick = &nick[..nick.len().min(nicklen)];
            let mut seen = HashSet::from([nick.to_owned()]);
            let isupport = Isupport { nicklen: Some(nicklen), ..Isupport::default() };
            for n in 1..=99 {
                let alternative = template().alternative(nick, n, nicklen);
                prop_assert!(valid_nick(&alternative, &isupport), "{alternative}");
                prop_assert!(seen.insert(alternative.clone()), "{alternative} twice");
            }
        }
    }
}
