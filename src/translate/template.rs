//! Templates of names in the configuration: fixed text with `{placeholders}`.

/// What is wrong with a template, and what to do; reads after the name of the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A placeholder that this template doesn't know.
    #[error("`{{{found}}}` stands for nothing here: use {known}")]
    Unknown {
        /// The one that was found.
        found: String,
        /// Those that may be used.
        known: String,
    },
    /// A brace without its partner.
    #[error("has a brace without its partner: use {known}")]
    Unclosed {
        /// The placeholders that may be used.
        known: String,
    },
    /// A placeholder is needed.
    #[error("gives everybody the same name: put {0} into it")]
    Missing(&'static str),
    /// A placeholder may stand only once, or names couldn't be read back.
    #[error("has {0} more than once: it has to be readable from the name, so put it in once")]
    Repeated(&'static str),
    /// A character that the name may not have.
    #[error("has {found:?}, which no such name may have: use {allowed}")]
    BadCharacter {
        /// The first that may not.
        found: char,
        /// Those that may, in words.
        allowed: &'static str,
    },
}

/// One part of a template, of which `V` names the placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part<V> {
    /// Fixed text.
    Text(String),
    /// A placeholder.
    Value(V),
}

/// Reads a template with the placeholders `known`.
pub(super) fn parse<V: Copy>(template: &str, known: &[(&str, V)]) -> Result<Vec<Part<V>>, TemplateError> {
    let mut parts = Vec::new();
    let mut rest = template;
    let list = || known.iter().map(|(name, _)| format!("{{{name}}}")).collect::<Vec<_>>().join(", ");
    while let Some(start) = rest.find(['{', '}']) {
        let (text, placeholder) = rest.split_at(start);
        let closed = placeholder.strip_prefix('{').and_then(|placeholder| placeholder.split_once('}'));
        let (name, after) = closed.ok_or_else(|| TemplateError::Unclosed { known: list() })?;
        let (_, value) = known
            .iter()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| TemplateError::Unknown { found: name.to_owned(), known: list() })?;
        if !text.is_empty() {
            parts.push(Part::Text(text.to_owned()));
        }
        parts.push(Part::Value(*value));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(parts)
}

/// A template with one variable placeholder, all else fixed: names made from it can be read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Affixes {
    pub(super) prefix: String,
    pub(super) suffix: String,
}

impl Affixes {
    /// Reads a template of `{network}`, which is fixed to `network`, and `variable` (with braces).
    pub(super) fn parse(template: &str, variable: &'static str, network: &str) -> Result<Self, TemplateError> {
        let name = variable.trim_matches(['{', '}']);
        let mut affixes = Self { prefix: String::new(), suffix: String::new() };
        let mut seen = false;
        for part in parse(template, &[(name, true), ("network", false)])? {
            match part {
                Part::Value(true) if seen => return Err(TemplateError::Repeated(variable)),
                Part::Value(true) => seen = true,
                Part::Value(false) => affixes.current(seen).push_str(network),
                Part::Text(text) => affixes.current(seen).push_str(&text),
            }
        }
        if seen { Ok(affixes) } else { Err(TemplateError::Missing(variable)) }
    }

    fn current(&mut self, seen: bool) -> &mut String {
        if seen { &mut self.suffix } else { &mut self.prefix }
    }

    /// Refuses fixed text with a character that isn't one of those `allowed`, in words and as a test.
    pub(super) fn check(self, allowed: &'static str, is: impl Fn(char) -> bool) -> Result<Self, TemplateError> {
        match self.prefix.chars().chain(self.suffix.chars()).find(|&c| !is(c)) {
            Some(found) => Err(TemplateError::BadCharacter { found, allowed }),
            None => Ok(self),
        }
    }

    /// The variable part of `name`, if the rest is as the template says.
    pub(super) fn strip<'a>(&self, name: &'a str) -> Option<&'a str> {
        name.strip_prefix(self.prefix.as_str())?.strip_suffix(self.suffix.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_say_what_is_wrong_with_them() {
        let read = |template| Affixes::parse(template, "{nick}", "libera");
        assert_eq!(read("irc_{network}_{nick}.x"), Ok(Affixes { prefix: "irc_libera_".into(), suffix: ".x".into() }));
        for unclosed in ["irc_{nick", "irc_nick}", "}{nick}"] {
            assert_eq!(
                read(unclosed).unwrap_err().to_string(),
                "has a brace without its partner: use {nick}, {network}"
            );
        }
        assert_eq!(read("irc_{network}"), Err(TemplateError::Missing("{nick}")));
        assert_eq!(read("{nick}{nick}"), Err(TemplateError::Repeated("{nick}")));
        assert_eq!(read("{nik}").unwrap_err().to_string(), "`{nik}` stands for nothing here: use {nick}, {network}");
    }
}
