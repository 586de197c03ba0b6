//! What the homeserver asks while its user waits: aliases, ghosts, third-party lookups.
//!
//! Everything is answered from what the dispatcher knows; making a room for an alias asks only the homeserver, so
//! nothing here ever waits for IRC.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use ruma::{
    OwnedRoomId, RoomAliasId, RoomId, UserId,
    api::appservice::thirdparty::get_protocol::v1::{AppserviceProtocol, AppserviceProtocolInstance},
    events::room::history_visibility::HistoryVisibility,
    thirdparty::{FieldType, FieldTypeInit, Location, ProtocolInit, ProtocolInstanceInit, User},
};
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{mpsc, oneshot};

use super::{
    directory::ChannelRef,
    dispatch::{Core, Input},
    keeper::Fact,
    network::Network,
    outbox::Outbox,
};
use crate::{
    matrix::{CreateRoom, MatrixError, Preset, appservice::Queries},
    model::{Folded, NetworkId},
    store::{Portal, PortalKind, Standing},
    translate,
};

/// How long a ghost that was asked for may take; whoever still wants it asks again.
const REGISTERING: Duration = Duration::from_mins(1);

/// A third-party lookup, for the dispatcher to answer.
pub(crate) enum Lookup {
    /// The networks there are.
    Networks(oneshot::Sender<Vec<(NetworkId, String)>>),
    /// The aliases of a channel, on one network or on all.
    Channel { network: Option<String>, channel: String, answer: oneshot::Sender<Vec<Location>> },
    /// The channel of an alias.
    Alias { alias: ruma::OwnedRoomAliasId, answer: oneshot::Sender<Option<Location>> },
    /// The ghosts of a nick, on one network or on all.
    Nick { network: Option<String>, nick: String, answer: oneshot::Sender<Vec<User>> },
    /// The nick of a ghost.
    Ghost { user: ruma::OwnedUserId, answer: oneshot::Sender<Option<User>> },
}

/// Answers the homeserver through the dispatcher.
pub(super) struct Lookups {
    pub(super) input: mpsc::Sender<Input>,
    pub(super) outbox: Arc<Outbox>,
}

impl Lookups {
    /// Asks the dispatcher; `None` if it is gone.
    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Input) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.input.send(question(answer)).await.ok()?;
        answered.await.ok()
    }
}

#[async_trait]
impl Queries for Lookups {
    async fn user(&self, user: &UserId) -> bool {
        let ghost = self.ask(|answer| Input::User { user: user.to_owned(), answer }).await.flatten();
        let Some(ghost) = ghost else { return false };
        let outbox = self.outbox.clone();
        // On its own: if it takes longer than the homeserver's patience, the next query finds it done.
        let ensured = tokio::spawn(async move {
            let ensured = outbox.ghosts.ensure(&*outbox.matrix, &ghost, None);
            matches!(tokio::time::timeout(REGISTERING, ensured).await, Ok(Ok(())))
        });
        ensured.await.unwrap_or(false)
    }

    async fn room(&self, alias: &RoomAliasId) -> bool {
        self.ask(|answer| Input::Alias { alias: alias.to_owned(), answer }).await.unwrap_or(false)
    }

    async fn protocol(&self, protocol: &str) -> Option<AppserviceProtocol> {
        if protocol != "irc" {
            return None;
        }
        let networks = self.ask(|answer| Input::Lookup(Lookup::Networks(answer))).await?;
        let field = |regexp: &str, placeholder: &str| {
            FieldType::from(FieldTypeInit { regexp: regexp.into(), placeholder: placeholder.into() })
        };
        let protocol = ProtocolInit {
            user_fields: vec!["network".into(), "nick".into()],
            location_fields: vec!["network".into(), "channel".into()],
            icon: String::new(),
            field_types: BTreeMap::from([
                ("network".into(), field("[a-z0-9]+", "libera")),
                ("nick".into(), field("[^\\s]+", "nick")),
                ("channel".into(), field("[#&][^\\s,]+", "#channel")),
            ]),
            instances: networks.into_iter().map(|(id, name)| instance(&id, name)).collect(),
        };
        Some(protocol.into())
    }

    async fn locations(&self, protocol: &str, fields: &BTreeMap<String, String>) -> Vec<Location> {
        let (Some(channel), "irc") = (fields.get("channel").cloned(), protocol) else { return Vec::new() };
        let network = fields.get("network").cloned();
        let found = self.ask(|answer| Input::Lookup(Lookup::Channel { network, channel, answer })).await;
        found.unwrap_or_default()
    }

    async fn locations_by_alias(&self, alias: &RoomAliasId) -> Vec<Location> {
        let alias = alias.to_owned();
        let found = self.ask(|answer| Input::Lookup(Lookup::Alias { alias, answer })).await;
        found.flatten().into_iter().collect()
    }

    async fn users(&self, protocol: &str, fields: &BTreeMap<String, String>) -> Vec<User> {
        let (Some(nick), "irc") = (fields.get("nick").cloned(), protocol) else { return Vec::new() };
        let network = fields.get("network").cloned();
        let found = self.ask(|answer| Input::Lookup(Lookup::Nick { network, nick, answer })).await;
        found.unwrap_or_default()
    }

    async fn users_by_id(&self, user: &UserId) -> Vec<User> {
        let user = user.to_owned();
        let found = self.ask(|answer| Input::Lookup(Lookup::Ghost { user, answer })).await;
        found.flatten().into_iter().collect()
    }
}

fn instance(id: &NetworkId, name: String) -> AppserviceProtocolInstance {
    let fields = BTreeMap::from([("network".to_owned(), id.to_string())]);
    ProtocolInstanceInit { desc: name, fields, network_id: id.to_string() }.into()
}

/// What people may do in a room that is made for a channel: they set the topic if they may do that on IRC, which says so.
///
/// Homeservers replace their own `events` by this, so what it has by default is in it too.
fn power_levels() -> Box<RawValue> {
    let levels = serde_json::json!({
        "events": {
            "m.room.topic": 0,
            "m.room.name": 50,
            "m.room.avatar": 50,
            "m.room.canonical_alias": 50,
            "m.room.encryption": 100,
            "m.room.history_visibility": 100,
            "m.room.power_levels": 100,
            "m.room.server_acl": 100,
            "m.room.tombstone": 100,
            "m.call.invite": 50,
        },
    });
    to_raw_value(&levels).expect("a JSON value has a JSON text")
}

/// Makes the room of a channel, and keeps it. It has no alias yet: homeservers let an alias lead to a room before anybody
/// may join it.
async fn make_room(outbox: &Outbox, key: &ChannelRef) -> Result<Portal, MatrixError> {
    let request = CreateRoom {
        name: Some(key.1.to_string()),
        preset: Preset::Public,
        // R19: who comes later doesn't read what was said before.
        history_visibility: Some(HistoryVisibility::Joined),
        power_levels: Some(power_levels()),
        ..CreateRoom::default()
    };
    outbox.bot_exists().await?;
    let portal = joined(key, outbox.matrix.create_room(request).await?);
    // The room is there: it is bridged now, and found again by its alias should we end before it is stored.
    outbox.keeper.note(Fact::Portal(portal.clone()));
    Ok(portal)
}

/// Says in a room of ours under which alias it is known.
async fn name_room(outbox: &Outbox, room: &RoomId, alias: &RoomAliasId) {
    let content = to_raw_value(&serde_json::json!({ "alias": alias })).expect("a JSON value has a JSON text");
    if let Err(error) = outbox.matrix.send_state(room, "m.room.canonical_alias", "", &content, None).await {
        tracing::warn!(portal.room = %room, %error, "could not say in a room what its alias is");
    }
}

/// A portal whose room was made for its channel.
fn joined(key: &ChannelRef, room: OwnedRoomId) -> Portal {
    Portal {
        room,
        network: key.0.clone(),
        channel: key.1.to_string(),
        folded: key.1.clone(),
        key: None,
        kind: PortalKind::Joined,
        standing: Standing::Open,
        consent: None,
    }
}

impl Core {
    /// An alias that leads to no room yet: now it does, if the network's configuration allows it and the name could be
    /// a channel's.
    pub(super) fn on_alias(&mut self, alias: &RoomAliasId, answer: oneshot::Sender<bool>) {
        let Some(key) = self.channel_for_alias(alias) else {
            let _ = answer.send(false);
            return;
        };
        if let Some(others) = self.opening.get_mut(&key) {
            // The room is being made for somebody else.
            return others.push(answer);
        }
        self.opening.insert(key.clone(), vec![answer]);
        let known = self.directory.channels.get(&key).and_then(|channel| channel.rooms.first().cloned());
        // A plumbed room's name is its own people's affair.
        let is_plumbed = |room: &OwnedRoomId| self.directory.rooms.get(room).is_some_and(|room| !room.follows_topic);
        let is_ours = !known.as_ref().is_some_and(is_plumbed);
        let (outbox, input, alias) = (self.outbox.clone(), self.input.clone(), alias.to_owned());
        // On its own: making a room may take longer than the homeserver's patience, and must not be left half done.
        tokio::spawn(async move {
            let mut portal = None;
            let made = async {
                let room = match known {
                    Some(room) => room,
                    None => portal.insert(make_room(&outbox, &key).await?).room.clone(),
                };
                outbox.matrix.put_alias(&alias, &room).await?;
                if is_ours {
                    name_room(&outbox, &room, &alias).await;
                }
                Ok::<_, MatrixError>(())
            };
            let made = made.await;
            if let Err(error) = &made {
                tracing::warn!(portal.channel = %key.1, %error, "could not make a room for an alias");
            }
            let _ = input.send(Input::AliasDone { channel: key, made: made.is_ok(), portal }).await;
        });
    }

    /// The channel whose room may be made for (or is to be found under) this alias.
    fn channel_for_alias(&self, alias: &RoomAliasId) -> Option<ChannelRef> {
        self.networks.values().find_map(|network| {
            let channel = network.channel_of(alias)?;
            let key = (network.id.clone(), channel);
            self.may_have_room(&key).then_some(key)
        })
    }

    /// Whether a channel may have a room made for it, by the configuration and by its operators' word.
    pub(super) fn may_have_room(&self, key: &ChannelRef) -> bool {
        let allowed = |network: &Network| network.config.portals.allows(key.1.as_str(), network.isupport.casemapping);
        self.networks.get(&key.0).is_some_and(allowed) && !self.opted_out.contains(key)
    }

    /// A portal's room was made (or not).
    pub(super) async fn on_alias_done(&mut self, channel: &ChannelRef, made: bool, portal: Option<Portal>) {
        if let Some(portal) = portal {
            self.begin_portal(portal).await;
        }
        for answer in self.opening.remove(channel).into_iter().flatten() {
            // Whoever asked may have stopped waiting, and asks again.
            let _ = answer.send(made);
        }
    }

    /// A room of ours was found that we did not know.
    pub(super) async fn on_room_found(&mut self, room: OwnedRoomId, alias: &RoomAliasId) {
        let Some(key) = self.channel_for_alias(alias) else { return };
        // While it was looked for, it may have been made, or another.
        if self.directory.channels.contains_key(&key) || self.opening.contains_key(&key) {
            return;
        }
        tracing::info!(portal.room = %room, portal.channel = %key.1, "a room that was made for a channel and not kept");
        let portal = joined(&key, room);
        self.keeper.note(Fact::Portal(portal.clone()));
        self.begin_portal(portal).await;
    }

    /// Begins a portal: its room's lane goes in, and the rest follows when it is there.
    pub(super) fn add_portal(&mut self, portal: Portal) {
        let outbox = self.outbox.clone();
        let folded = match self.networks.get(&portal.network) {
            Some(network) => network.fold(&portal.channel),
            None => return,
        };
        let follows_topic = portal.kind == PortalKind::Joined;
        let key = (portal.network, folded);
        let taken = self.directory.channels.get(&key).is_some_and(|channel| !channel.rooms.contains(&portal.room));
        let shared = self.directory.rooms.get(&portal.room).is_some_and(|room| !room.channels.contains(&key));
        if taken || shared {
            tracing::error!(
                portal.room = %portal.room, portal.channel = portal.channel, network = %key.0,
                "left out: the {} is bridged already, and one room with one channel is all that can be bridged so far",
                if taken { "channel" } else { "room" }
            );
            return;
        }
        if let Some(guest) = self.directory.guests.remove(&portal.room) {
            guest.close();
        }
        let lane = |room: &RoomId| outbox.portal_lane(room);
        self.directory.add_portal(portal.room, &key, portal.channel, portal.key, follows_topic, lane);
    }

    pub(super) fn on_lookup(&self, lookup: Lookup) {
        // Whoever asked may have stopped waiting; then nobody needs the answer.
        match lookup {
            Lookup::Networks(answer) => {
                let networks = self.networks.values().map(|network| (network.id.clone(), network.config.name.clone()));
                drop(answer.send(networks.collect()));
            }
            Lookup::Channel { network, channel, answer } => {
                let locations = self.networks_named(network.as_deref());
                let locations = locations.filter_map(|network| self.location_of_channel(network, &channel));
                drop(answer.send(locations.collect()));
            }
            Lookup::Alias { alias, answer } => {
                let location = self.networks.values().find_map(|network| {
                    let channel = network.channel_of(&alias)?;
                    self.location(&network.id, &channel, alias.clone())
                });
                drop(answer.send(location));
            }
            Lookup::Nick { network, nick, answer } => {
                let networks = self.networks_named(network.as_deref());
                let networks = networks.filter(|network| translate::possible_nick(&nick, &network.isupport));
                let ghosts = networks.filter_map(|network| network.ghost(&nick));
                drop(answer.send(ghosts.map(|ghost| person(&ghost)).collect()));
            }
            Lookup::Ghost { user, answer } => {
                drop(answer.send(self.ghost_by_id(&user).map(|ghost| person(&ghost))));
            }
        }
    }

    /// The network of this name; all of them without one.
    fn networks_named(&self, name: Option<&str>) -> impl Iterator<Item = &Network> {
        self.networks.values().filter(move |network| name.is_none_or(|name| network.id.as_str() == name))
    }

    fn location_of_channel(&self, network: &Network, channel: &str) -> Option<Location> {
        let folded = network.fold(channel);
        translate::valid_channel(channel, &network.isupport).then_some(())?;
        self.location(&network.id, &folded, network.alias_of(&folded)?)
    }

    /// A channel's alias, where it leads or would lead to a room that anybody may join (R18).
    fn location(&self, network: &NetworkId, channel: &Folded, alias: ruma::OwnedRoomAliasId) -> Option<Location> {
        self.may_have_room(&(network.clone(), channel.clone())).then(|| {
            let fields = [("network", network.as_str()), ("channel", channel.as_str())];
            let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
            Location::new(alias, "irc".into(), fields.into())
        })
    }
}

fn person(ghost: &super::ghosts::Ghost) -> User {
    let fields = [("network", ghost.network.as_str()), ("nick", &ghost.nick)];
    User::new(ghost.user.clone(), "irc".into(), fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
}
