//! The channels of a link: which are wanted, which are joined, and which are observed.
//!
//! What is wanted survives reconnects; where we are doesn't. Names are compared under the network's CASEMAPPING at
//! each look, never stored folded, so that a server that changes it needs no rebuilding. A puppet is in few
//! channels, so a look is a walk through a short list.

use super::{Output, heard::Heard};
use crate::{
    irc::{roster::Roster, wire::LineWriter},
    model::{CaseMapping, Failure, IrcEvent, Isupport, Millis, Reason, Role},
};

/// How long a JOIN may stay without an answer. In milliseconds.
const JOIN_PATIENCE: u64 = 30_000;
/// How many channels are kept that we don't want to be in: networks may put us into some.
const MOST_UNWANTED: usize = 64;
/// How many channels go into one JOIN where the server doesn't say.
const JOIN_TARGETS: usize = 10;

/// Where we are with a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Not in it, and nothing is being done about that.
    Out,
    /// To be joined at the next chance to send.
    Wanted,
    /// JOIN has gone out; until when to wait for its answer.
    Joining(u64),
    In,
    /// PART has gone out.
    Leaving,
}

/// Whether we are to be in a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wish {
    No,
    /// Until what waits to be said there has been: a PART waits behind it.
    UntilSaid,
    Yes,
}

/// What to do about a channel that we are in now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Joined {
    Stay,
    /// PART at once: we were forwarded to it, or it is wanted no more.
    Leave,
    /// Nothing: the server has put us into more channels than any person would be put into.
    Ignore,
}

/// How far we are with an observed channel's members.
#[derive(Debug)]
pub(super) enum Names {
    /// Nothing is expected.
    Idle,
    /// To be asked for.
    Wanted,
    /// Coming.
    Gathering(Box<Roster>),
}

/// What an observed channel's topic needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topic {
    /// It comes by itself, if there is any.
    Untold,
    /// To be asked for.
    Wanted,
    /// The bridge has been told.
    Told,
}

/// What is gathered of the answer to a question about an observed channel.
#[derive(Debug)]
pub(super) enum Answer {
    /// A list: its letter, and what is in it.
    List(char, Vec<String>),
    /// Nicks and their accounts.
    Accounts(Vec<(String, Option<String>)>),
}

impl Answer {
    pub(super) fn is_list(&self, letter: char) -> bool {
        matches!(self, Self::List(of, _) if *of == letter)
    }

    pub(super) const fn is_accounts(&self) -> bool {
        matches!(self, Self::Accounts(_))
    }
}

/// One channel.
#[derive(Debug)]
pub(super) struct Channel {
    /// As the server writes it, once it has.
    pub(super) name: Box<str>,
    pub(super) key: Option<Box<str>>,
    pub(super) wish: Wish,
    pub(super) role: Role,
    /// What it has heard while it stands by.
    heard: Option<Box<Heard>>,
    pub(super) place: Place,
    pub(super) names: Names,
    pub(super) topic: Topic,
    /// Answers that are coming.
    pub(super) answers: Vec<Answer>,
}

impl Channel {
    /// Whether everything of it is to be told: it is observed, and we are in it.
    pub(super) fn is_watched(&self) -> bool {
        self.role == Role::Observer && matches!(self.place, Place::In | Place::Leaving)
    }

    /// We aren't in it any more: nothing is heard there, and no answer will be complete.
    fn no_more(&mut self) {
        (self.names, self.heard, self.answers) = (Names::Idle, None, Vec::new());
    }

    /// Our JOIN came to nothing; so has what was to be said before leaving.
    fn not_joined(&mut self) {
        self.place = Place::Out;
        if self.wish == Wish::UntilSaid {
            self.wish = Wish::No;
        }
    }
}

/// All of a link's channels.
#[derive(Debug)]
pub(super) struct Channels {
    list: Vec<Channel>,
    /// Channels that the server forwarded us to; to be left at once.
    forwards: Vec<Box<str>>,
    /// What we are in a channel from our JOIN on, before we are told anything else.
    role: Role,
    /// Whether we stand by in any.
    stands_by: bool,
    /// Whether any may have something for [`Self::pull`].
    pub(super) busy: bool,
    /// No JOIN's patience ends before this.
    due: Option<u64>,
}

impl Channels {
    /// The channels of a link that is this in each from its JOIN on, before it is told anything else.
    pub(super) const fn new(role: Role) -> Self {
        Self { list: Vec::new(), forwards: Vec::new(), role, stands_by: false, busy: false, due: None }
    }

    pub(super) fn get(&self, name: &[u8], mapping: CaseMapping) -> Option<&Channel> {
        self.list.iter().find(|channel| mapping.same_bytes(channel.name.as_bytes(), name))
    }

    pub(super) fn get_mut(&mut self, name: &str, mapping: CaseMapping) -> Option<&mut Channel> {
        self.list.iter_mut().find(|channel| mapping.same(&channel.name, name))
    }

    pub(super) fn is_in(&self, name: &str, mapping: CaseMapping) -> bool {
        self.get(name.as_bytes(), mapping).is_some_and(|channel| channel.place == Place::In)
    }

    /// Whether we are to be in it for good.
    pub(super) fn is_wanted(&self, name: &str, mapping: CaseMapping) -> bool {
        self.get(name.as_bytes(), mapping).is_some_and(|channel| channel.wish == Wish::Yes)
    }

    /// Whether any channel that we are in is observed.
    pub(super) fn any_watched(&self) -> bool {
        self.list.iter().any(Channel::is_watched)
    }

    /// Whether we are in all of them, nothing is on its way about any, and another link observes each.
    pub(super) fn all_at_rest(&self) -> bool {
        !self.busy && self.list.iter().all(|channel| channel.place == Place::In && channel.role != Role::Observer)
    }

    fn entry(&mut self, name: &str, mapping: CaseMapping) -> &mut Channel {
        let role = self.role;
        let at = self.list.iter().position(|channel| mapping.same(&channel.name, name)).unwrap_or_else(|| {
            self.list.reserve_exact(1);
            self.list.push(Channel {
                name: name.into(),
                key: None,
                wish: Wish::No,
                role,
                heard: None,
                place: Place::Out,
                names: Names::Idle,
                topic: Topic::Untold,
                answers: Vec::new(),
            });
            self.list.len() - 1
        });
        &mut self.list[at]
    }

    /// The channel is to be joined and stayed in. A key replaces the one that is known.
    pub(super) fn want(&mut self, name: &str, key: Option<&str>, mapping: CaseMapping) {
        let channel = self.entry(name, mapping);
        channel.wish = Wish::Yes;
        if let Some(key) = key {
            channel.key = Some(key.into());
        }
        if channel.place == Place::Out {
            channel.place = Place::Wanted;
            self.busy = true;
        }
    }

    /// The channel is wanted no more, once what waits to be said there has been. Returns where we are with it.
    pub(super) fn unwant(&mut self, name: &str, more_to_say: bool, mapping: CaseMapping) -> Place {
        let Some(channel) = self.get_mut(name, mapping) else { return Place::Out };
        channel.wish = if more_to_say { Wish::UntilSaid } else { Wish::No };
        if channel.place == Place::Wanted && !more_to_say {
            channel.place = Place::Out;
        }
        let place = channel.place;
        self.forget_unused();
        place
    }

    /// How closely to follow the channel from now on. Returns what we have heard while we stood by.
    pub(super) fn observe(&mut self, name: &str, role: Role, mapping: CaseMapping) -> Option<Box<Heard>> {
        let channel = self.entry(name, mapping);
        let mut heard = None;
        if channel.role != role {
            channel.role = role;
            (channel.names, channel.topic, heard) = (Names::Idle, Topic::Untold, channel.heard.take());
            channel.answers = Vec::new();
            if role == Role::Observer && channel.place == Place::In {
                (channel.names, channel.topic) = (Names::Wanted, Topic::Wanted);
                self.busy = true;
            }
        }
        self.forget_unused();
        self.stands_by = self.list.iter().any(|channel| channel.role == Role::Standby);
        heard.filter(|_| role == Role::Observer)
    }

    /// The roster of an observed channel is to be asked for again, unless it is coming.
    pub(super) fn ask_names(&mut self, name: &str, mapping: CaseMapping) {
        let channel = self.get_mut(name, mapping).filter(|channel| channel.is_watched());
        if let Some(channel) = channel.filter(|channel| matches!(channel.names, Names::Idle)) {
            channel.names = Names::Wanted;
            self.busy = true;
        }
    }

    /// Remembers a line of a channel, if we stand by there.
    pub(super) fn hear(&mut self, name: &[u8], line: &[u8], mapping: CaseMapping, now: Millis) {
        if !self.stands_by {
            return;
        }
        let channel = self.list.iter_mut().find(|channel| mapping.same_bytes(channel.name.as_bytes(), name));
        if let Some(channel) = channel.filter(|channel| channel.role == Role::Standby && channel.place == Place::In) {
            channel.heard.get_or_insert_with(|| Box::new(Heard::since(now))).keep(line, now);
        }
    }

    /// We are in the channel now, by our own JOIN.
    pub(super) fn joined(&mut self, name: &str, names_follow: bool, mapping: CaseMapping) -> Joined {
        if let Some(at) = self.forwards.iter().position(|forward| mapping.same(forward, name)) {
            self.forwards.swap_remove(at);
            if self.get(name.as_bytes(), mapping).is_none_or(|channel| channel.wish == Wish::No) {
                return Joined::Leave;
            }
        }
        let unwanted = |channel: &&Channel| channel.wish == Wish::No;
        if self.get(name.as_bytes(), mapping).is_none() && self.list.iter().filter(unwanted).count() >= MOST_UNWANTED {
            return Joined::Ignore;
        }
        let channel = self.entry(name, mapping);
        channel.name = name.into();
        if matches!(channel.place, Place::Joining(_)) && channel.wish == Wish::No {
            channel.place = Place::Leaving;
            return Joined::Leave;
        }
        channel.place = Place::In;
        channel.topic = Topic::Untold;
        if channel.role == Role::Observer {
            channel.names = if names_follow { Names::Gathering(Box::default()) } else { Names::Wanted };
            self.busy |= !names_follow;
        }
        Joined::Stay
    }

    /// PART goes out.
    pub(super) fn leaving(&mut self, name: &str, mapping: CaseMapping) {
        if let Some(channel) = self.get_mut(name, mapping) {
            channel.place = Place::Leaving;
            channel.wish = Wish::No;
        }
    }

    /// We left the channel. True if it was by our own will and is wanted again since, so that it is joined again.
    pub(super) fn left(&mut self, name: &str, mapping: CaseMapping) -> bool {
        let Some(channel) = self.get_mut(name, mapping) else { return false };
        let again = channel.place == Place::Leaving && channel.wish != Wish::No;
        if again {
            channel.place = Place::Wanted;
        } else {
            (channel.place, channel.wish) = (Place::Out, Wish::No);
        }
        channel.no_more();
        self.busy |= again;
        self.forget_unused();
        again
    }

    /// Whether JOIN has gone out and not been answered.
    pub(super) fn is_joining(&self, name: &str, mapping: CaseMapping) -> bool {
        self.get(name.as_bytes(), mapping).is_some_and(|channel| matches!(channel.place, Place::Joining(_)))
    }

    /// We were thrown out of the channel.
    pub(super) fn thrown_out(&mut self, name: &str, mapping: CaseMapping) {
        if let Some(channel) = self.get_mut(name, mapping) {
            (channel.wish, channel.place) = (Wish::No, Place::Out);
            channel.no_more();
        }
        self.forget_unused();
    }

    /// The server refused our JOIN: the channel's name as it was asked for. `None` if no JOIN was on its way.
    pub(super) fn refused(&mut self, name: &str, mapping: CaseMapping) -> Option<Box<str>> {
        let joining = |channel: &&mut Channel| matches!(channel.place, Place::Joining(_));
        let channel = self.get_mut(name, mapping).filter(joining)?;
        channel.not_joined();
        let name = channel.name.clone();
        self.forget_unused();
        Some(name)
    }

    /// The server sends us to another channel, in which we don't want to be.
    pub(super) fn forwarded(&mut self, to: &str) {
        if self.forwards.len() < 16 {
            self.forwards.push(to.into());
        }
    }

    /// The connection is gone; channels that nobody wants are forgotten. `more_to_say`: whether something waits to be
    /// said in a channel.
    pub(super) fn disconnected(&mut self, more_to_say: impl Fn(&str) -> bool) {
        for channel in &mut self.list {
            if channel.wish == Wish::UntilSaid && !more_to_say(&channel.name) {
                channel.wish = Wish::No;
            }
            channel.place = if channel.wish == Wish::No { Place::Out } else { Place::Wanted };
            channel.no_more();
            channel.topic = Topic::Untold;
        }
        self.forwards = Vec::new();
        (self.busy, self.due) = (true, None);
        self.forget_unused();
    }

    /// CASEMAPPING changed: two names may be one now.
    pub(super) fn refold(&mut self, mapping: CaseMapping) {
        let mut at = 0;
        while at < self.list.len() {
            let (before, rest) = self.list.split_at_mut(at);
            if let Some(same) = before.iter_mut().find(|channel| mapping.same(&channel.name, &rest[0].name)) {
                same.wish = same.wish.max(rest[0].wish);
                same.role = same.role.max(rest[0].role);
                self.list.remove(at);
            } else {
                at += 1;
            }
        }
    }

    /// When to call [`Self::overdue`].
    pub(super) const fn timer(&self) -> Option<u64> {
        self.due
    }

    /// The channels whose JOIN stayed without an answer for too long; they count as refused.
    pub(super) fn overdue(&mut self, now: u64) -> Vec<Box<str>> {
        let mut overdue = Vec::new();
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            for channel in &mut self.list {
                if let Place::Joining(until) = channel.place {
                    if until <= now {
                        channel.not_joined();
                        overdue.push(channel.name.clone());
                    } else {
                        self.due = Some(self.due.map_or(until, |due| due.min(until)));
                    }
                }
            }
            self.forget_unused();
        }
        overdue
    }

    /// Writes the next line about channels, if there is any: JOINs, packed; then what observing asks for. What can't
    /// be written is refused in `out`.
    pub(super) fn pull(&mut self, now: u64, isupport: &Isupport, wire: &mut Vec<u8>, out: &mut Vec<Output>) -> bool {
        if !self.busy {
            return false;
        }
        if self.pull_join(now, isupport, wire, out) || self.pull_question(isupport, wire) {
            return true;
        }
        self.busy = false;
        false
    }

    fn pull_join(&mut self, now: u64, isupport: &Isupport, wire: &mut Vec<u8>, out: &mut Vec<Output>) -> bool {
        let most = isupport.max_join_targets.unwrap_or(JOIN_TARGETS);
        // A line's worth: as many as fit with their keys, those with keys first, as keys are told apart by place.
        let mut wanted: Vec<usize> = (0..self.list.len()).filter(|at| self.list[*at].place == Place::Wanted).collect();
        wanted.sort_by_key(|at| self.list[*at].key.is_none());
        let mut room = isupport.linelen.saturating_sub("JOIN  \r\n".len());
        let mut picked: Vec<usize> = Vec::new();
        for at in wanted {
            let channel = &self.list[at];
            let size = channel.name.len() + 1 + channel.key.as_ref().map_or(0, |key| key.len() + 1);
            if picked.len() >= most || (size > room && !picked.is_empty()) {
                break;
            }
            room = room.saturating_sub(size);
            picked.push(at);
        }
        if picked.is_empty() {
            return false;
        }
        let names: Vec<_> = picked.iter().map(|at| (&*self.list[*at].name, self.list[*at].key.as_deref())).collect();
        let written = LineWriter::new(wire, isupport.linelen).join(&names).is_ok();
        let until = now + JOIN_PATIENCE;
        for at in picked {
            let channel = &mut self.list[at];
            if written {
                channel.place = Place::Joining(until);
            } else {
                // Names and keys were checked when they came, so that only their length is left as a cause.
                channel.place = Place::Out;
                let failure = Failure::certain(Reason::BadName);
                out.push(Output::Event(IrcEvent::JoinRefused { channel: channel.name.to_string(), failure }, None));
            }
        }
        self.due = Some(self.due.map_or(until, |due| due.min(until)));
        written
    }

    fn pull_question(&mut self, isupport: &Isupport, wire: &mut Vec<u8>) -> bool {
        for channel in self.list.iter_mut().filter(|channel| channel.is_watched()) {
            // The topic first: the members' end tells that there was none.
            if channel.topic == Topic::Wanted {
                channel.topic = Topic::Untold;
                return LineWriter::new(wire, isupport.linelen).ask_topic(&channel.name).is_ok();
            }
            if matches!(channel.names, Names::Wanted) {
                channel.names = Names::Gathering(Box::default());
                return LineWriter::new(wire, isupport.linelen).names(&channel.name).is_ok();
            }
        }
        false
    }

    /// Forgets channels that nobody wants, in which we aren't.
    fn forget_unused(&mut self) {
        let asked_for = |channel: &Channel| channel.role != self.role;
        self.list.retain(|channel| channel.wish != Wish::No || asked_for(channel) || channel.place != Place::Out);
    }
}

/// What an error numeric means for a JOIN; `None` if it isn't about that. `words` decide where servers use one
/// numeric for several things.
pub(super) fn join_reason(numeric: u16, words: &str) -> Option<Reason> {
    use super::numeric as n;
    Some(match numeric {
        n::ERR_NOSUCHCHANNEL => Reason::NoSuchChannel,
        n::ERR_TOOMANYCHANNELS => Reason::TooManyChannels,
        n::ERR_CHANNELISFULL => Reason::ChannelFull,
        n::ERR_INVITEONLYCHAN => Reason::InviteOnly,
        n::ERR_BANNEDFROMCHAN => Reason::Banned,
        n::ERR_BADCHANNELKEY => Reason::BadKey,
        n::ERR_BADCHANMASK => Reason::BadName,
        n::ERR_NEEDREGGEDNICK => Reason::NeedsAccount,
        n::ERR_TARGETTOOFAST | n::ERR_TARGCHANGE | n::ERR_TOOMANYJOINS => Reason::TooFast,
        n::ERR_THROTTLE if words.to_ascii_lowercase().contains("throttl") => Reason::TooFast,
        n::ERR_LINKCHANNEL => Reason::Forwarded,
        n::ERR_THROTTLE | n::ERR_SECUREONLYCHAN if speaks_of_tls(words) => Reason::NeedsTls,
        n::ERR_THROTTLE
        | n::ERR_SECUREONLYCHAN
        | n::ERR_UNAVAILRESOURCE
        | n::ERR_TOOMANYTARGETS
        | n::ERR_OPERONLY
        | n::ERR_NOPRIVILEGES => Reason::Refused,
        _ => return None,
    })
}

fn speaks_of_tls(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    ["ssl", "tls", "secure", "+z"].iter().any(|word| words.contains(word))
}

#[cfg(test)]
mod tests;
