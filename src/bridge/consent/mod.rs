//! Consent: a room asks for a channel, and the channel's operators say yes or no (R28, R30, R31).
//!
//! [`Requests`] owns what is pending and is pure; `asking` talks with the room, `agreeing` with people on IRC, `room` looks at what the room is like. The bot
//! joins no channel before somebody there has agreed, tries each agreement once, and whoever agrees is verified by the
//! server's word (WHOIS) at that moment. What is pending outlives a restart because the command that asked for it stays in
//! the journal until it is decided; its code is made of the command's event id, so that it stays too.

mod agreeing;
mod asking;
pub(super) mod room;

use std::collections::{BTreeMap, HashMap};

use ruma::{EventId, RoomId};
use sha2::{Digest as _, Sha256};

use super::{delivery::Origin, directory::ChannelRef};
use crate::{
    config::Secret,
    model::{Folded, Isupport, Millis, NetworkId, Profile},
};

/// Requests that may be pending on a network: each of them writes to people there.
const MOST_REQUESTS: usize = 20;
/// Verifications that may be under way.
const MOST_CHECKS: usize = 100;
/// Operators who are written to for one request.
const MOST_ASKED: usize = 3;
/// How often the bot may come into a hidden channel for one request, to see whether who invited it is an operator.
const MOST_VISITS: u8 = 3;
/// How long a no stands: who keeps asking is not passed on. In milliseconds.
const NO_STANDS: Millis = 24 * 3_600_000;

/// A room that asks for a channel.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) origin: Origin,
    pub(super) network: NetworkId,
    /// The channel as it was written.
    pub(super) channel: String,
    /// How many people are in the room.
    people: usize,
    expires: Millis,
    stage: Stage,
    /// Who was asked on IRC.
    asked: Vec<String>,
    /// Who has agreed, where the bot could not come in all the same.
    agreed: Option<String>,
    visits: u8,
    /// The channel's key, as an operator has told it.
    key: Option<Secret>,
}

/// How far a request has come.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// The room is being looked at.
    Checking,
    /// The channel's operators are to be found, as soon as the bot is on the network.
    Looking,
    /// They are to answer.
    Waiting,
    /// The bot, invited to a hidden channel, comes in to see who this is.
    Visiting(String),
    /// Somebody has agreed, and the bot joins.
    Joining(String, By),
}

/// By what somebody has agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// By the word or the invitation of an operator.
    Operator,
    /// By the invitation of a member, where that is enough.
    Invitation,
}

impl Request {
    /// How it stands, in words.
    pub(super) fn status(&self) -> String {
        let stage = match &self.stage {
            Stage::Checking => "I am looking at the room".to_owned(),
            Stage::Looking => "I am looking for the channel's operators".to_owned(),
            Stage::Waiting => match &self.agreed {
                Some(nick) => format!("{nick} has agreed, and I can't join yet"),
                None => "I wait for the word of one of the channel's operators".to_owned(),
            },
            Stage::Visiting(nick) => format!("{nick} has invited me, and I see whether they may"),
            Stage::Joining(nick, _) => format!("{nick} has agreed, and I am joining"),
        };
        format!("{} has asked for {} on {}: {stage}.", self.origin.sender, self.channel, self.network)
    }
}

/// Why somebody's WHOIS is awaited.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Why {
    /// They answered a request.
    Answer { code: String, yes: bool, key: Option<Secret> },
    /// They invited the bot for a request.
    Invitation { code: String },
    /// They want the channel's bridge to end; and, perhaps, that there be no other.
    Unplumb { channel: String, for_good: bool },
    /// They let the channel be bridged again.
    OptIn { channel: String },
}

/// Everything that is pending.
#[derive(Debug, Default)]
pub(super) struct Requests {
    by_code: BTreeMap<String, Request>,
    checks: HashMap<(NetworkId, Folded), Vec<Why>>,
    declined: HashMap<ChannelRef, Millis>,
}

impl Requests {
    /// The requests for a room.
    pub(super) fn of_room<'a>(&'a self, room: &'a RoomId) -> impl Iterator<Item = &'a Request> {
        self.by_code.values().filter(move |request| request.origin.room == room)
    }

    fn count(&self, network: &NetworkId) -> usize {
        self.by_code.values().filter(|request| request.network == *network).count()
    }

    fn code_for(&self, is_it: impl Fn(&Request) -> bool) -> Option<String> {
        self.by_code.iter().find(|(_, request)| is_it(request)).map(|(code, _)| code.clone())
    }

    /// Remembers why somebody is looked up; false if too many are.
    fn check(&mut self, network: &NetworkId, nick: Folded, why: Why) -> bool {
        if self.checks.values().map(Vec::len).sum::<usize>() >= MOST_CHECKS {
            return false;
        }
        let reasons = self.checks.entry((network.clone(), nick)).or_default();
        if !reasons.contains(&why) {
            reasons.push(why);
        }
        true
    }

    /// Why somebody was looked up.
    fn checked(&mut self, network: &NetworkId, nick: &Folded) -> Vec<Why> {
        self.checks.remove(&(network.clone(), nick.clone())).unwrap_or_default()
    }

    /// The bot has lost its connection: nothing that it asked is answered any more.
    pub(super) fn bot_lost(&mut self, network: &NetworkId) {
        self.checks.retain(|(of, _), _| of != network);
    }

    fn is_declined(&mut self, channel: &ChannelRef, now: Millis) -> bool {
        self.declined.retain(|_, at| at.saturating_add(NO_STANDS) > now);
        self.declined.contains_key(channel)
    }
}

/// The code by which a request is answered: short, without letters that look alike, and the same after a restart.
///
/// It is no secret: who answers is verified.
fn code_of(event: &EventId) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let digest = Sha256::digest(event.as_bytes());
    digest.iter().take(6).map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect()
}

/// What somebody is in a channel, as far as the server shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// An operator, or more.
    Operator,
    /// There, without that rank.
    Member,
    /// Not there, or it is hidden.
    Not,
}

fn seen(profile: &Profile, channel: &str, isupport: &Isupport) -> Seen {
    let mapping = isupport.casemapping;
    match profile.channels.iter().find(|(_, name)| mapping.same(name, channel)) {
        Some((prefixes, _)) if is_operator(prefixes, isupport) => Seen::Operator,
        Some(_) => Seen::Member,
        None => Seen::Not,
    }
}

/// Whether one of these prefixes is an operator's or a higher rank's.
fn is_operator(prefixes: &str, isupport: &Isupport) -> bool {
    let last = isupport.prefix.iter().position(|(letter, _)| *letter == 'o').unwrap_or(0);
    isupport.prefix.iter().take(last + 1).any(|(_, prefix)| prefixes.contains(*prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r28_only_operators_and_above_are_operators() {
        let isupport = Isupport {
            prefix: vec![('q', '~'), ('a', '&'), ('o', '@'), ('h', '%'), ('v', '+')],
            ..Isupport::default()
        };
        let profile = |prefixes: &str| Profile {
            account: None,
            channels: vec![("+".into(), "#milk".into()), (prefixes.into(), "#Tea".into())],
        };
        for (prefixes, expected) in [
            ("@", Seen::Operator),
            ("~", Seen::Operator),
            ("&+", Seen::Operator),
            ("+@", Seen::Operator),
            ("%", Seen::Member),
            ("%+", Seen::Member),
            ("", Seen::Member),
        ] {
            assert_eq!(seen(&profile(prefixes), "#tea", &isupport), expected, "{prefixes}");
        }
        assert_eq!(seen(&profile("@"), "#coffee", &isupport), Seen::Not);
        assert_eq!(seen(&profile("@"), "#milk", &isupport), Seen::Member, "an operator elsewhere");
    }

    #[test]
    fn a_request_keeps_its_code() {
        let event = ruma::event_id!("$a:x");
        let code = code_of(event);
        assert_eq!(code, code_of(event));
        assert!(
            code.len() == 6 && code.chars().all(|c| c.is_ascii_alphanumeric()) && !code.contains(['l', 'o', '0', '1'])
        );
        assert_ne!(code, code_of(ruma::event_id!("$b:x")));
    }

    #[test]
    fn what_is_looked_up_is_bounded_and_answered_once() {
        let network: NetworkId = "net".parse().unwrap();
        let nick = |n: usize| crate::model::CaseMapping::Ascii.fold(&format!("nick{n}"));
        let why = Why::Answer { code: "x".into(), yes: true, key: None };
        let mut requests = Requests::default();
        assert!((0..MOST_CHECKS).all(|n| requests.check(&network, nick(n), why.clone())));
        assert!(!requests.check(&network, nick(MOST_CHECKS), why.clone()));
        assert_eq!(requests.checked(&network, &nick(0)), std::slice::from_ref(&why));
        assert_eq!(requests.checked(&network, &nick(0)), []);
        assert!(requests.check(&network, nick(1), why) && requests.checked(&network, &nick(1)).len() == 1);
        requests.bot_lost(&network);
        assert!(requests.checks.is_empty());
    }
}
