//! R2: whatever doesn't reach IRC is told to its sender, once, with the reason; and nothing is told that did arrive.

use serde_json::{Value, json};

use super::world::{ALICE, BOT, TEA, World, on_both_kinds_of_server};
use crate::support::{
    IrcdConfig,
    ircd::{Reaction, Refusal},
};

on_both_kinds_of_server!(
    r2_a_channel_that_refuses_words_is_told,
    r2_a_message_that_arrives_in_part_is_told_so,
    r2_a_channel_that_refuses_people_is_told,
    r44_a_banned_puppet_is_told_and_dials_no_more,
    r44_r45_the_words_of_operators_are_not_the_servers,
    r2_r4_what_is_too_old_is_told,
    r4_what_is_too_much_is_told,
    r2_what_irc_can_not_show_is_told,
    r2_in_a_room_that_is_plumbed_no_more_people_are_told,
    r5_what_a_cut_wire_leaves_uncertain_is_told_and_never_said_twice,
    r5_a_burst_over_a_cut_wire_arrives_or_is_told,
);

async fn r2_a_channel_that_refuses_words_is_told(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.alice_speaks().await;
    world.ircd.refuse_speech(TEA, Some(404));
    // Five lines are one message, and one notice.
    let refused = world.alice.say(&world.room, "one\ntwo\nthree\nfour\nfive").await;
    let told = world.expect_told(&refused).await;
    assert_eq!((told.sender.as_str(), told.room_id.as_str()), ("@footbridge:hs.test", world.room.as_str()));
    assert_eq!(told.msgtype(), "m.notice");
    assert!(
        told.body().contains("did not reach IRC") && told.body().contains("doesn't let you speak"),
        "{}",
        told.body()
    );
    assert_eq!(told.content["m.relates_to"]["m.in_reply_to"]["event_id"], refused.as_str());
    assert_eq!(told.content["m.mentions"], json!({ "user_ids": [world.alice.id()] }));
    world.ircd.refuse_speech(TEA, None);
    world.settle("allowed").await;
    assert_eq!(world.told().len(), 1);
}

async fn r2_a_message_that_arrives_in_part_is_told_so(ircd: IrcdConfig) {
    let world =
        World::with(ircd, |network| network.set("limits", "line_burst", "2").set("limits", "lines_per_second", "5"))
            .await;
    world.alice_speaks().await;
    let lines: Vec<String> = (1..=14).map(|n| format!("line {n}")).collect();
    let message = world.alice.say(&world.room, &lines.join("\n")).await;
    world.dora.expect_text(TEA, |from| from == ALICE, "line 4").await;
    world.dora.raw(&format!("KICK {TEA} {ALICE} :enough")).await;
    let told = world.expect_told(&message).await;
    let heard = lines.iter().filter(|line| world.heard(line) == 1).count();
    let words = format!("Only the first {heard} of 14 lines of your message reached IRC: ");
    // Without echoes, a line that met the kick may have been any of those that nothing was known of yet.
    let told_so =
        told.body().starts_with(&words) || told.body().starts_with("Only a part of your message reached IRC: ");
    assert!((4..14).contains(&heard) && told_so, "{heard} lines, but: {}", told.body());
}

async fn r2_a_channel_that_refuses_people_is_told(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    for (numeric, words) in [
        (403, "there is no such channel"),
        (405, "as many channels"),
        (471, "full"),
        (473, "invite-only"),
        (474, "banned"),
        (475, "key"),
        (477, "logged in"),
    ] {
        world.ircd.refuse_join(TEA, Some(numeric));
        let name = format!("user{numeric}");
        let user = world.homeserver.user(&name);
        user.join(&world.room).await;
        let first = user.say(&world.room, "first").await;
        let told = world.expect_told(&first).await;
        assert!(told.body().contains(words), "{numeric}: {}", told.body());
        assert_eq!(told.room_id, world.room);
        // The next message tries again, and this time it is let in.
        world.ircd.refuse_join(TEA, None);
        let text = format!("let in after {numeric}");
        user.say(&world.room, &text).await;
        world.dora.expect_text(TEA, |from| from == format!("{name}[m]"), &text).await;
    }
    assert_eq!(world.heard("first"), 0);
}

async fn r44_a_banned_puppet_is_told_and_dials_no_more(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    let text = "You are banned from this server: spam (2030/1/1)".to_owned();
    world.ircd.refuse_next(Refusal::AtRegistration { numeric: 465, text });
    let first = world.alice.say(&world.room, "first").await;
    let told = world.expect_told(&first).await;
    assert!(told.body().contains("refuses your connection") && told.body().contains("spam"), "{}", told.body());
    // It would be let in now, but nobody tries.
    let second = world.alice.say(&world.room, "second").await;
    world.expect_told(&second).await;
    // Others are not affected.
    let bob = world.homeserver.user("bob");
    bob.join(&world.room).await;
    bob.say(&world.room, "hello").await;
    world.dora.expect_text(TEA, |from| from == "bob[m]", "hello").await;
    let third = world.alice.say(&world.room, "third").await;
    world.expect_told(&third).await;
    let dials = world.ircd.state().log.iter().filter(|received| received.line.starts_with("USER alice ")).count();
    assert_eq!(dials, 1, "a banned puppet dialled again");
    // A person acted: the bridge is started again.
    let World { mut bridge, ircd, alice, dora, room, .. } = world;
    bridge.terminate().await;
    bridge.restart().await;
    ircd.expect_on_channel(BOT, TEA).await;
    alice.say(&room, "fourth").await;
    dora.expect_text(TEA, |from| from == ALICE, "fourth").await;
}

/// Neither a kill nor a ban that speaks of pauses makes others wait; and the ban is none.
async fn r44_r45_the_words_of_operators_are_not_the_servers(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.alice_speaks().await;
    let (bob, carol) = (world.homeserver.user("bob"), world.homeserver.user("carol"));
    world.ircd.kill(ALICE, "Killed (oper (you are talking too fast, try again later))");
    world.ircd.expect_gone(ALICE).await;
    bob.join(&world.room).await;
    bob.say(&world.room, "alice was killed").await;
    world.dora.expect_text(TEA, |from| from == "bob[m]", "alice was killed").await;
    world.ircd.kill("bob[m]", "K-lined: Temporarily banned for flooding");
    world.ircd.expect_gone("bob[m]").await;
    let refused = bob.say(&world.room, "am I banned?").await;
    let told = world.expect_told(&refused).await;
    assert!(told.body().contains("refuses your connection"), "{}", told.body());
    carol.join(&world.room).await;
    carol.say(&world.room, "bob is banned").await;
    world.dora.expect_text(TEA, |from| from == "carol[m]", "bob is banned").await;
}

/// A message as the homeserver pushes it.
fn event(room: &str, sender: &str, id: &str, ts: u64, content: &Value) -> Value {
    json!({
        "type": "m.room.message", "room_id": room, "sender": sender, "event_id": id, "origin_server_ts": ts, "content": content,
    })
}

async fn r2_r4_what_is_too_old_is_told(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.alice_speaks().await;
    let fresh = world.alice.say(&world.room, "just now").await;
    let now = world
        .alice
        .wait_for(&world.room, "the message", |timeline| {
            timeline.iter().find(|e| e.event_id == fresh).map(|e| e.origin_server_ts)
        })
        .await;
    let text = |body: &str| json!({ "msgtype": "m.text", "body": body });
    let events = [
        event(&world.room, world.alice.id(), "$old:hs.test", now - 3_600_000, &text("an hour ago")),
        event(&world.room, world.alice.id(), "$young:hs.test", now - 60_000, &text("a minute ago")),
    ];
    assert_eq!(world.homeserver.push_transaction("old", &json!({ "events": events })).await, Some(200));
    world.dora.expect_text(TEA, |from| from == ALICE, "a minute ago").await;
    let told = world.expect_told("$old:hs.test").await;
    assert!(told.body().contains("waited too long"), "{}", told.body());
    world.settle("end").await;
    assert_eq!((world.heard("an hour ago"), world.heard("a minute ago"), world.told().len()), (0, 1, 1));
}

async fn r4_what_is_too_much_is_told(ircd: IrcdConfig) {
    // One line in a hundred seconds: nothing but the queue can take what is said.
    let world = World::with(ircd, |network| {
        network.set("limits", "lines_per_second", "0.01").set("limits", "line_burst", "3").set(
            "puppets",
            "message_max_age_seconds",
            "600",
        )
    })
    .await;
    let mut sent = Vec::new();
    for n in 0..150 {
        sent.push(world.alice.say(&world.room, &format!("message {n}")).await);
    }
    world.expect_told(&sent[149]).await;
    let told = world.told();
    assert!(told.iter().all(|(_, words)| words.contains("too many of your messages")), "{told:?}");
    assert!((40..=60).contains(&told.len()), "{} of 150 were told", told.len());
    assert!(!told.iter().any(|(event, _)| sent[..90].contains(event)), "the last are too much, not the first");
}

async fn r2_what_irc_can_not_show_is_told(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.alice_speaks().await;
    let encrypted = json!({ "algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "AwgAEn", "session_id": "x" });
    let cases = [
        ("m.room.encrypted", encrypted, "encrypted"),
        ("m.room.message", json!({ "msgtype": "m.location", "body": "here", "geo_uri": "geo:1,2" }), "can't be sent"),
        ("m.room.message", json!({ "msgtype": 7, "body": ["x"] }), "can't be sent"),
        ("m.room.message", json!({}), "can't be sent"),
        ("m.room.message", json!({ "msgtype": "m.text", "body": "\u{1}" }), "nothing of it can be shown"),
        ("m.poll.start", json!({ "m.text": [{ "body": "tea?" }] }), "can't be sent"),
        ("org.matrix.msc3381.poll.start", json!({}), "can't be sent"),
    ];
    for (kind, content, words) in cases {
        let event = world.alice.send_raw(&world.room, kind, content).await;
        let told = world.expect_told(&event).await;
        assert!(told.body().contains(words), "{kind}: {}", told.body());
    }
    // What isn't meant for people is no failure.
    for (kind, content) in
        [("m.reaction", json!({})), ("org.example.custom", json!({ "body": "x" })), ("m.poll.response", json!({}))]
    {
        world.alice.send_raw(&world.room, kind, content).await;
    }
    world.settle("end").await;
    assert_eq!(world.told().len(), 7);
}

async fn r2_in_a_room_that_is_plumbed_no_more_people_are_told(ircd: IrcdConfig) {
    let mut world = World::new(ircd).await;
    world.settle("one").await;
    world.bridge.terminate().await;
    let config = std::fs::read_to_string(world.bridge.config_file()).expect("there is a configuration");
    let config = config.replace(TEA, "#coffee").replace(&world.room, "!other:hs.test");
    std::fs::write(world.bridge.config_file(), config).expect("it can be changed");
    world.bridge.restart().await;
    // The bot and ghosts are in the room still.
    let lost = world.alice.say(&world.room, "anybody?").await;
    let told = world.expect_told(&lost).await;
    assert_ne!(told.room_id, world.room);
    assert!(told.body().contains("isn't bridged") && told.body().contains(&world.room), "{}", told.body());
}

async fn r5_what_a_cut_wire_leaves_uncertain_is_told_and_never_said_twice(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.alice_speaks().await;
    for (text, reaction, arrives) in [("cut before", Reaction::CutBefore, 0), ("cut after", Reaction::CutAfter, 1)] {
        world.ircd.react(move |received| if received.line.ends_with(text) { reaction.clone() } else { Reaction::Obey });
        let message = world.alice.say(&world.room, text).await;
        let told = world.expect_told(&message).await;
        assert!(told.body().contains("isn't certain"), "{}", told.body());
        world.ircd.react(|_| Reaction::Obey);
        world.settle(&format!("after {text}")).await;
        assert_eq!(world.heard(text), arrives, "{text}");
        assert_eq!(world.read(text), 1, "{text} isn't bridged back");
    }
    assert_eq!(world.told().len(), 2);
}

async fn r5_a_burst_over_a_cut_wire_arrives_or_is_told(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.alice_speaks().await;
    world.ircd.react(|received| if received.line.ends_with("burst 20") { Reaction::CutAfter } else { Reaction::Obey });
    let mut sent = Vec::new();
    for n in 0..60 {
        let text = format!("burst {n}");
        sent.push((world.alice.say(&world.room, &text).await, text));
    }
    // The line on which the wire was cut is uncertain, and so are those that were sent after it in good faith.
    world.expect_told(&sent[20].0).await;
    world.settle("end").await;
    let told = world.told();
    for (event, text) in &sent {
        let (heard, words) = (world.heard(text), told.iter().find(|(told, _)| told == event).map(|(_, words)| words));
        assert!(heard <= 1, "{text} was said {heard} times");
        match words {
            None => assert_eq!(heard, 1, "{text} is lost without a word"),
            Some(words) => assert!(words.contains("isn't certain") || heard == 0, "{text} arrived, but: {words}"),
        }
    }
}

/// The network refuses the bot: the operator learns it from `/health`, in the network's words.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r44_a_banned_bot_makes_the_bridge_unhealthy() {
    let mut world = World::new(IrcdConfig::modern()).await;
    world.alice_speaks().await;
    world.bridge.terminate().await;
    let text = "You are banned: open proxy".to_owned();
    world.ircd.refuse_next(Refusal::AtRegistration { numeric: 465, text });
    world.bridge.spawn();
    let (status, body) = super::operator::health_when(&world, |_, body| {
        body["networks"]["net"].as_str().is_some_and(|words| words.contains("open proxy"))
    })
    .await;
    assert_eq!((status, &body["healthy"]), (503, &json!(false)));
    assert_eq!((&body["database"], &body["homeserver"]), (&json!("ok"), &json!("ok")));
}

/// A plumbed channel with a key: the right one opens it for bot and puppets; with a wrong one the room is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_with_a_key_is_entered_with_it() {
    let stage = super::world::Stage::set(IrcdConfig::modern()).await;
    stage.dora.join("#vault").await;
    stage.dora.raw("MODE #vault +k s3cret").await;
    stage.dora.join("#safe").await;
    stage.dora.raw("MODE #safe +k other").await;
    stage.dora.sync().await;
    let public = json!({ "preset": "public_chat" });
    let (vault, safe) = (stage.alice.create_room(public.clone()).await, stage.alice.create_room(public).await);
    let network = stage.network().plumb_with_key("#vault", &vault, "s3cret").plumb_with_key("#safe", &safe, "wrong");
    let bridge = stage.bridge().network(network);
    let world = stage.start(bridge).await;
    world.alice.say(&vault, "open sesame").await;
    world.dora.expect_text("#vault", |from| from == ALICE, "open sesame").await;
    world
        .alice
        .wait_for(&safe, "the news that the bot can't come in", |timeline| {
            timeline
                .iter()
                .find(|event| event.sender == "@footbridge:hs.test" && event.body().contains("key"))
                .map(|_| ())
        })
        .await;
    let message = world.alice.say(&safe, "let me in").await;
    let told = world.expect_told(&message).await;
    assert!(told.body().contains("key"), "{}", told.body());
    assert!(!told.body().contains("wrong") && !world.bridge.log().contains("s3cret"), "a key is a secret");
}
