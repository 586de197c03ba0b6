//! What a puppet in a big channel costs: nothing for each line that doesn't concern it (invariant 6), and little for
//! being there.

#![expect(clippy::unwrap_used, reason = "a test that can't go on may panic")]

use std::sync::Arc;

use footbridge::{
    irc::{
        codec::Framing,
        isupport::SharedIsupport,
        pool::protocol::{Limits, LinkSpec, NetworkSpec},
        session::{Input, Now, Output, Session},
    },
    model::{ChannelKey, LinkId},
};

const NOW: Now = Now { monotonic: 1_000, unix: 1_767_225_600_000 };

fn network() -> Arc<NetworkSpec> {
    Arc::new(NetworkSpec {
        network: "net".parse().unwrap(),
        servers: vec!["irc.example:6697".into()],
        tls: None,
        encoding: "windows-1252".into(),
        password: None,
        limits: Limits { connects_per_minute: 0, line_burst: 0, lines_per_second: 0.0, queue: 0 },
    })
}

fn spec() -> LinkSpec {
    let user = ruma::user_id!("@somebody:matrix.example.org").to_owned();
    LinkSpec {
        link: LinkId::puppet("net".parse().unwrap(), user),
        nick: "somebody[m]".into(),
        alternatives: vec!["somebody[m]1".into()],
        nick_end: String::new(),
        username: "somebody".into(),
        realname: "@somebody:matrix.example.org".into(),
        sasl: None,
        channels: vec![ChannelKey { name: "#footbridge".into(), key: None }],
    }
}

fn ready(network: &Arc<NetworkSpec>, isupports: &Arc<SharedIsupport>, out: &mut Vec<Output>) -> Session {
    let mut session = Session::new(spec(), Arc::clone(network), Arc::clone(isupports), 1);
    session.step(Input::Start, NOW, out);
    session.step(Input::Connected, NOW, out);
    for line in [
        ":irc.example CAP * LS :message-tags server-time account-tag echo-message batch labeled-response",
        ":irc.example CAP * ACK :message-tags server-time account-tag echo-message batch labeled-response",
        ":irc.example 001 somebody[m] :Welcome",
        ":irc.example 005 somebody[m] CASEMAPPING=rfc1459 CHANTYPES=# PREFIX=(ov)@+ STATUSMSG=@+ NETWORK=Example :ok",
        ":irc.example 376 somebody[m] :End",
        ":somebody[m]!~somebody@host.example JOIN #footbridge",
    ] {
        session.step(Input::Line(line.as_bytes()), NOW, out);
        while session.pull(NOW, &mut Vec::new(), &mut Vec::new()) {}
    }
    assert!(out.iter().any(|output| matches!(output, Output::State(footbridge::model::LinkState::Ready { .. }))));
    out.clear();
    session
}

const NOISE: &[&str] = &[
    "@time=2026-01-01T00:00:01.500Z;msgid=abcdef;account=bob :bob!~b@host.example PRIVMSG #footbridge :hello everybody",
    ":bob!~b@host.example PRIVMSG #footbridge :somebody[m]: you are mentioned, but your observer tells that",
    ":bob!~b@host.example PRIVMSG @#footbridge :ops only",
    ":bob!~b@host.example NOTICE #footbridge :noted",
    ":bob!~b@host.example PRIVMSG #footbridge :\x01ACTION waves\x01",
    "@+typing=active;time=2026-01-01T00:00:01.500Z :bob!~b@host.example TAGMSG #footbridge",
    ":carol!~c@host.example JOIN #footbridge",
    ":carol!~c@host.example JOIN #footbridge carol :Carol",
    ":carol!~c@host.example PART #footbridge :bye",
    ":carol!~c@host.example QUIT :Ping timeout",
    ":carol!~c@host.example NICK caroline",
    ":bob!~b@host.example KICK #footbridge carol :out",
    ":bob!~b@host.example MODE #footbridge +o-v bob carol",
    ":bob!~b@host.example TOPIC #footbridge :a new topic",
    ":carol!~c@host.example AWAY :gone",
    ":carol!~c@host.example ACCOUNT carol",
    ":carol!~c@host.example CHGHOST ~c new.host.example",
    ":irc.example 353 somebody[m] = #footbridge :@bob carol dave erin frank grace heidi",
    ":irc.example 366 somebody[m] #footbridge :End of /NAMES list.",
    ":irc.example 332 somebody[m] #footbridge :the topic",
    ":irc.example 333 somebody[m] #footbridge bob 1700000000",
];

#[test]
fn lines_that_do_not_concern_a_puppet_allocate_nothing() {
    let (network, isupports, mut out) = (network(), Arc::default(), Vec::new());
    let mut session = ready(&network, &isupports, &mut out);
    for line in &NOISE[..NOISE.len() - 1] {
        let allocated = allocation_counter::measure(|| {
            session.step(Input::Line(line.as_bytes()), NOW, &mut out);
            let _ = (session.next_timer(), session.has_pullable());
        });
        assert_eq!(allocated.count_total, 0, "{line}");
        assert!(out.is_empty(), "{line}: {out:?}");
    }
    // The measure itself works: a line that concerns the link does allocate.
    let private = b":bob!~b@host.example PRIVMSG somebody[m] :hello";
    let allocated = allocation_counter::measure(|| session.step(Input::Line(private), NOW, &mut out));
    assert!(allocated.count_total > 0);
    assert_eq!(out.len(), 1);
}

#[test]
fn whole_lines_pass_the_framing_without_allocating() {
    let mut framing = Framing::default();
    let chunk: Vec<u8> = NOISE.iter().flat_map(|line| [line.as_bytes(), b"\r\n"].concat()).collect();
    let mut lines = 0;
    let allocated = allocation_counter::measure(|| framing.feed(&chunk, |_| lines += 1));
    assert_eq!((allocated.count_total, lines), (0, NOISE.len()));
}

#[test]
fn a_quiet_puppet_in_a_channel_stays_small_however_big_the_channel() {
    let (network, isupports) = (network(), Arc::<SharedIsupport>::default());
    // Fills what all links share.
    let first = ready(&network, &isupports, &mut Vec::new());
    let mut kept = None;
    let allocated = allocation_counter::measure(|| {
        let mut session = ready(&network, &isupports, &mut Vec::new());
        let mut out = Vec::new();
        for n in 0..1_000 {
            let names = format!(":irc.example 353 somebody[m] = #footbridge :member{n} member{n}_ @member{n}__");
            session.step(Input::Line(names.as_bytes()), NOW, &mut out);
            let join = format!(":member{n}!u@h JOIN #footbridge");
            session.step(Input::Line(join.as_bytes()), NOW, &mut out);
        }
        kept = Some(Box::new(session));
    });
    println!("a quiet session holds {} bytes", allocated.bytes_current);
    assert!(allocated.bytes_current < 1_536, "{} bytes", allocated.bytes_current);
    drop((first, kept));
}
