//! Every form that crosses the pool's seam, as it is stored and sent. A change here means: either the forms stay
//! readable for what wrote them before, or `PROTOCOL_VERSION` grows.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::{collections::BTreeSet, fmt::Debug, sync::Arc};

use footbridge::{
    irc::pool::protocol::{
        Cursors, Limits, LinkSpec, NetworkSpec, PROTOCOL_VERSION, PoolEvent, PoolEventBody, SaslPlain, Sealed, TlsSpec,
    },
    model::{
        ChannelKey, CommandId, Epoch, Failure, Fate, IrcAction, IrcEvent, IrcKey, Isupport, LinkId, LinkState,
        MatrixKey, ModeChange, ModeKind, Profile, Reason, Role, RosterMember, Source, TextKind, TextTarget,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// `value` is written as `form`, and read from it.
#[track_caller]
fn is<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, form: &Value) {
    let written = serde_json::to_value(value).unwrap();
    assert_eq!(written, *form, "written as:\n{written:#}");
    assert_eq!(*value, serde_json::from_value::<T>(written).unwrap());
}

/// An enum whose every variant must have a form here.
trait Variants: Serialize + DeserializeOwned + PartialEq + Debug {
    const NAMES: &'static [&'static str];
    fn name(&self) -> &'static str;
}

/// [`is`] for each variant.
#[track_caller]
fn all<T: Variants>(forms: &[(T, Value)]) {
    let seen: BTreeSet<&str> = forms.iter().map(|(value, _)| value.name()).collect();
    assert_eq!(seen, T::NAMES.iter().copied().collect(), "some variants have no form here");
    for (value, form) in forms {
        is(value, form);
    }
}

/// Names the variants of an enum by a `match` without a wildcard: a new one doesn't compile until it is named.
macro_rules! variants {
    ($type:ident: $($variant:ident)+) => {
        impl Variants for $type {
            const NAMES: &'static [&'static str] = &[$(stringify!($variant)),+];
            fn name(&self) -> &'static str {
                match self { $($type::$variant { .. } => stringify!($variant)),+ }
            }
        }
    };
}

variants!(IrcAction: Join Part Observe Say Topic Kick Nick AskNames AskWhois);
variants!(IrcEvent: Text Joined Parted Kicked Quit Renamed Topic Roster Modes Settings List Accounts Account Rehosted Recalls Names Whois Invited OwnJoined OwnParted OwnKicked
    JoinRefused OwnMask OwnNick);
variants!(LinkState: Waiting Connecting Ready Refused Closed);
variants!(PoolEventBody: Irc State Fate);
variants!(Fate: Delivered Failed);
variants!(TextKind: Privmsg Notice Action);
variants!(Reason: CannotSend NoSuchNick NotThere NoSuchChannel Banned InviteOnly BadKey ChannelFull NeedsAccount
    TooManyChannels Forwarded Refused TooFast NotJoined LinkRefused LinkLost Unreachable TooOld QueueFull TooLong
    PuppetLimit Unsupported Encrypted BadName Interrupted NotBridged BotOut);

fn link() -> LinkId {
    LinkId::puppet("libera".parse().unwrap(), "@alice:example.org".try_into().unwrap())
}

fn bob() -> Source {
    Source { nick: "bob".into(), user: Some("~b".into()), host: None }
}

fn op() -> ModeChange {
    ModeChange { set: true, letter: 'o', kind: ModeKind::Membership, arg: Some("bob".into()) }
}

fn op_form() -> Value {
    json!({"set": true, "letter": "o", "kind": "membership", "arg": "bob"})
}

fn bob_form() -> Value {
    json!({"nick": "bob", "user": "~b", "host": null})
}

fn channel() -> String {
    "#a".to_owned()
}

#[test]
fn the_version_is_the_one_these_forms_belong_to() {
    assert_eq!(PROTOCOL_VERSION, 1);
}

#[test]
fn networks() {
    is(
        &NetworkSpec {
            network: "libera".parse().unwrap(),
            servers: vec!["irc.libera.chat:6697".into()],
            tls: Some(TlsSpec { ca_pem: Some("PEM".into()) }),
            encoding: "windows-1252".into(),
            password: Some(Sealed::new("hunter2")),
            limits: Limits { connects_per_minute: 4, line_burst: 4, lines_per_second: 0.5, queue: 50 },
        },
        &json!({
            "network": "libera", "servers": ["irc.libera.chat:6697"], "tls": {"ca_pem": "PEM"},
            "encoding": "windows-1252", "password": "hunter2",
            "limits": {"connects_per_minute": 4, "line_burst": 4, "lines_per_second": 0.5, "queue": 50},
        }),
    );
    is(&TlsSpec::default(), &json!({"ca_pem": null}));
}

#[test]
fn links() {
    is(
        &LinkSpec {
            link: link(),
            nick: "alice[m]".into(),
            alternatives: vec!["alice[m]1".into()],
            nick_end: "[m]".into(),
            username: "alice".into(),
            realname: "@alice:example.org".into(),
            sasl: Some(SaslPlain { account: "alice".into(), password: Sealed::new("hunter2") }),
            channels: vec![ChannelKey { name: channel(), key: Some("k".into()) }],
        },
        &json!({
            "link": ["libera", {"puppet": "@alice:example.org"}], "nick": "alice[m]",
            "nick_end": "[m]", "alternatives": ["alice[m]1"],
            "username": "alice", "realname": "@alice:example.org",
            "sasl": {"account": "alice", "password": "hunter2"}, "channels": [{"name": "#a", "key": "k"}],
        }),
    );
    is(&LinkId::bot("libera".parse().unwrap()), &json!(["libera", "bot"]));
}

#[test]
fn r26_secrets_are_written_and_not_shown() {
    let spec = SaslPlain { account: "alice".into(), password: Sealed::new("hunter2") };
    assert!(!format!("{spec:?}").contains("hunter2"));
}

#[test]
fn cursors() {
    let key = IrcKey { epoch: Epoch(7 << 32), seq: 5 };
    is(
        &Cursors { links: vec![(link(), key)], first_epoch: Epoch(8 << 32) },
        &json!({
            "links": [[["libera", {"puppet": "@alice:example.org"}], {"epoch": 30_064_771_072_u64, "seq": 5}]],
            "first_epoch": 34_359_738_368_u64,
        }),
    );
}

#[test]
fn events_of_the_pool() {
    let bodies = [
        (PoolEventBody::Irc(IrcEvent::OwnNick { nick: "a".into() }), json!({"irc": {"own_nick": {"nick": "a"}}})),
        (PoolEventBody::State(LinkState::Closed), json!({"state": "closed"})),
        (
            PoolEventBody::Fate { command: CommandId(9), fate: Fate::Delivered { msgid: None } },
            json!({"fate": {"command": 9, "fate": {"delivered": {"msgid": null}}}}),
        ),
    ];
    all(&bodies);
    for (body, form) in bodies {
        let link_form = json!(["libera", {"puppet": "@alice:example.org"}]);
        is(
            &PoolEvent { link: link(), key: IrcKey { epoch: Epoch(1), seq: 2 }, at: 3, body },
            &json!({"link": link_form, "key": {"epoch": 1, "seq": 2}, "at": 3, "body": form}),
        );
    }
}

#[test]
fn fates() {
    let failed = Failure::uncertain(Reason::LinkLost).with_detail("cut").with_words("gone");
    all(&[
        (Fate::Delivered { msgid: Some("m".into()) }, json!({"delivered": {"msgid": "m"}})),
        (
            Fate::Failed(failed),
            json!({"failed": {"reason": "link_lost", "certain": false, "detail": "cut", "words": "gone"}}),
        ),
    ]);
}

#[test]
fn reasons() {
    let forms = [
        (Reason::CannotSend, "cannot_send"),
        (Reason::NoSuchNick, "no_such_nick"),
        (Reason::NotThere, "not_there"),
        (Reason::NoSuchChannel, "no_such_channel"),
        (Reason::Banned, "banned"),
        (Reason::InviteOnly, "invite_only"),
        (Reason::BadKey, "bad_key"),
        (Reason::ChannelFull, "channel_full"),
        (Reason::NeedsAccount, "needs_account"),
        (Reason::TooManyChannels, "too_many_channels"),
        (Reason::Forwarded, "forwarded"),
        (Reason::Refused, "refused"),
        (Reason::TooFast, "too_fast"),
        (Reason::NotJoined, "not_joined"),
        (Reason::LinkRefused, "link_refused"),
        (Reason::LinkLost, "link_lost"),
        (Reason::Unreachable, "unreachable"),
        (Reason::TooOld, "too_old"),
        (Reason::QueueFull, "queue_full"),
        (Reason::TooLong, "too_long"),
        (Reason::PuppetLimit, "puppet_limit"),
        (Reason::Unsupported, "unsupported"),
        (Reason::Encrypted, "encrypted"),
        (Reason::BadName, "bad_name"),
        (Reason::Interrupted, "interrupted"),
        (Reason::NotBridged, "not_bridged"),
        (Reason::BotOut, "bot_out"),
    ];
    all(&forms.map(|(reason, form)| (reason, json!(form))));
}

#[test]
fn states() {
    let failure = Failure::certain(Reason::LinkRefused).with_detail("banned");
    let failure_form = json!({"reason": "link_refused", "certain": true, "detail": "banned"});
    let isupport = json!({
        "casemapping": "rfc1459", "chantypes": "#&", "prefix": [["o", "@"], ["v", "+"]],
        "chanmodes": ["b", "k", "l", "imnpst"], "statusmsg": "", "nicklen": null, "userlen": null, "namelen": null,
        "channellen": 200, "topiclen": 390, "kicklen": 250, "linelen": 512, "modes": 3, "max_join_targets": null,
        "whox": false, "network": null, "bot_mode": null, "utf8only": false,
    });
    all(&[
        (LinkState::Waiting { until: 5, failure: None }, json!({"waiting": {"until": 5, "failure": null}})),
        (
            LinkState::Waiting { until: 5, failure: Some(failure.clone()) },
            json!({"waiting": {"until": 5, "failure": failure_form}}),
        ),
        (LinkState::Connecting { server: "a:1".into() }, json!({"connecting": {"server": "a:1"}})),
        (
            LinkState::Ready { nick: "a".into(), isupport: Arc::new(Isupport::default()) },
            json!({"ready": {"nick": "a", "isupport": isupport}}),
        ),
        (LinkState::Refused { failure }, json!({"refused": {"failure": failure_form}})),
        (LinkState::Closed, json!("closed")),
    ]);
}

#[test]
fn actions() {
    let journal = Some(MatrixKey { txn: 3, index: 1 });
    let journal_form = json!({"txn": 3, "index": 1});
    all(&[
        (
            IrcAction::Join { channels: vec![ChannelKey { name: channel(), key: None }] },
            json!({"join": {"channels": [{"name": "#a", "key": null}]}}),
        ),
        (
            IrcAction::Part { channel: channel(), reason: Some("bye".into()) },
            json!({"part": {"channel": "#a", "reason": "bye"}}),
        ),
        (
            IrcAction::Observe { channel: channel(), role: Role::Standby },
            json!({"observe": {"channel": "#a", "role": "standby"}}),
        ),
        (
            IrcAction::Say { target: channel(), kind: TextKind::Action, lines: vec!["x".into()], expires: 9, journal },
            json!({"say": {"target": "#a", "kind": "action", "lines": ["x"], "expires": 9, "journal": journal_form}}),
        ),
        (
            IrcAction::Topic { channel: channel(), topic: "t".into(), expires: 9, journal: None },
            json!({"topic": {"channel": "#a", "topic": "t", "expires": 9, "journal": null}}),
        ),
        (
            IrcAction::Kick { channel: channel(), nick: "bob".into(), reason: None, expires: 9, journal },
            json!({"kick": {"channel": "#a", "nick": "bob", "reason": null, "expires": 9, "journal": journal_form}}),
        ),
        (IrcAction::Nick { nick: "a".into() }, json!({"nick": {"nick": "a"}})),
        (IrcAction::AskNames { channel: channel() }, json!({"ask_names": {"channel": "#a"}})),
        (IrcAction::AskWhois { nick: "bob".into() }, json!({"ask_whois": {"nick": "bob"}})),
    ]);
}

#[test]
fn text() {
    all(&[
        (TextKind::Privmsg, json!("privmsg")),
        (TextKind::Notice, json!("notice")),
        (TextKind::Action, json!("action")),
    ]);
    is(&TextTarget::Own, &json!("own"));
    is(&TextTarget::Channel { name: channel(), status: Some('@') }, &json!({"channel": {"name": "#a", "status": "@"}}));
}

#[test]
fn events_of_irc() {
    let member = RosterMember { source: bob(), prefixes: "@+".into(), account: None };
    all(&[
        (
            IrcEvent::Text {
                source: bob(),
                target: TextTarget::Own,
                kind: TextKind::Privmsg,
                text: "x".into(),
                msgid: Some("m".into()),
                account: Some("bob".into()),
            },
            json!({"text": {
                "source": bob_form(), "target": "own", "kind": "privmsg", "text": "x", "msgid": "m", "account": "bob",
            }}),
        ),
        (
            IrcEvent::Joined { channel: channel(), source: bob(), account: None },
            json!({"joined": {"channel": "#a", "source": bob_form(), "account": null}}),
        ),
        (
            IrcEvent::Parted { channel: channel(), source: bob(), reason: None },
            json!({"parted": {"channel": "#a", "source": bob_form(), "reason": null}}),
        ),
        (
            IrcEvent::Kicked { channel: channel(), source: bob(), nick: "eve".into(), reason: Some("r".into()) },
            json!({"kicked": {"channel": "#a", "source": bob_form(), "nick": "eve", "reason": "r"}}),
        ),
        (IrcEvent::Quit { source: bob(), reason: None }, json!({"quit": {"source": bob_form(), "reason": null}})),
        (
            IrcEvent::Renamed { source: bob(), nick: "rob".into() },
            json!({"renamed": {"source": bob_form(), "nick": "rob"}}),
        ),
        (
            IrcEvent::Topic { channel: channel(), source: None, topic: "t".into() },
            json!({"topic": {"channel": "#a", "source": null, "topic": "t"}}),
        ),
        (
            IrcEvent::Roster { channel: channel(), members: vec![member] },
            json!({"roster": {
                "channel": "#a", "members": [{"source": bob_form(), "prefixes": "@+", "account": null}],
            }}),
        ),
        (
            IrcEvent::Modes { channel: channel(), source: bob(), changes: vec![op()] },
            json!({"modes": {"channel": "#a", "source": bob_form(), "changes": [op_form()]}}),
        ),
        (
            IrcEvent::Settings { channel: channel(), modes: vec![op()] },
            json!({"settings": {"channel": "#a", "modes": [op_form()]}}),
        ),
        (
            IrcEvent::List { channel: channel(), letter: 'b', masks: vec!["*!*@h".into()] },
            json!({"list": {"channel": "#a", "letter": "b", "masks": ["*!*@h"]}}),
        ),
        (
            IrcEvent::Accounts {
                channel: channel(),
                accounts: vec![("bob".into(), Some("b".into())), ("eve".into(), None)],
            },
            json!({"accounts": {"channel": "#a", "accounts": [["bob", "b"], ["eve", null]]}}),
        ),
        (
            IrcEvent::Account { source: bob(), account: None },
            json!({"account": {"source": bob_form(), "account": null}}),
        ),
        (
            IrcEvent::Rehosted { source: bob(), user: "u".into(), host: "h2".into() },
            json!({"rehosted": {"source": bob_form(), "user": "u", "host": "h2"}}),
        ),
        (
            IrcEvent::Recalls { channel: channel(), since: 1_700_000_000_000 },
            json!({"recalls": {"channel": "#a", "since": 1_700_000_000_000_i64}}),
        ),
        (
            IrcEvent::Names { channel: channel(), members: Vec::new() },
            json!({"names": {"channel": "#a", "members": []}}),
        ),
        (
            IrcEvent::Whois {
                nick: "bob".into(),
                profile: Some(Profile { account: None, channels: vec![("@".into(), channel())] }),
            },
            json!({"whois": {"nick": "bob", "profile": {"account": null, "channels": [["@", "#a"]]}}}),
        ),
        (
            IrcEvent::Invited { source: bob(), channel: channel() },
            json!({"invited": {"source": bob_form(), "channel": "#a"}}),
        ),
        (IrcEvent::OwnJoined { channel: channel() }, json!({"own_joined": {"channel": "#a"}})),
        (IrcEvent::OwnParted { channel: channel() }, json!({"own_parted": {"channel": "#a"}})),
        (
            IrcEvent::OwnKicked { channel: channel(), source: bob(), reason: None },
            json!({"own_kicked": {"channel": "#a", "source": bob_form(), "reason": null}}),
        ),
        (
            IrcEvent::JoinRefused { channel: channel(), failure: Failure::certain(Reason::Banned) },
            json!({"join_refused": {
                "channel": "#a", "failure": {"reason": "banned", "certain": true, "detail": null},
            }}),
        ),
        (IrcEvent::OwnMask { user: "~a".into(), host: "h".into() }, json!({"own_mask": {"user": "~a", "host": "h"}})),
        (IrcEvent::OwnNick { nick: "a".into() }, json!({"own_nick": {"nick": "a"}})),
    ]);
}
