//! What people say: kinds of text, newlines, long lines, bytes that are no UTF-8, and what must not come back.

use serde_json::json;

use super::world::{ALICE, BOT, DORA, TEA, World, assert_same, on_both_kinds_of_server};
use crate::support::IrcdConfig;

on_both_kinds_of_server!(
    people_talk_both_ways,
    all_kinds_of_text_cross,
    r15_a_burst_keeps_its_order_both_ways,
    r62_long_lines_are_split_exactly,
    newlines_become_lines_and_too_many_are_refused,
    r14_text_that_is_no_utf8_arrives,
    nothing_comes_back_to_where_it_was_said,
    an_impostor_with_a_puppets_old_nick_is_heard,
    nothing_comes_back_where_the_server_renames_users,
    nothing_comes_back_under_a_nick_that_its_own_link_has_not_heard_of,
    r1_what_a_dead_observer_did_not_hear_is_told_by_its_standby,
    r1_what_a_dead_observer_did_not_hear_is_told_by_a_standby_that_leaves,
);

/// Where nobody gets the user name that they ask for, as by Ergo's `coerce-ident`.
async fn nothing_comes_back_where_the_server_renames_users(ircd: IrcdConfig) {
    let world = World::new(IrcdConfig { ident: Some("~u".to_owned()), ..ircd }).await;
    world.settle("told by the bot").await;
    world.ircd.force_nick(ALICE, "Guest1");
    world.alice.say(&world.room, "under another nick").await;
    world.dora.expect_text(TEA, |from| from == "Guest1", "under another nick").await;
    let bob = world.homeserver.user("bob");
    bob.join(&world.room).await;
    bob.say(&world.room, "told by a puppet").await;
    world.dora.expect_text(TEA, |from| from == "bob[m]", "told by a puppet").await;
    world.dora.raw(&format!("KICK {TEA} {BOT} :no bots")).await;
    bob.say(&world.room, "and without the bot").await;
    world.dora.expect_text(TEA, |from| from == "bob[m]", "and without the bot").await;
    world.dora.say(TEA, "end").await;
    world.alice.expect_message(&world.room, |from| from == DORA, "end").await;
    for text in ["from alice: told by the bot", "under another nick", "told by a puppet", "and without the bot"] {
        assert_eq!(world.read(text), 1, "{text} came back");
    }
    for ghost in ["@irc_net_alice=5bm=5d:hs.test", "@irc_net_guest1:hs.test", "@irc_net_bob=5bm=5d:hs.test"] {
        let state = world.homeserver.state();
        assert_eq!(state.rooms[&world.room].membership(ghost), None, "{ghost} stands for a puppet");
    }
}

/// The observer's socket may be ahead of the puppet's.
async fn nothing_comes_back_under_a_nick_that_its_own_link_has_not_heard_of(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.settle("start").await;
    world.ircd.freeze(ALICE);
    world.ircd.force_nick(ALICE, "Guest1");
    let id = world.ircd.state().find("Guest1").map(|(id, _)| id).expect("the puppet has that nick");
    world.ircd.hear(id, &format!("PRIVMSG {TEA} :on its way"));
    world.dora.say(TEA, "end").await;
    world.alice.expect_message(&world.room, |from| from == DORA, "end").await;
    assert_eq!(world.read("on its way"), 0, "it came back");
    world.ircd.thaw("Guest1");
    world.alice.say(&world.room, "still alice").await;
    world.dora.expect_text(TEA, |from| from == "Guest1", "still alice").await;
    world.dora.say(TEA, "the end").await;
    world.alice.expect_message(&world.room, |from| from == DORA, "the end").await;
    assert_eq!(world.read("still alice"), 1, "it came back");
}

/// Whoever tells the second has not told the first, and all the same they are two: by the server's ids. Where it gives
/// none, that takes a while between them (`bridge/witnesses`).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r1_the_same_words_after_a_change_of_observer_are_new() {
    let world = World::new(IrcdConfig::modern()).await;
    world.alice_speaks().await;
    world.dora.say(TEA, "lol").await;
    world.settle("one").await;
    world.dora.raw(&format!("KICK {TEA} {BOT} :no bots")).await;
    world.settle("two").await;
    world.dora.say(TEA, "lol").await;
    world.settle("three").await;
    assert_eq!(world.read("lol"), 2);
}

/// The bot's connection dies, and nobody knows that for a while.
async fn r1_what_a_dead_observer_did_not_hear_is_told_by_its_standby(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.alice_speaks().await;
    world.settle("both hear it").await;
    world.dora.say(TEA, "lol").await;
    world.alice.expect_message(&world.room, |from| from == DORA, "lol").await;
    world.ircd.freeze(BOT);
    for text in ["lol", "only the puppet hears it", "lol"] {
        world.dora.say(TEA, text).await;
    }
    world.alice.say(&world.room, "the puppet's own").await;
    world.dora.expect_text(TEA, |from| from == ALICE, "the puppet's own").await;
    world.ircd.cut(BOT);
    world.settle("end").await;
    let read = world.homeserver.messages(&world.room);
    let read: Vec<&str> = read.iter().map(String::as_str).skip_while(|text| *text != "lol").collect();
    let (own, read): (Vec<&str>, Vec<&str>) =
        read.into_iter().partition(|text| text.contains("own") || text.contains("from"));
    assert_eq!(read, ["lol", "lol", "only the puppet hears it", "lol"]);
    assert_eq!(own, ["the puppet's own", "from alice: end", "from dora: end"]);
    // And so on, now that the bot is back and the puppet stands by again.
    world.ircd.expect_on_channel(BOT, TEA).await;
    world.settle("the bot is back").await;
    world.ircd.freeze(BOT);
    world.dora.say(TEA, "once more").await;
    world.ircd.cut(BOT);
    world.settle("the end").await;
    assert_eq!((world.read("once more"), world.read("only the puppet hears it")), (1, 1));
}

/// The bot is deaf, its standby leaves, and only another puppet is there when the bot's connection ends.
async fn r1_what_a_dead_observer_did_not_hear_is_told_by_a_standby_that_leaves(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.alice_speaks().await;
    let bob = world.homeserver.user("bob");
    bob.join(&world.room).await;
    world.ircd.expect_on_channel("bob[m]", TEA).await;
    world.settle("start").await;
    world.ircd.freeze(BOT);
    world.dora.say(TEA, "before alice leaves").await;
    world.dora.sync().await;
    world.alice.leave(&world.room).await;
    world.ircd.expect_gone(ALICE).await;
    bob.expect_message(&world.room, |from| from == DORA, "before alice leaves").await;
    world.dora.say(TEA, "after alice left").await;
    world.ircd.cut(BOT);
    bob.expect_message(&world.room, |from| from == DORA, "after alice left").await;
    world.ircd.expect_on_channel(BOT, TEA).await;
    world.dora.say(TEA, "the end").await;
    bob.expect_message(&world.room, |from| from == DORA, "the end").await;
    assert_eq!((world.read("before alice leaves"), world.read("after alice left")), (1, 1));
}

async fn people_talk_both_ways(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.dora.say(TEA, "hello").await;
    let hello = world.alice.expect_message(&world.room, |from| from == DORA, "hello").await;
    assert_eq!((hello.msgtype(), &hello.content["m.mentions"]), ("m.text", &json!({})));
    world.alice.say(&world.room, "hi dora").await;
    world.dora.expect_text(TEA, |from| from == ALICE, "hi dora").await;
    world.settle("end").await;
    assert_eq!((world.read("hello"), world.heard("hi dora")), (1, 1));
    assert_eq!(world.told(), []);
}

async fn all_kinds_of_text_cross(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    let (alice, dora, room) = (&world.alice, &world.dora, &world.room);
    dora.notice(TEA, "a notice").await;
    assert_eq!(alice.expect_message(room, |from| from == DORA, "a notice").await.msgtype(), "m.notice");
    dora.action(TEA, "waves").await;
    assert_eq!(alice.expect_message(room, |from| from == DORA, "waves").await.msgtype(), "m.emote");
    dora.say(TEA, "\u{2}bold\u{2} <b>").await;
    let bold = alice.expect_message(room, |from| from == DORA, "bold <b>").await;
    assert_eq!(bold.content["formatted_body"], "<b>bold</b> &lt;b&gt;");
    alice.emote(room, "nods").await;
    dora.expect_text(TEA, |from| from == ALICE, "\u{1}ACTION nods\u{1}").await;
    alice.notice(room, "beep").await;
    dora.expect("the notice", |line| line.is("NOTICE") && line.nick() == ALICE && line.text() == "beep").await;
    // Text that looks like a command, a CTCP, a mask or trailing blanks is only text.
    for text in ["/join #x", ":colon first", "  blanks  ", "#tea", "%s {} \\r\\n", "ünïcödé 🍵 טקסט"] {
        alice.say(room, text).await;
        dora.expect_text(TEA, |from| from == ALICE, text).await;
        dora.say(TEA, text).await;
        alice.expect_message(room, |from| from == DORA, text).await;
    }
}

async fn r15_a_burst_keeps_its_order_both_ways(ircd: IrcdConfig) {
    const COUNT: usize = 200;
    let world = World::new(ircd).await;
    world.alice_speaks().await;
    let numbered = |who: &str| (0..COUNT).map(|n| format!("{who} {n}")).collect::<Vec<_>>();
    let (from_alice, from_dora) = (numbered("alice"), numbered("dora"));
    for (a, d) in from_alice.iter().zip(&from_dora) {
        world.alice.say(&world.room, a).await;
        world.dora.say(TEA, d).await;
    }
    world.settle("end").await;
    let heard: Vec<String> =
        world.dora.texts(TEA).into_iter().map(|(_, text)| text).filter(|text| from_alice.contains(text)).collect();
    let read: Vec<String> =
        world.homeserver.messages(&world.room).into_iter().filter(|text| from_dora.contains(text)).collect();
    assert_same(&heard, &from_alice);
    assert_same(&read, &from_dora);
    assert_eq!(world.told(), []);
}

async fn r62_long_lines_are_split_exactly(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.alice_speaks().await;
    let texts = [
        "word ".repeat(400).trim_end().to_owned(),
        "x".repeat(1500),
        "👩‍👩‍👧‍👦".repeat(60),
        "é".repeat(700),
        format!("{} {}", "a".repeat(300), "ש".repeat(300)),
    ];
    for (n, text) in texts.iter().enumerate() {
        let before = world.dora.texts(TEA).len();
        world.alice.say(&world.room, text).await;
        world.alice.say(&world.room, &format!("after {n}")).await;
        world.dora.expect_text(TEA, |from| from == ALICE, &format!("after {n}")).await;
        let pieces: Vec<String> = world.dora.texts(TEA)[before..].iter().map(|(_, text)| text.clone()).collect();
        let pieces = &pieces[..pieces.len() - 1];
        assert!(pieces.len() > 1, "{pieces:?}");
        // One blank may have gone at each cut, nothing else.
        let mut rest = text.as_str();
        for piece in pieces {
            rest = rest.strip_prefix(' ').filter(|rest| rest.starts_with(piece.as_str())).unwrap_or(rest);
            rest = rest.strip_prefix(piece.as_str()).unwrap_or_else(|| panic!("{piece:?} isn't next in {rest:?}"));
        }
        assert_eq!(rest, "");
    }
    // Each line as others get it fits in 512 bytes, and lines that are only cut by the budget use it up.
    let is_piece = |line: &&crate::support::IrcLine| line.is("PRIVMSG") && line.nick() == ALICE;
    let longest = world.dora.lines().iter().filter(is_piece).map(|line| line.raw.len() + "\r\n".len()).max();
    assert_eq!(longest, Some(512));
    assert!(!world.dora.lines().iter().any(|line| line.raw.contains('\u{fffd}')), "a character was cut in two");
}

async fn newlines_become_lines_and_too_many_are_refused(ircd: IrcdConfig) {
    let world = World::with(ircd, |network| network.set("puppets", "max_lines", "5")).await;
    world.alice.say(&world.room, "one\n\n \ntwo\r\nthree\rfour\u{2028}five").await;
    world.settle("four").await;
    let heard: Vec<String> = world.dora.texts(TEA).into_iter().map(|(_, text)| text).collect();
    assert_eq!(heard[..5], ["one", "two", "three", "four", "five"]);
    // R2: what is not sent is told, and none of its lines is.
    let many = world.alice.say(&world.room, "1\n2\n3\n4\n5\n6").await;
    let told = world.expect_told(&many).await;
    assert!(told.body().contains("more lines"), "{}", told.body());
    assert_eq!(told.content["m.relates_to"]["m.in_reply_to"]["event_id"], many.as_str());
    assert_eq!(told.content["m.mentions"]["user_ids"][0], world.alice.id());
    world.settle("six").await;
    assert_eq!(world.heard("1"), 0);
    // A long line counts as the lines that IRC will see.
    let long = world.alice.say(&world.room, &"long ".repeat(500)).await;
    world.expect_told(&long).await;
    // Nothing to see is nothing to say, and no failure.
    for nothing in ["", " \n\t ", "\u{2}\u{f}"] {
        world.alice.say(&world.room, nothing).await;
    }
    world.settle("nothing").await;
    assert_eq!(world.told().len(), 2);
}

async fn r14_text_that_is_no_utf8_arrives(ircd: IrcdConfig) {
    let world = World::with(ircd, |network| network.set("", "encoding", "\"windows-1252\"")).await;
    // The fake server's own view of text is UTF-8, so these bytes come as its line.
    let line = b":dora!~dora@client.fake.test PRIVMSG #tea :caf\xe9 \x80 5\r\n";
    world.ircd.inject(BOT, line);
    world.alice.expect_message(&world.room, |from| from == DORA, "café € 5").await;
    world.ircd.inject(BOT, "\r\n:dora!~dora@client.fake.test PRIVMSG #tea :caf\u{e9} \u{20ac} 6\n".as_bytes());
    world.alice.expect_message(&world.room, |from| from == DORA, "café € 6").await;
}

async fn nothing_comes_back_to_where_it_was_said(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    let bob = world.homeserver.user("bob");
    bob.join(&world.room).await;
    world.ircd.expect_on_channel("bob[m]", TEA).await;
    world.alice.say(&world.room, "alice says").await;
    bob.say(&world.room, "bob says").await;
    bob.notice(&world.room, "bob notes").await;
    world.dora.expect_text(TEA, |from| from == "bob[m]", "bob says").await;
    world.settle("end").await;
    for text in ["alice says", "bob says", "bob notes"] {
        assert_eq!(world.read(text), 1, "{text}");
    }
    let ghosts =
        |members: Vec<String>| members.into_iter().filter(|user| user.starts_with("@irc_")).collect::<Vec<_>>();
    assert_eq!(ghosts(world.alice.joined_members(&world.room).await), [DORA], "no puppet has a ghost");
}

/// Suppression is by link: whoever takes a nick that a puppet has given up is another person.
async fn an_impostor_with_a_puppets_old_nick_is_heard(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.alice_speaks().await;
    world.ircd.force_nick(ALICE, "Guest1");
    let impostor = world.ircd.client(ALICE).await;
    impostor.join(TEA).await;
    impostor.say(TEA, "I am alice").await;
    let ghost = "@irc_net_alice=7bm=7d:hs.test";
    world.alice.expect_message(&world.room, |from| from == ghost, "I am alice").await;
    // And the puppet goes on under its forced nick, unheard on its own side.
    world.alice.say(&world.room, "no, I am").await;
    world.dora.expect_text(TEA, |from| from != ALICE, "no, I am").await;
    world.dora.say(TEA, "who?").await;
    world.alice.expect_message(&world.room, |from| from == DORA, "who?").await;
    assert_eq!(world.read("no, I am"), 1);
}
