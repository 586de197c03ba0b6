//! A channel's settings and lists, as its observer sees them.

use std::collections::BTreeMap;

use crate::model::{ModeChange, ModeKind};

/// More masks than any list has.
const MOST_MASKS: usize = 20_000;

/// What is set, and what is on which list. Ranks are with the people who have them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ChannelModes {
    /// Settings, and the argument of those that have one.
    set: BTreeMap<char, Option<String>>,
    /// Lists, by their letter: bans and the like.
    lists: BTreeMap<char, Vec<String>>,
    /// Whether the server has told all settings.
    told: bool,
}

/// Who may know of a channel, and who may come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Access {
    /// Whether not everybody may come in: `+i`, `+k`.
    pub(super) closed: bool,
    /// Whether it isn't to be known to everybody (R18): that, or `+s`, `+p`.
    pub(super) hidden: bool,
}

impl ChannelModes {
    /// One was changed.
    pub(super) fn change(&mut self, change: ModeChange) {
        let ModeChange { set, letter, kind, arg } = change;
        match kind {
            ModeKind::Membership => {}
            ModeKind::List => {
                let Some(mask) = arg else { return };
                let list = self.lists.entry(letter).or_default();
                list.retain(|known| !known.eq_ignore_ascii_case(&mask));
                if set && list.len() < MOST_MASKS {
                    list.push(mask);
                }
            }
            _ if set => {
                self.set.insert(letter, arg);
            }
            _ => {
                self.set.remove(&letter);
            }
        }
    }

    /// These are all settings.
    pub(super) fn are(&mut self, modes: Vec<ModeChange>) {
        self.told = true;
        self.set.clear();
        modes.into_iter().filter(|mode| mode.kind != ModeKind::List).for_each(|mode| self.change(mode));
    }

    /// This is all of a list.
    pub(super) fn list_is(&mut self, letter: char, masks: Vec<String>) {
        self.lists.insert(letter, masks);
    }

    /// Who may know of the channel and come in; `None` before the server has told.
    pub(super) fn access(&self) -> Option<Access> {
        let any = |letters: [char; 2]| letters.into_iter().any(|letter| self.has(letter));
        let closed = any(['i', 'k']);
        self.told.then(|| Access { closed, hidden: closed || any(['s', 'p']) })
    }

    /// Whether a setting is on.
    pub(super) fn has(&self, letter: char) -> bool {
        self.set.contains_key(&letter)
    }

    /// What is on a list.
    pub(super) fn list(&self, letter: char) -> &[String] {
        self.lists.get(&letter).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(set: bool, letter: char, kind: ModeKind, arg: Option<&str>) -> ModeChange {
        ModeChange { set, letter, kind, arg: arg.map(Into::into) }
    }

    #[test]
    fn settings_and_lists_follow_their_changes() {
        let mut modes = ChannelModes::default();
        modes.list_is('b', vec!["*!*@a".into()]);
        for (set, letter, kind, arg) in [
            (true, 'm', ModeKind::Never, None),
            (true, 'k', ModeKind::Always, Some("key")),
            (true, 'l', ModeKind::WhenSet, Some("5")),
            (false, 'l', ModeKind::WhenSet, None),
            (true, 'b', ModeKind::List, Some("*!*@b")),
            (true, 'b', ModeKind::List, Some("*!*@B")),
            (false, 'b', ModeKind::List, Some("*!*@A")),
            (true, 'b', ModeKind::List, None),
            (true, 'o', ModeKind::Membership, Some("dora")),
        ] {
            modes.change(change(set, letter, kind, arg));
        }
        assert!(modes.has('m') && modes.has('k') && !modes.has('l') && !modes.has('o'));
        assert_eq!(modes.list('b'), ["*!*@B"]);
        modes.are(vec![change(true, 'n', ModeKind::Never, None)]);
        assert!(modes.has('n') && !modes.has('m'));
        assert_eq!((modes.list('b').len(), modes.list('q').len()), (1, 0));
    }

    #[test]
    fn r18_who_may_know_of_a_channel_is_unknown_before_the_server_has_told() {
        let mut modes = ChannelModes::default();
        modes.change(change(true, 'n', ModeKind::Never, None));
        assert_eq!(modes.access(), None);
        for (letter, closed, hidden) in
            [('n', false, false), ('s', false, true), ('p', false, true), ('i', true, true), ('k', true, true)]
        {
            modes.are(vec![change(true, letter, ModeKind::Never, None)]);
            assert_eq!(modes.access(), Some(Access { closed, hidden }), "+{letter}");
            modes.change(change(false, letter, ModeKind::Never, None));
            assert_eq!(modes.access(), Some(Access { closed: false, hidden: false }), "-{letter}");
        }
    }
}
