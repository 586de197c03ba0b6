//! Rooms that are made for channels on demand, and what the homeserver may ask about people and channels.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use super::world::{ALICE, BOT, DORA, Stage, World, on_both_kinds_of_server};
use crate::support::{IrcdConfig, MatrixUser, Outage, process::POLL, wait::DEADLINE};

on_both_kinds_of_server!(
    joining_an_alias_makes_a_room_for_the_channel,
    many_who_join_an_alias_at_once_meet_in_one_room,
    a_room_that_was_made_and_not_kept_is_found,
    aliases_that_may_not_be_joined_lead_nowhere,
);

fn alias(channel: &str) -> String {
    format!("#irc_net_{channel}:hs.test")
}

async fn try_join(user: &MatrixUser, alias: &str) -> Result<Value, crate::support::matrix_user::RequestError> {
    let path = format!("/_matrix/client/v3/join/{}", crate::support::homeserver::encode(alias));
    user.try_request(Method::POST, &path, json!({})).await
}

async fn joining_an_alias_makes_a_room_for_the_channel(ircd: IrcdConfig) {
    let mut world = World::with(ircd, crate::support::Network::join_by_alias).await;
    world.dora.join("#milk").await;
    world.dora.raw("TOPIC #milk :white").await;
    let room = world.alice.join(&alias("#milk")).await;
    world.ircd.expect_on_channel(BOT, "#milk").await;
    world.ircd.expect_on_channel(ALICE, "#milk").await;
    world.alice.say(&room, "moo").await;
    world.dora.expect_text("#milk", |from| from == ALICE, "moo").await;
    world.dora.say("#milk", "moo?").await;
    world.alice.expect_message(&room, |from| from == DORA, "moo?").await;
    // A room of our own making has the channel's topic, and R19: its history is for those who were there.
    world
        .alice
        .wait_for(&room, "the topic", |timeline| {
            timeline.iter().find(|e| e.kind == "m.room.topic" && e.content["topic"] == "white").map(|_| ())
        })
        .await;
    let history = world.alice.state(&room, "m.room.history_visibility", "").await;
    assert_eq!(history.unwrap()["history_visibility"], "joined");
    // Whoever comes later comes to the same room, in any case of the name.
    let bob = world.homeserver.user("bob");
    assert_eq!(bob.join(&alias("#milk")).await, room);
    world.ircd.expect_on_channel("bob[m]", "#milk").await;
    // And it is still there after a restart.
    world.bridge.kill();
    world.ircd.expect_gone(ALICE).await;
    world.bridge.restart().await;
    world.ircd.expect_on_channel(BOT, "#milk").await;
    world.alice.say(&room, "moo again").await;
    world.dora.expect_text("#milk", |from| from == ALICE, "moo again").await;
    world.dora.say("#milk", "indeed").await;
    world.alice.expect_message(&room, |from| from == DORA, "indeed").await;
}

async fn many_who_join_an_alias_at_once_meet_in_one_room(ircd: IrcdConfig) {
    let world = World::with(ircd, crate::support::Network::join_by_alias).await;
    let users: Vec<MatrixUser> = (0..8).map(|n| world.homeserver.user(&format!("user{n}"))).collect();
    let alias = alias("#milk");
    let rooms = futures_util::future::join_all(users.iter().map(|user| user.join(&alias))).await;
    assert!(rooms.iter().all(|room| *room == rooms[0]), "{rooms:?}");
    for n in 0..8 {
        world.ircd.expect_on_channel(&format!("user{n}[m]"), "#milk").await;
    }
}

/// The bridge made a room and was killed before it could write that down; or its database was lost.
async fn a_room_that_was_made_and_not_kept_is_found(ircd: IrcdConfig) {
    let stage = Stage::set(ircd).await;
    stage.homeserver.user("footbridge");
    let (bot, create) = ("@footbridge:hs.test", "/_matrix/client/v3/createRoom");
    let options = json!({ "preset": "public_chat", "room_alias_name": "irc_net_#milk" });
    let made = stage.homeserver.request(bot, &Method::POST, create, options).await.expect("the bot may");
    // A room of somebody else's may call itself anything.
    let other = stage.alice.create_room(json!({ "preset": "public_chat" })).await;
    stage.alice.set_state(&other, "m.room.canonical_alias", "", json!({ "alias": alias("#honey") })).await;
    let join = format!("/_matrix/client/v3/join/{}", crate::support::homeserver::encode(&other));
    stage.homeserver.request(bot, &Method::POST, &join, json!({})).await.expect("the room is public");
    let room = made["room_id"].as_str().expect("a room has an id").to_owned();
    assert_eq!(stage.alice.join(&alias("#milk")).await, room);
    stage.alice.say(&room, "before the bridge").await;
    let bridge = stage.bridge().network(stage.network().join_by_alias());
    let mut world = stage.start(bridge).await;
    world.ircd.expect_on_channel(BOT, "#milk").await;
    world.dora.join("#milk").await;
    world.alice.say(&room, "moo").await;
    world.dora.expect_text("#milk", |from| from == ALICE, "moo").await;
    world.dora.say("#milk", "moo?").await;
    world.alice.expect_message(&room, |from| from == DORA, "moo?").await;
    // It is kept now.
    world.bridge.terminate().await;
    world.bridge.restart().await;
    world.ircd.expect_on_channel(ALICE, "#milk").await;
    world.alice.say(&room, "moo again").await;
    world.dora.expect_text("#milk", |from| from == ALICE, "moo again").await;
    let channels: Vec<String> = world.ircd.state().channels.values().map(|channel| channel.name.clone()).collect();
    assert_eq!(channels.len(), 2, "{channels:?}");
}

async fn aliases_that_may_not_be_joined_lead_nowhere(ircd: IrcdConfig) {
    let allowed = World::with(ircd.clone(), crate::support::Network::join_by_alias).await;
    let rooms = allowed.homeserver.state().rooms.len();
    for channel in [
        "#a,b",
        "#a=20b",
        "##a b",
        "nochannel",
        "#",
        "",
        "#a=07b",
        "#a=0aquit",
        &format!("#{}", "x".repeat(300)),
        "#UPPER=",
        "0",
    ] {
        let refused = try_join(&allowed.alice, &alias(channel)).await;
        assert_eq!(refused.expect_err(channel).status, 404, "{channel}");
    }
    assert_eq!(allowed.homeserver.state().rooms.len(), rooms);
    let forbidden = World::new(ircd).await;
    assert_eq!(try_join(&forbidden.alice, &alias("#milk")).await.expect_err("not allowed").status, 404);
    for world in [&allowed, &forbidden] {
        world.settle("end").await;
        let joins: Vec<_> = world
            .ircd
            .state()
            .log
            .iter()
            .filter(|r| r.line.contains("JOIN") && !r.line.contains("#tea"))
            .map(ToString::to_string)
            .collect();
        assert_eq!(joins, [] as [String; 0], "nothing was dialled");
    }
}

/// Rooms are made for those channels that the operator allows, and `!join` says where they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r29_rooms_are_made_for_allowed_channels_alone() {
    let world = World::with(IrcdConfig::modern(), |network| {
        network.join_by_alias().set("portals", "channels", r##"["#milk*", "#Honey"]"##).set(
            "portals",
            "exclude_channels",
            r##"["#*-ops"]"##,
        )
    })
    .await;
    for channel in ["#milk-ops", "#cream", "#milkops-ops"] {
        assert_eq!(try_join(&world.alice, &alias(channel)).await.expect_err(channel).status, 404);
    }
    let control = world.alice.create_room(json!({ "is_direct": true, "invite": ["@footbridge:hs.test"] })).await;
    let expect_answer = async |answer: &str| {
        let is_there = |timeline: &[std::sync::Arc<crate::support::Event>]| {
            timeline.iter().any(|event| event.body().contains(answer)).then_some(())
        };
        world.alice.wait_for(&control, answer, is_there).await;
    };
    expect_answer("I am an IRC bridge").await;
    for (words, answer) in [
        ("join #honey", "Join #irc_net_#honey:hs.test"),
        ("!join net #cream", "makes no room for #cream on net"),
        ("!irc join #milk-ops", "makes no room for #milk-ops"),
        ("join #a,b", "is no name that a channel on net could have"),
    ] {
        world.alice.say(&control, words).await;
        expect_answer(answer).await;
    }
    for channel in ["#honey", "#milk", "#milkshake"] {
        world.alice.join(&alias(channel)).await;
        world.ircd.expect_on_channel(ALICE, channel).await;
    }
}

/// Queries and third-party lookups, over HTTP as a homeserver asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_homeserver_may_ask_about_people_and_channels() {
    let stage = Stage::set(IrcdConfig::modern()).await;
    let (url, token) = (stage.registration.url.clone(), stage.registration.hs_token.clone());
    let bridge = stage.bridge().network(stage.network().join_by_alias());
    let world = stage.start(bridge).await;
    let http = crate::support::tls::http_client();
    let get = async |path: &str| {
        let response = http.get(format!("{url}/_matrix/app/v1/{path}")).bearer_auth(&token).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let encode = crate::support::homeserver::encode;
    // Users: every possible nick is somebody, and nothing else is.
    assert_eq!(get(&format!("users/{}", encode("@irc_net_carol:hs.test"))).await.0, 200);
    assert!(
        world.homeserver.state().users.contains_key("@irc_net_carol:hs.test"),
        "it is registered before the answer"
    );
    for nobody in
        ["@irc_net_a,b:hs.test", "@irc_net_Carol:hs.test", "@irc_other_x:hs.test", "@irc_net_=zz:hs.test", "nonsense"]
    {
        let (status, body) = get(&format!("users/{}", encode(nobody))).await;
        assert!(status == 404 || status == 400, "{nobody}: {status} {body}");
        assert!(body["errcode"].is_string(), "{body}");
    }
    // Third-party lookups, both directions.
    let (status, protocol) = get("thirdparty/protocol/irc").await;
    assert_eq!((status, &protocol["instances"][0]["network_id"]), (200, &json!("net")));
    assert_eq!(get("thirdparty/protocol/xmpp").await.0, 404);
    let (_, found) = get("thirdparty/location/irc?network=net&channel=%23milk").await;
    assert_eq!(found[0]["alias"], alias("#milk"));
    let (_, found) = get("thirdparty/location/irc?channel=%23milk").await;
    assert_eq!(found[0]["alias"], alias("#milk"), "without a network: on any");
    let (_, found) = get("thirdparty/user/irc?nick=Dora").await;
    assert_eq!(found[0]["userid"], DORA);
    let (_, found) = get(&format!("thirdparty/location?alias={}", encode(&alias("#milk")))).await;
    assert_eq!(found[0]["fields"]["channel"], "#milk");
    let (_, found) = get("thirdparty/user/irc?network=net&nick=Dora").await;
    assert_eq!(found[0]["userid"], DORA);
    let (_, found) = get(&format!("thirdparty/user?userid={}", encode(DORA))).await;
    assert_eq!(found[0]["fields"]["nick"], "dora");
    for nothing in [
        "thirdparty/location/irc?network=net&channel=a%2Cb",
        "thirdparty/user/irc?network=net&nick=a%20b",
        "thirdparty/user/irc?network=x&nick=dora",
    ] {
        let (status, body) = get(nothing).await;
        assert!(status == 404 || body == json!([]), "{nothing}: {status} {body}");
    }
    // Nobody else may ask.
    let response = http.get(format!("{url}/_matrix/app/v1/users/x")).bearer_auth("wrong").send().await.unwrap();
    assert_eq!(response.status(), 403);
    let response = http.get(format!("{url}/_matrix/app/v1/users/x")).send().await.unwrap();
    assert_eq!(response.status(), 401);
    // None of this said a word on IRC.
    assert!(
        !world
            .ircd
            .state()
            .log
            .iter()
            .any(|r| r.line.contains("milk") || r.line.contains("carol") || r.line.contains("WHOIS"))
    );
}

/// Whoever looks at a ghost's profile may not wait for as long as the homeserver takes to make it; the next one finds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ghost_that_was_asked_for_is_made_however_long_it_takes() {
    let world = World::new(IrcdConfig::modern()).await;
    world.settle("start").await;
    world.homeserver.outage(Outage::Latency(Duration::from_secs(1)));
    let eve = "@irc_net_eve:hs.test";
    assert!(!world.homeserver.ask_for_user(eve).await, "it takes longer than anybody waits");
    let made = async {
        while !world.homeserver.ask_for_user(eve).await {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(DEADLINE, made).await.expect("the ghost is made at last");
}
