//! What was done to somebody because of what happened on the other side.

use super::{conversations::parse, engine::Db};
use crate::store::{Sanction, SanctionKind, StoreError};

impl SanctionKind {
    const ALL: [Self; 3] = [Self::Ban, Self::Mute, Self::IrcBan];

    const fn word(self) -> &'static str {
        match self {
            Self::Ban => "ban",
            Self::Mute => "mute",
            Self::IrcBan => "irc_ban",
        }
    }

    fn from_word(word: &str) -> Result<Self, StoreError> {
        let kind = Self::ALL.into_iter().find(|kind| kind.word() == word);
        kind.ok_or_else(|| StoreError::unreadable("sanctions.kind", format!("`{word}` is no kind of sanction")))
    }
}

pub(super) async fn sanctions(db: &Db) -> Result<Vec<Sanction>, StoreError> {
    let rows = db.rows("SELECT kind, room, user_id, network, channel, cause, detail FROM sanctions", []).await?;
    rows.iter()
        .map(|row| {
            Ok(Sanction {
                kind: SanctionKind::from_word(&row.get::<String>(0)?)?,
                room: parse(row, 1, "sanctions.room")?,
                user: parse(row, 2, "sanctions.user_id")?,
                network: parse(row, 3, "sanctions.network")?,
                channel: row.get(4)?,
                cause: row.get(5)?,
                detail: row.get(6)?,
            })
        })
        .collect()
}

pub(super) async fn put_sanction(db: &Db, sanction: &Sanction) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO sanctions (kind, room, user_id, network, channel, cause, detail)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (kind, room, user_id, network, channel, cause) DO UPDATE SET detail = excluded.detail",
        [
            sanction.kind.word().into(),
            sanction.room.as_str().into(),
            sanction.user.as_str().into(),
            sanction.network.as_str().into(),
            sanction.channel.as_str().into(),
            sanction.cause.as_str().into(),
            sanction.detail.as_str().into(),
        ],
    )
    .await
    .map(drop)
}

pub(super) async fn remove_sanction(db: &Db, sanction: &Sanction) -> Result<(), StoreError> {
    db.execute(
        "DELETE FROM sanctions
         WHERE kind = $1 AND room = $2 AND user_id = $3 AND network = $4 AND channel = $5 AND cause = $6",
        [
            sanction.kind.word().into(),
            sanction.room.as_str().into(),
            sanction.user.as_str().into(),
            sanction.network.as_str().into(),
            sanction.channel.as_str().into(),
            sanction.cause.as_str().into(),
        ],
    )
    .await
    .map(drop)
}
