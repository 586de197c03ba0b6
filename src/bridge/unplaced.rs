//! What comes for rooms and channels that aren't known yet, while some rooms are still being looked for: it waits for its
//! portal, and goes through it before anything newer.
//!
//! A plumb may name its room by an alias, and a room that was made may have to be found again: until then the journal's
//! events have no place to go. Bounded by the journal, whose events these are.

use ruma::{OwnedRoomId, UserId};
use serde_json::value::RawValue;

use super::{
    delivery::Origin,
    directory::{ChannelRef, RoomKind},
    dispatch::Core,
    event::Event,
};
use crate::{
    irc::pool::protocol::PoolEvent,
    model::{Failure, MatrixKey, Reason},
    store::Portal,
};

/// What waits for its portal, in order.
#[derive(Default)]
pub(super) struct Unplaced {
    matrix: Vec<(OwnedRoomId, MatrixKey, Box<RawValue>)>,
    irc: Vec<(ChannelRef, PoolEvent)>,
}

impl Core {
    /// Lets an event wait if its room may yet become known; otherwise it is the caller's.
    pub(super) fn waits_for_room(&mut self, key: MatrixKey, event: &Event<'_>, json: &RawValue) -> bool {
        if self.unplaced.is_none() {
            return false;
        }
        match self.directory.kind(&event.room_id) {
            RoomKind::Unknown => {}
            // It may be a plumb's room that goes by an alias; what is meant for the bridge itself doesn't wait for that.
            RoomKind::Guest(_) if self.command_in(event).is_none() => {}
            _ => return false,
        }
        // Who asks us into a room is answered whatever it is.
        if event.state_key.as_deref().is_some_and(|key| UserId::parse(key).is_ok_and(|user| self.ours.includes(&user)))
        {
            return false;
        }
        let waiting = (event.room_id.clone(), key, json.to_owned());
        self.unplaced.as_mut().is_some_and(|unplaced| {
            unplaced.matrix.push(waiting);
            true
        })
    }

    /// Lets a recovered line wait if its channel may yet become known; otherwise gives it back.
    pub(super) fn waits_for_channel(&mut self, channel: &ChannelRef, line: PoolEvent) -> Option<PoolEvent> {
        match &mut self.unplaced {
            Some(unplaced) if !self.directory.channels.contains_key(channel) => {
                unplaced.irc.push((channel.clone(), line));
                None
            }
            _ => Some(line),
        }
    }

    /// Begins a portal, and lets through it what waited for it.
    pub(super) async fn begin_portal(&mut self, portal: Portal) {
        let room = portal.room.clone();
        self.add_portal(portal);
        let Some(unplaced) = &mut self.unplaced else { return };
        let channels = match self.directory.rooms.get(&*room) {
            Some(room) => room.channels.clone(),
            None => return,
        };
        let lines: Vec<_> = unplaced.irc.extract_if(.., |(channel, _)| channels.contains(channel)).collect();
        let events: Vec<_> = unplaced.matrix.extract_if(.., |(of, ..)| *of == room).collect();
        for (_, line) in lines {
            self.on_irc_again(line).await;
        }
        for (_, key, json) in events {
            self.on_matrix(key, &json).await;
        }
    }

    /// The rooms have been looked for; whether `all` there are to find are found. Then nothing waits any longer;
    /// otherwise only what is too old to be sent (R4), and its senders are told.
    pub(super) async fn on_rooms_known(&mut self, all: bool) {
        if all {
            let Unplaced { matrix, irc } = self.unplaced.take().unwrap_or_default();
            for (_, line) in irc {
                self.on_irc_again(line).await;
            }
            for (_, key, json) in matrix {
                self.on_matrix(key, &json).await;
            }
            return;
        }
        let max_age = self.networks.values().map(super::network::Network::max_age).max().unwrap_or_default();
        let now = self.clock.now();
        let Some(unplaced) = &mut self.unplaced else { return };
        let is_old = |(_, _, json): &mut (OwnedRoomId, MatrixKey, Box<RawValue>)| {
            Event::read(json).is_none_or(|event| event.at().saturating_add(max_age) < now)
        };
        let old: Vec<_> = unplaced.matrix.extract_if(.., is_old).collect();
        for (_, key, json) in old {
            match Event::read(&json) {
                // What is said where the bot is a guest was said to others.
                Some(event)
                    if event.state_key.is_none()
                        && !matches!(self.directory.kind(&event.room_id), RoomKind::Guest(_)) =>
                {
                    let origin = Origin::of(key, &event);
                    self.told(&origin, &Failure::certain(Reason::TooOld));
                }
                _ => self.journal.settle_matrix(key).await,
            }
        }
    }
}
