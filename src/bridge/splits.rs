//! Netsplits: whom the network has lost may be back in a moment, and then was never away. Pure.
//!
//! Servers that know netsplits say so. Of others only the words of a QUIT tell: the names of the two servers that lost each
//! other. Anybody could quit with such words, so that they count only when several do so at once; for as long as that
//! takes, nobody leaves.

use std::collections::HashMap;

use super::people::Person;
use crate::model::{CaseMapping, Folded, Millis};

/// So many quits with the same words…
const MANY: usize = 5;
/// … within this time are a split. In milliseconds.
const AT_ONCE: Millis = 1_000;
/// How long after that those who quit with the same words belong to it.
const GOES_ON: Millis = 60_000;

/// What a QUIT is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Somebody has left.
    Left,
    /// It may be a split's.
    Suspect,
    /// It is a split's.
    Split,
    /// It is a split's, and so are those with the same words since then.
    Proof(Millis),
}

/// The splits of a network.
#[derive(Debug, Default)]
pub(super) struct Splits {
    /// By the words of the quits.
    recent: HashMap<String, Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    /// Who quit so, and when.
    quits: Vec<(Folded, Millis)>,
    /// Until when whoever quits so belongs to the split.
    until: Millis,
}

impl Splits {
    /// Somebody quit with these words; `told`: the server says that it is a split. Several links may tell of the same.
    pub(super) fn quit(&mut self, nick: &Folded, words: &str, told: bool, now: Millis) -> Verdict {
        if told {
            return Verdict::Split;
        }
        if !names_two_servers(words) {
            return Verdict::Left;
        }
        let since = now - AT_ONCE;
        self.recent.retain(|_, recent| {
            recent.quits.retain(|(_, at)| *at > since);
            !recent.quits.is_empty() || recent.until > now
        });
        let recent = self.recent.entry(words.to_owned()).or_default();
        if recent.until > now {
            return Verdict::Split;
        }
        if recent.quits.iter().all(|(other, _)| other != nick) {
            recent.quits.push((nick.clone(), now));
        }
        if recent.quits.len() < MANY {
            return Verdict::Suspect;
        }
        recent.until = now + GOES_ON;
        let first = recent.quits.iter().map(|(_, at)| *at).min();
        recent.quits = Vec::new();
        Verdict::Proof(first.unwrap_or(now))
    }
}

/// Whether these are the names of two servers, as `hub.example leaf.example`; some networks hide them: `*.net *.split`.
fn names_two_servers(words: &str) -> bool {
    let is_server = |name: &str| {
        let legal = |label: &str| {
            !label.is_empty()
                && (label == "*" || label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')))
        };
        name.contains('.') && name.split('.').all(legal)
    };
    words.split_once(' ').is_some_and(|(one, other)| one != other && is_server(one) && is_server(other))
}

/// Those whom a channel has lost in a split and who may come back.
#[derive(Debug, Default)]
pub(super) struct Lost {
    people: HashMap<Folded, Away>,
}

#[derive(Debug)]
struct Away {
    person: Person,
    /// What is said when they are let go.
    reason: String,
    since: Millis,
    /// The words of the QUIT; none once it is sure that it was a split.
    suspect: Option<String>,
}

impl Lost {
    /// Somebody has quit with these words; `suspect`: perhaps not by a split.
    pub(super) fn lose(&mut self, nick: Folded, person: Person, reason: String, suspect: Option<String>, now: Millis) {
        self.people.insert(nick, Away { person, reason, since: now, suspect });
    }

    /// Who has quit with these words since then was lost in a split.
    pub(super) fn prove(&mut self, words: &str, since: Millis) {
        let suspects = self.people.values_mut().filter(|away| away.suspect.as_deref() == Some(words));
        suspects.filter(|away| away.since >= since).for_each(|away| away.suspect = None);
    }

    /// Somebody has this nick in the channel (again).
    pub(super) fn back(&mut self, nick: &Folded) -> Option<Person> {
        self.people.remove(nick).map(|away| away.person)
    }

    /// Those who aren't expected back any more, and what is said of it.
    pub(super) fn let_go(&mut self, now: Millis, hold: Millis) -> Vec<(Folded, Person, String)> {
        let patience = |away: &Away| if away.suspect.is_some() { AT_ONCE.min(hold) } else { hold };
        let over = self.people.extract_if(|_, away| away.since + patience(away) <= now);
        over.map(|(nick, away)| (nick, away.person, away.reason)).collect()
    }

    pub(super) fn contains(&self, nick: &Folded) -> bool {
        self.people.contains_key(nick)
    }

    pub(super) fn people(&self) -> impl Iterator<Item = &Person> {
        self.people.values().map(|away| &away.person)
    }

    pub(super) fn len(&self) -> usize {
        self.people.len()
    }

    /// Folds all nicks anew.
    pub(super) fn refold(&mut self, mapping: CaseMapping) {
        let people = std::mem::take(&mut self.people).into_values();
        self.people = people.map(|away| (mapping.fold(&away.person.source.nick), away)).collect();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Source;

    const WORDS: &str = "hub.example leaf.example";

    fn nick(n: usize) -> Folded {
        CaseMapping::Ascii.fold(&format!("n{n}"))
    }

    fn person(n: usize) -> Person {
        Person::new(Source { nick: format!("n{n}"), user: None, host: None }, None)
    }

    #[test]
    fn r78_the_words_of_a_split_are_the_names_of_two_servers() {
        for (words, are) in [
            (WORDS, true),
            ("*.net *.split", true),
            ("irc-1.example.org services.", false),
            ("a.b c.d", true),
            ("Quit: hub.example leaf.example", false),
            ("hub.example", false),
            ("hub.example leaf.example bye", false),
            ("hub.example  leaf.example", false),
            ("hub.example hub.example", false),
            ("localhost leaf.example", false),
            (".. ..", false),
            ("www.example.org/x leaf.example", false),
            ("see you", false),
            ("Ping timeout: 240 seconds", false),
            ("G-lined: spam.example", false),
            ("", false),
        ] {
            assert_eq!(names_two_servers(words), are, "{words}");
        }
    }

    #[test]
    fn r78_a_split_is_told_or_many_that_quit_at_once() {
        let mut splits = Splits::default();
        assert_eq!(splits.quit(&nick(0), "bye", false, 0), Verdict::Left);
        assert_eq!(splits.quit(&nick(0), "bye", true, 0), Verdict::Split);
        for n in 1..MANY {
            assert_eq!(splits.quit(&nick(n), WORDS, false, 10), Verdict::Suspect);
            assert_eq!(splits.quit(&nick(n), WORDS, false, 10), Verdict::Suspect, "told by two links");
        }
        assert_eq!(splits.quit(&nick(0), WORDS, false, 500), Verdict::Proof(10));
        assert_eq!(splits.quit(&nick(9), WORDS, false, 50_000), Verdict::Split, "a late one");
        assert_eq!(splits.quit(&nick(9), WORDS, false, 70_000), Verdict::Suspect, "another time");
        for n in 0..20_u8 {
            let now = 100_000 + 300 * Millis::from(n);
            assert_eq!(splits.quit(&nick(n.into()), "c.example d.example", false, now), Verdict::Suspect, "no burst");
        }
    }

    #[test]
    fn r78_one_with_the_words_of_a_split_leaves_like_anybody_else() {
        let mut lost = Lost::default();
        lost.lose(nick(1), person(1), "Quit".into(), Some(WORDS.into()), 0);
        lost.lose(nick(2), person(2), "Quit".into(), None, 0);
        assert_eq!(lost.let_go(999, 300_000), []);
        assert_eq!(lost.let_go(1_000, 300_000), [(nick(1), person(1), "Quit".into())]);
        assert_eq!(lost.let_go(299_999, 300_000), []);
        assert_eq!(lost.let_go(300_000, 300_000), [(nick(2), person(2), "Quit".into())]);
    }

    proptest! {
        /// Whoever is lost comes back or is let go, within the hold time, whoever else comes back or not.
        #[test]
        fn r78_nobody_is_held_for_ever_and_who_comes_back_is_never_let_go(
            story in proptest::collection::vec((0_usize..12, 0_u8..3, 0_i64..400), 0..60),
        ) {
            let hold = 3_000;
            let (mut splits, mut lost, mut now) = (Splits::default(), Lost::default(), 0);
            let mut away: HashMap<Folded, Millis> = HashMap::new();
            for (n, what, pause) in story {
                now += pause;
                for (gone, ..) in lost.let_go(now, hold) {
                    prop_assert!(away.remove(&gone).is_some(), "was away");
                }
                let nick = nick(n);
                if away.remove(&nick).is_some() {
                    prop_assert!(lost.back(&nick).is_some());
                } else {
                    let verdict = splits.quit(&nick, WORDS, what == 0, now);
                    let suspect = (verdict == Verdict::Suspect).then(|| WORDS.to_owned());
                    lost.lose(nick.clone(), person(n), String::new(), suspect, now);
                    if let Verdict::Proof(since) = verdict {
                        lost.prove(WORDS, since);
                    }
                    away.insert(nick, now);
                }
                prop_assert!(away.values().all(|since| now - since < hold));
                prop_assert_eq!(lost.len(), away.len());
            }
            lost.let_go(now + hold, hold);
            prop_assert_eq!(lost.len(), 0);
        }
    }
}
