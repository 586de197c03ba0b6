//! Who is in a channel, with what rank and under which account, as its observer sees it.

use std::collections::HashMap;

use super::{residents::Ties, splits::Lost};
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
    /// What ties them to the channel's rooms.
    pub(super) ties: Ties,
}

/// Everyone in a channel, ourselves included.
#[derive(Debug, Default)]
pub(super) struct Roster {
    people: HashMap<Folded, Person>,
    /// Under which nick each of our links is there.
    ours: HashMap<LinkId, Folded>,
}

impl Roster {
    pub(super) fn get(&self, nick: &Folded) -> Option<&Person> {
        self.people.get(nick)
    }

    pub(super) fn get_mut(&mut self, nick: &Folded) -> Option<&mut Person> {
        self.people.get_mut(nick)
    }

    /// One of our links.
    pub(super) fn link(&self, link: &LinkId) -> Option<&Person> {
        self.people.get(self.ours.get(link)?)
    }

    /// How many people of others are there.
    pub(super) fn others(&self) -> usize {
        self.people.len() - self.ours.len()
    }

    /// Everyone, ourselves included.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Folded, &Person)> {
        self.people.iter()
    }

    /// Somebody is there; whoever had that nick isn't any more.
    pub(super) fn insert(&mut self, nick: Folded, person: Person) {
        if let Some(link) = &person.ours {
            self.remove_link(link);
        }
        self.remove(&nick);
        if let Some(link) = &person.ours {
            self.ours.insert(link.clone(), nick.clone());
        }
        self.people.insert(nick, person);
    }

    pub(super) fn remove(&mut self, nick: &Folded) -> Option<Person> {
        let person = self.people.remove(nick)?;
        if let Some(link) = &person.ours {
            self.ours.remove(link);
        }
        Some(person)
    }

    /// One of our links isn't there any more.
    pub(super) fn remove_link(&mut self, link: &LinkId) -> Option<Person> {
        let nick = self.ours.remove(link)?;
        self.people.remove(&nick)
    }

    /// Somebody is called otherwise now.
    pub(super) fn rename(&mut self, old: &Folded, nick: &str, new: Folded) {
        if let Some(mut person) = self.remove(old) {
            nick.clone_into(&mut person.source.nick);
            self.insert(new, person);
        }
    }

    /// Takes over what `before` knew of who is still there.
    pub(super) fn remember(&mut self, before: &Self) {
        for (nick, person) in &mut self.people {
            let Some(same) = before.get(nick) else { continue };
            // Whoever has the nick has the ghost that came or spoke.
            person.ties = same.ties;
            // The account isn't in NAMES.
            if person.account.is_none() && same.source == person.source {
                person.account.clone_from(&same.account);
            }
        }
    }

    /// Takes over what was known of who is back from a split.
    pub(super) fn remember_lost(&mut self, lost: &mut Lost) {
        for (nick, person) in &mut self.people {
            if let Some(back) = lost.back(nick) {
                person.ties = back.ties;
            }
        }
    }

    /// Folds all nicks anew.
    pub(super) fn refold(&mut self, mapping: CaseMapping) {
        self.ours.clear();
        for person in std::mem::take(&mut self.people).into_values() {
            self.insert(mapping.fold(&person.source.nick), person);
        }
    }
}

impl FromIterator<(Folded, Person)> for Roster {
    fn from_iter<T: IntoIterator<Item = (Folded, Person)>>(people: T) -> Self {
        let mut roster = Self::default();
        people.into_iter().for_each(|(nick, person)| roster.insert(nick, person));
        roster
    }
}

/// By what somebody is known to be the same under another nick.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Identity {
    user: Option<String>,
    host: Option<String>,
    account: Option<String>,
}

impl Identity {
    pub(super) fn new(source: &Source, account: Option<String>) -> Self {
        Self { user: source.user.clone(), host: source.host.clone(), account }
    }

    pub(super) const fn has_account(&self) -> bool {
        self.account.is_some()
    }

    /// Whether anything is known that could prove who it is.
    pub(super) const fn is_known(&self) -> bool {
        self.account.is_some() || self.user.is_some() && self.host.is_some()
    }

    /// Whether the two are proven to be one person: by their account where both have one, else by user name and host.
    pub(super) fn is(&self, other: &Self) -> bool {
        if let (Some(one), Some(other)) = (&self.account, &other.account) {
            return one == other;
        }
        let known = self.user.is_some() && self.host.is_some();
        known && (&self.user, &self.host) == (&other.user, &other.host)
    }
}

impl Person {
    /// Somebody of whom nothing more is known.
    pub(super) const fn new(source: Source, ours: Option<LinkId>) -> Self {
        Self { source, ranks: String::new(), account: None, ours, ties: Ties { came: false, spoke: false } }
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

    #[test]
    fn r79_the_account_proves_who_it_is_or_user_name_and_host() {
        let who = |mask: &str, account: &str| {
            let (user, host) = mask.split_once('@').unzip();
            let source = Source { nick: "n".into(), user: user.map(Into::into), host: host.map(Into::into) };
            Identity::new(&source, Some(account.to_owned()).filter(|account| !account.is_empty()))
        };
        for (one, other, same) in [
            (who("u@h", "a"), who("v@i", "a"), true),
            (who("u@h", "a"), who("u@h", "b"), false),
            (who("u@h", "a"), who("u@h", ""), true),
            (who("u@h", ""), who("u@h", ""), true),
            (who("u@h", ""), who("u@i", ""), false),
            (who("u@h", ""), who("v@h", ""), false),
            (who("", ""), who("", ""), false),
            (who("", "a"), who("", ""), false),
        ] {
            assert_eq!((one.is(&other), other.is(&one)), (same, same), "{one:?} {other:?}");
        }
    }

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
        let link = ours.ours.clone().unwrap();
        roster.insert(key, ours.clone());
        assert_eq!(roster.others(), 0);
        // Ours under another nick is the same one.
        roster.insert(person("bot2", true).0, ours);
        assert_eq!((roster.iter().count(), roster.link(&link).is_some()), (1, true));
        assert!(roster.remove_link(&link).is_some() && roster.link(&link).is_none());
    }

    #[test]
    fn ranks_come_and_go() {
        let (_, mut dora) = person("dora", false);
        assert!(dora.rank('o', true) && dora.rank('v', true) && !dora.rank('o', true));
        assert!(dora.rank('o', false) && !dora.rank('o', false));
        assert_eq!(dora.ranks, "v");
    }
}
