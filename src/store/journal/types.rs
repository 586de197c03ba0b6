//! What goes into the journal and what comes out of it.

use serde_json::value::RawValue;

use super::Bits;
use crate::model::{IrcEvent, IrcKey, LinkId, MatrixKey, Millis};

/// An event as the homeserver sent it.
#[derive(Debug, Clone)]
pub struct NewMatrixEvent {
    /// Its id, by which it is known again; ephemeral data has none and is never known again.
    pub event_id: Option<String>,
    /// The event.
    pub json: Box<RawValue>,
}

/// A transaction as the homeserver sent it.
#[derive(Debug, Clone)]
pub struct NewTransaction {
    /// The homeserver's name for it. The same name with the same events is never accepted twice; with other events it is
    /// another transaction, of a homeserver that has begun to count anew.
    pub txn_id: String,
    /// Its events, in order.
    pub events: Vec<NewMatrixEvent>,
}

/// A transaction that is safely in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedTransaction {
    /// The journal's number of it.
    pub txn: i64,
    /// The places of those events that haven't been seen before; the others are settled already or on their way.
    pub fresh: Vec<u32>,
}

impl AcceptedTransaction {
    /// The keys of the fresh events.
    pub fn fresh_keys(&self) -> impl Iterator<Item = MatrixKey> {
        self.fresh.iter().map(|index| MatrixKey { txn: self.txn, index: *index })
    }
}

/// An event of the homeserver whose fate isn't known.
#[derive(Debug, Clone)]
pub struct UnsettledMatrix {
    /// Its name.
    pub key: MatrixKey,
    /// Whether it was about to go out on a socket: it may have arrived.
    pub sending: bool,
    /// The event.
    pub json: Box<RawValue>,
    /// When it was accepted.
    pub accepted_at: Millis,
}

/// An event of IRC, to be journalled before it counts as received.
#[derive(Debug, Clone)]
pub struct NewIrcLine {
    /// Its name; the same one is never accepted twice.
    pub key: IrcKey,
    /// The link that saw it.
    pub link: LinkId,
    /// When it happened.
    pub at: Millis,
    /// What happened.
    pub event: IrcEvent,
}

/// An event of IRC whose fate isn't known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsettledIrc {
    /// Its name.
    pub key: IrcKey,
    /// The link that saw it.
    pub link: LinkId,
    /// When it happened.
    pub at: Millis,
    /// What happened.
    pub event: IrcEvent,
}

/// Why something was not taken into the journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    /// Too much is unsettled already: try again later.
    #[error("the journal is full: {unsettled} events wait for their fate, and {limit} may")]
    Full {
        /// How many events are unsettled.
        unsettled: usize,
        /// How many may be.
        limit: usize,
    },
    /// The database can't be written just now: try again later. It may turn out to have been stored; it is then taken as
    /// fresh when it comes again.
    #[error("the journal can't be written: {0}")]
    Unavailable(String),
    /// The database won't take this very data, now or later.
    #[error("the journal refuses it: {0}")]
    Refused(String),
}

/// The journal's task has ended; nothing is recorded any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the journal has stopped")]
pub struct JournalStopped;

/// What is committed at once.
#[derive(Debug)]
pub struct Burst<'a> {
    /// The time now.
    pub now: Millis,
    /// Transactions to accept, in order.
    pub transactions: Vec<&'a NewTransaction>,
    /// Lines to accept, in order.
    pub lines: Vec<&'a NewIrcLine>,
    /// How far transactions have got.
    pub progress: Vec<TransactionProgress>,
    /// Lines that are settled, by their number in the journal.
    pub settled_lines: Vec<i64>,
}

impl Burst<'_> {
    /// Whether there is nothing to commit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.transactions.is_empty()
            && self.lines.is_empty()
            && self.progress.is_empty()
            && self.settled_lines.is_empty()
    }

    /// Whether bodies are erased by it.
    #[must_use]
    pub fn erases(&self) -> bool {
        !self.settled_lines.is_empty() || self.progress.iter().any(|progress| progress.done)
    }
}

/// How far a transaction has got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionProgress {
    /// The journal's number of it.
    pub txn: i64,
    /// Events that were about to go out on a socket.
    pub sending: Bits,
    /// Events that are settled.
    pub settled: Bits,
    /// Whether all events are settled: its body is erased.
    pub done: bool,
}

/// What a committed burst became.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct StoredBurst {
    /// For each transaction, what is stored under its id now.
    pub transactions: Vec<StoredTransaction>,
    /// For each line, what is stored under its key now.
    pub lines: Vec<StoredLine>,
}

/// A transaction as it is stored, now or since an earlier time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTransaction {
    /// Number, size and progress.
    pub open: OpenTransaction,
    /// Whether all its events are settled.
    pub done: bool,
}

/// A line as it is stored, now or since an earlier time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredLine {
    /// Its number in the journal.
    pub n: i64,
    /// Whether it is settled.
    pub settled: bool,
}

/// A transaction with unsettled events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenTransaction {
    /// The journal's number of it.
    pub txn: i64,
    /// How many events it has.
    pub events: u32,
    /// Events that were about to go out on a socket.
    pub sending: Bits,
    /// Events that are settled.
    pub settled: Bits,
}

/// An unsettled line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenLine {
    /// Its name.
    pub key: IrcKey,
    /// Its number in the journal.
    pub n: i64,
}

/// All that is unsettled, without bodies.
#[derive(Debug, Default)]
pub struct JournalState {
    /// Transactions with unsettled events.
    pub transactions: Vec<OpenTransaction>,
    /// Unsettled lines.
    pub lines: Vec<OpenLine>,
}
