//! Who a puppet is on IRC: its nick, user name and real name.

use crate::town::{Bridged, Kind, TEA, Town, expect_join, puppet, whois};

on_both!(a_taken_nick, names_on_irc);

/// Somebody on IRC has the nick already: the puppet gets a similar one, and keeps it.
async fn a_taken_nick(town: Town) {
    let other = town.client(&puppet("alice")).await;
    let mut bridged = town.bridged().await;
    let Bridged { alice, dora, room, .. } = &bridged;
    alice.say(room, "who am I?").await;
    dora.expect_text(TEA, |nick| nick == "alice1[m]", "who am I?").await;
    // What the other says is the other's, for all the likeness.
    other.join(TEA).await;
    other.say(TEA, "me!").await;
    let me = alice
        .wait_for(room, "what the other says", |events| events.iter().find(|event| event.body() == "me!").cloned())
        .await;
    assert!(me.sender.starts_with(&format!("@irc_{}_alice=", bridged.town.network_id())), "{me}");

    assert!(bridged.bridge.terminate().await.success());
    bridged.bridge.restart().await;
    expect_join(&bridged.dora, "alice1[m]", TEA).await;
    bridged.alice.say(&bridged.room, "still the same").await;
    bridged.dora.expect_text(TEA, |nick| nick == "alice1[m]", "still the same").await;

    // Once the nick is free, the puppet takes it.
    let other = bridged.town.in_channel(&puppet("bob"), TEA).await;
    let bob = bridged.town.person("bob").await;
    bob.join(&bridged.room).await;
    expect_join(&bridged.dora, "bob1[m]", TEA).await;
    other.quit("bye").await;
    bridged
        .dora
        .expect("NICK", |line| line.is("NICK") && line.nick() == "bob1[m]" && line.text() == puppet("bob"))
        .await;
}

/// R41, R42, R72: what WHOIS shows leads to one Matrix user.
async fn names_on_irc(town: Town) {
    let nicklen = if town.kind() == Kind::NgIrcd { 16 } else { 31 };
    let bridged = town.bridged().await;
    let Bridged { town, alice, dora, room, .. } = &bridged;
    bridged.alice_is_there().await;
    let (user, _, realname) = whois(dora, &puppet("alice")).await;
    assert!(user.trim_start_matches('~').starts_with("alice"), "{user}");
    assert_eq!(realname.strip_prefix(alice.id()).map(str::trim), Some("alice"), "{realname}");

    // Two whose names begin alike, and whose letters IRC doesn't know.
    let mut users = Vec::new();
    for (name, number) in [("bartholomew1", 1), ("bartholomew2", 2)] {
        let user = town.person_called(name, "Zoë Müller-Lüdenscheidt").await;
        user.join(room).await;
        let text = format!("I am number {number}");
        user.say(room, &text).await;
        let line = dora
            .expect("the newcomer's words", |line| line.is("PRIVMSG") && line.param(0) == TEA && line.text() == text)
            .await;
        let nick = line.nick().to_owned();
        assert!(nick.starts_with("Zoe_Mulle") && nick.ends_with("[m]") && nick.len() <= nicklen, "{nick}");
        let (username, _, realname) = whois(dora, &nick).await;
        assert!(realname.starts_with(user.id()), "{realname}");
        users.push((nick, username));
    }
    assert_ne!(users[0].0, users[1].0);
    assert_ne!(users[0].1, users[1].1, "user names tell puppets apart");
}
