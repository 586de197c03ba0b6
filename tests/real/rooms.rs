//! What bridged rooms are: what they say of themselves, who may come in, who may know of them, and where they go on.

use std::time::Instant;

use axum::http::Method;
use serde_json::{Value, json};

use crate::{
    aliases::join,
    support::{MatrixUser, homeserver::encode, process::POLL, wait::DEADLINE},
    town::{TEA, Town, expect_join, puppet},
};

on_both!(
    r92_a_room_says_with_what_it_is_bridged_and_what_its_users_are_called,
    r18_a_room_is_as_open_as_its_channel,
    r19_a_channel_hears_when_more_people_may_read_what_is_said,
    r82_a_ghosts_profile_says_who_it_is_on_irc,
    r91_a_plumbed_room_is_followed_into_version_12,
    r91_a_room_of_ours_is_followed_with_its_alias,
);

async fn expect_state(user: &MatrixUser, room: &str, kind: &str, key: &str, is: impl Fn(&Value) -> bool) {
    user.wait_for(room, &format!("{kind} {key}"), |events| {
        let latest = events.iter().rev().find(|e| e.kind == kind && e.state_key.as_deref() == Some(key))?;
        is(&latest.content).then_some(())
    })
    .await;
}

async fn r92_a_room_says_with_what_it_is_bridged_and_what_its_users_are_called(town: Town) {
    let bridged = town.bridged().await;
    let (alice, room, network) = (&bridged.alice, &bridged.room, bridged.town.network_id());
    let key = format!("footbridge://irc/{network}/%23tea");
    for kind in ["m.bridge", "uk.half-shot.bridge"] {
        expect_state(alice, room, kind, &key, |info| info["channel"]["displayname"] == TEA).await;
    }
    let bob = bridged.newcomer("bob").await;
    let key = format!("{network}_{}", bob.id());
    expect_state(alice, room, "footbridge.nick", &key, |content| content["nick"] == puppet("bob")).await;
    bob.leave(room).await;
    expect_state(alice, room, "footbridge.nick", &key, |content| *content == json!({})).await;
}

async fn expect_listed(user: &MatrixUser, room: &str, listed: bool) {
    let (path, deadline) =
        (format!("/_matrix/client/v3/directory/list/room/{}", encode(room)), Instant::now() + DEADLINE);
    let wanted = if listed { "public" } else { "private" };
    while user.request(Method::GET, &path, Value::Null).await["visibility"] != wanted {
        assert!(Instant::now() < deadline, "{room} does not become {wanted} in the directory");
        tokio::time::sleep(POLL).await;
    }
}

async fn r18_a_room_is_as_open_as_its_channel(town: Town) {
    let dora = town.in_channel("dora", TEA).await;
    let mut bridge = town.bridge(town.network().join_by_alias().set("portals", "listed", "true")).start().await;
    let alice = town.person("alice").await;
    let room = join(&alice, &town.alias(TEA)).await;
    expect_listed(&alice, &room, true).await;
    dora.raw(&format!("MODE {TEA} +s")).await;
    expect_listed(&alice, &room, false).await;
    dora.raw(&format!("MODE {TEA} -s+i")).await;
    expect_state(&alice, &room, "m.room.join_rules", "", |rules| rules["join_rule"] == "knock").await;
    expect_listed(&alice, &room, false).await;
    // Who is on IRC is in the room all the same.
    let erin = town.client("erin").await;
    dora.raw(&format!("INVITE erin {TEA}")).await;
    erin.expect("the invitation", |line| line.is("INVITE")).await;
    erin.join(TEA).await;
    alice.expect_membership(&room, &town.ghost("erin"), "join").await;
    bridge.terminate().await;
    dora.raw(&format!("MODE {TEA} -i")).await;
    dora.sync().await;
    bridge.restart().await;
    expect_state(&alice, &room, "m.room.join_rules", "", |rules| *rules == json!({ "join_rule": "public" })).await;
    expect_listed(&alice, &room, true).await;
}

async fn r19_a_channel_hears_when_more_people_may_read_what_is_said(town: Town) {
    let bridged = town.bridged().await;
    let set = async |visibility: &str| {
        let content = json!({ "history_visibility": visibility });
        bridged.alice.set_state(&bridged.room, "m.room.history_visibility", "", content).await;
    };
    set("joined").await;
    set("shared").await;
    let told = bridged.dora.expect("the bot's word", |line| line.is("NOTICE") && line.param(0) == TEA).await;
    assert_eq!(told.nick(), "footbridge");
    assert!(told.text().contains("before they came") && told.text().contains(bridged.alice.id()), "{told:?}");
}

async fn r82_a_ghosts_profile_says_who_it_is_on_irc(town: Town) {
    let bridged = town.bridged().await;
    let path = format!("/_matrix/client/v3/profile/{}", encode(&bridged.town.ghost("dora")));
    let profile = bridged.alice.request(Method::GET, &path, Value::Null).await;
    let expected = json!({ "network": bridged.town.network_id(), "nick": "dora" });
    assert_eq!(profile["footbridge.irc"], expected, "{profile}");
}

/// Replaces a room as a client would.
async fn upgrade(user: &MatrixUser, room: &str, version: &str) -> String {
    let path = format!("/_matrix/client/v3/rooms/{}/upgrade", encode(room));
    let answer = user.request(Method::POST, &path, json!({ "new_version": version })).await;
    answer["replacement_room"].as_str().unwrap().to_owned()
}

async fn r91_a_plumbed_room_is_followed_into_version_12(town: Town) {
    let mut bridged = town.bridged().await;
    bridged.alice_is_there().await;
    // The last thing that the bridge says of the room by itself: an upgrade fails where the room changes meanwhile.
    let key = format!("{}_{}", bridged.town.network_id(), bridged.alice.id());
    expect_state(&bridged.alice, &bridged.room, "footbridge.nick", &key, |content| content["nick"] != Value::Null)
        .await;
    let key = format!("footbridge://irc/{}/%23tea", bridged.town.network_id());
    expect_state(&bridged.alice, &bridged.room, "uk.half-shot.bridge", &key, |_| true).await;
    let new = upgrade(&bridged.alice, &bridged.room, "12").await;
    let (alice, ghost) = (&bridged.alice, bridged.town.ghost("dora"));
    alice.expect_membership(&new, &ghost, "join").await;
    alice.expect_membership(&bridged.room, &ghost, "leave").await;
    bridged.dora.say(TEA, "nice here").await;
    alice.expect_message(&new, |sender| sender == ghost, "nice here").await;
    alice.say(&new, "isn't it").await;
    bridged.dora.expect_text(TEA, |nick| nick == puppet("alice"), "isn't it").await;
    bridged.bridge.terminate().await;
    bridged.bridge.restart().await;
    alice.say(&new, "still").await;
    bridged.dora.expect_text(TEA, |nick| nick == puppet("alice"), "still").await;
}

async fn r91_a_room_of_ours_is_followed_with_its_alias(town: Town) {
    let dora = town.in_channel("dora", TEA).await;
    let alice = town.person("alice").await;
    let network = town.network().join_by_alias().set("portals", "room_version", "\"11\"");
    let network = network.set("portals", "admins", &format!("[\"{}\"]", alice.id()));
    let _bridge = town.bridge(network).start().await;
    let old = join(&alice, &town.alias(TEA)).await;
    expect_join(&dora, &puppet("alice"), TEA).await;
    alice.expect_membership(&old, &town.ghost("dora"), "join").await;
    let new = upgrade(&alice, &old, "12").await;
    alice.expect_membership(&new, &town.ghost("dora"), "join").await;
    let bob = town.person("bob").await;
    let deadline = Instant::now() + DEADLINE;
    let path = format!("/_matrix/client/v3/directory/room/{}", encode(&town.alias(TEA)));
    while bob.try_request(Method::GET, &path, Value::Null).await.ok().is_none_or(|found| found["room_id"] != new) {
        assert!(Instant::now() < deadline, "the alias doesn't move");
        tokio::time::sleep(POLL).await;
    }
    assert_eq!(join(&bob, &town.alias(TEA)).await, new);
    bob.say(&new, "hello").await;
    dora.expect_text(TEA, |nick| nick == puppet("bob"), "hello").await;
}
