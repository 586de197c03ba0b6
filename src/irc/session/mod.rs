//! The session: everything we know of IRC, without a socket or a clock.
//!
//! [`Session::step`] takes one [`Input`] and the time, and appends what follows to a list of [`Output`]s. The link
//! actor (`irc/link`) owns one session, feeds it, and does what it says. Lines that may go out at any time (PONG,
//! QUIT, registration) are outputs; lines that must wait for the flood budget are *pulled* ([`Session::pull`]) one
//! by one when the budget allows, so that the session always knows what has gone out and what still waits.

use crate::{
    irc::pool::protocol::{LinkSpec, NetworkSpec},
    model::{CommandId, Failure, Fate, IrcAction, IrcEvent, LinkState, MatrixKey, Millis},
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
    /// The link is to live; begin.
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
    /// The bridge closes the link: say QUIT, fail what waits.
    Close(&'a str),
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
    /// Tell the bridge what happened on IRC, and when by the server's clock (`server-time`), if it says.
    Event(IrcEvent, Option<Millis>),
    /// Tell the bridge what the link does now.
    State(LinkState),
    /// Tell the bridge what became of a command.
    Fate(CommandId, Fate),
}

/// One link's knowledge of IRC.
pub struct Session {
    _todo: (LinkSpec, NetworkSpec),
}

impl Session {
    /// A session for `spec`. `seed` makes its jitter its own.
    #[must_use]
    pub fn new(spec: LinkSpec, network: std::sync::Arc<NetworkSpec>, seed: u64) -> Self {
        let _ = seed;
        Self { _todo: (spec, (*network).clone()) }
    }

    /// Takes one input; appends what is to be done to `out`, in order.
    pub fn step(&mut self, _input: Input<'_>, _now: Now, _out: &mut Vec<Output>) {
        todo!()
    }

    /// Appends the next line that waits for the flood budget to `wire` (with its CR LF), and to `starting` the
    /// journal entry of the command that begins with it, if any. False when there is nothing to send now.
    ///
    /// What is pulled counts as on its way: if the link is lost after that, its command fails as uncertain.
    pub fn pull(&mut self, _now: Now, _wire: &mut Vec<u8>, _starting: &mut Vec<MatrixKey>) -> bool {
        todo!()
    }

    /// Whether [`Self::pull`] would give a line.
    #[must_use]
    pub fn has_pullable(&self) -> bool {
        todo!()
    }

    /// When to call [`Self::step`] with [`Input::Timer`], on the monotonic clock; `None` if never.
    #[must_use]
    pub fn next_timer(&self) -> Option<u64> {
        todo!()
    }
}
