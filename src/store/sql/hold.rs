//! Nobody else writes a database while we do: two bridges on one would both do what the last run left undone.
//!
//! **SQLite**: a lock on a file beside the database's. It is not on the database itself, where SQLite has locks of its own
//! that end with any descriptor of that file. The kernel lets go of it however we end.
//!
//! **PostgreSQL**: an advisory lock of the one connection that writes, so that nothing can be written without it: it dies
//! with its connection, and the next one takes it before it does anything else. Whether anybody else had it in between
//! tells the number of the last start.

use std::{
    fs::{File, TryLockError},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
};

use super::engine::Session;
use crate::store::StoreError;

/// A SQLite file that is ours.
#[derive(Debug)]
pub(super) struct FileHold {
    path: PathBuf,
    /// Device and inode of the file that is open.
    identity: (u64, u64),
    lock: File,
}

impl FileHold {
    /// Takes hold of the database file at `path`, which is there; `None` if another program has it.
    pub(super) fn take(path: &Path) -> io::Result<Option<Self>> {
        // One file may have several names, and then has one lock.
        let path = path.canonicalize()?;
        let mut beside = path.clone().into_os_string();
        beside.push(".lock");
        let lock = private_file(Path::new(&beside))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self { identity: identity(&path)?, path, lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Fails if the file that is open isn't the one that the next start will find: what is written to it is lost.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if identity(&self.path).ok() == Some(self.identity) {
            return Ok(());
        }
        // Without the path: everybody may read what `/health` says.
        Err(StoreError::Unavailable(
            "its file was removed or replaced while the bridge runs; restart the bridge, or put the file back"
                .to_owned(),
        ))
    }

    /// Lets go of it.
    pub(super) fn release(&self) {
        if let Err(error) = self.lock.unlock() {
            tracing::debug!(%error, "the database file's lock can't be released; it ends with the program");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    path.metadata().map(|file| (file.dev(), file.ino()))
}

/// Opens a file, and makes it if there is none: for this user only, since it holds what people wrote.
pub(super) fn private_file(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// The part of a PostgreSQL database that the connection's schema is, and its lock.
#[derive(Debug)]
pub(super) struct ServerHold {
    /// Whether the connection that writes has the lock.
    held: AtomicBool,
    /// The number of the last start, once it was read.
    boot: AtomicI64,
}

/// The first number is this program's own, any other's locks aside.
const LOCK: &str = "SELECT pg_try_advisory_lock(1718579568, hashtext(COALESCE(current_schema()::text, '')))";
const UNREAD: i64 = -1;

impl Default for ServerHold {
    fn default() -> Self {
        Self { held: AtomicBool::new(false), boot: AtomicI64::new(UNREAD) }
    }
}

impl ServerHold {
    /// The connection that writes is a new one, which has no lock yet.
    pub(super) fn connection_is_new(&self) {
        self.held.store(false, Ordering::Release);
    }

    /// Sees to it that the connection that writes, which this is, has the lock; whether it has.
    pub(super) async fn take(&self, writer: &mut Session) -> Result<bool, StoreError> {
        if self.held.load(Ordering::Acquire) {
            return Ok(true);
        }
        let ours: bool = writer.row(LOCK, []).await?.ok_or_else(no_answer)?.get(0)?;
        let known = self.boot.load(Ordering::Acquire);
        if known != UNREAD && last_boot(writer).await? != known {
            return Err(StoreError::TakenOver);
        }
        self.held.store(ours, Ordering::Release);
        Ok(ours)
    }

    /// Reads the number of the last start, which is ours from here on.
    pub(super) async fn remember_boot(&self, session: &mut Session) -> Result<(), StoreError> {
        self.boot.store(last_boot(session).await?, Ordering::Release);
        Ok(())
    }
}

fn no_answer() -> StoreError {
    StoreError::unreadable("pg_try_advisory_lock", "no row came back")
}

async fn last_boot(session: &mut Session) -> Result<i64, StoreError> {
    session.row("SELECT number FROM boots", []).await?.map_or(Ok(0), |row| row.get(0))
}
