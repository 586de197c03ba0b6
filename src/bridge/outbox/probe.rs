//! Whether the homeserver takes events at this very moment.

use ruma::{OwnedRoomId, RoomId, UserId};
use serde_json::value::RawValue;

use super::Outbox;
use crate::matrix::{CreateRoom, MatrixError};

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

    /// The same in a room that is nobody's but the bot's, made when the first such question comes up.
    async fn probe_elsewhere(&self) -> Result<(), MatrixError> {
        let make = || async {
            let name = Some("Footbridge's own".to_owned());
            self.matrix.create_room(CreateRoom { name, federate: false, ..CreateRoom::default() }).await
        };
        let room: &OwnedRoomId = self.own_room.get_or_try_init(make).await?;
        self.probe(room, None).await
    }
}
