//! What goes away comes back, and what was said meanwhile arrives once or is told (R2, R6).

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    time::Instant,
};

use crate::{
    support::{Bridge, Relay, process::POLL, wait::DEADLINE},
    town::{Bridged, Kind, TEA, Town, bodies, expect_join, puppet},
};

on_both!(
    the_homeserver_is_away,
    the_homeserver_counts_anew,
    the_irc_server_is_away,
    the_bots_connection_dies_without_a_word,
    the_bridge_is_killed_in_bursts,
);

/// Waits until `GET /health` answers so, and returns what it says.
async fn expect_health(bridge: &Bridge, status: u16) -> serde_json::Value {
    let deadline = Instant::now() + DEADLINE;
    while bridge.health().await != Some(status) {
        assert!(
            Instant::now() < deadline,
            "/health doesn't come to answer {status}; it says {:?}",
            bridge.health_report().await
        );
        tokio::time::sleep(POLL * 10).await;
    }
    bridge.health_report().await.expect("health is told in JSON")
}

async fn the_homeserver_is_away(town: Town) {
    let mut bridged = town.with_own_synapse().bridged().await;
    bridged.alice_is_there().await;
    bridged.town.own_synapse().kill();
    let lines: Vec<String> = (0..20).map(|n| format!("while you were away, {n}")).collect();
    for line in &lines {
        bridged.dora.say(TEA, line).await;
    }
    let report = expect_health(&bridged.bridge, 503).await;
    assert_ne!(report["homeserver"], "ok");
    assert_eq!(report["networks"][bridged.town.network_id()], "ok");

    bridged.town.own_synapse().start_again();
    let Bridged { town, bridge, alice, dora, room } = &bridged;
    let ghost = town.ghost("dora");
    alice.expect_message(room, |sender| sender == ghost, lines.last().unwrap()).await;
    alice.say(room, "back again").await;
    dora.expect_text(TEA, |nick| nick == puppet("alice"), "back again").await;
    bridged.matrix_has_heard("welcome back").await;
    let mut expected = lines;
    expected.push("welcome back".to_owned());
    assert_eq!(bodies(&alice.timeline(room).await, &ghost), expected, "each once, in order");
    expect_health(bridge, 200).await;
}

/// What it doesn't hear, alice's puppet does.
async fn the_bots_connection_dies_without_a_word(town: Town) {
    let relay = Relay::before(town.bridge_address()).await;
    let bridged = town.bridged_with(|network| network.by_way_of(relay.address()), |bridge| bridge).await;
    bridged.alice_is_there().await;
    bridged.matrix_has_heard("both hear it").await;
    relay.kill(0);
    let lines: Vec<String> = (0..5).map(|n| format!("is anybody there, {n}?")).collect();
    for line in &lines {
        bridged.dora.say(TEA, line).await;
    }
    bridged.alice_is_there().await;
    relay.cut(0);
    bridged.matrix_has_heard("so it was").await;
    let Bridged { town, alice, room, .. } = &bridged;
    let timeline = alice.timeline(room).await;
    let said = bodies(&timeline, &town.ghost("dora"));
    let expected: Vec<&str> =
        ["both hear it"].into_iter().chain(lines.iter().map(String::as_str)).chain(["so it was"]).collect();
    assert_eq!(said, expected, "each once, in order");
    assert_eq!(bodies(&timeline, &town.ghost("alice=5bm=5d")), [""; 0], "our own is no news");
}

/// Synapse on SQLite numbers transactions from 1 again when it starts.
async fn the_homeserver_counts_anew(town: Town) {
    let mut bridged = town.with_own_synapse().bridged().await;
    bridged.alice_is_there().await;
    bridged.town.own_synapse().kill();
    bridged.town.own_synapse().start_again();
    let Bridged { alice, dora, room, .. } = &bridged;
    alice.say(room, "the only one").await;
    dora.expect_text(TEA, |nick| nick == puppet("alice"), "the only one").await;
}

async fn the_irc_server_is_away(town: Town) {
    let mut bridged = town.bridged().await;
    bridged.alice_is_there().await;
    let bob = bridged.newcomer("bob").await;
    bridged.town.kill_ircd();
    let report = expect_health(&bridged.bridge, 503).await;
    assert_eq!(report["homeserver"], "ok");
    assert_ne!(report["networks"][bridged.town.network_id()], "ok");
    let sent = bridged.alice.say(&bridged.room, "said into the void").await;

    bridged.town.start_ircd();
    let Bridged { town, bridge, alice, room, .. } = &bridged;
    let dora = town.client("dora").await;
    dora.raw(&format!("JOIN {TEA}")).await;
    // Whether she comes before or after them: all are there in the end, and speak.
    alice.say(room, "I am back").await;
    bob.say(room, "so am I").await;
    expect_health(bridge, 200).await;
    bob.say(room, "still here").await;
    dora.expect_text(TEA, |nick| nick == puppet("bob"), "still here").await;
    alice.say(room, "me too").await;
    dora.expect_text(TEA, |nick| nick == puppet("alice"), "me too").await;
    dora.say(TEA, "hello again").await;
    alice.expect_message(room, |sender| sender == town.ghost("dora"), "hello again").await;
    // What was said meanwhile waited for the connection (dora may have come too late to hear it): nothing was told to have failed.
    let notices: Vec<_> = alice.timeline(room).await;
    let notices: Vec<_> = notices.iter().filter(|event| event.sender == town.bot() && event.is_message()).collect();
    assert!(notices.is_empty(), "{sent}: {}", notices[0]);
}

/// kill -9 again and again, wherever in a burst each way it falls: nothing is lost, nothing comes twice, and what isn't certain is told.
async fn the_bridge_is_killed_in_bursts(town: Town) {
    const KILLS: usize = 3;
    let mut bridged = town.bridged().await;
    bridged.alice_is_there().await;
    let Bridged { town, bridge, alice, dora, room } = &mut bridged;
    let ghost = town.ghost("dora");
    // From IRC: what must arrive, and what may. From Alice: what she said before a kill, and while the bridge was dead.
    let (mut accepted, mut maybe) = (Vec::new(), HashSet::new());
    let (mut before, mut dead) = (Vec::new(), Vec::new());
    for kill in 0..KILLS {
        let said = |what: &str, n: usize| format!("{what} {n} of round {kill}");
        for n in 0..20 + random(20) {
            accepted.push(said("line", n));
            dora.say(TEA, &said("line", n)).await;
        }
        for n in 0..4 + random(8) {
            before.push((alice.say(room, &said("message", n)).await, said("message", n)));
        }
        // The bot answers whoever writes to it; what was said before has then been read, and lies in the journal.
        dora.say("footbridge", "have you got all?").await;
        dora.expect("the bot's answer", |line| line.is("NOTICE") && line.nick() == "footbridge").await;
        for n in 0..random(5) {
            maybe.insert(said("late line", n));
            dora.say(TEA, &said("late line", n)).await;
            before.push((alice.say(room, &said("late message", n)).await, said("late message", n)));
        }
        bridge.kill();
        for n in 0..3 {
            dead.push(said("message to the dead", n));
            alice.say(room, &said("message to the dead", n)).await;
        }
        bridge.restart().await;
        let last = said("message to the dead", 2);
        dora.expect_text(TEA, |nick| nick == puppet("alice"), &last).await;
        expect_join(dora, "footbridge", TEA).await;
    }
    // Whatever is still to be told is told before this is answered.
    accepted.push("and that was that".to_owned());
    dora.say(TEA, "and that was that").await;
    alice.expect_message(room, |sender| sender == ghost, "and that was that").await;

    let timeline = alice.timeline(room).await;
    let from_irc: Vec<&str> = bodies(&timeline, &ghost).into_iter().filter(|body| !maybe.contains(*body)).collect();
    assert_eq!(from_irc, accepted, "from IRC: each once, in order");
    let late = bodies(&timeline, &ghost).into_iter().filter(|body| maybe.contains(*body)).collect::<Vec<_>>();
    assert_eq!(late.iter().collect::<HashSet<_>>().len(), late.len(), "nothing twice: {late:?}");

    let heard: Vec<String> = dora
        .texts(TEA)
        .into_iter()
        .filter(|(nick, text)| *nick == puppet("alice") && text != "here I am")
        .map(|said| said.1)
        .collect();
    let once: HashSet<&String> = heard.iter().collect();
    assert_eq!(once.len(), heard.len(), "nothing twice: {heard:?}");
    let told: HashSet<&str> = timeline
        .iter()
        .filter(|event| event.content["footbridge.undelivered"].is_array())
        .inspect(|notice| assert!(notice.body().contains("isn't certain"), "nothing failed: {notice}"))
        .filter_map(|event| event.content["footbridge.undelivered"].as_array())
        .flatten()
        .filter_map(|event| event.as_str())
        .collect();
    for (event, text) in &before {
        assert!(once.contains(text) || told.contains(event.as_str()), "`{text}` is lost, and nobody was told");
    }
    for text in &dead {
        assert!(once.contains(text), "`{text}` had never been on its way, and is lost");
    }
    // Where a server answers each line, little is in doubt; elsewhere it may be all of the last seconds.
    if town.kind() == Kind::InspIrcd {
        assert!(told.len() <= before.len() / 2, "{} of {} are uncertain", told.len(), before.len());
    }
}

/// A number below this one that nobody foresees.
fn random(below: u64) -> usize {
    usize::try_from(RandomState::new().hash_one(()) % below).expect("it is small")
}
