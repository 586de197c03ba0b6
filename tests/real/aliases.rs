//! Rooms made on demand for a channel's alias, where the operator allows it.

use std::time::Instant;

use axum::http::Method;
use serde_json::json;

use crate::{
    support::{MatrixUser, homeserver::encode, matrix_user::RequestError, process::POLL, wait::DEADLINE},
    town::{TEA, Town, channels, expect_join, puppet},
};

on_both!(
    a_room_is_made_for_an_alias,
    who_joins_an_alias_at_the_same_moment_meets_and_who_left_comes_back,
    without_leave_no_room_is_made
);

/// Aliases that stand for no channel.
const HOSTILE: [&str; 8] = [
    "",
    "tea",
    "#",
    "#a,#b",
    "#a b",
    "#a\u{7}b",
    "#a\r\nJOIN #b",
    "#0123456789012345678901234567890123456789012345678901234567890123456789",
];

async fn a_room_is_made_for_an_alias(town: Town) {
    let dora = town.in_channel("dora", TEA).await;
    dora.raw(&format!("TOPIC {TEA} :green or black")).await;
    dora.expect("the topic", |line| line.is("TOPIC")).await;
    let _bridge = town.bridge(town.network().join_by_alias()).start().await;
    let (alice, bob) = (town.person("alice").await, town.person("bob").await);

    let room = join(&alice, &town.alias(TEA)).await;
    for nick in ["footbridge", &*puppet("alice")] {
        expect_join(&dora, nick, TEA).await;
    }
    alice.expect_membership(&room, &town.ghost("dora"), "join").await;
    dora.say(TEA, "welcome").await;
    alice.expect_message(&room, |sender| sender == town.ghost("dora"), "welcome").await;
    alice.say(&room, "thank you").await;
    dora.expect_text(TEA, |nick| nick == puppet("alice"), "thank you").await;
    alice
        .wait_for(&room, "the channel's topic", |events| {
            events
                .iter()
                .find(|event| event.kind == "m.room.topic" && event.content["topic"] == "green or black")
                .cloned()
        })
        .await;
    // Whoever may set it on IRC may in the room.
    dora.raw(&format!("MODE {TEA} -t")).await;
    dora.sync().await;
    alice.set_topic(&room, "white").await;
    dora.expect("the topic from the room", |line| line.is("TOPIC") && line.text() == "white").await;
    // R19: who comes later can't read what was said before.
    assert_eq!(alice.state(&room, "m.room.history_visibility", "").await.unwrap()["history_visibility"], "joined");

    // The second comes into the same room.
    assert_eq!(join(&bob, &town.alias(TEA)).await, room);
    expect_join(&dora, &puppet("bob"), TEA).await;

    for channel in HOSTILE {
        let refused = try_join(&alice, &town.alias(channel)).await.expect_err(channel);
        assert!([400, 404].contains(&refused.status), "{channel:?}: {refused}");
    }
    assert_eq!(channels(&dora).await, [TEA], "nothing was dialled for them");
}

async fn who_joins_an_alias_at_the_same_moment_meets_and_who_left_comes_back(town: Town) {
    let dora = town.in_channel("dora", TEA).await;
    let _bridge = town.bridge(town.network().join_by_alias()).start().await;
    let (alice, bob, alias) = (town.person("alice").await, town.person("bob").await, town.alias(TEA));
    let (room, bobs) = tokio::join!(join(&alice, &alias), join(&bob, &alias));
    assert_eq!(room, bobs);
    for (user, name) in [(&alice, "alice"), (&bob, "bob")] {
        expect_join(&dora, &puppet(name), TEA).await;
        user.say(&room, name).await;
        dora.expect_text(TEA, |nick| nick == puppet(name), name).await;
    }
    for (user, name) in [(&bob, "bob"), (&alice, "alice")] {
        user.leave(&room).await;
        dora.expect("the end of the puppet", |line| {
            line.nick() == puppet(name) && (line.is("QUIT") || line.is("PART"))
        })
        .await;
    }
    // Nobody but the bridge's own is left in it, and it is the channel's room all the same.
    assert_eq!(join(&alice, &alias).await, room);
    alice.say(&room, "I am back").await;
    dora.expect_text(TEA, |nick| nick == puppet("alice"), "I am back").await;
    dora.say(TEA, "so you are").await;
    alice.expect_message(&room, |sender| sender == town.ghost("dora"), "so you are").await;
}

async fn without_leave_no_room_is_made(town: Town) {
    let dora = town.in_channel("dora", TEA).await;
    let _bridge = town.bridge(town.network()).start().await;
    let alice = town.person("alice").await;
    for channel in [TEA, "#new"] {
        let refused = try_join(&alice, &town.alias(channel)).await.expect_err(channel);
        assert_eq!(refused.status, 404, "{refused}");
    }
    assert_eq!(channels(&dora).await, [TEA]);
    assert_eq!(dora.lines().iter().filter(|line| line.is("JOIN")).count(), 1, "nobody but dora came");
}

async fn try_join(user: &MatrixUser, alias: &str) -> Result<serde_json::Value, RequestError> {
    user.try_request(Method::POST, &format!("/_matrix/client/v3/join/{}", encode(alias)), json!({})).await
}

/// Joins, trying again as a person would: the bridge answers within a second whether or not a busy homeserver has made the room by
/// then, and goes on making it.
async fn join(user: &MatrixUser, alias: &str) -> String {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match try_join(user, alias).await {
            Ok(answer) => return answer["room_id"].as_str().unwrap().to_owned(),
            Err(refused) => {
                assert!(refused.status == 404 && Instant::now() < deadline, "{alias} can't be joined: {refused}");
                tokio::time::sleep(POLL).await;
            }
        }
    }
}
