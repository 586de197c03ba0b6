//! What lives as long as one socket: the phase, our own name, capabilities, keepalive, receipts.

use std::collections::VecDeque;

use super::{
    asking::Questions,
    nicks::{NickWalk, Regain},
    receipts::Receipts,
    refusal::Closing,
    registration::{Login, Negotiation},
};
use crate::{
    irc::caps::Caps,
    model::{IrcEvent, Isupport, Source},
};

/// A server that has said nothing for so long is asked whether it lives. In milliseconds.
pub(super) const IDLE: u64 = 60_000;
/// How long it may take to answer that. In milliseconds.
pub(super) const ANSWER: u64 = 120_000;

/// How far a connection has come.
#[derive(Debug)]
pub(super) enum Phase {
    /// CAP LS has gone out, with NICK and USER behind it.
    Negotiating(Box<Negotiation>),
    /// SASL is under way.
    Authenticating(Box<Login>),
    /// All is said; 001 is awaited.
    Registering,
    /// 001 has come; the server tells of itself.
    Settling(Box<Isupport>),
    /// On the network.
    Ready {
        /// Since when.
        since: u64,
    },
    /// QUIT has gone out.
    Draining,
}

/// A batch that is open: its reference, and what it holds.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) reference: Box<[u8]>,
    pub(super) kind: BatchKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BatchKind {
    /// The answer to the line with this label.
    Answer(u64),
    /// Old lines, which nobody asked for.
    History,
}

/// The life of one socket.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) phase: Phase,
    /// When the phase has lasted for too long; `u64::MAX` if it may last.
    pub(super) deadline: u64,
    /// Ourselves, as others see us, as far as we know.
    pub(super) me: Source,
    pub(super) caps: Caps,
    pub(super) walk: NickWalk,
    pub(super) regain: Regain,
    pub(super) receipts: Receipts,
    /// What the server said before it closes.
    pub(super) verdict: Option<Box<(Closing, String)>>,
    pub(super) batches: Vec<Batch>,
    /// Lines that wait for the flood budget and don't outlive the connection.
    pub(super) chores: VecDeque<Vec<u8>>,
    /// What was asked of the server, and is being answered.
    pub(super) questions: Questions,
    /// When CTCP answers were begun to be counted, and how many there were since.
    pub(super) ctcp: (u64, u8),
    /// When the server last said anything.
    pub(super) heard: u64,
    /// When to look at `heard`.
    check: u64,
    asked: bool,
}

impl Connection {
    pub(super) const fn new(me: Source, walk: NickWalk, phase: Phase, deadline: u64, now: u64) -> Self {
        Self {
            phase,
            deadline,
            me,
            caps: Caps::none(),
            walk,
            regain: Regain::new(),
            receipts: Receipts::new(),
            verdict: None,
            batches: Vec::new(),
            chores: VecDeque::new(),
            questions: Questions::new(),
            ctcp: (0, 0),
            heard: now,
            check: now + IDLE,
            asked: false,
        }
    }

    /// What is to be told of how others see us, once all of it is known.
    pub(super) fn mask(&self) -> Option<IrcEvent> {
        let (user, host) = (self.me.user.clone()?, self.me.host.clone()?);
        Some(IrcEvent::OwnMask { user, host })
    }

    pub(super) const fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready { .. })
    }

    /// Whether lines wait that are nobody's command.
    pub(super) fn has_chores(&self) -> bool {
        self.regain.now || !self.chores.is_empty()
    }

    /// When something of the connection is to be looked at. `idle`: nothing waits to be said.
    pub(super) fn timer(&self, idle: bool) -> Option<u64> {
        let deadline = if self.deadline == u64::MAX { None } else { Some(self.deadline) };
        let check = if matches!(self.phase, Phase::Draining) { None } else { Some(self.check) };
        let ready = if self.is_ready() { [self.receipts.timer(idle), self.regain.timer()] } else { [None, None] };
        [deadline, check].into_iter().chain(ready).flatten().min()
    }

    /// What the silence of the server calls for.
    pub(super) const fn silence(&mut self, now: u64) -> Silence {
        if now < self.check {
            return Silence::Fine;
        }
        let since = self.heard + IDLE;
        if now < since {
            // It spoke meanwhile: look again when that is long ago.
            (self.check, self.asked) = (since, false);
            return Silence::Fine;
        }
        if self.asked && now >= since + ANSWER {
            return Silence::Dead;
        }
        self.check = since + ANSWER;
        if self.check <= now {
            self.check = now + ANSWER;
        }
        if self.asked {
            return Silence::Fine;
        }
        self.asked = true;
        Silence::Ask
    }
}

/// What the silence of a server calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// Nothing.
    Fine,
    /// A PING.
    Ask,
    /// Giving up.
    Dead,
}
