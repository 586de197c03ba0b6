//! Who and what there is: channels, rooms, queries and control rooms, and the way from each to the others.
//!
//! Owned by the dispatcher; nothing else changes it. A *portal* is a pair of a room and a channel: a channel may
//! have several rooms and a room several channels.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    time::Duration,
};

use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde_json::value::RawValue;

use super::{channel_modes::ChannelModes, observer::Watch, outbox::Lane, people::Roster, witnesses::Witnesses};
use crate::model::{CaseMapping, CommandId, Fate, Folded, LinkId, MatrixKey, NetworkId};

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
    /// Who has told which line, where several links tell.
    pub(super) witnesses: Witnesses,
    pub(super) roster: Roster,
    pub(super) modes: ChannelModes,
    pub(super) topic: Topic,
    /// What keeps the bot out.
    pub(super) trouble: Trouble,
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

    /// What keeps the bot out, in words.
    pub(super) fn words(&self) -> Option<&str> {
        Some(&*self.told).filter(|words| !words.is_empty())
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
    /// While the list of members is on its way: of whom we have heard meanwhile, and so know better.
    heard_of: Option<HashSet<OwnedUserId>>,
    /// Whether the bot was shown out, and hasn't come back.
    bot_out: bool,
    /// Whether the channel's topic becomes the room's at once; in a plumbed room only when it changes.
    pub(super) follows_topic: bool,
}

impl Room {
    /// The bot goes in (again): the list of members will follow.
    pub(super) fn entering(&mut self) {
        self.heard_of = Some(HashSet::new());
    }

    /// The bot was shown out of the room.
    pub(super) fn bot_removed(&mut self) {
        self.bot_out = true;
    }

    /// Whether the bot was shown out of the room.
    pub(super) fn is_without_bot(&self) -> bool {
        self.bot_out
    }

    /// Whether what the bot says in the room reaches `user`: both are in it, as far as we know.
    pub(super) fn reaches(&self, user: &UserId) -> bool {
        let unheard = self.heard_of.as_ref().is_some_and(|heard| !heard.contains(user));
        !self.bot_out && (unheard || self.members.contains_key(user))
    }

    /// Somebody is in the room now, under this name.
    pub(super) fn came(&mut self, user: &UserId, name: Option<String>) {
        self.members.insert(user.to_owned(), name);
        self.heard_of.iter_mut().for_each(|heard| _ = heard.insert(user.to_owned()));
    }

    /// Somebody is not in the room any more; whether they were.
    pub(super) fn went(&mut self, user: &UserId) -> bool {
        self.heard_of.iter_mut().for_each(|heard| _ = heard.insert(user.to_owned()));
        self.members.remove(user).is_some()
    }

    /// The list of members is here. What we heard since it was asked for stands, as the list may be older than that;
    /// if it is newer, what made the difference is still to be heard. Answers with those who had gone unheard.
    pub(super) fn entered(&mut self, list: Vec<(OwnedUserId, Option<String>)>) -> Vec<OwnedUserId> {
        self.bot_out = false;
        let heard = self.heard_of.take().unwrap_or_default();
        let before = std::mem::take(&mut self.members);
        self.members = list.into_iter().filter(|(user, _)| !heard.contains(user)).collect();
        let mut gone = Vec::new();
        for (user, name) in before {
            if heard.contains(&user) {
                self.members.insert(user, name);
            } else if !self.members.contains_key(&user) {
                gone.push(user);
            }
        }
        gone
    }
}

/// A talk between a Matrix user and a nick.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) lane: Lane,
    pub(super) nick: String,
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
    /// The bot is in it, and it is nothing (yet).
    Guest(&'a Lane),
    Unknown,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Directory {
    pub(super) channels: HashMap<ChannelRef, Channel>,
    pub(super) rooms: HashMap<OwnedRoomId, Room>,
    pub(super) queries: HashMap<QueryRef, Query>,
    query_rooms: HashMap<OwnedRoomId, QueryRef>,
    controls: HashMap<OwnedUserId, Lane>,
    control_rooms: HashMap<OwnedRoomId, OwnedUserId>,
    /// Rooms that the bot was invited to, to be plumbed perhaps.
    pub(super) guests: HashMap<OwnedRoomId, Lane>,
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
        } else if let Some(lane) = self.guests.get(room) {
            RoomKind::Guest(lane)
        } else {
            RoomKind::Unknown
        }
    }

    /// Whether a room is anything to us.
    pub(super) fn is_known(&self, room: &RoomId) -> bool {
        !matches!(self.kind(room), RoomKind::Unknown)
    }

    /// Forgets a channel, and those of its rooms that have no other; these are given back with it.
    pub(super) fn remove_channel(&mut self, key: &ChannelRef) -> Option<(Channel, Vec<(OwnedRoomId, Room)>)> {
        let channel = self.channels.remove(key)?;
        let mut rooms = Vec::new();
        for id in &channel.rooms {
            let Some(room) = self.rooms.get_mut(id) else { continue };
            room.channels.retain(|of| of != key);
            if room.channels.is_empty() {
                rooms.extend(self.rooms.remove_entry(id));
            }
        }
        Some((channel, rooms))
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
            witnesses: Witnesses::default(),
            roster: Roster::default(),
            modes: ChannelModes::default(),
            topic: Topic::default(),
            trouble: Trouble::default(),
        });
        entry.key = key.or(entry.key.take());
        if !entry.rooms.contains(&room) {
            entry.rooms.push(room.clone());
        }
        let portal = self.rooms.entry(room).or_insert_with_key(|room| Room {
            lane: lane(room),
            channels: Vec::new(),
            members: HashMap::new(),
            heard_of: Some(HashSet::new()),
            bot_out: false,
            follows_topic,
        });
        if !portal.channels.contains(channel) {
            portal.channels.push(channel.clone());
        }
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
        let rooms = self.rooms.values().filter(|room| room.members.contains_key(user));
        rooms.flat_map(|room| &room.channels).filter(|channel| channel.0 == *network).cloned().collect()
    }

    /// Folds all names of `network` anew after its case mapping became known or changed.
    pub(super) fn refold(&mut self, network: &NetworkId, mapping: CaseMapping) {
        let theirs: Vec<ChannelRef> = self.channels.keys().filter(|channel| channel.0 == *network).cloned().collect();
        for old in theirs {
            let Some(mut channel) = self.channels.remove(&old) else { continue };
            channel.roster.refold(mapping);
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
mod tests {
    use ruma::user_id;

    use super::{super::people::Person, *};
    use crate::model::{Failure, Reason, Source};

    #[test]
    fn a_topic_that_was_refused_is_not_there() {
        let refused = || Fate::Failed(Failure::certain(Reason::Refused));
        let delivered = || Fate::Delivered { msgid: None };
        let (one, two) = (CommandId(1), CommandId(2));
        let mut topic = Topic::default();
        assert!(!topic.is(""), "nobody has told yet");
        assert!(topic.told("old") && !topic.told("old") && topic.is("old"));
        topic.ask(one, "new".into());
        assert!(!topic.is("old") && !topic.is("new"), "either may be what will be there");
        topic.decided(one, &refused());
        assert!(topic.is("old"));
        // Two in a row, of which the second is refused, or the first.
        for (first, second, there) in
            [(delivered(), refused(), "a"), (refused(), delivered(), "b"), (refused(), refused(), "old")]
        {
            topic.told("old");
            topic.ask(one, "a".into());
            topic.ask(two, "b".into());
            topic.decided(one, &first);
            assert!(!topic.is(there));
            topic.decided(two, &second);
            assert!(topic.is(there), "{there}");
        }
    }

    #[test]
    fn a_topic_that_may_have_been_overtaken_is_unknown() {
        let delivered = Fate::Delivered { msgid: None };
        for (fate, there) in [
            (delivered, None),
            (Fate::Failed(Failure::uncertain(Reason::LinkLost)), None),
            (Fate::Failed(Failure::certain(Reason::Refused)), Some("theirs")),
        ] {
            let mut topic = Topic::default();
            topic.ask(CommandId(1), "ours".into());
            topic.told("theirs");
            topic.decided(CommandId(1), &fate);
            assert_eq!(topic.there.as_deref(), there, "{fate:?}");
            assert!(topic.told("theirs") == there.is_none());
        }
    }

    fn room() -> Room {
        Room {
            lane: Lane::idle(),
            channels: Vec::new(),
            members: HashMap::new(),
            heard_of: None,
            bot_out: false,
            follows_topic: false,
        }
    }

    #[test]
    fn what_is_heard_while_the_list_of_members_is_on_its_way_stands() {
        let [a, b, c, d] = [user_id!("@a:x"), user_id!("@b:x"), user_id!("@c:x"), user_id!("@d:x")];
        let mut room = room();
        room.came(a, None);
        room.came(d, None);
        room.entering();
        room.came(b, Some("Bea".to_owned()));
        assert!(!room.went(c));
        let gone = room.entered(vec![(a.to_owned(), Some("Ann".to_owned())), (c.to_owned(), None)]);
        assert_eq!(gone, [d], "who had gone while we were out");
        let members = HashMap::from([(a.to_owned(), Some("Ann".to_owned())), (b.to_owned(), Some("Bea".to_owned()))]);
        assert_eq!(room.members, members);
        // And from here on the events are all there is.
        assert!(room.went(a));
        assert!(room.entered(vec![(a.to_owned(), None)]).contains(&b.to_owned()));
    }

    #[test]
    fn r30_the_bot_comes_back_slower_each_time_and_says_each_thing_once() {
        let mut trouble = Trouble::default();
        let minutes = |minutes| Some(Duration::from_mins(minutes));
        assert_eq!(trouble.again("invite-only"), (true, minutes(5)));
        assert_eq!(trouble.again("invite-only"), (false, None), "after a reconnect, say");
        trouble.trying();
        assert_eq!(trouble.again("invite-only"), (false, minutes(10)));
        trouble.trying();
        assert_eq!(trouble.again("banned"), (true, minutes(20)));
        trouble.trying();
        trouble.over();
        assert_eq!(trouble.again("banned"), (true, minutes(40)), "removed as soon as it was in");
        for _ in 0..9 {
            trouble.trying();
            assert!(trouble.again("banned").1 <= minutes(80));
        }
    }

    #[test]
    fn failures_are_told_in_the_room_only_to_those_whom_they_reach_there() {
        let [here, gone] = [user_id!("@a:x"), user_id!("@b:x")];
        let mut room = room();
        room.entering();
        assert!(room.reaches(here), "nobody is known yet, but somebody said something");
        room.went(gone);
        assert!(!room.reaches(gone));
        room.entered(vec![(here.to_owned(), None)]);
        assert!(room.reaches(here) && !room.reaches(gone));
        room.bot_removed();
        assert!(!room.reaches(here));
        room.entering();
        room.entered(vec![(here.to_owned(), None)]);
        assert!(room.reaches(here) && !room.is_without_bot());
    }

    #[test]
    fn a_query_has_one_room_and_a_room_one_query() {
        let mapping = CaseMapping::Ascii;
        let key =
            |nick: &str| -> QueryRef { ("net".parse().unwrap(), user_id!("@a:x").to_owned(), mapping.fold(nick)) };
        let query = |nick: &str, room: Option<&RoomId>| Query {
            lane: Lane::idle(),
            nick: nick.to_owned(),
            room: room.map(ToOwned::to_owned),
            entering: None,
            successor: None,
        };
        let [a, b]: [&RoomId; 2] = ["!a:x".try_into().unwrap(), "!b:x".try_into().unwrap()];
        let mut directory = Directory::default();
        let is_query = |directory: &Directory, room, nick| matches!(directory.kind(room), RoomKind::Query(query) if *query == key(nick));
        // Both sides begin at once: the room that is there first is the query's.
        directory.put_query(key("dora"), query("dora", None));
        assert!(directory.put_query(key("dora"), query("dora", Some(a))).is_some_and(|old| old.room.is_none()));
        assert!(!directory.place_query(&key("dora"), b), "it has one");
        assert!(is_query(&directory, a, "dora") && matches!(directory.kind(b), RoomKind::Unknown));
        directory.put_query(key("eve"), query("eve", None));
        assert!(directory.place_query(&key("eve"), b));
        assert!(is_query(&directory, b, "eve"));
        // Another room for the same two: the first is nobody's.
        let [c]: [&RoomId; 1] = ["!c:x".try_into().unwrap()];
        assert!(
            directory.put_query(key("dora"), query("dora", Some(c))).is_some_and(|old| old.room.as_deref() == Some(a))
        );
        assert!(is_query(&directory, c, "dora") && matches!(directory.kind(a), RoomKind::Unknown));
        // An invitation into a further room changes nothing until the ghost is in.
        let room_of = |query: Option<Query>| query.and_then(|query| query.room);
        assert!(directory.invite_query(key("dora"), a, query("dora", Some(a))).is_none());
        assert!(is_query(&directory, c, "dora") && is_query(&directory, a, "dora"));
        assert_eq!(directory.queries[&key("dora")].room.as_deref(), Some(c));
        assert_eq!(room_of(directory.remove_query_in(a)).as_deref(), Some(a), "refused");
        assert_eq!(directory.queries[&key("dora")].room.as_deref(), Some(c));
        assert!(directory.invite_query(key("dora"), a, query("dora", Some(a))).is_none());
        assert!(directory.query_entered(c).is_none());
        assert_eq!(room_of(directory.query_entered(a)).as_deref(), Some(c));
        assert!(matches!(directory.kind(c), RoomKind::Unknown));
        assert!(directory.invite_query(key("dora"), c, query("dora", Some(c))).is_none());
        assert_eq!(room_of(directory.remove_query_in(a)).as_deref(), Some(a), "it goes on in the other");
        assert_eq!(directory.query_in(c).and_then(|query| query.room.as_deref()), Some(c));
        directory.remove_query(&key("dora"));
        assert!(matches!(directory.kind(c), RoomKind::Unknown) && is_query(&directory, b, "eve"));
    }

    #[test]
    fn r105_everything_is_found_under_a_case_mapping_learnt_late() {
        let network: NetworkId = "net".parse().unwrap();
        let mut directory = Directory::default();
        let before = CaseMapping::Rfc1459;
        for (room, channel) in [("!a:x", "#a[b]"), ("!b:x", "#a{c}")] {
            let room = OwnedRoomId::try_from(room).unwrap();
            let key = (network.clone(), before.fold(channel));
            directory.add_portal(room, &key, channel.to_owned(), None, false, |_| Lane::idle());
        }
        let dora = Source { nick: "Dora[x]".into(), user: None, host: None };
        let channel = directory.channels.get_mut(&(network.clone(), before.fold("#a[b]"))).unwrap();
        channel.roster.insert(before.fold(&dora.nick), Person::new(dora, None));
        directory.refold(&network, CaseMapping::Ascii);
        let key = (network.clone(), CaseMapping::Ascii.fold("#a[b]"));
        assert!(directory.channels[&key].roster.get(&CaseMapping::Ascii.fold("dora[x]")).is_some());
        let room: &RoomId = "!a:x".try_into().unwrap();
        assert_eq!(directory.rooms[room].channels, [key]);
        directory.refold(&network, before);
        assert!(directory.channels.contains_key(&(network, before.fold("#a{b}"))));
    }
}
