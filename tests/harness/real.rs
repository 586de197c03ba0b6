//! The launchers: each real server starts, answers, and ends with its owner.

use std::{path::PathBuf, process::Command, time::Instant};

use serde_json::json;
use sqlx::Connection as _;

use crate::support::{
    IrcClient,
    process::{Launch, POLL, answers, folder},
    real::{InspIrcd, NgIrcd, Postgres, Synapse},
    wait::DEADLINE,
};

async fn two_people_talk(alice: &IrcClient, bob: &IrcClient) {
    alice.join("#tea").await;
    bob.join("#tea").await;
    alice.expect("bob's JOIN", |line| line.is("JOIN") && line.nick() == "bob").await;
    alice.say("#tea", "hello bob").await;
    bob.expect_text("#tea", |nick| nick == "alice", "hello bob").await;
    bob.say("alice", "psst").await;
    alice.expect_text("alice", |nick| nick == "bob", "psst").await;
    alice.raw("MODE #tea +v bob").await;
    bob.expect("voice from the channel's creator", |line| line.is("MODE") && line.param(1) == "+v").await;
    bob.quit("bye").await;
    alice.expect("bob's QUIT", |line| line.is("QUIT") && line.nick() == "bob").await;
}

#[tokio::test]
async fn people_talk_through_inspircd() {
    let server = InspIrcd::start();
    two_people_talk(&server.client("alice").await, &server.client("bob").await).await;

    let caps = [
        "account-tag",
        "batch",
        "cap-notify",
        "chghost",
        "echo-message",
        "extended-join",
        "invite-notify",
        "labeled-response",
        "message-tags",
        "multi-prefix",
        "server-time",
        "setname",
        "userhost-in-names",
    ];
    let secure = IrcClient::options().caps(&caps).tls(server.certificate().connector());
    let carol = secure.connect(server.tls_address(), "carol").await;
    carol.join("#tls").await;
    carol.raw("@label=x PRIVMSG #tls :labelled").await;
    let echo = carol.expect("the echo", |line| line.is("PRIVMSG") && line.tag("label") == Some("x")).await;
    assert!(echo.tag("time").is_some() && echo.tag("msgid").is_some(), "{echo}");
}

#[tokio::test]
async fn people_talk_through_ngircd() {
    let server = NgIrcd::start_with_nick_length(12);
    two_people_talk(&server.client("alice").await, &server.client("bob").await).await;
    let alice = server.client("alice2").await;
    alice.raw("NICK a234567890123").await;
    alice.expect("432", |line| line.is("432")).await;
    alice.expect("NICKLEN", |line| line.is("005") && line.params.contains(&"NICKLEN=12".to_owned())).await;
    alice.raw("CAP LS 302").await;
    let caps = alice.expect("CAP LS", |line| line.is("CAP")).await;
    assert_eq!(caps.text().trim(), "multi-prefix");
}

#[tokio::test]
async fn people_talk_in_a_room_of_synapse() {
    let synapse = Synapse::shared();
    let (alice, bob) = (synapse.user("alice").await, synapse.user("bob").await);
    let room = alice.create_room(json!({ "invite": [bob.id()], "name": "Tea" })).await;
    assert_eq!(bob.expect_invite(|sender| sender == alice.id()).await, room);
    bob.join(&room).await;
    alice.expect_membership(&room, bob.id(), "join").await;
    alice.say(&room, "hello bob").await;
    bob.expect_message(&room, |sender| sender == alice.id(), "hello bob").await;
    let sent = bob.emote(&room, "waves").await;
    let seen = alice.expect_message(&room, |sender| sender == bob.id(), "waves").await;
    assert_eq!((seen.event_id.as_str(), seen.msgtype()), (sent.as_str(), "m.emote"));
    alice.set_topic(&room, "tea time").await;
    assert_eq!(bob.state(&room, "m.room.topic", "").await.unwrap()["topic"], "tea time");
    assert_eq!(alice.joined_members(&room).await, [alice.id(), bob.id()]);
    bob.set_display_name("Bob").await;
    alice
        .wait_for(&room, "bob's name", |events| {
            events.iter().find(|event| event.content["displayname"] == "Bob").cloned()
        })
        .await;
    alice.kick(&room, bob.id(), "bye").await;
    let kicked = bob.expect_membership(&room, bob.id(), "leave").await;
    assert_eq!(kicked.content["reason"], "bye");
}

#[tokio::test]
async fn synapse_knows_the_bridges_it_was_started_with() {
    let synapse = Synapse::shared();
    let (one, other) = (synapse.take_registration(), synapse.take_registration());
    assert_ne!(one.id, other.id);
    let http = crate::support::tls::http_client();
    for registration in [one, other] {
        let url = format!("{}/_matrix/client/v3/account/whoami", synapse.url());
        let answer = http.get(url).bearer_auth(&registration.as_token).send().await.unwrap();
        let answer: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(answer["user_id"], registration.bot());
    }
}

#[tokio::test]
async fn postgres_answers() {
    let urls = [Postgres::shared().create_database(), Postgres::shared().create_database()];
    assert_ne!(urls[0], urls[1]);
    for url in urls {
        let mut database = sqlx::PgConnection::connect(&url).await.unwrap();
        let one: i32 = sqlx::query_scalar("select 1").fetch_one(&mut database).await.unwrap();
        assert_eq!(one, 1);
    }
}

#[test]
fn a_child_ends_with_its_owner_and_leaves_nothing() {
    let folder = folder("children", None).keep();
    let spawn = || {
        let mut command = Command::new("/bin/sh");
        // A child with a child of its own, neither of which would end by itself.
        command.args(["-c", "sleep 1000 & echo $! >grandchild; wait"]).current_dir(&folder);
        Launch { cleanup: Some(&folder), ..Launch::new("sh", &folder.join("log")) }.start(command)
    };
    let mut child = spawn();
    let written = || std::fs::read_to_string(folder.join("grandchild")).is_ok_and(|pid| pid.ends_with('\n'));
    child.wait_until("its own child is there", written);
    let grandchild = std::fs::read_to_string(folder.join("grandchild")).unwrap();
    let process = |pid: &str| PathBuf::from("/proc").join(pid.trim());
    let pid = child.pid().to_string();
    assert!(process(&pid).exists() && process(&grandchild).exists());
    drop(child);
    assert!(!process(&pid).exists(), "the child is gone when its owner is");
    assert!(!folder.exists(), "its folder too");
    // The grandchild was killed, but who reaps it does so in his own time.
    let deadline = Instant::now() + DEADLINE;
    let is_dead = || match std::fs::read_to_string(process(&grandchild).join("stat")) {
        Ok(stat) => stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')),
        Err(_) => true,
    };
    while !is_dead() {
        assert!(Instant::now() < deadline, "the grandchild still runs");
        std::thread::sleep(POLL);
    }
}

#[test]
fn a_killed_server_answers_no_longer() {
    let mut server = NgIrcd::start();
    assert!(answers(server.address()));
    server.kill();
    assert!(!answers(server.address()));
}

#[test]
#[should_panic(expected = "run `make test`, which installs it")]
fn a_missing_program_is_named() {
    crate::support::process::program("/usr/sbin/no-such-ircd");
}

#[test]
#[should_panic(expected = "the reason why")]
fn a_child_that_ends_too_early_shows_its_log() {
    let folder = folder("early", None);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "echo the reason why; exit 3"]);
    Launch::new("sh", &folder.path().join("log")).start(command).wait_until("it answers", || false);
}
