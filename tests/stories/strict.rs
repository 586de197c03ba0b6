//! Strict rooms: nobody on Matrix reads a line while IRC can't see that they do (R11, R16, R17, R46).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::json;

use super::world::{ALICE, DORA, Stage, TEA, World, on_both_kinds_of_server};
use crate::support::{IrcdConfig, homeserver::Witness};

const BRIDGE: &str = "@footbridge:hs.test";

on_both_kinds_of_server!(
    r17_newcomers_are_asked_in_once_irc_sees_them,
    r16_who_is_kicked_on_irc_is_out_before_the_next_line,
    r46_who_cannot_be_seen_is_shown_out_and_nothing_is_lost,
    r16_a_room_that_cannot_be_made_strict_shows_nothing,
    r16_nobody_ever_reads_unseen,
);

/// Gives the bot all the power that it needs.
async fn empower(stage: &Stage) {
    let levels = json!({ "users": { BRIDGE: 100 }, "state_default": 50, "kick": 50, "ban": 50, "invite": 0 });
    stage.alice.set_state(&stage.room, "m.room.power_levels", "", levels).await;
}

async fn world(ircd: IrcdConfig, patience: u32) -> World {
    let stage = Stage::set(ircd).await;
    empower(&stage).await;
    let bridge = stage.bridge().network(stage.network().strict(patience));
    stage.start(bridge).await
}

async fn r17_newcomers_are_asked_in_once_irc_sees_them(ircd: IrcdConfig) {
    let world = world(ircd, 300).await;
    world.settle("start").await;
    let state = |kind: &str, key: &str| {
        let state = world.homeserver.state();
        state.rooms[&world.room].content(kind, "").map(|content| content[key].clone()).unwrap_or_default()
    };
    assert_eq!(state("m.room.join_rules", "join_rule"), "knock");
    assert_eq!(state("m.room.history_visibility", "history_visibility"), "joined");
    assert_eq!(state("m.room.power_levels", "invite"), 50);
    let bob = world.homeserver.user("bob");
    bob.knock(&world.room).await;
    world.ircd.expect_on_channel("bob[m]", TEA).await;
    let invited = bob.expect_membership(&world.room, bob.id(), "invite").await;
    assert_eq!(invited.sender, BRIDGE);
    bob.join(&world.room).await;
    world.dora.say(TEA, "welcome").await;
    bob.expect_message(&world.room, |from| from == DORA, "welcome").await;
    // Whom somebody else asks in could read as soon as they accept: so they are brought in first.
    let eve = world.homeserver.user("eve");
    world.alice.invite(&world.room, eve.id()).await;
    world.ircd.expect_on_channel("eve[m]", TEA).await;
    eve.join(&world.room).await;
    world.settle("end").await;
    // Who can't be let in on IRC is turned away, with the reason.
    world.ircd.refuse_join(TEA, Some(474));
    let mallory = world.homeserver.user("mallory");
    mallory.knock(&world.room).await;
    let turned_away = mallory.expect_membership(&world.room, mallory.id(), "leave").await;
    assert!(turned_away.content["reason"].as_str().unwrap_or_default().contains("banned"), "{turned_away}");
    assert_eq!(turned_away.sender, BRIDGE);
}

async fn r16_who_is_kicked_on_irc_is_out_before_the_next_line(ircd: IrcdConfig) {
    let world = world(ircd, 300).await;
    world.settle("start").await;
    let bob = world.homeserver.user("bob");
    bob.knock(&world.room).await;
    bob.expect_membership(&world.room, bob.id(), "invite").await;
    bob.join(&world.room).await;
    world.settle("bob is here").await;
    let lines = format!("KICK {TEA} bob[m] :out\r\nPRIVMSG {TEA} :now that he is gone");
    world.dora.raw(&lines).await;
    world.alice.expect_message(&world.room, |from| from == DORA, "now that he is gone").await;
    let state = world.homeserver.state();
    let timeline = &state.rooms[&world.room].timeline;
    let left = timeline.iter().rposition(|event| event.is_membership(bob.id(), "leave")).expect("bob is out");
    let said = timeline.iter().position(|event| event.body() == "now that he is gone").expect("it was said");
    assert!(left < said, "bob left at {left}, and it was said at {said}");
}

async fn r46_who_cannot_be_seen_is_shown_out_and_nothing_is_lost(ircd: IrcdConfig) {
    let world = world(ircd, 1).await;
    world.settle("start").await;
    let bob = world.homeserver.user("bob");
    bob.knock(&world.room).await;
    bob.expect_membership(&world.room, bob.id(), "invite").await;
    bob.join(&world.room).await;
    world.settle("bob is here").await;
    // He can't come back.
    world.ircd.refuse_join(TEA, Some(471));
    world.ircd.cut("bob[m]");
    world.dora.expect("the QUIT", |line| line.is("QUIT") && line.nick() == "bob[m]").await;
    world.dora.say(TEA, "said while he is away").await;
    world.alice.expect_message(&world.room, |from| from == DORA, "said while he is away").await;
    let state = world.homeserver.state();
    let timeline = &state.rooms[&world.room].timeline;
    let left = timeline.iter().rposition(|event| event.is_membership(bob.id(), "leave")).expect("bob is out");
    let said = timeline.iter().position(|event| event.body() == "said while he is away").expect("it was said");
    assert!(left < said, "bob left at {left}, and it was said at {said}");
    let reason = timeline[left].content["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("seen on IRC") && reason.contains("knock"), "{reason}");
}

async fn r16_a_room_that_cannot_be_made_strict_shows_nothing(ircd: IrcdConfig) {
    let stage = Stage::set(ircd).await;
    let bridge = stage.bridge().network(stage.network().strict(300));
    let world = stage.start(bridge).await;
    world.ircd.expect_on_channel(ALICE, TEA).await;
    world.dora.say(TEA, "not yet").await;
    world
        .alice
        .wait_for(&world.room, "why nothing comes", |events| {
            events.iter().any(|event| event.sender == BRIDGE && event.body().contains("is to be strict")).then_some(())
        })
        .await;
    assert_eq!(world.read("not yet"), 0);
    // Somebody who may see to it does.
    for (kind, content) in [
        ("m.room.history_visibility", json!({ "history_visibility": "joined" })),
        ("m.room.power_levels", json!({ "users": { BRIDGE: 50 }, "state_default": 60, "invite": 50 })),
        ("m.room.join_rules", json!({ "join_rule": "knock" })),
    ] {
        world.alice.set_state(&world.room, kind, "", content).await;
    }
    world.alice.expect_message(&world.room, |from| from == DORA, "not yet").await;
}

fn puppet(user: &str) -> String {
    format!("{}[m]", user[1..].split(':').next().unwrap_or_default())
}

/// What is random is the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // Splitmix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }
}

/// When each line was said, and when each nick was last in the channel; in steps.
#[derive(Default)]
struct Seen {
    step: u64,
    said: BTreeMap<String, u64>,
    last: BTreeMap<String, u64>,
}

impl Seen {
    fn look(&mut self, members: Vec<String>) {
        self.last.extend(members.into_iter().map(|nick| (nick, self.step)));
    }

    /// Whether this nick was in the channel when that was said, or since.
    fn heard(&self, nick: &str, line: &str) -> bool {
        self.last.get(nick) >= self.said.get(line)
    }
}

/// Random comings and goings on both sides: whoever is in the room when a line comes in was seen in the channel when it was said,
/// or since. `FOOTBRIDGE_STRICT_STEPS` makes it longer.
async fn r16_nobody_ever_reads_unseen(ircd: IrcdConfig) {
    let steps = std::env::var("FOOTBRIDGE_STRICT_STEPS").ok().and_then(|steps| steps.parse().ok()).unwrap_or(60);
    let start = steps ^ u64::from(ircd.caps.is_empty());
    let mut world = world(ircd, 2).await;
    world.settle("start").await;
    let (seen, leaks): (Arc<Mutex<Seen>>, Arc<Mutex<Vec<String>>>) = Default::default();
    let irc = world.ircd.clone();
    let (sight, found, room) = (seen.clone(), leaks.clone(), world.room.clone());
    world.homeserver.state().witness = Some(Witness(Box::new(move |place, event| {
        if place.id != room || !event.is_message() || event.sender != DORA {
            return;
        }
        let mut sight = sight.lock().unwrap();
        sight.look(irc.members(TEA));
        for reader in place.members("join").into_iter().filter(|user| *user != BRIDGE && !user.starts_with("@irc_")) {
            if !sight.heard(&puppet(reader), event.body()) {
                found.lock().unwrap().push(format!("{reader} reads `{}`", event.body()));
            }
        }
    })));
    let people: Vec<_> = ["bob", "carol", "erin"].map(|name| world.homeserver.user(name)).into();
    let mut dice = Dice(start);
    for step in 0..steps {
        let who = &people[usize::try_from(dice.roll(3)).unwrap()];
        let nick = puppet(who.id());
        let look = || seen.lock().unwrap().look(world.ircd.members(TEA));
        look();
        let membership = |world: &World| {
            let state = world.homeserver.state();
            state.rooms[&world.room].membership(who.id()).map(str::to_owned)
        };
        match (dice.roll(10), membership(&world).as_deref()) {
            (0..=2, Some("invite")) => _ = who.join(&world.room).await,
            (0..=2, None | Some("leave")) => who.knock(&world.room).await,
            (3, Some("join" | "invite" | "knock")) => who.leave(&world.room).await,
            (5, _) if world.ircd.members(TEA).contains(&nick) => world.ircd.cut(&nick),
            (6, _) if world.ircd.members(TEA).contains(&nick) => {
                world.dora.raw(&format!("KICK {TEA} {nick} :out")).await;
            }
            (7, _) => {
                let refusal = (dice.roll(2) == 0).then_some(473);
                world.ircd.refuse_join(TEA, refusal);
            }
            (8, _) if step % 20 == 8 => {
                world.bridge.kill();
                world.ircd.refuse_join(TEA, None);
                world.bridge.restart().await;
                // Alice made the room, so that nobody can show her out.
                world.ircd.expect_on_channel(ALICE, TEA).await;
            }
            _ => {}
        }
        world.dora.sync().await;
        let line = format!("line {step}");
        {
            let mut sight = seen.lock().unwrap();
            sight.step = step;
            sight.said.insert(line.clone(), step);
            sight.look(world.ircd.members(TEA));
        }
        world.dora.say(TEA, &line).await;
        if dice.roll(3) == 0 {
            // Sometimes the bridge is faster than people, sometimes not.
            tokio::time::sleep(Duration::from_millis(dice.roll(20))).await;
        }
    }
    world.ircd.refuse_join(TEA, None);
    let last = format!("line {}", steps - 1);
    world.alice.expect_message(&world.room, |from| from == DORA, &last).await;
    world.settle("end").await;
    assert_eq!(*leaks.lock().unwrap(), Vec::<String>::new(), "from {start}");
}
