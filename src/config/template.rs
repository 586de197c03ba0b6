//! Names with gaps: `irc_{network}_{nick}`.

use std::fmt;

use super::reader::nearest;

/// A text with named gaps in braces. Which names it may and must have was checked when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Gap(String),
}

impl Template {
    /// Reads a template whose gaps may only be `allowed`. A brace always belongs to a gap.
    pub(super) fn parse(text: &str, allowed: &[&str]) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find(['{', '}']) {
            let (before, gap) = rest.split_at(start);
            let (name, after) = gap
                .strip_prefix('{')
                .and_then(|gap| gap.split_once('}'))
                .ok_or_else(|| format!("`{text}` has a brace without its partner: {}", list(allowed)))?;
            if !allowed.contains(&name) {
                let meant = nearest(name, allowed.iter().copied()).unwrap_or_default();
                return Err(format!(
                    "`{{{name}}}` stands for nothing here: did you mean `{{{meant}}}`? ({})",
                    list(allowed)
                ));
            }
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(Piece::Gap(name.to_owned()));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self { pieces })
    }

    /// The text with its gaps filled from `values`; a gap without a value stays empty.
    #[must_use]
    pub fn render(&self, values: &[(&str, &str)]) -> String {
        self.pieces.iter().map(|piece| piece.fill(values)).collect()
    }

    /// What stands before and after the gap `name`, the other gaps filled from `values`: with these, what was in
    /// the gap can be read back from a rendered name. `None` if there is no such gap.
    #[must_use]
    pub fn around(&self, name: &str, values: &[(&str, &str)]) -> Option<(String, String)> {
        let place = self.pieces.iter().position(|piece| matches!(piece, Piece::Gap(gap) if gap == name))?;
        let fill = |pieces: &[Piece]| pieces.iter().map(|piece| piece.fill(values)).collect();
        Some((fill(&self.pieces[..place]), fill(&self.pieces[place + 1..])))
    }

    /// How often the gap `name` occurs.
    pub(super) fn count(&self, name: &str) -> usize {
        self.pieces.iter().filter(|piece| matches!(piece, Piece::Gap(gap) if gap == name)).count()
    }

    /// The first character outside of gaps that `wrong` is true of.
    pub(super) fn find_literal(&self, wrong: impl Fn(char) -> bool) -> Option<char> {
        let texts = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(text) => Some(text.as_str()),
            Piece::Gap(_) => None,
        });
        texts.flat_map(str::chars).find(|c| wrong(*c))
    }
}

impl Piece {
    fn fill<'a>(&'a self, values: &[(&str, &'a str)]) -> &'a str {
        match self {
            Self::Text(text) => text,
            Self::Gap(gap) => values.iter().find(|(name, _)| name == gap).map_or("", |(_, value)| value),
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => f.write_str(text),
            Piece::Gap(gap) => write!(f, "{{{gap}}}"),
        })
    }
}

fn list(allowed: &[&str]) -> String {
    let names: Vec<_> = allowed.iter().map(|name| format!("{{{name}}}")).collect();
    format!("use {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["network", "nick"];

    #[test]
    fn gaps_are_filled_and_read_back() {
        let template = Template::parse("irc_{network}_{nick}.x", NAMES).unwrap();
        assert_eq!(template.render(&[("network", "libera"), ("nick", "ann")]), "irc_libera_ann.x");
        let around = template.around("nick", &[("network", "libera")]);
        assert_eq!(around, Some(("irc_libera_".to_owned(), ".x".to_owned())));
        assert_eq!(template.around("display", &[]), None);
        assert_eq!(template.to_string(), "irc_{network}_{nick}.x");
        assert_eq!(template.find_literal(|c| !c.is_alphabetic()), Some('_'));
        assert_eq!(template.find_literal(|c| c == 'n'), None);
        assert_eq!((template.count("nick"), template.count("display")), (1, 0));
    }

    #[test]
    fn a_value_that_looks_like_a_gap_is_left_alone() {
        let template = Template::parse("{nick}{network}", NAMES).unwrap();
        assert_eq!(template.render(&[("nick", "{network}"), ("network", "n")]), "{network}n");
    }

    #[test]
    fn mistakes_are_named() {
        for (bad, word) in [("{nik}", "`{nick}`"), ("{nick", "partner"), ("nick}", "partner"), ("{}", "nothing")] {
            let message = Template::parse(bad, NAMES).unwrap_err();
            assert!(message.contains(word), "{message}");
        }
    }
}
