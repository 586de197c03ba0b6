//! What a link is given: a beginning, what all links of the pool share, and whom it asks.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::{sync::mpsc, time::Instant};

use super::{Mailbox, Network};
use crate::{
    irc::{
        pool::{
            WriteAhead,
            protocol::{LinkSpec, PoolEvent},
        },
        session::{Input, Now, Output, Session},
    },
    model::{Clock, Epoch, LinkId, MatrixKey},
};

/// What a link asks of a session. There is one real answer, [`Session`]; tests of the link alone bring their own.
pub(in crate::irc) trait Protocol: Send {
    /// See [`Session::step`].
    fn step(&mut self, input: Input<'_>, now: Now, out: &mut Vec<Output>);
    /// See [`Session::pull`].
    fn pull(&mut self, now: Now, wire: &mut Vec<u8>, starting: &mut Vec<MatrixKey>) -> bool;
    /// See [`Session::has_pullable`].
    fn has_pullable(&self) -> bool;
    /// See [`Session::only_listens`].
    fn only_listens(&self) -> bool;
    /// See [`Session::next_timer`].
    fn next_timer(&self) -> Option<u64>;
    /// See [`Session::has_words`].
    fn has_words(&self) -> bool;
    /// See [`Session::has_said_goodbye`].
    fn has_said_goodbye(&self) -> bool;
    /// See [`Session::server`].
    fn server(&self) -> &str;
}

impl Protocol for Session {
    fn step(&mut self, input: Input<'_>, now: Now, out: &mut Vec<Output>) {
        self.step(input, now, out);
    }

    fn pull(&mut self, now: Now, wire: &mut Vec<u8>, starting: &mut Vec<MatrixKey>) -> bool {
        self.pull(now, wire, starting)
    }

    fn has_pullable(&self) -> bool {
        self.has_pullable()
    }

    fn only_listens(&self) -> bool {
        self.only_listens()
    }

    fn next_timer(&self) -> Option<u64> {
        self.next_timer()
    }

    fn has_words(&self) -> bool {
        self.has_words()
    }

    fn has_said_goodbye(&self) -> bool {
        self.has_said_goodbye()
    }

    fn server(&self) -> &str {
        self.server()
    }
}

/// Makes the session of a link.
pub(in crate::irc) type NewSession = fn(LinkSpec, &Network) -> Box<dyn Protocol>;

/// What a link begins with.
#[derive(Debug)]
pub(in crate::irc) struct Opening {
    /// What the bridge wants of it.
    pub(in crate::irc) spec: LinkSpec,
    /// Its network, as configured then.
    pub(in crate::irc) network: Arc<Network>,
}

/// What all links of a pool have in common.
pub(in crate::irc) struct Common {
    /// The wall clock.
    pub(in crate::irc) clock: Arc<dyn Clock>,
    /// Where the sessions' monotonic clock begins.
    pub(in crate::irc) origin: Instant,
    /// Who must know before something is written.
    pub(in crate::irc) write_ahead: Arc<dyn WriteAhead>,
    /// Where events go.
    pub(in crate::irc) events: mpsc::Sender<PoolEvent>,
    /// The next epoch.
    pub(in crate::irc) epochs: AtomicU64,
    /// How to make a session.
    pub(in crate::irc) new_session: NewSession,
}

impl Common {
    pub(super) fn next_epoch(&self) -> Epoch {
        Epoch(self.epochs.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn now(&self) -> Now {
        let monotonic = Instant::now().saturating_duration_since(self.origin).as_millis();
        Now { monotonic: u64::try_from(monotonic).unwrap_or(u64::MAX), unix: self.clock.now() }
    }
}

/// Who keeps the list of links. Asked by a link that has come to its end.
pub(in crate::irc) trait Registrar: Send + Sync {
    /// Strikes the link off the list, unless there is mail for it (it is then to go on).
    fn retire(&self, link: &LinkId, mailbox: &Arc<Mailbox>) -> bool;
    /// Strikes the link off the list: its task has ended before its time.
    fn bury(&self, link: &LinkId, mailbox: &Arc<Mailbox>);
}
