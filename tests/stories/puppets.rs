//! Puppets: the IRC connection of each Matrix user, how it is opened, and by what it is known.

use serde_json::json;

use super::world::{ALICE, DORA, Stage, TEA, World, on_both_kinds_of_server};
use crate::support::{
    FakeIrcd, IrcClient, IrcdConfig, MatrixUser,
    ircd::{Reaction, State},
    process::POLL,
    wait::DEADLINE,
};

on_both_kinds_of_server!(
    r45_several_rooms_joined_at_once_are_one_join,
    a_user_who_is_gone_from_all_rooms_is_gone_from_irc,
    r3_the_first_message_opens_the_puppet_and_follows_its_join,
    r3_many_first_messages_make_one_connection,
    r72_nicks_are_transliterated_cut_and_told_apart_for_good,
    r41_r42_a_puppet_is_known_by_user_name_and_real_name,
    a_puppet_leaves_with_its_user_and_comes_back,
    what_was_said_before_leaving_is_said,
    what_was_said_before_leaving_is_said_by_a_puppet_that_has_yet_to_come,
    a_link_that_is_lost_comes_back,
    r72_a_nick_that_was_forced_is_not_kept,
    r72_any_number_of_users_of_one_name_keep_their_nicks,
    r4_who_speaks_does_not_wait_behind_who_is_only_there,
    r42_a_puppet_waits_for_what_an_unknown_server_says_of_itself,
);

/// What a connection said it is: user name and real name of its USER line.
fn user_line(ircd: &FakeIrcd, nick: &str) -> (String, String) {
    let state = ircd.state();
    let (id, _) = state.find(nick).unwrap_or_else(|| panic!("{nick} isn't there"));
    let mut lines = state.log.iter().filter(|received| received.connection == id).map(|received| &*received.line);
    let line = lines.find(|line| line.starts_with("USER ")).unwrap_or_else(|| panic!("{nick} sent no USER"));
    let (head, realname) = line.split_once(" :").expect("a real name is the last parameter");
    (head.split(' ').nth(1).expect("a user name").to_owned(), realname.to_owned())
}

/// How many connections have said this USER name.
fn connections_of(ircd: &FakeIrcd, username: &str) -> usize {
    let start = format!("USER {username} ");
    ircd.state().log.iter().filter(|received| received.line.starts_with(&start)).count()
}

async fn r3_the_first_message_opens_the_puppet_and_follows_its_join(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    assert!(world.ircd.state().find(ALICE).is_none(), "who has never said anything has no puppet");
    world.alice.say(&world.room, "first").await;
    world.dora.expect_text(TEA, |from| from == ALICE, "first").await;
    let lines = world.ircd.lines_from(ALICE);
    let place = |start: &str| {
        lines.iter().position(|line| line.contains(start)).unwrap_or_else(|| panic!("no {start}: {lines:?}"))
    };
    assert!(place("JOIN") < place("PRIVMSG"), "{lines:?}");
    assert_eq!(world.told(), []);
}

async fn r3_many_first_messages_make_one_connection(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    for n in 0..20 {
        world.alice.say(&world.room, &format!("message {n}")).await;
    }
    world.settle("end").await;
    let heard: Vec<String> = world.dora.texts(TEA).into_iter().map(|(_, text)| text).collect();
    assert_eq!(heard[..20], (0..20).map(|n| format!("message {n}")).collect::<Vec<_>>());
    assert_eq!(connections_of(&world.ircd, "alice"), 1);
}

async fn r45_several_rooms_joined_at_once_are_one_join(ircd: IrcdConfig) {
    let stage = Stage::set(ircd).await;
    let mut network = stage.network();
    let mut rooms = Vec::new();
    for n in 0..20 {
        let room = stage.alice.create_room(json!({ "preset": "public_chat" })).await;
        network = network.plumb(&format!("#tea{n}"), &room);
        rooms.push(room);
    }
    let bridge = stage.bridge().network(network);
    let world = stage.start(bridge).await;
    let bob = world.homeserver.user("bob");
    let joins = |lines: &[String]| lines.iter().filter(|line| line.starts_with("JOIN ")).count();
    // A puppet that has yet to come, and one that is there.
    for (from, most) in [(0, 2), (10, 4)] {
        world.homeserver.wait_pushed().await;
        world.homeserver.pause();
        for room in &rooms[from..from + 10] {
            bob.join(room).await;
        }
        world.homeserver.resume();
        for n in from..from + 10 {
            world.ircd.expect_on_channel("bob[m]", &format!("#tea{n}")).await;
        }
        let lines = world.ircd.lines_from("bob[m]");
        assert!(joins(&lines) <= most, "{lines:?}");
    }
    // And he leaves only what he leaves.
    bob.leave(&rooms[3]).await;
    world.ircd.wait_until("bob to leave", |state| (!is_on(state, "bob[m]", "#tea3")).then_some(())).await;
    assert!(world.ircd.members("#tea4").contains(&"bob[m]".to_owned()));
}

fn is_on(state: &State, nick: &str, channel: &str) -> bool {
    state.find(nick).is_some_and(|(id, _)| state.channels.get(channel).is_some_and(|it| it.members.contains_key(&id)))
}

/// As the homeserver tells of somebody whose account was deactivated: a leave in each room. Locked ones stay as they are.
async fn a_user_who_is_gone_from_all_rooms_is_gone_from_irc(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    let bob = world.homeserver.user("bob");
    bob.join(&world.room).await;
    let chat = bob.create_room(json!({ "preset": "trusted_private_chat", "is_direct": true, "invite": [DORA] })).await;
    bob.expect_membership(&chat, DORA, "join").await;
    bob.say(&chat, "psst").await;
    world.dora.expect("the question", |line| line.text() == "psst").await;
    bob.leave(&world.room).await;
    bob.leave(&chat).await;
    world.ircd.expect_gone("bob[m]").await;
    // An invitation withdrawn, a ban of who isn't there, and a ban lifted are nothing on IRC.
    world.alice.invite(&world.room, bob.id()).await;
    world.alice.kick(&world.room, bob.id(), "no").await;
    world.alice.ban(&world.room, bob.id(), "never").await;
    world.alice.unban(&world.room, bob.id()).await;
    world.settle("end").await;
    assert!(world.ircd.state().find("bob[m]").is_none());
    let deeds = |command| world.dora.lines().iter().filter(|line| line.nick() == "bob[m]" && line.is(command)).count();
    assert_eq!((deeds("JOIN"), deeds("PART")), (1, 1));
}

async fn r72_nicks_are_transliterated_cut_and_told_apart_for_good(ircd: IrcdConfig) {
    let mut world = World::new(IrcdConfig { nick_len: 16, ..ircd }).await;
    let names = [
        ("jurgen", "Jürgen Müller", "Jurgen_Muller[m]"),
        ("masha", "Маша", "Masha[m]"),
        ("digit", "1234", "_1234[m]"),
        ("long", "A very long name indeed", "A_very_long_n[m]"),
        ("emoji", "🍵🍵", "tea"),
        ("twin", "Маша", "Masha"),
        ("nameless", "", "nameless[m]"),
    ];
    let (mut nicks, mut users) = (Vec::new(), Vec::new());
    for (localpart, name, expected) in names {
        let user = world.homeserver.user(localpart);
        if !name.is_empty() {
            user.set_display_name(name).await;
        }
        user.join(&world.room).await;
        let text = format!("I am {localpart}");
        user.say(&world.room, &text).await;
        let line = world.dora.expect(&text, |line| line.is("PRIVMSG") && line.text() == text).await;
        let nick = line.nick().to_owned();
        assert!(nick.starts_with(expected) && nick.len() <= 16 && nick.ends_with("[m]"), "{name:?}: {nick}");
        assert!(!nicks.contains(&nick), "{nick} twice");
        nicks.push(nick);
        users.push(user);
    }
    assert_eq!(nicks[5], "Masha1[m]", "a taken nick gets a number before the template's end");
    // The number stays, whoever comes first after a restart.
    world.bridge.terminate().await;
    world.ircd.expect_gone("Masha1[m]").await;
    world.bridge.restart().await;
    for nick in &nicks {
        world.ircd.expect_on_channel(nick, TEA).await;
    }
    for (user, nick) in users.iter().zip(&nicks) {
        let text = format!("I am still {}", user.id());
        user.say(&world.room, &text).await;
        world.dora.expect_text(TEA, |from| from == nick, &text).await;
    }
}

async fn r41_r42_a_puppet_is_known_by_user_name_and_real_name(ircd: IrcdConfig) {
    let mut world = World::new(ircd).await;
    let mut seen = vec![("the bot", "footbridge".to_owned(), user_line(&world.ircd, "footbridge").0)];
    // Localparts that differ only where IRC user names can't, and the bot's own name.
    for localpart in ["carol.of.the.hills", "carol_of_the_hills", "carol.of.the.hills2", "foot.bridg"] {
        let user = world.homeserver.user(localpart);
        user.join(&world.room).await;
        let text = format!("I am {localpart}");
        user.say(&world.room, &text).await;
        let nick = world.dora.expect(&text, |line| line.text() == text).await.nick().to_owned();
        let (username, realname) = user_line(&world.ircd, &nick);
        assert!(realname.starts_with(user.id()), "{realname:?} doesn't begin with {}", user.id());
        assert!(username.len() <= 9 && username.bytes().all(|b| b.is_ascii_alphanumeric()), "{username}");
        seen.push((localpart, nick, username));
    }
    for (at, (_, _, username)) in seen.iter().enumerate() {
        assert!(!seen[..at].iter().any(|(_, _, other)| other == username), "{username} twice: {seen:?}");
    }
    world.bridge.kill();
    for (_, nick, _) in &seen {
        world.ircd.expect_gone(nick).await;
    }
    world.ircd.state().log.clear();
    world.bridge.restart().await;
    for (localpart, nick, username) in &seen {
        world.ircd.expect_on_channel(nick, TEA).await;
        assert_eq!(user_line(&world.ircd, nick).0, *username, "{localpart} has another user name after a restart");
    }
}

/// R42: what is cut of an id that is too long leaves the server's name whole, and other users' names different.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r42_a_long_id_keeps_what_tells_it_apart() {
    let world = World::new(IrcdConfig { isupport: vec!["NAMELEN=40".to_owned()], ..IrcdConfig::modern() }).await;
    let long = "somebody.with.a.very.long.localpart.that.does.not.fit";
    let mut realnames = Vec::new();
    for localpart in [format!("{long}1"), format!("{long}2")] {
        let user = world.homeserver.user(&localpart);
        user.join(&world.room).await;
        user.say(&world.room, &localpart).await;
        let nick = world.dora.expect("its word", |line| line.text() == localpart).await.nick().to_owned();
        let (_, realname) = user_line(&world.ircd, &nick);
        assert!(
            realname.starts_with("@somebody") && realname.ends_with(":hs.test") && realname.len() <= 40,
            "{realname}"
        );
        realnames.push(realname);
    }
    assert_ne!(realnames[0], realnames[1]);
}

async fn a_puppet_leaves_with_its_user_and_comes_back(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    let bob = world.homeserver.user("bob");
    bob.join(&world.room).await;
    world.ircd.expect_on_channel("bob[m]", TEA).await;
    bob.leave(&world.room).await;
    // Nothing keeps him on IRC.
    world.ircd.expect_gone("bob[m]").await;
    bob.join(&world.room).await;
    bob.say(&world.room, "back again").await;
    world.dora.expect_text(TEA, |from| from == "bob[m]", "back again").await;
    // In the middle of its goodbye, too.
    for n in 0..5 {
        bob.leave(&world.room).await;
        bob.join(&world.room).await;
        let text = format!("gone and back {n}");
        bob.say(&world.room, &text).await;
        world.dora.expect(&text, |line| line.is("PRIVMSG") && line.text() == text).await;
    }
    assert_eq!(world.told(), []);
}

async fn a_link_that_is_lost_comes_back(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.alice_speaks().await;
    world.ircd.cut(ALICE);
    world.alice.say(&world.room, "still here").await;
    world.dora.expect_text(TEA, |from| from == ALICE, "still here").await;
    world.dora.say(TEA, "good").await;
    world.alice.expect_message(&world.room, |from| from == DORA, "good").await;
}

/// Services and servers give nicks that nobody wants; a restart asks for the right one.
async fn r72_a_nick_that_was_forced_is_not_kept(ircd: IrcdConfig) {
    let mut world = World::new(ircd).await;
    world.alice_speaks().await;
    world.ircd.force_nick(ALICE, "Guest42");
    world.alice.say(&world.room, "as a guest").await;
    world.dora.expect_text(TEA, |from| from == "Guest42", "as a guest").await;
    world.bridge.terminate().await;
    world.ircd.expect_gone("Guest42").await;
    world.bridge.restart().await;
    world.alice.say(&world.room, "as myself").await;
    world.dora.expect_text(TEA, |from| from == ALICE, "as myself").await;
}

/// More than may be told apart by small numbers, where nicks are short; and all of them again after a restart, when a
/// newcomer of the same name is there before them.
async fn r72_any_number_of_users_of_one_name_keep_their_nicks(ircd: IrcdConfig) {
    let mut world = World::new(IrcdConfig { nick_len: 10, ..ircd }).await;
    let nick_of = async |world: &World, user: &MatrixUser, text: &str| {
        user.say(&world.room, text).await;
        world.dora.expect(text, |line| line.text() == text).await.nick().to_owned()
    };
    let mut users = Vec::new();
    for n in 0..27 {
        let user = world.homeserver.user(&format!("alex{n}"));
        user.set_display_name("Alex").await;
        user.join(&world.room).await;
        let nick = nick_of(&world, &user, &format!("I am number {n}.")).await;
        assert!(nick.starts_with("Al") && nick.ends_with("[m]"), "{nick}");
        users.push((user, nick));
    }
    world.bridge.terminate().await;
    for (_, nick) in &users {
        world.ircd.expect_gone(nick).await;
    }
    let newcomer = world.homeserver.user("newcomer");
    newcomer.set_display_name("Alex").await;
    newcomer.join(&world.room).await;
    newcomer.say(&world.room, "I am new.").await;
    world.bridge.restart().await;
    let new = world.dora.expect("the newcomer", |line| line.text() == "I am new.").await.nick().to_owned();
    assert!(users.iter().all(|(_, nick)| *nick != new), "the newcomer has somebody's nick, {new}");
    for (n, (user, nick)) in users.iter().enumerate() {
        assert_eq!(nick_of(&world, user, &format!("I am still number {n}.")).await, *nick);
    }
}

/// The connect budget lets them in one by one.
async fn r4_who_speaks_does_not_wait_behind_who_is_only_there(ircd: IrcdConfig) {
    let world = World::with(ircd, |network| network.set("limits", "connects_per_minute", "30")).await;
    for n in 0..5 {
        world.homeserver.user(&format!("idle{n}")).join(&world.room).await;
    }
    let idle = |state: &State| (0..5).filter(|n| state.find(&format!("idle{n}[m]")).is_some()).count();
    world.ircd.wait_until("the first of them", |state| (idle(state) > 0).then_some(())).await;
    world.alice.say(&world.room, "I have something to say").await;
    world.dora.expect_text(TEA, |from| from == ALICE, "I have something to say").await;
    assert!(idle(&world.ircd.state()) < 5, "all who only are there came before");
    world.ircd.wait_until("the last of them", |state| (idle(state) == 5).then_some(())).await;
}

/// A user who writes before the bot is on the network for the first time ever.
async fn r42_a_puppet_waits_for_what_an_unknown_server_says_of_itself(ircd: IrcdConfig) {
    let stage = Stage::set(IrcdConfig { isupport: vec!["NAMELEN=36".to_owned()], nick_len: 12, ..ircd }).await;
    stage.ircd.react(
        |received| {
            if received.line.starts_with("USER footbridg ") { Reaction::Ignore } else { Reaction::Obey }
        },
    );
    let mut bridge = stage.bridge().network(stage.network()).prepare();
    bridge.spawn();
    let user = stage.ircd.wait_for_line("footbridge", "USER", |line| line.starts_with("USER ")).await;
    stage.alice.expect_membership(&stage.room, "@footbridge:hs.test", "join").await;
    let maximilian = stage.homeserver.user("maximilian.with.a.long.name");
    maximilian.join(&stage.room).await;
    maximilian.say(&stage.room, "early").await;
    let waits = async {
        while !bridge.log().contains("a puppet waits for what the server says of itself") {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(DEADLINE, waits).await.expect("the puppet waits for the bot's greeting");
    stage.ircd.react(|_| Reaction::Obey);
    stage.ircd.hear(user.connection, &user.line);
    let nick = stage.dora.expect("early", |line| line.text() == "early").await.nick().to_owned();
    assert_eq!(nick, "maximilia[m]", "cut as the server says, before the template's end");
    let (_, realname) = user_line(&stage.ircd, &nick);
    assert!(realname.starts_with("@max") && realname.ends_with(":hs.test") && realname.len() <= 36, "{realname}");
}

/// SASL PLAIN for the bot and for one user's puppet; others connect without an account.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn puppets_and_the_bot_log_in_to_their_accounts() {
    let account = |name: &str, password: &str| (name.to_owned(), password.to_owned());
    let ircd = IrcdConfig {
        accounts: vec![account("thebot", "bot secret"), account("al", "pässwörd 1")],
        ..IrcdConfig::modern()
    };
    let stage = Stage::set(ircd).await;
    let network =
        stage.network().set("bot", "sasl_account", "\"thebot\"").set("bot", "sasl_password", "\"bot secret\"");
    let bridge = stage.bridge().network(network).extra(
        "[[network.net.puppets.account]]\nuser = \"@alice:hs.test\"\nsasl_account = \"al\"\nsasl_password = \"pässwörd 1\"\n",
    );
    let world = stage.start(bridge).await;
    world.alice_speaks().await;
    let bob = world.homeserver.user("bob");
    bob.join(&world.room).await;
    world.ircd.expect_on_channel("bob[m]", TEA).await;
    let account_of =
        |nick: &str| world.ircd.state().find(nick).and_then(|(_, c)| c.account.as_deref().map(str::to_owned));
    assert_eq!(account_of("footbridge").as_deref(), Some("thebot"));
    assert_eq!(account_of(ALICE).as_deref(), Some("al"));
    assert_eq!(account_of("bob[m]"), None);
    assert!(!world.bridge.log().contains("pässwörd"), "a password is in the log");
}

/// A wrong password is told, and tried once; the network's own password opens the door for all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r2_a_login_that_is_refused_is_told() {
    let ircd = IrcdConfig {
        accounts: vec![("al".to_owned(), "right".to_owned())],
        password: Some("for the server".to_owned()),
        ..IrcdConfig::modern()
    };
    let registration = crate::support::Registration::new("hs.test", crate::support::process::free_port(), &["net"]);
    let homeserver = crate::support::FakeHomeserver::start(&registration).await;
    let ircd = FakeIrcd::start(ircd).await;
    let (alice, bob) = (homeserver.user("alice"), homeserver.user("bob"));
    let room = alice.create_room(json!({ "preset": "public_chat" })).await;
    let mut door = IrcClient::options();
    door.password = Some("for the server".to_owned());
    let dora = door.connect(ircd.address(), "dora").await;
    dora.join(TEA).await;
    let network =
        crate::support::Network::new("net", ircd.address()).plumb(TEA, &room).set("", "password", "\"for the server\"");
    let _bridge = crate::support::Bridge::of(homeserver.url(), &registration)
        .network(network)
        .extra("[[network.net.puppets.account]]\nuser = \"@alice:hs.test\"\nsasl_account = \"al\"\nsasl_password = \"wrong\"\n")
        .start()
        .await;
    ircd.expect_on_channel("footbridge", TEA).await;
    let message = alice.say(&room, "hello").await;
    let told = super::world::expect_told(&homeserver, &message).await;
    assert!(told.body().contains("SASL authentication failed"), "{}", told.body());
    assert!(!told.body().contains("wrong"), "{}", told.body());
    bob.join(&room).await;
    bob.say(&room, "no account").await;
    dora.expect_text(TEA, |from| from == "bob[m]", "no account").await;
}

/// TLS with a certificate that only the configuration vouches for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_works_over_tls() {
    let world = World::new(IrcdConfig { tls: true, ..IrcdConfig::modern() }).await;
    world.settle("over TLS").await;
    world.ircd.restart().await;
    let dora: IrcClient = world.ircd.client("dora").await;
    dora.join(TEA).await;
    world.ircd.expect_on_channel("footbridge", TEA).await;
    world.alice.say(&world.room, "again").await;
    dora.expect_text(TEA, |from| from == ALICE, "again").await;
}

/// What a puppet's limit refuses is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r2_one_puppet_too_many_is_told() {
    let world = World::with(IrcdConfig::modern(), |network| network.set("puppets", "limit", "1")).await;
    world.alice_speaks().await;
    let bob = world.homeserver.user("bob");
    bob.join(&world.room).await;
    let join = world.alice.expect_membership(&world.room, bob.id(), "join").await;
    let told = world.expect_told(&join.event_id).await;
    assert!(told.body().starts_with("You could not be brought onto IRC: "), "{}", told.body());
    let message = bob.say(&world.room, "me too").await;
    let told = world.expect_told(&message).await;
    assert!(told.body().contains("as many users"), "{}", told.body());
    assert_eq!(told.content["m.mentions"], json!({ "user_ids": [bob.id()] }));
    world.settle("end").await;
    assert!(world.ircd.state().find("bob[m]").is_none());
}

/// Says three things and leaves, in one transaction. All must be heard, then the puppet is gone, and nobody is told
/// anything.
async fn say_and_leave(world: &World, bob: &MatrixUser, join: bool) {
    world.homeserver.pause();
    if join {
        bob.join(&world.room).await;
    }
    for n in 0..3 {
        bob.say(&world.room, &format!("bye {n}")).await;
    }
    bob.leave(&world.room).await;
    world.homeserver.resume();
    world.dora.expect_text(TEA, |from| from == "bob[m]", "bye 2").await;
    world.ircd.expect_gone("bob[m]").await;
    world.settle("end").await;
    let heard: Vec<_> =
        world.dora.texts(TEA).into_iter().filter(|(from, _)| from == "bob[m]").map(|said| said.1).collect();
    assert_eq!(heard, ["bye 0", "bye 1", "bye 2"]);
    assert_eq!(world.told(), []);
    assert!((0..3).all(|n| world.read(&format!("bye {n}")) == 1), "a puppet's own words came back");
}

/// A line at a time, so that there is something left to say when the user leaves.
async fn slow_world(ircd: IrcdConfig) -> World {
    World::with(ircd, |network| network.set("limits", "line_burst", "1").set("limits", "lines_per_second", "4")).await
}

async fn what_was_said_before_leaving_is_said(ircd: IrcdConfig) {
    let world = slow_world(ircd).await;
    let bob = world.homeserver.user("bob");
    bob.join(&world.room).await;
    world.ircd.expect_on_channel("bob[m]", TEA).await;
    say_and_leave(&world, &bob, false).await;
}

async fn what_was_said_before_leaving_is_said_by_a_puppet_that_has_yet_to_come(ircd: IrcdConfig) {
    let world = slow_world(ircd).await;
    let bob = world.homeserver.user("bob");
    say_and_leave(&world, &bob, true).await;
    // And once more: the goodbye is no end for good.
    bob.join(&world.room).await;
    bob.say(&world.room, "back").await;
    world.dora.expect_text(TEA, |from| from == "bob[m]", "back").await;
}
