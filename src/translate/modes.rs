//! MODE lines, read by what the server said of its modes and by nothing else (R57).
//!
//! Which letter takes an argument differs between networks; one wrong guess shifts all arguments after it, and the
//! wrong person is taken for an operator.

use crate::model::{Isupport, ModeChange, ModeKind};

/// Reads the modes of a MODE line: `modes` is its first argument (`+ov-k`), `args` are those after it.
///
/// Nothing is too malformed: missing arguments are `None`, superfluous ones are ignored.
#[must_use]
pub fn parse_modes<'a>(isupport: &Isupport, modes: &str, args: impl IntoIterator<Item = &'a str>) -> Vec<ModeChange> {
    let mut args = args.into_iter().map(ToOwned::to_owned);
    let mut set = true;
    let mut changes = Vec::new();
    for letter in modes.chars() {
        match letter {
            '+' => set = true,
            '-' => set = false,
            _ => {
                let kind = kind(isupport, letter);
                let arg = match kind {
                    ModeKind::Membership | ModeKind::List | ModeKind::Always => args.next(),
                    ModeKind::WhenSet if set => args.next(),
                    ModeKind::WhenSet | ModeKind::Never | ModeKind::Unknown => None,
                };
                changes.push(ModeChange { set, letter, kind, arg });
            }
        }
    }
    changes
}

/// What one MODE line says: its letters with their signs, and their arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModeLine {
    /// `+bb-o`
    pub letters: String,
    /// In the order of the letters that take one.
    pub args: Vec<String>,
}

/// How many bytes of arguments a MODE line has room for, whatever else has to be in it when others see it.
const ROOM: usize = 250;

/// Packs changes into as few lines as the server allows: at most `most` changes in each.
#[must_use]
pub fn pack_modes(changes: &[ModeChange], most: usize) -> Vec<ModeLine> {
    let mut lines: Vec<ModeLine> = Vec::new();
    let (mut count, mut room, mut sign) = (0, 0, None);
    for change in changes {
        let len = change.arg.as_ref().map_or(0, |arg| arg.len() + 1);
        if lines.is_empty() || count >= most.max(1) || len > room {
            lines.push(ModeLine { letters: String::new(), args: Vec::new() });
            (count, room, sign) = (0, ROOM, None);
        }
        let Some(line) = lines.last_mut() else { continue };
        if sign != Some(change.set) {
            line.letters.push(if change.set { '+' } else { '-' });
            sign = Some(change.set);
        }
        line.letters.push(change.letter);
        line.args.extend(change.arg.clone());
        (count, room) = (count + 1, room.saturating_sub(len));
    }
    lines
}

fn kind(isupport: &Isupport, letter: char) -> ModeKind {
    if isupport.prefix.iter().any(|&(mode, _)| mode == letter) {
        return ModeKind::Membership;
    }
    let kinds = [ModeKind::List, ModeKind::Always, ModeKind::WhenSet, ModeKind::Never];
    let known = isupport.chanmodes.iter().zip(kinds).find(|(letters, _)| letters.contains(letter));
    known.map_or(ModeKind::Unknown, |(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn libera() -> Isupport {
        Isupport {
            prefix: vec![('o', '@'), ('v', '+')],
            chanmodes: ["eIbq".into(), "k".into(), "flj".into(), "CFLMPQRSTcgimnprstuz".into()],
            ..Isupport::default()
        }
    }

    fn shown(isupport: &Isupport, line: &str) -> Vec<String> {
        let mut words = line.split(' ');
        let modes = words.next().unwrap_or_default();
        let show = |change: ModeChange| {
            format!("{}{}={}", if change.set { '+' } else { '-' }, change.letter, change.arg.as_deref().unwrap_or("?"))
        };
        parse_modes(isupport, modes, words).into_iter().map(show).collect()
    }

    #[test]
    fn r57_the_right_people_get_the_right_ranks() {
        for (line, expected) in [
            ("+ov alice bob", vec!["+o=alice", "+v=bob"]),
            ("+o-v alice bob", vec!["+o=alice", "-v=bob"]),
            ("o alice", vec!["+o=alice"]),
            ("+bo *!*@spam alice", vec!["+b=*!*@spam", "+o=alice"]),
            ("+lo 10 alice", vec!["+l=10", "+o=alice"]),
            ("-lo alice", vec!["-l=?", "-o=alice"]),
            ("-ko key alice", vec!["-k=key", "-o=alice"]),
            ("+nto alice", vec!["+n=?", "+t=?", "+o=alice"]),
            ("+Zo alice", vec!["+Z=?", "+o=alice"]),
            ("+ao alice", vec!["+a=?", "+o=alice"]),
            ("+ooov a b c d", vec!["+o=a", "+o=b", "+o=c", "+v=d"]),
            ("+b", vec!["+b=?"]),
            ("+oo alice", vec!["+o=alice", "+o=?"]),
            ("+o alice bob", vec!["+o=alice"]),
            ("", vec![]),
            ("+-", vec![]),
            ("+é x", vec!["+é=?"]),
        ] {
            assert_eq!(shown(&libera(), line), expected, "{line}");
        }
    }

    #[test]
    fn r57_the_same_letter_is_another_mode_elsewhere() {
        let unreal = Isupport {
            prefix: vec![('q', '~'), ('a', '&'), ('o', '@'), ('h', '%'), ('v', '+')],
            chanmodes: ["beI".into(), "kL".into(), "l".into(), "imnpst".into()],
            ..Isupport::default()
        };
        let of = |isupport: &Isupport| parse_modes(isupport, "+q", ["x"])[0].kind;
        assert_eq!((of(&libera()), of(&unreal)), (ModeKind::List, ModeKind::Membership));
        assert_eq!(shown(&unreal, "+qaohv a b c d e"), ["+q=a", "+a=b", "+o=c", "+h=d", "+v=e"]);
    }

    #[test]
    fn modes_are_packed_as_the_server_allows() {
        let change = |word: &str| {
            let (mode, arg) = word.split_once('=').map_or((word, None), |(mode, arg)| (mode, Some(arg.to_owned())));
            let letter = mode.chars().nth(1).unwrap();
            ModeChange { set: mode.starts_with('+'), letter, kind: ModeKind::List, arg }
        };
        let long = format!("+b={}", "x".repeat(240));
        for (changes, most, lines) in [
            ("", 3, vec![]),
            ("+b=a", 3, vec!["+b a"]),
            ("+b=a +b=b -o=c +m", 3, vec!["+bb-o a b c", "+m"]),
            ("+b=a -b=b", 0, vec!["+b a", "-b b"]),
            ("-o=a -o=b -o=c", 100, vec!["-ooo a b c"]),
            (&format!("{long} +b=a"), 100, vec![&format!("+bb {} a", "x".repeat(240))]),
            (&format!("{long} +b=0123456789"), 100, vec![&format!("+b {}", "x".repeat(240)), "+b 0123456789"]),
        ] {
            let changes: Vec<_> = changes.split_whitespace().map(change).collect();
            let packed = pack_modes(&changes, most);
            let show = |line: &ModeLine| format!("{} {}", line.letters, line.args.join(" ")).trim_end().to_owned();
            let shown: Vec<_> = packed.iter().map(show).collect();
            assert_eq!(shown, lines);
        }
    }

    proptest! {
        #[test]
        fn r57_twenty_ranks_in_a_line_keep_their_order(nicks in proptest::collection::vec("[a-z]{1,5}", 0..20)) {
            let modes = format!("+{}", "o".repeat(nicks.len()));
            let changes = parse_modes(&libera(), &modes, nicks.iter().map(String::as_str));
            let opped: Vec<&str> = changes.iter().filter_map(|change| change.arg.as_deref()).collect();
            prop_assert_eq!(opped, nicks.iter().map(String::as_str).collect::<Vec<_>>());
        }

        #[test]
        fn hostile_lines_never_panic(modes in any::<String>(), args in proptest::collection::vec(any::<String>(), 0..4)) {
            let changes = parse_modes(&libera(), &modes, args.iter().map(String::as_str));
            prop_assert!(changes.iter().filter(|change| change.arg.is_some()).count() <= args.len());
        }
    }
}
