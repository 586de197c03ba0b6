//! Who and what there is: channels, rooms, queries and control rooms, and the way from each to the others.
//!
//! Owned by the dispatcher; nothing else changes it. A *portal* is a pair of a room and a channel: a channel may
//! have several rooms and a room several channels.

use std::{
    collections::{BTreeMap, HashMap, HashSet, hash_map::Entry},
    time::Duration,
};

use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde_json::value::RawValue;

use super::{
    channel_modes::ChannelModes,
    observer::Watch,
    outbox::Lane,
    people::{Identity, Person, Roster},
    policies::Denied,
    privacy::Readers,
    reconciler::Accord,
    residents::{self, is_crowded},
    splits::Lost,
};
use crate::model::{CaseMapping, CommandId, Fate, Folded, LinkId, MatrixKey, Members, Millis, NetworkId};

/// How long the bot stays away at first from a channel that it was refused from or removed from.
const BOT_RETRY: Duration = Duration::from_mins(5);

/// Names a channel.
pub(super) type ChannelRef = (NetworkId, Folded);
/// Names a query: a Matrix user's talk with a nick.
pub(super) type QueryRef = (NetworkId, OwnedUserId, Folded);

/// A bridged channel.
#[derive(Debug)]
pub(super) struct Channel {
    /// As people write it.
    pub(super) name: String,
    pub(super) key: Option<String>,
    pub(super) rooms: Vec<OwnedRoomId>,
    /// Our links that are in it, in the order in which they came.
    pub(super) present: Vec<LinkId>,
    pub(super) watch: Watch,
    pub(super) roster: Roster,
    /// Who isn't in it since the network split, and may be back: they stay in its rooms.
    pub(super) lost: Lost,
    /// When its observer last told the whole roster; none if it hasn't yet.
    pub(super) told: Option<Millis>,
    /// When its observer was last asked for it.
    pub(super) asked: Millis,
    /// Whether it has too many people for all of them to be in its rooms.
    pub(super) crowded: bool,
    pub(super) modes: ChannelModes,
    /// Matrix users who can't be heard in it, and by which mode: `+m`, `+q mask`, or [`super::sanctions::NOT_LET_IN`].
    pub(super) silenced: BTreeMap<OwnedUserId, String>,
    pub(super) topic: Topic,
    /// What keeps the bot out.
    pub(super) trouble: Trouble,
}

impl Channel {
    /// How many people of others its rooms have to hold.
    pub(super) fn people(&self) -> usize {
        self.roster.others() + self.lost.len()
    }

    /// Whether somebody of this nick is in it, or may be back.
    pub(super) fn holds(&self, nick: &Folded) -> bool {
        self.roster.get(nick).is_some() || self.lost.contains(nick)
    }

    /// Looks whether it is crowded; true if that has changed.
    pub(super) fn measure(&mut self, limit: usize) -> bool {
        let crowded = is_crowded(self.crowded, self.people(), limit);
        std::mem::replace(&mut self.crowded, crowded) != crowded
    }
}

/// A channel that the bot was refused from or removed from.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// What the rooms were told; empty if there is none.
    told: String,
    /// How often the bot has tried since it last came in.
    tries: u32,
    /// Whether it will try again by itself.
    waiting: bool,
}

impl Trouble {
    /// The bot can't be there, for a reason in words. Whether that is news, and how long to wait before it tries again
    /// (longer each time, up to an hour and a half), unless it waits already.
    pub(super) fn again(&mut self, words: &str) -> (bool, Option<Duration>) {
        let news = self.told != words;
        words.clone_into(&mut self.told);
        let pause = (!std::mem::replace(&mut self.waiting, true)).then(|| {
            self.tries += 1;
            BOT_RETRY * (1 << (self.tries - 1).min(4))
        });
        (news, pause)
    }

    /// The bot tries now.
    pub(super) fn trying(&mut self) {
        self.waiting = false;
    }

    /// The bot is in. A kick that follows is news, but it doesn't make the bot hurry.
    pub(super) fn over(&mut self) {
        self.told.clear();
    }
}

/// A channel's topic: what is there, and what we have asked for and haven't been answered.
#[derive(Debug, Default)]
pub(super) struct Topic {
    /// Unknown before anybody has told, and where what we asked for and what others set may have met in either order.
    there: Option<String>,
    asked: Vec<Asked>,
}

#[derive(Debug)]
struct Asked {
    command: CommandId,
    topic: String,
    /// Whether others have set one since.
    overtaken: bool,
}

impl Topic {
    /// Whether this one is there, for all we know. While another is asked for, nobody knows what will be.
    pub(super) fn is(&self, topic: &str) -> bool {
        self.asked.is_empty() && self.there.as_deref() == Some(topic)
    }

    /// It is asked for.
    pub(super) fn ask(&mut self, command: CommandId, topic: String) {
        self.asked.push(Asked { command, topic, overtaken: false });
    }

    /// The server has answered, or can't any more.
    fn decided(&mut self, command: CommandId, fate: &Fate) {
        let Some(at) = self.asked.iter().position(|asked| asked.command == command) else { return };
        let asked = self.asked.remove(at);
        match fate {
            Fate::Failed(failure) if failure.certain => {}
            Fate::Delivered { .. } if !asked.overtaken => self.there = Some(asked.topic),
            Fate::Delivered { .. } | Fate::Failed(_) => self.there = None,
        }
    }

    /// IRC tells a topic that isn't ours. Whether that is news.
    pub(super) fn told(&mut self, topic: &str) -> bool {
        self.asked.iter_mut().for_each(|asked| asked.overtaken = true);
        self.there.replace(topic.to_owned()).as_deref() != Some(topic)
    }
}

/// A room with portals.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) lane: Lane,
    pub(super) channels: Vec<ChannelRef>,
    /// Matrix users in it that aren't ours, with their display names.
    pub(super) members: HashMap<OwnedUserId, Option<String>>,
    /// Who was in the room in whose place this one came, and may still follow: until then their puppets stay.
    pub(super) followers: HashSet<OwnedUserId>,
    /// While the list of members is on its way: of whom we have heard meanwhile, and so know better.
    heard_of: Option<HashSet<OwnedUserId>>,
    /// Who has no part in the conversation.
    pub(super) denied: Denied,
    /// Whether the list of members was here since the bot came in.
    known: bool,
    /// Whether the bot was shown out, and hasn't come back.
    bot_out: bool,
    /// Whether the channel's topic becomes the room's at once; in a plumbed room only when it changes.
    pub(super) follows_topic: bool,
    /// If it is strict: who reads here, and whether IRC sees them.
    pub(super) readers: Option<Readers>,
    /// Which ghosts are to be in it, as the configuration says, and as was said since, which goes before.
    pub(super) configured: Option<Members>,
    said: Option<Members>,
    /// Whether who is in it is who should be.
    pub(super) accord: Accord,
}

impl Room {
    /// Whether the list of members is here.
    pub(super) fn knows_its_members(&self) -> bool {
        self.heard_of.is_none()
    }

    /// Which of the ghosts of a channel's people are to be in the room.
    pub(super) fn members_from(&self, channel: &Channel) -> Members {
        residents::members(self.said.or(self.configured), channel.crowded)
    }

    /// The bot goes in (again): the list of members will follow.
    pub(super) fn entering(&mut self) {
        self.known = false;
        self.heard_of = Some(HashSet::new());
    }

    /// Whether it is known who is in it.
    pub(super) fn is_known(&self) -> bool {
        self.known
    }

    /// The list of members is asked for again, to compare. False if there is one to come anyhow, or the bot isn't there.
    pub(super) fn listing(&mut self) -> bool {
        if self.known && !self.bot_out {
            self.heard_of = Some(HashSet::new());
        }
        self.known && !self.bot_out
    }

    /// The bot was shown out of the room.
    pub(super) fn bot_removed(&mut self) {
        self.bot_out = true;
    }

    /// Whether the bot was shown out of the room.
    pub(super) fn is_without_bot(&self) -> bool {
        self.bot_out
    }

    /// Whether a member counts for nothing, as the room denies them. In a strict room they read all the same, and so are
    /// shown out, as they aren't seen on IRC.
    pub(super) fn leaves_out(&self, user: &UserId) -> bool {
        self.readers.is_none() && self.denies(user)
    }

    /// Whether the room denies a user's server, or is listed itself: they have no part in the conversation.
    pub(super) fn denies(&self, user: &UserId) -> bool {
        self.denied.includes(user)
    }

    /// Whether what the bot says in the room reaches `user`: both are in it, as far as we know.
    pub(super) fn reaches(&self, user: &UserId) -> bool {
        let unheard = !self.known && self.heard_of.as_ref().is_some_and(|heard| !heard.contains(user));
        !self.bot_out && (unheard || self.members.contains_key(user))
    }

    /// Somebody is in the room now, under this name.
    pub(super) fn came(&mut self, user: &UserId, name: Option<String>) {
        self.followers.remove(user);
        self.members.insert(user.to_owned(), name);
        self.heard_of.iter_mut().for_each(|heard| _ = heard.insert(user.to_owned()));
    }

    /// Somebody is not in the room any more; whether they were.
    pub(super) fn went(&mut self, user: &UserId) -> bool {
        self.heard_of.iter_mut().for_each(|heard| _ = heard.insert(user.to_owned()));
        self.members.remove(user).is_some()
    }

    /// The bot is in, and the list of members is here. Answers with those who had gone unheard.
    pub(super) fn entered(&mut self, list: Vec<(OwnedUserId, Option<String>)>) -> Vec<OwnedUserId> {
        (self.known, self.bot_out) = (true, false);
        self.listed(list).1
    }

    /// The list of members that was asked for to compare is here. Answers with those who had come and those who had gone
    /// unheard.
    pub(super) fn compared(
        &mut self,
        list: Vec<(OwnedUserId, Option<String>)>,
    ) -> (Vec<OwnedUserId>, Vec<OwnedUserId>) {
        if self.known && self.heard_of.is_some() { self.listed(list) } else { Default::default() }
    }

    /// What we heard since the list was asked for stands, as it may be older than that; if it is newer, what made the
    /// difference is still to be heard.
    fn listed(&mut self, list: Vec<(OwnedUserId, Option<String>)>) -> (Vec<OwnedUserId>, Vec<OwnedUserId>) {
        let heard = self.heard_of.take().unwrap_or_default();
        let before = std::mem::take(&mut self.members);
        self.members = list.into_iter().filter(|(user, _)| !heard.contains(user)).collect();
        let come = self.members.keys().filter(|user| !before.contains_key(*user)).cloned().collect();
        self.followers.retain(|user| !self.members.contains_key(user));
        let mut gone = Vec::new();
        for (user, name) in before {
            if heard.contains(&user) {
                self.members.insert(user, name);
            } else if !self.members.contains_key(&user) {
                gone.push(user);
            }
        }
        (come, gone)
    }
}

/// A talk between a Matrix user and a nick.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) lane: Lane,
    pub(super) nick: String,
    /// Who that was when last seen, if they were.
    pub(super) who: Option<Identity>,
    /// `None` while the room is being made.
    pub(super) room: Option<OwnedRoomId>,
    /// While its ghost comes into the room to which it was invited.
    pub(super) entering: Option<Entering>,
    /// In which room it goes on once the ghost, which was invited there, is in: it may be refused.
    pub(super) successor: Option<Box<Query>>,
}

/// A ghost on its way into a query's room. The homeserver pushes what is said there only from its arrival on.
#[derive(Debug)]
pub(super) struct Entering {
    /// The invitation, settled when the ghost is in and knows what it missed.
    pub(super) invitation: MatrixKey,
    /// What was pushed already, and has to wait for what was missed.
    pub(super) waiting: Vec<(MatrixKey, Box<RawValue>)>,
}

/// What a room is to us.
pub(super) enum RoomKind<'a> {
    Portal(&'a Room),
    Query(&'a QueryRef),
    Control(&'a OwnedUserId),
    Unknown,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Directory {
    pub(super) channels: HashMap<ChannelRef, Channel>,
    pub(super) rooms: HashMap<OwnedRoomId, Room>,
    pub(super) queries: HashMap<QueryRef, Query>,
    /// Which ghosts are to be in which rooms, where that was said; also of rooms that aren't found yet.
    said: HashMap<OwnedRoomId, Members>,
    query_rooms: HashMap<OwnedRoomId, QueryRef>,
    controls: HashMap<OwnedUserId, Lane>,
    control_rooms: HashMap<OwnedRoomId, OwnedUserId>,
}

impl Directory {
    /// What `room` is.
    pub(super) fn kind(&self, room: &RoomId) -> RoomKind<'_> {
        if let Some(portal) = self.rooms.get(room) {
            RoomKind::Portal(portal)
        } else if let Some(query) = self.query_rooms.get(room) {
            RoomKind::Query(query)
        } else if let Some(user) = self.control_rooms.get(room) {
            RoomKind::Control(user)
        } else {
            RoomKind::Unknown
        }
    }

    /// Every room that is anything to us.
    pub(super) fn known_rooms(&self) -> HashSet<OwnedRoomId> {
        self.rooms.keys().chain(self.query_rooms.keys()).chain(self.control_rooms.keys()).cloned().collect()
    }

    /// Adds a portal; the room's lane is made by `lane` if the room is new.
    pub(super) fn add_portal(
        &mut self,
        room: OwnedRoomId,
        channel: &ChannelRef,
        name: String,
        key: Option<String>,
        follows_topic: bool,
        lane: impl FnOnce(&RoomId) -> Lane,
    ) {
        let entry = self.channels.entry(channel.clone()).or_insert_with(|| Channel {
            name,
            key: None,
            rooms: Vec::new(),
            present: Vec::new(),
            watch: Watch::default(),
            roster: Roster::default(),
            lost: Lost::default(),
            told: None,
            asked: Millis::MIN,
            crowded: false,
            modes: ChannelModes::default(),
            silenced: BTreeMap::new(),
            topic: Topic::default(),
            trouble: Trouble::default(),
        });
        entry.key = key.or(entry.key.take());
        if !entry.rooms.contains(&room) {
            entry.rooms.push(room.clone());
        }
        let said = self.said.get(&room).copied();
        let portal = self.rooms.entry(room).or_insert_with_key(|room| Room {
            lane: lane(room),
            channels: Vec::new(),
            members: HashMap::new(),
            followers: HashSet::new(),
            heard_of: Some(HashSet::new()),
            denied: Denied::default(),
            bot_out: false,
            follows_topic,
            readers: None,
            configured: None,
            said,
            accord: Accord::default(),
            known: false,
        });
        if !portal.channels.contains(channel) {
            portal.channels.push(channel.clone());
        }
    }

    /// Somebody has said which ghosts are to be in a room, or that it is as usual. Whether that is news.
    pub(super) fn say_members(&mut self, room: &RoomId, members: Option<Members>) -> bool {
        if let Some(state) = self.rooms.get_mut(room) {
            state.said = members;
        }
        let before = match members {
            Some(members) => self.said.insert(room.to_owned(), members),
            None => self.said.remove(room),
        };
        before != members
    }

    /// Lets all portals of a room be the new room's, whose lane is made by `lane` if it is none yet, and closes the old one's.
    /// Answers with those who may follow.
    pub(super) fn move_room(
        &mut self,
        old: &RoomId,
        new: &RoomId,
        lane: impl Fn(&RoomId) -> Lane,
    ) -> HashSet<OwnedUserId> {
        let Some(room) = self.rooms.remove(old) else { return HashSet::new() };
        room.lane.close();
        for key in &room.channels {
            let Some(channel) = self.channels.get_mut(key) else { continue };
            channel.rooms.retain(|room| room != old);
            let (name, pass) = (channel.name.clone(), channel.key.clone());
            self.add_portal(new.to_owned(), key, name, pass, room.follows_topic, &lane);
        }
        let Some(place) = self.rooms.get_mut(new) else { return HashSet::new() };
        let is_there = |user: &OwnedUserId| place.members.contains_key(user);
        let followers: HashSet<_> =
            room.members.into_keys().chain(room.followers).filter(|user| !is_there(user)).collect();
        place.followers.extend(followers.iter().cloned());
        place.configured = place.configured.or(room.configured);
        if room.readers.is_some() {
            place.readers.get_or_insert_default();
        }
        followers
    }

    /// What was said of who is to be in a room holds for the one that has come in its place.
    pub(super) fn move_members(&mut self, old: &RoomId, new: &RoomId) -> Option<Members> {
        let members = self.said.remove(old)?;
        self.say_members(new, Some(members));
        Some(members)
    }

    /// Adds a query. An older one of the same two is forgotten and given back.
    pub(super) fn put_query(&mut self, key: QueryRef, query: Query) -> Option<Query> {
        let old = self.remove_query(&key);
        if let Some(room) = &query.room {
            self.query_rooms.insert(room.clone(), key.clone());
        }
        self.queries.insert(key, query);
        old
    }

    /// Adds a query to whose `room` its ghost was invited. One that the same two have in another room stays until the ghost
    /// is in. What this one takes the place of at once is given back.
    pub(super) fn invite_query(&mut self, key: QueryRef, room: &RoomId, query: Query) -> Option<Query> {
        let Some(present) = self.queries.get_mut(&key).filter(|present| present.room.is_some()) else {
            return self.put_query(key, query);
        };
        let before = present.successor.replace(Box::new(query)).map(|before| *before);
        self.forget_room_of(before.as_ref());
        self.query_rooms.insert(room.to_owned(), key);
        before
    }

    /// The ghost is in a query's `room`. The query in whose place that comes is given back.
    pub(super) fn query_entered(&mut self, room: &RoomId) -> Option<Query> {
        let query = self.query_rooms.get(room).and_then(|key| self.queries.get_mut(key))?;
        let successor = query.successor.take_if(|successor| successor.room.as_deref() == Some(room))?;
        let old = std::mem::replace(query, *successor);
        self.forget_room_of(Some(&old));
        Some(old)
    }

    /// The query in `room`, be it one that is only a successor.
    pub(super) fn query_in(&mut self, room: &RoomId) -> Option<&mut Query> {
        let query = self.query_rooms.get(room).and_then(|key| self.queries.get_mut(key))?;
        if query.room.as_deref() == Some(room) { Some(query) } else { query.successor.as_deref_mut() }
    }

    /// Forgets the query in `room`; one that has a successor goes on there.
    pub(super) fn remove_query_in(&mut self, room: &RoomId) -> Option<Query> {
        let key = self.query_rooms.remove(room)?;
        let query = self.queries.get_mut(&key)?;
        match query.successor.take() {
            Some(successor) if query.room.as_deref() == Some(room) => Some(std::mem::replace(query, *successor)),
            Some(successor) => Some(*successor),
            None => self.queries.remove(&key),
        }
    }

    fn forget_room_of(&mut self, query: Option<&Query>) {
        if let Some(room) = query.and_then(|query| query.room.as_ref()) {
            self.query_rooms.remove(room);
        }
    }

    /// What became of a command that was to set a topic. These are few, so it is looked for.
    pub(super) fn topic_decided(&mut self, command: CommandId, fate: &Fate) {
        self.channels.values_mut().for_each(|channel| channel.topic.decided(command, fate));
    }

    /// Gives a query the room that was made for it; false if it has another by now, or is over.
    pub(super) fn place_query(&mut self, key: &QueryRef, room: &RoomId) -> bool {
        match self.queries.get_mut(key) {
            Some(query) if query.room.is_none() => {
                query.room = Some(room.to_owned());
                self.query_rooms.insert(room.to_owned(), key.clone());
                true
            }
            _ => false,
        }
    }

    /// Whom a query is with is called otherwise now. Gives its room's lane, unless its user has another with that nick,
    /// or it isn't in its room yet.
    pub(super) fn move_query(&mut self, key: &QueryRef, nick: &str, new: Folded) -> Option<&Lane> {
        let new = (key.0.clone(), key.1.clone(), new);
        let is_settled = |query: &Query| query.room.is_some() && query.entering.is_none() && query.successor.is_none();
        if self.queries.contains_key(&new) || !self.queries.get(key).is_some_and(is_settled) {
            return None;
        }
        let mut query = self.remove_query(key)?;
        nick.clone_into(&mut query.nick);
        self.put_query(new.clone(), query);
        self.queries.get(&new).map(|query| &query.lane)
    }

    /// Who has a nick, as far as the channels that we observe tell.
    pub(super) fn identity(&self, network: &NetworkId, nick: &Folded) -> Option<Identity> {
        let seen = self.seen(network, nick).map(|person| Identity::new(&person.source, person.account.clone()));
        seen.filter(Identity::is_known).max_by_key(Identity::has_account)
    }

    /// Whoever has a nick, as each of the channels shows them that we observe.
    pub(super) fn seen(&self, network: &NetworkId, nick: &Folded) -> impl Iterator<Item = &Person> {
        let channels = self.channels.iter().filter(move |((of, _), _)| of == network);
        channels.filter_map(move |(_, channel)| channel.roster.get(nick))
    }

    /// Forgets a query.
    pub(super) fn remove_query(&mut self, key: &QueryRef) -> Option<Query> {
        let query = self.queries.remove(key)?;
        if let Some(room) = query.room.as_ref().filter(|room| self.query_rooms.get(*room) == Some(key)) {
            self.query_rooms.remove(room);
        }
        Some(query)
    }

    /// How somebody on IRC writes their nick, if that was seen. A nick that is written as it is compared may have been
    /// made of a Matrix id, and counts only if somebody has it now.
    pub(super) fn spelling(&self, network: &NetworkId, nick: &Folded) -> Option<&str> {
        let channels = self.channels.iter().filter(|((of, _), _)| of == network);
        let present =
            channels.filter_map(|(_, channel)| channel.roster.get(nick)).map(|person| person.source.nick.as_str());
        let queries = self.queries.iter().filter(|((of, _, with), _)| of == network && with == nick);
        let talked_with = queries.map(|(_, query)| query.nick.as_str()).filter(|spelt| *spelt != nick.as_str());
        present.chain(talked_with).next()
    }

    /// Whether `user` talks with anybody on `network`.
    pub(super) fn has_query(&self, network: &NetworkId, user: &UserId) -> bool {
        self.queries.keys().any(|(n, u, _)| n == network && u == user)
    }

    /// The user's control room.
    pub(super) fn control(&self, user: &UserId) -> Option<&Lane> {
        self.controls.get(user)
    }

    /// Makes a room (not made yet if `None`) the user's control room.
    pub(super) fn put_control(&mut self, user: OwnedUserId, room: Option<OwnedRoomId>, lane: Lane) {
        self.control_rooms.retain(|_, owner| *owner != user);
        if let Some(room) = room {
            self.control_rooms.insert(room, user.clone());
        }
        self.controls.insert(user, lane);
    }

    /// Forgets the user's control room.
    pub(super) fn remove_control(&mut self, user: &UserId) {
        self.control_rooms.retain(|_, owner| owner != user);
        self.controls.remove(user);
    }

    /// The channels of `network` for which `user` is in a room.
    pub(super) fn channels_of(&self, network: &NetworkId, user: &UserId) -> HashSet<ChannelRef> {
        let is_in =
            |room: &&Room| (room.members.contains_key(user) || room.followers.contains(user)) && !room.denies(user);
        let rooms = self.rooms.values().filter(is_in);
        rooms.flat_map(|room| &room.channels).filter(|channel| channel.0 == *network).cloned().collect()
    }

    /// Who of the Matrix users is in any of a channel's rooms.
    pub(super) fn channels_members(&self, channel: &ChannelRef) -> HashSet<OwnedUserId> {
        let rooms = self.channels.get(channel).into_iter().flat_map(|channel| &channel.rooms);
        rooms.filter_map(|room| self.rooms.get(room)).flat_map(|room| room.members.keys()).cloned().collect()
    }

    /// Folds all names of `network` anew after its case mapping became known or changed.
    pub(super) fn refold(&mut self, network: &NetworkId, mapping: CaseMapping) {
        let theirs: Vec<ChannelRef> = self.channels.keys().filter(|channel| channel.0 == *network).cloned().collect();
        for old in theirs {
            let Some(mut channel) = self.channels.remove(&old) else { continue };
            channel.roster.refold(mapping);
            channel.lost.refold(mapping);
            let new = (network.clone(), mapping.fold(&channel.name));
            for room in &channel.rooms {
                let portals = self.rooms.get_mut(room).into_iter().flat_map(|room| &mut room.channels);
                portals.filter(|portal| **portal == old).for_each(|portal| *portal = new.clone());
            }
            match self.channels.entry(new) {
                Entry::Vacant(place) => drop(place.insert(channel)),
                // Two names that are one channel after all: their rooms share it.
                Entry::Occupied(mut same) => {
                    let rooms = &mut same.get_mut().rooms;
                    rooms.extend(channel.rooms.into_iter().filter(|room| !rooms.contains(room)).collect::<Vec<_>>());
                }
            }
        }
        let theirs: Vec<QueryRef> = self.queries.keys().filter(|key| key.0 == *network).cloned().collect();
        for old in theirs {
            let Some(query) = self.queries.remove(&old) else { continue };
            let new = (old.0, old.1, mapping.fold(&query.nick));
            let rooms = query.room.iter().chain(query.successor.iter().filter_map(|successor| successor.room.as_ref()));
            self.query_rooms.extend(rooms.map(|room| (room.clone(), new.clone())));
            self.queries.insert(new, query);
        }
    }
}

#[cfg(test)]
mod tests;
