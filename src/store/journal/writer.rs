//! The one task that writes the journal: gathers, commits, answers, and sits out outages.

use std::{
    // Held for a push or a swap, never over an await.
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use metrics::{counter, gauge, histogram};
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};

use super::{Limits, ledger::Ledger};
use crate::{
    model::{Clock, IrcKey, MatrixKey, Millis},
    store::{
        AcceptError, AcceptedTransaction, Burst, JournalState, JournalStore, NewIrcLine, NewTransaction, StoreError,
        StoredBurst, StoredLine, StoredTransaction,
    },
    telemetry::metric,
};

/// Requests taken into one commit.
const BURST: usize = 4096;
/// Pauses between tries while the database is away: from the first to the last, doubling.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How soon a line that was settled is recorded so, if nothing else has to be written before. Nobody waits for that, and to
/// bring a line again is harmless, as the homeserver knows its transaction id; a commit for each would be dear.
const SETTLE_WITHIN: Duration = Duration::from_millis(20);
/// How often to look whether the database is there and still ours, if nothing else asks it. Where our lock ended with its
/// connection, another bridge may begin until we notice.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How often to tidy up, and the pause between two batches of it.
const TIDY_EVERY: Duration = Duration::from_mins(1);
const TIDY_PAUSE: Duration = Duration::from_millis(20);
/// Transactions of which bodies are erased in one batch.
const ERASE: usize = 100;
/// How long to go on trying when nobody holds the journal any more.
const LAST_TRIES: Duration = Duration::from_secs(5);

type Reply<T> = oneshot::Sender<Result<T, AcceptError>>;

/// What handles ask of the writer.
pub(super) enum Request {
    Transaction(NewTransaction, Reply<AcceptedTransaction>),
    Lines(Vec<NewIrcLine>, Reply<Vec<bool>>),
    Sending(Vec<MatrixKey>, oneshot::Sender<()>),
    SettleMatrix(MatrixKey),
    Flush(oneshot::Sender<()>),
}

/// Lines whose fates are known and not yet recorded. Only the first of them wakes the writer.
#[derive(Default)]
pub(super) struct SettledLines {
    keys: Mutex<Vec<IrcKey>>,
    first: Notify,
}

impl SettledLines {
    pub(super) fn push(&self, key: IrcKey) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.push(key);
        if keys.len() == 1 {
            self.first.notify_one();
        }
    }

    fn take(&self) -> Vec<IrcKey> {
        std::mem::take(&mut *self.keys.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(super) struct Writer {
    store: Arc<dyn JournalStore>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    requests: mpsc::Receiver<Request>,
    settled: Arc<SettledLines>,
    ledger: Ledger,
    transactions: Vec<(NewTransaction, Reply<AcceptedTransaction>)>,
    lines: Vec<(Vec<NewIrcLine>, Reply<Vec<bool>>)>,
    /// How many events and lines these two hold.
    pending_events: usize,
    pending_lines: usize,
    /// Who waits for marks, or for everything, to be on disk.
    waiting: Vec<oneshot::Sender<()>>,
    /// When lines that were settled since the last commit have to be recorded so.
    settle_at: Option<Instant>,
    outage: Option<Outage>,
    /// Whether anything was erased since the files were swept.
    erased: bool,
    tell_outage: watch::Sender<Option<String>>,
    look_at: Instant,
    tidy_at: Instant,
    /// From when on old rows are deleted.
    forget_from: Instant,
    /// Another bridge has taken our place.
    replaced: bool,
}

struct Outage {
    since: Instant,
    pause: Duration,
    retry_at: Instant,
    /// Whether it was found while looking, so that looking also finds that it is over. Of a full disk it would not.
    is_idle: bool,
}

impl Writer {
    pub(super) fn new(
        store: Arc<dyn JournalStore>,
        clock: Arc<dyn Clock>,
        limits: Limits,
        state: JournalState,
        requests: mpsc::Receiver<Request>,
        settled: Arc<SettledLines>,
        tell_outage: watch::Sender<Option<String>>,
    ) -> Self {
        Self {
            store,
            clock,
            limits,
            requests,
            settled,
            ledger: Ledger::new(state),
            transactions: Vec::new(),
            lines: Vec::new(),
            pending_events: 0,
            pending_lines: 0,
            waiting: Vec::new(),
            settle_at: None,
            outage: None,
            erased: false,
            tell_outage,
            look_at: Instant::now(),
            tidy_at: Instant::now(),
            forget_from: Instant::now() + limits.remember_at_start,
            replaced: false,
        }
    }

    pub(super) async fn run(mut self) {
        let mut received = Vec::with_capacity(BURST);
        let mut give_up_at = None;
        self.report();
        while !self.replaced && give_up_at.is_none_or(|at| self.has_work() && Instant::now() < at) {
            let commit_at = self.outage.as_ref().filter(|_| self.has_work()).map(|o| o.retry_at).or(self.settle_at);
            // At the end there is nothing to look after, only to write.
            let look_at = give_up_at.unwrap_or(self.look_at);
            let wake_at = commit_at.map_or(look_at, |at| at.min(look_at));
            tokio::select! {
                biased;
                count = self.requests.recv_many(&mut received, BURST), if give_up_at.is_none() => {
                    if count == 0 {
                        give_up_at = Some(Instant::now() + LAST_TRIES);
                    }
                }
                () = self.settled.first.notified() => {
                    self.settle_at.get_or_insert_with(|| Instant::now() + SETTLE_WITHIN);
                    // Nothing has to be done about them yet.
                    continue;
                }
                () = sleep_until(wake_at) => {}
            }
            for key in self.settled.take() {
                self.ledger.settle_line(key);
            }
            for request in received.drain(..) {
                self.take(request);
            }
            let now = Instant::now();
            let is_due = self.is_due(now) || self.outage.is_none() && give_up_at.is_some();
            self.settle_at = self.settle_at.filter(|at| *at > now);
            if is_due {
                self.commit().await;
                self.pending_events = self.transactions.iter().map(|(pending, _)| pending.events.len()).sum();
                self.pending_lines = self.lines.iter().map(|(pending, _)| pending.len()).sum();
                self.report();
            }
            if self.look_at <= now && give_up_at.is_none() {
                self.look().await;
            }
        }
        if self.has_work() && !self.replaced {
            tracing::error!(
                "the journal ends while the database is away; what was settled last may be told as uncertain"
            );
        }
    }

    fn has_work(&self) -> bool {
        self.is_awaited() || !self.ledger.settled_lines().is_empty()
    }

    /// Whether something is to be on disk as soon as can be.
    fn is_awaited(&self) -> bool {
        self.ledger.has_progress()
            || !self.transactions.is_empty()
            || !self.lines.is_empty()
            || !self.waiting.is_empty()
    }

    /// Whether it is time to write.
    fn is_due(&self, now: Instant) -> bool {
        match &self.outage {
            Some(outage) => self.has_work() && outage.retry_at <= now,
            None => self.is_awaited() || self.settle_at.is_some_and(|at| at <= now),
        }
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Transaction(transaction, reply) => {
                let (events, unsettled) = (transaction.events.len(), self.ledger.unsettled_events());
                match room(unsettled + self.pending_events, events, self.limits.matrix) {
                    Ok(()) => {
                        self.pending_events += events;
                        self.transactions.push((transaction, reply));
                    }
                    Err(full) => drop(reply.send(Err(full))),
                }
            }
            // Nothing to store: there may be no burst to answer it.
            Request::Lines(lines, reply) if lines.is_empty() => drop(reply.send(Ok(Vec::new()))),
            Request::Lines(lines, reply) => {
                let unsettled = self.ledger.unsettled_lines() + self.pending_lines;
                match room(unsettled, lines.len(), self.limits.irc) {
                    Ok(()) => {
                        self.pending_lines += lines.len();
                        self.lines.push((lines, reply));
                    }
                    Err(full) => drop(reply.send(Err(full))),
                }
            }
            Request::Sending(keys, reply) => {
                for key in keys {
                    self.ledger.sending(key);
                }
                self.waiting.push(reply);
            }
            Request::SettleMatrix(key) => self.ledger.settle(key),
            Request::Flush(reply) => self.waiting.push(reply),
        }
    }

    async fn commit(&mut self) {
        // Nobody waits for these any more: they were told that it didn't work.
        self.transactions.retain(|(_, reply)| !reply.is_closed());
        self.lines.retain(|(_, reply)| !reply.is_closed());
        let burst = Burst {
            now: self.clock.now(),
            transactions: self.transactions.iter().map(|(transaction, _)| transaction).collect(),
            lines: self.lines.iter().flat_map(|(lines, _)| lines).collect(),
            progress: self.ledger.progress(),
            settled_lines: self.ledger.settled_lines().to_vec(),
        };
        if burst.is_empty() {
            // All that was waited for is on disk already; that says nothing about whether an outage is over.
            return self.answer_waiting();
        }
        match store(self.store.as_ref(), &burst).await {
            Ok(StoredBurst { transactions, lines }) => {
                self.erased |= burst.erases();
                self.ledger.committed();
                for ((_, reply), stored) in std::mem::take(&mut self.transactions).into_iter().zip(transactions) {
                    self.answer_transaction(reply, stored);
                }
                let mut stored = lines.into_iter();
                for (lines, reply) in std::mem::take(&mut self.lines) {
                    self.answer_lines(&lines, reply, stored.by_ref().take(lines.len()));
                }
                self.recovered();
            }
            Err(StoreError::Refused(_)) => {
                drop(burst);
                if let Err(error) = self.commit_one_by_one().await {
                    self.failed(&error);
                } else {
                    self.recovered();
                }
            }
            Err(error) => {
                drop(burst);
                self.failed(&error);
            }
        }
    }

    /// After a burst was refused: finds out whose data it was, so that nobody else suffers. What is left when this fails
    /// stays for the next try.
    async fn commit_one_by_one(&mut self) -> Result<(), StoreError> {
        let empty =
            |now: Millis| Burst { now, transactions: vec![], lines: vec![], progress: vec![], settled_lines: vec![] };
        let now = self.clock.now();
        let (progress, settled_lines) = (self.ledger.progress(), self.ledger.settled_lines().to_vec());
        let burst = Burst { progress, settled_lines, ..empty(now) };
        store(self.store.as_ref(), &burst).await?;
        self.erased |= burst.erases();
        self.ledger.committed();
        while let Some((transaction, _)) = self.transactions.first() {
            let burst = Burst { transactions: vec![transaction], ..empty(now) };
            let stored = or_refused(store(self.store.as_ref(), &burst).await)?;
            let (transaction, reply) = self.transactions.remove(0);
            match stored {
                Ok(mut stored) => {
                    let stored = stored.transactions.pop().expect("a stored burst has an answer for each transaction");
                    self.answer_transaction(reply, stored);
                }
                Err(refused) => {
                    tracing::error!(txn_id = transaction.txn_id, error = %refused, "a transaction is refused");
                    drop(reply.send(Err(refused)));
                }
            }
        }
        while let Some((lines, _)) = self.lines.first() {
            let burst = Burst { lines: lines.iter().collect(), ..empty(now) };
            let stored = or_refused(store(self.store.as_ref(), &burst).await)?;
            let (lines, reply) = self.lines.remove(0);
            match stored {
                Ok(stored) => self.answer_lines(&lines, reply, stored.lines),
                Err(refused) => {
                    tracing::error!(lines = lines.len(), error = %refused, "lines of IRC are refused");
                    drop(reply.send(Err(refused)));
                }
            }
        }
        Ok(())
    }

    fn answer_transaction(&mut self, reply: Reply<AcceptedTransaction>, stored: StoredTransaction) {
        let txn = stored.open.txn;
        let fresh = if stored.done || self.ledger.knows(txn) { Vec::new() } else { self.ledger.open(stored.open) };
        let is_fresh = !fresh.is_empty();
        if reply.send(Ok(AcceptedTransaction { txn, fresh })).is_err() && is_fresh {
            self.ledger.forget(txn);
        }
    }

    fn answer_lines(
        &mut self,
        lines: &[NewIrcLine],
        reply: Reply<Vec<bool>>,
        stored: impl IntoIterator<Item = StoredLine>,
    ) {
        let fresh: Vec<bool> = lines
            .iter()
            .zip(stored)
            .map(|(line, stored)| !stored.settled && self.ledger.open_line(line.key, stored.n))
            .collect();
        if let Err(Ok(fresh)) = reply.send(Ok(fresh)) {
            for (line, _) in lines.iter().zip(fresh).filter(|(_, fresh)| *fresh) {
                self.ledger.forget_line(line.key);
            }
        }
    }

    /// The database works: all that waited is done, and an outage is over.
    fn recovered(&mut self) {
        self.answer_waiting();
        if let Some(outage) = self.outage.take() {
            self.tell_outage.send_replace(None);
            self.look_at = Instant::now() + LOOK_EVERY;
            let seconds = outage.since.elapsed().as_secs();
            tracing::info!(seconds, "the journal can be written again");
        }
    }

    fn answer_waiting(&mut self) {
        for reply in self.waiting.drain(..) {
            // Whoever doesn't wait any more needn't know.
            let _ = reply.send(());
        }
    }

    fn failed(&mut self, error: &StoreError) {
        counter!(metric::STORE_JOURNAL_ERRORS).increment(1);
        if *error == StoreError::TakenOver {
            tracing::error!(%error, "the journal ends");
            self.replaced = true;
        }
        let now = Instant::now();
        let (since, pause) = if let Some(outage) = &self.outage {
            (outage.since, (outage.pause * 2).min(LONGEST_PAUSE))
        } else {
            tracing::error!(%error, "the journal can't be written; nothing new is accepted until it can");
            (now, FIRST_PAUSE)
        };
        self.outage = Some(Outage { since, pause, retry_at: now + pause, is_idle: false });
        self.tell_outage.send_replace(Some(error.to_string()));
    }

    /// Finds out that the database is away, or not ours any more, when nobody else asks; tidies up when it is time.
    async fn look(&mut self) {
        let tidies = self.tidy_at <= Instant::now();
        let looked = if tidies { self.tidy().await } else { self.store.erase(&[]).await.map(|()| false) };
        let is_idle = self.outage.as_ref().is_some_and(|outage| outage.is_idle);
        let pause = match looked {
            Ok(is_more) => {
                if is_idle {
                    self.recovered();
                }
                if tidies && !is_more {
                    self.tidy_at = Instant::now() + TIDY_EVERY;
                }
                if is_more { TIDY_PAUSE } else { LOOK_EVERY }
            }
            Err(error) => {
                if is_idle || self.outage.is_none() {
                    self.failed(&error);
                    self.outage.iter_mut().for_each(|outage| outage.is_idle = true);
                }
                if self.outage.as_ref().is_some_and(|outage| outage.is_idle) { LONGEST_PAUSE } else { TIDY_EVERY }
            }
        };
        self.look_at = Instant::now() + pause;
    }

    /// What is done once in a while, a batch at a time; returns whether there is more.
    async fn tidy(&mut self) -> Result<bool, StoreError> {
        let tidied = async { Ok(self.erase().await? | self.prune().await?) }.await;
        self.sweep().await;
        tidied
    }

    /// Erases the bodies of settled events whose transactions wait for others; returns whether there are more. The
    /// database is asked even if there are none.
    ///
    /// Not with each commit: that would write all bodies of a transaction anew for each of its events.
    async fn erase(&mut self) -> Result<bool, StoreError> {
        let batch = self.ledger.half_settled(ERASE);
        self.store.erase(&batch).await?;
        self.ledger.erased(&batch);
        self.erased |= !batch.is_empty();
        Ok(batch.len() == ERASE)
    }

    /// Deletes old rows; returns whether there may be more.
    async fn prune(&mut self) -> Result<bool, StoreError> {
        if Instant::now() < self.forget_from {
            return Ok(false);
        }
        let keep = Millis::try_from(self.limits.keep.as_millis()).unwrap_or(Millis::MAX);
        Ok(self.store.prune(self.clock.now().saturating_sub(keep)).await? > 0)
    }

    /// What people said doesn't stay in the files for long after it was erased.
    async fn sweep(&mut self) {
        if !self.erased || self.outage.is_some() {
            return;
        }
        match self.store.sweep().await {
            Ok(()) => self.erased = false,
            Err(error) => tracing::debug!(%error, "the database's log can't be emptied now; trying again in a minute"),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    fn report(&self) {
        gauge!(metric::STORE_JOURNAL_UNSETTLED, "direction" => "matrix").set(self.ledger.unsettled_events() as f64);
        gauge!(metric::STORE_JOURNAL_UNSETTLED, "direction" => "irc").set(self.ledger.unsettled_lines() as f64);
    }
}

async fn store(store: &dyn JournalStore, burst: &Burst<'_>) -> Result<StoredBurst, StoreError> {
    let begun = Instant::now();
    let stored = store.commit(burst).await?;
    histogram!(metric::STORE_COMMIT_SECONDS).record(begun.elapsed());
    Ok(stored)
}

/// Tells a refusal of the data, which concerns one request, from failures that concern all.
fn or_refused<T>(result: Result<T, StoreError>) -> Result<Result<T, AcceptError>, StoreError> {
    match result {
        Ok(stored) => Ok(Ok(stored)),
        Err(StoreError::Refused(problem)) => Ok(Err(AcceptError::Refused(problem))),
        Err(error) => Err(error),
    }
}

/// Whether `more` may join `unsettled`. Into an empty journal anything may, lest a large transaction never gets in.
fn room(unsettled: usize, more: usize, limit: usize) -> Result<(), AcceptError> {
    if unsettled > 0 && unsettled + more > limit { Err(AcceptError::Full { unsettled, limit }) } else { Ok(()) }
}
