//! The session: everything we know of IRC, without a socket or a clock.
//!
//! [`Session::step`] takes one [`Input`] and the time, and appends what follows to a list of [`Output`]s. The link
//! actor (`irc/link`) owns one session, feeds it, and does what it says. Lines that may go out at any time (PONG,
//! QUIT, registration) are outputs; lines that must wait for the flood budget are *pulled* ([`Session::pull`]) one
//! by one when the budget allows, so that the session always knows what has gone out and what still waits.
//!
//! One file per reason to change: `lifecycle` (dial, lose, close, wait), `registration` (CAP, SASL, nick, 001),
//! `incoming` (which line is for whom), `skim` (the lines that don't concern us, dropped first), `text` (what people
//! say), `asking` (what the bridge asks of the server), `presence` (who comes and goes), `observing` (what else there is to know of a channel), `answers` (what answers us), `channels` (joins),
//! `heard` (what a standby remembers), `sending` (actions and pull), `outbox` (what waits), `receipts` (what became of
//! what went out). To react to another command, add it to `incoming` (and to `skim`, if most links
//! needn't see it), and a transcript to `tests/transcripts`.

mod answers;
mod asking;
mod backoff;
mod channels;
mod connection;
mod heard;
mod incoming;
mod lifecycle;
mod nicks;
mod observing;
mod outbox;
mod presence;
mod receipts;
mod refusal;
mod registration;
mod sending;
mod skim;
mod text;

use std::sync::Arc;

use encoding_rs::Encoding;

use self::{
    backoff::Backoff,
    channels::Channels,
    connection::{Connection, Phase},
    outbox::Outbox,
};
use crate::{
    irc::{
        codec,
        isupport::SharedIsupport,
        pool::protocol::{LinkSpec, NetworkSpec},
        wire::numeric,
    },
    model::{CommandId, Failure, Fate, IrcAction, IrcEvent, Isupport, LinkState, MatrixKey, Millis, Role},
};

/// Now: for measuring and for telling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds on a clock that never jumps; its zero means nothing.
    pub monotonic: u64,
    /// Milliseconds since the Unix epoch.
    pub unix: Millis,
}

/// What can happen to a session.
#[derive(Debug)]
pub enum Input<'a> {
    /// The link is to live: begin, or go on where it was to close.
    Start,
    /// The dial that was asked for succeeded; the socket is ready for bytes.
    Connected,
    /// The dial that was asked for failed.
    DialFailed(Failure),
    /// A line from the server, without its CR LF.
    Line(&'a [u8]),
    /// The socket is gone, for the given reason.
    Disconnected(&'a str),
    /// The bridge asks for something.
    Action(CommandId, IrcAction),
    /// The time that [`Session::next_timer`] gave has come.
    Timer,
    /// The bridge closes the link: say what waits, for as long as it may wait, then QUIT.
    Close(&'a str),
    /// The bridge stops: say QUIT now, fail what waits.
    Stop(&'a str),
}

/// What the link is to do.
#[derive(Debug, PartialEq)]
pub enum Output {
    /// Dial the network (when its connect budget allows); answer `Connected` or `DialFailed`.
    Dial,
    /// Send this line (with its CR LF) ahead of everything that waits for the flood budget.
    Line(Vec<u8>),
    /// Close the socket once what was given out is written. A `Disconnected` isn't needed afterwards.
    Hangup,
    /// The network wants fewer connections: no link of it is to dial for a while.
    Throttled,
    /// Tell the bridge what happened on IRC, and when by the server's clock (`server-time`), if it says.
    Event(IrcEvent, Option<Millis>),
    /// Tell the bridge what the link does now.
    State(LinkState),
    /// Tell the bridge what became of a command.
    Fate(CommandId, Fate),
}

/// One link's knowledge of IRC.
#[derive(Debug)]
pub struct Session {
    spec: LinkSpec,
    network: Arc<NetworkSpec>,
    isupports: Arc<SharedIsupport>,
    /// What the server said of itself, now or in the last connection; before the first, what one of its network said to
    /// another link.
    isupport: Arc<Isupport>,
    encoding: &'static Encoding,
    /// Which of the network's servers is dialled (next).
    server: usize,
    backoff: Backoff,
    state: State,
    /// What is wanted and observed outlives connections, as does what waits to be said.
    channels: Channels,
    outbox: Outbox,
    /// The reason of the QUIT to come, if the link is to close when all is said.
    leaving: Option<Box<str>>,
    /// What came of a pull, to be told with the next step.
    owed: Vec<Output>,
}

/// What the link does, with all that it needs for that and for nothing else.
#[derive(Debug)]
enum State {
    /// Not started.
    New,
    /// Waiting to dial, until then (monotonic).
    Waiting(u64),
    /// Waiting for the outcome of a dial.
    Dialing,
    /// On a socket.
    On(Box<Connection>),
    /// Nothing more is tried until a person acts.
    Refused(Box<Failure>),
    /// Closed because the bridge asked for it.
    Closed,
}

impl Session {
    /// A session for `spec`. Links of one network share `network` and `isupports`; `seed` makes its jitter its own.
    #[must_use]
    pub fn new(spec: LinkSpec, network: Arc<NetworkSpec>, isupports: Arc<SharedIsupport>, seed: u64) -> Self {
        let isupport = isupports.latest();
        let encoding = codec::encoding(&network.encoding);
        let mut session = Self {
            // What is said before the bot could be told to observe would be lost.
            channels: Channels::new(if spec.link.is_bot() { Role::Observer } else { Role::Member }),
            spec,
            network,
            isupports,
            isupport,
            encoding,
            server: 0,
            backoff: Backoff::new(seed),
            state: State::New,
            outbox: Outbox::new(),
            leaving: None,
            owed: Vec::new(),
        };
        let mapping = session.isupport.casemapping;
        for channel in std::mem::take(&mut session.spec.channels) {
            let refused = session.want(&channel, mapping);
            session.owed.extend(refused);
        }
        session
    }

    /// The server to dial, as `host:port`. Another one after each failure, in the order of the network's list.
    #[must_use]
    pub fn server(&self) -> &str {
        let servers = &self.network.servers;
        servers.get(self.server % servers.len().max(1)).map_or("", String::as_str)
    }

    /// Takes one input; appends what is to be done to `out`, in order.
    pub fn step(&mut self, input: Input<'_>, now: Now, out: &mut Vec<Output>) {
        if let Input::Line(line) = input {
            if !self.line(line, now, out) {
                return; // Nothing changed: the way of almost every line of a puppet in a big channel.
            }
        } else {
            out.append(&mut self.owed);
            self.owed = Vec::new();
            match input {
                Input::Start => self.start(out),
                Input::Connected => self.connected(now, out),
                Input::DialFailed(failure) => self.dial_failed(failure, now, out),
                Input::Line(_) => {}
                Input::Disconnected(reason) => self.disconnected(reason, now, out),
                Input::Action(id, action) => self.action(id, action, now, out),
                Input::Timer => self.timer(now, out),
                Input::Close(reason) => self.close(reason),
                Input::Stop(reason) => self.stop(reason, now, out),
            }
        }
        self.give_up_failed(out);
        if self.is_goodbye_due() {
            let reason = self.leaving.clone().unwrap_or_default();
            self.stop(&reason, now, out);
        }
    }

    /// Appends the next line that waits for the flood budget to `wire` (with its CR LF), and to `starting` the
    /// journal entry of the command that begins with it, if any. False when there is nothing to send now.
    ///
    /// What is pulled counts as on its way: if the link is lost after that, its command fails as uncertain.
    pub fn pull(&mut self, now: Now, wire: &mut Vec<u8>, starting: &mut Vec<MatrixKey>) -> bool {
        self.pull_line(now, wire, starting)
    }

    /// Whether [`Self::pull`] would give a line.
    #[must_use]
    pub fn has_pullable(&self) -> bool {
        let State::On(connection) = &self.state else { return false };
        connection.is_ready()
            && (connection.has_chores() || self.channels.busy || self.outbox.has_ready() || connection.receipts.due)
    }

    /// Whether there is something to say of which somebody waits to hear what becomes.
    #[must_use]
    pub fn has_words(&self) -> bool {
        self.outbox.has_fated()
    }

    /// When to call [`Self::step`] with [`Input::Timer`], on the monotonic clock; `None` if never.
    ///
    /// It doesn't move with every line, so a caller needs to set its clock anew only when the value has changed.
    #[must_use]
    pub fn next_timer(&self) -> Option<u64> {
        if !self.owed.is_empty() || self.is_goodbye_due() {
            return Some(0);
        }
        let state = match &self.state {
            State::New | State::Dialing => None,
            State::Waiting(until) => Some(*until),
            State::On(connection) => connection.timer(!self.outbox.has_ready()),
            State::Refused(_) | State::Closed => return None,
        };
        [state, self.channels.timer(), self.outbox.timer()].into_iter().flatten().min()
    }

    /// Whether the server can be heard a little later without anybody noticing: nothing is to go out (the connection may be
    /// over), nothing that went out waits for an answer, and what happens in our channels is told by another link.
    #[must_use]
    pub fn only_listens(&self) -> bool {
        let State::On(connection) = &self.state else { return false };
        connection.is_ready()
            && !self.has_pullable()
            && connection.receipts.is_empty()
            && self.leaving.is_none()
            && !self.spec.link.is_bot()
            && self.channels.all_at_rest()
    }

    /// Whether the link is on the network.
    fn is_ready(&self) -> bool {
        matches!(&self.state, State::On(connection) if connection.is_ready())
    }
}
