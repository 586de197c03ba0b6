//! Whether the homeserver takes events at this very moment.

use ruma::{OwnedRoomId, RoomId, UserId};
use serde_json::value::RawValue;

use super::Outbox;
use crate::{
    bridge::keeper::Fact,
    matrix::{CreateRoom, MatrixError},
};

/// An event that clients don't show.
const PROBE: &str = "footbridge.probe";

impl Outbox {
    /// Whether a room takes an event of the bot's, or of `user`'s, now. Nothing less shows that the homeserver works: where
    /// its database is read-only, or one of its processes is down, it may answer whatever asks for less.
    pub(super) async fn takes_events(&self, room: &RoomId, user: Option<&UserId>) -> bool {
        let sent = match self.probe(room, user).await {
            // That we have no say there it knows by heart.
            Err(MatrixError::Forbidden { .. }) => self.probe_elsewhere().await,
            sent => sent,
        };
        // Any other refusal is an answer too.
        !matches!(sent, Err(MatrixError::Unavailable { .. } | MatrixError::BadToken { .. }))
    }

    async fn probe(&self, room: &RoomId, user: Option<&UserId>) -> Result<(), MatrixError> {
        let txn = format!("fbp{:032x}", rand::random::<u128>());
        let content = RawValue::from_string("{}".to_owned()).expect("it is JSON");
        self.matrix.send(room, PROBE, &txn, &content, user, None).await.map(drop)
    }

    /// The same in a room that is nobody's but the bot's: its control room with itself, made when the first such question
    /// comes up, and known from then on.
    async fn probe_elsewhere(&self) -> Result<(), MatrixError> {
        let known = self.own_room.lock().await.clone();
        if let Some(room) = &known {
            match self.probe(room, None).await {
                // It is no more, or not the bot's any more: it says nothing of the homeserver.
                Err(MatrixError::Forbidden { .. }) => {}
                sent => return sent,
            }
        }
        let mut own = self.own_room.lock().await;
        let room = if let Some(room) = own.clone().filter(|room| known.as_ref() != Some(room)) {
            room // Another lane has just made it.
        } else {
            let name = Some("Footbridge's own".to_owned());
            let request = CreateRoom { name, federate: false, ..CreateRoom::default() };
            let room = self.matrix.create_room(request).await?;
            self.keeper.note(Fact::ControlRoom(self.ours.bot.clone(), room.clone()));
            own.insert(room).clone()
        };
        drop(own);
        self.probe(&room, None).await
    }

    /// The room in which [`Self::probe_elsewhere`] asks, from an earlier run.
    pub(in crate::bridge) async fn has_own_room(&self, room: OwnedRoomId) {
        *self.own_room.lock().await = Some(room);
    }
}
