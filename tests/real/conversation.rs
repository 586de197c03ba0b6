//! A plumbed room: what people say on one side is said on the other, by themselves.

use crate::{
    support::{IrcLine, real::Postgres},
    town::{Bridged, Kind, TEA, Town, bodies, expect_join, puppet},
};

on_both!(people_talk, long_lines_arrive_whole, the_topic_is_shared);

async fn people_talk(town: Town) {
    talk(&town.bridged().await).await;
}

/// The other database, for one whole conversation and one restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_talk_with_postgres() {
    let url = Postgres::shared().create_database();
    let mut bridged = Town::new(Kind::InspIrcd).bridged_with(|network| network, |bridge| bridge.database(&url)).await;
    talk(&bridged).await;
    assert!(bridged.bridge.terminate().await.success());
    bridged.bridge.restart().await;
    expect_join(&bridged.dora, &puppet("alice"), TEA).await;
    bridged.alice.say(&bridged.room, "back again").await;
    bridged.dora.expect_text(TEA, |nick| nick == puppet("alice"), "back again").await;
    bridged.matrix_has_heard("welcome back").await;
}

async fn talk(bridged: &Bridged) {
    let Bridged { town, alice, dora, room, .. } = bridged;
    let (ghost, puppet) = (town.ghost("dora"), puppet("alice"));

    // IRC to Matrix.
    dora.say(TEA, "hello \u{2}world\u{2} 🎈").await;
    dora.notice(TEA, "a notice").await;
    dora.action(TEA, "waves").await;
    let from_dora = |body| alice.expect_message(room, |sender| sender == ghost, body);
    let hello = from_dora("hello world 🎈").await;
    assert_eq!(hello.msgtype(), "m.text");
    assert!(hello.content["formatted_body"].as_str().unwrap().contains(">world</"), "{hello}");
    assert_eq!(from_dora("a notice").await.msgtype(), "m.notice");
    assert_eq!(from_dora("waves").await.msgtype(), "m.emote");
    let profile = alice.expect_membership(room, &ghost, "join").await;
    assert_eq!(profile.content["displayname"], "dora");

    // Matrix to IRC: the first message opens the puppet, and is not lost over it (R3).
    alice.say(room, "hello dora").await;
    expect_join(dora, &puppet, TEA).await;
    alice.notice(room, "a notice").await;
    alice.emote(room, "waves\nand smiles").await;
    alice.say(room, "one\n\ntwo\r\n three").await;
    let is_alice = |nick: &str| nick == puppet;
    dora.expect_text(TEA, is_alice, "hello dora").await;
    let notice = dora.expect("the notice", |line| line.is("NOTICE") && line.param(0) == TEA).await;
    assert_eq!((notice.nick(), notice.text()), (puppet.as_str(), "a notice"));
    for line in ["\u{1}ACTION waves\u{1}", "\u{1}ACTION and smiles\u{1}", "one", "two", " three"] {
        dora.expect_text(TEA, is_alice, line).await;
    }
    let said: Vec<String> =
        dora.texts(TEA).into_iter().filter(|(nick, _)| *nick == puppet).map(|said| said.1).collect();
    assert_eq!(
        said,
        ["hello dora", "\u{1}ACTION waves\u{1}", "\u{1}ACTION and smiles\u{1}", "one", "two", " three"],
        "each line once, in order"
    );

    // Somebody else who is on both sides of nothing sees each thing once, and nobody hears an echo.
    bridged.matrix_has_heard("that was all").await;
    let timeline = alice.timeline(room).await;
    assert_eq!(bodies(&timeline, &ghost), ["hello world 🎈", "a notice", "waves", "that was all"]);
    let speakers = timeline.iter().filter(|event| event.is_message()).map(|event| event.sender.as_str());
    assert_eq!(speakers.filter(|&sender| sender != ghost && sender != alice.id()).count(), 0, "no echo, no notice");
}

/// R62: whoever puts the pieces together again has what was written.
async fn long_lines_arrive_whole(town: Town) {
    let bridged = town.bridged().await;
    let Bridged { alice, dora, room, .. } = &bridged;
    let texts = [
        "the quick brown fox jumps over the lazy dog ".repeat(30),
        "x".repeat(1500),
        "👩‍👩‍👧‍👦🏳️‍🌈".repeat(40),
        "שלום עולם مرحبا بالعالم ".repeat(40),
        "漢字かな交じり文".repeat(60),
        format!("{}\u{2}bold {}\u{2}", "a".repeat(380), "é".repeat(400)),
    ];
    for (at, text) in texts.iter().enumerate() {
        let end = format!("end of {at}");
        alice.say(room, text).await;
        alice.emote(room, text).await;
        alice.say(room, &end).await;
        dora.expect_text(TEA, |nick| nick == puppet("alice"), &end).await;
    }
    let lines = dora.lines();
    let mut pieces = lines.iter().filter(|line| line.is("PRIVMSG") && line.nick() == puppet("alice"));
    for (at, text) in texts.iter().enumerate() {
        let end = format!("end of {at}");
        let own: Vec<&IrcLine> = pieces.by_ref().take_while(|line| line.text() != end).collect();
        for line in &own {
            assert!(line.raw.len() <= 510, "{} bytes: {line}", line.raw.len());
            assert!(!line.raw.contains('\u{fffd}'), "a character was cut in two: {line}");
        }
        let (emotes, plain): (Vec<&str>, Vec<&str>) =
            own.iter().map(|line| line.text()).partition(|text| text.starts_with('\u{1}'));
        let emotes = emotes.into_iter().map(|text| {
            text.strip_prefix("\u{1}ACTION ").and_then(|text| text.strip_suffix('\u{1}')).expect("the framing is whole")
        });
        assert_eq!(together(text, plain), *text);
        assert_eq!(together(text, emotes.collect()), *text);
    }
}

/// Puts pieces together: the one blank at which a line may have been cut is taken from the original.
fn together(original: &str, pieces: Vec<&str>) -> String {
    assert!(pieces.len() > 1, "it isn't one line: {pieces:?}");
    let mut whole = String::new();
    for piece in pieces {
        let blank = !whole.is_empty() && !original[whole.len()..].starts_with(piece);
        if blank {
            whole.push(' ');
        }
        assert!(original[whole.len()..].starts_with(piece), "{piece:?} does not go on from {whole:?}");
        whole.push_str(piece);
    }
    // A blank at the very end shows nothing.
    if original.len() == whole.len() + 1 && original.ends_with(' ') {
        whole.push(' ');
    }
    whole
}

async fn the_topic_is_shared(town: Town) {
    let bridged = town.bridged().await;
    let Bridged { alice, dora, room, town, .. } = &bridged;
    let topic = async |topic: &str| {
        alice
            .wait_for(room, &format!("the topic `{topic}`"), |events| {
                let last = events.iter().rev().find(|event| event.kind == "m.room.topic")?;
                (last.content["topic"] == topic).then(|| last.clone())
            })
            .await
    };
    dora.raw(&format!("TOPIC {TEA} :fresh \u{2}tea\u{2} at five")).await;
    let set = topic("fresh tea at five").await;
    assert!([town.bot(), town.ghost("dora")].contains(&set.sender), "{set}");

    // An operator of the channel gives alice the right to change it there.
    bridged.alice_is_there().await;
    dora.raw(&format!("MODE {TEA} +o {}", puppet("alice"))).await;
    alice.set_topic(room, "stale tea\nand cake").await;
    let changed = dora.expect("alice's topic", |line| line.is("TOPIC") && line.nick() == puppet("alice")).await;
    assert_eq!(changed.text(), "stale tea and cake");

    // Cleared too (the room's topic didn't come back by way of IRC meanwhile).
    dora.raw(&format!("TOPIC {TEA} :")).await;
    topic("").await;
    bridged.matrix_has_heard("no topic").await;
    let topics = alice.timeline(room).await;
    let topics: Vec<_> =
        topics.iter().filter(|event| event.kind == "m.room.topic").map(|t| t.content["topic"].clone()).collect();
    assert_eq!(topics, ["fresh tea at five", "stale tea\nand cake", ""]);
}
