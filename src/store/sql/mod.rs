//! The store on SQL: one implementation and one SQL text for SQLite and PostgreSQL.
//!
//! `engine` is the only file that knows the difference once `open` is done; the others hold the statements, a file per
//! group of methods.

mod conversations;
mod engine;
mod facts;
#[cfg(test)]
mod full_disk;
mod hold;
mod journal;
mod open;
mod people;

use async_trait::async_trait;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};

use self::engine::Db;
use super::{
    Burst, Ghost, JournalState, JournalStore, OptOut, Portal, PuppetIdentity, Query, Store, StoreError, StoredBurst,
    UnsettledIrc, UnsettledMatrix,
};
use crate::model::{Folded, Isupport, Millis, NetworkId};

pub(super) use open::look;

/// An open database.
pub(super) struct SqlStore {
    db: Db,
}

impl SqlStore {
    /// See [`super::open`].
    pub(super) async fn open(url: &str) -> Result<Self, StoreError> {
        Ok(Self { db: open::open(url).await? })
    }
}

#[async_trait]
impl Store for SqlStore {
    async fn ping(&self) -> Result<(), StoreError> {
        self.db.ping().await
    }

    async fn close(&self) {
        self.db.close().await;
    }

    async fn next_boot(&self, now: Millis) -> Result<u32, StoreError> {
        facts::next_boot(&self.db, now).await
    }

    async fn portals(&self) -> Result<Vec<Portal>, StoreError> {
        conversations::portals(&self.db).await
    }

    async fn put_portal(&self, portal: &Portal) -> Result<(), StoreError> {
        conversations::put_portal(&self.db, portal).await
    }

    async fn remove_portal(&self, room: &RoomId, network: &NetworkId, folded: &Folded) -> Result<(), StoreError> {
        conversations::remove_portal(&self.db, room, network, folded).await
    }

    async fn opt_outs(&self) -> Result<Vec<OptOut>, StoreError> {
        conversations::opt_outs(&self.db).await
    }

    async fn put_opt_out(&self, opt_out: &OptOut) -> Result<(), StoreError> {
        conversations::put_opt_out(&self.db, opt_out).await
    }

    async fn remove_opt_out(&self, network: &NetworkId, folded: &Folded) -> Result<(), StoreError> {
        conversations::remove_opt_out(&self.db, network, folded).await
    }

    async fn queries(&self) -> Result<Vec<Query>, StoreError> {
        conversations::queries(&self.db).await
    }

    async fn put_query(&self, query: &Query) -> Result<(), StoreError> {
        conversations::put_query(&self.db, query).await
    }

    async fn remove_query(&self, room: &RoomId) -> Result<(), StoreError> {
        conversations::remove_query(&self.db, room).await
    }

    async fn puppets(&self) -> Result<Vec<PuppetIdentity>, StoreError> {
        people::puppets(&self.db).await
    }

    async fn puppet_identity(
        &self,
        network: &NetworkId,
        user: &UserId,
        username_base: &str,
    ) -> Result<PuppetIdentity, StoreError> {
        people::puppet_identity(&self.db, network, user, username_base).await
    }

    async fn set_puppet_nick(&self, network: &NetworkId, user: &UserId, nick: &str) -> Result<(), StoreError> {
        people::set_puppet_nick(&self.db, network, user, nick).await
    }

    async fn ghost(&self, localpart: &str) -> Result<Option<Ghost>, StoreError> {
        people::ghost(&self.db, localpart).await
    }

    async fn ghosts(&self) -> Result<Vec<String>, StoreError> {
        people::ghosts(&self.db).await
    }

    async fn put_ghost(&self, ghost: &Ghost) -> Result<(), StoreError> {
        people::put_ghost(&self.db, ghost).await
    }

    async fn control_rooms(&self) -> Result<Vec<(OwnedUserId, OwnedRoomId)>, StoreError> {
        conversations::control_rooms(&self.db).await
    }

    async fn put_control_room(&self, user: &UserId, room: &RoomId) -> Result<(), StoreError> {
        conversations::put_control_room(&self.db, user, room).await
    }

    async fn remove_control_room(&self, room: &RoomId) -> Result<(), StoreError> {
        conversations::remove_control_room(&self.db, room).await
    }

    async fn isupport(&self, network: &NetworkId) -> Result<Option<Isupport>, StoreError> {
        facts::isupport(&self.db, network).await
    }

    async fn put_isupport(&self, network: &NetworkId, isupport: &Isupport) -> Result<(), StoreError> {
        facts::put_isupport(&self.db, network, isupport).await
    }
}

#[async_trait]
impl JournalStore for SqlStore {
    async fn state(&self) -> Result<JournalState, StoreError> {
        journal::state(&self.db).await
    }

    async fn commit(&self, burst: &Burst<'_>) -> Result<StoredBurst, StoreError> {
        journal::commit(&self.db, burst).await
    }

    async fn unsettled_matrix(&self) -> Result<Vec<UnsettledMatrix>, StoreError> {
        journal::unsettled_matrix(&self.db).await
    }

    async fn unsettled_irc(&self) -> Result<Vec<UnsettledIrc>, StoreError> {
        journal::unsettled_irc(&self.db).await
    }

    async fn erase(&self, transactions: &[i64]) -> Result<(), StoreError> {
        journal::erase(&self.db, transactions).await
    }

    async fn prune(&self, before: Millis) -> Result<u64, StoreError> {
        journal::prune(&self.db, before).await
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        self.db.sweep().await
    }
}
