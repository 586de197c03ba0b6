//! Who and what there is: channels, rooms, queries and control rooms, and the way from each to the others.
//!
//! Owned by the dispatcher; nothing else changes it. A *portal* is a pair of a room and a channel: a channel may
//! have several rooms and a room several channels.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};

use super::{outbox::Lane, witnesses::Witnesses};
use crate::model::{CaseMapping, Folded, LinkId, NetworkId, Source};

/// Names a channel.
pub(super) type ChannelRef = (NetworkId, Folded);
/// Names a query: a Matrix user's talk with a nick.
pub(super) type QueryRef = (NetworkId, OwnedUserId, Folded);

/// A bridged channel.
#[derive(Debug)]
pub(super) struct Channel {
    /// As people write it.
    pub(super) name: String,
    pub(super) key: Option<String>,
    pub(super) rooms: Vec<OwnedRoomId>,
    /// Our links that are in it, in the order in which they came.
    pub(super) present: Vec<LinkId>,
    pub(super) observer: Option<LinkId>,
    /// Who has told which line, where several links tell.
    pub(super) witnesses: Witnesses,
    /// Everyone else in it, as the observer sees it.
    pub(super) roster: HashMap<Folded, Source>,
    pub(super) topic: Option<String>,
}

/// A room with portals.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) lane: Lane,
    pub(super) channels: Vec<ChannelRef>,
    /// Matrix users in it that aren't ours, with their display names.
    pub(super) members: HashMap<OwnedUserId, Option<String>>,
    /// Whether the channel's topic becomes the room's at once; in a plumbed room only when it changes.
    pub(super) follows_topic: bool,
}

/// A talk between a Matrix user and a nick.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) lane: Lane,
    pub(super) nick: String,
    /// `None` while the room is being made.
    pub(super) room: Option<OwnedRoomId>,
}

/// What a room is to us.
pub(super) enum RoomKind<'a> {
    Portal(&'a Room),
    Query(&'a QueryRef),
    Control(&'a OwnedUserId),
    Unknown,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Directory {
    pub(super) channels: HashMap<ChannelRef, Channel>,
    pub(super) rooms: HashMap<OwnedRoomId, Room>,
    pub(super) queries: HashMap<QueryRef, Query>,
    query_rooms: HashMap<OwnedRoomId, QueryRef>,
    controls: HashMap<OwnedUserId, Lane>,
    control_rooms: HashMap<OwnedRoomId, OwnedUserId>,
}

impl Directory {
    /// What `room` is.
    pub(super) fn kind(&self, room: &RoomId) -> RoomKind<'_> {
        if let Some(portal) = self.rooms.get(room) {
            RoomKind::Portal(portal)
        } else if let Some(query) = self.query_rooms.get(room) {
            RoomKind::Query(query)
        } else if let Some(user) = self.control_rooms.get(room) {
            RoomKind::Control(user)
        } else {
            RoomKind::Unknown
        }
    }

    /// Adds a portal; the room's lane is made by `lane` if the room is new.
    pub(super) fn add_portal(
        &mut self,
        room: OwnedRoomId,
        channel: &ChannelRef,
        name: String,
        key: Option<String>,
        follows_topic: bool,
        lane: impl FnOnce(&RoomId) -> Lane,
    ) {
        let entry = self.channels.entry(channel.clone()).or_insert_with(|| Channel {
            name,
            key: None,
            rooms: Vec::new(),
            present: Vec::new(),
            observer: None,
            witnesses: Witnesses::default(),
            roster: HashMap::new(),
            topic: None,
        });
        entry.key = key.or(entry.key.take());
        if !entry.rooms.contains(&room) {
            entry.rooms.push(room.clone());
        }
        let portal = self.rooms.entry(room).or_insert_with_key(|room| Room {
            lane: lane(room),
            channels: Vec::new(),
            members: HashMap::new(),
            follows_topic,
        });
        if !portal.channels.contains(channel) {
            portal.channels.push(channel.clone());
        }
    }

    /// Adds a query, or gives it its room. An older room of the same query is forgotten and given back.
    pub(super) fn put_query(&mut self, key: QueryRef, query: Query) -> Option<Query> {
        if let Some(room) = &query.room {
            self.query_rooms.insert(room.clone(), key.clone());
        }
        let new_room = query.room.clone();
        let old = self.queries.insert(key, query)?;
        let replaced = old.room.as_ref().is_some_and(|room| Some(room) != new_room.as_ref());
        if let Some(room) = old.room.as_ref().filter(|_| replaced) {
            self.query_rooms.remove(room);
        }
        replaced.then_some(old)
    }

    /// Forgets a query.
    pub(super) fn remove_query(&mut self, key: &QueryRef) -> Option<Query> {
        let query = self.queries.remove(key)?;
        if let Some(room) = &query.room {
            self.query_rooms.remove(room);
        }
        Some(query)
    }

    /// Whether `user` talks with anybody on `network`.
    pub(super) fn has_query(&self, network: &NetworkId, user: &UserId) -> bool {
        self.queries.keys().any(|(n, u, _)| n == network && u == user)
    }

    /// The user's control room.
    pub(super) fn control(&self, user: &UserId) -> Option<&Lane> {
        self.controls.get(user)
    }

    /// Makes a room (not made yet if `None`) the user's control room.
    pub(super) fn put_control(&mut self, user: OwnedUserId, room: Option<OwnedRoomId>, lane: Lane) {
        self.control_rooms.retain(|_, owner| *owner != user);
        if let Some(room) = room {
            self.control_rooms.insert(room, user.clone());
        }
        self.controls.insert(user, lane);
    }

    /// Forgets the user's control room.
    pub(super) fn remove_control(&mut self, user: &UserId) {
        self.control_rooms.retain(|_, owner| owner != user);
        self.controls.remove(user);
    }

    /// The channels of `network` for which `user` is in a room.
    pub(super) fn channels_of(&self, network: &NetworkId, user: &UserId) -> HashSet<ChannelRef> {
        let rooms = self.rooms.values().filter(|room| room.members.contains_key(user));
        rooms.flat_map(|room| &room.channels).filter(|channel| channel.0 == *network).cloned().collect()
    }

    /// Renames everything of `network` after its case mapping became known or changed.
    pub(super) fn refold(&mut self, network: &NetworkId, mapping: CaseMapping) {
        let renamed: Vec<(ChannelRef, ChannelRef)> = self
            .channels
            .iter()
            .filter(|((id, _), _)| id == network)
            .map(|(old, channel)| (old.clone(), (network.clone(), mapping.fold(&channel.name))))
            .filter(|(old, new)| old != new)
            .collect();
        for (old, new) in renamed {
            let Some(channel) = self.channels.remove(&old) else { continue };
            for room in &channel.rooms {
                let portals = self.rooms.get_mut(room).into_iter().flat_map(|room| &mut room.channels);
                portals.filter(|portal| **portal == old).for_each(|portal| *portal = new.clone());
            }
            match self.channels.entry(new) {
                Entry::Vacant(place) => drop(place.insert(channel)),
                // Two names that are one channel after all: their rooms share it.
                Entry::Occupied(mut same) => {
                    let rooms = &mut same.get_mut().rooms;
                    rooms.extend(channel.rooms.into_iter().filter(|room| !rooms.contains(room)).collect::<Vec<_>>());
                }
            }
        }
        let queries: Vec<QueryRef> = self.queries.keys().filter(|key| key.0 == *network).cloned().collect();
        for old in queries {
            let Some(query) = self.queries.remove(&old) else { continue };
            let new = (old.0, old.1, mapping.fold(&query.nick));
            if let Some(room) = &query.room {
                self.query_rooms.insert(room.clone(), new.clone());
            }
            self.queries.insert(new, query);
        }
    }
}
