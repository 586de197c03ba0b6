//! Ranks on IRC: what power they are worth in a channel's rooms (R54).
//!
//! A room may have several channels, and somebody several ranks: the highest counts.

use std::collections::HashMap;

use ruma::{OwnedUserId, RoomId, UserId};

use super::{
    directory::{ChannelRef, Room},
    dispatch::Core,
    people::Person,
};
use crate::model::LinkId;

impl Core {
    /// Everybody's ranks in a channel are known anew.
    pub(super) fn ranks_known(&self, key: &ChannelRef) {
        for room in self.rooms_with(key) {
            let mut ranks: HashMap<OwnedUserId, i64> = HashMap::new();
            for channel in &room.channels {
                let Some(state) = self.directory.channels.get(channel) else { continue };
                let ranked = state.roster.iter().filter(|(_, person)| !person.ranks.is_empty());
                for (_, person) in ranked {
                    let Some(user) = self.matrix_user(channel, person).filter(|user| room.has(user, person)) else {
                        continue;
                    };
                    let level = ranks.entry(user).or_default();
                    *level = (*level).max(self.worth(channel, person));
                }
            }
            ranks.retain(|_, level| *level > 0);
            room.lane.ranks(ranks);
        }
    }

    /// Somebody's ranks in a channel have changed, or they have left with them.
    pub(super) fn rank_changed(&self, key: &ChannelRef, person: &Person) {
        for room in self.rooms_with(key) {
            if let Some(user) = self.matrix_user(key, person) {
                self.rank_in(room, user);
            }
        }
    }

    /// A Matrix user has come into a room, where their puppet may have ranks already, or left it.
    pub(super) fn rank_of_member(&self, room: &RoomId, user: &UserId) {
        if let Some(room) = self.directory.rooms.get(room) {
            self.rank_in(room, user.to_owned());
        }
    }

    /// Tells a room what somebody's ranks are worth, over all of its channels.
    fn rank_in(&self, room: &Room, user: OwnedUserId) {
        let worth = room.channels.iter().filter_map(|channel| {
            let person = self.person(channel, &user).filter(|person| room.has(&user, person))?;
            Some(self.worth(channel, person))
        });
        let level = worth.max().unwrap_or(0);
        room.lane.rank(user, level);
    }

    fn rooms_with(&self, key: &ChannelRef) -> impl Iterator<Item = &Room> {
        let rooms = self.directory.channels.get(key).into_iter().flat_map(|channel| &channel.rooms);
        rooms.filter_map(|room| self.directory.rooms.get(room))
    }

    fn worth(&self, key: &ChannelRef, person: &Person) -> i64 {
        self.networks.get(&key.0).map_or(0, |network| network.config.ranks.level(&person.ranks))
    }

    /// Who on Matrix somebody in a channel is: a ghost, or the user of a puppet.
    fn matrix_user(&self, key: &ChannelRef, person: &Person) -> Option<OwnedUserId> {
        match &person.ours {
            Some(link) => link.user().map(ToOwned::to_owned),
            None => Some(self.networks.get(&key.0)?.ghost_of(&person.source)?.user.clone()),
        }
    }

    /// Who in a channel somebody on Matrix is.
    fn person(&self, key: &ChannelRef, user: &UserId) -> Option<&Person> {
        let (network, channel) = (self.networks.get(&key.0)?, self.directory.channels.get(key)?);
        match network.nick_of(user) {
            Some(nick) => channel.roster.get(&nick).filter(|person| person.ours.is_none()),
            None => channel.roster.link(&LinkId::puppet(network.id.clone(), user.to_owned())),
        }
    }
}

impl Room {
    /// Whether somebody in a channel of the room may have power in it: a puppet's user only while they are there, too.
    fn has(&self, user: &UserId, person: &Person) -> bool {
        person.ours.is_none() || self.members.contains_key(user)
    }
}
