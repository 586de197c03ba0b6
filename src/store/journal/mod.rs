//! The journal: accepted events of both directions, on disk until their fate is known.
//!
//! [`Journal`] is a handle; clones of it talk to one writer task ([`writer`]), which takes all that has come in meanwhile,
//! commits it at once, and only then answers. The task owns the [`ledger`], the memory of what is unsettled, so that one
//! short statement per transaction and commit records any number of sends and settlements.
//!
//! **While the database is away** nothing that was queued is lost: marks and settlements stay in the ledger and the task
//! tries again with growing pauses. Whoever wants something accepted is told `Unavailable` after [`Limits::accept_wait`].
//!
//! **A commit whose answer is lost** may have happened. Trying it again is harmless: marks and settlements are absolute,
//! and a transaction or line that is found stored already is fresh if nobody has been told of it (see [`ledger`]).

mod bits;
mod ledger;
#[cfg(test)]
mod tests;
mod types;
mod writer;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use self::writer::{Request, SettledLines, Writer};
pub use self::{bits::Bits, types::*};
use super::{JournalStore, StoreError};
use crate::model::{Clock, IrcKey, MatrixKey};

/// Requests that may wait for the writer; whoever brings more waits.
const INBOX: usize = 4096;

/// How much the journal holds, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most unsettled events of the homeserver. One transaction is always let into an empty journal.
    pub matrix: usize,
    /// Most unsettled lines of IRC.
    pub irc: usize,
    /// How long settled transactions and lines are known again.
    pub keep: Duration,
    /// How long after a start nothing is forgotten, whatever its age: a homeserver that had to wait for us for longer than
    /// `keep` says first what we took last.
    pub remember_at_start: Duration,
    /// How long an acceptance waits for a database that is away.
    pub accept_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            matrix: 50_000,
            irc: 200_000,
            keep: Duration::from_hours(24),
            remember_at_start: Duration::from_hours(1),
            accept_wait: Duration::from_secs(5),
        }
    }
}

/// A handle of the journal; cheap to clone. The writer task ends, with everything committed, when the last one is dropped.
#[derive(Clone)]
pub struct Journal {
    inbox: mpsc::Sender<Request>,
    settled: Arc<SettledLines>,
    store: Arc<dyn JournalStore>,
    accept_wait: Duration,
    /// What is wrong with the database, while something is.
    outage: watch::Receiver<Option<String>>,
}

impl Journal {
    /// Reads what is unsettled and starts the writer task. There must be only one journal on a database.
    pub async fn start(
        store: Arc<dyn JournalStore>,
        clock: Arc<dyn Clock>,
        limits: Limits,
    ) -> Result<(Self, JoinHandle<()>), StoreError> {
        let state = store.state().await?;
        let (inbox, requests) = mpsc::channel(INBOX);
        let (tell_outage, outage) = watch::channel(None);
        let settled = Arc::new(SettledLines::default());
        let writer = Writer::new(Arc::clone(&store), clock, limits, state, requests, settled.clone(), tell_outage);
        let task = tokio::spawn(writer.run());
        Ok((Self { inbox, settled, store, accept_wait: limits.accept_wait, outage }, task))
    }

    /// Takes a transaction in; it is on disk when this returns, and the homeserver may be told so.
    ///
    /// Dropping this future, or not acting on its answer, leaves the fresh events to the next start of the bridge: call it
    /// from a task that lives longer than the homeserver's request.
    pub async fn accept_transaction(&self, transaction: NewTransaction) -> Result<AcceptedTransaction, AcceptError> {
        self.accept(|reply| Request::Transaction(transaction, reply)).await
    }

    /// Takes lines of IRC in; they are on disk when this returns. The answer says of each whether it is fresh, that is,
    /// not known already.
    pub async fn accept_irc(&self, lines: Vec<NewIrcLine>) -> Result<Vec<bool>, AcceptError> {
        self.accept(|reply| Request::Lines(lines, reply)).await
    }

    /// These events are about to go out on a socket: when this returns, that is on disk, and from then on they are never
    /// sent again. Waits for as long as the database is away. Keys that aren't unsettled are passed over.
    pub async fn mark_sending(&self, keys: &[MatrixKey]) -> Result<(), JournalStopped> {
        self.ask(|reply| Request::Sending(keys.to_vec(), reply)).await
    }

    /// This event's fate is known. Recorded soon; saying it again is harmless.
    pub async fn settle_matrix(&self, key: MatrixKey) {
        self.tell(Request::SettleMatrix(key)).await;
    }

    /// This line's fate is known. Recorded soon; saying it again is harmless.
    pub fn settle_irc(&self, key: IrcKey) {
        self.settled.push(key);
    }

    /// Waits until all that this handle has brought is on disk, however long the database is away.
    pub async fn flush(&self) -> Result<(), JournalStopped> {
        self.ask(Request::Flush).await
    }

    /// The homeserver's unsettled events, in the order of acceptance; for recovery at start, before anything is accepted.
    pub async fn unsettled_matrix(&self) -> Result<Vec<UnsettledMatrix>, StoreError> {
        self.store.unsettled_matrix().await
    }

    /// The unsettled lines of IRC, in the order of acceptance; for recovery at start, before anything is accepted.
    pub async fn unsettled_irc(&self) -> Result<Vec<UnsettledIrc>, StoreError> {
        self.store.unsettled_irc().await
    }

    /// What is wrong with the database, while it can't be written.
    #[must_use]
    pub fn outage(&self) -> watch::Receiver<Option<String>> {
        self.outage.clone()
    }

    async fn accept<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, AcceptError>>) -> Request,
    ) -> Result<T, AcceptError> {
        let stopped = || AcceptError::Unavailable(JournalStopped.to_string());
        let deadline = Instant::now() + self.accept_wait;
        let (reply, mut answer) = oneshot::channel();
        match timeout_at(deadline, self.inbox.send(request(reply))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(stopped()),
            Err(_) => return Err(self.unavailable()),
        }
        if let Ok(answered) = timeout_at(deadline, &mut answer).await {
            return answered.unwrap_or_else(|_| Err(stopped()));
        }
        // The writer may have answered just now. After `close` it can't any more, and knows that nobody was told.
        answer.close();
        answer.try_recv().unwrap_or_else(|_| Err(self.unavailable()))
    }

    async fn ask(&self, request: impl FnOnce(oneshot::Sender<()>) -> Request) -> Result<(), JournalStopped> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(request(reply)).await.map_err(|_| JournalStopped)?;
        answer.await.map_err(|_| JournalStopped)
    }

    async fn tell(&self, request: Request) {
        if self.inbox.send(request).await.is_err() {
            tracing::error!("an event's fate can't be recorded, because {JournalStopped}");
        }
    }

    fn unavailable(&self) -> AcceptError {
        let problem = self.outage.borrow().clone();
        AcceptError::Unavailable(
            problem.unwrap_or_else(|| format!("the database did not answer within {} s", self.accept_wait.as_secs())),
        )
    }
}
