//! Bad input from both sides: nothing that is written on Matrix becomes a second line on IRC, and nothing that a server says stops the bridge.

use axum::http::Method;
use serde_json::json;

use super::world::{ALICE, BOT, DORA, Stage, TEA, World, on_both_kinds_of_server};
use crate::support::{IrcLine, IrcdConfig, ScriptedIrcd};

on_both_kinds_of_server!(r104_no_field_of_matrix_makes_a_second_line, hostile_lines_of_irc_stop_nothing,);

/// What somebody might put where text belongs. Whatever becomes of them: nobody ever speaks to `#evil`.
const INJECTIONS: [&str; 9] = [
    "x\r\nPRIVMSG #evil :injected",
    "x\nPRIVMSG #evil :injected",
    "x\rJOIN #evil",
    "\r\n\r\nJOIN #evil\r\n",
    "x\u{0}y\u{0}\nQUIT :#evil",
    "\u{1}ACTION x\u{1}\nJOIN #evil",
    "\u{1}DCC SEND file 1 2 3\u{1}",
    "x\u{85}JOIN #evil\u{2028}JOIN #evil\u{2029}JOIN #evil",
    ":#evil :x\u{b}JOIN #evil\u{c}",
];

async fn r104_no_field_of_matrix_makes_a_second_line(ircd: IrcdConfig) {
    let world = World::with(ircd, |network| network.set("puppets", "max_lines", "0")).await;
    world.alice_speaks().await;
    world.dora.raw(&format!("MODE {TEA} -t+o {ALICE}")).await;
    for (n, evil) in INJECTIONS.iter().enumerate() {
        // Bodies of every kind.
        for kind in ["m.text", "m.notice", "m.emote"] {
            let content =
                json!({ "msgtype": kind, "body": evil, "format": "org.matrix.custom.html", "formatted_body": evil });
            world.alice.send_raw(&world.room, "m.room.message", content).await;
        }
        // Topics.
        world.alice.set_topic(&world.room, evil).await;
        // A display name, which becomes a nick and a real name.
        let mallory = world.homeserver.user(&format!("mallory{n}"));
        mallory.set_display_name(evil).await;
        mallory.join(&world.room).await;
        mallory.say(&world.room, &format!("mallory {n}")).await;
        let nick = world.dora.expect("mallory", |line| line.text() == format!("mallory {n}")).await.nick().to_owned();
        // Reasons: of a leave, a kick, a ban.
        match n % 3 {
            0 => {
                let path = format!("/_matrix/client/v3/rooms/{}/leave", world.room);
                mallory.request(Method::POST, &path, json!({ "reason": evil })).await;
            }
            1 => world.alice.kick(&world.room, mallory.id(), evil).await,
            _ => world.alice.ban(&world.room, mallory.id(), evil).await,
        }
        world.ircd.expect_gone(&nick).await;
        // The reason of a ghost's kick.
        let victim = world.ircd.client(&format!("victim{n}")).await;
        victim.join(TEA).await;
        let ghost = format!("@irc_net_victim{n}:hs.test");
        world.alice.expect_membership(&world.room, &ghost, "join").await;
        world.alice.kick(&world.room, &ghost, evil).await;
        victim.expect("the kick", |line| line.is("KICK") && line.param(1) == victim.nick()).await;
        // An alias, and a ghost's id.
        let alias = crate::support::homeserver::encode(&format!("#irc_net_{evil}:hs.test"));
        let _ = world.alice.try_request(Method::POST, &format!("/_matrix/client/v3/join/{alias}"), json!({})).await;
    }
    // Far too long for any line: cut or refused, never spilt.
    let long = "overlong ".repeat(2000);
    world.alice.say(&world.room, &long).await;
    world.alice.set_topic(&world.room, &long).await;
    let victim = world.ircd.client("lastvictim").await;
    victim.join(TEA).await;
    world.alice.expect_membership(&world.room, "@irc_net_lastvictim:hs.test", "join").await;
    world.alice.kick(&world.room, "@irc_net_lastvictim:hs.test", &long).await;
    victim.expect("the kick", |line| line.is("KICK") && line.param(1) == "lastvictim").await;
    world.settle("end").await;
    check_every_line(&world);
}

/// Looks at every line that the server ever got from the bridge.
fn check_every_line(world: &World) {
    let allowed = [
        "CAP",
        "AUTHENTICATE",
        "NICK",
        "USER",
        "JOIN",
        "PART",
        "QUIT",
        "PING",
        "PONG",
        "PRIVMSG",
        "NOTICE",
        "TOPIC",
        "NAMES",
        "KICK",
        "MODE",
        "WHO",
        "WHOIS",
    ];
    let state = world.ircd.state();
    let people: Vec<u64> =
        state.log.iter().filter(|l| l.line.contains(" of the tests")).map(|l| l.connection).collect();
    for received in state.log.iter().filter(|received| !people.contains(&received.connection)) {
        let line = IrcLine::parse(&received.line);
        assert!(allowed.contains(&line.command.as_str()), "{received}");
        assert!(!["#evil", "#evil,"].contains(&line.param(0)), "an injected command: {received}");
        assert!(!(line.is("QUIT") && line.text() == "#evil"), "an injected command: {received}");
        let body = received
            .line
            .strip_prefix('@')
            .and_then(|line| line.split_once(' '))
            .map_or(&*received.line, |(_, body)| body);
        assert!(body.len() <= 510, "{} bytes: {received}", body.len());
        assert!(!body.contains(['\r', '\0']), "{received:?}");
        if body.contains('\u{1}') {
            let text = line.text();
            let framed = text.strip_prefix("\u{1}ACTION ").and_then(|text| text.strip_suffix('\u{1}'));
            assert!(line.is("PRIVMSG") && framed.is_some_and(|text| !text.contains('\u{1}')), "{received:?}");
        }
    }
}

async fn hostile_lines_of_irc_stop_nothing(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    world.alice_speaks().await;
    let source = ":dora!~dora@client.fake.test";
    let mut lines: Vec<Vec<u8>> = vec![
        b"\r\n\r\n\n\n".to_vec(),
        b" \r\n: \r\n:x\r\n@\r\n@x\r\n@x \r\n@ :x y\r\n".to_vec(),
        b"\x00\x01\x02\xff\xfe\r\n".to_vec(),
        [b"PRIVMSG #tea :", [b'x'; 100_000].as_slice(), b"\r\n"].concat(),
        [source.as_bytes(), b" PRIVMSG #tea :", [0xff; 600].as_slice(), b"\r\n"].concat(),
        [b"@a=", [b'x'; 20_000].as_slice(), b" :dora!~dora@h PRIVMSG #tea :tags\r\n"].concat(),
        format!("{source} PRIVMSG\r\n{source} PRIVMSG #tea\r\n{source} PRIVMSG #tea :\r\n{source} PRIVMSG :\r\n").into(),
        format!("{source} MODE #tea +ooo x\r\n{source} MODE #tea\r\n{source} MODE #tea +\r\n{source} MODE #tea +zZ9k\r\n{source} MODE\r\n").into(),
        format!("{source} JOIN\r\n{source} JOIN :\r\n{source} JOIN ,,,\r\n{source} KICK #tea\r\n{source} KICK\r\n{source} NICK\r\n{source} NICK :\r\n").into(),
        format!("{source} TOPIC\r\n{source} TOPIC #tea\r\n{source} INVITE\r\n{source} PART\r\n").into(),
        b"PRIVMSG #tea :nobody said this\r\nJOIN #tea\r\nQUIT\r\nPING\r\nPONG\r\nPING :\r\nBATCH\r\nBATCH +\r\nBATCH -x\r\nFAIL\r\nACK\r\n".to_vec(),
        b":irc.fake.test CAP\r\n:irc.fake.test CAP x ACK\r\n:irc.fake.test CAP * DEL :sasl\r\n:irc.fake.test CAP * NEW :\r\n:irc.fake.test CAP * LS :x\r\nAUTHENTICATE +\r\nAUTHENTICATE\r\n".to_vec(),
        format!("{source} PRIVMSG #tea :\u{1}\r\n{source} PRIVMSG #tea :\u{1}\u{1}\r\n{source} PRIVMSG #tea :\u{1}ACTION\u{1}\r\n{source} PRIVMSG #tea :\u{1}ACTION \u{1}\r\n").into(),
        ":x!y@z PRIVMSG #tea :\u{3}99,99\u{3}\u{3},\u{2}\u{2}\u{1f}\u{1d}\u{4}zzzzzz\r\n".into(),
        b":!@ PRIVMSG #tea :no name\r\n:a!@ PRIVMSG #tea :no user\r\n:a b c PRIVMSG #tea :x\r\n".to_vec(),
        ":\u{202e}\u{0301}!x@y PRIVMSG #tea :strange nick\r\n".into(),
        [b":", [b'n'; 400].as_slice(), b"!u@h PRIVMSG #tea :a nick without end\r\n"].concat(),
        [b":", [b'm'; 300].as_slice(), b"!u@h JOIN #tea\r\n"].concat(),
        // A server that takes its channels away, and thinks better of it.
        b":irc.fake.test 005 x CHANTYPES= PREFIX=( PREFIX=()@ CHANMODES= CHANMODES=,,,,,,, NICKLEN=-1 NICKLEN=99999999999999999999 MODES= TARGMAX=: :x\r\n\
          :irc.fake.test 005 x CHANTYPES=# PREFIX=(ov)@+ CHANMODES=b,k,l,imnpst NICKLEN=30 :x\r\n"
            .to_vec(),
    ];
    for numeric in (0..1000).filter(|numeric| ![1, 465, 466].contains(numeric)) {
        lines.push(format!(":irc.fake.test {numeric:03}\r\n:irc.fake.test {numeric:03} *\r\n:irc.fake.test {numeric:03} {ALICE} #nowhere\r\n").into());
    }
    for (n, line) in lines.iter().enumerate() {
        world.ircd.inject(BOT, line);
        world.ircd.inject(ALICE, line);
        if n < 20 || n % 100 == 0 {
            world.settle(&format!("after {n}")).await;
        }
    }
    world.settle("end").await;
    assert_eq!(world.read("nobody said this"), 0);
    assert_eq!(world.bridge.health().await, Some(200));
    let log = world.bridge.log();
    assert!(!log.contains("panicked"), "{log}");
}

/// A server that is no IRC server, one that hangs up in the middle of its greeting, and at last a good one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_greet_strangely_are_tried_again() {
    let stage = Stage::set(IrcdConfig::default()).await;
    let server = ScriptedIrcd::start().await;
    let network = crate::support::Network::new("net", server.address()).plumb(TEA, &stage.room);
    let mut bridge = stage.bridge().network(network).prepare();
    bridge.spawn();
    let mut first = server.accept().await;
    first.send_bytes(b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\n\r\n<html>").await;
    drop(first);
    let mut second = server.accept().await;
    second.read_until(|line| line.is("USER")).await;
    second.send_bytes(b":irc.fake.test 001 footb").await;
    drop(second);
    let mut third = server.accept().await;
    let nick = third.welcome("CHANTYPES=# PREFIX=(ov)@+").await;
    third.read_until(|line| line.is("JOIN") && line.param(0) == TEA).await;
    third.send(&format!(":{nick}!~{nick}@host JOIN {TEA}")).await;
    third.send(&format!(":irc.fake.test 353 {nick} = {TEA} :@dora {nick}")).await;
    third.send(&format!(":irc.fake.test 366 {nick} {TEA} :End of /NAMES list.")).await;
    // A line may come in pieces, and several in one.
    third.send_bytes(b":dora!~dora@host PRIVMSG #t").await;
    third.send_bytes(b"ea :in pieces\r").await;
    third.send_bytes(b"\n:dora!~dora@host PRIVMSG #tea :and more\n:dora!~dora@host PRIVMSG #tea :at once\r\n").await;
    for text in ["in pieces", "and more", "at once"] {
        stage.alice.expect_message(&stage.room, |from| from == DORA, text).await;
    }
}
