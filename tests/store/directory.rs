//! Portals, queries, puppets, ghosts, control rooms, facts.

use std::{collections::HashSet, sync::Arc};

use footbridge::{
    model::{CaseMapping, Folded, Isupport, NetworkId},
    store::{Consent, Ghost, OptOut, Portal, PortalKind, PuppetIdentity, Query, Standing},
};
use ruma::{OwnedUserId, UserId, room_id, user_id};
use tokio::task::JoinSet;

use crate::store::{Database, contract};

contract!(
    boots_grow_whatever_the_clock_says,
    portals_are_one_per_room_network_and_channel,
    r29_channels_that_opted_out_are_remembered,
    queries_are_one_per_user_and_nick,
    r41_user_names_are_unique_stable_and_short,
    r41_a_hundred_tasks_get_a_hundred_user_names,
    r41_thousands_of_like_names_are_told_apart_without_trying_them_all,
    ghosts_are_remembered,
    control_rooms_are_one_per_user,
    what_networks_say_is_remembered,
    texts_with_nul_are_stored_without_it,
);

fn libera() -> NetworkId {
    "libera".parse().unwrap()
}

fn oftc() -> NetworkId {
    "oftc".parse().unwrap()
}

fn folded(name: &str) -> Folded {
    CaseMapping::Rfc1459.fold(name)
}

async fn boots_grow_whatever_the_clock_says(database: Database) {
    let store = database.open().await;
    assert_eq!(store.next_boot(1_700_000_000_999).await, Ok(1_700_000_000));
    assert_eq!(store.next_boot(1_700_000_000_999).await, Ok(1_700_000_001));
    assert_eq!(store.next_boot(0).await, Ok(1_700_000_002), "the clock went back");
    let store = database.reopen(store).await;
    assert_eq!(store.next_boot(i64::MIN).await, Ok(1_700_000_003), "after a restart");
    assert_eq!(store.next_boot(1_800_000_000_000).await, Ok(1_800_000_000));
}

async fn portals_are_one_per_room_network_and_channel(database: Database) {
    let store = database.open().await;
    let portal = Portal {
        room: room_id!("!a:example.org").to_owned(),
        network: libera(),
        channel: "#Foo[]".into(),
        folded: folded("#Foo[]"),
        key: None,
        kind: PortalKind::Plumbed,
        standing: Standing::Open,
        consent: None,
    };
    let others = [
        Portal { room: room_id!("!b").to_owned(), ..portal.clone() },
        Portal { channel: "#bar".into(), folded: folded("#bar"), kind: PortalKind::Joined, ..portal.clone() },
        Portal { network: oftc(), ..portal.clone() },
    ];
    store.put_portal(&portal).await.unwrap();
    for other in &others {
        store.put_portal(other).await.unwrap();
    }
    let changed = Portal { channel: "#FOO{}".into(), key: Some("s3cret".into()), ..portal.clone() };
    store.put_portal(&changed).await.unwrap();
    let consent =
        Consent { asked_by: user_id!("@a:example.org").to_owned(), agreed_by: "Dora".into(), at: 1_700_000_000_000 };
    for (kind, standing, consent) in [
        (PortalKind::Agreed, Standing::Closing, Some(consent)),
        (PortalKind::Plumbed, Standing::Over, None),
        (PortalKind::Agreed, Standing::Open, None),
    ] {
        let portal = Portal { kind, standing, consent, ..others[0].clone() };
        store.put_portal(&portal).await.unwrap();
        assert!(store.portals().await.unwrap().contains(&portal));
    }
    store.put_portal(&others[0]).await.unwrap();

    let store = database.reopen(store).await;
    let stored = store.portals().await.unwrap();
    assert_eq!(stored.len(), 4);
    assert!(stored.contains(&changed) && others.iter().all(|other| stored.contains(other)), "{stored:?}");

    store.remove_portal(&portal.room, &portal.network, &portal.folded).await.unwrap();
    store.remove_portal(&portal.room, &portal.network, &portal.folded).await.unwrap();
    let stored = store.portals().await.unwrap();
    assert_eq!(stored.len(), 3);
    assert!(others.iter().all(|other| stored.contains(other)), "{stored:?}");
}

async fn r29_channels_that_opted_out_are_remembered(database: Database) {
    let store = database.open().await;
    let tea = OptOut { network: libera(), folded: folded("#tea"), by: "dora".into(), at: 5 };
    let elsewhere = OptOut { network: oftc(), ..tea.clone() };
    store.put_opt_out(&tea).await.unwrap();
    store.put_opt_out(&elsewhere).await.unwrap();
    let again = OptOut { by: "eve".into(), at: 6, ..tea.clone() };
    store.put_opt_out(&again).await.unwrap();
    let store = database.reopen(store).await;
    let stored = store.opt_outs().await.unwrap();
    assert_eq!(stored.len(), 2);
    assert!(stored.contains(&again) && stored.contains(&elsewhere), "{stored:?}");
    store.remove_opt_out(&libera(), &folded("#tea")).await.unwrap();
    store.remove_opt_out(&libera(), &folded("#tea")).await.unwrap();
    assert_eq!(store.opt_outs().await.unwrap(), [elsewhere]);
}

async fn queries_are_one_per_user_and_nick(database: Database) {
    let store = database.open().await;
    let query = Query {
        room: room_id!("!a:example.org").to_owned(),
        network: libera(),
        user: user_id!("@alice:example.org").to_owned(),
        nick: "Bob".into(),
        folded: folded("Bob"),
    };
    let other =
        Query { user: user_id!("@carol:example.org").to_owned(), room: room_id!("!c").to_owned(), ..query.clone() };
    store.put_query(&query).await.unwrap();
    store.put_query(&other).await.unwrap();
    let renewed = Query { room: room_id!("!b:example.org").to_owned(), nick: "bob".into(), ..query.clone() };
    store.put_query(&renewed).await.unwrap();
    let stored = store.queries().await.unwrap();
    assert_eq!(stored.len(), 2);
    assert!(stored.contains(&renewed) && stored.contains(&other), "{stored:?}");

    store.remove_query(&query.room).await.unwrap();
    assert_eq!(store.queries().await.unwrap().len(), 2, "that room is no query any more");
    store.remove_query(&renewed.room).await.unwrap();
    assert_eq!(store.queries().await.unwrap(), [other]);
}

async fn r41_user_names_are_unique_stable_and_short(database: Database) {
    let store = database.open().await;
    let (libera, oftc) = (libera(), oftc());
    let name = async |network: &NetworkId, user: &UserId, base: &str| {
        store.puppet_identity(network, user, base).await.unwrap().username
    };
    let user = |name: &str| UserId::parse(format!("@{name}:example.org")).unwrap();
    assert_eq!(name(&libera, &user("first"), "alexander").await, "alexander");
    assert_eq!(name(&libera, &user("long"), "alexanderthegreat").await, "alexa1", "cut to nine, that is taken");
    assert_eq!(name(&libera, &user("other"), "alexa2").await, "alexa2", "free");
    assert_eq!(name(&libera, &user("like"), "alexander").await, "alexa3", "2 is somebody's own name");
    assert_eq!(name(&libera, &user("empty"), "").await, "u1");
    assert_eq!(name(&libera, &user("odd"), "Ünix-~!\0").await, "nix", "what IRC may refuse is left out");
    assert_eq!(name(&oftc, &user("long"), "alexander").await, "alexander", "another network");
    assert_eq!(name(&libera, &user("long"), "else").await, "alexa1", "stable");
    store.set_puppet_nick(&libera, &user("long"), "Alex[m]").await.unwrap();
    store.set_puppet_nick(&oftc, &user("first"), "nobody").await.unwrap();

    let store = database.reopen(store).await;
    let known = PuppetIdentity {
        network: libera.clone(),
        user: user("long"),
        username: "alexa1".into(),
        nick: Some("Alex[m]".into()),
    };
    assert_eq!(store.puppet_identity(&libera, &known.user, "else").await.unwrap(), known, "after a restart");
    let puppets = store.puppets().await.unwrap();
    assert_eq!(puppets.len(), 7);
    assert!(puppets.contains(&known));
}

async fn r41_a_hundred_tasks_get_a_hundred_user_names(database: Database) {
    let store = database.open().await;
    let mut tasks = JoinSet::new();
    for number in 0..100 {
        let store = Arc::clone(&store);
        // Two tasks ask for each user.
        let user: OwnedUserId = UserId::parse(format!("@matrixuser{}:example.org", number / 2)).unwrap();
        tasks.spawn(async move {
            let identity = store.puppet_identity(&libera(), &user, "matrixuser").await.unwrap();
            (user, identity.username)
        });
    }
    let given: HashSet<_> = tasks.join_all().await.into_iter().collect();
    assert_eq!(given.len(), 50, "both tasks of a user got the same: {given:?}");
    let names: HashSet<_> = given.iter().map(|(_, name)| name).collect();
    assert_eq!(names.len(), 50, "no two users got the same: {given:?}");
}

async fn r41_thousands_of_like_names_are_told_apart_without_trying_them_all(database: Database) {
    let store = database.open().await;
    // As if 99,999 users had come already; were they tried one after the other, this would never end.
    store.puppet_identity(&libera(), user_id!("@first:x"), "guest").await.unwrap();
    database.sql("INSERT INTO username_counters (network, stem, last) VALUES ('libera', 'guest', 99999)").await;
    let mut names = HashSet::new();
    for number in 0..200 {
        let user = UserId::parse(format!("@guest{number}:x")).unwrap();
        let name = store.puppet_identity(&libera(), &user, "guest").await.unwrap().username;
        assert!(name.len() <= 9 && name.starts_with("guest"), "{name}");
        assert!(names.insert(name));
    }
    assert!(names.contains("guest255s"), "100,000 in base 36: {names:?}");
    let last = database.number("SELECT last FROM username_counters").await;
    assert_eq!(last, 99_999 + 200, "one try each");
}

async fn ghosts_are_remembered(database: Database) {
    let store = database.open().await;
    let ghost =
        Ghost { localpart: "irc_libera_bob=7c".into(), network: libera(), nick: "Bob|".into(), display_name: None };
    assert_eq!(store.ghost(&ghost.localpart).await, Ok(None));
    store.put_ghost(&ghost).await.unwrap();
    assert_eq!(store.ghost(&ghost.localpart).await, Ok(Some(ghost.clone())));
    let named = Ghost { nick: "bob|".into(), display_name: Some("bob 🦀".into()), ..ghost };
    store.put_ghost(&named).await.unwrap();
    let store = database.reopen(store).await;
    assert_eq!(store.ghosts().await.unwrap(), std::slice::from_ref(&named.localpart));
    assert_eq!(store.ghost(&named.localpart).await, Ok(Some(named)));
}

async fn control_rooms_are_one_per_user(database: Database) {
    let store = database.open().await;
    let (alice, bob) = (user_id!("@alice:x"), user_id!("@bob:x"));
    store.put_control_room(alice, room_id!("!old")).await.unwrap();
    store.put_control_room(bob, room_id!("!bob")).await.unwrap();
    store.put_control_room(alice, room_id!("!new")).await.unwrap();
    store.remove_control_room(room_id!("!old")).await.unwrap();
    let mut rooms = store.control_rooms().await.unwrap();
    rooms.sort();
    let bobs = (bob.to_owned(), room_id!("!bob").to_owned());
    assert_eq!(rooms, [(alice.to_owned(), room_id!("!new").to_owned()), bobs.clone()]);
    store.remove_control_room(room_id!("!new")).await.unwrap();
    assert_eq!(store.control_rooms().await.unwrap(), [bobs]);
}

async fn what_networks_say_is_remembered(database: Database) {
    let store = database.open().await;
    assert_eq!(store.isupport(&libera()).await, Ok(None));
    let said = Isupport {
        casemapping: CaseMapping::Rfc1459Strict,
        network: Some("Libera.Chat".into()),
        ..Isupport::default()
    };
    store.put_isupport(&libera(), &Isupport::default()).await.unwrap();
    store.put_isupport(&libera(), &said).await.unwrap();
    assert_eq!(store.isupport(&libera()).await, Ok(Some(said)));
    assert_eq!(store.isupport(&oftc()).await, Ok(None));
    database.sql("UPDATE network_facts SET isupport = '{\"casemapping\":1}'").await;
    assert_eq!(store.isupport(&libera()).await, Ok(None), "written by another version");
}

async fn texts_with_nul_are_stored_without_it(database: Database) {
    let store = database.open().await;
    let ghost = Ghost {
        localpart: "a".into(),
        network: libera(),
        nick: "b".into(),
        display_name: Some("x\0\u{1}'\"\\\r\n".into()),
    };
    store.put_ghost(&ghost).await.unwrap();
    let stored = store.ghost("a").await.unwrap().unwrap();
    assert_eq!(stored.display_name.as_deref(), Some("x\u{fffd}\u{1}'\"\\\r\n"));
}
