//! The two engines behind one face: the only file that knows that there are two once a database is open.
//!
//! Both read the same SQL text: `$1` placeholders, `ON CONFLICT … RETURNING`, `UPDATE … FROM (VALUES …)`, TEXT, BIGINT,
//! and bytes. A statement that needs a different text on one engine has no place here; find one that both understand. Only the
//! placeholders of statements over rows differ ([`Session::over_rows`]).

use std::{borrow::Cow, sync::Arc, time::Duration};

use sqlx::{
    Arguments, AssertSqlSafe, Decode, Executor as _, PgPool, Postgres, Row as _, SqlSafeStr, SqlStr, Sqlite,
    SqlitePool, Type,
    pool::PoolConnection,
    postgres::{PgArguments, PgRow},
    query_with,
    sqlite::{SqliteArguments, SqliteRow},
};
use tokio::time::timeout;

use super::{
    hold::{FileHold, ServerHold},
    open::{BUSY, explain_no_connection},
};
use crate::store::StoreError;

/// How long PostgreSQL may take over one statement. The server ends it then, and so do we a little later, in case the
/// server can't be reached any more. SQLite is on this machine and bounded by its busy timeout.
pub(super) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
const NO_ANSWER: Duration = Duration::from_secs(12);

/// Rows in one statement. Enough to make the statement's own cost small, far from either engine's limit of values.
pub(super) const CHUNK: usize = 100;

/// An open database. One connection writes, others read meanwhile: SQLite takes one writer at a time, and on PostgreSQL it
/// is the one that has the lock.
#[derive(Debug, Clone)]
pub(super) enum Db {
    Sqlite { writer: SqlitePool, readers: SqlitePool, hold: Arc<FileHold> },
    Postgres { writer: PgPool, readers: PgPool, hold: Arc<ServerHold> },
}

/// A value to be bound. NULLs have a type, which PostgreSQL wants to know.
#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    Int(Option<i64>),
    Text(Option<Cow<'a, str>>),
    Bytes(Cow<'a, [u8]>),
}

/// A row that was read.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// A connection, taken from its pool for one piece of work.
///
/// It goes back to the pool only if it is known to be in order: a connection whose statement was interrupted, or whose
/// transaction was neither committed nor refused cleanly, is closed, and all that was half done on it dies with it.
pub(super) struct Session {
    connection: Option<Connection>,
    in_transaction: bool,
    busy: bool,
}

enum Connection {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

/// Does the same on either engine's connection.
macro_rules! on_either {
    ($connection:expr, $c:ident => $work:expr) => {
        match $connection {
            Connection::Sqlite($c) => $work,
            Connection::Postgres($c) => $work,
        }
    };
}

impl Db {
    /// A connection for reading, outside any transaction.
    pub(super) async fn reader(&self) -> Result<Session, StoreError> {
        match self {
            Self::Sqlite { readers, .. } => Ok(Session::new(Connection::Sqlite(readers.acquire().await?))),
            Self::Postgres { readers, .. } => Session::of_postgres(readers).await,
        }
    }

    /// The connection that writes, for one statement, which is its own transaction. Nobody else writes while we have it.
    pub(super) async fn writer(&self) -> Result<Session, StoreError> {
        match self {
            Self::Sqlite { writer, hold, .. } => {
                hold.check()?;
                Ok(Session::new(Connection::Sqlite(writer.acquire().await?)))
            }
            Self::Postgres { writer, hold, .. } => {
                let mut session = Session::of_postgres(writer).await?;
                if hold.take(&mut session).await? {
                    return Ok(session);
                }
                Err(StoreError::Unavailable(
                    "another footbridge holds it, or the server has yet to notice that our last connection to it broke"
                        .to_owned(),
                ))
            }
        }
    }

    /// Tries to become the only one who writes; whether we are.
    pub(super) async fn take_hold(&self) -> Result<bool, StoreError> {
        match self {
            // It was taken before the file was opened.
            Self::Sqlite { .. } => Ok(true),
            Self::Postgres { writer, hold, .. } => hold.take(&mut Session::of_postgres(writer).await?).await,
        }
    }

    /// Succeeds if the database answers, and is the one that the next start will find.
    pub(super) async fn ping(&self) -> Result<(), StoreError> {
        if let Self::Sqlite { hold, .. } = self {
            hold.check()?;
        }
        self.rows("SELECT 1", []).await.map(drop)
    }

    /// This start has its number: who finds another one there after a break is not alone.
    pub(super) async fn remember_boot(&self) -> Result<(), StoreError> {
        match self {
            // A lock on a file can't be lost.
            Self::Sqlite { .. } => Ok(()),
            Self::Postgres { hold, .. } => hold.remember_boot(&mut self.writer().await?).await,
        }
    }

    /// A transaction; nothing of it lasts unless [`Session::commit`] succeeds.
    pub(super) async fn begin(&self) -> Result<Session, StoreError> {
        let mut session = self.writer().await?;
        // SQLite: take the write lock now, so that no later statement fails because another process was faster.
        let begin = match self {
            Self::Sqlite { .. } => "BEGIN IMMEDIATE",
            Self::Postgres { .. } => "BEGIN",
        };
        session.execute(begin, []).await?;
        session.in_transaction = true;
        Ok(session)
    }

    /// Runs one statement that writes.
    pub(super) async fn execute<'a>(
        &self,
        sql: &'static str,
        values: impl IntoIterator<Item = Value<'a>>,
    ) -> Result<u64, StoreError> {
        self.writer().await?.execute(sql, values).await
    }

    /// Reads all rows of a query.
    pub(super) async fn rows<'a>(
        &self,
        sql: &'static str,
        values: impl IntoIterator<Item = Value<'a>>,
    ) -> Result<Vec<Row>, StoreError> {
        self.reader().await?.rows(sql, values).await
    }

    /// Empties the log of changes, which has what was written as it was before it was erased.
    pub(super) async fn sweep(&self) -> Result<(), StoreError> {
        // PostgreSQL keeps what was erased until VACUUM, which is the operator's.
        let Self::Sqlite { .. } = self else { return Ok(()) };
        let mut session = self.writer().await?;
        // Who reads just now is not waited for: the journal waits behind us, and there will be another time.
        session.execute("PRAGMA busy_timeout = 0", []).await?;
        let swept = session.rows("PRAGMA wal_checkpoint(TRUNCATE)", []).await;
        session.execute(AssertSqlSafe(format!("PRAGMA busy_timeout = {}", BUSY.as_millis())), []).await?;
        swept.map(drop)
    }

    /// Closes every connection.
    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite { writer, readers, hold } => {
                readers.close().await;
                writer.close().await;
                hold.release();
            }
            Self::Postgres { writer, readers, .. } => {
                readers.close().await;
                writer.close().await;
            }
        }
    }
}

impl Session {
    fn new(connection: Connection) -> Self {
        Self { connection: Some(connection), in_transaction: false, busy: false }
    }

    async fn of_postgres(pool: &PgPool) -> Result<Self, StoreError> {
        match pool.acquire().await {
            Ok(connection) => Ok(Self::new(Connection::Postgres(connection))),
            Err(sqlx::Error::PoolTimedOut) => Err(explain_no_connection(pool).await),
            Err(error) => Err(error.into()),
        }
    }

    /// `prefix ($1,$2),($3,$4) suffix`: the text of a statement over several rows, which has no other placeholders.
    pub(super) fn over_rows(&mut self, prefix: &str, rows: usize, columns: usize, suffix: &str) -> SqlStr {
        match self.connection() {
            Connection::Sqlite(_) => over_rows(prefix, rows, columns, suffix, nameless),
            Connection::Postgres(_) => over_rows(prefix, rows, columns, suffix, numbered),
        }
    }

    /// Runs a statement; returns how many rows it changed.
    pub(super) async fn execute<'a>(
        &mut self,
        sql: impl SqlSafeStr,
        values: impl IntoIterator<Item = Value<'a>>,
    ) -> Result<u64, StoreError> {
        let sql = sql.into_sql_str();
        self.busy = true;
        let done = match self.connection() {
            Connection::Sqlite(c) => {
                let query = query_with(sql, bind::<SqliteArguments>(values)?);
                c.execute(query).await.map(|done| done.rows_affected())
            }
            Connection::Postgres(c) => {
                let query = query_with(sql, bind::<PgArguments>(values)?);
                answered(c.execute(query)).await?.map(|done| done.rows_affected())
            }
        };
        self.settle(done)
    }

    /// Runs a statement and reads the rows it returns.
    pub(super) async fn rows<'a>(
        &mut self,
        sql: impl SqlSafeStr,
        values: impl IntoIterator<Item = Value<'a>>,
    ) -> Result<Vec<Row>, StoreError> {
        let sql = sql.into_sql_str();
        self.busy = true;
        let rows = match self.connection() {
            Connection::Sqlite(c) => {
                let query = query_with(sql, bind::<SqliteArguments>(values)?);
                c.fetch_all(query).await.map(|rows| rows.into_iter().map(Row::Sqlite).collect())
            }
            Connection::Postgres(c) => {
                let query = query_with(sql, bind::<PgArguments>(values)?);
                answered(c.fetch_all(query)).await?.map(|rows| rows.into_iter().map(Row::Postgres).collect())
            }
        };
        self.settle(rows)
    }

    /// Runs a statement and reads the row it returns, if it returns one.
    pub(super) async fn row<'a>(
        &mut self,
        sql: impl SqlSafeStr,
        values: impl IntoIterator<Item = Value<'a>>,
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(sql, values).await?.pop())
    }

    /// Makes the transaction last, if there is one. An error doesn't always mean that it didn't: the answer may have been lost.
    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        if self.in_transaction {
            self.execute("COMMIT", []).await?;
            self.in_transaction = false;
        }
        Ok(())
    }

    fn connection(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("a session has its connection until it is dropped")
    }

    /// The statement came to an end; the connection is in order unless it was the connection that failed.
    fn settle<T>(&mut self, result: Result<T, sqlx::Error>) -> Result<T, StoreError> {
        self.busy = !matches!(result, Ok(_) | Err(sqlx::Error::Database(_)));
        Ok(result?)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if (self.busy || self.in_transaction)
            && let Some(connection) = self.connection.take()
        {
            on_either!(connection, c => drop(c.detach()));
        }
    }
}

/// Waits for the server's answer, but not forever.
async fn answered<T>(work: impl Future<Output = T>) -> Result<T, StoreError> {
    let seconds = NO_ANSWER.as_secs();
    timeout(NO_ANSWER, work)
        .await
        .map_err(|_| StoreError::Unavailable(format!("PostgreSQL did not answer within {seconds} s")))
}

fn bind<'a, A: Arguments>(values: impl IntoIterator<Item = Value<'a>>) -> Result<A, StoreError>
where
    Option<i64>: for<'t> sqlx::Encode<'t, A::Database> + Type<A::Database>,
    Option<String>: for<'t> sqlx::Encode<'t, A::Database> + Type<A::Database>,
    Vec<u8>: for<'t> sqlx::Encode<'t, A::Database> + Type<A::Database>,
{
    let mut arguments = A::default();
    for value in values {
        match value {
            Value::Int(number) => arguments.add(number),
            Value::Text(text) => arguments.add(text.map(without_nul)),
            Value::Bytes(bytes) => arguments.add(bytes.into_owned()),
        }
        .map_err(|problem| StoreError::Refused(problem.to_string()))?;
    }
    Ok(arguments)
}

/// PostgreSQL has no NUL in its texts. Neither IRC nor a valid Matrix id can carry one, so nothing that is told apart by
/// its text is confused by this; ids that come unchecked are stored as bytes, and JSON escapes it.
fn without_nul(text: Cow<'_, str>) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text.into_owned() }
}

impl Row {
    /// The value of column `index`, counted from 0.
    pub(super) fn get<T>(&self, index: usize) -> Result<T, StoreError>
    where
        T: for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres>,
    {
        Ok(match self {
            Self::Sqlite(row) => row.try_get(index)?,
            Self::Postgres(row) => row.try_get(index)?,
        })
    }
}

/// `prefix ($1,$2),($3,$4) suffix`: the text of a statement over several rows; `name` writes the placeholder of a number.
fn over_rows(prefix: &str, rows: usize, columns: usize, suffix: &str, name: impl Fn(&mut String, usize)) -> SqlStr {
    let mut sql = String::with_capacity(prefix.len() + suffix.len() + rows * columns * 5);
    sql.push_str(prefix);
    for row in 0..rows {
        sql.push_str(if row == 0 { " (" } else { ",(" });
        for column in 1..=columns {
            if column > 1 {
                sql.push(',');
            }
            name(&mut sql, row * columns + column);
        }
        sql.push(')');
    }
    sql.push(' ');
    sql.push_str(suffix);
    // Made of this program's own words and numbers only.
    AssertSqlSafe(sql).into_sql_str()
}

/// A placeholder without a name, for the value that comes next: of one with a name SQLite goes through the names of all others
/// to find it.
fn nameless(sql: &mut String, _: usize) {
    sql.push('?');
}

fn numbered(sql: &mut String, number: usize) {
    use std::fmt::Write as _;
    write!(sql, "${number}").expect("writing to a String succeeds");
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}

impl From<Option<i64>> for Value<'_> {
    fn from(number: Option<i64>) -> Self {
        Self::Int(number)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Some(Cow::Borrowed(text)))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Some(Cow::Owned(text)))
    }
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(text: Option<&'a str>) -> Self {
        Self::Text(text.map(Cow::Borrowed))
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(Cow::Borrowed(bytes))
    }
}

impl From<Vec<u8>> for Value<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(Cow::Owned(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_over_rows_numbers_its_placeholders() {
        let sql = over_rows("INSERT INTO t (a, b) VALUES", 2, 2, "ON CONFLICT DO NOTHING", numbered);
        assert_eq!(sql.as_str(), "INSERT INTO t (a, b) VALUES ($1,$2),($3,$4) ON CONFLICT DO NOTHING");
        assert_eq!(over_rows("IN (VALUES", 1, 1, ")", numbered).as_str(), "IN (VALUES ($1) )");
        assert_eq!(over_rows("IN (VALUES", 2, 2, ")", nameless).as_str(), "IN (VALUES (?,?),(?,?) )");
    }
}
