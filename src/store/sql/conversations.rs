//! Rooms and what they stand for: portals, queries, control rooms.

use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde::{
    Deserialize as _,
    de::{IntoDeserializer as _, value::Error as DeError},
};

use super::engine::{Db, Row};
use crate::{
    model::{Folded, Members, NetworkId},
    store::{Portal, PortalKind, Query, StoreError},
};

impl PortalKind {
    const fn word(self) -> &'static str {
        match self {
            Self::Plumbed => "plumbed",
            Self::Joined => "joined",
        }
    }

    fn from_word(word: &str) -> Result<Self, StoreError> {
        [Self::Plumbed, Self::Joined]
            .into_iter()
            .find(|kind| kind.word() == word)
            .ok_or_else(|| StoreError::unreadable("portals.kind", format!("`{word}` is no kind of portal")))
    }
}

/// Reads a column into a type that checks itself.
pub(super) fn parse<T>(row: &Row, index: usize, place: &str) -> Result<T, StoreError>
where
    T: TryFrom<String, Error: std::fmt::Display>,
{
    T::try_from(row.get(index)?).map_err(|error| StoreError::unreadable(place, error))
}

fn folded(row: &Row, index: usize) -> Result<Folded, StoreError> {
    let text: String = row.get(index)?;
    Folded::deserialize(text.into_deserializer()).map_err(|error: DeError| StoreError::unreadable("folded", error))
}

pub(super) async fn portals(db: &Db) -> Result<Vec<Portal>, StoreError> {
    let rows = db.rows("SELECT room, network, channel, folded, channel_key, kind FROM portals", []).await?;
    rows.iter()
        .map(|row| {
            Ok(Portal {
                room: parse(row, 0, "portals.room")?,
                network: parse(row, 1, "portals.network")?,
                channel: row.get(2)?,
                folded: folded(row, 3)?,
                key: row.get(4)?,
                kind: PortalKind::from_word(&row.get::<String>(5)?)?,
            })
        })
        .collect()
}

pub(super) async fn put_portal(db: &Db, portal: &Portal) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO portals (room, network, channel, folded, channel_key, kind) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (room, network, folded) DO UPDATE
         SET channel = excluded.channel, channel_key = excluded.channel_key, kind = excluded.kind",
        [
            portal.room.as_str().into(),
            portal.network.as_str().into(),
            portal.channel.as_str().into(),
            portal.folded.as_str().into(),
            portal.key.as_deref().into(),
            portal.kind.word().into(),
        ],
    )
    .await
    .map(drop)
}

pub(super) async fn remove_portal(
    db: &Db,
    room: &RoomId,
    network: &NetworkId,
    folded: &Folded,
) -> Result<(), StoreError> {
    db.execute(
        "DELETE FROM portals WHERE room = $1 AND network = $2 AND folded = $3",
        [room.as_str().into(), network.as_str().into(), folded.as_str().into()],
    )
    .await
    .map(drop)
}

pub(super) async fn room_members(db: &Db) -> Result<Vec<(OwnedRoomId, Members)>, StoreError> {
    let rows = db.rows("SELECT room, members FROM room_members", []).await?;
    rows.iter()
        .map(|row| {
            let members: String = row.get(1)?;
            let members = members.parse().map_err(|error| StoreError::unreadable("room_members.members", error))?;
            Ok((parse(row, 0, "room_members.room")?, members))
        })
        .collect()
}

pub(super) async fn put_room_members(db: &Db, room: &RoomId, members: Option<Members>) -> Result<(), StoreError> {
    let done = match members {
        Some(members) => {
            db.execute(
                "INSERT INTO room_members (room, members) VALUES ($1, $2)
                 ON CONFLICT (room) DO UPDATE SET members = excluded.members",
                [room.as_str().into(), members.as_str().into()],
            )
            .await
        }
        None => db.execute("DELETE FROM room_members WHERE room = $1", [room.as_str().into()]).await,
    };
    done.map(drop)
}

pub(super) async fn queries(db: &Db) -> Result<Vec<Query>, StoreError> {
    let rows = db.rows("SELECT room, network, user_id, nick, folded FROM queries", []).await?;
    rows.iter()
        .map(|row| {
            Ok(Query {
                room: parse(row, 0, "queries.room")?,
                network: parse(row, 1, "queries.network")?,
                user: parse(row, 2, "queries.user_id")?,
                nick: row.get(3)?,
                folded: folded(row, 4)?,
            })
        })
        .collect()
}

pub(super) async fn put_query(db: &Db, query: &Query) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO queries (network, user_id, folded, nick, room) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (network, user_id, folded) DO UPDATE SET nick = excluded.nick, room = excluded.room",
        [
            query.network.as_str().into(),
            query.user.as_str().into(),
            query.folded.as_str().into(),
            query.nick.as_str().into(),
            query.room.as_str().into(),
        ],
    )
    .await
    .map(drop)
}

pub(super) async fn move_query(db: &Db, room: &RoomId, nick: &str, folded: &Folded) -> Result<bool, StoreError> {
    let moved = db
        .execute(
            "UPDATE queries SET nick = $2, folded = $3 WHERE room = $1 AND NOT EXISTS (
                 SELECT 1 FROM queries AS other WHERE other.folded = $3 AND other.room <> $1
                 AND other.network = queries.network AND other.user_id = queries.user_id)",
            [room.as_str().into(), nick.into(), folded.as_str().into()],
        )
        .await?;
    Ok(moved > 0)
}

pub(super) async fn remove_query(db: &Db, room: &RoomId) -> Result<(), StoreError> {
    db.execute("DELETE FROM queries WHERE room = $1", [room.as_str().into()]).await.map(drop)
}

pub(super) async fn control_rooms(db: &Db) -> Result<Vec<(OwnedUserId, OwnedRoomId)>, StoreError> {
    let rows = db.rows("SELECT user_id, room FROM control_rooms", []).await?;
    rows.iter().map(|row| Ok((parse(row, 0, "control_rooms.user_id")?, parse(row, 1, "control_rooms.room")?))).collect()
}

pub(super) async fn put_control_room(db: &Db, user: &UserId, room: &RoomId) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO control_rooms (user_id, room) VALUES ($1, $2) ON CONFLICT (user_id) DO UPDATE SET room = excluded.room",
        [user.as_str().into(), room.as_str().into()],
    )
    .await
    .map(drop)
}

pub(super) async fn remove_control_room(db: &Db, room: &RoomId) -> Result<(), StoreError> {
    db.execute("DELETE FROM control_rooms WHERE room = $1", [room.as_str().into()]).await.map(drop)
}
