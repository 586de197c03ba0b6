//! Facts of the bridge itself and of its networks: the count of starts, and what a network said of itself.

use super::engine::Db;
use crate::{
    model::{Isupport, Millis, NetworkId},
    store::StoreError,
};

pub(super) async fn next_boot(db: &Db, now: Millis) -> Result<u32, StoreError> {
    let seconds = (now / 1000).clamp(1, i64::from(u32::MAX));
    let row = db
        .writer()
        .await?
        .row(
            "INSERT INTO boots (id, number) VALUES (1, $1)
             ON CONFLICT (id) DO UPDATE SET number =
                 CASE WHEN boots.number >= excluded.number THEN boots.number + 1 ELSE excluded.number END
             RETURNING number",
            [seconds.into()],
        )
        .await?
        .ok_or_else(|| StoreError::unreadable("boots", "no row came back"))?;
    db.remember_boot().await?;
    let number: i64 = row.get(0)?;
    u32::try_from(number).map_err(|_| {
        StoreError::unreadable("boots", format!("{number} starts are more than a program can have; delete the row"))
    })
}

pub(super) async fn isupport(db: &Db, network: &NetworkId) -> Result<Option<Isupport>, StoreError> {
    let row = db
        .reader()
        .await?
        .row("SELECT isupport FROM network_facts WHERE network = $1", [network.as_str().into()])
        .await?;
    let Some(row) = row else { return Ok(None) };
    match serde_json::from_str(&row.get::<String>(0)?) {
        Ok(isupport) => Ok(Some(isupport)),
        Err(error) => {
            tracing::warn!(%network, %error, "what the network said of itself can't be read back; it will say it again");
            Ok(None)
        }
    }
}

pub(super) async fn put_isupport(db: &Db, network: &NetworkId, isupport: &Isupport) -> Result<(), StoreError> {
    let json = serde_json::to_string(isupport).map_err(|error| StoreError::Refused(error.to_string()))?;
    db.execute(
        "INSERT INTO network_facts (network, isupport) VALUES ($1, $2)
         ON CONFLICT (network) DO UPDATE SET isupport = excluded.isupport",
        [network.as_str().into(), json.into()],
    )
    .await
    .map(drop)
}
