//! Rooms and what they stand for: portals, queries, control rooms.

use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde::{
    Deserialize as _,
    de::{IntoDeserializer as _, value::Error as DeError},
};

use super::engine::{Db, Row};
use crate::{
    model::{Folded, NetworkId},
    store::{Consent, OptOut, Portal, PortalKind, Query, Standing, StoreError},
};

impl PortalKind {
    const fn word(self) -> &'static str {
        match self {
            Self::Plumbed => "plumbed",
            Self::Agreed => "agreed",
            Self::Joined => "joined",
        }
    }

    fn from_word(word: &str) -> Result<Self, StoreError> {
        [Self::Plumbed, Self::Agreed, Self::Joined]
            .into_iter()
            .find(|kind| kind.word() == word)
            .ok_or_else(|| StoreError::unreadable("portals.kind", format!("`{word}` is no kind of portal")))
    }
}

impl Standing {
    const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closing => "closing",
            Self::Over => "over",
        }
    }

    fn from_word(word: &str) -> Result<Self, StoreError> {
        [Self::Open, Self::Closing, Self::Over]
            .into_iter()
            .find(|standing| standing.word() == word)
            .ok_or_else(|| StoreError::unreadable("portals.standing", format!("`{word}` is no standing")))
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
    let portals = "SELECT room, network, channel, folded, channel_key, kind, standing, asked_by, agreed_by, agreed_at \
                   FROM portals";
    let rows = db.rows(portals, []).await?;
    rows.iter()
        .map(|row| {
            Ok(Portal {
                room: parse(row, 0, "portals.room")?,
                network: parse(row, 1, "portals.network")?,
                channel: row.get(2)?,
                folded: folded(row, 3)?,
                key: row.get(4)?,
                kind: PortalKind::from_word(&row.get::<String>(5)?)?,
                standing: Standing::from_word(&row.get::<String>(6)?)?,
                consent: consent(row)?,
            })
        })
        .collect()
}

fn consent(row: &Row) -> Result<Option<Consent>, StoreError> {
    let (Some(asked_by), Some(agreed_by), Some(at)) =
        (row.get::<Option<String>>(7)?, row.get(8)?, row.get::<Option<i64>>(9)?)
    else {
        return Ok(None);
    };
    let asked_by = asked_by.try_into().map_err(|error| StoreError::unreadable("portals.asked_by", error))?;
    Ok(Some(Consent { asked_by, agreed_by, at }))
}

pub(super) async fn put_portal(db: &Db, portal: &Portal) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO portals
         (room, network, channel, folded, channel_key, kind, standing, asked_by, agreed_by, agreed_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (room, network, folded) DO UPDATE
         SET channel = excluded.channel, channel_key = excluded.channel_key, kind = excluded.kind,
         standing = excluded.standing, asked_by = excluded.asked_by, agreed_by = excluded.agreed_by,
         agreed_at = excluded.agreed_at",
        [
            portal.room.as_str().into(),
            portal.network.as_str().into(),
            portal.channel.as_str().into(),
            portal.folded.as_str().into(),
            portal.key.as_deref().into(),
            portal.kind.word().into(),
            portal.standing.word().into(),
            portal.consent.as_ref().map(|consent| consent.asked_by.as_str()).into(),
            portal.consent.as_ref().map(|consent| consent.agreed_by.as_str()).into(),
            portal.consent.as_ref().map(|consent| consent.at).into(),
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

pub(super) async fn opt_outs(db: &Db) -> Result<Vec<OptOut>, StoreError> {
    let rows = db.rows("SELECT network, folded, said_by, said_at FROM opt_outs", []).await?;
    rows.iter()
        .map(|row| {
            Ok(OptOut {
                network: parse(row, 0, "opt_outs.network")?,
                folded: folded(row, 1)?,
                by: row.get(2)?,
                at: row.get(3)?,
            })
        })
        .collect()
}

pub(super) async fn put_opt_out(db: &Db, opt_out: &OptOut) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO opt_outs (network, folded, said_by, said_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (network, folded) DO UPDATE SET said_by = excluded.said_by, said_at = excluded.said_at",
        [
            opt_out.network.as_str().into(),
            opt_out.folded.as_str().into(),
            opt_out.by.as_str().into(),
            opt_out.at.into(),
        ],
    )
    .await
    .map(drop)
}

pub(super) async fn remove_opt_out(db: &Db, network: &NetworkId, folded: &Folded) -> Result<(), StoreError> {
    db.execute(
        "DELETE FROM opt_outs WHERE network = $1 AND folded = $2",
        [network.as_str().into(), folded.as_str().into()],
    )
    .await
    .map(drop)
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
