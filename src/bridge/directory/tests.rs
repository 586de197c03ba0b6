use ruma::user_id;

use super::*;
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
        followers: HashSet::new(),
        heard_of: None,
        denied: Denied::default(),
        bot_out: false,
        follows_topic: false,
        readers: None,
        configured: None,
        said: None,
        accord: Accord::default(),
        known: false,
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
    // Asked again, it tells what was never heard.
    room.came(d, None);
    assert!(room.listing() && !room.reaches(c));
    room.went(d);
    let list = [b, c, d].map(|user| (user.to_owned(), None));
    assert_eq!(room.compared(list.clone().into()), (vec![c.to_owned()], vec![]));
    assert_eq!(room.compared(list.into()), (vec![], vec![]), "nobody asked");
    assert!(room.went(c));
    assert!(room.listing());
    assert_eq!(room.compared(vec![]), (vec![], vec![b.to_owned()]));
    room.came(b, None);
    room.heard_of = None;
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
    let key = |nick: &str| -> QueryRef { ("net".parse().unwrap(), user_id!("@a:x").to_owned(), mapping.fold(nick)) };
    let query = |nick: &str, room: Option<&RoomId>| Query {
        lane: Lane::idle(),
        nick: nick.to_owned(),
        who: None,
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
    assert!(directory.put_query(key("dora"), query("dora", Some(c))).is_some_and(|old| old.room.as_deref() == Some(a)));
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
    // She is called otherwise now; the room goes with her, unless there is one already.
    assert!(directory.move_query(&key("dora"), "Eve", mapping.fold("eve")).is_none());
    assert!(directory.move_query(&key("dora"), "Dodo", mapping.fold("dodo")).is_some());
    assert!(is_query(&directory, c, "dodo") && !directory.queries.contains_key(&key("dora")));
    directory.remove_query(&key("dodo"));
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
