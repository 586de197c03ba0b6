//! `[[network.ID.plumb]]`: existing rooms that are bridged to channels.

use std::collections::{BTreeMap, BTreeSet};

use ruma::OwnedRoomOrAliasId;

use crate::{
    config::{
        Secret,
        reader::{Section, Source},
        value::{Privacy, SecretOrNone},
    },
    model::{Members, NetworkId},
};

use super::Network;

/// A room and its channel.
#[derive(Debug, Clone)]
pub struct Plumb {
    /// The channel. Required.
    pub channel: String,
    /// The channel's key, a secret; empty if it has none. Default: none.
    pub key: Option<Secret>,
    /// The room's id, or an alias. The bot has to be invited unless anyone may join. Required.
    pub room: OwnedRoomOrAliasId,
    /// Who may read along. Default: as for portals.
    pub privacy: Option<Privacy>,
    /// Which IRC users are in this room. Default: what `portals.members` says.
    pub members: Option<Members>,
}

impl Plumb {
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        let channel = section.key("channel").parse(channel).get();
        let room = section.key("room").get();
        let key = section.key("key").parse(|SecretOrNone(secret)| secret.map(key).transpose()).optional();
        let privacy = section.key("privacy").optional();
        let members = section.key("members").optional();
        Some(Self { channel: channel?, key: key?.flatten(), room: room?, privacy: privacy?, members: members? })
    }
}

/// A room has one channel and a channel one room; the bridge finds further clashes (two aliases of one room) when it
/// looks the rooms up.
pub(super) fn check_apart(networks: &BTreeMap<NetworkId, Network>, source: &Source<'_>) {
    let mut rooms = BTreeSet::new();
    for (id, network) in networks {
        let mut channels = BTreeSet::new();
        for (index, plumb) in network.plumbs.iter().enumerate() {
            let key = |key: &str| format!("network.{id}.plumb[{index}].{key}");
            if !channels.insert(plumb.channel.to_ascii_lowercase()) {
                let message = format!("{} is plumbed twice: a channel may have one room", plumb.channel);
                source.problem(key("channel"), message);
            }
            if !rooms.insert(&plumb.room) {
                source.problem(key("room"), format!("{} is plumbed twice: a room may have one channel", plumb.room));
            }
        }
    }
}

fn channel(name: String) -> Result<String, String> {
    if !name.starts_with(['#', '&', '+', '!']) {
        return Err(format!("`{name}` is no channel: channels begin with #"));
    }
    match name.chars().find(|c| c.is_whitespace() || c.is_control() || *c == ',') {
        Some(c) => {
            Err(format!("{name:?} has {c:?}, which no channel's name may have: write one channel, without blanks"))
        }
        None => Ok(name),
    }
}

fn key(key: Secret) -> Result<Secret, String> {
    match key.expose().chars().find(|c| c.is_whitespace() || c.is_control() || *c == ',') {
        // The key itself is not repeated: it is a password.
        Some(_) => Err("a channel's key has no blanks, commas or control characters".to_owned()),
        None if key.expose().starts_with(':') => Err("a channel's key does not begin with a colon".to_owned()),
        None => Ok(key),
    }
}
