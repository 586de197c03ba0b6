//! Rooms that are replaced by others (R91).

use axum::http::Method;
use serde_json::json;

use super::world::{ALICE, BOT, DORA, TEA, World, on_both_kinds_of_server};
use crate::support::{IrcdConfig, homeserver::encode};

const BRIDGE: &str = "@footbridge:hs.test";
const MILK: &str = "#irc_net_#milk:hs.test";

on_both_kinds_of_server!(
    r91_a_plumbed_room_is_followed_and_so_it_is_at_every_start,
    r91_a_room_of_ours_moves_with_its_alias,
    r91_a_room_that_does_not_point_back_is_not_followed,
    r91_a_room_that_refuses_the_bot_is_followed_when_it_is_invited,
);

/// A room that says that it comes from another.
async fn new_room(world: &World, old: &str, preset: &str) -> String {
    let predecessor = json!({ "predecessor": { "room_id": old } });
    world.alice.create_room(json!({ "preset": preset, "creation_content": predecessor })).await
}

async fn replace(world: &World, old: &str, new: &str) {
    let tombstone = json!({ "body": "moved", "replacement_room": new });
    world.alice.set_state(old, "m.room.tombstone", "", tombstone).await;
}

async fn r91_a_plumbed_room_is_followed_and_so_it_is_at_every_start(ircd: IrcdConfig) {
    let mut world = World::new(ircd).await;
    world.alice_speaks().await;
    world.alice.expect_membership(&world.room, DORA, "join").await;
    let new = new_room(&world, &world.room, "public_chat").await;
    replace(&world, &world.room, &new).await;
    world.alice.expect_membership(&new, DORA, "join").await;
    world.alice.expect_membership(&world.room, DORA, "leave").await;
    world.alice.say(&new, "here now").await;
    world.dora.expect_text(TEA, |from| from == ALICE, "here now").await;
    world.dora.say(TEA, "so am I").await;
    world.alice.expect_message(&new, |from| from == DORA, "so am I").await;
    let parted = world.dora.lines().iter().any(|line| line.nick() == ALICE && (line.is("PART") || line.is("QUIT")));
    assert!(!parted, "who moves with a room doesn't leave the channel");
    // What is said where the room was isn't said anywhere else.
    let lost = world.alice.say(&world.room, "anybody?").await;
    world.expect_told(&lost).await;
    // The configuration still names the old room.
    world.bridge.terminate().await;
    world.bridge.restart().await;
    world.ircd.expect_on_channel(BOT, TEA).await;
    world.alice.say(&new, "still here").await;
    world.dora.expect_text(TEA, |from| from == ALICE, "still here").await;
    world.dora.say(TEA, "good").await;
    world.alice.expect_message(&new, |from| from == DORA, "good").await;
}

async fn r91_a_room_of_ours_moves_with_its_alias(ircd: IrcdConfig) {
    let mut world = World::with(ircd, |network| network.join_by_alias().set("portals", "listed", "true")).await;
    world.dora.join("#milk").await;
    let old = world.alice.join(MILK).await;
    world.alice.expect_membership(&old, DORA, "join").await;
    let says_so = |room: &str, expected: bool| {
        let room = room.to_owned();
        move |state: &crate::support::homeserver::State| {
            let said = state.rooms.get(&room)?.content("m.bridge", "footbridge://irc/net/%23milk")?;
            (said.as_object()?.is_empty() != expected).then_some(())
        }
    };
    world.homeserver.wait_until("the room to say so", says_so(&old, true)).await;
    let listed = |state: &crate::support::homeserver::State| state.listed.contains(&old).then_some(());
    world.homeserver.wait_until("the room to be listed", listed).await;
    // The operator replaces it, by the bot's own hand.
    let as_bot = async |method: Method, path: String, body: serde_json::Value| {
        world.homeserver.request(BRIDGE, &method, &path, body).await.expect("the bot may")
    };
    let predecessor = json!({ "preset": "public_chat", "creation_content": { "predecessor": { "room_id": old } } });
    let made = as_bot(Method::POST, "/_matrix/client/v3/createRoom".into(), predecessor).await;
    let new = made["room_id"].as_str().unwrap().to_owned();
    world.alice.join(&new).await;
    // Somebody other than the bridge has to say so: what our own users do is no news.
    let powers = json!({ "users": { "@alice:hs.test": 200 }, "events": { "m.room.tombstone": 150 } });
    as_bot(Method::PUT, format!("/_matrix/client/v3/rooms/{}/state/m.room.power_levels/", encode(&old)), powers).await;
    replace(&world, &old, &new).await;
    world.alice.expect_membership(&new, DORA, "join").await;
    world.alice.expect_membership(&old, DORA, "leave").await;
    world.homeserver.wait_until("the new room to say so", says_so(&new, true)).await;
    world.homeserver.wait_until("the old room to say so no more", says_so(&old, false)).await;
    let moved = |state: &crate::support::homeserver::State| (state.aliases.get(MILK)? == &new).then_some(());
    world.homeserver.wait_until("the alias to move", moved).await;
    let only_new = |state: &crate::support::homeserver::State| {
        (state.listed.contains(&new) && !state.listed.contains(&old)).then_some(())
    };
    world.homeserver.wait_until("the new room to be listed in place of the old", only_new).await;
    world.homeserver.wait_pushed().await;
    world.bridge.terminate().await;
    world.bridge.restart().await;
    world.ircd.expect_on_channel(BOT, "#milk").await;
    world.ircd.expect_on_channel(ALICE, "#milk").await;
    world.dora.say("#milk", "moo").await;
    world.alice.expect_message(&new, |from| from == DORA, "moo").await;
    world.alice.say(&new, "moo?").await;
    world.dora.expect_text("#milk", |from| from == ALICE, "moo?").await;
    assert!(!world.homeserver.messages(&old).contains(&"moo".to_owned()));
}

async fn r91_a_room_that_does_not_point_back_is_not_followed(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.alice_speaks().await;
    let trap = world.alice.create_room(json!({ "preset": "public_chat" })).await;
    let other = new_room(&world, &trap, "public_chat").await;
    for new in [&trap, &other] {
        replace(&world, &world.room, new).await;
        // It looks, and goes.
        world.alice.expect_membership(new, BRIDGE, "leave").await;
    }
    world.settle("here as ever").await;
    assert!(world.homeserver.state().rooms[&trap].membership(DORA).is_none());
}

async fn r91_a_room_that_refuses_the_bot_is_followed_when_it_is_invited(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.alice_speaks().await;
    let new = new_room(&world, &world.room, "private_chat").await;
    replace(&world, &world.room, &new).await;
    world.settle("not yet").await;
    world.alice.invite(&new, BRIDGE).await;
    world.alice.expect_membership(&new, DORA, "join").await;
    world.alice.say(&new, "now").await;
    world.dora.expect_text(TEA, |from| from == ALICE, "now").await;
}
