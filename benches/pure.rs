//! The pure functions through which every message goes, one by one: `cargo bench --bench pure`.
//!
//! What is measured end to end is in `load.rs`; this tells which step has become slower.

use std::{hint::black_box, sync::Arc};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use footbridge::{
    irc::{
        codec::Framing,
        isupport::SharedIsupport,
        pool::protocol::{Limits, LinkSpec, NetworkSpec},
        session::{Input, Now, Output, Session},
        wire::Line,
    },
    model::{ChannelKey, CommandId, IrcAction, LinkId, MatrixKey, Role, TextKind},
    translate::{self, matrix_to_irc},
};
use serde_json::value::RawValue;

const NOW: Now = Now { monotonic: 1_000, unix: 1_767_225_600_000 };

/// What a puppet gets for every message of somebody else in its channel.
const FOREIGN: &str = "@time=2026-01-01T00:00:01.500Z;msgid=abcdef;account=bob :bob!~b@host.example PRIVMSG #footbridge :good \
                       morning everybody, has anyone seen the new release notes?";

const WORDS: &str =
    "Well, the long and the short of it is that nobody knows where the words of a long message are cut; ";

fn wire(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire");
    group.throughput(Throughput::Bytes(FOREIGN.len() as u64));
    group.bench_function("parse a PRIVMSG", |b| b.iter(|| Line::parse(black_box(FOREIGN.as_bytes()))));
    let chunk = format!("{FOREIGN}\r\n").repeat(64);
    group.throughput(Throughput::Bytes(chunk.len() as u64));
    group.bench_function("cut 64 lines out of a chunk", |b| {
        let mut framing = Framing::default();
        b.iter(|| {
            let mut length = 0;
            framing.feed(black_box(chunk.as_bytes()), |line| length += line.len());
            length
        });
    });
    group.finish();
}

/// A session in `#footbridge`, on a server with the usual capabilities.
fn session(network: &Arc<NetworkSpec>, observes: bool) -> Session {
    let user = ruma::user_id!("@somebody:matrix.example.org").to_owned();
    let spec = LinkSpec {
        link: LinkId::puppet("net".parse().expect("it is valid"), user),
        nick: "somebody[m]".into(),
        alternatives: Vec::new(),
        nick_end: String::new(),
        username: "somebody".into(),
        realname: "@somebody:matrix.example.org".into(),
        sasl: None,
        channels: vec![ChannelKey { name: "#footbridge".into(), key: None }],
    };
    let mut session = Session::new(spec, Arc::clone(network), Arc::new(SharedIsupport::default()), 1);
    let mut out = Vec::new();
    session.step(Input::Start, NOW, &mut out);
    session.step(Input::Connected, NOW, &mut out);
    for line in [
        ":irc.example CAP * LS :message-tags server-time account-tag echo-message batch labeled-response",
        ":irc.example CAP * ACK :message-tags server-time account-tag echo-message batch labeled-response",
        ":irc.example 001 somebody[m] :Welcome",
        ":irc.example 005 somebody[m] CASEMAPPING=rfc1459 CHANTYPES=# PREFIX=(ov)@+ STATUSMSG=@+ NETWORK=Example :ok",
        ":irc.example 376 somebody[m] :End",
        ":somebody[m]!~somebody@host.example JOIN #footbridge",
    ] {
        session.step(Input::Line(line.as_bytes()), NOW, &mut out);
        while session.pull(NOW, &mut Vec::new(), &mut Vec::new()) {}
    }
    if observes {
        let observe = IrcAction::Observe { channel: "#footbridge".into(), role: Role::Observer };
        session.step(Input::Action(CommandId(0), observe), NOW, &mut out);
        while session.pull(NOW, &mut Vec::new(), &mut Vec::new()) {}
    }
    session
}

fn sessions(c: &mut Criterion) {
    let network = Arc::new(NetworkSpec {
        network: "net".parse().expect("it is valid"),
        servers: vec!["irc.example:6697".into()],
        tls: None,
        encoding: "windows-1252".into(),
        password: None,
        limits: Limits { connects_per_minute: 0, line_burst: 0, lines_per_second: 0.0, queue: 0 },
    });
    let mut group = c.benchmark_group("session");
    let mut out: Vec<Output> = Vec::new();
    for (name, observes) in [("drops a line of no concern", false), ("tells an observed line", true)] {
        let mut session = session(&network, observes);
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                session.step(Input::Line(black_box(FOREIGN.as_bytes())), NOW, &mut out);
            });
        });
        assert_eq!(out.is_empty(), !observes, "the line is told if and only if the channel is observed");
    }
    let mut session = session(&network, false);
    let mut number = 0;
    group.bench_function("says a line and hears its echo", |b| {
        b.iter_batched(
            || {
                number += 1;
                let action = IrcAction::Say {
                    target: "#footbridge".into(),
                    kind: TextKind::Privmsg,
                    lines: vec!["good morning everybody, has anyone seen the new release notes?".into()],
                    expires: i64::MAX,
                    journal: Some(MatrixKey { txn: number, index: 0 }),
                };
                (CommandId(u64::try_from(number).expect("it counts up")), action)
            },
            |(command, action)| {
                out.clear();
                session.step(Input::Action(command, action), NOW, &mut out);
                let (mut line, mut keys) = (Vec::new(), Vec::new());
                while session.pull(NOW, &mut line, &mut keys) {}
                let mut echo = line;
                let end = echo.iter().position(|byte| *byte == b' ').map_or(0, |at| at + 1);
                echo.splice(end..end, *b":somebody[m]!~somebody@host.example ");
                echo.truncate(echo.len() - 2);
                session.step(Input::Line(&echo), NOW, &mut out);
            },
            BatchSize::SmallInput,
        );
    });
    assert!(matches!(out.as_slice(), [Output::Fate(..)]), "the echo is the receipt: {out:?}");
    group.finish();
}

fn texts(c: &mut Criterion) {
    let mut group = c.benchmark_group("translate");
    let long = WORDS.repeat(20);
    group.bench_function("split 2 KB into lines", |b| b.iter(|| translate::split(black_box(&long), 400).count()));
    group.bench_function("plain text has no HTML", |b| b.iter(|| translate::to_html(black_box(WORDS))));
    let styled =
        "\x02bold\x02 and \x0304,01red on black\x03 and \x1ditalic \x1funderlined\x0f and plain again ".repeat(3);
    group.bench_function("control codes to HTML", |b| b.iter(|| translate::to_html(black_box(&styled))));
    for (name, content) in [
        ("content of a short message to lines", serde_json::json!({ "msgtype": "m.text", "body": WORDS })),
        (
            "content of a message of ten lines to lines",
            serde_json::json!({
                "msgtype": "m.text", "body": format!("{WORDS}\n").repeat(10), "format": "org.matrix.custom.html",
                "formatted_body": format!("<b>{WORDS}</b><br>").repeat(10), "m.mentions": {},
            }),
        ),
    ] {
        let content = RawValue::from_string(content.to_string()).expect("a JSON value is JSON");
        group.bench_function(name, |b| b.iter(|| matrix_to_irc::message(black_box(&content), 50)));
    }
    group.finish();
}

criterion_group!(benches, wire, sessions, texts);
criterion_main!(benches);
