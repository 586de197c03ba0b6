//! Who may come into rooms that are made for channels, and who may know of them (R18).

use axum::http::Method;
use serde_json::json;

use super::world::{ALICE, BOT, DORA, Stage, TEA, World, on_both_kinds_of_server};
use crate::support::{IrcLine, IrcdConfig, Outage, homeserver::encode};

const MILK: &str = "#irc_net_#milk:hs.test";

on_both_kinds_of_server!(
    r18_a_room_is_listed_only_while_everybody_may_know_of_its_channel,
    r18_a_directory_that_does_not_answer_holds_up_nothing_that_people_say,
    r18_a_room_is_as_open_as_its_channel,
    r18_nobody_is_told_of_a_channel_that_is_not_for_everybody,
    r19_a_channel_hears_when_more_people_may_read_what_is_said,
);

async fn expect_listed(world: &World, room: &str, listed: bool) {
    let what = if listed { "the room to be listed" } else { "the room not to be listed" };
    world.homeserver.wait_until(what, |state| (state.listed.contains(room) == listed).then_some(())).await;
}

async fn r18_a_room_is_listed_only_while_everybody_may_know_of_its_channel(ircd: IrcdConfig) {
    let mut world = World::with(ircd, |network| network.join_by_alias().set("portals", "listed", "true")).await;
    world.dora.join("#milk").await;
    let room = world.alice.join(MILK).await;
    expect_listed(&world, &room, true).await;
    for mode in ['s', 'p', 'i'] {
        world.dora.raw(&format!("MODE #milk +{mode}")).await;
        expect_listed(&world, &room, false).await;
        world.dora.raw(&format!("MODE #milk -{mode}")).await;
        expect_listed(&world, &room, true).await;
    }
    // What happens while the bridge is away is seen when it is back, and before it is seen, nothing is shown.
    world.bridge.terminate().await;
    world.dora.raw("MODE #milk +s").await;
    world.dora.sync().await;
    world.bridge.restart().await;
    expect_listed(&world, &room, false).await;
    world.ircd.expect_on_channel(ALICE, "#milk").await;
    world.settle("the end").await;
    expect_listed(&world, &room, false).await;
}

async fn r18_a_directory_that_does_not_answer_holds_up_nothing_that_people_say(ircd: IrcdConfig) {
    let world = World::with(ircd, |network| network.join_by_alias().set("portals", "listed", "true")).await;
    world.dora.join("#milk").await;
    let room = world.alice.join(MILK).await;
    expect_listed(&world, &room, true).await;
    world.homeserver.outage(Outage::HeldAt("/directory/list/".to_owned()));
    world.dora.raw("MODE #milk +s").await;
    for text in ["moo", "moo?", "moo!"] {
        world.dora.say("#milk", text).await;
        world.alice.expect_message(&room, |from| from == DORA, text).await;
    }
    world.homeserver.outage(None);
    expect_listed(&world, &room, false).await;
}

async fn r18_a_room_is_as_open_as_its_channel(ircd: IrcdConfig) {
    let mut world = World::with(ircd, crate::support::Network::join_by_alias).await;
    world.dora.join("#milk").await;
    let room = world.alice.join(MILK).await;
    world.ircd.expect_on_channel(ALICE, "#milk").await;
    let rule = async |world: &World, expected: &str| {
        let (room, what) = (room.as_str(), format!("the join rule {expected}"));
        let is = |state: &crate::support::homeserver::State| {
            let rules = state.rooms.get(room)?.content("m.room.join_rules", "")?;
            (rules["join_rule"] == expected).then_some(())
        };
        world.homeserver.wait_until(&what, is).await;
    };
    let bob = world.homeserver.user("bob");
    for (set, unset) in [("+i", "-i"), ("+k key", "-k key")] {
        world.dora.raw(&format!("MODE #milk {set}")).await;
        rule(&world, "knock").await;
        if set == "+k key" {
            // Who may come in on IRC is let into the room.
            let eve = world.ircd.client("eve").await;
            eve.raw("JOIN #milk key").await;
            world.alice.expect_membership(&room, "@irc_net_eve:hs.test", "join").await;
        }
        world.dora.raw(&format!("MODE #milk {unset}")).await;
        rule(&world, "public").await;
    }
    // Over a stop of the bridge, too.
    world.dora.raw("MODE #milk +i").await;
    rule(&world, "knock").await;
    let refused = bob.try_request(Method::POST, &format!("/_matrix/client/v3/join/{}", encode(&room)), json!({})).await;
    assert_eq!(refused.expect_err("not everybody may").status, 403);
    world.bridge.terminate().await;
    world.dora.raw("MODE #milk -i").await;
    world.dora.sync().await;
    world.bridge.restart().await;
    rule(&world, "public").await;
    bob.join(&room).await;
    // What a room's own people make of it stays.
    let stage = json!({ "join_rule": "invite" });
    world
        .homeserver
        .request(
            "@footbridge:hs.test",
            &Method::PUT,
            &format!("/_matrix/client/v3/rooms/{}/state/m.room.join_rules/", encode(&room)),
            stage,
        )
        .await
        .unwrap();
    world.dora.raw("MODE #milk +i").await;
    world.dora.raw("MODE #milk -i").await;
    world.dora.say("#milk", "done").await;
    world.alice.expect_message(&room, |_| true, "done").await;
    rule(&world, "invite").await;
}

async fn r18_nobody_is_told_of_a_channel_that_is_not_for_everybody(ircd: IrcdConfig) {
    let stage = Stage::set(ircd).await;
    let (url, token) = (stage.registration.url.clone(), stage.registration.hs_token.clone());
    let bridge = stage.bridge().network(stage.network().join_by_alias().set("portals", "listed", "true"));
    let world = stage.start(bridge).await;
    let http = crate::support::tls::http_client();
    let found = async || {
        let path = format!("{url}/_matrix/app/v1/thirdparty/location/irc?channel=%23milk");
        let response = http.get(path).bearer_auth(&token).send().await.unwrap();
        (response.status() == 200).then_some(())
    };
    let queried = async || {
        let path = format!("{url}/_matrix/app/v1/rooms/{}", encode(MILK));
        http.get(path).bearer_auth(&token).send().await.unwrap().status().as_u16()
    };
    world.dora.join("#milk").await;
    let room = world.alice.join(MILK).await;
    // Its place in the directory shows that the bridge has seen what has changed.
    expect_listed(&world, &room, true).await;
    assert!(found().await.is_some());
    world.dora.raw("MODE #milk +s").await;
    expect_listed(&world, &room, false).await;
    assert!(found().await.is_none());
    world.homeserver.state().aliases.remove(MILK);
    assert_eq!(queried().await, 404);
    world.dora.raw("MODE #milk -s").await;
    expect_listed(&world, &room, true).await;
    assert!(found().await.is_some());
    assert_eq!(queried().await, 200);
}

async fn r19_a_channel_hears_when_more_people_may_read_what_is_said(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    let set = async |visibility: &str| {
        let content = json!({ "history_visibility": visibility });
        world.alice.set_state(&world.room, "m.room.history_visibility", "", content).await;
    };
    for visibility in ["joined", "shared", "joined", "world_readable", "shared", "invited"] {
        set(visibility).await;
    }
    let notices = |line: &IrcLine| line.is("NOTICE") && line.nick() == BOT && line.param(0) == TEA;
    for words in ["before they came", "without joining"] {
        let is_told = |line: &IrcLine| notices(line) && line.text().contains(words);
        let told = world.dora.expect(words, is_told).await;
        assert!(told.text().contains("@alice:hs.test"), "{told:?}");
    }
    world.settle("the end").await;
    assert_eq!(world.dora.lines().iter().filter(|line| notices(line)).count(), 2);
}
