//! Puppets and ghosts: what each side knows the other side's people by.

use ruma::UserId;

use super::{
    conversations::parse,
    engine::{Db, Row, Session},
};
use crate::{
    model::NetworkId,
    store::{Ghost, PuppetIdentity, StoreError},
};

/// What fits into USERLEN 10 with a `~` in front (R41).
const USERNAME_MAX: usize = 9;
/// Room for the number behind a stem: 36⁴ users whose names begin alike. A longer number shortens the stem.
const NUMBER_DIGITS: usize = 4;

fn puppet(row: &Row) -> Result<PuppetIdentity, StoreError> {
    Ok(PuppetIdentity {
        network: parse(row, 0, "puppets.network")?,
        user: parse(row, 1, "puppets.user_id")?,
        username: row.get(2)?,
        nick: row.get(3)?,
    })
}

pub(super) async fn puppets(db: &Db) -> Result<Vec<PuppetIdentity>, StoreError> {
    db.rows("SELECT network, user_id, username, nick FROM puppets", []).await?.iter().map(puppet).collect()
}

pub(super) async fn puppet_identity(
    db: &Db,
    network: &NetworkId,
    user: &UserId,
    username_base: &str,
) -> Result<PuppetIdentity, StoreError> {
    if let Some(known) = find(&mut db.reader().await?, network, user).await? {
        return Ok(known);
    }
    let mut tx = db.begin().await?;
    let identity = allocate(&mut tx, network, user, username_base).await?;
    tx.commit().await?;
    Ok(identity)
}

async fn find(session: &mut Session, network: &NetworkId, user: &UserId) -> Result<Option<PuppetIdentity>, StoreError> {
    let row = session
        .row(
            "SELECT network, user_id, username, nick FROM puppets WHERE network = $1 AND user_id = $2",
            [network.as_str().into(), user.as_str().into()],
        )
        .await?;
    row.as_ref().map(puppet).transpose()
}

/// Gives the user the base itself if it is free, else numbers until one is.
///
/// The number goes on where it stood, kept per network and stem, so names aren't tried twice: a name is made of at most
/// nine stems, hence found taken at most that often in all its life, however many users begin alike.
async fn allocate(
    tx: &mut Session,
    network: &NetworkId,
    user: &UserId,
    username_base: &str,
) -> Result<PuppetIdentity, StoreError> {
    let base: String =
        username_base.chars().filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit()).take(USERNAME_MAX).collect();
    let stem = if base.is_empty() { "u" } else { &base[..base.len().min(USERNAME_MAX - NUMBER_DIGITS)] };
    let mut candidate = if base.is_empty() { numbered(tx, network, stem).await? } else { base.clone() };
    loop {
        let inserted = tx
            .execute(
                "INSERT INTO puppets (network, user_id, username) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                [network.as_str().into(), user.as_str().into(), candidate.as_str().into()],
            )
            .await?;
        if inserted == 1 {
            return Ok(PuppetIdentity {
                network: network.clone(),
                user: user.to_owned(),
                username: candidate,
                nick: None,
            });
        }
        // Either the name is taken, or somebody was faster for the same user.
        if let Some(known) = find(tx, network, user).await? {
            return Ok(known);
        }
        candidate = numbered(tx, network, stem).await?;
    }
}

/// The stem with its next number.
async fn numbered(tx: &mut Session, network: &NetworkId, stem: &str) -> Result<String, StoreError> {
    let row = tx
        .row(
            "INSERT INTO username_counters (network, stem, last) VALUES ($1, $2, 1)
             ON CONFLICT (network, stem) DO UPDATE SET last = username_counters.last + 1
             RETURNING last",
            [network.as_str().into(), stem.into()],
        )
        .await?
        .ok_or_else(|| StoreError::unreadable("username_counters", "no row came back"))?;
    let digits = base36(row.get::<i64>(0)?.unsigned_abs());
    let room = USERNAME_MAX.checked_sub(digits.len()).ok_or_else(|| StoreError::usernames_exhausted(network))?;
    Ok(format!("{}{digits}", &stem[..stem.len().min(room)]))
}

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = u32::try_from(number % 36).expect("a remainder of 36 is small");
        digits.push(char::from_digit(digit, 36).expect("it is a digit of base 36"));
        number /= 36;
        if number == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

pub(super) async fn set_puppet_nick(db: &Db, network: &NetworkId, user: &UserId, nick: &str) -> Result<(), StoreError> {
    db.execute(
        "UPDATE puppets SET nick = $3 WHERE network = $1 AND user_id = $2",
        [network.as_str().into(), user.as_str().into(), nick.into()],
    )
    .await
    .map(drop)
}

pub(super) async fn ghosts(db: &Db) -> Result<Vec<String>, StoreError> {
    let rows = db.rows("SELECT localpart FROM ghosts", []).await?;
    rows.iter().map(|row| row.get(0)).collect()
}

pub(super) async fn ghost(db: &Db, localpart: &str) -> Result<Option<Ghost>, StoreError> {
    let row = db
        .reader()
        .await?
        .row("SELECT localpart, network, nick, display_name FROM ghosts WHERE localpart = $1", [localpart.into()])
        .await?;
    row.map(|row| {
        Ok(Ghost {
            localpart: row.get(0)?,
            network: parse(&row, 1, "ghosts.network")?,
            nick: row.get(2)?,
            display_name: row.get(3)?,
        })
    })
    .transpose()
}

pub(super) async fn put_ghost(db: &Db, ghost: &Ghost) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO ghosts (localpart, network, nick, display_name) VALUES ($1, $2, $3, $4)
         ON CONFLICT (localpart) DO UPDATE
         SET network = excluded.network, nick = excluded.nick, display_name = excluded.display_name",
        [
            ghost.localpart.as_str().into(),
            ghost.network.as_str().into(),
            ghost.nick.as_str().into(),
            ghost.display_name.as_deref().into(),
        ],
    )
    .await
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::base36;

    #[test]
    fn numbers_read_back() {
        for number in [0, 1, 35, 36, 1295, 1296, 1_679_615, u64::MAX] {
            assert_eq!(u64::from_str_radix(&base36(number), 36), Ok(number));
        }
        assert_eq!(base36(35), "z");
        assert_eq!(base36(36), "10");
    }
}
