//! What is looked after all the time: that who is in a room is who should be, on both sides.
//!
//! Nothing is thought to be true for ever because it was told once. Each room's members are compared with its channels'
//! rosters from time to time, and each roster is asked for anew, one after the other; the lanes repair what differs.

use std::time::Duration;

use ruma::{OwnedUserId, RoomId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    directory::ChannelRef,
    dispatch::{Core, Input},
};
use crate::{
    model::{IrcAction, LinkId, Millis, NetworkId},
    telemetry::metric,
};

/// How long those stay silent in a room who are only there to speak, before they leave it.
const SILENCE: Duration = Duration::from_mins(10);
/// How often it is looked whether there is something to do.
const TICK: Duration = Duration::from_secs(1);
/// So many times seldomer than a room's members, a channel's roster is asked for.
const ROSTERS: Millis = 10;

/// Tells the dispatcher of each second.
pub(super) async fn tick(input: mpsc::Sender<Input>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
        if input.send(Input::Tick).await.is_err() {
            return;
        }
    }
}

/// How often things are compared.
#[derive(Debug)]
pub(super) struct Reconciler {
    /// Between two looks at a room; none if there are none.
    every: Option<Millis>,
}

impl Reconciler {
    /// A room is looked at every so many seconds; 0: not at all.
    pub(super) fn new(seconds: u32) -> Self {
        Self { every: (seconds > 0).then(|| Millis::from(seconds) * 1000) }
    }
}

/// Whether who is in a room is who should be there.
#[derive(Debug, Default)]
pub(super) struct Accord {
    /// When the homeserver was last asked.
    asked: Millis,
    /// Whether it hasn't answered yet.
    pending: bool,
    /// When the two sides were last seen to agree, or the bot came in; none if it is still out.
    agreed: Option<Millis>,
    /// In how many ghosts they differed then.
    difference: usize,
}

/// Which is the next to be looked at: the one whose look is the longest ago, if that is long enough.
fn next<T>(looks: impl Iterator<Item = (T, Millis)>, now: Millis, every: Millis) -> Option<T> {
    let due = looks.filter(|(_, last)| last.saturating_add(every) <= now);
    due.min_by_key(|(_, last)| *last).map(|(what, _)| what)
}

impl Core {
    /// A second has passed.
    pub(super) async fn on_tick(&mut self) {
        self.let_go_of_lost();
        for room in self.directory.rooms.values() {
            room.lane.silent_for(SILENCE);
        }
        if let Some(every) = self.reconciler.every {
            self.compare_next(every);
            self.ask_for_rosters(every).await;
        }
        self.measure_accord();
    }

    /// The bot is in a room, and it is known who else is.
    pub(super) fn begin_accord(&mut self, room: &RoomId) {
        let now = self.clock.now();
        self.reside(room, false);
        if let Some(room) = self.directory.rooms.get_mut(room) {
            (room.accord.asked, room.accord.agreed) = (now, Some(now));
        }
    }

    /// Compares the room whose turn it is with its channels.
    fn compare_next(&mut self, every: Millis) {
        let now = self.clock.now();
        let rooms =
            self.directory.rooms.iter().filter(|(_, room)| !room.accord.pending && room.accord.agreed.is_some());
        let rooms = rooms.map(|(id, room)| (id, room.accord.asked));
        let Some(id) = next(rooms, now, every).cloned() else { return };
        let Some(room) = self.directory.rooms.get_mut(&id) else { return };
        room.accord.asked = now;
        if room.listing() {
            room.accord.pending = true;
            self.outbox.compare(&id, &room.lane);
        }
    }

    /// The homeserver has said who is in a room.
    pub(super) async fn on_room_compared(&mut self, id: &RoomId, people: Option<Vec<(OwnedUserId, Option<String>)>>) {
        let Some(room) = self.directory.rooms.get_mut(id) else { return };
        room.accord.pending = false;
        let Some(people) = people else { return };
        let people = people.into_iter().filter(|(user, _)| !room.leaves_out(user)).collect();
        let (come, gone) = room.compared(people);
        let channels = room.channels.clone();
        let mut strangers = gone;
        for key in &channels {
            for user in &come {
                if let Err(failure) = self.enter_channel(key, user) {
                    tracing::warn!(%user, network = %key.0, %failure, "a puppet can't come in");
                }
            }
            strangers.extend(self.strangers(key));
        }
        for user in strangers {
            self.leave_channels(&channels, &user, None).await;
        }
        let (now, difference) = (self.clock.now(), self.reside(id, false));
        let (Some(room), Some(difference)) = (self.directory.rooms.get_mut(id), difference) else { return };
        room.accord.difference = difference;
        if difference == 0 {
            room.accord.agreed = Some(now);
        } else {
            tracing::info!(portal.room = %id, difference, "the room's members are not those of its channels; this is being mended");
        }
    }

    /// Matrix users whose puppets are in a channel though they are in none of its rooms.
    fn strangers(&self, key: &ChannelRef) -> Vec<OwnedUserId> {
        let Some(channel) = self.directory.channels.get(key) else { return Vec::new() };
        let rooms: Vec<_> = channel.rooms.iter().filter_map(|room| self.directory.rooms.get(room)).collect();
        if !rooms.iter().all(|room| room.is_known()) {
            return Vec::new();
        }
        let users = channel.present.iter().filter_map(LinkId::user);
        users.filter(|user| !rooms.iter().any(|room| room.members.contains_key(*user))).map(ToOwned::to_owned).collect()
    }

    /// Asks for a roster anew, on each network the one whose turn it is.
    async fn ask_for_rosters(&mut self, every: Millis) {
        let now = self.clock.now();
        let networks: Vec<NetworkId> = self.networks.keys().cloned().collect();
        for network in networks {
            let channels = || self.directory.channels.iter().filter(|(key, _)| key.0 == network);
            // Not two at once, however many there are.
            if channels().any(|(_, channel)| channel.asked.saturating_add(every) > now) {
                continue;
            }
            let looks = channels().filter_map(|(key, channel)| Some((key, channel.told?.max(channel.asked))));
            let Some(key) = next(looks, now, every * ROSTERS).cloned() else { continue };
            let Some(channel) = self.directory.channels.get_mut(&key) else { continue };
            channel.asked = now;
            if let Some(observer) = channel.watch.observer.clone() {
                let names = IrcAction::Names { channel: channel.name.clone() };
                let command = self.delivery.command();
                self.act(&observer, command, names).await;
            }
        }
    }

    fn measure_accord(&self) {
        let now = self.clock.now();
        let rooms = || self.directory.rooms.values();
        let number = |number: usize| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
        let age = rooms().filter_map(|room| room.accord.agreed).map(|agreed| (now - agreed).max(0) / 1000).max();
        let difference = rooms().map(|room| room.accord.difference).sum();
        metrics::gauge!(metric::BRIDGE_MEMBERS_DIFFERENCE).set(number(difference));
        metrics::gauge!(metric::BRIDGE_MEMBERS_AGE)
            .set(number(usize::try_from(age.unwrap_or_default()).unwrap_or_default()));
        metrics::gauge!(metric::BRIDGE_MEMBERS_WAITING).set(number(rooms().map(|room| room.lane.waiting()).sum()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_turn_and_none_too_often() {
        let mut looks = [("a", 0), ("b", 5), ("c", 3)];
        let mut seen = Vec::new();
        for now in 0..30 {
            if let Some(name) = next(looks.iter().copied(), now, 10) {
                seen.push((name, now));
                looks.iter_mut().filter(|(other, _)| *other == name).for_each(|(_, last)| *last = now);
            }
        }
        assert_eq!(seen, [("a", 10), ("c", 13), ("b", 15), ("a", 20), ("c", 23), ("b", 25)]);
        assert_eq!(next([("a", Millis::MAX)].into_iter(), 0, 10), None);
    }
}
