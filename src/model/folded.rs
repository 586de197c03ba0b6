//! Identity of nicks and channels: compared only after folding under the network's CASEMAPPING.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a network compares nicks and channel names (the CASEMAPPING token of RPL_ISUPPORT).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaseMapping {
    /// Only `A-Z` fold.
    Ascii,
    /// `A-Z` fold, and `[]\~` to `{}|^` (RFC 1459's Scandinavian letters). What a server means that doesn't say.
    #[default]
    Rfc1459,
    /// As [`Self::Rfc1459`], without `~` and `^`.
    Rfc1459Strict,
}

/// A nick or channel name in the form in which it may be compared. Only [`CaseMapping::fold`] makes one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Folded(Box<str>);

impl Folded {
    /// The folded text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Folded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Folded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl CaseMapping {
    /// Reads the value of a CASEMAPPING token; unknown ones fold ASCII only, which merges no two distinct names.
    #[must_use]
    pub fn from_token(value: &str) -> Self {
        match value.to_ascii_lowercase().as_str() {
            "rfc1459" => Self::Rfc1459,
            "rfc1459-strict" | "strict-rfc1459" => Self::Rfc1459Strict,
            _ => Self::Ascii,
        }
    }

    /// The comparable form of `name`.
    #[must_use]
    pub fn fold(self, name: &str) -> Folded {
        Folded(name.chars().map(|c| self.fold_char(c)).collect())
    }

    /// Whether two names are the same on this network; allocates nothing.
    #[must_use]
    pub fn same(self, a: &str, b: &str) -> bool {
        self.same_bytes(a.as_bytes(), b.as_bytes())
    }

    /// [`Self::same`] for names that aren't known to be UTF-8 yet.
    #[must_use]
    pub fn same_bytes(self, a: &[u8], b: &[u8]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| self.fold_byte(*a) == self.fold_byte(*b))
    }

    /// Whether `text` fits `pattern`, in which `*` is anything and `?` any one byte, as servers compare masks.
    #[must_use]
    pub fn glob(self, pattern: &str, text: &str) -> bool {
        glob(pattern, text, |a, b| self.fold_byte(a) == self.fold_byte(b))
    }

    fn fold_char(self, c: char) -> char {
        u8::try_from(c).ok().filter(u8::is_ascii).map_or(c, |b| char::from(self.fold_byte(b)))
    }

    const fn fold_byte(self, b: u8) -> u8 {
        match (b, self) {
            (b'A'..=b'Z', _) => b + 32,
            (b'[', Self::Rfc1459 | Self::Rfc1459Strict) => b'{',
            (b']', Self::Rfc1459 | Self::Rfc1459Strict) => b'}',
            (b'\\', Self::Rfc1459 | Self::Rfc1459Strict) => b'|',
            (b'~', Self::Rfc1459) => b'^',
            _ => b,
        }
    }
}

/// Whether `text` fits `pattern`, in which `*` is anything and `?` any one byte; others are compared by `same`.
#[must_use]
pub fn glob(pattern: &str, text: &str, same: impl Fn(u8, u8) -> bool) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Behind the last `*`, and how much of the text it has taken so far.
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(c) if *c == b'?' || same(*c, text[t]) => (p, t) = (p + 1, t + 1),
            _ => match &mut star {
                Some((behind, taken)) => {
                    *taken += 1;
                    (p, t) = (*behind, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_servers_say() {
        for (pattern, text, fits) in [
            ("", "", true),
            ("*", "", true),
            ("?", "", false),
            ("**a*", "xyzA", true),
            ("a*b*c", "a-b-b-C", true),
            ("a*b*c", "a-c-b", false),
            ("*[M]", "alice{m}", true),
            ("?lice*", "alice", true),
            ("alice", "alice2", false),
        ] {
            assert_eq!(CaseMapping::Rfc1459.glob(pattern, text), fits, "{pattern} {text}");
        }
        assert!(!glob("A*", "a", |a, b| a == b));
    }

    #[test]
    fn r105_names_are_the_same_exactly_when_the_network_says_so() {
        let table = [
            (CaseMapping::Ascii, "#Foo", "#fOO", true),
            (CaseMapping::Ascii, "a[b]", "a{b}", false),
            (CaseMapping::Rfc1459, "A[b]\\~", "a{B}|^", true),
            (CaseMapping::Rfc1459Strict, "a[b]\\", "a{b}|", true),
            (CaseMapping::Rfc1459Strict, "a~", "a^", false),
            (CaseMapping::Rfc1459, "Ärger", "ärger", false),
            (CaseMapping::Rfc1459, "foo", "foo_", false),
        ];
        for (mapping, a, b, same) in table {
            assert_eq!(mapping.fold(a) == mapping.fold(b), same, "{mapping:?} {a} {b}");
            assert_eq!(mapping.same(a, b), same, "{mapping:?} {a} {b}");
        }
    }
}
