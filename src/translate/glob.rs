//! Patterns as IRC and Matrix have them: `*` is anything, `?` is one character.

/// Whether all of `text` is as `pattern` says. It takes at most as many steps as both are long, multiplied.
#[must_use]
pub fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut seen) = (0, 0);
    // Behind the last `*`, and how much of the text that has taken.
    let mut star: Option<(usize, usize)> = None;
    while seen < text.len() {
        match pattern.get(at) {
            Some('*') => {
                at += 1;
                star = Some((at, seen));
            }
            Some(c) if *c == '?' || *c == text[seen] => (at, seen) = (at + 1, seen + 1),
            _ => match &mut star {
                Some((behind, taken)) => {
                    *taken += 1;
                    (at, seen) = (*behind, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_say_what_fits() {
        for (pattern, text, fits) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("#tea", "#tea", true),
            ("#tea", "#teas", false),
            ("#tea*", "#tea", true),
            ("#*-ops", "#tea-ops", true),
            ("#*-ops", "#tea-ops-x", false),
            ("#*a*a", "#banana", true),
            ("#t?a", "#tea", true),
            ("#t?a", "#ta", false),
            ("?", "ä", true),
            ("**", "x", true),
            ("*b", "ab", true),
            ("*b", "ba", false),
        ] {
            assert_eq!(glob(pattern, text), fits, "{pattern} {text}");
        }
        let (pattern, text) = ("a*".repeat(500), "a".repeat(2000) + "b");
        assert!(glob(&pattern, &text) && !glob(&format!("{pattern}c"), &text));
    }
}
