//! Nothing lost, nothing twice: transactions sent again, homeservers and IRC servers that go away, wires cut in the middle of a line.

use serde_json::json;

use super::world::{ALICE, BOT, DORA, Stage, TEA, World, assert_same, on_both_kinds_of_server};
use crate::support::{FakeHomeserver, IrcdConfig, Outage, ircd::Reaction, process::POLL};

on_both_kinds_of_server!(
    r5_a_transaction_sent_again_is_not_acted_on_again,
    r5_a_homeserver_that_counts_anew_loses_nothing,
    one_malformed_event_fails_alone,
    r6_an_irc_server_that_restarts_gets_what_waited,
    r8_r9_one_stuck_puppet_holds_up_nobody,
    half_a_line_is_no_line,
);

async fn r5_a_transaction_sent_again_is_not_acted_on_again(ircd: IrcdConfig) {
    let mut world = World::new(ircd).await;
    world.alice_speaks().await;
    let id = world.alice.say(&world.room, "only once").await;
    world.dora.expect_text(TEA, |from| from == ALICE, "only once").await;
    world.homeserver.wait_pushed().await;
    let event: Vec<_> =
        world.homeserver.timeline(&world.room).into_iter().filter(|event| event.event_id == id).collect();
    for life in ["first", "second", "third"] {
        // Under the same id, and under another one.
        assert_eq!(world.homeserver.resend_last_transaction().await, Some(200));
        assert_eq!(world.homeserver.replay_events_under_new_txn(&event).await, Some(200));
        world.settle(&format!("{life} life")).await;
        assert_eq!(world.heard("only once"), 1, "in its {life} life");
        if life == "first" {
            world.bridge.terminate().await;
        } else {
            world.bridge.kill();
        }
        world.bridge.restart().await;
        world.ircd.expect_on_channel(BOT, TEA).await;
    }
    // A kill may leave the last words in doubt, where the server confirms nothing by itself; nothing else is.
    assert!(
        !world.told().iter().any(|(event, words)| *event == id || !words.contains("isn't certain")),
        "{:?}",
        world.told()
    );
}

async fn r5_a_homeserver_that_counts_anew_loses_nothing(ircd: IrcdConfig) {
    let mut world = World::new(ircd).await;
    world.alice_speaks().await;
    for life in ["first", "second"] {
        world.homeserver.wait_pushed().await;
        world.homeserver.count_anew();
        // One message, in one transaction: it isn't taken for one of those before.
        let text = format!("the only one of its {life} life");
        world.alice.say(&world.room, &text).await;
        world.dora.expect_text(TEA, |from| from == ALICE, &text).await;
        if life == "first" {
            world.bridge.terminate().await;
            world.bridge.restart().await;
            world.ircd.expect_on_channel(BOT, TEA).await;
        }
    }
}

async fn one_malformed_event_fails_alone(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.alice_speaks().await;
    let now = world.homeserver.timeline(&world.room).last().expect("there are events").origin_server_ts;
    let valid = |n: u32| {
        json!({
            "type": "m.room.message", "room_id": world.room, "sender": world.alice.id(), "event_id": format!("$valid{n}:hs.test"),
            "origin_server_ts": now, "content": { "msgtype": "m.text", "body": format!("valid {n}") },
        })
    };
    let mut deep = json!({});
    for _ in 0..60 {
        deep = json!({ "x": deep });
    }
    let events = json!([
        valid(0), 7, null, "text", [], {}, { "type": "m.room.message" },
        { "type": 5, "room_id": {}, "sender": [], "event_id": "$a", "content": "x" },
        { "type": "m.room.message", "room_id": world.room, "sender": "nobody", "event_id": "$b", "origin_server_ts": "x", "content": {} },
        { "type": "m.room.member", "room_id": world.room, "sender": world.alice.id(), "event_id": "$c:hs.test", "state_key": "not a user", "content": { "membership": 5 } },
        { "type": "m.room.message", "room_id": world.room, "sender": world.alice.id(), "event_id": "$d:hs.test", "origin_server_ts": now, "content": deep },
        { "type": "m.room.topic", "room_id": world.room, "sender": world.alice.id(), "event_id": "$e:hs.test", "origin_server_ts": now, "state_key": "", "content": { "topic": ["x"] } },
        valid(1),
    ]);
    assert_eq!(
        world
            .homeserver
            .push_transaction(
                "strange",
                &json!({ "events": events, "ephemeral": 5, "de.sorunome.msc2409.ephemeral": [[]] })
            )
            .await,
        Some(200)
    );
    world.dora.expect_text(TEA, |from| from == ALICE, "valid 0").await;
    world.dora.expect_text(TEA, |from| from == ALICE, "valid 1").await;
    world.settle("end").await;
    let many = vec![1; 300_000];
    assert_eq!(world.homeserver.push_transaction("many", &json!({ "events": many })).await, Some(200));
    world.settle("end of many").await;
    let told: Vec<_> = world.bridge.log().lines().filter(|line| line.contains("no event")).map(str::to_owned).collect();
    assert_eq!(told.len(), 2, "one line each: {told:?}");
    assert!(told[1].contains("300000"), "{told:?}");
}

async fn r6_an_irc_server_that_restarts_gets_what_waited(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.alice_speaks().await;
    world.ircd.stop().await;
    let texts: Vec<String> = (0..10).map(|n| format!("while it was away {n}")).collect();
    let mut sent = Vec::new();
    for text in &texts {
        sent.push(world.alice.say(&world.room, text).await);
    }
    world.homeserver.wait_pushed().await;
    world.ircd.start_again().await;
    // The server has nobody else; its own record says what it got.
    world.ircd.wait_for_line(ALICE, "the last message", |line| line.ends_with(&texts[9])).await;
    let dora = world.ircd.client("dora").await;
    dora.join(TEA).await;
    world.alice.say(&world.room, "after it").await;
    dora.expect_text(TEA, |from| from == ALICE, "after it").await;
    let got: Vec<String> = world
        .ircd
        .lines_from(ALICE)
        .iter()
        .filter_map(|line| Some(line.split_once(" :while")?.1.to_owned()))
        .map(|rest| format!("while{rest}"))
        .collect();
    assert_same(&got, &texts);
    assert!(!world.told().iter().any(|(event, _)| sent.contains(event)), "nothing of it was ever uncertain");
    dora.say(TEA, "welcome back").await;
    world.alice.expect_message(&world.room, |from| from == DORA, "welcome back").await;
}

async fn r8_r9_one_stuck_puppet_holds_up_nobody(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    let bob = world.homeserver.user("bob");
    bob.join(&world.room).await;
    bob.say(&world.room, "here").await;
    world.dora.expect_text(TEA, |from| from == "bob[m]", "here").await;
    world.alice_speaks().await;
    world.ircd.freeze("bob[m]");
    let big = "x".repeat(10_000);
    for _ in 0..30 {
        bob.say(&world.room, &big).await;
    }
    // Every transaction is accepted at once, and everyone else goes on.
    world.homeserver.wait_pushed().await;
    world.settle("past the stuck one").await;
    world.ircd.thaw("bob[m]");
    bob.say(&world.room, "thawed").await;
    world.dora.expect_text(TEA, |from| from == "bob[m]", "thawed").await;
}

async fn half_a_line_is_no_line(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.alice_speaks().await;
    // To the bot: what is cut is not taken for the whole.
    world.ircd.cut_next_line(BOT);
    world.dora.say(TEA, "this line is cut somewhere in its middle").await;
    world.ircd.expect_gone(BOT).await;
    world.ircd.expect_on_channel(BOT, TEA).await;
    world.settle("the bot is back").await;
    let bodies = world.homeserver.messages(&world.room);
    let halves: Vec<_> = bodies
        .iter()
        .filter(|body| body.starts_with("this") && *body != "this line is cut somewhere in its middle")
        .collect();
    assert!(halves.is_empty(), "{halves:?}");
    // To a puppet: nothing of its own is doubted that was decided before.
    world.ircd.cut_next_line(ALICE);
    world.dora.say(TEA, "and this one too").await;
    world.ircd.expect_gone(ALICE).await;
    world.settle("the puppet is back").await;
    assert_eq!(world.read("and this one too"), 1);
    // Where the server confirms nothing by itself, the last words may be in doubt; nothing else is.
    assert!(world.told().iter().all(|(_, words)| words.contains("isn't certain")), "{:?}", world.told());
}

/// R6: outages of every kind lose nothing, and bring nothing twice or out of order.
async fn an_outage(kind: Outage) {
    let world = World::new(IrcdConfig::modern()).await;
    world.settle("start").await;
    let texts: Vec<String> = (0..30).map(|n| format!("while it was away {n}")).collect();
    world.homeserver.outage(kind);
    let eve = world.ircd.client("eve").await;
    eve.join(TEA).await;
    for (n, text) in texts.iter().enumerate() {
        // Two people, one of them never seen before: one order.
        let who = if n % 3 == 0 { &eve } else { &world.dora };
        who.say(TEA, text).await;
        who.sync().await;
    }
    meets(&world.homeserver, 3).await;
    // The other way doesn't need what is away.
    world.alice.say(&world.room, "can you hear me?").await;
    world.dora.expect_text(TEA, |from| from == ALICE, "can you hear me?").await;
    world.homeserver.outage(None);
    world.dora.say(TEA, "the end").await;
    world.alice.expect_message(&world.room, |from| from == DORA, "the end").await;
    let read: Vec<String> =
        world.homeserver.messages(&world.room).into_iter().filter(|body| texts.contains(body)).collect();
    assert_same(&read, &texts);
}

/// Waits until the homeserver has had so many requests more.
pub async fn meets(homeserver: &FakeHomeserver, count: u64) {
    let goal = homeserver.requests() + count;
    let met = async {
        while homeserver.requests() < goal {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(crate::support::wait::DEADLINE, met).await.expect("the bridge goes on asking");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r6_a_proxy_that_answers_with_html_loses_nothing() {
    an_outage(Outage::BadGateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r6_dropped_connections_lose_nothing() {
    an_outage(Outage::DropConnections).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r6_lost_answers_repeat_nothing() {
    an_outage(Outage::LoseAnswers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r6_a_homeserver_that_asks_to_slow_down_loses_nothing() {
    an_outage(Outage::RateLimited(1)).await;
}

/// One message that the homeserver fails over neither holds up its room for ever nor vanishes.
async fn a_message_alone_fails(outage: Outage, why: &str) -> World {
    let world = World::new(IrcdConfig::modern()).await;
    world.settle("start").await;
    world.homeserver.outage(outage);
    world.dora.say(TEA, "poison").await;
    world.dora.say(TEA, "after it").await;
    world.alice.expect_message(&world.room, |from| from == DORA, "after it").await;
    let told = could_not_be_shown(&world);
    assert!(matches!(&told[..], [told] if told.contains("dora") && told.contains(why)), "{told:?}");
    assert!(!told[0].contains('<'), "a page is for operators: {told:?}");
    world
}

/// What the room was told in place of messages.
fn could_not_be_shown(world: &World) -> Vec<String> {
    world.homeserver.messages(&world.room).into_iter().filter(|said| said.contains("could not be shown")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r9_a_message_that_the_homeserver_stumbles_over_is_told_and_holds_up_nobody() {
    let world = a_message_alone_fails(Outage::StumblesOver("poison"), "Internal server error").await;
    // Where the homeserver fails over everything, the message isn't to blame, and waits.
    world.homeserver.outage(Outage::Fails);
    world.dora.say(TEA, "what waits").await;
    meets(&world.homeserver, 8).await;
    world.homeserver.outage(None);
    world.alice.expect_message(&world.room, |from| from == DORA, "what waits").await;
    assert_eq!(could_not_be_shown(&world).len(), 1);
    let log = world.bridge.log();
    let waits = log
        .lines()
        .filter(|line| line.contains("The homeserver is unavailable") && line.contains("send m.room.message"));
    assert_eq!(waits.count(), 2, "each wait is logged once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r9_a_message_that_a_firewall_blocks_is_told_and_holds_up_nobody() {
    a_message_alone_fails(Outage::Blocks("poison"), "status 403").await;
}

/// Where the bridge may send nothing but messages, the refusal of anything else doesn't show that the homeserver works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r6_r9_a_room_for_messages_only_is_waited_for_and_held_up_by_nothing() {
    let world = World::new(IrcdConfig::modern()).await;
    let levels = json!({ "events_default": 50, "events": { "m.room.message": 0 } });
    world.alice.set_state(&world.room, "m.room.power_levels", "", levels).await;
    world.settle("start").await;
    world.homeserver.outage(Outage::StoresNothing);
    world.dora.say(TEA, "what waits").await;
    // More often than a message is tried that fails alone.
    meets(&world.homeserver, 9).await;
    world.homeserver.outage(None);
    world.alice.expect_message(&world.room, |from| from == DORA, "what waits").await;
    world.homeserver.outage(Outage::StumblesOver("poison"));
    world.dora.say(TEA, "poison").await;
    world.dora.say(TEA, "after it").await;
    world.alice.expect_message(&world.room, |from| from == DORA, "after it").await;
    assert!(matches!(&could_not_be_shown(&world)[..], [told] if told.contains("dora")));
}

/// R6: a homeserver without its database answers, and agrees to nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r6_a_homeserver_that_fails_over_everything_is_waited_for_whatever_is_asked() {
    let stage = Stage::set(IrcdConfig::modern()).await;
    stage.dora.join("#topic").await;
    stage.dora.join("#leave").await;
    let levels = json!({ "users": { "@footbridge:hs.test": 50 } });
    let public = json!({ "preset": "public_chat", "power_level_content_override": levels });
    let (topic, leave) = (stage.alice.create_room(public.clone()).await, stage.alice.create_room(public).await);
    let bridge = stage.bridge().network(stage.network().plumb("#topic", &topic).plumb("#leave", &leave));
    let world = stage.start(bridge).await;
    let levels = json!({ "users": { "@footbridge:hs.test": 50 }, "kick": 50, "state_default": 50 });
    world.alice.set_state(&world.room, "m.room.power_levels", "", levels).await;
    world.settle("start").await;
    let bob = world.homeserver.user("bob");
    bob.join(&world.room).await;
    world.ircd.expect_on_channel("bob[m]", TEA).await;
    for room in [&topic, &leave] {
        world.homeserver.expect_membership(room, DORA, "join").await;
    }
    world.homeserver.wait_pushed().await;

    world.homeserver.outage(Outage::Fails);
    world.dora.raw(&format!("KICK {TEA} bob[m] :off topic")).await;
    world.dora.raw("TOPIC #topic :what now").await;
    world.dora.part("#leave", "bye").await;
    // Each is tried so often that it would be given up if it were alone.
    meets(&world.homeserver, 21).await;
    world.homeserver.outage(None);
    world.homeserver.expect_membership(&leave, DORA, "leave").await;
    world.homeserver.expect_membership(&world.room, bob.id(), "leave").await;
    world
        .alice
        .wait_for(&topic, "the topic", |timeline| {
            timeline.iter().find(|e| e.kind == "m.room.topic" && e.content["topic"] == "what now").map(|_| ())
        })
        .await;
}

/// A homeserver that takes its time over one room gets everything in order, and no other room waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r9_a_slow_homeserver_slows_only_itself() {
    let stage = Stage::set(IrcdConfig::modern()).await;
    let other = stage.alice.create_room(json!({ "preset": "public_chat" })).await;
    stage.dora.join("#quiet").await;
    let bridge = stage.bridge().network(stage.network().plumb("#quiet", &other));
    let world = stage.start(bridge).await;
    world.ircd.expect_on_channel(BOT, "#quiet").await;
    world.settle("start").await;
    world.dora.say("#quiet", "start").await;
    world.alice.expect_message(&other, |from| from == DORA, "start").await;
    let name = world.room.trim_start_matches('!').split(':').next().expect("a room's id begins with its name");
    assert!(!other.contains(name));
    world.homeserver.outage(Outage::HeldAt(name.to_owned()));
    let texts: Vec<String> = (0..60).map(|n| format!("slow {n}")).collect();
    for text in &texts {
        world.dora.say(TEA, text).await;
    }
    world.dora.say("#quiet", "me too").await;
    world.alice.expect_message(&other, |from| from == DORA, "me too").await;
    assert_eq!(world.read(&texts[0]), 0, "nothing of it can have come");
    world.homeserver.outage(None);
    world.alice.expect_message(&world.room, |from| from == DORA, &texts[59]).await;
    let read: Vec<String> =
        world.homeserver.messages(&world.room).into_iter().filter(|body| texts.contains(body)).collect();
    assert_same(&read, &texts);
}

/// R6: what was said while the homeserver was away has the time at which it was said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r6_messages_keep_their_time() {
    let world = World::new(IrcdConfig::modern()).await;
    world.settle("start").await;
    let line = "@time=2020-05-06T07:08:09.123Z :dora!~dora@client.fake.test PRIVMSG #tea :long ago\r\n";
    world.ircd.inject(BOT, line.as_bytes());
    let event = world.alice.expect_message(&world.room, |from| from == DORA, "long ago").await;
    assert_eq!(event.origin_server_ts, 1_588_748_889_123);
}

/// A bridge that starts while the homeserver is away waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_may_start_before_its_homeserver() {
    let stage = Stage::set(IrcdConfig::modern()).await;
    stage.homeserver.outage(Outage::BadGateway);
    let mut bridge = stage.bridge().network(stage.network()).prepare();
    bridge.spawn();
    meets(&stage.homeserver, 3).await;
    stage.homeserver.outage(None);
    bridge.wait_ready().await;
    stage.ircd.expect_on_channel(BOT, TEA).await;
    stage.alice.say(&stage.room, "good morning").await;
    stage.dora.expect_text(TEA, |from| from == ALICE, "good morning").await;
    stage.dora.say(TEA, "good morning alice").await;
    stage.alice.expect_message(&stage.room, |from| from == DORA, "good morning alice").await;
}

/// What is accepted before SIGTERM is said before the QUIT, or by the next run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_soft_stop_loses_nothing_and_doubts_nothing() {
    let mut world = World::new(IrcdConfig::modern()).await;
    world.alice_speaks().await;
    let mut texts = Vec::new();
    for round in 0..3 {
        for n in 0..40 {
            texts.push(format!("round {round} message {n}"));
            world.alice.say(&world.room, &texts[texts.len() - 1]).await;
        }
        assert_eq!(world.bridge.terminate().await.code(), Some(0));
        world.bridge.restart().await;
    }
    world.ircd.expect_on_channel(BOT, TEA).await;
    world.settle("end").await;
    let heard: Vec<String> =
        world.dora.texts(TEA).into_iter().map(|(_, text)| text).filter(|text| text.starts_with("round")).collect();
    assert_eq!(world.told(), []);
    assert_same(&heard, &texts);
}

/// Without echo and labels, no error before the answer to our PING is all the proof there is: the line counts as delivered. The rest goes
/// on, and nothing of it is left for the next run to say again or to doubt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_the_server_ignores_is_delivered_by_the_barrier() {
    let mut world = World::new(IrcdConfig::default()).await;
    world.alice_speaks().await;
    world.ircd.react(|received| if received.line.ends_with(":ignored") { Reaction::Ignore } else { Reaction::Obey });
    world.alice.say(&world.room, "ignored").await;
    asked_after(&world, ":ignored").await;
    world.settle("before").await;
    assert_eq!(world.bridge.terminate().await.code(), Some(0));
    world.bridge.restart().await;
    world.settle("after").await;
    assert_eq!((world.heard("ignored"), said(&world, ":ignored")), (0, 1));
    assert_eq!(world.told(), []);
}

/// Where the PING isn't answered either, nothing is known: the sender is told so, and the line isn't said again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_without_a_barrier_is_told_as_uncertain() {
    let world = World::new(IrcdConfig::default()).await;
    world.alice_speaks().await;
    world.ircd.react(|received| {
        let lost = received.line.ends_with(":into the void") || received.line.starts_with("PING :fb");
        if lost { Reaction::Ignore } else { Reaction::Obey }
    });
    let event = world.alice.say(&world.room, "into the void").await;
    asked_after(&world, ":into the void").await;
    assert_eq!(world.told(), [], "no answer is no bad news yet");
    world.ircd.react(|_| Reaction::Obey);
    world.ircd.cut(ALICE);
    let notice = world.expect_told(&event).await;
    assert!(notice.body().contains("isn't certain"), "{notice}");
    world.settle("end").await;
    assert_eq!(said(&world, ":into the void"), 1);
}

/// Waits until Alice's link has said a line that ends so, and asked with a PING what became of it.
async fn asked_after(world: &World, end: &str) {
    world
        .ircd
        .wait_until("the PING after it", |state| {
            let lines = state.log.iter().filter(|line| &*line.nick == ALICE).map(|line| &*line.line);
            lines.skip_while(|line| !line.ends_with(end)).find(|line| line.starts_with("PING :fb")).map(|_| ())
        })
        .await;
}

/// How often Alice's link has said a line that ends so, whatever became of it.
fn said(world: &World, end: &str) -> usize {
    world.ircd.lines_from(ALICE).iter().filter(|line| line.ends_with(end)).count()
}
