//! One telling of each line, where several of our links tell of the same channel.
//!
//! The bot tells of every channel that it is in; a puppet tells while it observes, and while one takes over from the
//! other both do. A server's id makes a line known wherever there is one. Elsewhere a line is new when the link that
//! tells it has now told it more often than any line like it was taken, those counted that were taken before the link
//! began to tell: so nothing is taken twice and nothing is left out, whoever tells first.
//!
//! `intake` owns this and asks before it puts anything into the journal: what is in there is taken once, so that a start
//! after a crash has no tellings to compare, when nobody knows any more who told what.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
};

use crate::{
    irc::pool::protocol::{PoolEvent, PoolEventBody},
    model::{CaseMapping, Folded, IrcEvent, LinkId, LinkState, Millis, NetworkId, RECALL, TextKind, TextTarget},
};

/// How far apart two links may be with the same line; in milliseconds. One that stood by tells late what it heard.
const APART: Millis = RECALL + 30_000;
/// What was taken so long before a link began to tell is nothing that it tells too; in milliseconds.
const OVERLAP: Millis = 2_000;
/// Lines of a channel remembered at the most.
const REMEMBERED: usize = 4096;

/// What was told of all channels lately.
#[derive(Debug, Default)]
pub(super) struct Witnesses {
    networks: HashMap<NetworkId, Network>,
}

#[derive(Debug, Default)]
struct Network {
    mapping: CaseMapping,
    channels: HashMap<Folded, Tellings>,
}

/// What was told of one channel lately.
#[derive(Debug, Default)]
struct Tellings {
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

/// What a line is known by.
#[derive(Debug, Clone, Copy, Hash)]
enum Mark<'a> {
    Id(&'a str),
    Words { nick: &'a str, kind: TextKind, text: &'a str },
}

impl Witnesses {
    /// Whether this is news: anything but a line of a channel that was told already.
    pub(super) fn is_news(&mut self, event: &PoolEvent, now: Millis) -> bool {
        let link = &event.link;
        match &event.body {
            PoolEventBody::State(LinkState::Ready { isupport, .. }) => {
                let network = self.networks.entry(link.network().clone()).or_default();
                if network.mapping != isupport.casemapping {
                    *network = Network { mapping: isupport.casemapping, channels: HashMap::new() };
                }
            }
            PoolEventBody::Irc(IrcEvent::OwnJoined { channel }) if link.is_bot() => {
                self.channel(link, channel, now).begins(link, now);
            }
            PoolEventBody::Irc(IrcEvent::Recalls { channel, since }) => {
                self.channel(link, channel, now).begins(link, *since);
            }
            PoolEventBody::Irc(IrcEvent::Text {
                target: TextTarget::Channel { name, .. },
                source,
                kind,
                text,
                msgid,
                ..
            }) => {
                let words = Mark::Words { nick: &source.nick, kind: *kind, text };
                let mark = msgid.as_deref().map_or(words, Mark::Id);
                return self.channel(link, name, now).is_first(link, mark, now);
            }
            _ => {}
        }
        true
    }

    fn channel(&mut self, link: &LinkId, channel: &str, now: Millis) -> &mut Tellings {
        let network = self.networks.entry(link.network().clone()).or_default();
        let folded = network.mapping.fold(channel);
        if !network.channels.contains_key(&folded) {
            // Those of which nothing is told any more go when others come.
            network.channels.retain(|_, tellings| !tellings.is_over(now));
        }
        network.channels.entry(folded).or_default()
    }
}

impl Tellings {
    /// `link` tells what is said from then on.
    fn begins(&mut self, link: &LinkId, at: Millis) {
        // Once nothing older is remembered, it makes no difference when a link began.
        self.began.retain(|(other, began)| other != link && at - began < APART);
        self.began.push((link.clone(), at));
    }

    /// Whether this telling by `link` is the first of its line.
    fn is_first(&mut self, link: &LinkId, mark: Mark<'_>, now: Millis) -> bool {
        self.forget(now);
        let hash = self.hasher.hash_one(mark);
        let told = self.lines.entry(hash).or_default();
        let first = if matches!(mark, Mark::Id(_)) {
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

    /// Whether nothing that is told now could be known.
    fn is_over(&mut self, now: Millis) -> bool {
        self.forget(now);
        self.order.is_empty() && self.began.iter().all(|(_, at)| now - at >= APART)
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
    use crate::model::{Epoch, IrcKey, Isupport, Source};

    fn links() -> (LinkId, LinkId) {
        let network: NetworkId = "net".parse().unwrap();
        (LinkId::bot(network.clone()), LinkId::puppet(network, ruma::user_id!("@a:x").to_owned()))
    }

    fn words(text: &str) -> Mark<'_> {
        Mark::Words { nick: "dora", kind: TextKind::Privmsg, text }
    }

    fn first(tellings: &mut Tellings, link: &LinkId, text: &str, now: Millis) -> bool {
        tellings.is_first(link, words(text), now)
    }

    #[test]
    fn r1_what_two_links_tell_is_taken_once_whoever_is_first() {
        let (bot, puppet) = links();
        let mut w = Tellings::default();
        assert!(first(&mut w, &puppet, "a", 0));
        assert!(first(&mut w, &bot, "b", 1), "the bot is ahead");
        assert!(!first(&mut w, &bot, "a", 2));
        assert!(!first(&mut w, &puppet, "b", 3));
        assert!(first(&mut w, &bot, "c", 4), "told by one alone");
    }

    #[test]
    fn r1_the_same_words_said_twice_are_taken_twice() {
        let (bot, puppet) = links();
        let mut w = Tellings::default();
        let tellings = [&bot, &puppet, &puppet, &bot].map(|link| first(&mut w, link, "lol", 0));
        assert_eq!(tellings, [true, false, true, false]);
        // A link that came between the two.
        let mut w = Tellings::default();
        let tellings = [&puppet, &bot, &puppet].map(|link| first(&mut w, link, "lol", 0));
        assert_eq!(tellings, [true, false, true]);
    }

    #[test]
    fn r1_a_servers_id_tells_lines_apart() {
        let (bot, puppet) = links();
        let mut w = Tellings::default();
        let mut first = |link, id, now| w.is_first(link, Mark::Id(id), now);
        assert!(first(&bot, "a", 0) && first(&puppet, "b", 1), "the same words, and another line");
        assert!(!first(&puppet, "a", 20_000) && !first(&bot, "b", 20_000), "late, and the same line");
    }

    #[test]
    fn r1_the_same_words_after_a_change_of_observer_are_taken() {
        let (bot, puppet) = links();
        let mut w = Tellings::default();
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
            let mut w = Tellings::default();
            w.begins(&bot, 0);
            assert!(first(&mut w, &bot, "lol", 1_000));
            // The puppet takes over; what it tells may be what the bot has told already.
            w.begins(&puppet, 1_000 + pause);
            assert_eq!(first(&mut w, &puppet, "lol", 1_001 + pause), is_new, "{pause} ms");
        }
    }

    #[test]
    fn what_is_long_ago_is_forgotten() {
        let (bot, puppet) = links();
        let mut w = Tellings::default();
        assert!(first(&mut w, &bot, "hi", 0));
        assert!(first(&mut w, &puppet, "hi", APART));
        for n in 0..2 * i64::try_from(REMEMBERED).unwrap() {
            assert!(first(&mut w, &bot, &n.to_string(), APART + 1));
        }
        assert!(w.order.len() <= REMEMBERED && w.lines.len() <= REMEMBERED);
    }

    fn event(link: &LinkId, body: PoolEventBody) -> PoolEvent {
        PoolEvent { link: link.clone(), key: IrcKey { epoch: Epoch(1), seq: 0 }, at: 0, body }
    }

    fn text(link: &LinkId, target: TextTarget) -> PoolEvent {
        let source = Source { nick: "dora".into(), user: None, host: None };
        let (kind, text) = (TextKind::Privmsg, "hi".into());
        event(link, PoolEventBody::Irc(IrcEvent::Text { source, target, kind, text, msgid: None, account: None }))
    }

    fn in_channel(link: &LinkId, name: &str) -> PoolEvent {
        text(link, TextTarget::Channel { name: name.into(), status: None })
    }

    #[test]
    fn r1_what_is_told_of_one_channel_is_compared_under_the_networks_case_mapping_and_all_else_is_news() {
        let (bot, puppet) = links();
        let mut w = Witnesses::default();
        let isupport = Isupport { casemapping: CaseMapping::Ascii, ..Isupport::default() };
        let ready = LinkState::Ready { nick: "fb".into(), isupport: isupport.into() };
        assert!(w.is_news(&event(&bot, PoolEventBody::State(ready)), 0));
        assert!(w.is_news(&in_channel(&bot, "#Tea[]"), 0));
        assert!(!w.is_news(&in_channel(&puppet, "#tea[]"), 0));
        assert!(w.is_news(&in_channel(&puppet, "#tea{}"), 0), "another channel");
        assert!(w.is_news(&text(&bot, TextTarget::Own), 0) && w.is_news(&text(&puppet, TextTarget::Own), 0));
        // The puppet heard what was said while the bot told, and the bot is new.
        let recalls = IrcEvent::Recalls { channel: "#TEA[]".into(), since: 0 };
        assert!(w.is_news(&event(&puppet, PoolEventBody::Irc(recalls)), 9_000));
        assert!(w.is_news(&in_channel(&puppet, "#tea[]"), 9_001), "the second time");
        let joined = IrcEvent::OwnJoined { channel: "#TEA[]".into() };
        assert!(w.is_news(&event(&bot, PoolEventBody::Irc(joined)), 20_000));
        assert!(w.is_news(&in_channel(&bot, "#tea[]"), 20_001), "it can't have heard the second");
    }

    #[test]
    fn channels_of_which_nothing_is_told_any_more_are_forgotten() {
        let (bot, _) = links();
        let mut w = Witnesses::default();
        for n in 0..100 {
            assert!(w.is_news(&in_channel(&bot, &format!("#{n}")), 0));
        }
        assert!(w.is_news(&in_channel(&bot, "#new"), APART));
        assert_eq!(w.networks[bot.network()].channels.len(), 1);
    }
}
