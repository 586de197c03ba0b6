//! Ghosts and private chats: who stands for an IRC user, under which id and name, and ids that stand for nobody.

use axum::http::Method;
use serde_json::json;

use super::world::{ALICE, BOT, DORA, TEA, World, on_both_kinds_of_server};
use crate::support::{IrcdConfig, MatrixUser, Outage};

on_both_kinds_of_server!(
    r80_every_nick_has_one_valid_id,
    a_ghost_follows_its_nick,
    r79_a_private_chat_follows_who_it_is_with,
    r79_a_private_chat_never_follows_an_impostor,
    r79_who_gets_another_host_is_still_the_same,
    who_speaks_and_leaves_at_once_is_not_left_behind,
    a_matrix_user_opens_a_private_chat,
    what_is_said_before_a_ghost_has_come_is_passed_on,
    a_private_chat_whose_beginning_is_unknown_says_so_and_goes_on,
    an_irc_user_opens_a_private_chat,
    r2_an_irc_user_is_told_of_a_private_message_that_has_no_room,
    the_bot_explains_itself_to_people_and_answers_no_bot,
    both_sides_open_a_private_chat_at_once,
    a_second_ghost_has_no_place_in_a_private_chat,
    a_private_chat_outlives_an_invitation_that_is_refused,
    an_invited_ghost_keeps_its_name,
    hostile_ids_are_nobody,
    r2_a_private_message_to_nobody_is_told,
);

async fn r80_every_nick_has_one_valid_id(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    for (nick, localpart) in [
        ("Eve", "eve"),
        ("[x]\\`^{}", "=7bx=7d=7c=60=5e=7b=7d"),
        ("a_b-c|d", "a_b-c=7cd"),
        ("Upper~".trim_end_matches('~'), "upper"),
    ] {
        let ghost = format!("@irc_net_{localpart}:hs.test");
        let client = world.ircd.client(nick).await;
        client.join(TEA).await;
        let text = format!("I am {nick}");
        client.say(TEA, &text).await;
        world.alice.expect_message(&world.room, |from| from == ghost, &text).await;
        let member = world.alice.expect_membership(&world.room, &ghost, "join").await;
        assert_eq!(member.content["displayname"], nick);
        client.quit("bye").await;
        world.alice.expect_membership(&world.room, &ghost, "leave").await;
    }
    // The same nick in another case is the same person (rfc1459).
    let eve = world.ircd.client("EVE").await;
    eve.join(TEA).await;
    eve.say(TEA, "loud").await;
    world.alice.expect_message(&world.room, |from| from == "@irc_net_eve:hs.test", "loud").await;
}

async fn a_ghost_follows_its_nick(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.dora.say(TEA, "I am dora").await;
    world.alice.expect_message(&world.room, |from| from == DORA, "I am dora").await;
    world.dora.raw("NICK dora_away").await;
    world.alice.expect_membership(&world.room, "@irc_net_dora_away:hs.test", "join").await;
    world.alice.expect_membership(&world.room, DORA, "leave").await;
    let timeline = world.homeserver.timeline(&world.room);
    let came = timeline.iter().position(|event| event.is_membership("@irc_net_dora_away:hs.test", "join")).unwrap();
    assert!(timeline[came + 1].is_membership(DORA, "leave"), "r79: the one comes as the other goes");
    world.dora.say(TEA, "now I am away").await;
    world.alice.expect_message(&world.room, |from| from == "@irc_net_dora_away:hs.test", "now I am away").await;
    // Another case of the same nick is the same ghost under another name.
    world.dora.raw("NICK DORA").await;
    world.alice.expect_membership(&world.room, DORA, "join").await;
    world.dora.say(TEA, "loud").await;
    world.alice.expect_message(&world.room, |from| from == DORA, "loud").await;
    world
        .alice
        .wait_for(&world.room, "the name DORA", |timeline| {
            timeline.iter().find(|e| e.is_membership(DORA, "join") && e.content["displayname"] == "DORA").map(|_| ())
        })
        .await;
}

const DODO: &str = "@irc_net_dodo:hs.test";

/// A chat of Alice and Dora in which both have spoken.
async fn chat_with_dora(world: &World) -> String {
    world.alice_speaks().await;
    world.dora.say(ALICE, "psst").await;
    let chat = world.alice.expect_invite(|from| from == DORA).await;
    world.alice.join(&chat).await;
    world.alice.expect_message(&chat, |from| from == DORA, "psst").await;
    world.alice.say(&chat, "yes?").await;
    world.dora.expect_text("dora", |from| from == ALICE, "yes?").await;
    chat
}

async fn r79_a_private_chat_follows_who_it_is_with(ircd: IrcdConfig) {
    let mut world = World::new(ircd).await;
    let chat = chat_with_dora(&world).await;
    world.dora.raw("NICK dodo").await;
    world.alice.expect_membership(&chat, DODO, "join").await;
    world.alice.expect_membership(&chat, DORA, "leave").await;
    world.alice.say(&chat, "are you still you?").await;
    world.dora.expect_text("dodo", |from| from == ALICE, "are you still you?").await;
    world.dora.say(ALICE, "I am").await;
    world.alice.expect_message(&chat, |from| from == DODO, "I am").await;
    // Somebody else takes the old nick: that is another chat.
    let impostor = world.ircd.client("dora").await;
    impostor.say(ALICE, "it is me").await;
    let other = world.alice.expect_invite(|from| from == DORA).await;
    assert_ne!(other, chat);
    world.alice.join(&other).await;
    world.alice.expect_message(&other, |from| from == DORA, "it is me").await;
    world.bridge.terminate().await;
    world.bridge.restart().await;
    world.alice.say(&chat, "after a restart").await;
    world.dora.expect_text("dodo", |from| from == ALICE, "after a restart").await;
    // Another way to write it is the same nick.
    world.dora.raw("NICK Dodo").await;
    world.dora.say(ALICE, "big").await;
    world.alice.expect_message(&chat, |from| from == DODO, "big").await;
}

async fn r79_a_private_chat_never_follows_an_impostor(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    let chat = chat_with_dora(&world).await;
    let impostor = world.ircd.client("mallory").await;
    impostor.join(TEA).await;
    world.dora.part(TEA, "").await;
    world.dora.raw("NICK elsewhere").await;
    world.dora.sync().await;
    // Out of the bot's sight: it can't know, and the nick is all there is to go by.
    for nick in ["dora", "dodo"] {
        impostor.raw(&format!("NICK {nick}")).await;
        impostor.sync().await;
    }
    impostor.say(TEA, "I was dora").await;
    world.alice.expect_message(&world.room, |from| from == DODO, "I was dora").await;
    let members = world.alice.joined_members(&chat).await;
    assert_eq!(members, [world.alice.id(), DORA]);
}

/// As with a cloak that services give when somebody logs in.
async fn r79_who_gets_another_host_is_still_the_same(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    let chat = chat_with_dora(&world).await;
    let mask = {
        let state = world.ircd.state();
        let (id, _) = state.find("dora").unwrap();
        state.mask(id)
    };
    let lines = format!(":{mask} CHGHOST dora user/dora\r\n:dora!dora@user/dora NICK dodo\r\n");
    world.ircd.inject(BOT, lines.as_bytes());
    world.alice.expect_membership(&chat, DODO, "join").await;
    world.alice.expect_membership(&chat, DORA, "leave").await;
}

async fn who_speaks_and_leaves_at_once_is_not_left_behind(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.dora.say(TEA, "I stay").await;
    world.alice.expect_message(&world.room, |from| from == DORA, "I stay").await;
    world.homeserver.outage(Some(Outage::BadGateway));
    for (nick, goodbye) in [("guest1", "QUIT :x"), ("guest2", "PART #tea :x"), ("guest3", "NICK guest4")] {
        let lines =
            format!(":{nick}!u@h JOIN #tea\r\n:{nick}!u@h PRIVMSG #tea :I am {nick}\r\n:{nick}!u@h {goodbye}\r\n");
        world.ircd.inject(BOT, lines.as_bytes());
    }
    world.homeserver.outage(None);
    for nick in ["guest1", "guest2", "guest3"] {
        let ghost = format!("@irc_net_{nick}:hs.test");
        world.alice.expect_message(&world.room, |from| from == ghost, &format!("I am {nick}")).await;
        world.alice.expect_membership(&world.room, &ghost, "leave").await;
    }
    world.alice.expect_membership(&world.room, "@irc_net_guest4:hs.test", "join").await;
}

async fn a_matrix_user_opens_a_private_chat(ircd: IrcdConfig) {
    let mut world = World::new(ircd).await;
    let chat =
        world.alice.create_room(json!({ "preset": "trusted_private_chat", "is_direct": true, "invite": [DORA] })).await;
    world.alice.expect_membership(&chat, DORA, "join").await;
    world.alice.say(&chat, "psst").await;
    world.dora.expect_text(ALICE_HEARD_BY_DORA, |from| from == ALICE, "psst").await;
    world.dora.say(ALICE, "yes?").await;
    world.alice.expect_message(&chat, |from| from == DORA, "yes?").await;
    world.dora.action(ALICE, "listens").await;
    assert_eq!(world.alice.expect_message(&chat, |from| from == DORA, "listens").await.msgtype(), "m.emote");
    world.dora.notice(ALICE, "noted").await;
    assert_eq!(world.alice.expect_message(&chat, |from| from == DORA, "noted").await.msgtype(), "m.notice");
    // It is still the same chat after a restart.
    world.bridge.terminate().await;
    world.bridge.restart().await;
    world.alice.say(&chat, "still there?").await;
    world.dora.expect_text(ALICE_HEARD_BY_DORA, |from| from == ALICE, "still there?").await;
    world.dora.say(ALICE, "sure").await;
    world.alice.expect_message(&chat, |from| from == DORA, "sure").await;
    assert!(!world.homeserver.messages(&world.room).contains(&"psst".to_owned()), "a secret is in the channel's room");
}

/// What is said in private to Dora has her nick as its target.
const ALICE_HEARD_BY_DORA: &str = "dora";

async fn what_is_said_before_a_ghost_has_come_is_passed_on(ircd: IrcdConfig) {
    let mut world = World::new(ircd).await;
    let private = || json!({ "preset": "trusted_private_chat", "is_direct": true, "invite": [DORA] });
    let heard = |world: &World| -> Vec<String> {
        world.dora.texts(ALICE_HEARD_BY_DORA).into_iter().map(|(_, text)| text).collect()
    };
    // The homeserver pushes only the invitation: none of ours is in the room yet.
    world.homeserver.pause();
    let chat = world.alice.create_room(private()).await;
    world.alice.say(&chat, "first").await;
    world.alice.emote(&chat, "waits").await;
    world.homeserver.resume();
    world.alice.expect_membership(&chat, DORA, "join").await;
    world.alice.say(&chat, "last").await;
    world.dora.expect_text(ALICE_HEARD_BY_DORA, |from| from == ALICE, "last").await;
    assert_eq!(heard(&world), ["first", "\u{1}ACTION waits\u{1}", "last"]);

    // Nor was it pushed while the bridge was down; and what was said before the invitation is nobody's business.
    world.bridge.terminate().await;
    let chat = world.alice.create_room(json!({ "preset": "trusted_private_chat", "is_direct": true })).await;
    world.alice.say(&chat, "to myself").await;
    world.alice.invite(&chat, DORA).await;
    let many: Vec<String> = (0..120).map(|number| format!("line {number}")).collect();
    for line in &many {
        world.alice.say(&chat, line).await;
    }
    world.bridge.restart().await;
    world.dora.expect_text(ALICE_HEARD_BY_DORA, |from| from == ALICE, "line 119").await;
    assert_eq!(heard(&world)[3..], many);
}

async fn a_private_chat_whose_beginning_is_unknown_says_so_and_goes_on(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.homeserver.outage(Some(Outage::ForbiddenAt("/messages")));
    world.homeserver.pause();
    let chat =
        world.alice.create_room(json!({ "preset": "trusted_private_chat", "is_direct": true, "invite": [DORA] })).await;
    world.alice.say(&chat, "first").await;
    world.homeserver.resume();
    world.alice.expect_membership(&chat, DORA, "join").await;
    world.alice.say(&chat, "can you hear me?").await;
    world.dora.expect_text(ALICE_HEARD_BY_DORA, |from| from == ALICE, "can you hear me?").await;
    let told = world.alice.wait_for(&chat, "what couldn't be read", |timeline| {
        timeline.iter().find(|event| event.body().contains("before I came could not be read")).cloned()
    });
    assert_eq!(told.await.sender, DORA);
}

async fn an_irc_user_opens_a_private_chat(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.alice_speaks().await;
    world.homeserver.auto_join(world.alice.id());
    world.dora.say(ALICE, "hi alice").await;
    let chat = world
        .homeserver
        .wait_until("a private chat with what dora said", |state| {
            let mut rooms = state.rooms.values();
            rooms
                .find(|room| room.timeline.iter().any(|event| event.sender == DORA && event.body() == "hi alice"))
                .map(|room| room.id.clone())
        })
        .await;
    assert_ne!(chat, world.room);
    let members = world.alice.joined_members(&chat).await;
    assert_eq!(members, [world.alice.id(), DORA]);
    world.alice.say(&chat, "hi dora").await;
    world.dora.expect_text("dora", |from| from == ALICE, "hi dora").await;
    world.dora.say(ALICE, "second").await;
    world.alice.expect_message(&chat, |from| from == DORA, "second").await;
    // A second chat partner has a second room.
    let eve = world.ircd.client("eve").await;
    eve.say(ALICE, "and me").await;
    let other = world
        .homeserver
        .wait_until("a private chat with eve", |state| {
            let mut rooms = state.rooms.values();
            rooms.find(|room| room.timeline.iter().any(|event| event.body() == "and me")).map(|room| room.id.clone())
        })
        .await;
    assert_ne!(other, chat);
    // Third parties are told, and left alone.
    let bob = world.homeserver.user("bob");
    world.alice.invite(&chat, bob.id()).await;
    world
        .alice
        .wait_for(&chat, "dora's ghost to say that this is for two", |timeline| {
            timeline.iter().find(|event| event.sender == DORA && event.msgtype() == "m.notice").map(|_| ())
        })
        .await;
}

async fn r2_an_irc_user_is_told_of_a_private_message_that_has_no_room(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.alice_speaks().await;
    world.homeserver.outage(Outage::ForbiddenAt("createRoom"));
    world.dora.say(ALICE, "psst").await;
    let told = world.dora.expect("the bad news", |line| line.is("NOTICE") && line.nick() == ALICE).await;
    assert_eq!(told.text(), "Your private message could not be brought to Matrix.");
    // The next one tries again.
    world.homeserver.outage(None);
    world.dora.say(ALICE, "are you there?").await;
    let chat = world.alice.expect_invite(|from| from == DORA).await;
    world.alice.join(&chat).await;
    world.alice.expect_message(&chat, |from| from == DORA, "are you there?").await;
}

async fn the_bot_explains_itself_to_people_and_answers_no_bot(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    let bob = world.homeserver.user("bob");
    let chat = bob.create_room(json!({ "is_direct": true, "invite": ["@footbridge:hs.test"] })).await;
    let explained = async |count: usize| {
        bob.wait_for(&chat, &format!("{count} explanations"), |timeline| {
            let said: Vec<_> = timeline.iter().filter(|event| event.sender == "@footbridge:hs.test").collect();
            let explained = said.iter().filter(|event| event.body().starts_with("I am an IRC bridge.")).count();
            (explained == count).then_some(())
        })
        .await;
    };
    explained(1).await;
    bob.say(&chat, "hello?").await;
    explained(2).await;
    bob.notice(&chat, "beep").await;
    bob.send_raw(&chat, "m.room.message", json!({ "msgtype": "m.image", "body": "a.png" })).await;
    bob.send_raw(&chat, "m.sticker", json!({ "body": "a cat" })).await;
    bob.emote(&chat, "waits").await;
    explained(3).await;
    assert_eq!(world.told(), []);
}

/// The homeserver doesn't make the room for what Dora says before Alice has one.
async fn both_sides_open_a_private_chat_at_once(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.alice_speaks().await;
    world.homeserver.auto_join(world.alice.id());
    world.homeserver.outage(Outage::BadGateway);
    world.dora.say(ALICE, "hi alice").await;
    world.dora.raw(&format!("PRIVMSG {ALICE} :\u{1}PING x\u{1}")).await;
    world.dora.expect("the answer to a PING", |line| line.is("NOTICE") && line.nick() == ALICE).await;
    let chat =
        world.alice.create_room(json!({ "preset": "trusted_private_chat", "is_direct": true, "invite": [DORA] })).await;
    world.alice.say(&world.room, "handled").await;
    world.dora.expect_text(TEA, |from| from == ALICE, "handled").await;
    world.homeserver.outage(None);
    world.alice.expect_membership(&chat, DORA, "join").await;
    world
        .homeserver
        .wait_until("what dora said", |state| {
            state.rooms.values().any(|room| room.timeline.iter().any(|event| event.body() == "hi alice")).then_some(())
        })
        .await;
    for n in 0..3 {
        world.alice.say(&chat, &format!("psst {n}")).await;
        world.dora.expect_text("dora", |from| from == ALICE, &format!("psst {n}")).await;
        world.dora.say(ALICE, &format!("yes {n}?")).await;
        world.alice.expect_message(&chat, |from| from == DORA, &format!("yes {n}?")).await;
    }
    assert_eq!(world.told(), []);
}

async fn a_second_ghost_has_no_place_in_a_private_chat(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    let _eve = world.ircd.client("eve").await;
    let chat =
        world.alice.create_room(json!({ "preset": "trusted_private_chat", "is_direct": true, "invite": [DORA] })).await;
    world.alice.expect_membership(&chat, DORA, "join").await;
    world.alice.say(&chat, "one").await;
    world.dora.expect_text("dora", |from| from == ALICE, "one").await;
    world.alice.invite(&chat, "@irc_net_eve:hs.test").await;
    let left = world.alice.expect_membership(&chat, "@irc_net_eve:hs.test", "leave").await;
    assert!(left.content["reason"].as_str().unwrap_or_default().contains("in private only"), "{left}");
    // It is still the chat with the first.
    world.alice.say(&chat, "two").await;
    world.dora.expect_text("dora", |from| from == ALICE, "two").await;
    world.dora.say(ALICE, "yes?").await;
    world.alice.expect_message(&chat, |from| from == DORA, "yes?").await;
    assert_eq!(world.dora.lines().iter().filter(|line| line.is("KICK")).count(), 0);
}

/// Where a ghost talks with nobody alone, it doesn't come to talk, and goes on where it did.
async fn a_private_chat_outlives_an_invitation_that_is_refused(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    let private = || json!({ "preset": "trusted_private_chat", "is_direct": true, "invite": [DORA] });
    let chat = world.alice.create_room(private()).await;
    world.alice.expect_membership(&chat, DORA, "join").await;
    world.alice.say(&chat, "one").await;
    world.dora.expect_text("dora", |from| from == ALICE, "one").await;
    let bob = world.homeserver.user("bob");
    let group = world.alice.create_room(json!({ "preset": "public_chat" })).await;
    bob.join(&group).await;
    world.alice.invite(&group, DORA).await;
    let left = world.alice.expect_membership(&group, DORA, "leave").await;
    assert!(left.content["reason"].as_str().unwrap_or_default().contains("in private only"), "{left}");
    world.alice.say(&chat, "two").await;
    world.dora.expect_text("dora", |from| from == ALICE, "two").await;
    world.dora.say(ALICE, "yes?").await;
    world.alice.expect_message(&chat, |from| from == DORA, "yes?").await;
    assert_eq!(world.homeserver.state().rooms[&chat].membership(DORA), Some("join"));
    // Where it may talk, the talk goes on.
    let next = world.alice.create_room(private()).await;
    world.alice.say(&next, "three").await;
    world.dora.expect_text("dora", |from| from == ALICE, "three").await;
    world.alice.expect_membership(&chat, DORA, "leave").await;
    world.dora.say(ALICE, "here?").await;
    world.alice.expect_message(&next, |from| from == DORA, "here?").await;
}

async fn an_invited_ghost_keeps_its_name(ircd: IrcdConfig) {
    let mut world = World::new(ircd).await;
    let eve = world.ircd.client("Eve[x]").await;
    eve.join(TEA).await;
    eve.say(TEA, "hi").await;
    let ghost = "@irc_net_eve=7bx=7d:hs.test";
    world.alice.expect_message(&world.room, |from| from == ghost, "hi").await;
    let invite = async |user: &MatrixUser| {
        let options = json!({ "preset": "trusted_private_chat", "is_direct": true, "invite": [ghost] });
        let chat = user.create_room(options).await;
        user.expect_membership(&chat, ghost, "join").await;
    };
    // While she is seen, and when nobody knows any more how she writes herself.
    let bob = world.homeserver.user("bob");
    invite(&world.alice).await;
    eve.quit("bye").await;
    world.alice.expect_membership(&world.room, ghost, "leave").await;
    world.bridge.terminate().await;
    world.bridge.restart().await;
    world.ircd.expect_on_channel(BOT, TEA).await;
    world.settle("back").await;
    invite(&bob).await;
    world.settle("end").await;
    assert_eq!(world.homeserver.state().users[ghost]["displayname"], "Eve[x]");
}

async fn hostile_ids_are_nobody(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.alice_speaks().await;
    let lines_before = world.ircd.lines_from(ALICE).len();
    for localpart in [
        "a,b",
        "#tea",
        "a=20b",
        "=23tea",
        "=0aquit",
        "=00",
        "a=2cb",
        "",
        "a.b",
        "=24=2a.b",
        "DORA",
        "=64ora",
        &"x".repeat(60),
    ] {
        let ghost = format!("@irc_net_{localpart}:hs.test");
        let chat = world.alice.create_room(json!({ "preset": "private_chat" })).await;
        let path = format!("/_matrix/client/v3/rooms/{chat}/invite");
        let invited = world.alice.try_request(Method::POST, &path, json!({ "user_id": ghost })).await;
        if invited.is_err() {
            continue;
        }
        world.alice.say(&chat, "secret for nobody").await;
        world.settle(&format!("after {localpart:?}")).await;
        let state = world.homeserver.state();
        assert_ne!(state.rooms[&chat].membership(&ghost), Some("join"), "{ghost} came");
        assert!(!state.users.contains_key(&ghost), "{ghost} was registered");
    }
    let lines = world.ircd.lines_from(ALICE);
    let strange: Vec<_> = lines[lines_before..]
        .iter()
        .filter(|line| {
            !line.starts_with("PRIVMSG #tea :from alice: after")
                && !line.starts_with("@label=")
                && !line.starts_with("PING")
                && !line.starts_with("PONG")
        })
        .collect();
    assert!(strange.is_empty(), "{strange:?}");
    assert!(!world.ircd.state().log.iter().any(|received| received.line.contains("secret for nobody")));
}

async fn r2_a_private_message_to_nobody_is_told(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    let chat = world
        .alice
        .create_room(json!({ "preset": "trusted_private_chat", "invite": ["@irc_net_nobody:hs.test"] }))
        .await;
    world.alice.expect_membership(&chat, "@irc_net_nobody:hs.test", "join").await;
    let message = world.alice.say(&chat, "anybody?").await;
    let told = world.expect_told(&message).await;
    assert_eq!((told.room_id.as_str(), told.content["msgtype"].as_str()), (chat.as_str(), Some("m.notice")));
    assert!(told.body().contains("nobody of that name"), "{}", told.body());
}
