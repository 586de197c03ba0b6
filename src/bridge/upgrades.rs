//! Rooms that are replaced by others (R91).
//!
//! Whoever may put up a tombstone in a room says where it goes on. That is believed only if the new room says where it
//! comes from: else anybody with power for a moment could take a channel over. The event that it may name besides isn't
//! compared, as homeservers name different ones. A room is looked at whenever the bot comes in, too: the configuration
//! may name one that was replaced long ago.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::future::join_all;
use ruma::{OwnedRoomId, OwnedServerName, OwnedUserId, RoomId};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::{
    directory::{ChannelRef, RoomKind},
    dispatch::{Core, Input},
    event::Event,
    keeper::Fact,
    lookups::name_room,
    outbox::Outbox,
};
use crate::matrix::MatrixError;

/// How long a room's people may take to follow before their puppets leave the channel.
const FOLLOWING: Duration = Duration::from_hours(1);

/// What came of the search for the room in which another goes on.
pub(crate) enum Upgrade {
    /// There is one, and the bot is in it.
    Found(OwnedRoomId),
    /// The bot isn't let into it.
    Refused(OwnedRoomId),
}

impl Core {
    /// Somebody says that a room goes on elsewhere.
    pub(super) fn on_tombstone(&self, event: &Event<'_>) {
        if matches!(self.directory.kind(&event.room_id), RoomKind::Portal(_)) {
            self.look_for_upgrade(&event.room_id, Some(event.sender.server_name().to_owned()));
        }
    }

    /// The bot is invited to a room that may be one of ours in its new form: whether that is so.
    pub(super) fn is_upgrade(&self, room: &RoomId) -> bool {
        let old = self.upgrading.get(room);
        if let Some(old) = old {
            self.look_for_upgrade(old, None);
        }
        old.is_some()
    }

    /// Looks where a room goes on, if it does.
    pub(super) fn look_for_upgrade(&self, room: &RoomId, via: Option<OwnedServerName>) {
        let (outbox, input, room) = (self.outbox.clone(), self.input.clone(), room.to_owned());
        tokio::spawn(async move {
            match successor(&outbox, &room, via).await {
                Ok(None) | Err(MatrixError::Stopped) => {}
                Ok(Some(upgrade)) => drop(input.send(Input::Upgrade { old: room, upgrade }).await),
                Err(error) => tracing::warn!(portal.room = %room, %error, "could not look where a room goes on"),
            }
        });
    }

    /// A room goes on in another: all that it had moves there.
    pub(super) async fn on_upgrade(&mut self, old: &RoomId, upgrade: Upgrade) {
        let new = match upgrade {
            Upgrade::Found(new) => new,
            Upgrade::Refused(new) => {
                if self.upgrading.insert(new.clone(), old.to_owned()).is_none() {
                    tracing::warn!(portal.room = %old, %new, "a room goes on in another that refuses the bridge's bot: invite it");
                    // It may have been, before we knew what the invitation was about.
                    self.look_for_upgrade(old, None);
                }
                return;
            }
        };
        self.upgrading.remove(&new);
        let Some(room) = self.directory.rooms.get(old) else { return };
        tracing::info!(portal.room = %old, %new, "a room goes on in another, and so do its portals");
        let (channels, is_made, strict) = (room.channels.clone(), room.follows_topic, room.readers.is_some());
        for key in &channels {
            self.hide_bridge(old, key);
        }
        let outbox = self.outbox.clone();
        let followers = self.directory.move_room(old, &new, |room| outbox.portal_lane(room, strict));
        self.keeper.note(Fact::RoomMoved(old.to_owned(), new.clone()));
        if let Some(members) = self.directory.move_members(old, &new) {
            self.keeper.note(Fact::Members(old.to_owned(), None));
            self.keeper.note(Fact::Members(new.clone(), Some(members)));
        }
        for key in &channels {
            self.show_bridge(&new, key);
            if is_made {
                self.move_alias(old, &new, key);
            }
        }
        self.reside(&new, false);
        self.readers_known(&new);
        self.let_through(&new).await;
        if !followers.is_empty() {
            let input = self.input.clone();
            tokio::spawn(async move {
                tokio::time::sleep(FOLLOWING).await;
                let _ = input.send(Input::FollowingOver { room: new, users: followers }).await;
            });
        }
    }

    /// Those of a room's people who haven't followed into the new one by now don't.
    pub(super) async fn on_following_over(&mut self, room: &RoomId, users: HashSet<OwnedUserId>) {
        let Some(room) = self.directory.rooms.get_mut(room) else { return };
        let gone: Vec<OwnedUserId> = users.into_iter().filter(|user| room.followers.remove(user)).collect();
        let channels = room.channels.clone();
        for user in gone {
            self.leave_channels(&channels, &user, None).await;
        }
    }

    /// Lets a channel's alias lead to the new room, if it led to the old one.
    fn move_alias(&self, old: &RoomId, new: &RoomId, key: &ChannelRef) {
        let Some(alias) = self.networks.get(&key.0).and_then(|network| network.alias_of(&key.1)) else { return };
        let (outbox, old, new) = (self.outbox.clone(), old.to_owned(), new.to_owned());
        tokio::spawn(async move {
            let moved = async {
                let matrix = &outbox.matrix;
                let led = outbox.persist(|| matrix.resolve_alias(&alias)).await?;
                if led.as_ref() == Some(&old) {
                    outbox.persist(|| matrix.remove_alias(&alias)).await?;
                    outbox.persist(|| matrix.put_alias(&alias, &new)).await?;
                }
                // The homeserver may have moved it itself.
                if led.is_some_and(|led| led == old || led == new) {
                    name_room(&outbox, &new, &alias).await;
                }
                Ok::<_, MatrixError>(())
            };
            if let Err(error) = moved.await {
                tracing::warn!(portal.room = %new, %alias, %error, "could not let an alias lead to the new room");
            }
        });
    }
}

/// Tells the dispatcher where these rooms go on, so that it knows them before it is told that all rooms are known.
pub(super) async fn find_upgrades(outbox: &Arc<Outbox>, input: &mpsc::Sender<Input>, rooms: &[OwnedRoomId]) {
    let follow = async |room: &OwnedRoomId| {
        let mut old = room.clone();
        while let Ok(Some(Upgrade::Found(new))) = successor(outbox, &old, None).await {
            let upgrade = Upgrade::Found(new.clone());
            let _ = input.send(Input::Upgrade { old, upgrade }).await;
            old = new;
        }
    };
    join_all(rooms.iter().map(follow)).await;
}

/// Where a room goes on, if both ends say so.
async fn successor(
    outbox: &Arc<Outbox>,
    old: &RoomId,
    via: Option<OwnedServerName>,
) -> Result<Option<Upgrade>, MatrixError> {
    let matrix = &outbox.noise;
    // As the room has it: what was sent may not have been allowed.
    let tombstone = outbox.persist(|| matrix.state(old, "m.room.tombstone", "", None)).await?;
    let Some(Tombstone { replacement_room: new }) = read(tombstone.as_deref()) else { return Ok(None) };
    match outbox.persist(|| matrix.join_via(&new, via.as_deref())).await {
        Ok(()) => {}
        Err(MatrixError::Stopped) => return Err(MatrixError::Stopped),
        Err(_) => return Ok(Some(Upgrade::Refused(new))),
    }
    let creation = outbox.persist(|| matrix.state(&new, "m.room.create", "", None)).await?;
    let comes_from = read(creation.as_deref()).map(|Creation { predecessor }| predecessor.room_id);
    if comes_from.as_deref() == Some(old) {
        return Ok(Some(Upgrade::Found(new)));
    }
    tracing::warn!(portal.room = %old, %new, "a room says that it goes on in another, which doesn't say so: it isn't followed");
    outbox.persist(|| matrix.leave(&new, None, None)).await?;
    Ok(None)
}

#[derive(Deserialize)]
struct Tombstone {
    replacement_room: OwnedRoomId,
}

#[derive(Deserialize)]
struct Creation {
    predecessor: Predecessor,
}

#[derive(Deserialize)]
struct Predecessor {
    room_id: OwnedRoomId,
}

fn read<T: DeserializeOwned>(content: Option<&RawValue>) -> Option<T> {
    serde_json::from_str(content?.get()).ok()
}
