//! One telling of each line, where several of our links tell of the same channel.
//!
//! The bot tells of every channel that it is in; a puppet tells while it observes, and while one takes over from the
//! other both do. A line is new when the link that tells it has now told it more often than any line like it was
//! taken: so nothing is taken twice and nothing is left out, whoever tells first.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
};

use crate::model::{LinkId, Millis, Source, TextKind};

/// How far apart two links may be with the same line; in milliseconds.
const APART: Millis = 30_000;
/// Lines remembered at the most.
const REMEMBERED: usize = 4096;

/// What was told of one channel lately.
#[derive(Debug, Default)]
pub(super) struct Witnesses {
    hasher: RandomState,
    lines: HashMap<u64, Told>,
    /// When each telling was taken, oldest first.
    order: VecDeque<(Millis, u64)>,
}

#[derive(Debug, Default)]
struct Told {
    taken: u32,
    by: Vec<(LinkId, u32)>,
}

impl Witnesses {
    /// Whether this telling by `link` is the first of its line.
    pub(super) fn is_first(&mut self, link: &LinkId, source: &Source, kind: TextKind, text: &str, now: Millis) -> bool {
        self.forget(now);
        let hash = self.hasher.hash_one((&source.nick, kind, text));
        let told = self.lines.entry(hash).or_default();
        let place = told.by.iter().position(|(by, _)| by == link).unwrap_or_else(|| {
            told.by.push((link.clone(), 0));
            told.by.len() - 1
        });
        told.by[place].1 += 1;
        let count = told.by[place].1;
        let first = count > told.taken;
        if first {
            told.taken = count;
            self.order.push_back((now, hash));
        }
        first
    }

    fn forget(&mut self, now: Millis) {
        while let Some((at, hash)) = self.order.front().copied() {
            if now - at < APART && self.order.len() < REMEMBERED {
                return;
            }
            self.order.pop_front();
            let Some(told) = self.lines.get_mut(&hash) else { continue };
            told.taken -= 1;
            told.by.iter_mut().for_each(|(_, count)| *count = count.saturating_sub(1));
            if told.taken == 0 {
                self.lines.remove(&hash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NetworkId;

    fn links() -> (LinkId, LinkId) {
        let network: NetworkId = "net".parse().unwrap();
        (LinkId::bot(network.clone()), LinkId::puppet(network, ruma::user_id!("@a:x").to_owned()))
    }

    fn first(witnesses: &mut Witnesses, link: &LinkId, text: &str, now: Millis) -> bool {
        let source = Source { nick: "dora".into(), user: None, host: None };
        witnesses.is_first(link, &source, TextKind::Privmsg, text, now)
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
