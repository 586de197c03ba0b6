//! Strict rooms: nobody on Matrix reads a line while IRC can't see that they do (R11, R16, R17, R46).
//!
//! Who may read is a room's members and those who are asked in. As long as one of them isn't seen in the room's channels, by
//! the eyes of the channel's observer, what comes from IRC waits in the room's lane. Whoever isn't seen in time is shown out,
//! with the reason and how to come back. Newcomers knock: they are asked in once they are seen on IRC, and behind
//! everything that was said before.

use std::{collections::HashMap, time::Duration};

use ruma::{OwnedUserId, RoomId, UserId};

use super::{
    directory::{ChannelRef, Room},
    dispatch::{Core, Input},
    outbox::Job,
};
use crate::{
    model::{LinkId, Millis},
    telemetry::metric,
};

/// After so long the room is told what it waits for.
const QUIET: Duration = Duration::from_secs(30);

/// What the bridge knows of a strict room's readers.
#[derive(Debug, Default)]
pub(super) struct Readers {
    /// Who isn't seen on IRC, since when, and why as far as we know.
    absent: HashMap<OwnedUserId, Absent>,
    /// Who wants to come in and isn't a member; whether they were asked in.
    asking: HashMap<OwnedUserId, bool>,
    /// Since when what comes from IRC waits.
    waits_since: Option<Millis>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Absent {
    since: Millis,
    why: Option<String>,
}

impl Readers {
    /// These may become members: whether they are asked in.
    pub(super) fn may_come(&mut self, asking: &[(OwnedUserId, bool)]) {
        self.asking.extend(asking.iter().cloned());
    }

    /// Whether somebody could read what is said now though they aren't a member yet: they need only accept.
    fn is_asked_in(&self, user: &UserId) -> bool {
        self.asking.get(user) == Some(&true)
    }

    /// Who isn't seen, in words.
    fn blockers(&self) -> String {
        let mut named: Vec<String> = self.absent.iter().map(|(user, absent)| absent.words(user)).collect();
        named.sort_unstable();
        named.join("; ")
    }
}

impl Absent {
    fn words(&self, user: &UserId) -> String {
        match &self.why {
            Some(why) => format!("{user} ({why})"),
            None => user.to_string(),
        }
    }
}

impl Core {
    /// Whether somebody is in, or comes to or leaves, a room or its channel: who may read, and whether all are seen.
    pub(super) fn reader_changed(&mut self, room: &RoomId, user: &UserId) {
        let Some(state) = self.directory.rooms.get(room).filter(|state| state.readers.is_some()) else { return };
        let seen = self.is_seen(state, user);
        let now = self.clock.now();
        let Some(state) = self.directory.rooms.get_mut(room) else { return };
        let is_member = state.members.contains_key(user);
        let Some(readers) = &mut state.readers else { return };
        if is_member {
            readers.asking.remove(user);
        } else if seen && readers.asking.get(user) == Some(&false) {
            readers.asking.insert(user.to_owned(), true);
            state.lane.push(Job::Admit(user.to_owned()));
        }
        let may_read = is_member || readers.is_asked_in(user);
        tracing::debug!(portal.room = %room, %user, seen, is_member, may_read, "a reader of a strict room");
        if !may_read || seen {
            readers.absent.remove(user);
        } else if !readers.absent.contains_key(user) {
            readers.absent.insert(user.to_owned(), Absent { since: now, why: None });
            self.await_reader(room, user, now);
        }
        self.weigh(room);
    }

    /// Looks at all readers of a room.
    pub(super) fn readers_known(&mut self, room: &RoomId) {
        let Some(state) = self.directory.rooms.get(room) else { return };
        let Some(readers) = &state.readers else { return };
        let all: Vec<OwnedUserId> =
            state.members.keys().chain(readers.asking.keys()).chain(readers.absent.keys()).cloned().collect();
        for user in all {
            self.reader_changed(room, &user);
        }
        self.weigh(room);
    }

    /// What is seen of a channel's people has changed: of this link, or of all.
    pub(super) fn sight_changed(&mut self, key: &ChannelRef, link: Option<&LinkId>) {
        let rooms = self.directory.channels.get(key).map(|channel| channel.rooms.clone()).unwrap_or_default();
        for room in rooms {
            match link {
                None => self.readers_known(&room),
                Some(link) => {
                    if let Some(user) = link.user() {
                        self.reader_changed(&room, user);
                    }
                }
            }
        }
    }

    /// Somebody wants to come into a strict room: they are brought onto IRC first.
    pub(super) fn asks_in(&mut self, room: &RoomId, user: &UserId, invited: bool) {
        let Some(state) = self.directory.rooms.get_mut(room) else { return };
        let channels = state.channels.clone();
        let Some(readers) = &mut state.readers else { return };
        readers.asking.insert(user.to_owned(), invited);
        for key in &channels {
            if let Err(failure) = self.enter_channel(key, user) {
                return self.turn_away(room, user, &failure.to_string());
            }
        }
        self.reader_changed(room, user);
        self.await_reader(room, user, self.clock.now());
    }

    /// Somebody doesn't want to come in any more. Whether they did.
    pub(super) async fn asks_no_more(&mut self, room: &RoomId, user: &UserId) -> bool {
        let Some(state) = self.directory.rooms.get_mut(room) else { return false };
        let channels = state.channels.clone();
        let asked = state.readers.as_mut().is_some_and(|readers| readers.asking.remove(user).is_some());
        if asked {
            state.lane.admit_no_more(user);
            self.reader_changed(room, user);
            self.leave_channels(&channels, user, None).await;
        }
        asked
    }

    /// Why a Matrix user can't be seen in a channel. Who wanted to come in is told, and has to ask again.
    pub(super) fn cannot_be_seen(&mut self, key: &ChannelRef, user: &UserId, why: &str) {
        let rooms = self.directory.channels.get(key).map(|channel| channel.rooms.clone()).unwrap_or_default();
        for room in rooms {
            let Some(readers) = self.directory.rooms.get_mut(&room).and_then(|room| room.readers.as_mut()) else {
                continue;
            };
            if let Some(absent) = readers.absent.get_mut(user) {
                absent.why = Some(why.to_owned());
            }
            if readers.asking.get(user) == Some(&false) {
                self.turn_away(&room, user, why);
            }
        }
    }

    /// Why a puppet can't be seen anywhere.
    pub(super) fn link_cannot_be_seen(&mut self, link: &LinkId, why: &str) {
        let (Some(user), Some(puppet)) = (link.user(), self.puppets.links.get(link)) else { return };
        let channels: Vec<ChannelRef> =
            puppet.wanted.keys().map(|folded| (link.network().clone(), folded.clone())).collect();
        for key in channels {
            self.cannot_be_seen(&key, user, why);
        }
    }

    /// Somebody's time to be seen is over.
    pub(super) async fn on_reader_overdue(&mut self, room: &RoomId, user: &UserId, since: Millis) {
        let Some(state) = self.directory.rooms.get_mut(room) else { return };
        let channels = state.channels.clone();
        state.lane.admitted(user);
        let Some(readers) = &mut state.readers else { return };
        let overdue = readers.absent.get(user).filter(|absent| absent.since == since).cloned();
        let is_member = state.members.contains_key(user);
        match (overdue, is_member) {
            (Some(absent), true) => {
                let why = absent.why.unwrap_or_else(|| "the connection to IRC takes too long".to_owned());
                tracing::warn!(portal.room = %room, %user, why, "a member can't be seen on IRC and is shown out of a strict room");
                state.lane.push(Job::ShowOut {
                    user: user.to_owned(),
                    words: words(&why),
                    txn: format!("fbs{room}{since}"),
                });
            }
            // They never came, and are not awaited any longer.
            (_, false) if readers.asking.contains_key(user) => {
                self.turn_away(room, user, "it took too long");
                self.leave_channels(&channels, user, None).await;
            }
            _ => {}
        }
    }

    /// A room has waited for a while (again): it is told for whom, once, and they try again to come onto IRC.
    pub(super) fn on_room_waits(&mut self, room: &RoomId, since: Millis, again: bool) {
        let Some(state) = self.directory.rooms.get(room) else { return };
        let Some(readers) = state.readers.as_ref().filter(|readers| readers.waits_since == Some(since)) else { return };
        let blockers = readers.blockers();
        tracing::warn!(portal.room = %room, blockers, "what is said on IRC waits: not everybody in this strict room is seen there");
        if !again {
            let text = format!(
                "What is said on IRC waits: everybody who reads here must be seen there, and these aren't yet: {blockers}. \
                 They are brought in, or shown out."
            );
            state.lane.push(Job::Notice { text, txn: format!("fbw{room}{since}") });
        }
        let (absent, channels): (Vec<OwnedUserId>, _) =
            (readers.absent.keys().cloned().collect(), state.channels.clone());
        for user in absent {
            for key in &channels {
                if let Err(failure) = self.enter_channel(key, &user) {
                    self.cannot_be_seen(key, &user, &failure.to_string());
                }
            }
        }
        self.later(QUIET, Input::RoomWaits { room: room.to_owned(), since, again: true });
    }

    /// Who wanted to come in can't, for this reason.
    fn turn_away(&mut self, room: &RoomId, user: &UserId, why: &str) {
        let since = self.clock.now();
        let Some(state) = self.directory.rooms.get_mut(room) else { return };
        if let Some(readers) = &mut state.readers {
            readers.asking.remove(user);
            readers.absent.remove(user);
        }
        state.lane.admit_no_more(user);
        state.lane.push(Job::ShowOut { user: user.to_owned(), words: words(why), txn: format!("fbs{room}{since}") });
        self.weigh(room);
    }

    /// Whether the observers of all of a room's channels see a Matrix user there.
    fn is_seen(&self, room: &Room, user: &UserId) -> bool {
        room.channels.iter().all(|key| {
            let link = LinkId::puppet(key.0.clone(), user.to_owned());
            self.directory.channels.get(key).is_some_and(|channel| channel.roster.link(&link).is_some())
        })
    }

    /// Lets what comes from IRC wait, or go on.
    fn weigh(&mut self, room: &RoomId) {
        let now = self.clock.now();
        let Some(state) = self.directory.rooms.get_mut(room) else { return };
        let known = state.knows_its_members();
        let Some(readers) = &mut state.readers else { return };
        let waits = !known || !readers.absent.is_empty();
        state.lane.hold(waits);
        if waits == readers.waits_since.is_some() {
            return;
        }
        readers.waits_since = waits.then_some(now);
        tracing::info!(portal.room = %room, waits, "a strict room");
        let gauge = metrics::gauge!(metric::BRIDGE_WAITING_ROOMS);
        if waits {
            gauge.increment(1);
            self.later(QUIET, Input::RoomWaits { room: room.to_owned(), since: now, again: false });
        } else {
            gauge.decrement(1);
        }
    }

    /// Awaits a reader for as long as is configured, and as the network's budget for connections asks for.
    fn await_reader(&self, room: &RoomId, user: &UserId, since: Millis) {
        let Some(state) = self.directory.rooms.get(room) else { return };
        let absent = state.readers.as_ref().map_or(0, |readers| readers.absent.len());
        let networks = state.channels.iter().filter_map(|key| self.networks.get(&key.0));
        let patience = networks.map(|network| network.patience(absent)).max().unwrap_or_default();
        self.later(patience, Input::ReaderOverdue { room: room.to_owned(), user: user.to_owned(), since });
    }

    fn later(&self, pause: Duration, input: Input) {
        let core = self.input.clone();
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            let _ = core.send(input).await;
        });
    }
}

/// What somebody is told who is shown out.
fn words(why: &str) -> String {
    format!(
        "Who reads here must be seen on IRC, and you can't be: {why}. Once that is solved, knock or ask to be invited again."
    )
}
