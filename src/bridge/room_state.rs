//! What the bridge says in the state of its rooms: with which channels they are bridged (R92), what their users are called
//! on IRC (R82), and, in those that it made, who may come in and who may know of them (R18).

use ruma::{RoomId, UserId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    channel_modes::Access,
    directory::{ChannelRef, Room, RoomKind},
    dispatch::Core,
    event::Event,
    outbox::{Job, Piece},
};
use crate::{
    model::{IrcAction, LinkId, NetworkId, TextKind},
    translate::{self, BRIDGE_KINDS, FEATURES_KIND, NICK_KIND, matrix_to_irc},
};

impl Core {
    /// Says in a room that it is bridged with a channel.
    pub(super) fn show_bridge(&self, room: &RoomId, key: &ChannelRef) {
        let (Some(room), Some(channel)) = (self.directory.rooms.get(room), self.directory.channels.get(key)) else {
            return;
        };
        let Some(network) = self.networks.get(&key.0) else { return };
        let info = translate::bridge_info(&self.ours.bot, &key.0, &network.config.name, &channel.name);
        say_of_channel(room, &key.0, &channel.name, &info, &translate::room_features(network.max_lines()));
    }

    /// A room is about to be bridged with a channel no more: nothing is left of what the bridge said of it, and a room that was
    /// made for it isn't shown to anybody any more.
    pub(super) fn hide_bridge(&self, room: &RoomId, key: &ChannelRef) {
        let (Some(room), Some(channel)) = (self.directory.rooms.get(room), self.directory.channels.get(key)) else {
            return;
        };
        say_of_channel(room, &key.0, &channel.name, &json!({}), &json!({}));
        if room.channels.iter().all(|channel| channel == key || channel.0 != key.0) {
            for user in room.members.keys() {
                say_nick(room, &key.0, user, None);
            }
        }
        if room.follows_topic && room.channels.iter().all(|channel| channel == key) {
            room.lane.want(Piece::Listing, Value::Bool(false));
        }
    }

    /// A puppet has this nick now, or none: its user's rooms say so.
    pub(super) fn show_nick(&self, link: &LinkId, nick: Option<&str>) {
        let Some(user) = link.user() else { return };
        for room in self.directory.rooms.values().filter(|room| room.members.contains_key(user)) {
            if room.channels.iter().any(|channel| channel.0 == *link.network()) {
                say_nick(room, link.network(), user, nick);
            }
        }
    }

    /// Who may come into a channel, or know of it, may have changed: so may who may come into the rooms made for it.
    pub(super) fn access_changed(&self, key: &ChannelRef) {
        let rooms = self.directory.channels.get(key).into_iter().flat_map(|channel| &channel.rooms);
        for room in rooms {
            self.follow_access(room);
        }
    }

    /// Lets a room that the bridge made be as open as its channels. Before all of them are known, it isn't shown to anybody.
    pub(super) fn follow_access(&self, room: &RoomId) {
        let Some(room) = self.directory.rooms.get(room).filter(|room| room.follows_topic) else { return };
        let Some(network) = room.channels.first().and_then(|key| self.networks.get(&key.0)) else { return };
        let portals = &network.config.portals;
        let access = room.channels.iter().map(|key| self.directory.channels.get(key)?.modes.access());
        let access: Option<Vec<Access>> = access.collect();
        let hidden = access.as_ref().is_none_or(|all| all.iter().any(|access| access.hidden));
        room.lane.want(Piece::Listing, Value::Bool(portals.listed && !hidden));
        if let Some(access) = access {
            // Into a strict room nobody comes unseen, however open its channel is.
            let closed = room.readers.is_some() || access.iter().any(|access| access.closed);
            let rule = closed.then_some(portals.closed_join_rule.as_str());
            room.lane.want(Piece::JoinRule, rule.map_or(Value::Null, Value::from));
        }
    }

    /// Somebody has changed who may read what was said in a room: the room's channels hear of it where that is more people
    /// than before (R19).
    pub(super) async fn on_history_visibility(&mut self, event: &Event<'_>) {
        let RoomKind::Portal(room) = self.directory.kind(&event.room_id) else { return };
        let Some(now) = event.content::<Visibility>() else { return };
        let before = event.before::<Visibility>().map(|before| before.history_visibility);
        let notice = matrix_to_irc::history_notice(before.as_deref(), &now.history_visibility, event.sender.as_str());
        let Some(notice) = notice else { return };
        for key in room.channels.clone() {
            let (Some(network), Some(channel)) = (self.networks.get(&key.0), self.directory.channels.get(&key)) else {
                continue;
            };
            if !network.config.portals.announce_history {
                continue;
            }
            let action = IrcAction::Say {
                target: channel.name.clone(),
                kind: TextKind::Notice,
                lines: vec![notice.clone()],
                expires: self.too_old_after(network, event),
                journal: None,
            };
            let (bot, command) = (network.bot.clone(), self.delivery.command());
            self.act(&bot, command, action).await;
        }
    }

    /// Whether a Matrix user may be in a room: for whom rooms are made on demand is the operator's choice.
    pub(super) fn may_be_in(&self, room: &Room, user: &UserId) -> bool {
        let mut networks = room.channels.iter().filter_map(|key| self.networks.get(&key.0));
        !room.follows_topic || networks.all(|network| network.config.portals.allow_user(user))
    }

    /// Shows a user out of a room that they may not be in; whether that is so.
    pub(super) fn shown_out(&self, room: &RoomId, user: &UserId) -> bool {
        let Some(room) = self.directory.rooms.get(room).filter(|room| !self.may_be_in(room, user)) else {
            return false;
        };
        room.lane.push(Job::Bar { user: user.to_owned(), reason: "The bridge's operator doesn't let you in here" });
        true
    }

    /// Whether a bridged channel isn't to be known to everybody; `None` while nobody has told.
    pub(super) fn is_hidden(&self, key: &ChannelRef) -> Option<bool> {
        self.directory.channels.get(key)?.modes.access().map(|access| access.hidden)
    }

    /// Somebody is in a room now: it says what they are called, as far as that is known.
    pub(super) fn show_nicks_of(&self, room: &RoomId, user: &UserId) {
        self.say_nicks(room, user, |network| {
            let nick = self.echo.nick(&LinkId::puppet(network.clone(), user.to_owned()))?;
            Some(Some(nick))
        });
    }

    /// Somebody isn't in a room any more.
    pub(super) fn hide_nicks_of(&self, room: &RoomId, user: &UserId) {
        self.say_nicks(room, user, |_| Some(None));
    }

    fn say_nicks<'a>(&self, room: &RoomId, user: &UserId, nick: impl Fn(&NetworkId) -> Option<Option<&'a str>>) {
        let Some(room) = self.directory.rooms.get(room) else { return };
        for (network, _) in &room.channels {
            if let Some(nick) = nick(network) {
                say_nick(room, network, user, nick);
            }
        }
    }
}

/// Who may read what was said in a room.
#[derive(Deserialize)]
struct Visibility {
    history_visibility: String,
}

fn say_nick(room: &Room, network: &NetworkId, user: &UserId, nick: Option<&str>) {
    if let Some(key) = translate::nick_state_key(network, user) {
        room.lane.want(Piece::State { kind: NICK_KIND, key }, translate::nick_state(network, user, nick));
    }
}

fn say_of_channel(room: &Room, network: &NetworkId, channel: &str, bridge: &Value, features: &Value) {
    let Some(key) = translate::channel_state_key(network, channel) else { return };
    for (kind, content) in BRIDGE_KINDS.map(|kind| (kind, bridge)).into_iter().chain([(FEATURES_KIND, features)]) {
        room.lane.want(Piece::State { kind, key: key.clone() }, content.clone());
    }
}
