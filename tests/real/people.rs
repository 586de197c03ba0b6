//! Who is there: what coming and going on one side is on the other.

use axum::http::Method;
use serde_json::json;

use crate::{
    support::homeserver::encode,
    town::{Bridged, Kind, TEA, Town, expect_join, puppet},
};

on_both!(
    people_on_irc_come_and_go,
    people_on_matrix_come_and_go,
    ghosts_are_removed_from_the_channel,
    whoever_has_a_nick_that_only_the_server_gives_is_removed_too,
    puppets_are_removed_from_the_room,
    a_private_room_by_invitation,
    in_large_channels_ghosts_join_when_they_speak,
);

async fn people_on_irc_come_and_go(town: Town) {
    let bridged = town.bridged().await;
    let Bridged { town, alice, dora, room, .. } = &bridged;
    let left = async |nick: &str| alice.expect_membership(room, &town.ghost(nick), "leave").await;
    let joined = async |nick: &str| alice.expect_membership(room, &town.ghost(nick), "join").await;
    let reason =
        |event: std::sync::Arc<crate::support::Event>| event.content["reason"].as_str().unwrap_or_default().to_owned();

    let erin = town.in_channel("erin", TEA).await;
    joined("erin").await;
    erin.raw("NICK rosa").await;
    left("erin").await;
    let renamed = joined("rosa").await;
    assert_eq!(renamed.content["displayname"], "rosa");
    erin.say(TEA, "under my new name").await;
    alice.expect_message(room, |sender| sender == town.ghost("rosa"), "under my new name").await;

    erin.part(TEA, "for now").await;
    let parted = left("rosa").await;
    assert_eq!(
        (parted.sender.as_str(), reason(parted.clone()).contains("for now")),
        (&*town.ghost("rosa"), true),
        "{parted}"
    );

    erin.raw(&format!("JOIN {TEA}")).await;
    joined("rosa").await;
    erin.quit("good night").await;
    assert!(reason(left("rosa").await).contains("good night"));

    let fred = town.in_channel("fred", TEA).await;
    joined("fred").await;
    dora.raw(&format!("KICK {TEA} fred :out of tea")).await;
    fred.expect("the kick", |line| line.is("KICK")).await;
    let kicked = reason(left("fred").await);
    assert!(kicked.contains("dora") && kicked.contains("out of tea"), "{kicked}");
    let members = alice.joined_members(room).await;
    let mut expected = vec![alice.id().to_owned(), town.bot(), town.ghost("dora")];
    expected.sort_unstable();
    assert_eq!(members, expected);
}

async fn people_on_matrix_come_and_go(town: Town) {
    let bridged = town.bridged().await;
    let Bridged { alice, dora, room, .. } = &bridged;
    // A join alone opens the puppet.
    let bob = bridged.newcomer("bob").await;
    let path = format!("/_matrix/client/v3/rooms/{}/leave", encode(room));
    bob.request(Method::POST, &path, json!({ "reason": "tired" })).await;
    gone(&bridged, "bob", &["tired"]).await;

    let carl = bridged.newcomer("carl").await;
    alice.kick(room, carl.id(), "spilled the tea").await;
    gone(&bridged, "carl", &[alice.id(), "spilled the tea"]).await;

    let dave = bridged.newcomer("dave").await;
    alice.ban(room, dave.id(), "broke a cup").await;
    gone(&bridged, "dave", &[alice.id(), "broke a cup"]).await;

    // And back: one is the same person on IRC as before.
    bob.join(room).await;
    expect_join(dora, &puppet("bob"), TEA).await;
    bob.say(room, "rested").await;
    dora.expect_text(TEA, |nick| nick == puppet("bob"), "rested").await;
}

/// Waits until a puppet has left the channel with a reason that has these parts, and the network.
async fn gone(bridged: &Bridged, name: &str, parts: &[&str]) {
    let dora = &bridged.dora;
    let left = dora
        .expect(&format!("{name}'s leave"), |line| {
            ["PART", "QUIT"].contains(&&*line.command) && line.nick() == puppet(name)
        })
        .await;
    assert!(parts.iter().all(|part| left.text().contains(part)), "{left}");
    loop {
        dora.raw(&format!("WHOIS {}", puppet(name))).await;
        let end = dora.expect("the end of WHOIS", |line| line.is("318")).await;
        let unknown = dora.lines().iter().rev().any(|line| line.is("401") && line.param(1) == end.param(1));
        if unknown {
            return;
        }
    }
}

async fn ghosts_are_removed_from_the_channel(town: Town) {
    let bridged = town.bridged().await;
    let Bridged { town, alice, dora, room, .. } = &bridged;
    let (erin, fred) = (town.in_channel("erin", TEA).await, town.in_channel("fred", TEA).await);
    for nick in ["erin", "fred"] {
        alice.expect_membership(room, &town.ghost(nick), "join").await;
    }
    bridged.alice_is_there().await;

    // Who may not do it on IRC is told so, and nothing happens there.
    alice.kick(room, &town.ghost("erin"), "too early").await;
    bridged.expect_told("Your kick was not carried out on IRC: ").await;
    dora.raw(&format!("MODE {TEA} +o {}", puppet("alice"))).await;
    dora.expect("the mode", |line| line.is("MODE") && line.param(2) == puppet("alice")).await;
    // Somebody who speaks is in the room again.
    erin.say(TEA, "still here").await;
    alice.expect_message(room, |sender| sender == town.ghost("erin"), "still here").await;

    alice.kick(room, &town.ghost("erin"), "no sugar").await;
    alice.ban(room, &town.ghost("fred"), "no milk").await;
    for (client, reason) in [(&erin, "no sugar"), (&fred, "no milk")] {
        let kick = client.expect("the kick", |line| line.is("KICK") && line.param(1) == client.nick()).await;
        assert_eq!((kick.nick(), kick.text()), (&*puppet("alice"), reason));
    }
    // A ban that is lifted is no kick.
    fred.join(TEA).await;
    alice.unban(room, &town.ghost("fred")).await;
    alice.say(room, "the ban is lifted").await;
    dora.expect_text(TEA, |nick| nick == puppet("alice"), "the ban is lifted").await;
    let kicks = dora.lines().iter().filter(|line| line.is("KICK")).count();
    assert_eq!(kicks, 2, "neither the early one nor the lifted ban had any effect");
}

/// InspIRCd calls who wants no nick by a number of its own, which begins with a digit.
async fn whoever_has_a_nick_that_only_the_server_gives_is_removed_too(town: Town) {
    if town.kind() == Kind::NgIrcd {
        return;
    }
    let bridged = town.bridged().await;
    let Bridged { town, alice, dora, room, .. } = &bridged;
    bridged.alice_is_there().await;
    dora.raw(&format!("MODE {TEA} +o alice[m]")).await;
    let eve = town.in_channel("eve", TEA).await;
    alice.expect_membership(room, &town.ghost("eve"), "join").await;
    eve.raw("NICK 0").await;
    let renamed = dora.expect("the number", |line| line.is("NICK") && line.nick() == "eve").await;
    let ghost = town.ghost(&renamed.text().to_lowercase());
    alice.expect_membership(room, &ghost, "join").await;
    alice.kick(room, &ghost, "out").await;
    eve.expect("the kick", |line| line.is("KICK") && line.param(1) == renamed.text()).await;
}

async fn puppets_are_removed_from_the_room(town: Town) {
    let bridged = town.bridged().await;
    let Bridged { town, alice, dora, room, .. } = &bridged;
    let bob = bridged.newcomer("bob").await;
    dora.raw(&format!("KICK {TEA} {} :no tea for you", puppet("bob"))).await;
    let removed = alice.expect_membership(room, bob.id(), "leave").await;
    // Dora is an operator: once that is power in the room, her ghost shows bob out, before that the bot does.
    assert!([town.bot(), town.ghost("dora")].contains(&removed.sender), "{}", removed.sender);
    let reason = removed.content["reason"].as_str().unwrap();
    assert!(reason.contains("dora") && reason.contains("no tea for you"), "{reason}");
    // Who comes back is let in again.
    bob.join(room).await;
    expect_join(dora, &puppet("bob"), TEA).await;
}

async fn a_private_room_by_invitation(town: Town) {
    let alice = town.person("alice").await;
    let room = alice.create_room(json!({ "preset": "private_chat" })).await;
    let dora = town.in_channel("dora", TEA).await;
    let _bridge = town.bridge(town.network().plumb(TEA, &room)).start().await;
    alice.invite(&room, &town.bot()).await;
    expect_join(&dora, "footbridge", TEA).await;
    // The bot has to be able to invite the ghosts; in a private room everybody may.
    alice.expect_membership(&room, &town.ghost("dora"), "join").await;
    dora.say(TEA, "so private").await;
    alice.expect_message(&room, |sender| sender == town.ghost("dora"), "so private").await;
    alice.say(&room, "so it is").await;
    dora.expect_text(TEA, |nick| nick == puppet("alice"), "so it is").await;
}

/// In a channel with more people than `join_below`, only who speaks becomes a member of the room.
async fn in_large_channels_ghosts_join_when_they_speak(town: Town) {
    let alice = town.person("alice").await;
    let room = town.room(&alice).await;
    let dora = town.in_channel("dora", TEA).await;
    let mut crowd = Vec::new();
    for n in 0..12 {
        crowd.push(town.in_channel(&format!("silent{n}"), TEA).await);
    }
    let network = town.network().plumb(TEA, &room).set("ghosts", "join_below", "10");
    let _bridge = town.bridge(network).start().await;
    expect_join(&dora, "footbridge", TEA).await;
    let ghosts = async |nicks: &[&str]| {
        let mut expected = vec![alice.id().to_owned(), town.bot()];
        expected.extend(nicks.iter().map(|nick| town.ghost(nick)));
        expected.sort_unstable();
        assert_eq!(alice.joined_members(&room).await, expected);
    };
    let says = async |client: &crate::support::IrcClient, words: &str| {
        client.say(TEA, words).await;
        alice.expect_message(&room, |sender| sender == town.ghost(client.nick()), words).await;
    };
    says(&dora, "so many people").await;
    ghosts(&["dora"]).await;
    says(&crowd[3], "and one of them speaks").await;
    ghosts(&["dora", "silent3"]).await;
    // Who comes later is one of many too; who was never in the room needn't leave it, and who was, does.
    let late = town.in_channel("late", TEA).await;
    crowd[4].quit("unheard").await;
    crowd[3].quit("heard").await;
    alice.expect_membership(&room, &town.ghost("silent3"), "leave").await;
    says(&dora, "fewer now").await;
    ghosts(&["dora"]).await;
    says(&late, "I am here").await;
    ghosts(&["dora", "late"]).await;
}
