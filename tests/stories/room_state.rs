//! What rooms say of their channels and of their users' nicks (R82, R92).

use serde_json::{Value, json};

use super::world::{ALICE, Stage, TEA, World, on_both_kinds_of_server};
use crate::support::{IrcdConfig, MatrixUser};

const BRIDGE: &str = "@footbridge:hs.test";
const TEA_KEY: &str = "footbridge://irc/net/%23tea";
const NICK: &str = "footbridge.nick";

on_both_kinds_of_server!(
    r92_a_room_says_with_which_channel_it_is_bridged,
    r92_where_the_bot_may_not_say_it_waits_for_its_power,
    r82_a_room_says_what_its_users_are_called,
    r82_a_ghosts_profile_says_who_it_is_on_irc,
);

fn levels(bot: u32) -> Value {
    json!({ "users": { BRIDGE: bot }, "state_default": 50 })
}

async fn world(ircd: IrcdConfig) -> World {
    let stage = Stage::set(ircd).await;
    stage.alice.set_state(&stage.room, "m.room.power_levels", "", levels(51)).await;
    let bridge = stage.bridge().network(stage.network());
    stage.start(bridge).await
}

/// Waits until the latest state of this kind and key is `expected`.
async fn expect_state(user: &MatrixUser, room: &str, kind: &str, key: &str, expected: &Value) {
    user.wait_for(room, &format!("{kind} {key} to be {expected}"), |events| {
        let latest = events.iter().rev().find(|e| e.kind == kind && e.state_key.as_deref() == Some(key))?;
        (latest.content == *expected).then_some(())
    })
    .await;
}

/// How often the bot has set state of this kind in the room.
fn times(world: &World, kind: &str) -> usize {
    let timeline = world.homeserver.timeline(&world.room);
    timeline.iter().filter(|event| event.kind == kind && event.sender == BRIDGE).count()
}

async fn r92_a_room_says_with_which_channel_it_is_bridged(ircd: IrcdConfig) {
    let mut world = world(ircd).await;
    for kind in ["m.bridge", "uk.half-shot.bridge"] {
        expect_state(&world.alice, &world.room, kind, TEA_KEY, &bridged()).await;
    }
    let features = "com.beeper.room_features";
    world
        .alice
        .wait_for(&world.room, "what gets through", |events| {
            let said = events.iter().find(|event| event.kind == features)?;
            (said.content["file"]["m.image"]["mime_types"]["*/*"] == -2).then_some(())
        })
        .await;
    // Once is enough, also for the next run.
    world.bridge.terminate().await;
    world.bridge.restart().await;
    world.alice_speaks().await;
    expect_state(&world.alice, &world.room, NICK, "net_@alice:hs.test", &nick(ALICE)).await;
    for kind in ["m.bridge", "uk.half-shot.bridge", features] {
        assert_eq!(times(&world, kind), 1, "{kind}");
    }
}

async fn r92_where_the_bot_may_not_say_it_waits_for_its_power(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.alice_speaks().await;
    world.settle("nothing is said").await;
    assert_eq!((times(&world, "m.bridge"), times(&world, NICK)), (0, 0));
    world.alice.set_state(&world.room, "m.room.power_levels", "", levels(50)).await;
    expect_state(&world.alice, &world.room, NICK, "net_@alice:hs.test", &nick(ALICE)).await;
    expect_state(&world.alice, &world.room, "m.bridge", TEA_KEY, &bridged()).await;
}

fn bridged() -> Value {
    json!({
        "bridgebot": BRIDGE,
        "protocol": { "id": "irc", "displayname": "IRC" },
        "network": { "id": "net", "displayname": "net" },
        "channel": { "id": "#tea", "displayname": "#tea" },
    })
}

fn nick(nick: &str) -> Value {
    json!({ "network": "net", "user": "@alice:hs.test", "nick": nick })
}

async fn r82_a_room_says_what_its_users_are_called(ircd: IrcdConfig) {
    let world = world(ircd).await;
    let (alice, room, key) = (&world.alice, &world.room, "net_@alice:hs.test");
    // Somebody else has it.
    let _impostor = world.ircd.client(ALICE).await;
    alice.say(room, "hello").await;
    world.dora.expect_text(TEA, |from| from == "alice1[m]", "hello").await;
    expect_state(alice, room, NICK, key, &nick("alice1[m]")).await;
    world.ircd.force_nick("alice1[m]", "Guest7");
    expect_state(alice, room, NICK, key, &nick("Guest7")).await;
    // A connection that comes back with the same nick is no news.
    let before = times(&world, NICK);
    world.ircd.force_nick("Guest7", "alice1[m]");
    expect_state(alice, room, NICK, key, &nick("alice1[m]")).await;
    world.ircd.cut("alice1[m]");
    world.ircd.expect_gone("alice1[m]").await;
    world.ircd.expect_on_channel("alice1[m]", TEA).await;
    let bob = world.homeserver.user("bob");
    bob.join(room).await;
    let bobs = json!({ "network": "net", "user": "@bob:hs.test", "nick": "bob[m]" });
    expect_state(alice, room, NICK, "net_@bob:hs.test", &bobs).await;
    assert_eq!(times(&world, NICK), before + 2);
    // Who has left has none any more.
    bob.leave(room).await;
    expect_state(alice, room, NICK, "net_@bob:hs.test", &json!({})).await;
}

async fn r82_a_ghosts_profile_says_who_it_is_on_irc(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    let eve = world.ircd.client("Eve[1]").await;
    eve.join(TEA).await;
    let expected = json!({ "network": "net", "nick": "Eve[1]" });
    let says = |state: &crate::support::homeserver::State| {
        let mut ghosts = state.users.iter().filter(|(user, _)| user.starts_with("@irc_net_eve"));
        ghosts.any(|(_, profile)| profile.get("footbridge.irc") == Some(&expected)).then_some(())
    };
    world.homeserver.wait_until("a ghost's profile to say who it is", says).await;
}
