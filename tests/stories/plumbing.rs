//! Rooms that are bridged by command: with the consent of the channel's operators, and until either side ends it.

use std::{process::Stdio, sync::Arc};

use axum::http::Method;
use serde_json::json;

use super::world::{ALICE, BOT, DORA, Stage, TEA, World, on_both_kinds_of_server};
use crate::support::{Event, IrcClient, IrcLine, IrcdConfig, MatrixUser, Network, Outage, ircd::Reaction};

on_both_kinds_of_server!(
    r28_a_room_is_plumbed_when_an_operator_agrees,
    r28_nobody_but_an_operator_can_agree,
    r30_a_hidden_channel_is_plumbed_by_its_operators_invitation,
    r30_what_keeps_the_bot_out_is_told_and_tried_once,
    r30_a_request_outlives_a_restart_and_is_taken_back,
    a_no_is_told_and_stands,
    r31_a_room_ends_its_bridge,
    r31_an_operator_ends_a_bridge_of_the_configuration,
    r29_a_channel_that_opted_out_is_left_alone,
    what_may_not_be_plumbed_is_refused_in_words,
);

const MILK: &str = "#milk";
const MATRIX_BOT: &str = "@footbridge:hs.test";

/// Another room of Alice's, which the bridge's bot is in, and `#milk`, where Dora is the operator.
async fn farm(world: &World) -> String {
    world.dora.join(MILK).await;
    let room = world.alice.create_room(json!({ "preset": "private_chat" })).await;
    let alice = world.alice.id().to_owned();
    let levels = json!({ "users": { MATRIX_BOT: 50, "@carl:hs.test": 50 }, "events": {}, "users_default": 0 });
    world.alice.set_state(&room, "m.room.power_levels", "", levels).await;
    world.alice.invite(&room, MATRIX_BOT).await;
    expect_notice(&world.alice, &room, "!plumb #channel").await;
    assert_ne!(alice, MATRIX_BOT);
    room
}

/// Waits for a notice of the bridge's bot that contains this.
async fn expect_notice(user: &MatrixUser, room: &str, text: &str) -> Arc<Event> {
    user.wait_for(room, &format!("a notice with `{text}`"), |timeline| {
        let is_it = |event: &&Arc<Event>| event.sender == MATRIX_BOT && event.body().contains(text);
        timeline.iter().find(is_it).cloned()
    })
    .await
}

/// Waits for a notice of the bot to somebody on IRC.
async fn expect_word(client: &IrcClient, text: &str) -> IrcLine {
    let what = format!("a notice with `{text}`");
    client.expect(&what, |line| line.is("NOTICE") && line.nick() == BOT && line.text().contains(text)).await
}

/// The code of a request, from what the operator is told.
async fn code(dora: &IrcClient) -> String {
    let line = expect_word(dora, " yes ").await;
    let words: Vec<&str> = line.text().split_whitespace().collect();
    let at = words.iter().position(|word| *word == "yes").expect("it says how to agree");
    words[at + 1].to_owned()
}

/// The JOINs of the bridge's bot for this channel.
fn joins(world: &World, channel: &str) -> usize {
    world.ircd.lines_from(BOT).iter().filter(|line| line.starts_with("JOIN") && line.contains(channel)).count()
}

async fn plumbed(world: &World) -> String {
    let room = farm(world).await;
    world.alice.say(&room, &format!("!plumb {MILK}")).await;
    let code = code(&world.dora).await;
    world.dora.say(BOT, &format!("yes {code}")).await;
    expect_notice(&world.alice, &room, "is bridged to #milk").await;
    room
}

async fn cross(world: &World, room: &str, mark: &str) {
    world.alice.say(room, &format!("moo {mark}")).await;
    world.dora.expect_text(MILK, |from| from == ALICE, &format!("moo {mark}")).await;
    world.dora.say(MILK, &format!("moo? {mark}")).await;
    world.alice.expect_message(room, |from| from == DORA, &format!("moo? {mark}")).await;
}

async fn r28_a_room_is_plumbed_when_an_operator_agrees(ircd: IrcdConfig) {
    let mut world = World::new(ircd).await;
    let room = farm(&world).await;
    world.alice.say(&room, "!plumb #milk").await;
    let asked = expect_word(&world.dora, "asks to bridge").await;
    assert!(asked.text().contains("@alice:hs.test") && asked.text().contains("(1 people)"), "{asked}");
    let code = code(&world.dora).await;
    expect_notice(&world.alice, &room, "I have asked dora").await;
    assert_eq!(joins(&world, MILK), 0, "not before anybody has agreed");
    world.dora.say(BOT, &format!("yes {code}")).await;
    expect_notice(&world.alice, &room, "is bridged to #milk").await;
    world.ircd.expect_on_channel(BOT, MILK).await;
    cross(&world, &room, "one").await;
    world.bridge.terminate().await;
    world.bridge.restart().await;
    world.ircd.expect_on_channel(BOT, MILK).await;
    cross(&world, &room, "two").await;
    world.alice.say(&room, "!irc status").await;
    expect_notice(&world.alice, &room, "This room is bridged to #milk").await;
}

async fn r28_nobody_but_an_operator_can_agree(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    let room = farm(&world).await;
    let (eve, bob) = (world.ircd.client("eve").await, world.ircd.client("bob").await);
    eve.join(MILK).await;
    eve.join("#honey").await;
    world.alice.say(&room, "!plumb #milk").await;
    let code = code(&world.dora).await;
    // A member, and somebody who is an operator elsewhere.
    for other in [&eve, &bob] {
        other.say(BOT, &format!("yes {code}")).await;
    }
    expect_word(&eve, "no op there now").await;
    expect_word(&bob, "doesn't show me that you are in").await;
    eve.say(BOT, &format!("no {code}")).await;
    expect_word(&eve, "no op there now").await;
    eve.raw(&format!("INVITE {BOT} {MILK}")).await;
    expect_word(&eve, "no op there now").await;
    eve.say(BOT, "yes nonsense").await;
    expect_word(&eve, "no such request").await;
    // An operator no more.
    world.dora.raw(&format!("MODE {MILK} +o-o eve dora")).await;
    world.dora.sync().await;
    world.dora.say(BOT, &format!("yes {code}")).await;
    expect_word(&world.dora, "no op there now").await;
    assert_eq!(joins(&world, MILK), 0);
    eve.say(BOT, &format!("YES {code}")).await;
    world.ircd.expect_on_channel(BOT, MILK).await;
}

async fn r30_a_hidden_channel_is_plumbed_by_its_operators_invitation(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    let room = farm(&world).await;
    let eve = world.ircd.client("eve").await;
    eve.join(MILK).await;
    world.dora.raw(&format!("MODE {MILK} +s")).await;
    world.dora.sync().await;
    world.alice.say(&room, "!plumb #milk").await;
    let told = expect_notice(&world.alice, &room, "I see no operator in #milk").await;
    let code =
        told.body().split("yes ").nth(1).and_then(|rest| rest.split('`').next()).expect("it says how").to_owned();
    world.dora.say(BOT, &format!("yes {code}")).await;
    expect_word(&world.dora, "/invite footbridge #milk").await;
    assert_eq!(joins(&world, MILK), 0);
    // One who may not: it comes in, sees that, and leaves.
    eve.raw(&format!("INVITE {BOT} {MILK}")).await;
    expect_word(&eve, "no op there now").await;
    world.dora.expect("the bot to leave", |line| line.is("PART") && line.nick() == BOT).await;
    assert_eq!(joins(&world, MILK), 1);
    world.dora.raw(&format!("INVITE {BOT} {MILK}")).await;
    expect_notice(&world.alice, &room, "is bridged to #milk").await;
    cross(&world, &room, "hidden").await;
}

async fn r30_what_keeps_the_bot_out_is_told_and_tried_once(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    let room = farm(&world).await;
    world.dora.raw(&format!("MODE {MILK} +i")).await;
    world.dora.sync().await;
    world.alice.say(&room, "!plumb #milk").await;
    let code = code(&world.dora).await;
    world.dora.say(BOT, &format!("yes {code}")).await;
    let told = expect_notice(&world.alice, &room, "I can't join #milk: the channel is invite-only").await;
    assert!(told.body().contains("/invite footbridge #milk"), "{}", told.body());
    expect_word(&world.dora, "/invite footbridge #milk").await;
    world.alice.say(&room, "!irc status").await;
    expect_notice(&world.alice, &room, "dora has agreed, and I can't join yet").await;
    assert_eq!(joins(&world, MILK), 1, "it doesn't try by itself");
    world.dora.raw(&format!("INVITE {BOT} {MILK}")).await;
    expect_notice(&world.alice, &room, "is bridged to #milk").await;
    assert_eq!(joins(&world, MILK), 2);
}

async fn r30_a_request_outlives_a_restart_and_is_taken_back(ircd: IrcdConfig) {
    let mut world = World::new(ircd).await;
    let room = farm(&world).await;
    world.alice.say(&room, "!plumb #milk").await;
    let first = code(&world.dora).await;
    expect_notice(&world.alice, &room, "I have asked dora").await;
    world.bridge.kill();
    world.ircd.expect_gone(BOT).await;
    world.bridge.restart().await;
    let again = code(&world.dora).await;
    assert_eq!(first, again);
    world.alice.say(&room, "!unplumb").await;
    expect_notice(&world.alice, &room, "The request is taken back").await;
    expect_word(&world.dora, "was taken back").await;
    world.dora.say(BOT, &format!("yes {first}")).await;
    expect_word(&world.dora, "no such request").await;
    assert_eq!(joins(&world, MILK), 0);
}

async fn a_no_is_told_and_stands(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    let room = farm(&world).await;
    world.alice.say(&room, "!plumb #milk").await;
    let code = code(&world.dora).await;
    world.dora.say(BOT, &format!("no {code}")).await;
    expect_notice(&world.alice, &room, "dora, an operator of #milk, has said no").await;
    world.alice.say(&room, "!plumb #MILK").await;
    expect_notice(&world.alice, &room, "aren't asked again for a day").await;
    assert_eq!(joins(&world, MILK), 0);
}

/// Everything of ours has left the room, and nothing comes back.
async fn expect_cleaned(world: &World, room: &str) {
    for user in [DORA, MATRIX_BOT] {
        world.alice.expect_membership(room, user, "leave").await;
    }
    let levels = world.alice.state(room, "m.room.power_levels", "").await.unwrap_or_default();
    assert!(
        levels["users"].get(DORA).is_none() && levels.get("footbridge.given").is_none_or(|given| *given == json!({})),
        "{levels}"
    );
}

async fn r31_a_room_ends_its_bridge(ircd: IrcdConfig) {
    let mut world = World::new(ircd).await;
    let room = plumbed(&world).await;
    cross(&world, &room, "one").await;
    let bob = world.homeserver.user("bob");
    world.alice.invite(&room, bob.id()).await;
    bob.join(&room).await;
    bob.say(&room, "!unplumb").await;
    expect_notice(&bob, &room, "@bob:hs.test may not").await;
    cross(&world, &room, "two").await;
    world.alice.say(&room, "!unplumb").await;
    expect_notice(&world.alice, &room, "@alice:hs.test has ended this room's bridge").await;
    for nick in [BOT, ALICE] {
        world.dora.expect("the PART", |line| line.is("PART") && line.nick() == nick && line.param(0) == MILK).await;
    }
    expect_cleaned(&world, &room).await;
    world.bridge.terminate().await;
    world.bridge.restart().await;
    world.settle("after the restart").await;
    assert_eq!(world.ircd.members(MILK), ["dora"]);
    assert_eq!(world.alice.joined_members(&room).await, [world.alice.id(), bob.id()]);
}

async fn r31_an_operator_ends_a_bridge_of_the_configuration(ircd: IrcdConfig) {
    let mut world = World::new(ircd).await;
    world.settle("before").await;
    let eve = world.ircd.client("eve").await;
    eve.join(TEA).await;
    eve.say(BOT, &format!("unplumb {TEA}")).await;
    expect_word(&eve, "no op there now").await;
    world.settle("still").await;
    world.dora.say(BOT, &format!("unplumb {TEA}")).await;
    expect_word(&world.dora, "is bridged no more").await;
    expect_notice(&world.alice, &world.room, "dora, an operator of #tea, has ended").await;
    expect_cleaned(&world, &world.room).await;
    world.ircd.expect_gone(ALICE).await;
    // Nothing comes back, as often as it is started.
    for _ in 0..2 {
        world.bridge.terminate().await;
        world.bridge.restart().await;
        world.ircd.wait_until("the bot", |state| state.find(BOT).map(|_| ())).await;
        world.dora.say(BOT, &format!("unplumb {TEA}")).await;
        expect_word(&world.dora, "isn't bridged by me").await;
    }
    assert_eq!(world.ircd.members(TEA), ["dora", "eve"]);
    assert_eq!(world.alice.joined_members(&world.room).await, [world.alice.id()]);
}

async fn r29_a_channel_that_opted_out_is_left_alone(ircd: IrcdConfig) {
    let mut world = World::with(ircd, Network::join_by_alias).await;
    let room = farm(&world).await;
    world.dora.say(BOT, &format!("optout {MILK}")).await;
    expect_word(&world.dora, "is bridged no more, and won't be").await;
    world.alice.say(&room, "!plumb #milk").await;
    expect_notice(&world.alice, &room, "don't want it to be bridged").await;
    world.bridge.terminate().await;
    world.bridge.restart().await;
    let alias = crate::support::homeserver::encode("#irc_net_#milk:hs.test");
    let path = format!("/_matrix/client/v3/join/{alias}");
    let joined = world.alice.try_request(Method::POST, &path, json!({})).await;
    assert_eq!(joined.expect_err("it has opted out").status, 404);
    world.ircd.wait_until("the bot", |state| state.find(BOT).map(|_| ())).await;
    world.dora.say(BOT, &format!("optin {MILK}")).await;
    expect_word(&world.dora, "may be bridged again").await;
    assert_eq!(joins(&world, MILK), 0);
    world.alice.say(&room, "!plumb #milk").await;
    code(&world.dora).await;
}

async fn what_may_not_be_plumbed_is_refused_in_words(ircd: IrcdConfig) {
    let world = World::with(ircd, |network| network.set("plumbing", "max_people", "2")).await;
    let room = farm(&world).await;
    let [bob, carl] = ["bob", "carl"].map(|name| world.homeserver.user(name));
    world.alice.invite(&room, bob.id()).await;
    bob.join(&room).await;
    for (words, answer) in [
        ("!plumb #tea", "#tea on net is bridged to another room already"),
        ("!plumb other #milk", "`other` is no network that I know (net)"),
        ("!irc plmub #milk", "Did you mean `plumb`?"),
        ("!irc plumb #mi,lk", "`#mi,lk` is no name that a channel on net could have"),
        ("!irc plumb #milk\nQUIT", "A command is one line"),
    ] {
        world.alice.say(&room, words).await;
        expect_notice(&world.alice, &room, answer).await;
    }
    bob.say(&room, "!plumb #milk").await;
    expect_notice(&bob, &room, "@bob:hs.test may not").await;
    // In a room that is bridged, and in nobody's.
    world.alice.say(&world.room, "!plumb #milk").await;
    expect_notice(&world.alice, &world.room, "This room is bridged already").await;
    // Another bridge is there; then it leaves.
    let info = json!({ "bridgebot": carl.id(), "protocol": { "id": "irc" } });
    world.alice.set_state(&room, "m.bridge", "x", info).await;
    world.alice.invite(&room, carl.id()).await;
    carl.join(&room).await;
    world.alice.say(&room, "!plumb #milk").await;
    expect_notice(&world.alice, &room, "This room has 3 people, and rooms bridged to net may have at most 2").await;
    bob.leave(&room).await;
    world.alice.say(&room, "!plumb #milk").await;
    expect_notice(&world.alice, &room, "Another bridge, @carl:hs.test, is in this room").await;
    carl.leave(&room).await;
    world.alice.say(&room, "!plumb #milk").await;
    code(&world.dora).await;
    assert_eq!(joins(&world, MILK), 0);
    // It was never said on IRC, nor does anything that is no command come back.
    assert!(!world.dora.lines().iter().any(|line| line.is("PRIVMSG") && line.text().contains("plumb")));
}

/// Where the network says so, the invitation of any member is enough; where it asks for an account, only one who has it counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r28_whose_word_counts_is_the_networks_to_say() {
    let world = World::with(IrcdConfig::modern(), |network| network.set("plumbing", "consent", "\"invite\"")).await;
    let room = farm(&world).await;
    let eve = world.ircd.client("eve").await;
    eve.join(MILK).await;
    world.alice.say(&room, "!plumb #milk").await;
    let code = code(&world.dora).await;
    eve.say(BOT, &format!("yes {code}")).await;
    expect_word(&eve, "no op there now").await;
    eve.raw(&format!("INVITE {BOT} {MILK}")).await;
    expect_notice(&world.alice, &room, "eve, who is there, has invited me").await;
    cross(&world, &room, "invited").await;

    let ircd = IrcdConfig { accounts: vec![("erin".into(), "secret".into())], ..IrcdConfig::modern() };
    let world = World::with(ircd, |network| network.set("plumbing", "need_account", "true")).await;
    let room = farm(&world).await;
    world.alice.say(&room, "!plumb #milk").await;
    let code = self::code(&world.dora).await;
    world.dora.say(BOT, &format!("yes {code}")).await;
    expect_word(&world.dora, "You aren't logged in").await;
    world.dora.raw(&format!("INVITE {BOT} {MILK}")).await;
    expect_word(&world.dora, "You aren't logged in").await;
    let erin = IrcClient::options().sasl("erin", "secret").connect(world.ircd.address(), "erin").await;
    erin.join(MILK).await;
    world.dora.raw(&format!("MODE {MILK} +o erin")).await;
    world.dora.sync().await;
    assert_eq!(joins(&world, MILK), 0);
    erin.say(BOT, &format!("yes {code}")).await;
    expect_notice(&world.alice, &room, "is bridged to #milk").await;
}

/// A channel's key is told to the bot by an operator, kept sealed, and used for every puppet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r30_a_channels_key_is_told_by_its_operator_and_kept_sealed() {
    let stage = Stage::set(IrcdConfig::modern()).await;
    let keys = tempfile::tempdir().unwrap();
    let key_file = keys.path().join("footbridge.key");
    let secrets = format!("\n[secrets]\nkey_file = \"{}\"\n", key_file.display());
    let bridge = stage.bridge().network(stage.network()).extra(&secrets);
    let mut world = stage.start(bridge).await;
    let room = farm(&world).await;
    world.dora.raw(&format!("MODE {MILK} +k hunter2")).await;
    world.dora.sync().await;
    world.alice.say(&room, "!plumb #milk").await;
    let code = code(&world.dora).await;
    world.dora.say(BOT, &format!("yes {code}")).await;
    let told = expect_notice(&world.alice, &room, "I can't join #milk").await;
    assert!(told.body().contains("KEY"), "{}", told.body());
    world.dora.say(BOT, &format!("yes {code} hunter2")).await;
    expect_notice(&world.alice, &room, "is bridged to #milk").await;
    cross(&world, &room, "one").await;
    world.bridge.terminate().await;
    world.bridge.restart().await;
    world.ircd.expect_on_channel(BOT, MILK).await;
    cross(&world, &room, "two").await;
    assert!(!world.bridge.log().contains("hunter2"));
    let database = world.bridge.folder().join("footbridge.db");
    assert_eq!(world.bridge.terminate().await.code(), Some(0));
    let bytes = std::fs::read(database).unwrap();
    assert!(!bytes.windows(7).any(|bytes| bytes == b"hunter2"));
}

/// R30: whatever cuts a visit or a try short, the bot is in no channel that isn't bridged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r30_the_bot_stays_nowhere_without_consent() {
    let world = World::new(IrcdConfig::modern()).await;
    let room = farm(&world).await;
    world.dora.raw(&format!("MODE {MILK} +i")).await;
    world.dora.sync().await;
    world.alice.say(&room, "!plumb #milk").await;
    let code = code(&world.dora).await;
    world.dora.say(BOT, &format!("yes {code}")).await;
    expect_notice(&world.alice, &room, "I can't join #milk").await;
    // It doesn't come in by itself when it reconnects, though it could now.
    world.dora.raw(&format!("MODE {MILK} -i")).await;
    world.dora.sync().await;
    world.ircd.cut(BOT);
    world.settle("back again").await;
    world.ircd.expect_on_channel(BOT, TEA).await;
    assert_eq!(world.ircd.members(MILK), ["dora"]);
    assert_eq!(joins(&world, MILK), 1);
    // It comes in to see who has invited it, the server is slow to tell, and the request is taken back meanwhile.
    world.dora.raw(&format!("MODE {MILK} +s")).await;
    let eve = world.ircd.client("eve").await;
    eve.join(MILK).await;
    let mut asked = 0;
    world.ircd.react(move |received| {
        asked += usize::from(received.line.starts_with("WHOIS"));
        if received.line.starts_with("WHOIS") && asked > 1 { Reaction::Ignore } else { Reaction::Obey }
    });
    eve.raw(&format!("INVITE {BOT} {MILK}")).await;
    world.ircd.expect_on_channel(BOT, MILK).await;
    world.alice.say(&room, "!unplumb").await;
    expect_notice(&world.alice, &room, "The request is taken back").await;
    world.dora.expect("the bot to leave", |line| line.is("PART") && line.nick() == BOT && line.param(0) == MILK).await;
}

/// R31: what was begun is gone on with, whatever happened in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r31_the_end_of_a_bridge_outlives_a_crash() {
    let mut world = World::new(IrcdConfig::modern()).await;
    world.settle("before").await;
    let levels = json!({ "users": { MATRIX_BOT: 100, DORA: 30 }, "events": {} });
    world.alice.set_state(&world.room, "m.room.power_levels", "", levels).await;
    let info = json!({ "bridgebot": MATRIX_BOT, "protocol": { "id": "irc" } });
    world.alice.set_state(&world.room, "m.bridge", "irc://net/tea", info).await;
    world.homeserver.outage(Outage::HeldAt("/leave".to_owned()));
    world.dora.say(BOT, &format!("unplumb {TEA}")).await;
    expect_word(&world.dora, "is bridged no more").await;
    expect_notice(&world.alice, &world.room, "dora, an operator of #tea, has ended").await;
    world.ircd.expect_gone(ALICE).await;
    world.bridge.kill();
    world.ircd.expect_gone(BOT).await;
    world.homeserver.outage(None);
    let members = world.alice.joined_members(&world.room).await;
    assert!(members.iter().any(|user| user == MATRIX_BOT), "{members:?}");
    world.bridge.restart().await;
    expect_cleaned(&world, &world.room).await;
    assert_eq!(world.alice.state(&world.room, "m.bridge", "irc://net/tea").await, Some(json!({})));
    assert_eq!(world.alice.joined_members(&world.room).await, [world.alice.id()]);
    assert_eq!(joins(&world, TEA), 1, "and nothing rejoins");
}

/// Whoever has power may ask, also while the network can't be reached: they are told so at once, and it goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r85_a_request_is_answered_while_the_network_is_away() {
    let world = World::new(IrcdConfig::modern()).await;
    let room = farm(&world).await;
    world.ircd.stop().await;
    world.alice.say(&room, "!plumb #milk").await;
    expect_notice(&world.alice, &room, "I am not connected to net").await;
    world.ircd.start_again().await;
    let dora = world.ircd.client("dora").await;
    dora.join(MILK).await;
    code(&dora).await;
}

/// R39: new plumbs can be frozen; what is plumbed stays. R38: requests end by themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r39_new_plumbs_can_be_frozen_and_requests_time_out() {
    let stage = Stage::set(IrcdConfig::modern()).await;
    let network = stage.network().set("plumbing", "answer_within_seconds", "1");
    let bridge = stage.bridge().network(network);
    let world = stage.start(bridge).await;
    let room = farm(&world).await;
    world.alice.say(&room, "!plumb #milk").await;
    code(&world.dora).await;
    expect_notice(&world.alice, &room, "No operator of #milk has agreed in time").await;
    expect_word(&world.dora, "it was not answered in time").await;

    let stage = Stage::set(IrcdConfig::modern()).await;
    let bridge = stage.bridge().network(stage.network().set("plumbing", "new_plumbs", "false"));
    let world = stage.start(bridge).await;
    world.settle("what is plumbed works").await;
    let room = world.alice.create_room(json!({ "is_direct": true, "invite": [MATRIX_BOT] })).await;
    expect_notice(&world.alice, &room, "I am an IRC bridge").await;
    world.alice.say(&room, "plumb #milk").await;
    expect_notice(&world.alice, &room, "frozen by this bridge's operator").await;
}

/// R32: everybody leaves every room, which is told why; it can be cut short and begun again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r32_a_bridge_is_decommissioned() {
    let mut world = World::new(IrcdConfig::modern()).await;
    let room = plumbed(&world).await;
    cross(&world, &room, "before").await;
    world.alice_speaks().await;
    world.dora.say(ALICE, "between us").await;
    let query = world.alice.expect_invite(|from| from == DORA).await;
    world.alice.join(&query).await;
    let told = |output: &std::process::Output| {
        let text = [&*output.stdout, &*output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let (code, text) = told(&world.bridge.run("decommission", &["--yes"]).await);
    assert!(code == Some(1) && text.contains("in use by another footbridge"), "{code:?} {text}");
    world.bridge.terminate().await;
    let (code, text) = told(&world.bridge.run("decommission", &[]).await);
    assert!(code == Some(0) && text.contains("The bot is in 2 rooms") && text.contains("--yes"), "{code:?} {text}");
    // Cut short in the middle.
    world.homeserver.outage(Outage::HeldAt("/leave".to_owned()));
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_footbridge"));
    command.args(["decommission", "--yes", "--config"]).arg(world.bridge.config_file());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be started");
    world
        .homeserver
        .wait_until("a room that is told", |state| {
            let mut events = state.rooms.values().flat_map(|room| &room.timeline);
            events.any(|event| event.body().contains("taken out of service")).then_some(())
        })
        .await;
    let interrupt = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupt.is_ok_and(|status| status.success()));
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output()).await;
    let (code, text) = told(&ended.expect("waiting doesn't panic").expect("it ends"));
    assert!(code == Some(1) && text.contains("run it again to go on"), "{code:?} {text}");
    world.homeserver.outage(None);
    let (code, text) = told(&world.bridge.run("decommission", &["--yes"]).await);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("room 1 of 2") && text.contains("room 2 of 2") && text.contains("ghosts and the bot have left"),
        "{text}"
    );
    for room in [&room, &world.room, &query] {
        assert_eq!(world.alice.joined_members(room).await, [world.alice.id()], "{room}: {text}");
        let notices = world.homeserver.messages(room);
        let said = notices.iter().filter(|said| said.contains("taken out of service")).count();
        assert_eq!(said, 1, "{room}");
    }
    let (code, text) = told(&world.bridge.run("decommission", &["--yes"]).await);
    assert!(code == Some(0) && !text.contains("room "), "nothing is left: {text}");
}
