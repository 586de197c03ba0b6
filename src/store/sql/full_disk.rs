//! A full disk, which only a connection of our own making can feign; the contract suite has the other outages.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde_json::value::RawValue;
use sqlx::{AssertSqlSafe, Executor as _};

use super::{SqlStore, hold::FileHold, open};
use crate::{
    model::{MatrixKey, SystemClock},
    store::{AcceptError, Journal, Limits, NewMatrixEvent, NewTransaction},
};

/// A store whose file may grow to `pages`.
async fn store(path: &str, pages: Arc<AtomicU32>) -> SqlStore {
    let options = open::sqlite_options(path).create_if_missing(true);
    open::migrate_sqlite(&options).await.unwrap();
    let writers = open::sqlite_writers().after_connect(move |connection, _| {
        let limit = AssertSqlSafe(format!("PRAGMA max_page_count = {}", pages.load(Ordering::Relaxed)));
        Box::pin(async move { connection.execute(limit).await.map(drop) })
    });
    let hold = FileHold::take(path.as_ref()).unwrap().expect("nobody else has it");
    SqlStore { db: open::sqlite_with(writers.connect_lazy_with(options.clone()), options, hold) }
}

fn transaction(number: u32) -> NewTransaction {
    let json = RawValue::from_string(format!("\"{}\"", "x".repeat(10_000))).unwrap();
    NewTransaction { txn_id: number.to_string(), events: vec![NewMatrixEvent { event_id: None, json }] }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_and_sat_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bridge.db").display().to_string();
    let pages = Arc::new(AtomicU32::new(60));
    let store = Arc::new(store(&path, Arc::clone(&pages)).await);
    let limits = Limits { accept_wait: Duration::from_millis(300), ..Limits::default() };
    let (journal, _task) = Journal::start(store.clone(), Arc::new(SystemClock), limits).await.unwrap();

    let mut accepted = Vec::new();
    let refused = loop {
        let number = u32::try_from(accepted.len()).unwrap();
        assert!(number < 100, "60 pages of 4 kB hold no megabyte");
        match journal.accept_transaction(transaction(number)).await {
            Ok(transaction) => accepted.push(transaction.txn),
            Err(refused) => break refused,
        }
    };
    assert!(matches!(&refused, AcceptError::Unavailable(words) if words.contains("full")), "{refused:?}");
    let [settled, ..] = accepted[..] else { panic!("60 pages hold no transaction at all") };
    journal.settle_matrix(MatrixKey { txn: settled, index: 0 }).await;

    pages.store(1_000_000, Ordering::Relaxed);
    journal.flush().await.unwrap();
    let number = u32::try_from(accepted.len()).unwrap();
    let again = loop {
        if let Ok(again) = journal.accept_transaction(transaction(number)).await {
            break again;
        }
    };
    assert_eq!(again.fresh, [0]);
    let unsettled: Vec<i64> = journal.unsettled_matrix().await.unwrap().iter().map(|event| event.key.txn).collect();
    let expected: Vec<i64> = accepted[1..].iter().copied().chain([again.txn]).collect();
    assert_eq!(unsettled, expected);
}
