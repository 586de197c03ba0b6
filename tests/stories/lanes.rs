//! The ways into rooms: what is under way when the bridge stops, what waits for what, and ghosts that the homeserver forgot.

use serde_json::json;

use super::{
    journal::meets,
    world::{ALICE, BOT, DORA, TEA, World, on_both_kinds_of_server},
};
use crate::support::{IrcdConfig, Outage, homeserver::State, process::POLL, wait::DEADLINE};

on_both_kinds_of_server!(
    a_private_message_waits_for_the_next_run,
    a_failure_waits_for_the_next_run_where_it_can_be_told,
    a_join_that_has_to_wait_holds_up_nobody,
    a_ghost_that_the_homeserver_forgot_is_made_anew,
);

/// Waits until somebody has this message, in whatever room.
async fn expect_anywhere(world: &World, from: &str, body: &str) {
    world
        .homeserver
        .wait_until(&format!("`{body}` of {from}"), |state| {
            let mut events = state.rooms.values().flat_map(|room| &room.timeline);
            events.find(|event| event.sender == from && event.body() == body).map(|_| ())
        })
        .await;
}

/// No room can be made for it, and the bridge is stopped: that is no refusal.
async fn a_private_message_waits_for_the_next_run(ircd: IrcdConfig) {
    let mut world = World::new(ircd).await;
    world.settle("start").await;
    world.homeserver.auto_join(world.alice.id());
    world.homeserver.outage(Outage::BadGateway);
    world.dora.say(ALICE, "psst").await;
    meets(&world.homeserver, 2).await;
    assert_eq!(world.bridge.terminate().await.code(), Some(0));
    world.homeserver.outage(None);
    world.bridge.restart().await;
    expect_anywhere(&world, DORA, "psst").await;
    assert!(world.dora.texts("dora").iter().all(|(_, text)| !text.contains("could not")), "dora was told of a failure");
}

/// The bot may not speak in the room, and the user's control room can't be made now.
async fn a_failure_waits_for_the_next_run_where_it_can_be_told(ircd: IrcdConfig) {
    let mut world = World::new(ircd).await;
    world.settle("start").await;
    world.alice.set_state(&world.room, "m.room.power_levels", "", json!({ "events_default": 50 })).await;
    world.homeserver.wait_pushed().await;
    // The control room's name.
    world.homeserver.outage(Outage::StumblesOver("IRC bridge"));
    let events = json!([{
        "type": "m.room.message", "room_id": world.room, "sender": world.alice.id(), "event_id": "$old:hs.test",
        "origin_server_ts": 1, "content": { "msgtype": "m.text", "body": "from another age" },
    }]);
    assert_eq!(world.homeserver.push_transaction("old", &json!({ "events": events })).await, Some(200));
    // It is refused in the room, and then tried elsewhere.
    meets(&world.homeserver, 3).await;
    assert_eq!(world.bridge.terminate().await.code(), Some(0));
    assert_eq!(world.told(), []);
    world.homeserver.outage(None);
    world.bridge.restart().await;
    let told = world.expect_told("$old:hs.test").await;
    assert_ne!(told.room_id, world.room);
}

async fn a_join_that_has_to_wait_holds_up_nobody(ircd: IrcdConfig) {
    const EVE: &str = "@irc_net_eve:hs.test";
    let world = World::new(ircd).await;
    world.settle("start").await;
    // Whatever Eve's ghost does; and she says nothing.
    world.homeserver.outage(Outage::RateLimitedAt("irc_net_eve"));
    let eve = world.ircd.client("eve").await;
    eve.join(TEA).await;
    meets(&world.homeserver, 2).await;
    world.settle("while she waits").await;
    world.homeserver.outage(None);
    world.settle("she may come").await;
    world.homeserver.expect_membership(&world.room, EVE, "join").await;
}

/// It was restored from a backup that is older than the ghost.
async fn a_ghost_that_the_homeserver_forgot_is_made_anew(ircd: IrcdConfig) {
    let mut world = World::new(ircd).await;
    world.settle("start").await;
    let forget = async |world: &World| {
        world.dora.raw(&format!("PART {TEA}")).await;
        world.homeserver.expect_membership(&world.room, DORA, "leave").await;
        world.homeserver.state().users.remove(DORA).expect("the ghost was there");
    };
    for life in ["first", "second"] {
        // Silent: it is only to come in.
        forget(&world).await;
        world.dora.join(TEA).await;
        world.homeserver.expect_membership(&world.room, DORA, "join").await;
        // Not in the room, and it speaks.
        forget(&world).await;
        world.dora.raw(&format!("JOIN {TEA}")).await;
        world.dora.say(TEA, &format!("in my {life} life")).await;
        world.alice.expect_message(&world.room, |from| from == DORA, &format!("in my {life} life")).await;
        if life == "first" {
            world.bridge.terminate().await;
            world.bridge.restart().await;
            world.ircd.expect_on_channel(BOT, TEA).await;
        }
    }
    // It is to make a room.
    world.alice_speaks().await;
    world.homeserver.auto_join(world.alice.id());
    forget(&world).await;
    world.dora.say(ALICE, "just us").await;
    expect_anywhere(&world, DORA, "just us").await;
}

/// The homeserver fails over one ghost's leave, and over nothing else: the ghost is still in the room, and that isn't forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ghost_that_could_not_leave_leaves_when_it_is_missed() {
    let world = World::new(IrcdConfig::modern()).await;
    world.settle("start").await;
    world.homeserver.outage(Outage::StumblesOver("over this"));
    world.dora.part(TEA, "stumble over this").await;
    let given_up = async {
        while !world.bridge.log().contains("could not let a ghost leave the room") {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(DEADLINE, given_up).await.expect("it isn't tried for ever");
    world.homeserver.expect_membership(&world.room, DORA, "join").await;
    world.homeserver.outage(None);
    // The channel is looked at anew.
    world.ircd.cut(BOT);
    world.homeserver.expect_membership(&world.room, DORA, "leave").await;
}

/// The bot may not ask in the room whether the homeserver works: it asks in a room of its own, in each life in the same one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bots_own_room_is_made_once() {
    let mut world = World::new(IrcdConfig::modern()).await;
    world
        .alice
        .set_state(
            &world.room,
            "m.room.power_levels",
            "",
            json!({ "events_default": 0, "events": { "footbridge.probe": 100 } }),
        )
        .await;
    let mut rooms = Vec::new();
    for life in ["first", "second"] {
        world.settle(life).await;
        world.homeserver.outage(Outage::StumblesOver("stumble"));
        world.dora.say(TEA, "stumble").await;
        let asked = |state: &State| {
            let events = state.rooms.values().flat_map(|room| &room.timeline);
            (events.filter(|event| event.kind == "footbridge.probe").count() == rooms.len() + 1).then_some(())
        };
        world.homeserver.wait_until("the question", asked).await;
        world.homeserver.outage(None);
        rooms.push(world.homeserver.state().rooms.len());
        if life == "first" {
            world.bridge.terminate().await;
            world.bridge.restart().await;
            world.ircd.expect_on_channel(BOT, TEA).await;
        }
    }
    assert_eq!(rooms, [2, 2], "the portal's and the bot's own");
}
