//! The end of a portal: everybody of ours leaves both sides, what was set for it is taken back, and nothing comes again.
//!
//! It is stored before anything leaves, so that a restart goes on with it; a plumb of the configuration stays remembered
//! as over, as it would be begun anew.

use ruma::{OwnedRoomId, RoomId};

use super::{
    directory::{ChannelRef, Room},
    dispatch::{Core, Input},
    keeper::Fact,
    outbox::{Destination, Farewell, Job},
};
use crate::{
    model::{IrcAction, LinkId},
    store::{OptOut, Portal, PortalKind, Standing},
};

/// How a channel's bridge ends.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(super) key: ChannelRef,
    /// What its rooms are told.
    pub(super) words: String,
    /// What is said on leaving.
    pub(super) reason: String,
    /// The operator on IRC who has ended it, and what they are told.
    pub(super) operator: Option<(String, String)>,
    /// That there is to be no other.
    pub(super) opt_out: Option<OptOut>,
}

impl Core {
    /// Ends a channel's bridge to all of its rooms, as soon as that is stored.
    pub(super) fn end_portal(&self, ending: Ending) {
        let facts = self
            .closing_portals(&ending.key)
            .into_iter()
            .map(Fact::Portal)
            .chain(ending.opt_out.clone().map(Fact::OptedOut));
        let facts: Vec<Fact> = facts.collect();
        let (keeper, input) = (self.keeper.clone(), self.input.clone());
        tokio::spawn(async move {
            for fact in facts {
                if keeper.keep(fact).await.is_err() {
                    // Nobody has been told anything.
                    return;
                }
            }
            let _ = input.send(Input::PortalEnds(ending)).await;
        });
    }

    /// A channel's portals, as they are stored while they end.
    fn closing_portals(&self, key: &ChannelRef) -> Vec<Portal> {
        let Some(channel) = self.directory.channels.get(key) else { return Vec::new() };
        let rooms = channel.rooms.iter().filter_map(|id| self.directory.rooms.get(id).map(|room| (id, room)));
        let portal = |(id, room): (&OwnedRoomId, &Room)| Portal {
            room: id.clone(),
            network: key.0.clone(),
            channel: channel.name.clone(),
            folded: key.1.clone(),
            key: None,
            kind: if room.follows_topic { PortalKind::Joined } else { PortalKind::Agreed },
            standing: Standing::Closing,
            consent: None,
        };
        rooms.map(portal).collect()
    }

    /// A bridge's end is stored: everybody leaves.
    pub(super) async fn on_portal_ends(&mut self, ending: Ending) {
        let Ending { key, words, reason, operator, .. } = ending;
        if let Some((nick, text)) = operator {
            self.tell_on_irc(&key.0, &nick, vec![text]).await;
        }
        let portals = self.closing_portals(&key);
        let Some((channel, rooms)) = self.directory.remove_channel(&key) else { return };
        tracing::info!(network = %key.0, portal.channel = channel.name, words, "a portal ends");
        self.closing.extend(portals.into_iter().map(|portal| (portal.room.clone(), portal)));
        for (_, room) in rooms {
            room.lane.push(Job::Notice { text: words.clone(), txn: format!("fbe{:032x}", rand::random::<u128>()) });
            room.lane.end(self.farewell(&key, &reason));
        }
        let reason = Some(reason);
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
