//! What the bridge asked to be said and hasn't been said yet.
//!
//! First in, first out, except that what is for a channel in which we aren't is *held* until we are, so that one
//! channel that can't be joined doesn't stop the rest (R9). Bounded in number and in age (R4).

use std::collections::VecDeque;

use super::Output;
use crate::{
    model::{CaseMapping, CommandId, Failure, Fate, MatrixKey, ModeChange, Reason, TextKind},
    translate::ModeLine,
};

/// How much may wait where the configuration sets no limit.
const DEFAULT_LIMIT: usize = 1000;

/// What to say.
#[derive(Debug)]
pub(super) enum What {
    Say {
        target: String,
        kind: TextKind,
        lines: Vec<String>,
    },
    Topic {
        channel: String,
        topic: String,
    },
    Kick {
        channel: String,
        nick: String,
        reason: Option<String>,
    },
    Modes {
        channel: String,
        changes: Vec<ModeChange>,
    },
    Invite {
        channel: String,
        nick: String,
    },
    /// Answered by no fate.
    Part {
        channel: String,
        reason: Option<String>,
    },
}

impl What {
    pub(super) fn target(&self) -> &str {
        match self {
            Self::Say { target, .. } => target,
            Self::Topic { channel, .. }
            | Self::Kick { channel, .. }
            | Self::Modes { channel, .. }
            | Self::Invite { channel, .. }
            | Self::Part { channel, .. } => channel,
        }
    }
}

/// Something that waits.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) id: CommandId,
    pub(super) what: What,
    /// When it is too old, on the monotonic clock.
    pub(super) expires: u64,
    pub(super) journal: Option<MatrixKey>,
}

impl Command {
    fn is_for(&self, target: &str, mapping: CaseMapping) -> bool {
        mapping.same(self.what.target(), target)
    }

    fn has_fate(&self) -> bool {
        !matches!(self.what, What::Part { .. })
    }

    fn fail(self, failure: Failure, out: &mut Vec<Output>) {
        if self.has_fate() {
            out.push(Output::Fate(self.id, Fate::Failed(failure)));
        }
    }
}

/// A command of which lines have gone out, and more are to.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) id: CommandId,
    pub(super) target: String,
    /// Its lines to come. Never empty.
    pub(super) lines: Lines,
    /// How many there were.
    pub(super) of: u32,
    /// How many bytes of the first of them have gone out.
    pub(super) said: usize,
}

/// Lines of one command.
#[derive(Debug)]
pub(super) enum Lines {
    /// As the author wrote them. They are cut as they go out, as how much fits in a line depends on our name then.
    Text(TextKind, VecDeque<String>),
    Modes(VecDeque<ModeLine>),
}

impl Lines {
    pub(super) fn len(&self) -> u32 {
        let len = match self {
            Self::Text(_, lines) => lines.len(),
            Self::Modes(lines) => lines.len(),
        };
        u32::try_from(len).unwrap_or(u32::MAX)
    }
}

/// Everything that waits.
#[derive(Debug)]
pub(super) struct Outbox {
    ready: VecDeque<Command>,
    held: VecDeque<Command>,
    pub(super) current: Option<Box<Current>>,
    /// No command expires before this.
    expiry: u64,
}

impl Outbox {
    pub(super) const fn new() -> Self {
        Self { ready: VecDeque::new(), held: VecDeque::new(), current: None, expiry: u64::MAX }
    }

    /// Adds a command, to be held if its channel isn't joined. It fails at once when `limit` (0: the default) are
    /// waiting.
    pub(super) fn push(&mut self, command: Command, held: bool, limit: u32, out: &mut Vec<Output>) {
        let limit = if limit == 0 { DEFAULT_LIMIT } else { usize::try_from(limit).unwrap_or(usize::MAX) };
        if command.has_fate() && self.ready.len() + self.held.len() >= limit {
            return command.fail(Failure::certain(Reason::QueueFull), out);
        }
        self.expiry = self.expiry.min(command.expires);
        if held {
            self.held.push_back(command);
        } else {
            self.ready.push_back(command);
        }
    }

    /// The next command that may go out.
    pub(super) fn pop(&mut self) -> Option<Command> {
        let command = self.ready.pop_front();
        self.shrink();
        command
    }

    /// Whether something waits to be said, of which somebody is told what becomes.
    pub(super) fn has_fated(&self) -> bool {
        self.current.is_some() || self.ready.iter().chain(&self.held).any(Command::has_fate)
    }

    /// Whether such a thing waits for this target.
    pub(super) fn has_fated_for(&self, target: &str, mapping: CaseMapping) -> bool {
        let mut waiting = self.ready.iter().chain(&self.held);
        self.current.as_ref().is_some_and(|current| mapping.same(&current.target, target))
            || waiting.any(|command| command.has_fate() && command.is_for(target, mapping))
    }

    /// Whether anything could be pulled.
    pub(super) fn has_ready(&self) -> bool {
        self.current.is_some() || !self.ready.is_empty()
    }

    /// The channel is joined: what is held for it may go out, before what was said since.
    pub(super) fn release(&mut self, channel: &str, mapping: CaseMapping) {
        let (released, held): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.held).into_iter().partition(|command| command.is_for(channel, mapping));
        self.held = held;
        for command in released.into_iter().rev() {
            self.ready.push_front(command);
        }
        self.shrink();
    }

    /// The connection is gone: what is for channels waits until they are joined again. So does parting, behind what is to
    /// be said before it; where there is nothing of that, it is done.
    pub(super) fn hold(&mut self, mapping: CaseMapping, is_channel: impl Fn(&str) -> bool) {
        for command in std::mem::take(&mut self.ready) {
            let target = command.what.target();
            if !is_channel(target) {
                self.ready.push_back(command);
            } else if command.has_fate() || self.held.iter().any(|held| held.is_for(target, mapping)) {
                self.held.push_back(command);
            }
        }
    }

    /// Fails everything that waits for a channel.
    pub(super) fn fail_channel(
        &mut self,
        channel: &str,
        mapping: CaseMapping,
        failure: &Failure,
        out: &mut Vec<Output>,
    ) {
        self.fail_where(|command| command.is_for(channel, mapping), failure, out);
    }

    /// Fails everything that waits.
    pub(super) fn fail_all(&mut self, failure: &Failure, out: &mut Vec<Output>) {
        self.fail_where(|_| true, failure, out);
    }

    /// Fails everything that waits for these targets.
    pub(super) fn fail_targets(&mut self, which: impl Fn(&str) -> bool, failure: &Failure, out: &mut Vec<Output>) {
        self.fail_where(|command| which(command.what.target()), failure, out);
    }

    /// Forgets a PART that has not gone out. False if there is none.
    pub(super) fn cancel_part(&mut self, channel: &str, mapping: CaseMapping) -> bool {
        let before = self.ready.len() + self.held.len();
        for queue in [&mut self.ready, &mut self.held] {
            queue.retain(|command| command.has_fate() || !command.is_for(channel, mapping));
        }
        self.ready.len() + self.held.len() != before
    }

    /// When to call [`Self::expire`].
    pub(super) const fn timer(&self) -> Option<u64> {
        if self.expiry == u64::MAX { None } else { Some(self.expiry) }
    }

    /// Fails what has become too old.
    pub(super) fn expire(&mut self, now: u64, out: &mut Vec<Output>) {
        if self.expiry > now {
            return;
        }
        self.fail_where(|command| command.expires <= now, &Failure::certain(Reason::TooOld), out);
        self.expiry = self.ready.iter().chain(&self.held).map(|command| command.expires).min().unwrap_or(u64::MAX);
    }

    fn fail_where(&mut self, which: impl Fn(&Command) -> bool, failure: &Failure, out: &mut Vec<Output>) {
        for queue in [&mut self.held, &mut self.ready] {
            if queue.iter().any(&which) {
                let (failed, kept): (VecDeque<_>, VecDeque<_>) =
                    std::mem::take(queue).into_iter().partition(|command| which(command));
                *queue = kept;
                for command in failed {
                    command.fail(failure.clone(), out);
                }
            }
        }
        self.shrink();
    }

    /// A quiet link keeps nothing of its busy hour.
    fn shrink(&mut self) {
        if self.ready.is_empty() && self.ready.capacity() > 16 {
            self.ready = VecDeque::new();
        }
        if self.ready.is_empty() && self.held.is_empty() {
            self.expiry = u64::MAX;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASCII: CaseMapping = CaseMapping::Ascii;

    fn say(id: u64, target: &str, expires: u64) -> Command {
        let what = What::Say { target: target.into(), kind: TextKind::Privmsg, lines: vec!["x".into()] };
        Command { id: CommandId(id), what, expires, journal: None }
    }

    fn ids(outbox: &mut Outbox) -> Vec<u64> {
        std::iter::from_fn(|| outbox.pop()).map(|command| command.id.0).collect()
    }

    #[test]
    fn r9_what_is_held_for_one_channel_stops_nothing_else() {
        let (mut outbox, mut out) = (Outbox::new(), Vec::new());
        outbox.push(say(1, "#a", 9), true, 0, &mut out);
        outbox.push(say(2, "bob", 9), false, 0, &mut out);
        outbox.push(say(3, "#a", 9), true, 0, &mut out);
        assert_eq!(outbox.pop().unwrap().id.0, 2);
        assert!(!outbox.has_ready());
        outbox.push(say(4, "bob", 9), false, 0, &mut out);
        outbox.release("#A", ASCII);
        assert_eq!(ids(&mut outbox), [1, 3, 4]);
        assert_eq!(out, []);
    }

    #[test]
    fn r4_the_queue_is_bounded_in_number_and_age() {
        let (mut outbox, mut out) = (Outbox::new(), Vec::new());
        for id in 1..=4 {
            outbox.push(say(id, "#a", id * 10), id % 2 == 0, 3, &mut out);
        }
        assert_eq!(out, [Output::Fate(CommandId(4), Fate::Failed(Failure::certain(Reason::QueueFull)))]);
        out.clear();
        assert_eq!(outbox.timer(), Some(10));
        outbox.expire(20, &mut out);
        assert_eq!(out.len(), 2);
        assert_eq!(outbox.timer(), Some(30));
        assert_eq!(ids(&mut outbox), [3]);
        assert_eq!(outbox.timer(), None);
    }

    #[test]
    fn a_lost_connection_holds_what_is_for_channels() {
        let (mut outbox, mut out) = (Outbox::new(), Vec::new());
        outbox.push(say(1, "#a", 9), false, 0, &mut out);
        outbox.push(say(2, "bob", 9), false, 0, &mut out);
        let part = What::Part { channel: "#b".into(), reason: None };
        outbox.push(Command { id: CommandId(3), what: part, expires: u64::MAX, journal: None }, false, 0, &mut out);
        outbox.hold(ASCII, |target| target.starts_with('#'));
        assert_eq!(ids(&mut outbox), [2]);
        outbox.release("#a", ASCII);
        assert_eq!(ids(&mut outbox), [1]);
        assert_eq!(out, []);
    }
}
