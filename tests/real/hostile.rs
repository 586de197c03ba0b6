//! Whatever Matrix users write, IRC sees one command of the kind that was meant (R104).

use axum::http::Method;
use serde_json::json;

use crate::{
    support::{IrcLine, homeserver::encode},
    town::{Bridged, TEA, Town, channels, whois},
};

on_both!(nothing_makes_a_second_command);

/// What follows is a command of its own wherever a line end gets through.
const ATTACKS: [&str; 6] = [
    "x\r\nJOIN #pwned",
    "x\nPRIVMSG eve :pwned",
    "x\rQUIT :pwned",
    "x\u{85}JOIN #pwned\u{2028}JOIN #pwned",
    "\r\n:eve PRIVMSG #secret :pwned\r\n",
    "\u{1}VERSION\u{1}",
];

async fn nothing_makes_a_second_command(town: Town) {
    let bridged = town.bridged().await;
    let Bridged { town, alice, dora, room, .. } = &bridged;
    let eve = town.in_channel("eve", "#secret").await;
    bridged.alice_is_there().await;
    dora.raw(&format!("MODE {TEA} +o alice[m]")).await;
    dora.expect("the mode", |line| line.is("MODE") && line.param(1) == "+o").await;

    // As a display name, from which the nick and the real name are made.
    for (number, attack) in ATTACKS.iter().enumerate() {
        let user = town.person_called(&format!("mallory{number}"), attack).await;
        user.join(room).await;
        let hello = format!("hello from {number}");
        user.say(room, &hello).await;
        let line = dora.expect(&hello, |line| line.is("PRIVMSG") && line.text() == hello).await;
        let (_, _, realname) = whois(dora, line.nick()).await;
        assert!(realname.starts_with(user.id()), "{realname}");
        // As the reason of a leave.
        let path = format!("/_matrix/client/v3/rooms/{}/leave", encode(room));
        user.request(Method::POST, &path, json!({ "reason": attack })).await;
        let left = dora
            .expect("the leave", |other| ["PART", "QUIT"].contains(&&*other.command) && other.nick() == line.nick());
        left.await;
    }
    for (number, attack) in ATTACKS.iter().enumerate() {
        // As text, of every kind, as a topic, and as the reason of a kick.
        alice.say(room, attack).await;
        alice.notice(room, attack).await;
        alice.emote(room, attack).await;
        alice.set_topic(room, &format!("topic {number}{attack}")).await;
        dora.expect("the topic", |line| line.is("TOPIC") && line.text().starts_with(&format!("topic {number}"))).await;
        let victim = town.in_channel(&format!("victim{number}"), TEA).await;
        alice.expect_membership(room, &town.ghost(victim.nick()), "join").await;
        alice.kick(room, &town.ghost(victim.nick()), attack).await;
        let kick = victim.expect("the kick", |line| line.is("KICK") && line.param(1) == victim.nick()).await;
        assert_eq!(kick.nick(), "alice[m]");
    }
    // In a private talk.
    let query = alice
        .create_room(json!({ "preset": "trusted_private_chat", "is_direct": true, "invite": [town.ghost("dora")] }))
        .await;
    alice.expect_membership(&query, &town.ghost("dora"), "join").await;
    for attack in ATTACKS {
        alice.say(&query, attack).await;
    }
    alice.say(&query, "that was all").await;
    dora.expect_text("dora", |nick| nick == "alice[m]", "that was all").await;

    eve.sync().await;
    assert_eq!(channels(&eve).await, ["#secret", TEA]);
    let from_matrix = |line: &&IrcLine| line.source.contains("@127.0.0.1");
    let heard: Vec<String> = eve.lines().iter().filter(from_matrix).map(ToString::to_string).collect();
    assert_eq!(heard, [""; 0], "nobody but alice's own channel hears of it");
    for line in dora.lines().iter().filter(from_matrix) {
        assert!(!line.text().starts_with('\u{1}') || line.text().starts_with("\u{1}ACTION "), "a CTCP request: {line}");
        assert!(line.command != "QUIT" || line.nick() != "alice[m]", "{line}");
    }
    assert!(whois(dora, "alice[m]").await.2.starts_with(alice.id()), "she is still there");
}
