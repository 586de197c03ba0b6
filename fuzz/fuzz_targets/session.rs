//! Any server and any wishes of Matrix users: whatever a session sends, it sends line by line, and nothing but what it was asked.
#![no_main]

use std::sync::Arc;

use arbitrary::Arbitrary;
use footbridge::{
    irc::{
        isupport::SharedIsupport,
        pool::protocol::{Limits, LinkSpec, NetworkSpec, SaslPlain, Sealed},
        session::{Input, Now, Output, Session},
        wire::Line,
    },
    model::{ChannelKey, CommandId, IrcAction, LinkId, ModeChange, ModeKind, Role, TextKind},
};
use libfuzzer_sys::fuzz_target;

/// What happens to the session.
#[derive(Debug, Arbitrary)]
enum Step<'a> {
    Line(&'a [u8]),
    Join(Vec<(&'a str, Option<&'a str>)>),
    Part(&'a str, Option<&'a str>),
    Observe(&'a str, Attention),
    Say(&'a str, Kind, Vec<&'a str>),
    Topic(&'a str, &'a str),
    Kick(&'a str, &'a str, Option<&'a str>),
    Modes(&'a str, Vec<(bool, char, Option<&'a str>)>),
    Invite(&'a str, &'a str),
    Nick(&'a str),
    /// The server says that we are in this channel, so that what waits for it is said.
    Joined(&'a str),
    Wait(u16),
    Disconnected(&'a str),
    Close(&'a str),
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Attention {
    Member,
    Standby,
    Observer,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Kind {
    Privmsg,
    Notice,
    Action,
}

#[derive(Debug, Arbitrary)]
struct Story<'a> {
    bot: bool,
    nick: &'a str,
    username: &'a str,
    realname: &'a str,
    password: Option<&'a str>,
    sasl: Option<(&'a str, &'a str)>,
    caps: u8,
    steps: Vec<Step<'a>>,
}

/// What a session may ever say.
const COMMANDS: &[&str] = &[
    "AUTHENTICATE",
    "CAP",
    "JOIN",
    "KICK",
    "MODE",
    "NAMES",
    "NICK",
    "NOTICE",
    "PART",
    "PASS",
    "PING",
    "PONG",
    "PRIVMSG",
    "QUIT",
    "TOPIC",
    "USER",
];

const CAPS: [&str; 8] = [
    "labeled-response",
    "batch",
    "echo-message",
    "sasl",
    "server-time",
    "multi-prefix",
    "extended-join",
    "userhost-in-names",
];

struct Play {
    session: Session,
    now: u64,
}

impl Play {
    fn clock(&self) -> Now {
        Now {
            monotonic: 1_000_000 + self.now,
            unix: 1_767_225_600_000 + i64::try_from(self.now).expect("a short while"),
        }
    }

    /// Does what a link does: looks at what is to be sent, dials when asked to, and pulls while there is anything.
    fn input(&mut self, input: Input<'_>) {
        let mut todo = Vec::new();
        self.session.step(input, self.clock(), &mut todo);
        // A server that refuses nicks for ever is answered for ever; here it has said only so much.
        for _ in 0..100_000 {
            let dial = todo.iter().any(|output| matches!(output, Output::Dial));
            for output in todo.drain(..) {
                if let Output::Line(wire) = output {
                    one_line(&wire);
                }
            }
            let (mut wire, mut starting) = (Vec::new(), Vec::new());
            if dial {
                self.session.step(Input::Connected, self.clock(), &mut todo);
            } else if self.session.pull(self.clock(), &mut wire, &mut starting) {
                one_line(&wire);
            } else if self.session.next_timer().is_some_and(|at| at <= self.clock().monotonic) {
                self.session.step(Input::Timer, self.clock(), &mut todo);
            } else {
                return;
            }
        }
        panic!("the session never comes to rest");
    }

    fn line(&mut self, line: impl AsRef<[u8]>) {
        let line = line.as_ref();
        // The codec frames lines, so none has an end in it.
        if !line.contains(&b'\n') {
            self.input(Input::Line(line));
        }
    }
}

fn one_line(wire: &[u8]) {
    let body = wire.strip_suffix(b"\r\n").expect("a line has its end");
    assert!(!body.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)), "{body:?}");
    let line = Line::parse(body).expect("what we send can be read");
    let command = std::str::from_utf8(line.command).expect("a command is ASCII");
    assert!(line.source.is_none() && COMMANDS.contains(&command), "{command} is nothing we say: {body:?}");
}

fn owned(text: Option<&str>) -> Option<String> {
    text.map(ToOwned::to_owned)
}

fuzz_target!(|input: Story<'_>| {
    let network: footbridge::model::NetworkId = "net".parse().expect("an id");
    let user = "@alice:example.org".try_into().expect("a Matrix id");
    let link = LinkSpec {
        link: if input.bot { LinkId::bot(network.clone()) } else { LinkId::puppet(network.clone(), user) },
        nick: input.nick.to_owned(),
        alternatives: vec!["alice_m".to_owned()],
        nick_end: String::new(),
        username: input.username.to_owned(),
        realname: input.realname.to_owned(),
        sasl: input.sasl.map(|(account, word)| SaslPlain { account: account.to_owned(), password: Sealed::new(word) }),
        channels: Vec::new(),
    };
    let network = NetworkSpec {
        network,
        servers: vec!["irc.example:6667".to_owned()],
        tls: None,
        encoding: "windows-1252".to_owned(),
        password: input.password.map(Sealed::new),
        limits: Limits { connects_per_minute: 0, line_burst: 0, lines_per_second: 0.0, queue: 0 },
    };
    let mut play =
        Play { session: Session::new(link, Arc::new(network), Arc::new(SharedIsupport::default()), 1), now: 0 };
    play.input(Input::Start);
    let caps: Vec<&str> =
        CAPS.iter().enumerate().filter(|(n, _)| input.caps >> n & 1 == 1).map(|(_, cap)| *cap).collect();
    let caps = caps.join(" ");
    for line in [
        &*format!(":s CAP * LS :{caps}"),
        &format!(":s CAP * ACK :{caps}"),
        ":s 903 * :ok",
        ":s 001 alice :Hi",
        ":s 376 alice :End",
    ] {
        play.line(line);
    }
    for (number, step) in input.steps.into_iter().enumerate() {
        let (expires, journal) = (play.clock().unix + 600_000, None);
        let action = match step {
            Step::Line(line) => {
                play.line(line);
                continue;
            }
            Step::Joined(channel) => {
                play.line(format!(":alice!a@h JOIN {channel}"));
                continue;
            }
            Step::Wait(seconds) => {
                play.now += u64::from(seconds) * 1000;
                play.input(Input::Timer);
                continue;
            }
            Step::Disconnected(reason) => {
                play.input(Input::Disconnected(reason));
                continue;
            }
            Step::Close(reason) => {
                play.input(Input::Close(reason));
                continue;
            }
            Step::Join(channels) => IrcAction::Join {
                channels: channels
                    .into_iter()
                    .map(|(name, key)| ChannelKey { name: name.to_owned(), key: owned(key) })
                    .collect(),
            },
            Step::Part(channel, reason) => IrcAction::Part { channel: channel.to_owned(), reason: owned(reason) },
            Step::Observe(channel, attention) => {
                let role = match attention {
                    Attention::Member => Role::Member,
                    Attention::Standby => Role::Standby,
                    Attention::Observer => Role::Observer,
                };
                IrcAction::Observe { channel: channel.to_owned(), role }
            }
            Step::Say(target, kind, lines) => {
                let kind = match kind {
                    Kind::Privmsg => TextKind::Privmsg,
                    Kind::Notice => TextKind::Notice,
                    Kind::Action => TextKind::Action,
                };
                let lines = lines.into_iter().map(ToOwned::to_owned).collect();
                IrcAction::Say { target: target.to_owned(), kind, lines, expires, journal }
            }
            Step::Topic(channel, topic) => {
                IrcAction::Topic { channel: channel.to_owned(), topic: topic.to_owned(), expires, journal }
            }
            Step::Kick(channel, nick, reason) => IrcAction::Kick {
                channel: channel.to_owned(),
                nick: nick.to_owned(),
                reason: owned(reason),
                expires,
                journal,
            },
            Step::Modes(channel, changes) => {
                let change = |(set, letter, arg)| ModeChange { set, letter, kind: ModeKind::List, arg: owned(arg) };
                let changes = changes.into_iter().map(change).collect();
                IrcAction::Modes { channel: channel.to_owned(), changes, expires, journal }
            }
            Step::Invite(channel, nick) => {
                IrcAction::Invite { channel: channel.to_owned(), nick: nick.to_owned(), expires, journal }
            }
            Step::Nick(nick) => IrcAction::Nick { nick: nick.to_owned() },
        };
        play.input(Input::Action(CommandId(u64::try_from(number).expect("few")), action));
    }
});
