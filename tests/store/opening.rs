//! Opening a database: tables old, new and foreign; and each way in which it fails, in plain words.

use std::{path::Path, sync::Arc};

use footbridge::{
    model::{IrcEvent, IrcKey},
    store::{Limits, Outlook, PortalKind, Store, StoreError, look, open},
};
use ruma::{room_id, user_id};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection, migrate::Migrator};

use crate::{
    store::{Database, Engine, TestJournal, body, contract, irc_key, key},
    support::real::postgres::{PASSWORD, USER},
};

contract!(
    migrations_run_twice_harmlessly,
    of_two_programs_that_open_a_fresh_database_at_once_one_is_refused,
    a_database_has_one_program_at_a_time,
    a_newer_database_is_refused,
    another_builds_database_is_refused,
    a_database_of_the_first_schema_is_brought_along,
    looking_leaves_a_database_as_it_is,
);

async fn looking_leaves_a_database_as_it_is(database: Database) {
    for _ in 0..2 {
        assert_eq!(look(&database.url).await, Ok(Outlook::New));
    }
    if let Engine::Sqlite(folder) = &database.engine {
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
    }
    let store = database.open().await;
    assert_eq!(look(&database.url).await, Ok(Outlook::Ready), "while it is in use");
    store.close().await;
    assert_eq!(look(&database.url).await, Ok(Outlook::Ready));
    database
        .sql(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             SELECT 9999, 'from the future', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1",
        )
        .await;
    assert!(matches!(look(&database.url).await, Err(StoreError::Newer { found: 9999, .. })));
    database.sql("UPDATE _sqlx_migrations SET version = 0 WHERE version = 1").await;
    assert!(matches!(look(&database.url).await, Err(StoreError::Open(_))));
}

async fn migrations_run_twice_harmlessly(database: Database) {
    let first = database.open().await;
    first.put_control_room(user_id!("@alice:x"), room_id!("!a")).await.unwrap();
    let second = database.reopen(first.clone()).await;
    assert_eq!(second.control_rooms().await.unwrap().len(), 1);
    assert!(matches!(first.ping().await, Err(StoreError::Unavailable(_))), "it was closed");
    assert_eq!(second.ping().await, Ok(()));
}

/// Opening is refused because another program has it.
fn in_use(opened: &Result<Arc<dyn Store>, StoreError>) -> bool {
    matches!(opened, Err(StoreError::Open(words)) if words.contains("in use by another footbridge"))
}

async fn of_two_programs_that_open_a_fresh_database_at_once_one_is_refused(database: Database) {
    let (one, other) = tokio::join!(open(&database.url), open(&database.url));
    let (winner, loser) = if one.is_ok() { (one, other) } else { (other, one) };
    assert!(in_use(&loser));
    assert_eq!(winner.unwrap().ping().await, Ok(()));
}

async fn a_database_has_one_program_at_a_time(database: Database) {
    let store = database.open().await;
    assert!(in_use(&open(&database.url).await));
    assert_eq!(look(&database.url).await, Ok(Outlook::Ready), "a look isn't in its way");
    assert_eq!(store.next_boot(0).await, Ok(1), "nor does it notice");
    // Whoever is killed leaves nothing behind, and the next one may be too early.
    let (next, ()) = tokio::join!(open(&database.url), async { drop(store) });
    assert_eq!(next.unwrap().next_boot(0).await, Ok(2));
}

async fn a_newer_database_is_refused(database: Database) {
    database.open().await.close().await;
    database
        .sql(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             SELECT 9999, 'from the future', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1",
        )
        .await;
    let error = open(&database.url).await.err().unwrap();
    assert!(matches!(error, StoreError::Newer { found: 9999, .. }), "{error:?}");
    assert!(error.to_string().contains("newer version of footbridge"), "{error}");
}

async fn another_builds_database_is_refused(database: Database) {
    database.open().await.close().await;
    database.sql("UPDATE _sqlx_migrations SET version = 0 WHERE version = 1").await;
    let error = open(&database.url).await.err().unwrap();
    assert!(matches!(&error, StoreError::Open(words) if words.contains("another build")), "{error:?}");
}

async fn a_database_of_the_first_schema_is_brought_along(database: Database) {
    let (engine, bytes) = match database.engine {
        Engine::Sqlite(_) => ("sqlite", "BLOB"),
        Engine::Postgres(_) => ("postgres", "BYTEA"),
    };
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/migrations").join(engine);
    let migrator = Migrator::new(migrations).await.unwrap();
    match database.engine {
        Engine::Sqlite(_) => {
            let options = database.url.parse::<sqlx::sqlite::SqliteConnectOptions>().unwrap().create_if_missing(true);
            let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
            migrator.run_to(1, &mut connection).await.unwrap();
        }
        Engine::Postgres(_) => {
            migrator.run_to(1, &mut PgConnection::connect(&database.url).await.unwrap()).await.unwrap();
        }
    }
    database.sql(&include_str!("first_schema.sql").replace("BYTES", bytes)).await;

    let store = database.open().await;
    let (libera, alice) = ("libera".parse().unwrap(), user_id!("@alice:example.org"));
    let mut portals = store.portals().await.unwrap();
    portals.sort_by(|a, b| a.room.cmp(&b.room));
    assert_eq!(portals.len(), 2);
    assert_eq!((portals[0].channel.as_str(), portals[0].folded.as_str()), ("#Foo[]", "#foo{}"));
    assert_eq!((portals[0].key.as_deref(), portals[0].kind), (Some("s3cret"), PortalKind::Plumbed));
    assert_eq!((portals[1].key.as_deref(), portals[1].kind), (None, PortalKind::Joined));
    assert_eq!(store.queries().await.unwrap()[0].room, room_id!("!q:example.org"));
    assert_eq!(store.puppet_identity(&libera, alice, "else").await.unwrap().nick.as_deref(), Some("alice[m]"));
    let next = store.puppet_identity(&libera, user_id!("@alice:other.org"), "alice").await.unwrap();
    assert_eq!(next.username, "alice16", "42 in base 36");
    assert_eq!(store.ghost("irc_libera_bob").await.unwrap().unwrap().display_name.as_deref(), Some("Bob"));
    assert_eq!(store.control_rooms().await.unwrap(), [(alice.to_owned(), room_id!("!c:example.org").to_owned())]);
    assert_eq!(store.isupport(&libera).await.unwrap().unwrap().nicklen, Some(16));
    assert_eq!(store.next_boot(0).await, Ok(1_700_000_001));

    let journal = TestJournal::start(store, Arc::default(), Limits::default()).await;
    let unsettled = journal.unsettled_matrix().await.unwrap();
    let events: Vec<_> = unsettled.iter().map(|event| (event.key, event.json.get(), event.sending)).collect();
    // Sending: bits 0 and 5. Settled: bit 6, and of the second byte bits 1 to 6, which are beyond the ninth event.
    let expected =
        [0, 1, 2, 3, 4, 5, 7, 8].map(|index: u32| (key(2, index), format!("\"{index}\""), index.is_multiple_of(5)));
    assert_eq!(events, expected.each_ref().map(|(key, json, sending)| (*key, json.as_str(), *sending)));
    // What was accepted under another form of identity is known by its events.
    assert_eq!(journal.accept("settled", &["$seen"]).await.fresh, [0; 0]);
    assert_eq!(journal.accept("new", &["$seen", "$open", "$new"]).await.fresh, [2]);
    assert_eq!(journal.unsettled_matrix().await.unwrap().last().unwrap().json.get(), body("$new").get());
    let lines = journal.unsettled_irc().await.unwrap();
    assert_eq!(lines.iter().map(|line| line.key).collect::<Vec<IrcKey>>(), [irc_key(1, 1)]);
    assert_eq!((lines[0].link.user(), lines[0].at), (Some(alice), 3000));
    assert!(matches!(&lines[0].event, IrcEvent::Text { text, .. } if text == "hello"));
}

/// Opening fails with these words, and never shows a password.
async fn refused(url: &str, words: &[&str]) {
    let error = open(url).await.err().unwrap_or_else(|| panic!("{url} was opened"));
    // A look finds the same, unless it takes an attempt to find out.
    let looked = look(url).await;
    assert!(looked.as_ref().is_err_and(|looked| *looked == error) || looked == Ok(Outlook::New), "{url}: {looked:?}");
    let told = error.to_string();
    for word in words {
        assert!(told.contains(word), "{url}: `{word}` isn't in: {told}");
    }
    assert!(!told.contains(PASSWORD) && !told.contains("wr0ng"), "{told}");
}

#[tokio::test]
async fn urls_that_name_no_database_are_refused() {
    for url in ["", "footbridge.db", "sqlite:footbridge.db", "mysql://root@localhost/db", "http://example.org"] {
        refused(url, &["database.url", "sqlite://path"]).await;
    }
    refused("sqlite://", &["database.url names no file"]).await;
    refused("sqlite://:memory:", &["database.url names no file"]).await;
    refused(&format!("postgres://me:{PASSWORD}@host:nonsense/db"), &["database.url can't be read", "%40"]).await;
}

#[tokio::test]
async fn files_that_cant_be_used_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    refused(&format!("sqlite://{}", path("missing/bridge.db")), &[&path("missing/bridge.db"), "folder doesn't exist"])
        .await;
    refused(&format!("sqlite://{}", folder.path().display()), &["is a folder"]).await;
    std::fs::write(path("text.db"), "This is a text, long enough to be taken for a database's first page. ".repeat(99))
        .unwrap();
    refused(&format!("sqlite://{}", path("text.db")), &[&path("text.db"), "no SQLite database"]).await;
}

#[tokio::test]
async fn a_file_may_be_called_anything() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("100% wh?t #1");
    std::fs::create_dir(&folder).unwrap();
    let url = format!("sqlite://{}", folder.join("a%20?b#.db").display());
    assert_eq!(look(&url).await, Ok(Outlook::New));
    let store = open(&url).await.unwrap();
    assert_eq!(store.ping().await, Ok(()));
    store.close().await;
    assert_eq!(look(&url).await, Ok(Outlook::Ready));
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["a%20?b#.db", "a%20?b#.db.lock"]);
}

#[tokio::test]
async fn a_sqlite_file_is_private_and_durable() {
    use std::os::unix::fs::PermissionsExt as _;
    let database = Database::sqlite();
    let store = database.open().await;
    store.put_control_room(user_id!("@alice:x"), room_id!("!a")).await.unwrap();
    let Engine::Sqlite(folder) = &database.engine else { unreachable!("it is SQLite") };
    let mut files = Vec::new();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
        files.push(file.file_name().into_string().unwrap());
    }
    assert!(files.contains(&"bridge.db-wal".to_owned()), "{files:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_cant_be_used_are_refused() {
    let database = Database::postgres();
    let Engine::Postgres(server) = &database.engine else { unreachable!("it is PostgreSQL") };
    let url = |user, password, name| server.url_with(user, password, name);
    refused(&url(USER, "wr0ng", "postgres"), &["refuses user footbridge", "password in database.url"]).await;
    refused(&url("nobody", "wr0ng", "postgres"), &["refuses user nobody"]).await;
    refused(&server.url("missing"), &["there is no database missing", "createdb"]).await;
    refused(
        &url(USER, PASSWORD, "postgres").replace(&server.port().to_string(), "1"),
        &["127.0.0.1:1", "is PostgreSQL running"],
    )
    .await;

    let mut connection = PgConnection::connect(&server.url("postgres")).await.unwrap();
    for sql in [
        "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0".to_owned(),
        format!("CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'"),
    ] {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    }
    refused(&server.url("latin"), &["encoding is LATIN1", "ENCODING 'UTF8'"]).await;
    refused(&url("guest", PASSWORD, "postgres"), &["may not make tables", "OWNER TO guest"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_down_is_refused_and_served_once_it_is_up() {
    let (database, server) = Database::postgres_alone();
    server.stop();
    refused(&database.url, &["is PostgreSQL running"]).await;
    server.start_again();
    assert_eq!(database.open().await.ping().await, Ok(()));
}
