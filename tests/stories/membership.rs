//! Coming and going on one side, as the other side sees it, and the topic.

use serde_json::json;
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};

use super::world::{ALICE, BOT, DORA, Stage, TEA, World, on_both_kinds_of_server};
use crate::support::{IrcClient, IrcdConfig, Network};

on_both_kinds_of_server!(
    irc_users_come_and_go,
    in_large_channels_ghosts_join_when_they_speak,
    r77_a_room_has_the_members_that_it_is_configured_to_have,
    r77_what_was_said_of_a_room_goes_before_its_configuration,
    r77_when_a_crowd_has_gone_everyone_who_stays_comes,
    matrix_users_come_and_go,
    a_kick_on_irc_is_a_kick_on_matrix,
    a_kick_on_irc_that_the_bot_may_not_repeat_is_told,
    a_kick_on_irc_is_the_kickers_ghosts_where_it_may,
    r55_the_bot_kicks_for_a_matrix_moderator_who_has_no_rank_on_irc,
    a_kick_on_matrix_is_a_kick_on_irc,
    r80_whoever_has_a_nick_that_only_servers_give_is_answered_and_kicked,
    r2_a_kick_of_somebody_who_is_not_there_is_told,
    a_ban_lifted_or_an_invitation_withdrawn_is_no_kick,
    the_topic_follows_both_ways,
    r88_a_topic_is_its_setters_and_one_that_is_too_long_is_told,
    r89_invitations_go_both_ways,
    r84_why_somebody_can_not_join_is_said_in_plain_words,
    a_topic_that_is_set_and_set_back_is_set_back,
    a_topic_that_irc_refused_is_set_by_who_may,
    a_room_of_our_making_lets_people_set_the_topic,
    the_bot_comes_back_into_its_channel_and_room,
    a_room_without_the_bot_is_told_so_until_it_is_invited,
);

async fn irc_users_come_and_go(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    let (alice, room) = (&world.alice, &world.room);
    // Who was there before us comes at once.
    alice.expect_membership(room, DORA, "join").await;
    let leave = async |nick: &str, how: &str| {
        let client = world.ircd.client(nick).await;
        let ghost = format!("@irc_net_{nick}:hs.test");
        client.join(TEA).await;
        alice.expect_membership(room, &ghost, "join").await;
        match how {
            "part" => client.part(TEA, "tea is over").await,
            "quit" => client.quit("gone home").await,
            "kick" => world.dora.raw(&format!("KICK {TEA} {nick} :too loud")).await,
            "cut" => drop(client),
            _ => unreachable!(),
        }
        let left = alice.expect_membership(room, &ghost, "leave").await;
        left.content["reason"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(leave("p", "part").await, "tea is over");
    assert!(leave("q", "quit").await.contains("gone home"));
    assert_eq!(leave("k", "kick").await, "kicked by dora: too loud");
    leave("c", "cut").await;
    // They can all come back.
    let q = world.ircd.client("q").await;
    q.join(TEA).await;
    alice.expect_membership(room, "@irc_net_q:hs.test", "join").await;
}

async fn in_large_channels_ghosts_join_when_they_speak(ircd: IrcdConfig) {
    let stage = Stage::set(ircd).await;
    let mut crowd: Vec<IrcClient> = Vec::new();
    for n in 0..12 {
        let client = stage.ircd.client(&format!("silent{n}")).await;
        client.join(TEA).await;
        crowd.push(client);
    }
    let bridge = stage.bridge().network(stage.network().set("ghosts", "join_below", "10"));
    let world = stage.start(bridge).await;
    world.settle("one").await;
    let ghosts = async || {
        let members = world.alice.joined_members(&world.room).await;
        members.into_iter().filter(|user| user.starts_with("@irc_")).collect::<Vec<_>>()
    };
    assert_eq!(ghosts().await, [DORA], "only who spoke");
    crowd[3].say(TEA, "not so silent").await;
    world.alice.expect_message(&world.room, |from| from == "@irc_net_silent3:hs.test", "not so silent").await;
    assert_eq!(ghosts().await, [DORA, "@irc_net_silent3:hs.test"]);
    crowd[4].quit("boring").await;
    crowd[3].quit("bye").await;
    world.alice.expect_membership(&world.room, "@irc_net_silent3:hs.test", "leave").await;
    world.settle("two").await;
    let heard_of: Vec<_> = world.homeserver.timeline(&world.room);
    assert!(
        !heard_of.iter().any(|event| event.state_key.as_deref() == Some("@irc_net_silent4:hs.test")),
        "no leave without a join"
    );
}

/// The ghosts in the room, in the order of their names.
async fn ghosts(world: &World) -> Vec<String> {
    let members = world.alice.joined_members(&world.room).await;
    let mut ghosts: Vec<_> = members
        .iter()
        .filter_map(|user| Some(user.strip_prefix("@irc_net_")?.strip_suffix(":hs.test")?.to_owned()))
        .collect();
    ghosts.sort();
    ghosts
}

async fn r77_a_room_has_the_members_that_it_is_configured_to_have(ircd: IrcdConfig) {
    for (members, at_first, later) in [
        ("full", &["before", "dora"][..], &["before", "dora", "later", "talks"][..]),
        ("joined", &["dora"], &["dora", "later", "talks"]),
        ("speakers", &["dora"], &["dora", "talks"]),
        ("none", &["dora"], &["dora", "talks"]),
    ] {
        let stage = Stage::set(ircd.clone()).await;
        let before = stage.ircd.client("before").await;
        before.join(TEA).await;
        let bridge = stage.bridge().network(stage.network().set("portals", "members", &format!("\"{members}\"")));
        let mut world = stage.start(bridge).await;
        world.settle("one").await;
        if members == "full" {
            world.alice.expect_membership(&world.room, "@irc_net_before:hs.test", "join").await;
        }
        assert_eq!(ghosts(&world).await, at_first, "{members}");
        let later = (later, world.ircd.client("later").await, world.ircd.client("talks").await);
        later.1.join(TEA).await;
        later.2.join(TEA).await;
        later.2.say(TEA, "hi").await;
        world.alice.expect_message(&world.room, |from| from == "@irc_net_talks:hs.test", "hi").await;
        if ["full", "joined"].contains(&members) {
            world.alice.expect_membership(&world.room, "@irc_net_later:hs.test", "join").await;
        }
        world.settle("two").await;
        assert_eq!(ghosts(&world).await, later.0, "{members}");
        // The room itself remembers over a restart who has come.
        world.bridge.terminate().await;
        world.bridge.restart().await;
        world.ircd.expect_on_channel(BOT, TEA).await;
        if members == "none" {
            world.alice.expect_membership(&world.room, "@irc_net_talks:hs.test", "leave").await;
        } else {
            world.settle("three").await;
            assert_eq!(ghosts(&world).await, later.0, "{members}");
        }
        later.2.quit("bye").await;
        world.alice.expect_membership(&world.room, "@irc_net_talks:hs.test", "leave").await;
    }
}

async fn r77_what_was_said_of_a_room_goes_before_its_configuration(ircd: IrcdConfig) {
    let mut stage = Stage::set(ircd).await;
    // A room that is looked for when the bridge has started.
    let options = json!({ "preset": "public_chat", "room_alias_name": "tearoom" });
    stage.room = stage.alice.create_room(options).await;
    let network = Network::new("net", stage.ircd.address()).plumb(TEA, "#tearoom:hs.test");
    let network = match stage.ircd.certificate() {
        Some(certificate) => network.tls(certificate),
        None => network,
    };
    let bridge = stage.bridge().network(network.set("portals", "members", "\"none\""));
    let mut world = stage.start(bridge).await;
    let eve = world.ircd.client("eve").await;
    eve.join(TEA).await;
    world.settle("one").await;
    assert_eq!(ghosts(&world).await, ["dora"]);
    world.bridge.terminate().await;
    let options = SqliteConnectOptions::new().filename(world.bridge.folder().join("footbridge.db"));
    let mut database = SqliteConnection::connect_with(&options).await.unwrap();
    let said = sqlx::query("INSERT INTO room_members VALUES ($1, 'full')").bind(&world.room);
    said.execute(&mut database).await.unwrap();
    database.close().await.unwrap();
    world.bridge.restart().await;
    world.alice.expect_membership(&world.room, "@irc_net_eve:hs.test", "join").await;
}

async fn r77_when_a_crowd_has_gone_everyone_who_stays_comes(ircd: IrcdConfig) {
    let stage = Stage::set(ircd).await;
    let mut crowd: Vec<IrcClient> = Vec::new();
    for n in 0..8 {
        let client = stage.ircd.client(&format!("silent{n}")).await;
        client.join(TEA).await;
        crowd.push(client);
    }
    let bridge = stage.bridge().network(stage.network().set("ghosts", "join_below", "8"));
    let world = stage.start(bridge).await;
    crowd.pop().unwrap().quit("bye").await;
    crowd.pop().unwrap().quit("bye").await;
    world.settle("seven").await;
    assert_eq!(ghosts(&world).await, ["dora"], "eight are a crowd until they are less than six");
    crowd.pop().unwrap().quit("bye").await;
    crowd.pop().unwrap().quit("bye").await;
    for n in 0..4 {
        world.alice.expect_membership(&world.room, &format!("@irc_net_silent{n}:hs.test"), "join").await;
    }
}

async fn matrix_users_come_and_go(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    for (name, how) in [("leaver", "leave"), ("kicked", "kick"), ("banned", "ban")] {
        let user = world.homeserver.user(name);
        let nick = format!("{name}[m]");
        user.join(&world.room).await;
        world.ircd.expect_on_channel(&nick, TEA).await;
        match how {
            "leave" => user.leave(&world.room).await,
            "kick" => world.alice.kick(&world.room, user.id(), "rude\r\nQUIT :x").await,
            _ => world.alice.ban(&world.room, user.id(), "").await,
        }
        let gone = world
            .dora
            .expect(&format!("{nick} to go"), |line| {
                ["PART", "QUIT"].contains(&line.command.as_str()) && line.nick() == nick
            })
            .await;
        match how {
            "kick" => assert!(gone.text().contains("kicked by @alice:hs.test: rude"), "{gone}"),
            "ban" => assert!(gone.text().contains("banned by @alice:hs.test"), "{gone}"),
            _ => {}
        }
        world.ircd.expect_gone(&nick).await;
        assert_eq!(
            world.dora.lines().iter().filter(|line| line.nick() == nick && !line.is("JOIN")).count(),
            1,
            "{nick} goes once"
        );
    }
}

async fn a_kick_on_irc_is_a_kick_on_matrix(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    let bob = world.homeserver.user("bob");
    bob.join(&world.room).await;
    // The room is Alice's, and the bot needs power to kick.
    let levels = json!({ "users": { "@footbridge:hs.test": 50 }, "users_default": 0, "kick": 50, "ban": 50, "state_default": 50, "events_default": 0 });
    world.alice.set_state(&world.room, "m.room.power_levels", "", levels).await;
    world.ircd.expect_on_channel("bob[m]", TEA).await;
    world.dora.raw(&format!("KICK {TEA} bob[m] :off topic")).await;
    let left = world.alice.expect_membership(&world.room, bob.id(), "leave").await;
    assert_eq!(left.sender, "@footbridge:hs.test");
    assert!(left.content["reason"].as_str().unwrap_or_default().contains("kicked by dora: off topic"), "{left}");
    // He may come again, on both sides.
    bob.join(&world.room).await;
    bob.say(&world.room, "sorry").await;
    world.dora.expect_text(TEA, |from| from == "bob[m]", "sorry").await;
}

async fn a_kick_on_irc_that_the_bot_may_not_repeat_is_told(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    let bob = world.homeserver.user("bob");
    bob.join(&world.room).await;
    world.ircd.expect_on_channel("bob[m]", TEA).await;
    world.dora.raw(&format!("KICK {TEA} bob[m] :off topic")).await;
    let words =
        "On IRC @bob:hs.test was kicked by dora: off topic. The bridge's bot may not remove them from this room.";
    world.alice.expect_message(&world.room, |from| from == "@footbridge:hs.test", words).await;
    world.settle("end").await;
    assert_eq!(world.read(words), 1);
    assert!(world.alice.joined_members(&world.room).await.iter().any(|member| member == bob.id()));
}

async fn a_kick_on_irc_is_the_kickers_ghosts_where_it_may(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    let bob = world.homeserver.user("bob");
    bob.join(&world.room).await;
    let eve = world.ircd.client("eve").await;
    let ghost = "@irc_net_eve:hs.test";
    for (levels, by_dora, kicker) in [
        (json!({ DORA: 50 }), "@irc_net_dora:hs.test", DORA),
        (json!({ "@footbridge:hs.test": 50 }), "the bot", "@footbridge:hs.test"),
        (json!({}), "itself", ghost),
    ] {
        eve.join(TEA).await;
        world.alice.expect_membership(&world.room, ghost, "join").await;
        world.alice.set_state(&world.room, "m.room.power_levels", "", json!({ "users": levels })).await;
        world.dora.raw(&format!("KICK {TEA} eve :too loud")).await;
        let left = world.alice.expect_membership(&world.room, ghost, "leave").await;
        assert_eq!(
            (left.sender.as_str(), &left.content["reason"]),
            (kicker, &json!("kicked by dora: too loud")),
            "{by_dora}"
        );
    }
    // And of Matrix users.
    world.alice.set_state(&world.room, "m.room.power_levels", "", json!({ "users": { DORA: 50 } })).await;
    world.ircd.expect_on_channel("bob[m]", TEA).await;
    world.dora.raw(&format!("KICK {TEA} bob[m] :off topic")).await;
    let left = world.alice.expect_membership(&world.room, bob.id(), "leave").await;
    assert_eq!((left.sender.as_str(), &left.content["reason"]), (DORA, &json!("was kicked by dora: off topic on IRC")));
}

async fn r55_the_bot_kicks_for_a_matrix_moderator_who_has_no_rank_on_irc(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.alice_speaks().await;
    world.dora.raw(&format!("MODE {TEA} +o {BOT}")).await;
    let eve = world.ircd.client("eve").await;
    for (reason, said) in [("spam", "by @alice:hs.test: spam"), ("", "by @alice:hs.test")] {
        eve.join(TEA).await;
        world.alice.expect_membership(&world.room, "@irc_net_eve:hs.test", "join").await;
        world.alice.kick(&world.room, "@irc_net_eve:hs.test", reason).await;
        let kicked =
            eve.expect("the kick", |line| line.is("KICK") && line.param(1) == "eve" && line.text() == said).await;
        assert_eq!(kicked.nick(), BOT);
    }
    assert_eq!(world.told(), []);
}

async fn a_kick_on_matrix_is_a_kick_on_irc(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.alice_speaks().await;
    let eve = world.ircd.client("eve").await;
    eve.join(TEA).await;
    world.alice.expect_membership(&world.room, "@irc_net_eve:hs.test", "join").await;
    world.dora.raw(&format!("MODE {TEA} +o {ALICE}")).await;
    world.alice.kick(&world.room, "@irc_net_eve:hs.test", "spam").await;
    let kicked = eve.expect("the kick", |line| line.is("KICK") && line.param(1) == "eve").await;
    assert_eq!((kicked.nick(), kicked.text()), (ALICE, "spam"));
    // Who may not kick on IRC is told so.
    world.dora.raw(&format!("MODE {TEA} -o {ALICE}")).await;
    world.alice.kick(&world.room, DORA, "you too").await;
    let kick = world.alice.expect_membership(&world.room, DORA, "leave").await;
    let told = world.expect_told(&kick.event_id).await;
    assert!(told.body().starts_with("Your kick was not carried out on IRC: "), "{}", told.body());
}

/// InspIRCd calls who has no nick by a number of its own.
async fn r80_whoever_has_a_nick_that_only_servers_give_is_answered_and_kicked(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.homeserver.auto_join(world.alice.id());
    world.alice_speaks().await;
    world.dora.raw(&format!("MODE {TEA} +o {ALICE}")).await;
    let eve = world.ircd.client("eve").await;
    eve.join(TEA).await;
    world.settle("eve is there").await;
    world.ircd.force_nick("eve", "00AAAAAAB");
    let ghost = "@irc_net_00aaaaaab:hs.test";
    eve.say(TEA, "I have no nick").await;
    world.alice.expect_message(&world.room, |from| from == ghost, "I have no nick").await;
    let query = world
        .alice
        .create_room(json!({ "preset": "trusted_private_chat", "is_direct": true, "invite": [ghost] }))
        .await;
    world.alice.expect_membership(&query, ghost, "join").await;
    world.alice.say(&query, "who are you?").await;
    eve.expect("the question", |line| line.text() == "who are you?").await;
    world.alice.kick(&world.room, ghost, "out").await;
    eve.expect("the kick", |line| line.is("KICK") && line.param(1) == "00AAAAAAB").await;
    assert_eq!(world.told(), []);
}

async fn r2_a_kick_of_somebody_who_is_not_there_is_told(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.alice_speaks().await;
    for (ghost, words) in [
        ("@irc_net_nobody:hs.test", "nobody of that name is in the channel"),
        ("@irc_net_=24=2a.net:hs.test", "no name that IRC could know"),
    ] {
        world.alice.ban(&world.room, ghost, "out").await;
        let ban = world.alice.expect_membership(&world.room, ghost, "ban").await;
        let told = world.expect_told(&ban.event_id).await;
        assert!(told.body().contains(words), "{}", told.body());
    }
}

async fn a_ban_lifted_or_an_invitation_withdrawn_is_no_kick(ircd: IrcdConfig) {
    // So that nobody's ghost comes by itself.
    let world = World::with(ircd, |network| network.set("ghosts", "join_below", "0")).await;
    world.alice_speaks().await;
    world.dora.raw(&format!("MODE {TEA} +o {ALICE}")).await;
    let eve = world.ircd.client("eve").await;
    eve.join(TEA).await;
    let ghost = "@irc_net_eve:hs.test";
    world.alice.invite(&world.room, ghost).await;
    world.alice.kick(&world.room, ghost, "never mind").await;
    world.settle("withdrawn").await;
    let kicks = || world.dora.lines().iter().filter(|line| line.is("KICK")).count();
    assert_eq!(kicks(), 0);
    // A ban is meant for who is in the channel, whether their ghost has come or not.
    world.alice.ban(&world.room, ghost, "spam").await;
    eve.expect("the kick", |line| line.is("KICK") && line.param(1) == "eve").await;
    eve.join(TEA).await;
    world.settle("back").await;
    world.alice.unban(&world.room, ghost).await;
    world.settle("lifted").await;
    assert_eq!(kicks(), 1);
}

/// What the topic has been in the channel since Dora has been there.
fn topics(world: &World) -> Vec<String> {
    world.dora.lines().iter().filter(|line| line.is("TOPIC")).map(|line| line.text().to_owned()).collect()
}

async fn a_topic_that_is_set_and_set_back_is_set_back(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.alice_speaks().await;
    world.dora.raw(&format!("MODE {TEA} -t")).await;
    world.dora.raw(&format!("TOPIC {TEA} :old")).await;
    world.settle("one").await;
    // Both come before the channel has shown the first.
    world.homeserver.pause();
    world.alice.set_topic(&world.room, "new").await;
    world.alice.set_topic(&world.room, "old").await;
    world.homeserver.resume();
    world.settle("two").await;
    assert_eq!(topics(&world), ["old", "new", "old"]);
    // What can't be read changes nothing, and is told.
    let bad = world.alice.set_state(&world.room, "m.room.topic", "", json!({ "topic": 7 })).await;
    world.expect_told(&bad).await;
    world.settle("three").await;
    assert_eq!(topics(&world).len(), 3);
}

async fn a_topic_that_irc_refused_is_set_by_who_may(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.alice.set_state(&world.room, "m.room.power_levels", "", serde_json::json!({ "state_default": 0 })).await;
    world.alice_speaks().await;
    let bob = world.homeserver.user("bob");
    bob.join(&world.room).await;
    world.ircd.expect_on_channel("bob[m]", TEA).await;
    world.dora.raw(&format!("MODE {TEA} +t")).await;
    world.dora.sync().await;
    let topic = serde_json::json!({ "topic": "the same" });
    let refused = world.alice.set_state(&world.room, "m.room.topic", "", topic.clone()).await;
    let told = world.expect_told(&refused).await;
    assert!(told.body().starts_with("Your topic was not set on IRC: "), "{}", told.body());
    world.dora.raw(&format!("MODE {TEA} +o bob[m]")).await;
    world.dora.sync().await;
    bob.set_state(&world.room, "m.room.topic", "", topic).await;
    let set = world.dora.expect("the topic", |line| line.is("TOPIC")).await;
    assert_eq!((set.nick(), set.text()), ("bob[m]", "the same"));
    // Now it is there, and bob's link has heard it too.
    world.settle("bob's topic").await;
    world.alice.set_topic(&world.room, "the same").await;
    world.settle("end").await;
    assert_eq!((topics(&world), world.told().len()), (vec!["the same".to_owned()], 1));
}

async fn a_room_of_our_making_lets_people_set_the_topic(ircd: IrcdConfig) {
    let mut world = World::with(ircd, Network::join_by_alias).await;
    world.dora.join("#milk").await;
    world.dora.raw("MODE #milk -t").await;
    let room = world.alice.join("#irc_net_#milk:hs.test").await;
    world.ircd.expect_on_channel(ALICE, "#milk").await;
    world.alice.set_topic(&room, "white").await;
    world.dora.expect("the topic", |line| line.is("TOPIC") && line.text() == "white").await;
    // After a restart the room has its topic still, and nobody sets it again.
    world.bridge.terminate().await;
    world.bridge.restart().await;
    world.ircd.expect_on_channel(BOT, "#milk").await;
    world.dora.say("#milk", "moo").await;
    world.alice.expect_message(&room, |from| from == DORA, "moo").await;
    let set: Vec<_> = world.homeserver.timeline(&room).into_iter().filter(|e| e.kind == "m.room.topic").collect();
    assert_eq!(set.len(), 1, "{set:?}");
    assert_eq!(set[0].sender, world.alice.id());
}

async fn a_room_without_the_bot_is_told_so_until_it_is_invited(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.settle("one").await;
    world.alice.kick(&world.room, "@footbridge:hs.test", "no bots").await;
    let lost = world.alice.say(&world.room, "anybody?").await;
    let told = world.expect_told(&lost).await;
    assert_ne!(told.room_id, world.room);
    assert!(told.body().contains("when it is invited") && told.body().contains(&world.room), "{}", told.body());
    let log = world.bridge.log();
    assert!(log.contains("the bridge's bot was removed from a bridged room"), "{log}");
    world.alice.invite(&world.room, "@footbridge:hs.test").await;
    world.alice.expect_membership(&world.room, "@footbridge:hs.test", "join").await;
    world.dora.say(TEA, "welcome").await;
    world.alice.expect_message(&world.room, |from| from == DORA, "welcome").await;
    // The bot knew who is there before it let her say that.
    world.settle("two").await;
    assert_eq!(world.told().len(), 1);
}

async fn r88_a_topic_is_its_setters_and_one_that_is_too_long_is_told(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.alice.set_state(&world.room, "m.room.power_levels", "", json!({ "users": { DORA: 50 } })).await;
    world.alice_speaks().await;
    world.settle("all are there").await;
    world.dora.raw(&format!("MODE {TEA} -t")).await;
    world.dora.raw(&format!("TOPIC {TEA} :dora's")).await;
    let is_hers = |events: &[std::sync::Arc<crate::support::Event>]| {
        let set = events.iter().find(|event| event.kind == "m.room.topic" && event.content["topic"] == "dora's")?;
        Some(set.sender.clone())
    };
    assert_eq!(world.alice.wait_for(&world.room, "the topic", is_hers).await, DORA);
    let long = format!("{} end of it", "long ".repeat(100));
    world.alice.set_topic(&world.room, &long).await;
    let set = world.dora.expect("the topic", |line| line.is("TOPIC") && line.nick() == ALICE).await;
    assert_eq!(set.text(), &long[..390]);
    let words = "This topic is longer than #tea on IRC takes (390 bytes): there it ends behind “long long long long long long ”.";
    world.alice.expect_message(&world.room, |from| from == "@footbridge:hs.test", words).await;
    assert_eq!(world.told(), []);
}

async fn r89_invitations_go_both_ways(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.alice.set_state(&world.room, "m.room.join_rules", "", json!({ "join_rule": "invite" })).await;
    world.alice_speaks().await;
    // Bob is on IRC because he talks with Dora, and not in the room.
    let bob = world.homeserver.user("bob");
    let query = bob.create_room(json!({ "preset": "trusted_private_chat", "is_direct": true, "invite": [DORA] })).await;
    bob.expect_membership(&query, DORA, "join").await;
    bob.say(&query, "hello").await;
    world.dora.expect_text("dora", |from| from == "bob[m]", "hello").await;
    world.settle("all are there").await;
    world.dora.raw(&format!("MODE {TEA} +i")).await;
    world.dora.raw(&format!("INVITE bob[m] {TEA}")).await;
    let invited = world.alice.expect_membership(&world.room, bob.id(), "invite").await;
    assert_eq!(invited.sender, DORA);
    bob.join(&world.room).await;
    world.ircd.expect_on_channel("bob[m]", TEA).await;
    // Who is in the room and couldn't come in can, once invited.
    let carol = world.homeserver.user("carol");
    world.alice.invite(&world.room, carol.id()).await;
    carol.join(&world.room).await;
    let words = "@carol:hs.test can't join #tea on IRC: the channel is invite-only (the server said: Cannot join channel \
                 (+i)). What they write here can't be seen there.";
    world.alice.expect_message(&world.room, |from| from == "@footbridge:hs.test", words).await;
    let keeps_carol =
        carol.create_room(json!({ "preset": "trusted_private_chat", "is_direct": true, "invite": [DORA] })).await;
    carol.expect_membership(&keeps_carol, DORA, "join").await;
    carol.say(&keeps_carol, "let me in").await;
    world.dora.expect_text("dora", |from| from == "carol[m]", "let me in").await;
    world.dora.raw(&format!("INVITE carol[m] {TEA}")).await;
    world.ircd.expect_on_channel("carol[m]", TEA).await;
    // And from Matrix.
    let eve = world.ircd.client("eve").await;
    world.dora.raw(&format!("MODE {TEA} -i")).await;
    world.alice.invite(&world.room, "@irc_net_eve:hs.test").await;
    let invited = eve.expect("the invitation", |line| line.is("INVITE")).await;
    assert_eq!((invited.nick(), invited.param(1)), (ALICE, TEA));
    eve.join(TEA).await;
    world.alice.expect_membership(&world.room, "@irc_net_eve:hs.test", "join").await;
    world.alice.invite(&world.room, "@irc_net_nobody:hs.test").await;
    let lost = world.alice.expect_membership(&world.room, "@irc_net_nobody:hs.test", "invite").await;
    let told = world.expect_told(&lost.event_id).await;
    let words = "Your invitation did not reach IRC: nobody of that name is on IRC now";
    assert!(told.body().starts_with(words), "{}", told.body());
}

async fn r84_why_somebody_can_not_join_is_said_in_plain_words(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    for (n, (numeric, words)) in [
        (471, "the channel is full"),
        (473, "the channel is invite-only"),
        (474, "you are banned from the channel"),
        (475, "the channel has a key (password) that the bridge doesn't know"),
        (477, "it takes only users who are logged in to an IRC account"),
        (480, "the IRC server asks you to slow down"),
        (489, "the IRC server refused it"),
    ]
    .into_iter()
    .enumerate()
    {
        world.ircd.refuse_join(TEA, Some(numeric));
        let user = world.homeserver.user(&format!("user{n}"));
        user.join(&world.room).await;
        let start = format!("{} can't join #tea on IRC: {words}", user.id());
        let is_told = |events: &[std::sync::Arc<crate::support::Event>]| {
            events.iter().any(|event| event.body().starts_with(&start)).then_some(())
        };
        world.alice.wait_for(&world.room, &start, is_told).await;
    }
    // A server that sends newcomers elsewhere: not there, and nothing of that channel comes here.
    world.ircd.refuse_join(TEA, None);
    world.ircd.react(|received| match &*received.line {
        "JOIN #tea" if &*received.nick == "last[m]" => crate::support::ircd::Reaction::Answer(vec![
            ":irc.fake.test 470 last[m] #tea ##overflow :Forwarding to another channel".into(),
            ":last[m]!~last@client.fake.test JOIN ##overflow".into(),
            ":eve!~eve@client.fake.test PRIVMSG ##overflow :this is another place".into(),
        ]),
        _ => crate::support::ircd::Reaction::Obey,
    });
    let last = world.homeserver.user("last");
    last.join(&world.room).await;
    let words = "@last:hs.test can't join #tea on IRC: the network sends newcomers of this channel to another one: ##overflow \
                 (the server said: Forwarding to another channel). What they write here can't be seen there.";
    world.alice.expect_message(&world.room, |from| from == "@footbridge:hs.test", words).await;
    world.ircd.wait_for_line("last[m]", "that it leaves", |line| line.starts_with("PART ##overflow")).await;
    world.settle("end").await;
    assert_eq!(world.read("this is another place"), 0);
}

async fn the_topic_follows_both_ways(ircd: IrcdConfig) {
    let mut world = World::new(ircd).await;
    let levels =
        json!({ "users": { "@footbridge:hs.test": 50 }, "users_default": 0, "state_default": 50, "events_default": 0 });
    world.alice.set_state(&world.room, "m.room.power_levels", "", levels).await;
    world.alice_speaks().await;
    world.dora.raw(&format!("MODE {TEA} -t")).await;
    world.dora.raw(&format!("TOPIC {TEA} :all about \u{2}tea\u{2}")).await;
    let topic_is = async |topic: &str| {
        world
            .alice
            .wait_for(&world.room, &format!("the topic {topic:?}"), |timeline| {
                timeline
                    .iter()
                    .rev()
                    .find(|event| event.kind == "m.room.topic")
                    .filter(|event| event.content["topic"] == topic)
                    .cloned()
            })
            .await
    };
    topic_is("all about tea").await;
    world.alice.set_topic(&world.room, "all about\r\nQUIT :milk").await;
    let set = world.dora.expect("the topic", |line| line.is("TOPIC") && line.nick() == ALICE).await;
    assert_eq!(set.text(), "all about QUIT :milk");
    world.settle("end").await;
    let topics = world.homeserver.timeline(&world.room).iter().filter(|event| event.kind == "m.room.topic").count();
    assert_eq!(topics, 2, "it doesn't go round in circles");
    // Refused on IRC: told.
    world.dora.raw(&format!("MODE {TEA} +t")).await;
    world.dora.sync().await;
    let refused = world.alice.set_state(&world.room, "m.room.topic", "", json!({ "topic": "mine" })).await;
    world.expect_told(&refused).await;
    // A plumbed room keeps its own topic when the bridge comes back.
    world.bridge.terminate().await;
    world.bridge.restart().await;
    world.ircd.expect_on_channel(BOT, TEA).await;
    world.settle("back").await;
    assert_eq!(world.alice.state(&world.room, "m.room.topic", "").await.unwrap()["topic"], "mine");
}

async fn the_bot_comes_back_into_its_channel_and_room(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.alice_speaks().await;
    // Out of the channel: a puppet watches it meanwhile, so that nothing is missed, and the room is told.
    world.dora.raw(&format!("KICK {TEA} {BOT} :no bots")).await;
    world
        .alice
        .wait_for(&world.room, "the news of the kick", |timeline| {
            timeline
                .iter()
                .find(|event| event.sender == "@footbridge:hs.test" && event.body().contains("kicked by dora: no bots"))
                .map(|_| ())
        })
        .await;
    world.settle("without the bot").await;
    assert_eq!(world.read("from dora: without the bot"), 1);
}
