//! The end of a bridge as a whole (R32): everybody of ours leaves every room, and each room is told why.
//!
//! It needs no state of its own: what is left to do is what is still there, so that it can be interrupted and begun again.

use std::{collections::BTreeSet, sync::Arc};

use ruma::{OwnedRoomId, RoomId, UserId};
use serde_json::value::to_raw_value;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::ours::Ours;
use crate::{
    config::Config,
    matrix::{MatrixApi, MatrixError, Membership, RetryPolicy, persist},
    store::{Store, StoreError},
};

/// What a room is told, and what everybody says when they leave.
const WORDS: &str = "This bridge to IRC has been taken out of service. Everybody who was here through it leaves.";

/// Why it could not be done to its end.
#[derive(Debug, thiserror::Error)]
pub enum DecommissionError {
    /// The homeserver.
    #[error(transparent)]
    Matrix(#[from] MatrixError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What there is to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Rooms that the bot was in.
    pub rooms: usize,
    /// Ghosts that there are.
    pub ghosts: usize,
}

/// Takes everybody of a bridge's out of every room.
pub struct Decommission {
    store: Arc<dyn Store>,
    matrix: Arc<dyn MatrixApi>,
    ours: Ours,
    stop: CancellationToken,
}

impl Decommission {
    /// Of the bridge that is configured so. `stop` interrupts it.
    #[must_use]
    pub fn new(config: &Config, store: Arc<dyn Store>, matrix: Arc<dyn MatrixApi>, stop: CancellationToken) -> Self {
        Self { store, matrix, ours: Ours::of(config), stop }
    }

    /// What there is to do.
    ///
    /// # Errors
    /// The homeserver or the database doesn't tell.
    pub async fn look(&self) -> Result<Left, DecommissionError> {
        let rooms = self.ask(|| self.matrix.joined_rooms(None)).await?.len();
        Ok(Left { rooms, ghosts: self.store.ghosts().await?.len() })
    }

    /// Does it, and says how far it has come. What one room refuses keeps nothing from the others.
    ///
    /// # Errors
    /// It was interrupted, or the homeserver or the database fails as a whole.
    pub async fn run(&self, say: &(dyn Fn(String) + Sync)) -> Result<(), DecommissionError> {
        let rooms = self.ask(|| self.matrix.joined_rooms(None)).await?;
        for (at, room) in rooms.iter().enumerate() {
            let done = match self.leave_room(room).await {
                Err(MatrixError::Stopped) => return Err(MatrixError::Stopped.into()),
                Ok(ghosts) => format!("{ghosts} ghosts and the bot have left"),
                Err(error) => format!("not left: {error}"),
            };
            say(format!("room {} of {}, {room}: {done}", at + 1, rooms.len()));
            self.forget(room).await?;
        }
        // Private chats, and rooms that the bot was removed from.
        let ghosts = self.store.ghosts().await?;
        for (at, localpart) in ghosts.iter().enumerate() {
            let Ok(ghost) = UserId::parse(format!("@{localpart}:{}", self.ours.bot.server_name())) else { continue };
            let rooms = match self.ask(|| self.matrix.joined_rooms(Some(&ghost))).await {
                Err(MatrixError::Stopped) => return Err(MatrixError::Stopped.into()),
                // A homeserver that doesn't know it has nothing of it.
                rooms => rooms.unwrap_or_default(),
            };
            for room in &rooms {
                self.tell(room, Some(&ghost)).await?;
                if let Err(MatrixError::Stopped) = self.leave(room, Some(&ghost)).await {
                    return Err(MatrixError::Stopped.into());
                }
                self.forget(room).await?;
            }
            if !rooms.is_empty() || (at + 1) % 100 == 0 {
                say(format!("ghost {} of {}, {ghost}: {} rooms left", at + 1, ghosts.len(), rooms.len()));
            }
        }
        Ok(())
    }

    /// Everybody of ours leaves a room that the bot is in; how many ghosts that were.
    async fn leave_room(&self, room: &RoomId) -> Result<usize, MatrixError> {
        self.tell(room, None).await?;
        let members = self.ask(|| self.matrix.members(room, None)).await?;
        let joined = members.into_iter().filter(|member| member.membership == Membership::Join);
        let ghosts: BTreeSet<_> = joined.map(|member| member.user).filter(|user| self.is_ghost(user)).collect();
        for ghost in &ghosts {
            self.leave(room, Some(ghost)).await?;
        }
        self.leave(room, None).await?;
        Ok(ghosts.len())
    }

    fn is_ghost(&self, user: &UserId) -> bool {
        self.ours.includes(user) && *user != self.ours.bot
    }

    /// Tells a room why, once however often this runs; it may refuse to be told.
    async fn tell(&self, room: &RoomId, ghost: Option<&UserId>) -> Result<(), MatrixError> {
        let content = serde_json::json!({ "msgtype": "m.notice", "body": WORDS, "m.mentions": {} });
        let content = to_raw_value(&content).expect("a JSON value has a JSON text");
        let txn = format!("fbd{:x}", Sha256::digest(room.as_bytes()));
        let told = self.ask(|| self.matrix.send(room, "m.room.message", &txn, &content, ghost, None)).await;
        match told {
            Err(MatrixError::Stopped) => Err(MatrixError::Stopped),
            _ => Ok(()),
        }
    }

    async fn leave(&self, room: &RoomId, user: Option<&UserId>) -> Result<(), MatrixError> {
        match self.ask(|| self.matrix.leave(room, user, Some(WORDS))).await {
            // It isn't in.
            Err(MatrixError::Forbidden { .. } | MatrixError::NotFound { .. }) => Ok(()),
            left => left,
        }
    }

    /// What the database knows of a room that we have left would bring us back.
    async fn forget(&self, room: &OwnedRoomId) -> Result<(), StoreError> {
        for portal in self.store.portals().await?.into_iter().filter(|portal| portal.room == *room) {
            self.store.remove_portal(&portal.room, &portal.network, &portal.folded).await?;
        }
        self.store.remove_query(room).await?;
        self.store.remove_control_room(room).await
    }

    async fn ask<T, F, A>(&self, call: F) -> Result<T, MatrixError>
    where
        F: FnMut() -> A,
        A: Future<Output = Result<T, MatrixError>>,
    {
        persist(RetryPolicy::default(), &self.stop, None, call).await
    }
}
