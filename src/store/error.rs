//! Why the database did not do what it was asked, sorted by the reaction it calls for.

use std::fmt;

use crate::model::NetworkId;

/// The store failed. Each message reads alone, and says what to do where a person can do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// `database.url` names no database that this program knows how to open: correct the configuration.
    #[error("{0}")]
    Url(String),
    /// The database can't be opened as it is: a person has to act.
    #[error("{0}")]
    Open(String),
    /// A newer version of this program has changed the tables: start that version, or restore a backup.
    #[error(
        "the database is newer than this program: it has migration {found}, and the newest one known here is {known}; \
         start the newer version of footbridge again, or restore the backup that was made before it ran"
    )]
    Newer {
        /// The migration found in the database.
        found: i64,
        /// The newest migration that this program has.
        known: i64,
    },
    /// The database is away, full, locked or broken just now: the same call may succeed later.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// Another bridge has run on this database since our connection to it broke: what this one knows of it may be old, and
    /// it must write no more. Starting anew is all that helps.
    #[error(
        "another footbridge has run on this database since our connection to it broke; this one ends, lest both do the \
         same work: run only one"
    )]
    TakenOver,
    /// The database won't take this very value: trying again is no use, other calls are not concerned.
    #[error("the database refuses the data: {0}")]
    Refused(String),
    /// Something stored can't be read back.
    #[error("the database holds something unreadable in {place}: {problem}")]
    Unreadable {
        /// Table and row.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl StoreError {
    /// Something stored in `place` can't be read back.
    pub(super) fn unreadable(place: impl Into<String>, problem: impl fmt::Display) -> Self {
        Self::Unreadable { place: place.into(), problem: problem.to_string() }
    }

    /// All of a network's names are taken, which takes more users than there are people.
    pub(super) fn usernames_exhausted(network: &NetworkId) -> Self {
        Self::Refused(format!("no user name is left on network {network}"))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(cause) if refuses_data(cause.as_ref()) => Self::Refused(cause.to_string()),
            sqlx::Error::Database(cause) => Self::Unavailable(cause.to_string()),
            sqlx::Error::Encode(_) | sqlx::Error::InvalidArgument(_) => Self::Refused(error.to_string()),
            sqlx::Error::PoolTimedOut => Self::Unavailable("no connection could be had in time".to_owned()),
            sqlx::Error::ColumnDecode { index, source } => Self::unreadable(format!("column {index}"), source),
            sqlx::Error::Decode(source) => Self::unreadable("a row", source),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

/// Whether the database complains of the data itself, rather than of its own state.
///
/// PostgreSQL: classes 22 (data), 23 (constraint), 54 (too large), P0 (raised by a trigger), see
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>. SQLite: TOOBIG, CONSTRAINT, MISMATCH, see
/// <https://www.sqlite.org/rescode.html>; the low byte is the primary code.
fn refuses_data(error: &dyn sqlx::error::DatabaseError) -> bool {
    let Some(code) = error.code() else { return false };
    if error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
        return matches!(code.get(..2), Some("22" | "23" | "54" | "P0"));
    }
    matches!(code.parse::<i32>().map(|code| code & 0xff), Ok(18..=20))
}
