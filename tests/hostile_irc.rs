//! Servers, users and networks that do what they shouldn't: nothing panics, nothing illegal goes out, nothing that
//! was asked for is left without exactly one answer.

#![expect(clippy::unwrap_used, reason = "a test that can't go on may panic")]

#[path = "transcripts/harness.rs"]
mod harness;

use footbridge::{
    irc::session::Input,
    model::{ChannelKey, CommandId, IrcAction, Role, TextKind},
};
use harness::Play;
use proptest::prelude::*;

/// Something that happens to a session.
#[derive(Debug, Clone)]
enum Happening {
    Line(Vec<u8>),
    Connected,
    Disconnected,
    Wait(u64),
    Say { target: String, kind: u8, text: String, wait: u16 },
    Topic(String, String),
    Kick(String, String, String),
    Join(String, Option<String>),
    Part(String, String),
    Observe(String, Role),
    Nick(String),
    Start,
    Close,
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["#a", "#b", "#A", "alice", "bob", "alice_m", "@#a", "*", "", "+o", "fb1", "fb2", "1"]).prop_map(Into::into),
        1 => "[^ \r\n\0]{0,12}",
        1 => any::<String>(),
    ]
}

fn role() -> impl Strategy<Value = Role> {
    prop::sample::select(vec![Role::Member, Role::Standby, Role::Observer])
}

fn numeric() -> impl Strategy<Value = String> {
    let known = vec![
        1, 4, 5, 311, 331, 332, 333, 353, 366, 376, 396, 401, 403, 404, 405, 407, 411, 412, 415, 421, 422, 432, 433,
        435, 436, 437, 438, 439, 441, 442, 443, 464, 465, 466, 470, 471, 473, 474, 475, 476, 477, 480, 482, 486, 489,
        500, 531, 707, 716, 900, 902, 903, 904, 905, 906, 907, 908,
    ];
    prop_oneof![prop::sample::select(known), 0_u16..1000].prop_map(|n| format!("{n:03}"))
}

fn command() -> impl Strategy<Value = String> {
    let known = vec![
        "PING",
        "PONG",
        "PRIVMSG",
        "NOTICE",
        "JOIN",
        "PART",
        "QUIT",
        "NICK",
        "KICK",
        "TOPIC",
        "MODE",
        "INVITE",
        "CAP",
        "AUTHENTICATE",
        "BATCH",
        "FAIL",
        "ACK",
        "KILL",
        "CHGHOST",
        "TAGMSG",
    ];
    prop_oneof![6 => prop::sample::select(known).prop_map(Into::into), 6 => numeric(), 1 => Just("ERROR".to_owned())]
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let tags =
        prop::option::of(prop::sample::select(vec!["label=0", "label=1", "batch=x", "msgid=1;time=x", "label", ";=;"]));
    let source = prop::option::of(prop::sample::select(vec![
        "irc.example",
        "alice!a@h",
        "bob!b@h",
        "alice",
        "!@",
        "alice_m!a@h",
        "",
    ]));
    let shaped =
        (tags, source, command(), prop::collection::vec(word(), 0..5)).prop_map(|(tags, source, command, words)| {
            let tags = tags.map(|tags| format!("@{tags} ")).unwrap_or_default();
            let source = source.map(|source| format!(":{source} ")).unwrap_or_default();
            format!("{tags}{source}{command} {}", words.join(" ")).into_bytes()
        });
    let greeting = prop::sample::select(vec![
        ":irc.example CAP * LS :echo-message batch labeled-response message-tags sasl",
        ":irc.example CAP * ACK :echo-message batch labeled-response message-tags",
        ":irc.example 001 alice :Welcome",
        ":irc.example 005 alice CASEMAPPING=ascii NICKLEN=9 CHANTYPES=#& STATUSMSG=@+ :ok",
        ":irc.example 376 alice :End",
        ":alice!a@h JOIN #a",
        ":alice!a@h JOIN #b",
        ":irc.example PONG irc.example :fb1",
        "@label=0 :alice!a@h PRIVMSG #a :x",
        ":alice!a@h PRIVMSG #a :x",
    ]);
    prop_oneof![
        5 => shaped,
        5 => greeting.prop_map(|line| line.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..80),
    ]
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        12 => line().prop_map(Happening::Line),
        2 => Just(Happening::Connected),
        1 => Just(Happening::Disconnected),
        1 => Just(Happening::Start),
        1 => Just(Happening::Close),
        2 => prop_oneof![0_u64..3_000, 0_u64..400_000].prop_map(Happening::Wait),
        4 => (word(), 0_u8..3, any::<String>(), any::<u16>())
            .prop_map(|(target, kind, text, wait)| Happening::Say { target, kind, text, wait }),
        1 => (word(), any::<String>()).prop_map(|(channel, topic)| Happening::Topic(channel, topic)),
        1 => (word(), word(), any::<String>()).prop_map(|(channel, nick, reason)| Happening::Kick(channel, nick, reason)),
        1 => (word(), prop::option::of(word())).prop_map(|(channel, key)| Happening::Join(channel, key)),
        1 => (word(), any::<String>()).prop_map(|(channel, reason)| Happening::Part(channel, reason)),
        1 => (word(), role()).prop_map(|(channel, role)| Happening::Observe(channel, role)),
        1 => word().prop_map(Happening::Nick),
    ]
}

fn happen(play: &mut Play, happening: Happening, asked: &mut u64) {
    const UNIX: i64 = 1_767_225_600_000;
    let now = UNIX + i64::try_from(play.now).unwrap();
    let mut next = || {
        *asked += 1;
        CommandId(*asked)
    };
    let none = CommandId(0);
    let (id, action) = match happening {
        Happening::Line(line) => return play.input(Input::Line(&line)),
        Happening::Connected => return play.input(Input::Connected),
        Happening::Disconnected => return play.input(Input::Disconnected("cut")),
        Happening::Start => return play.input(Input::Start),
        Happening::Close => return play.input(Input::Close("bye")),
        Happening::Wait(millis) => return play.wait(millis),
        Happening::Say { target, kind, text, wait } => {
            let kind = [TextKind::Privmsg, TextKind::Notice, TextKind::Action][usize::from(kind)];
            let lines = text.split('a').map(Into::into).collect();
            (next(), IrcAction::Say { target, kind, lines, expires: now + i64::from(wait) * 10, journal: None })
        }
        Happening::Topic(channel, topic) => {
            (next(), IrcAction::Topic { channel, topic, expires: now + 60_000, journal: None })
        }
        Happening::Kick(channel, nick, reason) => {
            let reason = Some(reason);
            (next(), IrcAction::Kick { channel, nick, reason, expires: now + 60_000, journal: None })
        }
        Happening::Join(name, key) => (none, IrcAction::Join { channels: vec![ChannelKey { name, key }] }),
        Happening::Part(channel, reason) => (none, IrcAction::Part { channel, reason: Some(reason) }),
        Happening::Observe(channel, role) => (none, IrcAction::Observe { channel, role }),
        Happening::Nick(nick) => (none, IrcAction::Nick { nick }),
    };
    play.input(Input::Action(id, action));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every line out is checked by the harness (R104), as is that the session comes to rest.
    #[test]
    fn every_command_has_one_fate_whatever_happens(
        server in 0_usize..4,
        stops in any::<bool>(),
        happenings in prop::collection::vec(happening(), 0..60),
    ) {
        let mut play = Play::new("channels=#a");
        let mut asked = 0;
        let servers = ["caps=", "caps=echo-message", "caps=echo-message,batch,labeled-response,message-tags"];
        if let Some(caps) = servers.get(server) {
            play.directive(&format!("ready {caps}"));
            play.input(Input::Line(b":alice!a@h JOIN #a"));
        } else {
            play.input(Input::Start);
            play.input(Input::Connected);
        }
        for happening in happenings {
            happen(&mut play, happening, &mut asked);
        }
        // Either at once, or when all is said or too old.
        if stops {
            play.input(Input::Stop("bye"));
            play.wait(5_000);
        } else {
            play.input(Input::Close("bye"));
            play.wait(700_000);
        }
        let said = play.take_said();
        let mut fates: Vec<u64> = said
            .lines()
            .filter_map(|line| line.strip_prefix("fate: ")?.split(' ').next()?.parse().ok())
            .collect();
        fates.sort_unstable();
        prop_assert_eq!(fates, (1..=asked).collect::<Vec<_>>(), "{}", said);
        prop_assert_eq!(play.session.next_timer(), None);
        prop_assert!(!play.session.has_pullable());
    }
}
