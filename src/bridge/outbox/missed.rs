//! What was said in a room before one of ours was in it, which the homeserver pushes to nobody.

use std::time::Duration;

use ruma::RoomId;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::{Outbox, entrance::NoRoom};
use crate::{
    bridge::{
        event::{Event, Member},
        ghosts::Ghost,
        intake::keep_events,
        ours::Ours,
    },
    matrix::{MatrixError, Page},
    model::MatrixKey,
    store::NewMatrixEvent,
};

/// Pages of history that are read at the most; what is further back is too old to be passed on anyhow.
const PAGES: usize = 10;
/// How long the history may take to read, with all tries: what was said waits meanwhile, and so does what is said now.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two tries to write down what was found.
const PAUSE: Duration = Duration::from_secs(1);

/// Events in the journal, and why they may not be all.
pub(super) type Missed = (Vec<(MatrixKey, Box<RawValue>)>, Option<String>);

/// What was said since `ghost` was invited, oldest first, in the journal now, and why it may not be all, if so. What was
/// pushed all the same is left out.
pub(super) async fn said_since_invitation(out: &Outbox, room: &RoomId, ghost: &Ghost) -> Result<Missed, NoRoom> {
    let mut said = Vec::new();
    let problem = match timeout(PATIENCE, read_back(out, room, ghost, &mut said)).await {
        Ok(Ok(())) => None,
        Ok(Err(MatrixError::Stopped)) => return Err(NoRoom::Stopped),
        Ok(Err(error)) => Some(error.words().to_owned()),
        Err(_) => Some("the homeserver did not answer in time".to_owned()),
    };
    if let Some(problem) = &problem {
        tracing::warn!(portal.room = %room, problem, "what was said before a ghost came in is not known");
    }
    if said.is_empty() {
        return Ok((Vec::new(), problem));
    }
    said.reverse();
    let mut fresh = Vec::new();
    while let Err(error) = keep_events(&out.journal, room.as_str(), said.clone(), &mut fresh).await {
        tracing::warn!(portal.room = %room, %error, "what was said before a ghost came in can't be kept yet; trying again");
        tokio::time::sleep(PAUSE).await;
    }
    Ok((fresh, problem))
}

/// Reads the room's history from now to the ghost's invitation, newest first.
async fn read_back(
    out: &Outbox,
    room: &RoomId,
    ghost: &Ghost,
    said: &mut Vec<NewMatrixEvent>,
) -> Result<(), MatrixError> {
    let mut before = None;
    for _ in 0..PAGES {
        let page = || out.matrix.history(room, before.as_deref(), Some(&ghost.user));
        let Page { events, before: next } = out.persist(page).await?;
        let was_invited = collect(events, &out.ours, ghost, said);
        before = next;
        if was_invited || before.is_none() {
            break;
        }
    }
    Ok(())
}

/// Takes what was said out of a page, newest first, up to the ghost's invitation; true if that was in the page.
fn collect(events: Vec<Box<RawValue>>, ours: &Ours, ghost: &Ghost, said: &mut Vec<NewMatrixEvent>) -> bool {
    for json in events {
        let Some(event) = Event::read(&json) else { continue };
        match &event.state_key {
            None if ours.is_no_news(&event) => {}
            None => {
                let event_id = Some(event.id.to_string());
                said.push(NewMatrixEvent { event_id, json });
            }
            Some(user) if event.kind == "m.room.member" && *user == ghost.user.as_str() => {
                if event.content::<Member>().is_some_and(|member| member.membership == "invite") {
                    return true;
                }
            }
            Some(_) => {}
        }
    }
    false
}
