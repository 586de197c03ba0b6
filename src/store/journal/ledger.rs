//! What is unsettled, in memory: which events, and how far they have got since the last commit.
//!
//! Pure bookkeeping; the writer alone owns it. Its rule: it knows every unsettled event that somebody has been told of.
//! An unsettled row of the database that it doesn't know was stored by a commit whose answer was lost, so nobody acts on
//! it yet, and whoever brings it again may have it as fresh.

use std::collections::{BTreeSet, HashMap};

use crate::{
    model::{IrcKey, MatrixKey},
    store::{Bits, JournalState, OpenTransaction, TransactionProgress},
};

#[derive(Debug, Default)]
pub(super) struct Ledger {
    transactions: HashMap<i64, Entry>,
    changed: BTreeSet<i64>,
    /// Transactions that have the bodies of settled events still, because others of theirs aren't settled.
    half_settled: BTreeSet<i64>,
    unsettled_events: usize,
    lines: HashMap<IrcKey, i64>,
    settled_lines: Vec<i64>,
}

#[derive(Debug)]
struct Entry {
    transaction: OpenTransaction,
    left: u32,
}

impl Ledger {
    pub(super) fn new(state: JournalState) -> Self {
        let mut ledger = Self::default();
        for transaction in state.transactions {
            ledger.open(transaction);
        }
        ledger.lines = state.lines.into_iter().map(|line| (line.key, line.n)).collect();
        ledger
    }

    /// How many events of the homeserver are unsettled.
    pub(super) fn unsettled_events(&self) -> usize {
        self.unsettled_events
    }

    /// How many lines of IRC are unsettled.
    pub(super) fn unsettled_lines(&self) -> usize {
        self.lines.len()
    }

    /// Whether any event has got further since the last commit.
    pub(super) fn has_progress(&self) -> bool {
        !self.changed.is_empty()
    }

    pub(super) fn knows(&self, txn: i64) -> bool {
        self.transactions.contains_key(&txn)
    }

    /// Takes up a transaction; returns the places of its unsettled events.
    pub(super) fn open(&mut self, transaction: OpenTransaction) -> Vec<u32> {
        let unsettled: Vec<u32> = transaction.settled.missing(transaction.events).collect();
        let left = u32::try_from(unsettled.len()).expect("they are at most the events, which are counted in u32");
        self.unsettled_events += unsettled.len();
        if transaction.settled != Bits::default() {
            self.half_settled.insert(transaction.txn);
        }
        if let Some(before) = self.transactions.insert(transaction.txn, Entry { transaction, left }) {
            self.unsettled_events -= before.left as usize;
        }
        unsettled
    }

    /// Forgets a transaction that nobody could be told of.
    pub(super) fn forget(&mut self, txn: i64) {
        if let Some(entry) = self.transactions.remove(&txn) {
            self.unsettled_events -= entry.left as usize;
            self.changed.remove(&txn);
            self.half_settled.remove(&txn);
        }
    }

    /// An event is about to go out on a socket.
    pub(super) fn sending(&mut self, key: MatrixKey) {
        let Some(entry) = self.transactions.get_mut(&key.txn) else { return };
        if key.index < entry.transaction.events && entry.transaction.sending.insert(key.index) {
            self.changed.insert(key.txn);
        }
    }

    /// An event's fate is known.
    pub(super) fn settle(&mut self, key: MatrixKey) {
        let Some(entry) = self.transactions.get_mut(&key.txn) else { return };
        if key.index < entry.transaction.events && entry.transaction.settled.insert(key.index) {
            entry.left -= 1;
            self.unsettled_events -= 1;
            self.changed.insert(key.txn);
        }
    }

    /// Takes up a line; returns whether it wasn't known.
    pub(super) fn open_line(&mut self, key: IrcKey, n: i64) -> bool {
        self.lines.insert(key, n).is_none()
    }

    /// Forgets a line that nobody could be told of.
    pub(super) fn forget_line(&mut self, key: IrcKey) {
        self.lines.remove(&key);
    }

    /// A line's fate is known; returns whether that is news.
    pub(super) fn settle_line(&mut self, key: IrcKey) -> bool {
        let settled = self.lines.remove(&key);
        self.settled_lines.extend(settled);
        settled.is_some()
    }

    /// What has changed since the last commit, in the order of acceptance.
    pub(super) fn progress(&self) -> Vec<TransactionProgress> {
        let changed = self.changed.iter().filter_map(|txn| self.transactions.get(txn));
        changed
            .map(|Entry { transaction, left }| TransactionProgress {
                txn: transaction.txn,
                sending: transaction.sending.clone(),
                settled: transaction.settled.clone(),
                done: *left == 0,
            })
            .collect()
    }

    /// Lines that were settled since the last commit.
    pub(super) fn settled_lines(&self) -> &[i64] {
        &self.settled_lines
    }

    /// All that had changed is on disk.
    pub(super) fn committed(&mut self) {
        for txn in std::mem::take(&mut self.changed) {
            let Some(entry) = self.transactions.get(&txn) else { continue };
            if entry.left == 0 {
                self.transactions.remove(&txn);
                self.half_settled.remove(&txn);
            } else if entry.transaction.settled != Bits::default() {
                self.half_settled.insert(txn);
            }
        }
        self.settled_lines.clear();
    }

    /// Some of the transactions that have bodies to be erased, at most `most`.
    pub(super) fn half_settled(&self, most: usize) -> Vec<i64> {
        self.half_settled.iter().copied().take(most).collect()
    }

    /// These transactions have only bodies of what isn't settled.
    pub(super) fn erased(&mut self, transactions: &[i64]) {
        for txn in transactions {
            self.half_settled.remove(txn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Epoch, store::OpenLine};

    fn transaction(txn: i64, events: u32) -> OpenTransaction {
        OpenTransaction { txn, events, sending: Bits::default(), settled: Bits::default() }
    }

    #[test]
    fn a_transaction_is_done_when_its_last_event_is_settled_and_forgotten_once_that_is_on_disk() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.open(transaction(7, 2)), [0, 1]);
        ledger.sending(MatrixKey { txn: 7, index: 1 });
        ledger.settle(MatrixKey { txn: 7, index: 1 });
        ledger.settle(MatrixKey { txn: 7, index: 1 });
        assert_eq!(ledger.unsettled_events(), 1);
        assert!(!ledger.progress()[0].done);
        ledger.committed();
        assert!(!ledger.has_progress() && ledger.knows(7));
        assert_eq!(ledger.half_settled(9), [7]);
        ledger.erased(&[7]);
        assert_eq!(ledger.half_settled(9), [0; 0]);

        ledger.settle(MatrixKey { txn: 7, index: 0 });
        assert!(ledger.progress()[0].done);
        assert!(ledger.knows(7), "until it is on disk");
        ledger.committed();
        assert!(!ledger.knows(7));
        assert_eq!(ledger.unsettled_events(), 0);
    }

    #[test]
    fn what_is_unknown_or_out_of_range_changes_nothing() {
        let mut ledger = Ledger::default();
        ledger.open(transaction(7, 2));
        for key in [MatrixKey { txn: 7, index: 2 }, MatrixKey { txn: 8, index: 0 }] {
            ledger.sending(key);
            ledger.settle(key);
        }
        assert!(!ledger.settle_line(IrcKey { epoch: Epoch(1), seq: 1 }));
        assert!(!ledger.has_progress() && ledger.settled_lines().is_empty());
        assert_eq!(ledger.unsettled_events(), 2);
    }

    #[test]
    fn what_was_stored_is_counted_and_can_be_forgotten() {
        let mut half = transaction(3, 4);
        half.settled.insert(2);
        let key = IrcKey { epoch: Epoch(9), seq: 0 };
        let mut ledger = Ledger::new(JournalState { transactions: vec![half], lines: vec![OpenLine { key, n: 5 }] });
        assert_eq!((ledger.unsettled_events(), ledger.unsettled_lines()), (3, 1));
        assert_eq!(ledger.half_settled(9), [3], "the last run may not have come to it");
        assert!(!ledger.open_line(key, 5));
        assert!(ledger.settle_line(key));
        assert_eq!(ledger.settled_lines(), [5]);
        ledger.settle(MatrixKey { txn: 3, index: 0 });
        ledger.forget(3);
        assert_eq!((ledger.unsettled_events(), ledger.unsettled_lines()), (0, 0));
        assert_eq!(ledger.progress(), []);
    }
}
