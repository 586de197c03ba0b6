//! Who is in a channel, with what rank and under which account, as its observer sees it.

use std::collections::HashMap;

use crate::model::{CaseMapping, Folded, LinkId, Source};

/// Somebody in a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Person {
    /// As last seen.
    pub(super) source: Source,
    /// The letters of the rank modes (PREFIX) that they have there.
    pub(super) ranks: String,
    /// The account they are logged in to, as far as we know.
    pub(super) account: Option<String>,
    /// Which of our links they are, if any.
    pub(super) ours: Option<LinkId>,
}

/// Everyone in a channel, ourselves included.
#[derive(Debug, Default)]
pub(super) struct Roster {
    people: HashMap<Folded, Person>,
    /// How many of them aren't ours.
    others: usize,
}

impl Roster {
    pub(super) fn get(&self, nick: &Folded) -> Option<&Person> {
        self.people.get(nick)
    }

    pub(super) fn get_mut(&mut self, nick: &Folded) -> Option<&mut Person> {
        self.people.get_mut(nick)
    }

    /// How many people of others are there.
    pub(super) const fn others(&self) -> usize {
        self.others
    }

    /// How one of our links is there.
    pub(super) fn of_link(&self, link: &LinkId) -> Option<&Person> {
        self.people.values().find(|person| person.ours.as_ref() == Some(link))
    }

    /// Everyone, ourselves included.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Folded, &Person)> {
        self.people.iter()
    }

    /// Somebody is there; whoever had that nick isn't any more.
    pub(super) fn insert(&mut self, nick: Folded, person: Person) {
        self.others += usize::from(person.ours.is_none());
        if let Some(before) = self.people.insert(nick, person) {
            self.others -= usize::from(before.ours.is_none());
        }
    }

    pub(super) fn remove(&mut self, nick: &Folded) -> Option<Person> {
        let person = self.people.remove(nick)?;
        self.others -= usize::from(person.ours.is_none());
        Some(person)
    }

    /// Somebody is called otherwise now.
    pub(super) fn rename(&mut self, old: &Folded, nick: &str, new: Folded) {
        if let Some(mut person) = self.remove(old) {
            nick.clone_into(&mut person.source.nick);
            self.insert(new, person);
        }
    }

    /// Takes over what `before` knew of the accounts of who is still there.
    pub(super) fn learn_accounts(&mut self, before: &Self) {
        for (nick, person) in &mut self.people {
            if person.account.is_none()
                && let Some(same) = before.get(nick).filter(|before| before.source == person.source)
            {
                person.account.clone_from(&same.account);
            }
        }
    }

    /// Folds all nicks anew.
    pub(super) fn refold(&mut self, mapping: CaseMapping) {
        for person in std::mem::take(&mut self.people).into_values() {
            self.people.insert(mapping.fold(&person.source.nick), person);
        }
        self.others = self.people.values().filter(|person| person.ours.is_none()).count();
    }
}

impl FromIterator<(Folded, Person)> for Roster {
    fn from_iter<T: IntoIterator<Item = (Folded, Person)>>(people: T) -> Self {
        let mut roster = Self::default();
        people.into_iter().for_each(|(nick, person)| roster.insert(nick, person));
        roster
    }
}

impl Person {
    /// Somebody of whom nothing more is known.
    pub(super) const fn new(source: Source, ours: Option<LinkId>) -> Self {
        Self { source, ranks: String::new(), account: None, ours }
    }

    /// Whether they have a rank that may show others out: any above voice, as PREFIX lists them.
    pub(super) fn is_operator(&self) -> bool {
        self.ranks.chars().any(|rank| rank != 'v')
    }

    /// They are given a rank, or it is taken from them. Whether that changes anything.
    pub(super) fn rank(&mut self, letter: char, given: bool) -> bool {
        let had = self.ranks.contains(letter);
        match (had, given) {
            (false, true) => self.ranks.push(letter),
            (true, false) => self.ranks.retain(|rank| rank != letter),
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(nick: &str, ours: bool) -> (Folded, Person) {
        let link = LinkId::bot("net".parse().unwrap());
        let source = Source { nick: nick.into(), user: None, host: None };
        (CaseMapping::Rfc1459.fold(nick), Person::new(source, ours.then_some(link)))
    }

    #[test]
    fn others_are_counted_through_every_change() {
        let mut roster: Roster =
            [person("Dora", false), person("eve", false), person("bot", true)].into_iter().collect();
        assert_eq!((roster.others(), roster.iter().count()), (2, 3));
        let (dora, nora) = (person("dora", false).0, person("nora", false).0);
        roster.rename(&dora, "Nora", nora.clone());
        assert_eq!(roster.get(&nora).unwrap().source.nick, "Nora");
        assert!(roster.get(&dora).is_none());
        // Onto a nick that one of ours had.
        roster.rename(&nora, "bot", person("bot", false).0);
        assert_eq!((roster.others(), roster.iter().count()), (2, 2));
        roster.remove(&person("eve", false).0);
        roster.remove(&nora);
        assert_eq!(roster.others(), 1);
        let (key, ours) = person("bot", true);
        roster.insert(key, ours);
        assert_eq!(roster.others(), 0);
    }

    #[test]
    fn ranks_come_and_go() {
        let (_, mut dora) = person("dora", false);
        assert!(dora.rank('o', true) && dora.rank('v', true) && !dora.rank('o', true));
        assert!(dora.rank('o', false) && !dora.rank('o', false));
        assert_eq!(dora.ranks, "v");
    }
}
