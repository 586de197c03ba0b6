//! Private talks, begun on either side, in the homeserver's default kind of room.

use axum::http::Method;
use serde_json::json;

use crate::{
    support::{MatrixUser, homeserver::encode},
    town::{Bridged, TEA, Town, channels, expect_notice, puppet},
};

on_both!(a_query_from_matrix, a_query_from_irc, nobody_is_no_ghost);

/// Starts a chat with a ghost, as a client does; answers with the room.
async fn chat_with(user: &MatrixUser, ghost: &str) -> String {
    user.create_room(json!({ "preset": "trusted_private_chat", "is_direct": true, "invite": [ghost] })).await
}

async fn a_query_from_matrix(town: Town) {
    let bridged = town.bridged().await;
    let Bridged { town, alice, .. } = &bridged;
    let erin = town.client("erin").await;
    let ghost = town.ghost("erin");
    let room = chat_with(alice, &ghost).await;
    assert_eq!(alice.state(&room, "m.room.create", "").await.unwrap()["room_version"], "12");
    // At once: the homeserver pushes nothing of the room before the ghost is in.
    alice.say(&room, "psst").await;
    alice.expect_membership(&room, &ghost, "join").await;
    alice.emote(&room, "whispers").await;
    for text in ["psst", "\u{1}ACTION whispers\u{1}"] {
        erin.expect_text("erin", |nick| nick == puppet("alice"), text).await;
    }
    let alice_nick = puppet("alice");
    erin.say(&alice_nick, "yes?").await;
    erin.notice(&alice_nick, "a notice").await;
    erin.action(&alice_nick, "listens").await;
    for (body, msgtype) in [("yes?", "m.text"), ("a notice", "m.notice"), ("listens", "m.emote")] {
        let seen = alice.expect_message(&room, |sender| sender == ghost, body).await;
        assert_eq!(seen.msgtype(), msgtype);
    }
    // It is nobody else's business.
    bridged.matrix_has_heard("in the channel").await;
    assert_eq!(bridged.dora.texts(TEA), []);
}

async fn a_query_from_irc(town: Town) {
    let bridged = town.bridged().await;
    let Bridged { town, dora, .. } = &bridged;
    let bob = bridged.newcomer("bob").await;
    let erin = town.client("erin").await;
    let ghost = town.ghost("erin");
    erin.say(&puppet("bob"), "psst").await;
    erin.say(&puppet("bob"), "are you there?").await;
    let room = bob.expect_invite(|sender| sender == ghost).await;
    bob.join(&room).await;
    for body in ["psst", "are you there?"] {
        bob.expect_message(&room, |sender| sender == ghost, body).await;
    }
    assert_eq!(bob.state(&room, "m.room.create", "").await.unwrap()["room_version"], "12");
    bob.say(&room, "here I am").await;
    erin.expect_text("erin", |nick| nick == puppet("bob"), "here I am").await;

    // Who leaves it is asked again by the next message.
    bob.leave(&room).await;
    bob.say(&bridged.room, "it was erin").await;
    // The bridge hears of things in their order.
    dora.expect_text(TEA, |nick| nick == puppet("bob"), "it was erin").await;
    erin.say(&puppet("bob"), "one thing more").await;
    let again = bob.expect_invite(|sender| sender == ghost).await;
    assert_ne!(again, room);
    bob.join(&again).await;
    bob.expect_message(&again, |sender| sender == ghost, "one thing more").await;
}

/// Ids in the ghosts' namespace that no nick can have are refused, and nothing of them reaches IRC.
async fn nobody_is_no_ghost(town: Town) {
    let bridged = town.bridged().await;
    let Bridged { town, alice, dora, .. } = &bridged;
    let witness = town.in_channel("eve", "#secret").await;
    for name in ["dora,eve", "#secret", "a b", "0", "Dora", "x\r\nJOIN #pwned", "=0d=0aquit", &"a".repeat(120)] {
        let user = town.ghost(name);
        let room = alice.create_room(json!({ "preset": "private_chat" })).await;
        let path = format!("/_matrix/client/v3/rooms/{}/invite", encode(&room));
        // A homeserver that knows better refuses by itself.
        let invited = alice.try_request(Method::POST, &path, json!({ "user_id": user })).await.is_ok();
        if invited {
            alice.say(&room, "hello?").await;
        }
    }
    // Alice is told in the room in which the bridge talks with her.
    let control = alice.expect_invite(|sender| sender == town.bot()).await;
    alice.join(&control).await;
    expect_notice(alice, &control, &town.bot(), "no name that IRC could know").await;
    bridged.alice_is_there().await;
    witness.sync().await;
    assert_eq!(channels(&witness).await, ["#secret", TEA]);
    let commands = ["PRIVMSG", "NOTICE", "JOIN", "QUIT", "PART"];
    let heard = |line: &&crate::support::IrcLine| commands.contains(&&*line.command) && line.nick() == puppet("alice");
    assert_eq!(witness.lines().iter().filter(heard).count(), 0);
    let dora_heard: Vec<String> = dora.lines().iter().filter(heard).map(ToString::to_string).collect();
    assert_eq!(dora_heard.len(), 2, "her JOIN and what she said: {dora_heard:?}");
}
