//! Patterns for names: `*` stands for any text, `?` for one character, in any case of ASCII letters.

use std::{iter, str::FromStr};

/// A pattern for names of channels or users, such as `#gnome-*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Vec<char>);

impl Glob {
    /// Whether `name` fits the pattern. It takes time of the order of both lengths' product, whatever they are.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        // After each character of the name: how far into the pattern one can be.
        let pattern = &self.0;
        let mut reached: Vec<bool> = iter::once(true).chain(iter::repeat_n(false, pattern.len())).collect();
        skip_stars(&mut reached, pattern);
        for character in name.chars() {
            let character = character.to_ascii_lowercase();
            let mut next = vec![false; pattern.len() + 1];
            for (at, wanted) in pattern.iter().enumerate().filter(|(at, _)| reached[*at]) {
                match wanted {
                    '*' => next[at] = true,
                    '?' => next[at + 1] = true,
                    wanted if *wanted == character => next[at + 1] = true,
                    _ => {}
                }
            }
            skip_stars(&mut next, pattern);
            reached = next;
        }
        reached[pattern.len()]
    }
}

/// A `*` may stand for nothing.
fn skip_stars(reached: &mut [bool], pattern: &[char]) {
    for (at, wanted) in pattern.iter().enumerate() {
        reached[at + 1] |= reached[at] && *wanted == '*';
    }
}

impl FromStr for Glob {
    type Err = String;

    fn from_str(pattern: &str) -> Result<Self, String> {
        if pattern.is_empty() {
            return Err("an empty pattern fits nothing: write a name, in which * stands for any text".to_owned());
        }
        Ok(Self(pattern.chars().map(|character| character.to_ascii_lowercase()).collect()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_fit_names() {
        for (pattern, name, fits) in [
            ("#tea", "#TEA", true),
            ("#tea", "#teas", false),
            ("*", "", true),
            ("#gnome-*", "#gnome-design", true),
            ("#gnome-*", "#gnome", false),
            ("@*:example.org", "@a:b:example.org", true),
            ("@*:example.org", "@a:example.org.evil", false),
            ("a?c", "aéc", true),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1c2b3", false),
            ("**", "x", true),
        ] {
            assert_eq!(pattern.parse::<Glob>().unwrap().matches(name), fits, "{pattern} {name}");
        }
        assert!("".parse::<Glob>().is_err());
    }

    proptest! {
        #[test]
        fn a_name_with_a_part_replaced_by_a_star_still_fits(a in "[a-z]{0,6}", b in "[a-z]{0,6}", c in "[a-z]{0,6}") {
            let glob: Glob = format!("{a}*{c}").parse().unwrap();
            let whole = format!("{a}{b}{c}");
            prop_assert!(glob.matches(&whole));
        }
    }
}
