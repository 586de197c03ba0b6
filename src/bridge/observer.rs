//! Which link's view of a channel is believed, and which link stands by for it.
//!
//! The observer is the bot where it is in the channel, else the oldest puppet. The next in line stands by: when the
//! observer's connection turns out to be dead, it knows what was said since.

use crate::model::{LinkId, Role};

/// A channel's observer, and its standby.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Watch {
    pub(super) observer: Option<LinkId>,
    pub(super) standby: Option<LinkId>,
}

impl Watch {
    /// Chooses among our links that are in a channel, oldest first.
    ///
    /// An observer that still stands is kept unless the bot has come, since each change costs a roster.
    pub(super) fn next(&self, present: &[LinkId]) -> Self {
        let bot = present.iter().find(|link| link.is_bot());
        let current = || present.iter().find(|link| Some(*link) == self.observer.as_ref());
        let observer = bot.or_else(current).or_else(|| present.first());
        let standby = present.iter().find(|link| Some(*link) != observer);
        Self { observer: observer.cloned(), standby: standby.cloned() }
    }

    fn role(&self, link: &LinkId) -> Role {
        match Some(link) {
            link if link == self.observer.as_ref() => Role::Observer,
            link if link == self.standby.as_ref() => Role::Standby,
            _ => Role::Member,
        }
    }

    /// Whose role has changed since `before`, and what it is now. The bot's never does: it observes wherever it is,
    /// unasked, so that between its JOIN and our hearing of it nothing is missed.
    pub(super) fn changes<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = (&'a LinkId, Role)> {
        let links = [&self.observer, &self.standby, &before.observer, &before.standby].into_iter().flatten();
        let changed = links.filter(|link| !link.is_bot() && before.role(link) != self.role(link));
        let mut told: Vec<&LinkId> = Vec::new();
        changed
            .filter(move |link| {
                !told.contains(link) && {
                    told.push(link);
                    true
                }
            })
            .map(|link| (link, self.role(link)))
    }
}

#[cfg(test)]
mod tests {
    use ruma::UserId;

    use super::*;

    fn links() -> [LinkId; 3] {
        let network: crate::model::NetworkId = "net".parse().unwrap();
        let puppet = |name: &str| LinkId::puppet(network.clone(), UserId::parse(format!("@{name}:x")).unwrap());
        [LinkId::bot(network.clone()), puppet("a"), puppet("b")]
    }

    fn watch(observer: Option<&LinkId>, standby: Option<&LinkId>) -> Watch {
        Watch { observer: observer.cloned(), standby: standby.cloned() }
    }

    #[test]
    fn the_bot_is_preferred_then_the_current_one_then_the_oldest_and_the_next_stands_by() {
        let [bot, a, b] = &links();
        for (present, before, after) in [
            (vec![], None, (None, None)),
            (vec![a, b], None, (Some(a), Some(b))),
            (vec![a, b], Some(b), (Some(b), Some(a))),
            (vec![a, b, bot], Some(a), (Some(bot), Some(a))),
            (vec![a], Some(bot), (Some(a), None)),
            (vec![bot], None, (Some(bot), None)),
        ] {
            let present: Vec<LinkId> = present.into_iter().cloned().collect();
            assert_eq!(watch(before, None).next(&present), watch(after.0, after.1), "{present:?}");
        }
    }

    #[test]
    fn who_stands_by_is_the_next_observer() {
        let [bot, a, b] = links();
        let both = Watch::default().next(&[bot, a.clone(), b.clone()]);
        assert_eq!(both.standby.as_ref(), Some(&a));
        let alone = both.next(&[a.clone(), b.clone()]);
        assert_eq!(alone, watch(Some(&a), Some(&b)));
        assert_eq!(alone.changes(&both).collect::<Vec<_>>(), [(&a, Role::Observer), (&b, Role::Standby)]);
    }

    #[test]
    fn every_change_of_a_puppets_role_is_told_once_and_no_other() {
        let [bot, a, b] = &links();
        let both = watch(Some(a), Some(b));
        assert_eq!(both.changes(&both).count(), 0);
        let changes = |before: &Watch, after: &Watch| {
            after.changes(before).map(|(link, role)| (link.clone(), role)).collect::<Vec<_>>()
        };
        assert_eq!(changes(&both, &Watch::default()), [(a.clone(), Role::Member), (b.clone(), Role::Member)]);
        let with_bot = watch(Some(bot), Some(a));
        assert_eq!(changes(&both, &with_bot), [(a.clone(), Role::Standby), (b.clone(), Role::Member)]);
        assert_eq!(changes(&with_bot, &both), [(a.clone(), Role::Observer), (b.clone(), Role::Standby)]);
    }
}
