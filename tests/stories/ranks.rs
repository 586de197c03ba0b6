//! Ranks on IRC are power on Matrix, as long as they last (R54, R57).

use serde_json::{Value, json};

use super::world::{DORA, Stage, TEA, World, on_both_kinds_of_server};
use crate::support::{IrcdConfig, MatrixUser};

const BRIDGE: &str = "@footbridge:hs.test";
const KIND: &str = "m.room.power_levels";

on_both_kinds_of_server!(
    r54_ranks_are_power_as_long_as_they_last,
    r54_a_puppets_user_has_their_power_too,
    r54_who_has_power_from_elsewhere_keeps_it,
    r54_ranks_given_one_after_the_other_are_one_event,
    r54_only_who_is_there_has_power,
);

fn levels(users: &Value) -> Value {
    json!({ "users": users, "events": { KIND: 51 }, "state_default": 50, "kick": 50, "ban": 50, "invite": 0 })
}

/// A world in whose room the bot has a little more power than it may give.
async fn world(ircd: IrcdConfig, join_below: &str) -> World {
    let stage = Stage::set(ircd).await;
    stage.alice.set_state(&stage.room, KIND, "", levels(&json!({ BRIDGE: 51 }))).await;
    let bridge = stage.bridge().network(stage.network().set("ghosts", "join_below", join_below));
    stage.start(bridge).await
}

/// Waits until the room's levels name these users and nobody else but the bot.
async fn expect_levels(alice: &MatrixUser, room: &str, expected: Value) {
    let mut wanted = expected.as_object().cloned().unwrap_or_default();
    wanted.insert(BRIDGE.into(), json!(51));
    alice
        .wait_for(room, &format!("levels {wanted:?}"), |events| {
            let latest = events.iter().rev().find(|event| event.kind == KIND)?;
            (latest.content["users"].as_object() == Some(&wanted)).then_some(())
        })
        .await;
}

fn level_events(world: &World) -> usize {
    let state = world.homeserver.state();
    state.rooms[&world.room].timeline.iter().filter(|event| event.kind == KIND && event.sender == BRIDGE).count()
}

async fn r54_ranks_are_power_as_long_as_they_last(ircd: IrcdConfig) {
    let world = world(ircd, "1000").await;
    let (alice, room) = (&world.alice, &world.room);
    // Dora has been an operator from the start.
    expect_levels(alice, room, json!({ DORA: 50 })).await;
    let eve = world.ircd.client("eve").await;
    eve.join(TEA).await;
    let with_eve = |level: i64| json!({ DORA: 50, "@irc_net_eve:hs.test": level });
    world.dora.raw(&format!("MODE {TEA} +v eve")).await;
    expect_levels(alice, room, with_eve(1)).await;
    world.dora.raw(&format!("MODE {TEA} +o eve")).await;
    expect_levels(alice, room, with_eve(50)).await;
    // What is left of two is the lower.
    world.dora.raw(&format!("MODE {TEA} -o eve")).await;
    expect_levels(alice, room, with_eve(1)).await;
    eve.raw("NICK Eva").await;
    expect_levels(alice, room, json!({ DORA: 50, "@irc_net_eva:hs.test": 1 })).await;
    eve.raw("QUIT :bye").await;
    expect_levels(alice, room, json!({ DORA: 50 })).await;
    world.dora.raw(&format!("MODE {TEA} -o dora")).await;
    expect_levels(alice, room, json!({})).await;
    let content = alice.state(room, KIND, "").await.expect("there are levels");
    assert_eq!(content["footbridge.given"], Value::Null, "nothing is left of it: {content}");
}

async fn r54_a_puppets_user_has_their_power_too(ircd: IrcdConfig) {
    let world = world(ircd, "1000").await;
    let (alice, room) = (&world.alice, &world.room);
    let bob = world.homeserver.user("bob");
    bob.join(room).await;
    world.ircd.expect_on_channel("bob[m]", TEA).await;
    world.dora.raw(&format!("MODE {TEA} +o bob[m]")).await;
    expect_levels(alice, room, json!({ DORA: 50, bob.id(): 50 })).await;
    // His connection is lost: so is his rank, until somebody gives it to him again.
    world.ircd.cut("bob[m]");
    expect_levels(alice, room, json!({ DORA: 50 })).await;
    world.ircd.expect_on_channel("bob[m]", TEA).await;
    world.dora.raw(&format!("MODE {TEA} +o bob[m]")).await;
    expect_levels(alice, room, json!({ DORA: 50, bob.id(): 50 })).await;
    bob.leave(room).await;
    expect_levels(alice, room, json!({ DORA: 50 })).await;
}

async fn r54_who_has_power_from_elsewhere_keeps_it(ircd: IrcdConfig) {
    let world = world(ircd, "1000").await;
    let (alice, room) = (&world.alice, &world.room);
    expect_levels(alice, room, json!({ DORA: 50 })).await;
    let bob = world.homeserver.user("bob");
    bob.join(room).await;
    world.ircd.expect_on_channel("bob[m]", TEA).await;
    let own = levels(&json!({ BRIDGE: 51, DORA: 75, bob.id(): 30 }));
    alice.set_state(room, KIND, "", own).await;
    world.dora.raw(&format!("MODE {TEA} +o bob[m]")).await;
    expect_levels(alice, room, json!({ DORA: 75, bob.id(): 50 })).await;
    world.dora.raw(&format!("MODE {TEA} -o bob[m]")).await;
    expect_levels(alice, room, json!({ DORA: 75, bob.id(): 30 })).await;
    world.dora.raw(&format!("MODE {TEA} +v bob[m]")).await;
    world.dora.raw(&format!("MODE {TEA} +v dora")).await;
    let eve = world.ircd.client("eve").await;
    eve.join(TEA).await;
    world.dora.raw(&format!("MODE {TEA} +v eve")).await;
    expect_levels(alice, room, json!({ DORA: 75, bob.id(): 30, "@irc_net_eve:hs.test": 1 })).await;
}

async fn r54_ranks_given_one_after_the_other_are_one_event(ircd: IrcdConfig) {
    let world = world(ircd, "1000").await;
    let (alice, room) = (&world.alice, &world.room);
    expect_levels(alice, room, json!({ DORA: 50 })).await;
    let before = level_events(&world);
    let crowd = world.ircd.crowd((0..6).map(|n| format!("c{n}")), TEA);
    assert_eq!(crowd.len(), 6);
    // In one go, so that nothing comes between them.
    let lines = ["+ooo c0 c1 c2", "+vvv c3 c4 c5", "+v-v c0 c5"].map(|modes| format!("MODE {TEA} {modes}"));
    world.dora.raw(&lines.join("\r\n")).await;
    let ghost = |n: usize| format!("@irc_net_c{n}:hs.test");
    let expected = json!({ DORA: 50, ghost(0): 50, ghost(1): 50, ghost(2): 50, ghost(3): 1, ghost(4): 1 });
    expect_levels(alice, room, expected).await;
    assert_eq!(level_events(&world) - before, 1);
}

/// A ghost that isn't in the room needs no power there.
async fn r54_only_who_is_there_has_power(ircd: IrcdConfig) {
    let world = world(ircd, "0").await;
    let (alice, room) = (&world.alice, &world.room);
    let eve = world.ircd.client("eve").await;
    eve.join(TEA).await;
    world.dora.raw(&format!("MODE {TEA} +o eve")).await;
    world.dora.say(TEA, "hello").await;
    expect_levels(alice, room, json!({ DORA: 50 })).await;
    eve.say(TEA, "me too").await;
    expect_levels(alice, room, json!({ DORA: 50, "@irc_net_eve:hs.test": 50 })).await;
}

/// Where the bot may not give any power, nobody gets any.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r54_a_bot_without_power_gives_none() {
    let world = World::new(IrcdConfig::modern()).await;
    world.settle("hello").await;
    let eve = world.ircd.client("eve").await;
    eve.join(TEA).await;
    world.alice.expect_membership(&world.room, "@irc_net_eve:hs.test", "join").await;
    world.settle("end").await;
    assert_eq!((level_events(&world), world.told()), (0, vec![]), "nor says anything");
    // It begins when it has some.
    world.alice.set_state(&world.room, KIND, "", levels(&json!({ BRIDGE: 51 }))).await;
    world.dora.raw(&format!("MODE {TEA} +v eve")).await;
    expect_levels(&world.alice, &world.room, json!({ DORA: 50, "@irc_net_eve:hs.test": 1 })).await;
}
