//! Commands about channels that one is in, or wants to be in.

use super::{
    super::{delivery::Origin, dispatch::Core},
    parse::{Entry, Kind},
};
use crate::{model::NetworkId, translate};

pub(super) const ENTRIES: &[Entry] = &[Entry {
    name: "join",
    aliases: &[],
    usage: "[network] #channel",
    about: "says where the room of a channel is, which is made when you join it, where the bridge's operator allows that.",
    ours_alone: false,
    kind: Kind::Join,
}];

impl Core {
    /// Says how to come into a channel's room.
    pub(super) fn join_channel(&mut self, origin: &Origin, network: &NetworkId, channel: &str) {
        let Some(network) = self.networks.get(network) else { return };
        let name = network.config.name.clone();
        let key = (network.id.clone(), network.fold(channel));
        let answer = if !translate::valid_channel(channel, &network.isupport) {
            format!("`{channel}` is no name that a channel on {name} could have.")
        } else if !network.config.portals.join_by_alias {
            format!("This bridge makes no rooms on demand for channels on {name}.")
        } else if self.opted_out.contains(&key) {
            format!("The operators of {channel} don't want it to be bridged.")
        } else if !self.may_have_room(&key) {
            format!("This bridge makes no room for {channel} on {name}.")
        } else {
            match network.alias_of(&key.1) {
                Some(alias) => format!("Join {alias}: that is the room of {channel} on {name}."),
                None => format!("{channel} is too long a name for a room's alias."),
            }
        };
        self.answer(origin, "join", answer);
    }
}
