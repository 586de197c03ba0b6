//! The fake IRC server: people talk with and without capabilities, and what can go wrong with a connection does so on demand.

use crate::support::{
    FakeIrcd, IrcClient, IrcLine, IrcdConfig, ScriptedIrcd,
    ircd::{Reaction, Refusal},
};

fn from(nick: &str) -> impl Fn(&str) -> bool + '_ {
    move |sender| sender == nick
}

async fn two_people_talk(alice: &IrcClient, bob: &IrcClient) {
    alice.join("#tea").await;
    bob.join("#tea").await;
    alice.expect("bob's JOIN", |line| line.is("JOIN") && line.nick() == "bob").await;
    alice.say("#tea", "hello bob").await;
    bob.expect_text("#tea", from("alice"), "hello bob").await;
    bob.say("alice", "psst").await;
    alice.expect_text("alice", from("bob"), "psst").await;
    bob.raw("NICK bobby").await;
    alice.expect("the new nick", |line| line.is("NICK") && line.nick() == "bob" && line.text() == "bobby").await;
    alice.raw("TOPIC #tea :tea time").await;
    bob.expect("the topic", |line| line.is("TOPIC") && line.text() == "tea time").await;
    alice.raw("KICK #tea bobby :bye").await;
    bob.expect("the kick", |line| line.is("KICK") && line.param(1) == "bobby" && line.text() == "bye").await;
    bob.say("#tea", "still here?").await;
    bob.expect("404", |line| line.is("404") && line.param(1) == "#tea").await;
}

#[tokio::test]
async fn people_talk_without_any_capability() {
    let ircd = FakeIrcd::start(IrcdConfig::default()).await;
    let (alice, bob) = (ircd.client("alice").await, ircd.client("bob").await);
    two_people_talk(&alice, &bob).await;
    assert!(alice.lines().iter().all(|line| line.tags.is_empty()), "nobody asked for tags");
    assert_eq!(alice.texts("#tea"), [], "nobody asked for echoes");
    assert_eq!(ircd.members("#tea"), ["alice"]);
    bob.quit("bye").await;
    ircd.expect_gone("bobby").await;
    alice.raw("CAP LS 302").await;
    alice.expect("no CAP", |line| line.is("421")).await;
}

#[tokio::test]
async fn people_talk_with_every_capability() {
    let ircd =
        FakeIrcd::start(IrcdConfig { accounts: vec![("al".into(), "secret".into())], ..IrcdConfig::modern() }).await;
    let all = IrcClient::options().caps(&[
        "account-tag",
        "batch",
        "echo-message",
        "extended-join",
        "labeled-response",
        "message-tags",
        "multi-prefix",
        "no-implicit-names",
        "server-time",
        "userhost-in-names",
    ]);
    let alice = all.sasl("al", "secret").connect(ircd.address(), "alice").await;
    let bob = IrcClient::options()
        .caps(&["account-tag", "extended-join", "server-time"])
        .connect(ircd.address(), "bob")
        .await;
    two_people_talk(&alice, &bob).await;
    let heard = bob.lines().into_iter().find(|line| line.is("PRIVMSG")).unwrap();
    assert_eq!(heard.tag("account"), Some("al"));
    let time = heard.tag("time").unwrap();
    assert!(time.len() == 24 && time.starts_with("20") && time.ends_with('Z'), "{time}");

    alice.raw("@label=a1;+typing=active PRIVMSG #tea :labelled").await;
    let echo = alice.expect("the labelled echo", |line| line.is("PRIVMSG") && line.tag("label") == Some("a1")).await;
    assert_eq!((echo.nick(), echo.text(), echo.tag("+typing")), ("alice", "labelled", Some("active")));
    assert!(echo.tag("msgid").is_some());
    alice.raw("@label=a2 PONG x").await;
    alice.expect("ACK", |line| line.is("ACK") && line.tag("label") == Some("a2")).await;
    alice.raw("@label=a3 NAMES #tea").await;
    let batch = alice.expect("a batch", |line| line.is("BATCH") && line.tag("label") == Some("a3")).await;
    let reference = batch.param(0)[1..].to_owned();
    let names = alice.expect("names", |line| line.is("353") && line.tag("batch") == Some(&reference)).await;
    assert_eq!(names.text(), "@alice!~alice@client.fake.test");
    assert_eq!(alice.lines().iter().filter(|line| line.is("353")).count(), 1, "no names on JOIN");
}

#[tokio::test]
async fn people_talk_over_tls() {
    let ircd = FakeIrcd::start(IrcdConfig { tls: true, ..IrcdConfig::default() }).await;
    two_people_talk(&ircd.client("alice").await, &ircd.client("bob").await).await;
}

#[tokio::test]
async fn nicks_and_channels_are_refused() {
    let ircd = FakeIrcd::start(IrcdConfig::default()).await;
    let alice = ircd.client("alice").await;
    let bob = ircd.client("bob").await;
    bob.raw("NICK Alice").await;
    bob.expect("433", |line| line.is("433") && line.param(1) == "Alice").await;
    bob.raw("NICK 1st").await;
    bob.expect("432", |line| line.is("432")).await;
    bob.say("nobody", "hello").await;
    bob.expect("401", |line| line.is("401")).await;
    bob.say("#nowhere", "hello").await;
    bob.expect("403", |line| line.is("403")).await;

    alice.join("#tea").await;
    for (mode, numeric) in [("+i", "473"), ("-i+k key", "475"), ("-k+l key 1", "471"), ("-l+b *!*@*", "474")] {
        alice.raw(&format!("MODE #tea {mode}")).await;
        alice.sync().await;
        bob.raw("JOIN #tea").await;
        bob.expect(numeric, |line| line.is(numeric)).await;
    }
    alice.raw("MODE #tea -b+m *!*@*").await;
    alice.sync().await;
    bob.join("#tea").await;
    bob.say("#tea", "may I?").await;
    bob.expect("404", |line| line.is("404")).await;
    alice.raw("MODE #tea +v bob").await;
    bob.expect("voice", |line| line.is("MODE") && line.params == ["#tea", "+v", "bob"]).await;
    bob.say("#tea", "thanks").await;
    alice.expect_text("#tea", from("bob"), "thanks").await;

    ircd.refuse_speech("#TEA", Some(404));
    bob.say("#tea", "now?").await;
    bob.expect("404", |line| line.is("404")).await;
    ircd.refuse_speech("#tea", None);
    ircd.refuse_join("#milk", Some(477));
    bob.raw("JOIN #milk").await;
    bob.expect("477", |line| line.is("477")).await;
}

#[tokio::test]
async fn connections_are_refused_killed_and_cut() {
    let ircd = FakeIrcd::start(IrcdConfig::default()).await;
    ircd.refuse_next(Refusal::AtConnect("Throttled: reconnecting too fast".into()));
    let throttled = IrcClient::options().dial(ircd.address(), "throttled").await;
    throttled.expect("ERROR", |line| line.is("ERROR") && line.text().starts_with("Throttled")).await;
    throttled.expect_closed().await;

    ircd.refuse_next(Refusal::AtRegistration { numeric: 465, text: "K-lined: spam".into() });
    let banned = IrcClient::options().dial(ircd.address(), "banned").await;
    banned.raw("NICK banned").await;
    banned.raw("USER b 0 * :b").await;
    banned.expect("465", |line| line.is("465")).await;
    banned.expect("ERROR", |line| line.is("ERROR")).await;
    banned.expect_closed().await;

    let (alice, bob) = (ircd.client("alice").await, ircd.client("bob").await);
    alice.join("#tea").await;
    bob.join("#tea").await;
    ircd.kill("bob", "go away");
    bob.expect("ERROR", |line| line.is("ERROR") && line.text() == "Closing Link: (go away)").await;
    bob.expect_closed().await;
    alice.expect("QUIT", |line| line.is("QUIT") && line.nick() == "bob").await;

    let bob = ircd.client("bob").await;
    bob.join("#tea").await;
    ircd.cut("bob");
    bob.expect_closed().await;

    let bob = ircd.client("bob").await;
    bob.join("#tea").await;
    ircd.cut_next_line("bob");
    alice.say("#tea", "half of this is lost").await;
    bob.expect_closed().await;
    assert_eq!(bob.texts("#tea"), [], "half a line is no line");
}

#[tokio::test]
async fn a_line_can_be_lost_before_or_after_its_effect() {
    let ircd = FakeIrcd::start(IrcdConfig::modern()).await;
    let alice = ircd.client("alice").await;
    alice.join("#tea").await;
    ircd.react(|received| match &*received.line {
        "PRIVMSG #tea :before" => Reaction::CutBefore,
        "PRIVMSG #tea :after" => Reaction::CutAfter,
        "PRIVMSG #tea :hang" => Reaction::Ignore,
        "PRIVMSG #tea :refuse" => Reaction::Answer(vec![":irc.fake.test 404 bob #tea :No".into()]),
        _ => Reaction::Obey,
    });
    for text in ["before", "after"] {
        let bob = IrcClient::options().caps(&["echo-message"]).connect(ircd.address(), "bob").await;
        bob.join("#tea").await;
        bob.say("#tea", text).await;
        bob.expect_closed().await;
        assert_eq!(bob.texts("#tea"), [], "no echo of what was cut");
        ircd.expect_gone("bob").await;
    }
    let bob = IrcClient::options().caps(&["echo-message"]).connect(ircd.address(), "bob").await;
    bob.join("#tea").await;
    bob.say("#tea", "hang").await;
    bob.say("#tea", "refuse").await;
    bob.expect("404", |line| line.is("404")).await;
    bob.sync().await;
    assert_eq!(bob.texts("#tea"), []);
    alice.sync().await;
    assert_eq!(alice.texts("#tea"), [("bob".to_owned(), "after".to_owned())]);
    ircd.wait_for_line("bob", "the first line", |line| line == "PRIVMSG #tea :before").await;
}

#[tokio::test]
async fn a_frozen_connection_goes_on_when_thawed() {
    let ircd = FakeIrcd::start(IrcdConfig::default()).await;
    let (alice, bob) = (ircd.client("alice").await, ircd.client("bob").await);
    alice.join("#tea").await;
    bob.join("#tea").await;
    ircd.freeze("bob");
    bob.say("#tea", "said while frozen").await;
    alice.say("#tea", "hello?").await;
    alice.sync().await;
    assert_eq!((alice.texts("#tea"), bob.texts("#tea")), (vec![], vec![]));
    ircd.thaw("bob");
    bob.expect_text("#tea", from("alice"), "hello?").await;
    alice.expect_text("#tea", from("bob"), "said while frozen").await;
    ircd.freeze("bob");
    ircd.cut("bob");
    bob.expect_closed().await;
}

#[tokio::test]
async fn the_server_can_restart_on_its_port() {
    let ircd = FakeIrcd::start(IrcdConfig::default()).await;
    let alice = ircd.client("alice").await;
    ircd.stop().await;
    alice.expect_closed().await;
    assert!(tokio::net::TcpStream::connect(ircd.address()).await.is_err(), "a stopped server refuses connections");
    ircd.start_again().await;
    let alice = ircd.client("alice").await;
    ircd.restart().await;
    alice.expect_closed().await;
    ircd.client("alice").await;
}

#[tokio::test]
async fn long_lines_are_cut_and_raw_bytes_go_through() {
    let ircd = FakeIrcd::start(IrcdConfig::default()).await;
    let (alice, bob) = (ircd.client("alice").await, ircd.client("bob").await);
    alice.say("bob", &"x".repeat(600)).await;
    let heard = bob.expect("the long line", |line| line.is("PRIVMSG")).await;
    assert_eq!(heard.raw.len(), 510);
    ircd.inject("bob", b":\xff PRIVMSG bob :\xe9t\xe9\r\n");
    let strange = bob.expect("the strange line", |line| line.is("PRIVMSG") && line.raw.contains('\u{fffd}')).await;
    assert_eq!(strange.text(), "\u{fffd}t\u{fffd}");
    ircd.force_nick("bob", "Guest1");
    bob.expect("the forced nick", |line| line.is("NICK") && line.text() == "Guest1").await;
}

#[tokio::test]
async fn a_scripted_server_says_what_the_test_says() {
    let ircd = ScriptedIrcd::start().await;
    let address = ircd.address();
    let client = tokio::spawn(async move { IrcClient::connect(address, "alice").await });
    let mut connection = ircd.accept().await;
    assert_eq!(connection.welcome("NICKLEN=9").await, "alice");
    let client = client.await.unwrap();
    connection.send("PING :are you there").await;
    assert_eq!(connection.read().await, IrcLine::parse("PONG :are you there"));
    connection.send_bytes(b":bob!b@h PRIVMSG alice :hal").await;
    connection.send_bytes(b"ves\r\n").await;
    client.expect_text("alice", from("bob"), "halves").await;
    drop(client);
    connection.expect_closed().await;
}

#[test]
fn lines_are_taken_apart() {
    let line = IrcLine::parse("@a=1\\:\\s\\\\;b;+c= :nick!u@h PRIVMSG #a  :  two words :x\r\n");
    assert_eq!(line.tags, [("a".into(), "1; \\".into()), ("b".into(), String::new()), ("+c".into(), String::new())]);
    assert_eq!((line.nick(), line.command.as_str()), ("nick", "PRIVMSG"));
    assert_eq!(line.params, ["#a", "  two words :x"]);
    assert_eq!(IrcLine::parse("PING").params, Vec::<String>::new());
    assert_eq!(IrcLine::parse(":x").command, "");
}
