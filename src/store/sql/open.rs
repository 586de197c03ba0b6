//! Opening a database by its URL: connections, migrations, and every way in which that fails, in plain words.

use std::{
    io::{self, Write as _},
    path::Path,
    str::FromStr as _,
    sync::Arc,
    time::Duration,
};

use sqlx::{
    ConnectOptions as _, Connection as _, Executor as _,
    migrate::{MigrateError, Migrator},
    pool::PoolOptions,
    postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::time::{Instant, sleep, timeout};

use super::{
    engine::{Db, STATEMENT_TIMEOUT},
    hold::{FileHold, ServerHold, private_file},
};
use crate::store::{Outlook, StoreError};

static SQLITE: Migrator = sqlx::migrate!("src/store/migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("src/store/migrations/postgres");

/// How long to wait for a connection: for a free one, or for a new one to be made. With one more try it is less than
/// `/health` waits for the answer.
const CONNECT: Duration = Duration::from_secs(3);
const ONE_TRY: Duration = Duration::from_millis(500);
/// How long to wait at start, when the server may be starting too.
const FIRST_CONNECT: Duration = Duration::from_secs(10);
/// How long another process (a backup, an sqlite3 shell) may hold the lock before we say that it does.
pub(super) const BUSY: Duration = Duration::from_secs(5);
/// How long the last run may take to be gone: it may have been killed just now, in the middle of a statement.
const HANDOVER: Duration = Duration::from_secs(5);
const HANDOVER_POLL: Duration = Duration::from_millis(50);
const SQLITE_READERS: u32 = 4;
const POSTGRES_READERS: u32 = 9;

/// Where a URL leads.
enum Place<'a> {
    File(&'a str),
    Server(Box<PgConnectOptions>),
}

/// Opens the database that `url` names, and brings its tables up to date.
pub(super) async fn open(url: &str) -> Result<Db, StoreError> {
    match place(url)? {
        Place::File(path) => sqlite(path).await,
        Place::Server(options) => postgres(*options).await,
    }
}

/// See [`crate::store::look`].
pub(in crate::store) async fn look(url: &str) -> Result<Outlook, StoreError> {
    match place(url)? {
        Place::File(path) => look_at_file(path).await,
        Place::Server(options) => look_at_server(&options).await.map_err(|error| explain_postgres(&options, error)),
    }
}

fn place(url: &str) -> Result<Place<'_>, StoreError> {
    match url.split_once("://") {
        Some(("sqlite", path)) if path.is_empty() || path.starts_with(":memory:") => Err(StoreError::Url(
            "database.url names no file: write `sqlite://footbridge.db`, or `sqlite:///var/lib/footbridge/bridge.db` \
             for an absolute path"
                .to_owned(),
        )),
        Some(("sqlite", path)) => Ok(Place::File(path)),
        Some(("postgres" | "postgresql", _)) => {
            let options = PgConnectOptions::from_str(url).map_err(|error| {
                StoreError::Url(format!(
                    "database.url can't be read: {error}; write `postgres://user:password@host:port/database`, with \
                     characters such as `@`, `/` and `%` in the password written as `%40`, `%2F` and `%25`"
                ))
            })?;
            Ok(Place::Server(Box::new(options.application_name("footbridge").disable_statement_logging())))
        }
        scheme => {
            let found = match scheme {
                Some((scheme, _)) => format!("it starts with `{scheme}://`"),
                None => "it has no `://`".to_owned(),
            };
            Err(StoreError::Url(format!(
                "database.url is neither `sqlite://path/to/file.db` nor `postgres://user:password@host/database`: {found}"
            )))
        }
    }
}

async fn sqlite(path: &str) -> Result<Db, StoreError> {
    let open = |error: io::Error| StoreError::Open(explain_file(path, &error));
    private_file(Path::new(path)).map_err(open)?;
    let deadline = Instant::now() + HANDOVER;
    let hold = loop {
        match FileHold::take(Path::new(path)).map_err(open)? {
            Some(hold) => break hold,
            None if Instant::now() < deadline => sleep(HANDOVER_POLL).await,
            None => {
                return Err(StoreError::Open(format!(
                    "the database file {path} is in use by another footbridge that runs: stop that one first, since two on one \
                     database would say everything twice"
                )));
            }
        }
    };
    let options = sqlite_options(path);
    migrate_sqlite(&options).await.map_err(|error| explain_sqlite(path, error))?;
    let writer = sqlite_writers().connect_lazy_with(options.clone());
    Ok(sqlite_with(writer, options, hold))
}

/// The database of an open pool of one writer; tests bring their own.
pub(super) fn sqlite_with(writer: sqlx::SqlitePool, options: SqliteConnectOptions, hold: FileHold) -> Db {
    let readers = pool_options::<sqlx::Sqlite>().max_connections(SQLITE_READERS).test_before_acquire(false);
    Db::Sqlite { writer, readers: readers.connect_lazy_with(options.read_only(true)), hold: Arc::new(hold) }
}

/// How the file at `path` is opened.
pub(super) fn sqlite_options(path: &str) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        // A commit is on the disk when it returns: only then may a transaction be answered.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY)
        // What people wrote is overwritten when it is erased, not only unlinked.
        .pragma("secure_delete", "ON")
        .disable_statement_logging()
}

/// The pool of the one writer.
pub(super) fn sqlite_writers() -> SqlitePoolOptions {
    pool_options().max_connections(1).test_before_acquire(false)
}

/// Brings the tables up to date, on a connection of its own.
pub(super) async fn migrate_sqlite(options: &SqliteConnectOptions) -> Result<(), MigrateError> {
    let mut connection = options.connect().await?;
    // One transaction around everything: another program that opens the same fresh file waits for its turn.
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
    SQLITE.run_direct(None, &mut *tx, false).await?;
    tx.commit().await?;
    Ok(connection.close().await?)
}

async fn postgres(options: PgConnectOptions) -> Result<Db, StoreError> {
    let explain = |error| explain_postgres(&options, error);
    // Without limits on the time that a statement takes: migrations may take longer.
    let mut first = connect_postgres(&options).await.map_err(explain)?;
    let db = postgres_pools(&options);
    let deadline = Instant::now() + HANDOVER;
    while !db.take_hold().await? {
        if Instant::now() >= deadline {
            let (host, port) = (options.get_host(), options.get_port());
            let database = options.get_database().unwrap_or(options.get_username());
            return Err(StoreError::Open(format!(
                "the PostgreSQL database {database} at {host}:{port} is in use by another footbridge that runs: stop that \
                 one first, since two on one database would say everything twice"
            )));
        }
        sleep(HANDOVER_POLL).await;
    }
    let migrated = async {
        POSTGRES.run_direct(None, &mut first, false).await?;
        Ok(first.close().await?)
    };
    migrated.await.map_err(explain)?;
    db.remember_boot().await?;
    Ok(db)
}

/// The connections that are made when they are needed.
fn postgres_pools(options: &PgConnectOptions) -> Db {
    // The limits are set on the connection, not as start-up options, which connection poolers such as pgbouncer refuse.
    let limits = format!(
        "SET statement_timeout = {timeout}; SET idle_in_transaction_session_timeout = {timeout}",
        timeout = STATEMENT_TIMEOUT.as_millis()
    );
    // A lock must not outlive us for hours because this machine lost its power.
    let writers_limits = format!(
        "{limits}; SET tcp_keepalives_idle = 15; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"
    );
    let hold = Arc::new(ServerHold::default());
    let readers: PgPoolOptions =
        pool_options::<sqlx::Postgres>().max_connections(POSTGRES_READERS).after_connect(move |connection, _| {
            let limits = sqlx::AssertSqlSafe(limits.clone());
            Box::pin(async move { connection.execute(sqlx::raw_sql(limits)).await.map(drop) })
        });
    let watched = Arc::clone(&hold);
    let writer: PgPoolOptions = pool_options::<sqlx::Postgres>()
        .max_connections(1)
        // It has the lock for as long as we live.
        .idle_timeout(None)
        .max_lifetime(None)
        .after_connect(move |connection, _| {
            watched.connection_is_new();
            let limits = sqlx::AssertSqlSafe(writers_limits.clone());
            Box::pin(async move { connection.execute(sqlx::raw_sql(limits)).await.map(drop) })
        });
    Db::Postgres {
        writer: writer.connect_lazy_with(options.clone()),
        readers: readers.connect_lazy_with(options.clone()),
        hold,
    }
}

async fn connect_postgres(options: &PgConnectOptions) -> Result<PgConnection, MigrateError> {
    let connected = timeout(FIRST_CONNECT, options.connect()).await;
    let mut connection = connected.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
    let (encoding,): (String,) = sqlx::query_as("SHOW server_encoding").fetch_one(&mut connection).await?;
    if encoding != "UTF8" {
        let problem = format!(
            "its encoding is {encoding}, which can't hold every character; make it anew with \
             `CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0`"
        );
        return Err(MigrateError::Execute(sqlx::Error::Configuration(problem.into())));
    }
    Ok(connection)
}

async fn look_at_file(path: &str) -> Result<Outlook, StoreError> {
    let file = Path::new(path);
    let openable = match std::fs::OpenOptions::new().read(true).write(true).open(file) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => may_create(file).map(|()| false),
        Err(error) => Err(error),
    };
    if !openable.map_err(|error| StoreError::Open(explain_file(path, &error)))? {
        return Ok(Outlook::New);
    }
    let looked = async {
        // Not read-only: such a connection would leave the files of its log behind.
        let options = SqliteConnectOptions::new().filename(path).busy_timeout(BUSY);
        let mut connection = options.disable_statement_logging().connect().await?;
        let tables = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = '_sqlx_migrations')";
        let (has_tables,): (bool,) = sqlx::query_as(tables).fetch_one(&mut connection).await?;
        let applied = if has_tables { sqlx::query_as(APPLIED).fetch_all(&mut connection).await? } else { Vec::new() };
        connection.close().await?;
        compare(&SQLITE, &applied)
    };
    looked.await.map_err(|error| explain_sqlite(path, error))
}

/// What the files of a database without anything in it take.
const EMPTY: usize = 512 * 1024;

/// Whether a database can be made there. Only making a file of its size tells; it has another name and is gone again at once.
fn may_create(file: &Path) -> io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.check", std::process::id()));
    let trial = file.with_file_name(name);
    let mut made = std::fs::OpenOptions::new().write(true).create_new(true).open(&trial)?;
    // Some file systems tell only then.
    let written = made.write_all(&vec![0; EMPTY]).and_then(|()| made.sync_all());
    std::fs::remove_file(trial)?;
    written
}

async fn look_at_server(options: &PgConnectOptions) -> Result<Outlook, MigrateError> {
    let mut connection = connect_postgres(options).await?;
    let tables = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";
    let (has_tables,): (bool,) = sqlx::query_as(tables).fetch_one(&mut connection).await?;
    let applied = if has_tables { sqlx::query_as(APPLIED).fetch_all(&mut connection).await? } else { Vec::new() };
    connection.close().await?;
    compare(&POSTGRES, &applied)
}

/// The migrations that a database has had, and their checksums.
const APPLIED: &str = "SELECT version, checksum FROM _sqlx_migrations ORDER BY version";

/// What running the migrations would come to.
fn compare(migrator: &Migrator, applied: &[(i64, Vec<u8>)]) -> Result<Outlook, MigrateError> {
    for (version, checksum) in applied {
        match migrator.iter().find(|migration| migration.version == *version) {
            None => return Err(MigrateError::VersionMissing(*version)),
            Some(known) if *known.checksum != **checksum => return Err(MigrateError::VersionMismatch(*version)),
            Some(_) => {}
        }
    }
    Ok(match applied.len() {
        0 => Outlook::New,
        count if count < migrator.iter().count() => Outlook::Older,
        _ => Outlook::Ready,
    })
}

fn pool_options<DB: sqlx::Database>() -> PoolOptions<DB> {
    PoolOptions::new().acquire_timeout(CONNECT)
}

fn explain_file(path: &str, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::NotFound => "its folder doesn't exist; make the folder, or correct database.url",
        io::ErrorKind::PermissionDenied => {
            "this user may not read and write it; give the file and its folder to the user that runs footbridge"
        }
        io::ErrorKind::IsADirectory => "it is a folder; name a file in database.url",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "its disk is full; make room",
        io::ErrorKind::ReadOnlyFilesystem => "its disk is mounted read-only; name another place in database.url",
        _ => "see what the system says",
    };
    format!("the database file {path} can't be opened: {advice} ({error})")
}

fn explain_sqlite(path: &str, error: MigrateError) -> StoreError {
    explain_migration(&SQLITE, error, |cause| {
        let code = cause
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            .and_then(|code| code.parse::<i32>().ok());
        // https://www.sqlite.org/rescode.html
        let advice = match code.map(|code| code & 0xff) {
            Some(5 | 6) => "another program holds it locked; stop that program (is footbridge running already?)",
            Some(8 | 14) => "it may not be written; give the file and its folder to the user that runs footbridge",
            Some(10) => "its disk is full or failing; make room, or see to the disk",
            Some(11) => "it is damaged; restore a backup",
            Some(13) => "the disk is full; make room",
            Some(26) => "it is no SQLite database; correct database.url",
            _ => "see what SQLite says",
        };
        format!("the database file {path} can't be used: {advice} ({cause})")
    })
}

fn explain_postgres(options: &PgConnectOptions, error: MigrateError) -> StoreError {
    let (host, port) = (options.get_host(), options.get_port());
    let database = options.get_database().unwrap_or(options.get_username());
    explain_migration(&POSTGRES, error, |cause| {
        if let sqlx::Error::Configuration(problem) = cause {
            return format!("database {database} can't be used: {problem}");
        }
        let advice = advise(options, cause, FIRST_CONNECT);
        format!("the PostgreSQL database {database} at {host}:{port} can't be used: {advice} ({cause})")
    })
}

/// What to do about a PostgreSQL that doesn't let us in, for which `waited` was waited.
fn advise(options: &PgConnectOptions, cause: &sqlx::Error, waited: Duration) -> String {
    let user = options.get_username();
    let database = options.get_database().unwrap_or(user);
    let code = cause.as_database_error().and_then(sqlx::error::DatabaseError::code);
    // https://www.postgresql.org/docs/current/errcodes-appendix.html
    match (code.as_deref(), cause) {
        (Some("28P01" | "28000"), _) => {
            format!(
                "it refuses user {user}; correct user and password in database.url, or allow the user in pg_hba.conf"
            )
        }
        (Some("3D000"), _) => {
            format!("there is no database {database}; create it with `createdb -O {user} {database}`")
        }
        (Some("42501"), _) => {
            format!("user {user} may not make tables; make it the owner: `ALTER DATABASE {database} OWNER TO {user}`")
        }
        (Some("53300"), _) => "it has too many connections already; raise its max_connections".to_owned(),
        (Some("57P03"), _) => "it is starting or stopping; try again in a moment".to_owned(),
        (_, sqlx::Error::PoolTimedOut) => {
            format!("it didn't answer within {} s; check host, port and firewall", waited.as_secs())
        }
        (_, sqlx::Error::Io(_)) => {
            "nothing answers there; is PostgreSQL running, and are host and port right?".to_owned()
        }
        (_, sqlx::Error::Tls(_)) => "the encrypted connection failed; see sslmode and sslrootcert".to_owned(),
        _ => "see what PostgreSQL says".to_owned(),
    }
}

/// Why this pool had no connection in time. It tries for as long, and tells only that it was in vain; one more try tells why.
pub(super) async fn explain_no_connection(pool: &PgPool) -> StoreError {
    let options = pool.connect_options();
    let tried = timeout(ONE_TRY, options.connect()).await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
    StoreError::Unavailable(match tried {
        Ok(connection) => {
            let _ = connection.close_hard().await;
            format!("PostgreSQL is there, but none of our connections to it came free within {} s", CONNECT.as_secs())
        }
        Err(cause) => {
            format!("PostgreSQL gives us no connection: {} ({cause})", advise(&options, &cause, CONNECT))
        }
    })
}

fn explain_migration(migrator: &Migrator, error: MigrateError, explain: impl Fn(&sqlx::Error) -> String) -> StoreError {
    let newest = migrator.iter().map(|migration| migration.version).max().unwrap_or_default();
    match error {
        MigrateError::VersionMissing(found) if found > newest => StoreError::Newer { found, known: newest },
        MigrateError::VersionMissing(version)
        | MigrateError::VersionMismatch(version)
        | MigrateError::Dirty(version) => StoreError::Open(format!(
            "the database's migration {version} isn't the one that this program knows; it was made by another build: \
             start that one, or restore a backup"
        )),
        MigrateError::Execute(cause) => StoreError::Open(explain(&cause)),
        MigrateError::ExecuteMigration(cause, version) => {
            StoreError::Open(format!("{} (in migration {version})", explain(&cause)))
        }
        other => StoreError::Open(format!("the database's tables can't be brought up to date: {other}")),
    }
}
