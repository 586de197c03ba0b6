//! What does not reach IRC is told to its sender, with the reason (R2).

use std::sync::Arc;

use crate::{
    moderation::expect_level,
    ranks,
    support::{Event, Network},
    town::{Bridged, TEA, Town, expect_join, expect_notice, puppet},
};

on_both!(
    nobody_of_that_nick,
    a_moderated_channel,
    a_banned_user,
    a_channel_with_a_key,
    a_channel_with_another_key,
    one_user_too_many,
    what_waited_too_long,
);

async fn nobody_of_that_nick(town: Town) {
    let bridged = town.bridged().await;
    let Bridged { town, alice, .. } = &bridged;
    let ghost = town.ghost("nobody");
    let invite = serde_json::json!({ "preset": "trusted_private_chat", "is_direct": true, "invite": [ghost] });
    let room = alice.create_room(invite).await;
    alice.expect_membership(&room, &ghost, "join").await;
    let sent = alice.say(&room, "anybody home?").await;
    let told = expect_notice(alice, &room, &ghost, "did not reach IRC").await;
    assert!(told.body().contains("nobody of that name"), "{told}");
    assert_eq!(told.content["m.relates_to"]["m.in_reply_to"]["event_id"], sent);
    // Once there is somebody, it works.
    let nobody = town.client("nobody").await;
    alice.say(&room, "and now?").await;
    nobody.expect_text("nobody", |nick| nick == puppet("alice"), "and now?").await;
}

async fn a_moderated_channel(town: Town) {
    let bridged = town.bridged().await;
    let Bridged { alice, dora, room, .. } = &bridged;
    bridged.alice_is_there().await;
    dora.raw(&format!("MODE {TEA} +m")).await;
    dora.expect("the mode", |line| line.is("MODE") && line.param(1) == "+m").await;
    let sent = alice.say(room, "may I speak?").await;
    let told = bridged.expect_told("doesn't let you speak").await;
    assert_eq!(told.content["footbridge.undelivered"], serde_json::json!([sent]));
    dora.raw(&format!("MODE {TEA} -m")).await;
    dora.expect("the mode", |line| line.is("MODE") && line.param(1) == "-m").await;
    alice.say(room, "and now?").await;
    dora.expect_text(TEA, |nick| nick == puppet("alice"), "and now?").await;
    bridged.matrix_has_heard("now I hear you").await;
    let failed = |event: &&Arc<Event>| event.body().contains("did not reach IRC");
    assert_eq!(alice.timeline(room).await.iter().filter(failed).count(), 1, "told once, and only of what failed");
}

/// Who is admin of the room can go on speaking there, and is told of each message; who isn't is muted.
async fn a_banned_user(town: Town) {
    let bridged = town.bridged().await;
    let Bridged { town, alice, dora, room, .. } = &bridged;
    for name in ["bob", "carol"] {
        dora.raw(&format!("MODE {TEA} +b {}!*@*", puppet(name))).await;
        dora.expect("the ban", |line| line.is("MODE") && line.param(1) == "+b").await;
    }
    let bob = town.person("bob").await;
    bridged.expect_levels(&[(&town.ghost("dora"), 50)]).await;
    let mut levels = alice.state(room, ranks::KIND, "").await.expect("there are levels");
    levels["users"][bob.id()] = serde_json::json!(100);
    alice.set_state(room, ranks::KIND, "", levels).await;
    bob.join(room).await;
    let told = bridged.expect_told("banned").await;
    assert!(told.body().contains(bob.id()), "{told}");
    let sent = bob.say(room, "let me in").await;
    let told = bridged.expect_told("did not reach IRC: you are banned").await;
    assert_eq!(told.content["m.relates_to"]["m.in_reply_to"]["event_id"], sent);
    assert_eq!(told.content["m.mentions"]["user_ids"], serde_json::json!([bob.id()]));
    dora.raw(&format!("MODE {TEA} -b {}!*@*", puppet("bob"))).await;
    dora.expect("the unban", |line| line.is("MODE") && line.param(1) == "-b").await;
    bob.say(room, "once more").await;
    dora.expect_text(TEA, |nick| nick == puppet("bob"), "once more").await;
    let carol = town.person("carol").await;
    carol.join(room).await;
    expect_level(&bridged, &carol, Some(-1)).await;
    dora.raw(&format!("MODE {TEA} -b {}!*@*", puppet("carol"))).await;
    expect_level(&bridged, &carol, None).await;
    carol.say(room, "and me").await;
    dora.expect_text(TEA, |nick| nick == puppet("carol"), "and me").await;
    // Alice has nothing to do with it.
    alice.say(room, "hello bob").await;
    dora.expect_text(TEA, |nick| nick == puppet("alice"), "hello bob").await;
}

async fn a_channel_with_a_key(town: Town) {
    let alice = town.person("alice").await;
    let room = town.room(&alice).await;
    let dora = town.in_channel("dora", TEA).await;
    dora.raw(&format!("MODE {TEA} +k earlgrey")).await;
    dora.expect("the key", |line| line.is("MODE") && line.param(1) == "+k").await;
    let _bridge = town.bridge(town.network().plumb_with_key(TEA, &room, "earlgrey")).start().await;
    expect_join(&dora, "footbridge", TEA).await;
    alice.say(&room, "I know the word").await;
    dora.expect_text(TEA, |nick| nick == puppet("alice"), "I know the word").await;
    dora.say(TEA, "so you do").await;
    alice.expect_message(&room, |sender| sender == town.ghost("dora"), "so you do").await;
}

async fn a_channel_with_another_key(town: Town) {
    let alice = town.person("alice").await;
    let room = town.room(&alice).await;
    let dora = town.in_channel("dora", TEA).await;
    dora.raw(&format!("MODE {TEA} +k earlgrey")).await;
    dora.expect("the key", |line| line.is("MODE") && line.param(1) == "+k").await;
    let _bridge = town.bridge(town.network().plumb_with_key(TEA, &room, "darjeeling")).start().await;
    let bot = town.bot();
    expect_notice(&alice, &room, &bot, "bot can't join").await;
    alice.say(&room, "hello?").await;
    expect_notice(&alice, &room, &bot, "did not reach IRC: the channel has a key").await;
}

async fn one_user_too_many(town: Town) {
    let bridged = town.bridged_with(|network| network.set("puppets", "limit", "1"), |bridge| bridge).await;
    bridged.alice_is_there().await;
    let bob = bridged.town.person("bob").await;
    bob.join(&bridged.room).await;
    let told = bridged.expect_told("You could not be brought onto IRC: the bridge has as many users").await;
    assert_eq!(told.content["m.mentions"]["user_ids"], serde_json::json!([bob.id()]));
    let sent = bob.say(&bridged.room, "me too?").await;
    let told = bridged.expect_told("Your message did not reach IRC: the bridge has as many users").await;
    assert_eq!(told.content["footbridge.undelivered"], serde_json::json!([sent]));
}

async fn what_waited_too_long(town: Town) {
    let short = |network: Network| network.set("puppets", "message_max_age_seconds", "2");
    let mut bridged = town.bridged_with(short, |bridge| bridge).await;
    bridged.town.kill_ircd();
    let sent = bridged.alice.say(&bridged.room, "anybody?").await;
    let told = bridged.expect_told("did not reach IRC: it waited too long").await;
    assert_eq!(told.content["footbridge.undelivered"], serde_json::json!([sent]));
}

/// A ban from the network: whom it is about is told, and others go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_whom_the_network_refuses() {
    let bridged = Town::refusing("bob").bridged().await;
    let bob = bridged.town.person("bob").await;
    bob.join(&bridged.room).await;
    let sent = bob.say(&bridged.room, "hello?").await;
    let told = bridged.expect_told("did not reach IRC: the IRC network refuses your connection").await;
    assert_eq!(told.content["footbridge.undelivered"], serde_json::json!([sent]));
    assert!(told.body().contains("the server said: You're banned!"), "{told}");
    bridged.alice_is_there().await;
}
