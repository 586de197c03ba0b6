//! What the contract suite stands on: databases of both engines, raw access to them, and a clock that obeys.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use footbridge::{
    model::{Clock, Epoch, IrcEvent, IrcKey, LinkId, MatrixKey, Millis, Source, TextKind, TextTarget},
    store::{
        AcceptedTransaction, Journal, JournalStore, Limits, NewIrcLine, NewMatrixEvent, NewTransaction, Store, open,
    },
};
use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _, SqliteConnection};
use tempfile::TempDir;
use tokio::{task::JoinHandle, time::timeout};

use crate::support::{real::Postgres, wait::DEADLINE};

/// Declares each of these functions as a test on either engine.
macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(crate::store::Database::sqlite()).await; })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(crate::store::Database::postgres()).await; })*
        }
    };
}
pub(crate) use contract;

/// A fresh database, gone when dropped.
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) engine: Engine,
}

pub(crate) enum Engine {
    Sqlite(TempDir),
    Postgres(&'static Postgres),
}

impl Database {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("bridge.db").display());
        Self { url, engine: Engine::Sqlite(folder) }
    }

    pub(crate) fn postgres() -> Self {
        Self::on(Postgres::shared())
    }

    /// On a server that is nobody else's, which may be stopped. It ends with this process.
    pub(crate) fn postgres_alone() -> (Self, &'static Postgres) {
        let server = Box::leak(Box::new(Postgres::start()));
        (Self::on(server), server)
    }

    fn on(server: &'static Postgres) -> Self {
        Self { url: server.create_database(), engine: Engine::Postgres(server) }
    }

    pub(crate) async fn open(&self) -> Arc<dyn Store> {
        open(&self.url).await.unwrap()
    }

    /// Ends the program that has this store, and starts the next one.
    pub(crate) async fn reopen(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        store.close().await;
        self.open().await
    }

    /// The journal on a newly opened store.
    pub(crate) async fn journal(&self) -> TestJournal {
        TestJournal::start(self.open().await, Arc::default(), Limits::default()).await
    }

    /// Runs SQL behind the store's back.
    pub(crate) async fn sql(&self, sql: &str) {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match &self.engine {
            Engine::Sqlite(_) => {
                SqliteConnection::connect(&self.url).await.unwrap().execute(sql).await.map(drop).unwrap();
            }
            Engine::Postgres(_) => {
                PgConnection::connect(&self.url).await.unwrap().execute(sql).await.map(drop).unwrap();
            }
        }
    }

    /// Asks for one number behind the store's back.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.engine {
            Engine::Sqlite(_) => {
                let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
                sqlx::query(sql).fetch_one(&mut connection).await.unwrap().get(0)
            }
            Engine::Postgres(_) => {
                let mut connection = PgConnection::connect(&self.url).await.unwrap();
                sqlx::query(sql).fetch_one(&mut connection).await.unwrap().get(0)
            }
        }
    }
}

/// A clock that stands still until it is moved.
#[derive(Default)]
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn advance(&self, millis: Millis) {
        self.0.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Millis {
        self.0.load(Ordering::Relaxed)
    }
}

/// A journal with its task.
pub(crate) struct TestJournal {
    pub(crate) journal: Journal,
    task: JoinHandle<()>,
}

impl std::ops::Deref for TestJournal {
    type Target = Journal;

    fn deref(&self) -> &Journal {
        &self.journal
    }
}

impl TestJournal {
    pub(crate) async fn start(store: Arc<dyn JournalStore>, clock: Arc<TestClock>, limits: Limits) -> Self {
        let (journal, task) = Journal::start(store, clock, limits).await.unwrap();
        Self { journal, task }
    }

    /// Ends the journal as the program does: drops the last handle and waits for the task.
    pub(crate) async fn stop(self) {
        drop(self.journal);
        self.task.await.unwrap();
    }

    /// Waits until the journal ends by itself, while it is held.
    pub(crate) async fn ended(self) {
        timeout(DEADLINE, self.task).await.expect("the journal doesn't end").unwrap();
    }

    /// Ends the task in the middle of what it does, as a crash would.
    pub(crate) async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()));
    }

    /// Accepts a transaction whose event `i` has the id `ids[i]`.
    pub(crate) async fn accept(&self, txn_id: &str, ids: &[&str]) -> AcceptedTransaction {
        self.accept_transaction(transaction(txn_id, ids)).await.unwrap()
    }
}

/// A transaction whose event `i` has the id `ids[i]`; an empty id is none.
pub(crate) fn transaction(txn_id: &str, ids: &[&str]) -> NewTransaction {
    let event = |id: &&str| NewMatrixEvent { event_id: (!id.is_empty()).then(|| (*id).to_owned()), json: body(id) };
    NewTransaction { txn_id: txn_id.to_owned(), events: ids.iter().map(event).collect() }
}

/// What an event with this id says.
pub(crate) fn body(id: &str) -> Box<RawValue> {
    to_raw_value(&json!({ "type": "m.room.message", "content": { "body": format!("secret of {id}") } })).unwrap()
}

pub(crate) fn key(txn: i64, index: u32) -> MatrixKey {
    MatrixKey { txn, index }
}

pub(crate) fn irc_key(epoch: u64, seq: u64) -> IrcKey {
    IrcKey { epoch: Epoch(epoch), seq }
}

pub(crate) fn line(epoch: u64, seq: u64, text: &str) -> NewIrcLine {
    NewIrcLine {
        key: irc_key(epoch, seq),
        link: LinkId::bot("libera".parse().unwrap()),
        at: 1_000 + Millis::try_from(seq % 1_000).unwrap(),
        event: IrcEvent::Text {
            source: Source { nick: "bob".into(), user: Some("b".into()), host: None },
            target: TextTarget::Channel { name: "#footbridge".into(), status: None },
            kind: TextKind::Privmsg,
            text: text.to_owned(),
            msgid: None,
            account: None,
        },
    }
}
