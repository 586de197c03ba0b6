//! The end of a portal: everybody of ours leaves both sides, what was set for it is taken back, and nothing comes again.
//!
//! It is stored before anything leaves, so that a restart goes on with it; a plumb of the configuration stays remembered
//! as over, as it would be begun anew.

use ruma::{OwnedRoomId, RoomId};

use super::{
    directory::ChannelRef,
    dispatch::Core,
    keeper::Fact,
    outbox::{Destination, Farewell, Job},
};
use crate::{
    model::{IrcAction, LinkId},
    store::{Portal, PortalKind, Standing},
};

impl Core {
    /// Ends a channel's bridge to all of its rooms, which are told so in these words; `reason` is what is said on leaving.
    pub(super) async fn end_portal(&mut self, key: &ChannelRef, words: &str, reason: &str) {
        let Some((channel, rooms)) = self.directory.remove_channel(key) else { return };
        tracing::info!(network = %key.0, portal.channel = channel.name, words, "a portal ends");
        for (id, room) in rooms {
            let kind = if room.follows_topic { PortalKind::Joined } else { PortalKind::Agreed };
            let portal = Portal {
                room: id.clone(),
                network: key.0.clone(),
                channel: channel.name.clone(),
                folded: key.1.clone(),
                key: None,
                kind,
                standing: Standing::Closing,
                consent: None,
            };
            self.keeper.note(Fact::Portal(portal.clone()));
            room.lane.push(Job::Notice { text: words.to_owned(), txn: format!("fbe{:032x}", rand::random::<u128>()) });
            room.lane.end(self.farewell(key, reason));
            self.closing.insert(id, portal);
        }
        let reason = Some(reason.to_owned());
        let wanting = self
            .puppets
            .links
            .iter()
            .filter(|(link, puppet)| *link.network() == key.0 && puppet.wanted.contains_key(&key.1));
        let wanting: Vec<LinkId> = wanting.map(|(link, _)| link.clone()).collect();
        for link in wanting {
            self.leave_channel(&link, &key.1, reason.clone()).await;
        }
        let command = self.delivery.command();
        let part = IrcAction::Part { channel: channel.name, reason };
        self.act(&LinkId::bot(key.0.clone()), command, part).await;
    }

    /// Goes on with the end of a portal that the last run has begun.
    pub(super) fn go_on_closing(&mut self, portal: Portal) {
        let Some(network) = self.networks.get(&portal.network) else { return };
        let key = (portal.network.clone(), network.fold(&portal.channel));
        let lane = self.outbox.lane(Destination::Leaving(portal.room.clone()));
        lane.end(self.farewell(&key, "The bridge to IRC has ended"));
        self.closing.insert(portal.room.clone(), portal);
    }

    fn farewell(&self, key: &ChannelRef, reason: &str) -> Farewell {
        let alias = self.networks.get(&key.0).and_then(|network| network.alias_of(&key.1));
        Farewell { alias, reason: reason.to_owned() }
    }

    /// All of ours have left a room.
    pub(super) fn on_room_left(&mut self, room: &RoomId) {
        let Some(portal) = self.closing.remove(room) else { return };
        self.keeper.note(if self.is_configured(&portal) {
            Fact::Portal(Portal { standing: Standing::Over, ..portal })
        } else {
            Fact::PortalIsOver(portal.room, portal.network, portal.folded)
        });
    }

    /// Whether the configuration would begin such a portal.
    fn is_configured(&self, portal: &Portal) -> bool {
        let Some(network) = self.networks.get(&portal.network) else { return false };
        let folded = network.fold(&portal.channel);
        network.config.plumbs.iter().any(|plumb| network.fold(&plumb.channel) == folded)
    }

    /// The bot is in a room that is nothing (yet): whoever may can have it plumbed.
    pub(super) fn put_guest(&mut self, room: OwnedRoomId) {
        if !self.closing.contains_key(&room) && !self.directory.is_known(&room) {
            let lane = self.outbox.lane(Destination::Control(room.clone()));
            self.directory.guests.insert(room, lane);
        }
    }
}
