//! What was missed on either side is found out and mended, by itself.

use axum::http::Method;
use serde_json::json;

use super::world::{ALICE, BOT, DORA, Stage, TEA, World, on_both_kinds_of_server};
use crate::support::{IrcdConfig, homeserver::encode};

on_both_kinds_of_server!(
    r10_ghosts_that_are_where_they_should_not_be_or_not_where_they_should,
    r10_irc_users_whose_coming_and_going_nobody_saw,
    r10_matrix_users_whose_coming_and_going_the_homeserver_never_told,
    whoever_was_kicked_from_the_room_is_not_brought_back,
);

/// The scene with a bridge that compares all the time.
async fn scene(ircd: IrcdConfig) -> World {
    let stage = Stage::set(ircd).await;
    let bridge = stage.bridge().homeserver("compare_seconds", "1").network(stage.network());
    stage.start(bridge).await
}

async fn r10_ghosts_that_are_where_they_should_not_be_or_not_where_they_should(ircd: IrcdConfig) {
    let world = scene(ircd).await;
    world.settle("one").await;
    let path = |what: &str| format!("/_matrix/client/v3/rooms/{}/{what}", encode(&world.room));
    let stray = "@irc_net_stray:hs.test";
    world.homeserver.state().add_user(stray);
    // As if an older bridge, or a database that was restored, had left it so.
    world.homeserver.request(stray, &Method::POST, &path("join"), json!({})).await.unwrap();
    world.homeserver.request(DORA, &Method::POST, &path("leave"), json!({})).await.unwrap();
    world.alice.expect_membership(&world.room, stray, "leave").await;
    world.alice.expect_membership(&world.room, DORA, "join").await;
    world.settle("two").await;
}

async fn r10_irc_users_whose_coming_and_going_nobody_saw(ircd: IrcdConfig) {
    let world = scene(ircd).await;
    world.settle("one").await;
    world.ircd.inject(BOT, b":dora!dora@h PART #tea\r\n:nobody!n@h JOIN #tea\r\n");
    world.alice.expect_membership(&world.room, DORA, "leave").await;
    world.alice.expect_membership(&world.room, "@irc_net_nobody:hs.test", "join").await;
    // The roster tells what is true.
    world.alice.expect_membership(&world.room, DORA, "join").await;
    world.alice.expect_membership(&world.room, "@irc_net_nobody:hs.test", "leave").await;
}

async fn r10_matrix_users_whose_coming_and_going_the_homeserver_never_told(ircd: IrcdConfig) {
    let world = scene(ircd).await;
    world.alice_speaks().await;
    let bob = world.homeserver.user("bob");
    bob.join(&world.room).await;
    world.ircd.expect_on_channel("bob[m]", TEA).await;
    world.homeserver.wait_pushed().await;
    world.homeserver.pause();
    let carol = world.homeserver.user("carol");
    carol.join(&world.room).await;
    bob.leave(&world.room).await;
    world.homeserver.forget_unpushed();
    world.homeserver.resume();
    world.ircd.expect_on_channel("carol[m]", TEA).await;
    world.ircd.expect_gone("bob[m]").await;
    assert!(world.ircd.members(TEA).contains(&ALICE.to_owned()), "whoever stays stays");
}

async fn whoever_was_kicked_from_the_room_is_not_brought_back(ircd: IrcdConfig) {
    let world = scene(ircd).await;
    world.settle("one").await;
    let eve = world.ircd.client("eve").await;
    eve.join(TEA).await;
    let ghost = "@irc_net_eve:hs.test";
    world.alice.expect_membership(&world.room, ghost, "join").await;
    // Alice may not do so on IRC.
    world.alice.kick(&world.room, ghost, "out").await;
    world.homeserver.wait_pushed().await;
    let stray = "@irc_net_stray:hs.test";
    world.homeserver.state().add_user(stray);
    let path = format!("/_matrix/client/v3/rooms/{}/join", encode(&world.room));
    world.homeserver.request(stray, &Method::POST, &path, json!({})).await.unwrap();
    world.alice.expect_membership(&world.room, stray, "leave").await;
    world.settle("compared").await;
    assert!(!world.alice.joined_members(&world.room).await.iter().any(|member| member == ghost));
    eve.say(TEA, "I am still here").await;
    world.alice.expect_message(&world.room, |from| from == ghost, "I am still here").await;
}
