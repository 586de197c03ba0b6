//! How a lane gets its room: into one that is there, or by making one.

use std::{collections::HashSet, sync::Arc, time::Duration};

use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde_json::value::RawValue;

use super::{
    Destination, Job, Outbox,
    missed::said_since_invitation,
    queue::{Queue, Waited},
    worker::{PRIVATE_ONLY, report, settle_text},
};
use crate::{
    bridge::{
        dispatch::Input,
        ghosts::Ghost,
        keeper::{Fact, Stopped},
    },
    matrix::{CreateRoom, MatrixError, Membership, Preset},
    store,
};

/// How long what is said on IRC waits, at least, for a room that refuses the bot.
const UNINVITED: Duration = Duration::from_mins(10);

/// In `m.room.create` of a query's room that we made: whose query it is.
const QUERY_MARK: &str = "footbridge.query";

/// Who speaks for the bridge in a room.
#[derive(Debug, Clone)]
pub(super) enum Voice {
    Bot,
    /// In a query with this user.
    Ghost(Arc<Ghost>, OwnedUserId),
}

impl Voice {
    pub(super) fn user(&self) -> Option<&UserId> {
        match self {
            Self::Bot => None,
            Self::Ghost(ghost, _) => Some(&ghost.user),
        }
    }
}

/// Why a lane has no room.
pub(super) enum NoRoom {
    /// There will be none: what waits for it is over.
    Refused,
    /// The bridge stops: what waits for it is the next run's.
    Stopped,
}

/// Tells the dispatcher. It is gone only when the bridge stops.
async fn tell_core(out: &Outbox, input: Input) -> Result<(), NoRoom> {
    out.core.send(input).await.map_err(|_| NoRoom::Stopped)
}

/// Sees to it that there is a room and that we are in it.
pub(super) async fn enter(
    out: &Arc<Outbox>,
    queue: &Queue,
    destination: Destination,
) -> Result<(OwnedRoomId, Voice), NoRoom> {
    match destination {
        Destination::Portal(room) => {
            come_in(out, queue, &room, &Voice::Bot).await?;
            Ok((room, Voice::Bot))
        }
        Destination::Leaving(room) => {
            let members = out.persist(|| out.matrix.members(&room, None)).await;
            match members {
                Ok(members) => {
                    let ghosts = members.into_iter().filter(|member| member.membership == Membership::Join);
                    let ghosts = ghosts.map(|member| member.user);
                    queue.load(ghosts.filter(|user| out.ours.includes(user) && *user != out.ours.bot).collect());
                    Ok((room, Voice::Bot))
                }
                Err(MatrixError::Stopped) => Err(NoRoom::Stopped),
                // The bot, which is the last to leave, isn't there any more.
                Err(_) => Err(NoRoom::Refused),
            }
        }
        Destination::Query { room, ghost, user } => {
            queue.load(HashSet::from([ghost.user.clone()]));
            Ok((room, Voice::Ghost(ghost, user)))
        }
        Destination::InvitedQuery { room, ghost, user } => {
            let voice = Voice::Ghost(ghost, user);
            come_in(out, queue, &room, &voice).await?;
            Ok((room, voice))
        }
        Destination::NewQuery { ghost, user } => {
            let room = make_query(out, &ghost, &user).await?;
            queue.load(HashSet::from([ghost.user.clone()]));
            Ok((room, Voice::Ghost(ghost, user)))
        }
        Destination::Control(room) => {
            let joined = async {
                out.bot_exists().await?;
                out.persist(|| out.matrix.join((&*room).into(), None)).await
            };
            let joined = joined.await.map(drop);
            if matches!(joined, Err(MatrixError::Stopped)) {
                return Err(NoRoom::Stopped);
            }
            report(&room, "join the control room", &joined);
            Ok((room, Voice::Bot))
        }
        Destination::NewControl(user) => make_control(out, &user).await.map(|room| (room, Voice::Bot)),
    }
}

/// Comes into a room to which `voice` was invited, the first time or again.
pub(super) async fn come_in(out: &Arc<Outbox>, queue: &Queue, room: &RoomId, voice: &Voice) -> Result<(), NoRoom> {
    match voice {
        Voice::Bot => enter_portal(out, queue, room).await,
        Voice::Ghost(ghost, user) => {
            accept_query(out, room, ghost, user).await?;
            queue.load(HashSet::from([ghost.user.clone()]));
            let (missed, problem) = said_since_invitation(out, room, ghost).await?;
            if let Some(problem) = problem {
                let text = format!(
                    "What was written here before I came could not be read ({problem}). It did not reach IRC, unless you \
                     hear otherwise."
                );
                queue.push(Job::Notice { text, txn: format!("fbm{:032x}", rand::random::<u128>()) });
            }
            tell_core(out, Input::QueryEntered { room: room.to_owned(), missed }).await
        }
    }
}

/// Waits until the bot is asked into a room that refuses it. What is said on IRC doesn't pile up meanwhile.
async fn invitation(out: &Outbox, queue: &Queue, room: &RoomId) -> Result<(), NoRoom> {
    loop {
        match queue.invitation(UNINVITED).await {
            Waited::Invited => return Ok(()),
            Waited::Closed => return Err(NoRoom::Refused),
            Waited::TooLong(texts) => {
                for receipt in &texts {
                    settle_text(out, receipt).await;
                }
                if !texts.is_empty() {
                    tracing::warn!(
                        portal.room = %room, count = texts.len(),
                        "messages from IRC are given up: the room has refused the bridge's bot for too long; invite it"
                    );
                }
            }
        }
    }
}

/// Comes into a room with portals, now or once it is asked in.
async fn enter_portal(out: &Arc<Outbox>, queue: &Queue, room: &RoomId) -> Result<(), NoRoom> {
    loop {
        let entered = async {
            out.bot_exists().await?;
            out.persist(|| out.matrix.join(room.into(), None)).await?;
            out.persist(|| out.matrix.members(room, None)).await
        };
        match entered.await {
            Ok(members) => {
                let (ours, people): (Vec<_>, Vec<_>) = members.into_iter().partition(|m| out.ours.includes(&m.user));
                // The bot is nobody's ghost: a roster, in which it never is, must not show it out.
                let ghosts = ours.into_iter().filter(|m| m.membership == Membership::Join && m.user != out.ours.bot);
                queue.load(ghosts.map(|m| m.user).collect());
                let members = people
                    .into_iter()
                    .filter(|m| m.membership == Membership::Join)
                    .map(|m| (m.user, m.display_name))
                    .collect();
                return tell_core(out, Input::RoomReady { room: room.to_owned(), members }).await;
            }
            Err(MatrixError::Stopped) => return Err(NoRoom::Stopped),
            Err(error) => {
                tracing::error!(
                    portal.room = %room, %error,
                    "the bridge's bot can't enter this room; invite it, and it will come in at once"
                );
                invitation(out, queue, room).await?;
            }
        }
    }
}

async fn accept_query(out: &Arc<Outbox>, room: &RoomId, ghost: &Arc<Ghost>, user: &UserId) -> Result<(), NoRoom> {
    let accept = || async {
        out.ghosts.ensure(&*out.matrix, ghost, None).await?;
        out.persist(|| out.matrix.join(room.into(), Some(&ghost.user))).await?;
        let members = out.persist(|| out.matrix.members(room, Some(&ghost.user))).await?;
        if members.iter().any(|member| member.user != *user && member.user != ghost.user) {
            out.persist(|| out.matrix.leave(room, Some(&ghost.user), Some(PRIVATE_ONLY))).await?;
            return Ok(false);
        }
        keep_query(out, room, ghost, user).await.map_err(|Stopped| MatrixError::Stopped)?;
        Ok(true)
    };
    match out.as_ghost(ghost, accept).await {
        Ok(true) => return Ok(()),
        Ok(false) => {}
        Err(MatrixError::Stopped) => return Err(NoRoom::Stopped),
        Err(error) => {
            report(room, "accept the invitation to a query", &Err(error));
            // It may have come in before that failed, and must not look as if it listened.
            let left = out.matrix.leave(room, Some(&ghost.user), Some("I can't talk here")).await;
            report(room, "leave a query that could not be entered", &left);
        }
    }
    let refused = Input::QueryRefused { ghost: ghost.clone(), user: user.to_owned(), room: Some(room.to_owned()) };
    tell_core(out, refused).await?;
    Err(NoRoom::Refused)
}

async fn make_query(out: &Arc<Outbox>, ghost: &Arc<Ghost>, user: &UserId) -> Result<OwnedRoomId, NoRoom> {
    let make = || async {
        out.ghosts.ensure(&*out.matrix, ghost, None).await?;
        let request = CreateRoom {
            as_user: Some(ghost.user.clone()),
            invite: vec![user.to_owned()],
            is_direct: true,
            preset: Preset::Trusted,
            mark: Some((QUERY_MARK, user.to_string())),
            ..CreateRoom::default()
        };
        // Each time: whether a room was made whose making nobody answered, only looking tells.
        out.persist(|| async {
            match find_query(out, ghost, user).await? {
                Some(room) => Ok(room),
                None => out.matrix.create_room(request.clone()).await,
            }
        })
        .await
    };
    match out.as_ghost(ghost, make).await {
        Ok(room) => {
            keep_query(out, &room, ghost, user).await.map_err(|Stopped| NoRoom::Stopped)?;
            let opened = Input::QueryOpened { ghost: ghost.clone(), user: user.to_owned(), room: room.clone() };
            tell_core(out, opened).await.map(|()| room)
        }
        Err(MatrixError::Stopped) => Err(NoRoom::Stopped),
        Err(error) => {
            tracing::warn!(%user, ghost.id = %ghost.user, %error, "could not open a room for a private message");
            let refused = Input::QueryRefused { ghost: ghost.clone(), user: user.to_owned(), room: None };
            tell_core(out, refused).await?;
            Err(NoRoom::Refused)
        }
    }
}

/// A room that was made for this query and isn't known: the answer to its making was lost, or we ended before it was kept.
async fn find_query(out: &Outbox, ghost: &Ghost, user: &UserId) -> Result<Option<OwnedRoomId>, MatrixError> {
    let ghost = &*ghost.user;
    for room in out.matrix.joined_rooms(Some(ghost)).await? {
        let creation = out.matrix.state(&room, "m.room.create", "", Some(ghost)).await?;
        if !creation.is_some_and(|creation| is_marked_for(user, &creation)) {
            continue;
        }
        // Its user may have left it, and then wants no more of it; with a third in it, it is no query.
        let members = out.matrix.members(&room, Some(ghost)).await?;
        if members.len() == 2 && members.iter().all(|member| member.user == *user || member.user == *ghost) {
            return Ok(Some(room));
        }
    }
    Ok(None)
}

fn is_marked_for(user: &UserId, creation: &RawValue) -> bool {
    let creation: serde_json::Value = serde_json::from_str(creation.get()).unwrap_or_default();
    creation[QUERY_MARK] == user.as_str()
}

async fn keep_query(out: &Outbox, room: &RoomId, ghost: &Ghost, user: &UserId) -> Result<(), Stopped> {
    let query = store::Query {
        room: room.to_owned(),
        network: ghost.network.clone(),
        user: user.to_owned(),
        nick: ghost.nick.clone(),
        folded: ghost.folded.clone(),
    };
    out.keeper.keep(Fact::Query(query)).await
}

async fn make_control(out: &Arc<Outbox>, user: &UserId) -> Result<OwnedRoomId, NoRoom> {
    let request = CreateRoom {
        name: Some("IRC bridge".into()),
        invite: vec![user.to_owned()],
        is_direct: true,
        preset: Preset::Trusted,
        ..CreateRoom::default()
    };
    let made = async {
        out.bot_exists().await?;
        out.persist(|| out.matrix.create_room(request.clone())).await
    };
    match made.await {
        Ok(room) => {
            let kept = out.keeper.keep(Fact::ControlRoom(user.to_owned(), room.clone())).await;
            kept.map_err(|Stopped| NoRoom::Stopped)?;
            let opened = Input::ControlOpened { user: user.to_owned(), room: room.clone() };
            tell_core(out, opened).await.map(|()| room)
        }
        Err(MatrixError::Stopped) => Err(NoRoom::Stopped),
        Err(error) => {
            tracing::warn!(%user, %error, "could not open a control room");
            tell_core(out, Input::ControlRefused { user: user.to_owned() }).await?;
            Err(NoRoom::Refused)
        }
    }
}
