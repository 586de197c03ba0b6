//! What outlives a restart: the journal of events whose fate isn't known yet, and the directory of portals, queries,
//! puppets, ghosts and networks.
//!
//! [`open`] gives the [`Store`]: each method is atomic in itself, and no transaction travels. SQLite and PostgreSQL are
//! behind the same implementation ([`sql`]) with the same SQL text. [`Journal`] owns the journal's tables: everything
//! about accepted events goes through its one writer task, which commits a burst at a time.
//!
//! To store a new fact: a migration for each engine (never edit one that has been released), a method of [`Store`], its
//! statement in the group's file in `sql/`, and a story in `tests/store_contract.rs`, which runs on both engines.

mod directory;
mod error;
mod journal;
mod sql;
mod vault;

use std::sync::Arc;

use async_trait::async_trait;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};

pub use directory::{Consent, Ghost, OptOut, Portal, PortalKind, PuppetIdentity, Query, Standing};
pub use error::StoreError;
pub use journal::{
    AcceptError, AcceptedTransaction, Bits, Burst, Journal, JournalState, JournalStopped, Limits, NewIrcLine,
    NewMatrixEvent, NewTransaction, OpenLine, OpenTransaction, StoredBurst, StoredLine, StoredTransaction,
    TransactionProgress, UnsettledIrc, UnsettledMatrix,
};

pub use vault::Vault;

use crate::model::{Folded, Isupport, Millis, NetworkId};

/// Opens the database that `url` names (`sqlite://path` or `postgres://…`), making the file and the tables if need be.
///
/// Nobody else can open it before the store is closed or dropped, or the program ends.
pub async fn open(url: &str) -> Result<Arc<dyn Store>, StoreError> {
    Ok(Arc::new(sql::SqlStore::open(url).await?))
}

/// What [`open`] will find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// Nothing: it will be made.
    New,
    /// The tables of an older version of this program: they will be brought up to date.
    Older,
    /// Its own tables.
    Ready,
}

/// Looks at the database that `url` names, and leaves it as it is. Fails where [`open`] would.
pub async fn look(url: &str) -> Result<Outlook, StoreError> {
    sql::look(url).await
}

/// The directory and the bridge's own facts. Every method is atomic: it is done as a whole, or an error says that it isn't.
#[async_trait]
pub trait Store: JournalStore {
    /// Succeeds if the database answers.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Closes all connections, at the end of the program. Any later call fails.
    async fn close(&self);

    /// The number of this start: it grows with every start, even over a database that was lost and made anew, since it is
    /// never less than `now` in seconds. Persisted when this returns.
    async fn next_boot(&self, now: Millis) -> Result<u32, StoreError>;

    /// All portals, in no particular order.
    async fn portals(&self) -> Result<Vec<Portal>, StoreError>;

    /// Remembers a portal, in place of an older one of the same room, network and channel.
    async fn put_portal(&self, portal: &Portal) -> Result<(), StoreError>;

    /// Forgets a portal, if there is such a one.
    async fn remove_portal(&self, room: &RoomId, network: &NetworkId, folded: &Folded) -> Result<(), StoreError>;

    /// All channels that aren't to be bridged, in no particular order.
    async fn opt_outs(&self) -> Result<Vec<OptOut>, StoreError>;

    /// Remembers that a channel isn't to be bridged, in place of an older word of it.
    async fn put_opt_out(&self, opt_out: &OptOut) -> Result<(), StoreError>;

    /// Forgets that a channel isn't to be bridged.
    async fn remove_opt_out(&self, network: &NetworkId, folded: &Folded) -> Result<(), StoreError>;

    /// All queries, in no particular order.
    async fn queries(&self) -> Result<Vec<Query>, StoreError>;

    /// Remembers a query, in place of an older one of the same user and nick.
    async fn put_query(&self, query: &Query) -> Result<(), StoreError>;

    /// Forgets the query whose room this is, if it is one's.
    async fn remove_query(&self, room: &RoomId) -> Result<(), StoreError>;

    /// All puppets, in no particular order; the bot is among them, for its user name.
    async fn puppets(&self) -> Result<Vec<PuppetIdentity>, StoreError>;

    /// What `user` is known by on `network`. The first call gives the user a name: `username_base` cut to 9 characters, or
    /// where that is taken, its beginning and a number in base 36. Characters outside `[a-z0-9]` are left out.
    async fn puppet_identity(
        &self,
        network: &NetworkId,
        user: &UserId,
        username_base: &str,
    ) -> Result<PuppetIdentity, StoreError>;

    /// Remembers the nick of a user who has an identity on `network`; does nothing for others.
    async fn set_puppet_nick(&self, network: &NetworkId, user: &UserId, nick: &str) -> Result<(), StoreError>;

    /// What is known of the ghost with this local part.
    async fn ghost(&self, localpart: &str) -> Result<Option<Ghost>, StoreError>;

    /// The local parts of all ghosts, in no particular order.
    async fn ghosts(&self) -> Result<Vec<String>, StoreError>;

    /// Remembers a ghost, in place of what was known of it.
    async fn put_ghost(&self, ghost: &Ghost) -> Result<(), StoreError>;

    /// All control rooms.
    async fn control_rooms(&self) -> Result<Vec<(OwnedUserId, OwnedRoomId)>, StoreError>;

    /// Remembers a user's control room, in place of an older one.
    async fn put_control_room(&self, user: &UserId, room: &RoomId) -> Result<(), StoreError>;

    /// Forgets that a room is a control room.
    async fn remove_control_room(&self, room: &RoomId) -> Result<(), StoreError>;

    /// What `network` said of itself when it was last connected; `None` too if that was written by a version that wrote
    /// it differently, since the network will say it again.
    async fn isupport(&self, network: &NetworkId) -> Result<Option<Isupport>, StoreError>;

    /// Remembers what `network` says of itself.
    async fn put_isupport(&self, network: &NetworkId, isupport: &Isupport) -> Result<(), StoreError>;
}

/// What [`Journal`] stands on, and nobody else uses. Every method is atomic.
#[async_trait]
pub trait JournalStore: Send + Sync {
    /// What isn't settled, without bodies: what the journal keeps in memory.
    async fn state(&self) -> Result<JournalState, StoreError>;

    /// Commits a burst as a whole. May be repeated after an error: what was stored by a lost commit is found again.
    async fn commit(&self, burst: &Burst<'_>) -> Result<StoredBurst, StoreError>;

    /// The unsettled events of the homeserver, in the order of acceptance.
    async fn unsettled_matrix(&self) -> Result<Vec<UnsettledMatrix>, StoreError>;

    /// The unsettled lines of IRC, in the order of acceptance.
    async fn unsettled_irc(&self) -> Result<Vec<UnsettledIrc>, StoreError>;

    /// Erases the bodies of those events of these transactions that are settled, as far as that is stored.
    /// Fails, even of none, if the database can't be written.
    async fn erase(&self, transactions: &[i64]) -> Result<(), StoreError>;

    /// Deletes some of what was settled before `before`; returns how many transactions and lines that were: 0 means that
    /// nothing is left to delete.
    async fn prune(&self, before: Millis) -> Result<u64, StoreError>;

    /// Sees to it, as far as the database lets us, that what was erased can't be found in its files any more.
    async fn sweep(&self) -> Result<(), StoreError>;
}
