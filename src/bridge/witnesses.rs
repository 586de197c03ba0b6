//! One telling of each line, where several of our links tell of the same channel.
//!
//! The bot tells of every channel that it is in; a puppet tells while it observes, and while one takes over from the
//! other both do. A server's id makes a line known wherever there is one. Elsewhere a line is new when the link that
//! tells it has now told it more often than any line like it was taken, those counted that were taken before the link
//! began to tell: so nothing is taken twice and nothing is left out, whoever tells first.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
};

use super::portal::Said;
use crate::model::{LinkId, Millis, RECALL};

/// How far apart two links may be with the same line; in milliseconds. One that stood by tells late what it heard.
const APART: Millis = RECALL + 30_000;
/// What was taken so long before a link began to tell is nothing that it tells too; in milliseconds.
const OVERLAP: Millis = 2_000;
/// Lines remembered at the most.
const REMEMBERED: usize = 4096;

/// What was told of one channel lately.
#[derive(Debug, Default)]
pub(super) struct Witnesses {
    hasher: RandomState,
    lines: HashMap<u64, Told>,
    /// When each telling was taken, oldest first.
    order: VecDeque<(Millis, u64)>,
    /// The links that began to tell lately, and when.
    began: Vec<(LinkId, Millis)>,
}

#[derive(Debug, Default)]
struct Told {
    /// When each of the tellings was taken.
    taken: VecDeque<Millis>,
    /// How often each link has told it.
    by: Vec<(LinkId, usize)>,
}

impl Witnesses {
    /// `link` tells from now on.
    pub(super) fn begins(&mut self, link: &LinkId, now: Millis) {
        // Once nothing older is remembered, it makes no difference when a link began.
        self.began.retain(|(other, at)| other != link && now - at < APART);
        self.began.push((link.clone(), now));
    }

    /// Whether this telling by `link` is the first of its line.
    pub(super) fn is_first(&mut self, link: &LinkId, said: &Said, now: Millis) -> bool {
        self.forget(now);
        let hash = match &said.msgid {
            Some(id) => self.hasher.hash_one(id),
            None => self.hasher.hash_one((&said.source.nick, said.kind, &said.text)),
        };
        let told = self.lines.entry(hash).or_default();
        let first = if said.msgid.is_some() {
            told.taken.is_empty()
        } else {
            let began = self.began.iter().find(|(other, _)| other == link).map_or(Millis::MIN, |(_, at)| *at);
            told.again_by(link, began.saturating_sub(OVERLAP))
        };
        if first {
            told.taken.push_back(now);
            self.order.push_back((now, hash));
        }
        first
    }

    /// [`Self::is_first`] for what was said before the last stop, when nobody knows any more who told when: what was
    /// told a moment apart by two links is taken to be one line.
    pub(super) fn is_first_again(&mut self, link: &LinkId, said: &Said, now: Millis) -> bool {
        let at = said.at.min(now);
        self.begins(link, at);
        self.is_first(link, said, at)
    }

    fn forget(&mut self, now: Millis) {
        while let Some((at, hash)) = self.order.front().copied() {
            if now - at < APART && self.order.len() < REMEMBERED {
                return;
            }
            self.order.pop_front();
            let Some(told) = self.lines.get_mut(&hash) else { continue };
            told.taken.pop_front();
            told.by.iter_mut().for_each(|(_, count)| *count = count.saturating_sub(1));
            if told.taken.is_empty() {
                self.lines.remove(&hash);
            }
        }
    }
}

impl Told {
    /// Counts a telling by `link`, which can't tell what was taken before `heard_from`; whether that makes one more than
    /// were taken.
    fn again_by(&mut self, link: &LinkId, heard_from: Millis) -> bool {
        let place = self.by.iter().position(|(by, _)| by == link).unwrap_or_else(|| {
            self.by.push((link.clone(), 0));
            self.by.len() - 1
        });
        let unheard = self.taken.iter().filter(|at| **at < heard_from).count();
        let count = self.by[place].1.max(unheard) + 1;
        self.by[place].1 = count;
        count > self.taken.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Epoch, IrcKey, NetworkId, Source, TextKind, TextTarget};

    fn links() -> (LinkId, LinkId) {
        let network: NetworkId = "net".parse().unwrap();
        (LinkId::bot(network.clone()), LinkId::puppet(network, ruma::user_id!("@a:x").to_owned()))
    }

    fn said(text: &str, msgid: Option<&str>, at: Millis) -> Said {
        Said {
            source: Source { nick: "dora".into(), user: None, host: None },
            target: TextTarget::Channel { name: "#tea".into(), status: None },
            kind: TextKind::Privmsg,
            text: text.into(),
            account: None,
            msgid: msgid.map(Into::into),
            at,
            key: IrcKey { epoch: Epoch(1), seq: 0 },
        }
    }

    fn first(witnesses: &mut Witnesses, link: &LinkId, text: &str, now: Millis) -> bool {
        witnesses.is_first(link, &said(text, None, now), now)
    }

    #[test]
    fn r1_what_two_links_tell_is_taken_once_whoever_is_first() {
        let (bot, puppet) = links();
        let mut w = Witnesses::default();
        assert!(first(&mut w, &puppet, "a", 0));
        assert!(first(&mut w, &bot, "b", 1), "the bot is ahead");
        assert!(!first(&mut w, &bot, "a", 2));
        assert!(!first(&mut w, &puppet, "b", 3));
        assert!(first(&mut w, &bot, "c", 4), "told by one alone");
    }

    #[test]
    fn r1_the_same_words_said_twice_are_taken_twice() {
        let (bot, puppet) = links();
        let mut w = Witnesses::default();
        let tellings = [&bot, &puppet, &puppet, &bot].map(|link| first(&mut w, link, "lol", 0));
        assert_eq!(tellings, [true, false, true, false]);
        // A link that came between the two.
        let mut w = Witnesses::default();
        let tellings = [&puppet, &bot, &puppet].map(|link| first(&mut w, link, "lol", 0));
        assert_eq!(tellings, [true, false, true]);
    }

    #[test]
    fn r1_a_servers_id_tells_lines_apart() {
        let (bot, puppet) = links();
        let mut w = Witnesses::default();
        let mut first = |link, id, now| w.is_first(link, &said("lol", Some(id), now), now);
        assert!(first(&bot, "a", 0) && first(&puppet, "b", 1), "the same words, and another line");
        assert!(!first(&puppet, "a", 20_000) && !first(&bot, "b", 20_000), "late, and the same line");
    }

    #[test]
    fn r1_the_same_words_after_a_change_of_observer_are_taken() {
        let (bot, puppet) = links();
        let mut w = Witnesses::default();
        w.begins(&bot, 0);
        assert!(first(&mut w, &bot, "yes", 1_000));
        w.begins(&puppet, 5_000);
        assert!(first(&mut w, &puppet, "yes", 5_001), "it can't have heard the one before");
        assert!(first(&mut w, &puppet, "yes", 5_002));
        w.begins(&bot, 10_000);
        assert!(first(&mut w, &bot, "yes", 10_001), "nor the bot those two");
        w.begins(&puppet, 10_500);
        assert!(!first(&mut w, &puppet, "yes", 10_600), "the same, as far as anyone can tell");
        assert!(first(&mut w, &puppet, "yes", 10_700));
    }

    #[test]
    fn r1_without_ids_the_same_words_are_new_once_the_change_is_so_long_after() {
        let (bot, puppet) = links();
        for (pause, is_new) in [(0, false), (OVERLAP, false), (OVERLAP + 1, true)] {
            let mut w = Witnesses::default();
            w.begins(&bot, 0);
            assert!(first(&mut w, &bot, "lol", 1_000));
            // The puppet takes over; what it tells may be what the bot has told already.
            w.begins(&puppet, 1_000 + pause);
            assert_eq!(first(&mut w, &puppet, "lol", 1_001 + pause), is_new, "{pause} ms");
        }
    }

    #[test]
    fn r1_what_two_links_told_before_a_crash_is_taken_once() {
        let (bot, puppet) = links();
        let mut w = Witnesses::default();
        let mut again = |link, id, at| w.is_first_again(link, &said("yes", id, at), 60_000);
        let tellings = [
            again(&bot, None, 0),
            again(&puppet, None, 100),
            again(&puppet, None, 10_000),
            again(&bot, None, 10_100),
            again(&bot, None, 10_200),
        ];
        assert_eq!(tellings, [true, false, true, false, true]);
        assert!(again(&bot, Some("a"), 11_000) && !again(&puppet, Some("a"), 20_000));
    }

    #[test]
    fn what_is_long_ago_is_forgotten() {
        let (bot, puppet) = links();
        let mut w = Witnesses::default();
        assert!(first(&mut w, &bot, "hi", 0));
        assert!(first(&mut w, &puppet, "hi", APART));
        for n in 0..2 * i64::try_from(REMEMBERED).unwrap() {
            assert!(first(&mut w, &bot, &n.to_string(), APART + 1));
        }
        assert!(w.order.len() <= REMEMBERED && w.lines.len() <= REMEMBERED);
    }
}
