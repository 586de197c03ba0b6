//! The database is away, refuses, or doesn't answer: nothing is lost, nothing is done twice, and it is told.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use footbridge::store::{
    AcceptError, Burst, JournalState, JournalStore, Limits, NewIrcLine, Store, StoreError, StoredBurst, UnsettledIrc,
    UnsettledMatrix,
};
use ruma::{room_id, user_id};
use tokio::{task::JoinSet, time::Instant};

use crate::store::{Database, Engine, TestJournal, contract, irc_key, key, line, transaction};
use crate::support::wait::DEADLINE;

contract!(
    what_is_queued_while_the_database_is_away_is_recorded_when_it_is_back,
    what_could_not_be_accepted_is_fresh_when_it_comes_again,
    a_commit_whose_answer_is_lost_is_found_again,
    one_poisoned_request_does_not_fail_the_others,
    the_task_records_what_it_can_when_nobody_holds_the_journal_any_more,
);

const AWAY: [&str; 2] = ["journal_transactions", "journal_lines"];

async fn take_away(database: &Database) {
    for table in AWAY {
        database.sql(&format!("ALTER TABLE {table} RENAME TO {table}_away")).await;
    }
}

async fn bring_back(database: &Database) {
    for table in AWAY {
        database.sql(&format!("ALTER TABLE {table}_away RENAME TO {table}")).await;
    }
}

/// A journal whose acceptances give up soon.
async fn impatient(store: Arc<dyn JournalStore>) -> TestJournal {
    let limits = Limits { accept_wait: Duration::from_millis(300), ..Limits::default() };
    TestJournal::start(store, Arc::default(), limits).await
}

async fn what_is_queued_while_the_database_is_away_is_recorded_when_it_is_back(database: Database) {
    let journal = impatient(database.open().await).await;
    let txn = journal.accept("1", &["$a", "$b", "$c"]).await.txn;
    journal.accept_irc(vec![line(1, 0, "a"), line(1, 1, "b")]).await.unwrap();
    take_away(&database).await;
    journal.settle_matrix(key(txn, 0)).await;
    journal.settle_irc(irc_key(1, 0));
    let marking = tokio::spawn({
        let journal = journal.journal.clone();
        async move { journal.mark_sending(&[key(txn, 1)]).await }
    });
    let refused = journal.accept_transaction(transaction("2", &["$d"])).await;
    assert!(matches!(refused, Err(AcceptError::Unavailable(_))), "{refused:?}");
    assert!(!marking.is_finished(), "nothing may go out before the mark is on disk");
    bring_back(&database).await;
    assert_eq!(marking.await.unwrap(), Ok(()));
    journal.crash().await;

    let journal = database.journal().await;
    let unsettled = journal.unsettled_matrix().await.unwrap();
    let unsettled: Vec<_> = unsettled.iter().map(|event| (event.key, event.sending)).collect();
    assert_eq!(unsettled, [(key(txn, 1), true), (key(txn, 2), false)]);
    let lines = journal.unsettled_irc().await.unwrap();
    assert_eq!(lines.iter().map(|line| line.key).collect::<Vec<_>>(), [irc_key(1, 1)]);
}

async fn what_could_not_be_accepted_is_fresh_when_it_comes_again(database: Database) {
    let journal = impatient(database.open().await).await;
    take_away(&database).await;
    for _ in 0..2 {
        let refused = journal.accept_transaction(transaction("1", &["$a"])).await;
        assert!(matches!(refused, Err(AcceptError::Unavailable(_))), "{refused:?}");
        let refused = journal.accept_irc(vec![line(1, 0, "a")]).await;
        assert!(matches!(refused, Err(AcceptError::Unavailable(_))), "{refused:?}");
    }
    bring_back(&database).await;
    // Nothing is queued, so only asking tells that the database is back.
    let accepted = loop {
        if let Ok(accepted) = journal.accept_transaction(transaction("1", &["$a"])).await {
            break accepted;
        }
    };
    assert_eq!(accepted.fresh, [0]);
    assert_eq!(journal.accept_irc(vec![line(1, 0, "a")]).await, Ok(vec![true]));
    assert_eq!(journal.accept("1", &["$a"]).await.fresh, [0; 0]);
}

/// A store whose commits succeed while their answers are lost, for as long as it is told so.
struct Unlucky {
    store: Arc<dyn Store>,
    loses_answers: AtomicBool,
}

#[async_trait]
impl JournalStore for Unlucky {
    async fn state(&self) -> Result<JournalState, StoreError> {
        self.store.state().await
    }

    async fn commit(&self, burst: &Burst<'_>) -> Result<StoredBurst, StoreError> {
        let stored = self.store.commit(burst).await?;
        if self.loses_answers.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("the answer was lost".to_owned()));
        }
        Ok(stored)
    }

    async fn unsettled_matrix(&self) -> Result<Vec<UnsettledMatrix>, StoreError> {
        self.store.unsettled_matrix().await
    }

    async fn unsettled_irc(&self) -> Result<Vec<UnsettledIrc>, StoreError> {
        self.store.unsettled_irc().await
    }

    async fn erase(&self, transactions: &[i64]) -> Result<(), StoreError> {
        self.store.erase(transactions).await
    }

    async fn prune(&self, before: i64) -> Result<u64, StoreError> {
        self.store.prune(before).await
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        self.store.sweep().await
    }
}

async fn a_commit_whose_answer_is_lost_is_found_again(database: Database) {
    let store = Arc::new(Unlucky { store: database.open().await, loses_answers: AtomicBool::new(true) });
    let journal = impatient(store.clone()).await;
    let refused = journal.accept_transaction(transaction("1", &["$a", "$a"])).await;
    assert_eq!(refused, Err(AcceptError::Unavailable("the database is unavailable: the answer was lost".to_owned())));
    let refused = journal.accept_irc(vec![line(1, 0, "a")]).await;
    assert!(matches!(refused, Err(AcceptError::Unavailable(_))), "{refused:?}");
    assert_eq!(database.number("SELECT COUNT(*) FROM journal_transactions").await, 1, "it is stored all the same");

    // One waits through lost answers until one comes through; another one has been told that it failed, and comes again.
    let waiting = tokio::spawn({
        let patient = journal.journal.clone();
        async move {
            loop {
                if let Ok(accepted) = patient.accept_transaction(transaction("2", &["$b"])).await {
                    break accepted;
                }
            }
        }
    });
    while database.number("SELECT COUNT(*) FROM journal_transactions").await < 2 {
        tokio::task::yield_now().await;
    }
    store.loses_answers.store(false, Ordering::Relaxed);
    assert_eq!(waiting.await.unwrap().fresh, [0]);
    let first = journal.accept("1", &["$a", "$a"]).await;
    assert_eq!(first.fresh, [0], "as it was stored: the second is the first again");
    assert_eq!(journal.accept("1", &["$a", "$a"]).await.fresh, [0; 0]);
    let lines = || vec![line(1, 0, "a"), line(1, 1, "b")];
    assert_eq!(journal.accept_irc(lines()).await, Ok(vec![true, true]));
    assert_eq!(journal.accept_irc(lines()).await, Ok(vec![false, false]));
    journal.settle_matrix(key(first.txn, 0)).await;
    journal.stop().await;
    drop(store);
    let journal = database.journal().await;
    assert_eq!(journal.unsettled_matrix().await.unwrap().len(), 1);
    assert_eq!(journal.unsettled_irc().await.unwrap().len(), 2);
}

async fn one_poisoned_request_does_not_fail_the_others(database: Database) {
    let limits = Limits { accept_wait: Duration::from_mins(1), ..Limits::default() };
    let journal = TestJournal::start(database.open().await, Arc::default(), limits).await;
    let txn = journal.accept("0", &["$0", "$00"]).await.txn;
    match database.engine {
        Engine::Sqlite(_) => {
            for (table, column) in [("journal_bodies", "events"), ("journal_lines", "body")] {
                let sql = format!(
                    "CREATE TRIGGER poison_{table} BEFORE INSERT ON {table} WHEN NEW.{column} LIKE '%poison%'
                     BEGIN SELECT RAISE(ABORT, 'poisoned'); END"
                );
                database.sql(&sql).await;
            }
        }
        Engine::Postgres(_) => {
            database.sql("ALTER TABLE journal_bodies ADD CHECK (events NOT LIKE '%poison%')").await;
            database.sql("ALTER TABLE journal_lines ADD CHECK (body NOT LIKE '%poison%')").await;
        }
    }
    // So that all come in one burst.
    take_away(&database).await;
    let mut transactions = JoinSet::new();
    let mut lines = JoinSet::new();
    for number in 0..20 {
        let journal = journal.journal.clone();
        let poisoned = number % 7 == 3;
        let text = if poisoned { format!("poison{number}") } else { format!("$fine{number}") };
        transactions.spawn({
            let (journal, text) = (journal.clone(), text.clone());
            async move { (poisoned, journal.accept_transaction(transaction(&format!("t{number}"), &[&text])).await) }
        });
        let burst: Vec<NewIrcLine> = vec![line(1, 2 * number, &text), line(1, 2 * number + 1, "fine")];
        lines.spawn(async move { (poisoned, journal.accept_irc(burst).await) });
    }
    journal.settle_matrix(key(txn, 0)).await;
    let marking = tokio::spawn({
        let journal = journal.journal.clone();
        async move { journal.mark_sending(&[key(txn, 1)]).await }
    });
    bring_back(&database).await;
    for (poisoned, accepted) in transactions.join_all().await {
        assert_eq!(matches!(accepted, Err(AcceptError::Refused(_))), poisoned, "{accepted:?}");
        assert_eq!(accepted.map(|accepted| accepted.fresh).unwrap_or_default().len(), usize::from(!poisoned));
    }
    for (poisoned, accepted) in lines.join_all().await {
        assert_eq!(matches!(accepted, Err(AcceptError::Refused(_))), poisoned, "{accepted:?}");
        assert_eq!(accepted.unwrap_or_default().len(), if poisoned { 0 } else { 2 });
    }
    assert_eq!(marking.await.unwrap(), Ok(()));
    let unsettled = journal.unsettled_matrix().await.unwrap();
    assert_eq!(unsettled.len(), 1 + 17);
    assert_eq!((unsettled[0].key, unsettled[0].sending), (key(txn, 1), true));
}

async fn the_task_records_what_it_can_when_nobody_holds_the_journal_any_more(database: Database) {
    let journal = database.journal().await;
    let txn = journal.accept("1", &["$a", "$b"]).await.txn;
    take_away(&database).await;
    journal.settle_matrix(key(txn, 0)).await;
    let stopping = tokio::spawn(journal.stop());
    bring_back(&database).await;
    stopping.await.unwrap();
    assert_eq!(database.journal().await.unsettled_matrix().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_the_server_is_sat_out() {
    let (database, server) = Database::postgres_alone();
    let store = database.open().await;
    let journal = impatient(store.clone()).await;
    let txn = journal.accept("1", &["$a", "$b"]).await.txn;
    server.stop();
    journal.settle_matrix(key(txn, 0)).await;
    let refused = journal.accept_transaction(transaction("2", &["$c"])).await;
    assert!(matches!(refused, Err(AcceptError::Unavailable(_))), "{refused:?}");
    let told = store.ping().await.unwrap_err();
    assert!(matches!(&told, StoreError::Unavailable(words) if words.contains("is PostgreSQL running")), "{told}");
    let outage = journal.outage().borrow().clone();
    assert_eq!(outage, Some(told.to_string()), "so says the journal, whose words `/health` repeats");
    server.start_again();
    journal.flush().await.unwrap();
    assert_eq!(store.ping().await, Ok(()), "connections that died are replaced");
    assert_eq!(journal.accept("2", &["$c"]).await.fresh, [0]);
    let unsettled = journal.unsettled_matrix().await.unwrap();
    assert_eq!(unsettled.iter().map(|event| event.key.index).collect::<Vec<_>>(), [1, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_removed_or_replaced_is_an_outage() {
    let database = Database::sqlite();
    let Engine::Sqlite(folder) = &database.engine else { unreachable!("it is SQLite") };
    let (file, away) = (folder.path().join("bridge.db"), folder.path().join("away.db"));
    let store = database.open().await;
    let journal = impatient(store.clone()).await;
    assert_eq!(journal.accept("1", &["$a"]).await.fresh, [0]);
    std::fs::rename(&file, &away).unwrap();
    for _ in ["removed", "replaced"] {
        let told = store.ping().await.unwrap_err().to_string();
        assert!(told.contains("was removed or replaced") && told.contains("restart"), "{told}");
        let refused = journal.accept_transaction(transaction("2", &["$b"])).await;
        assert!(matches!(&refused, Err(AcceptError::Unavailable(words)) if words.contains("replaced")), "{refused:?}");
        std::fs::write(&file, "another").unwrap();
    }
    std::fs::rename(&away, &file).unwrap();
    assert_eq!(store.ping().await, Ok(()), "it is back");
    let accepted = loop {
        if let Ok(accepted) = journal.accept_transaction(transaction("2", &["$b"])).await {
            break accepted;
        }
    };
    assert_eq!(accepted.fresh, [0]);
}

/// What is said of the lock of this database, and of no other one.
const HOLDS: &str = "FROM pg_locks WHERE locktype = 'advisory'
                     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

async fn holds(database: &Database) -> i64 {
    database.number(&format!("SELECT COUNT(*) {HOLDS}")).await
}

/// Ends the connection that has the lock, and with it the lock.
async fn break_the_hold(database: &Database) {
    database.sql(&format!("SELECT pg_terminate_backend(pid, 30000) {HOLDS}")).await;
}

/// Another bridge that begins in the moment in which the first one has no lock.
async fn take_over(database: &Database) -> Arc<dyn Store> {
    loop {
        break_the_hold(database).await;
        if let Ok(other) = footbridge::store::open(&database.url).await {
            return other;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whose_connection_broke_goes_on_unless_another_has_begun_meanwhile() {
    let database = Database::postgres();
    let store = database.open().await;
    store.next_boot(0).await.unwrap();
    let journal = impatient(store.clone()).await;
    let txn = journal.accept("1", &["$a", "$b"]).await.txn;
    break_the_hold(&database).await;
    journal.mark_sending(&[key(txn, 0)]).await.unwrap();
    let refused = footbridge::store::open(&database.url).await.err();
    assert!(
        matches!(&refused, Some(StoreError::Open(words)) if words.contains("in use")),
        "it is held again: {refused:?}"
    );

    let other = take_over(&database).await;
    let refused = journal.accept_transaction(transaction("2", &["$c"])).await;
    let held = |refused: &str| refused.contains("another footbridge holds it");
    assert!(matches!(&refused, Err(AcceptError::Unavailable(words)) if held(words)), "{refused:?}");
    other.next_boot(0).await.unwrap();
    other.close().await;
    // It is free again, but what the first one knows is old.
    assert_eq!(store.put_control_room(user_id!("@alice:x"), room_id!("!a")).await, Err(StoreError::TakenOver));
    assert!(journal.mark_sending(&[key(txn, 1)]).await.is_err(), "nothing may go out");
    journal.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_bridge_notices_that_its_connection_broke() {
    let database = Database::postgres();
    let store = database.open().await;
    store.next_boot(0).await.unwrap();
    let journal = impatient(store).await;
    // It looks when it starts; from there on nobody asks it for anything.
    journal.flush().await.unwrap();
    let broken = Instant::now();
    break_the_hold(&database).await;
    while holds(&database).await == 0 {
        assert!(broken.elapsed() < DEADLINE, "it leaves the database to whoever comes");
        tokio::task::yield_now().await;
    }

    let other = take_over(&database).await;
    other.next_boot(0).await.unwrap();
    // While the other one runs, and not only when it has gone.
    journal.ended().await;
}
