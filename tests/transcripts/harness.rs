//! Plays a transcript: a session on one side, a server that does what the script says on the other, time that moves
//! when the script says so.

#![expect(clippy::unwrap_used, reason = "a test that can't go on may panic")]

use std::{fmt::Write as _, sync::Arc};

use footbridge::{
    irc::{
        isupport::{self, SharedIsupport},
        pool::protocol::{Limits, LinkSpec, NetworkSpec, SaslPlain, Sealed},
        session::{Input, Now, Output, Session},
        wire::Line,
    },
    model::{
        Arrived, ChannelKey, CommandId, Failure, Fate, IrcAction, IrcEvent, Isupport, LinkId, LinkState, MatrixKey,
        ModeChange, Reason, Role, Source, TextKind, TextTarget,
    },
};

/// The epoch at which every transcript begins: 2026-01-01T00:00:00Z, and a monotonic clock that means nothing.
const UNIX: i64 = 1_767_225_600_000;
const MONOTONIC: u64 = 1_000_000;

/// How a session is made.
pub(crate) fn specs(words: &str) -> (LinkSpec, NetworkSpec) {
    let network = "net".parse().unwrap();
    let user = ruma::user_id!("@alice:example.org").to_owned();
    let mut link = LinkSpec {
        link: LinkId::puppet(network, user),
        nick: "alice".into(),
        alternatives: vec!["alice_m".into()],
        nick_end: String::new(),
        username: "alice".into(),
        realname: "@alice:example.org".into(),
        sasl: None,
        channels: Vec::new(),
    };
    let mut network = NetworkSpec {
        network: link.link.network().clone(),
        servers: vec!["one.example:6667".into(), "two.example:6667".into()],
        tls: None,
        encoding: "windows-1252".into(),
        password: None,
        limits: Limits { connects_per_minute: 0, line_burst: 0, lines_per_second: 0.0, queue: 0 },
    };
    for word in words.split_whitespace() {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        match key {
            "bot" => link.link = LinkId::bot(network.network.clone()),
            "nick" => link.nick = value.into(),
            "alternatives" => link.alternatives = list(value),
            "end" => link.nick_end = value.into(),
            "username" => link.username = value.into(),
            "sasl" => {
                let (account, password) = value.split_once(':').unwrap();
                link.sasl = Some(SaslPlain { account: account.into(), password: Sealed::new(password) });
            }
            "channels" => link.channels = list(value).iter().map(|name| channel(name)).collect(),
            "queue" => network.limits.queue = value.parse().unwrap(),
            "known" | "masks" => {} // See `Play::new`.
            "password" => network.password = Some(Sealed::new(value)),
            _ => panic!("`{key}` is no key of `with:`"),
        }
    }
    (link, network)
}

fn list(value: &str) -> Vec<String> {
    value.split(',').filter(|item| !item.is_empty()).map(Into::into).collect()
}

/// `#channel` or `#channel:key`.
fn channel(word: &str) -> ChannelKey {
    let (name, key) = word.split_once(':').map_or((word, None), |(name, key)| (name, Some(key.to_owned())));
    ChannelKey { name: name.into(), key }
}

/// A session, its clock, and what came of it.
pub(crate) struct Play {
    pub(crate) session: Session,
    pub(crate) now: u64,
    said: String,
    held: bool,
    /// Whether it is written down how others see the link, which every JOIN tells.
    masks: bool,
}

impl Play {
    pub(crate) fn new(with: &str) -> Self {
        let (link, network) = specs(with);
        let isupports = SharedIsupport::default();
        if let Some(tokens) = with.split_whitespace().find_map(|word| word.strip_prefix("known=")) {
            let mut known = Isupport::default();
            isupport::apply(&mut known, tokens.split(';'));
            let _ = isupports.share(known);
        }
        let masks = with.split_whitespace().any(|word| word == "masks");
        let session = Session::new(link, Arc::new(network), Arc::new(isupports), 1);
        Self { session, now: 0, said: String::new(), held: false, masks }
    }

    fn clock(&self) -> Now {
        Now { monotonic: MONOTONIC + self.now, unix: UNIX + i64::try_from(self.now).unwrap() }
    }

    /// Gives an input, then does what a link would: pulls while there is anything, and serves timers that are due.
    pub(crate) fn input(&mut self, input: Input<'_>) {
        let mut out = Vec::new();
        self.session.step(input, self.clock(), &mut out);
        self.tell(out);
        self.settle();
    }

    fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut idle = self.held || !self.pull();
            while self.session.next_timer().is_some_and(|at| at <= MONOTONIC + self.now) {
                let before = self.session.next_timer();
                let mut out = Vec::new();
                self.session.step(Input::Timer, self.clock(), &mut out);
                self.tell(out);
                assert!(
                    self.session.next_timer() != before || self.session.has_pullable(),
                    "a timer that is due stays due: the link would spin"
                );
                idle = false;
                if self.session.has_pullable() {
                    break;
                }
            }
            if idle || (self.held && self.session.next_timer().is_none_or(|at| at > MONOTONIC + self.now)) {
                return;
            }
        }
        panic!("the session never comes to rest");
    }

    pub(crate) fn pull(&mut self) -> bool {
        let (mut wire, mut starting) = (Vec::new(), Vec::new());
        let claimed = self.session.has_pullable();
        let pulled = self.session.pull(self.clock(), &mut wire, &mut starting);
        assert_eq!(pulled, !wire.is_empty(), "pull says what it did");
        assert!(claimed || !pulled, "has_pullable denied what pull gave");
        for MatrixKey { txn, index } in starting {
            let _ = writeln!(self.said, "starting: {txn}/{index}");
        }
        if pulled {
            self.tell(vec![Output::Line(wire)]);
        }
        pulled
    }

    /// Lets time pass, serving each timer when it is due.
    pub(crate) fn wait(&mut self, millis: u64) {
        let end = self.now + millis;
        while let Some(at) = self.session.next_timer().map(|at| at.saturating_sub(MONOTONIC)).filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.input(Input::Timer);
        }
        self.now = end;
        self.settle();
    }

    pub(crate) fn take_said(&mut self) -> String {
        std::mem::take(&mut self.said)
    }

    fn tell(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            let line = match output {
                Output::Line(wire) => format!("C: {}", legal(&wire)),
                Output::Dial => format!("dial: {}", self.session.server()),
                Output::Hangup => "hangup".to_owned(),
                Output::Event(IrcEvent::OwnMask { .. }, _) if !self.masks => continue,
                Output::Throttled => "throttled".to_owned(),
                Output::Event(event, at) => {
                    let at = at.map(|at| format!(" at={at}")).unwrap_or_default();
                    format!("event: {}{at}", event_words(&event))
                }
                Output::State(state) => format!("state: {}", self.state_words(&state)),
                Output::Fate(CommandId(id), fate) => format!("fate: {id} {}", fate_words(&fate)),
            };
            let _ = writeln!(self.said, "{}", line.trim_end());
        }
    }

    fn state_words(&self, state: &LinkState) -> String {
        match state {
            LinkState::Waiting { until, failure } => {
                let wait = until - self.clock().unix;
                format!("waiting {wait} ms {}", failure.as_ref().map(failure_words).unwrap_or_default())
            }
            LinkState::Connecting { server } => format!("connecting {server}"),
            LinkState::Ready { nick, isupport } => {
                format!(
                    "ready as {nick} {:?} NICKLEN {:?} NAMELEN {:?}",
                    isupport.casemapping, isupport.nicklen, isupport.namelen
                )
            }
            LinkState::Refused { failure } => format!("refused {}", failure_words(failure)),
            LinkState::Closed => "closed".into(),
        }
    }

    /// Plays one directive. What comes of it is said.
    pub(crate) fn directive(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim();
        match word {
            "S:" => self.input(Input::Line(&unescape(rest))),
            "start" => self.input(Input::Start),
            "connected" => self.input(Input::Connected),
            "dial-failed" => self.input(Input::DialFailed(Failure::certain(Reason::LinkLost).with_detail(rest))),
            "disconnected" => self.input(Input::Disconnected(rest)),
            "close" => self.input(Input::Close(std::str::from_utf8(&unescape(rest)).unwrap())),
            "stop" => self.input(Input::Stop(std::str::from_utf8(&unescape(rest)).unwrap())),
            "wait" => self.wait(rest.strip_suffix("ms").map_or_else(
                || rest.strip_suffix('s').unwrap().parse::<u64>().unwrap() * 1000,
                |ms| ms.parse().unwrap(),
            )),
            "listens?" => {
                let answer = if self.session.only_listens() { "yes" } else { "no" };
                writeln!(self.said, "listens: {answer}").unwrap();
            }
            "hold" => self.held = true,
            "pull" => {
                self.pull();
            }
            "release" => {
                self.held = false;
                self.settle();
            }
            "ready" => self.ready(rest),
            _ => self.action(word, rest),
        }
    }

    /// Gets the session on the network of a server with these capabilities and tokens, without a word.
    fn ready(&mut self, words: &str) {
        let mut caps = "";
        let mut isupport = "";
        for word in words.split_whitespace() {
            match word.split_once('=').unwrap() {
                ("caps", value) => caps = value,
                ("isupport", value) => isupport = value,
                (key, _) => panic!("`{key}` is no key of `ready`"),
            }
        }
        self.input(Input::Start);
        self.input(Input::Connected);
        if !caps.is_empty() {
            let caps = caps.replace(',', " ");
            self.input(Input::Line(format!(":irc.example CAP * LS :{caps}").as_bytes()));
            self.input(Input::Line(format!(":irc.example CAP * ACK :{caps}").as_bytes()));
        }
        self.input(Input::Line(b":irc.example 001 alice :Welcome"));
        if !isupport.is_empty() {
            let line = format!(":irc.example 005 alice {} :are supported by this server", isupport.replace(';', " "));
            self.input(Input::Line(line.as_bytes()));
        }
        self.held_while(|play| play.input(Input::Line(b":irc.example 376 alice :End of /MOTD command.")));
        assert!(self.take_said().contains("state: ready as alice"));
        self.settle();
    }

    fn held_while(&mut self, act: impl FnOnce(&mut Self)) {
        let held = std::mem::replace(&mut self.held, true);
        act(self);
        self.held = held;
    }

    fn action(&mut self, word: &str, rest: &str) {
        let rest = String::from_utf8(unescape(rest)).unwrap();
        let mut words = rest.splitn(3, ' ');
        let mut next = || words.next().unwrap_or_default().to_owned();
        if word == "join" {
            let channels = rest.split(' ').map(channel).collect();
            return self.input(Input::Action(CommandId(0), IrcAction::Join { channels }));
        }
        // `say 7 …` or `say 7+30s …`: a command's number, and how long it may wait.
        let timed = |id: String| {
            let (id, wait) = id.split_once('+').map_or((id.as_str(), "600s"), |(id, wait)| (id, wait));
            let wait: i64 = wait.strip_suffix('s').unwrap().parse().unwrap();
            let id: u64 = id.parse().unwrap();
            (
                CommandId(id),
                UNIX + i64::try_from(self.now).unwrap() + wait * 1000,
                Some(MatrixKey { txn: 1, index: u32::try_from(id).unwrap() }),
            )
        };
        let said = |kind| {
            let mut words = rest.splitn(3, ' ');
            let (id, expires, journal) = timed(words.next().unwrap().to_owned());
            let target = words.next().unwrap().to_owned();
            let lines = words.next().unwrap_or_default().split(" | ").map(Into::into).collect();
            (id, IrcAction::Say { target, kind, lines, expires, journal })
        };
        let (id, action) = match word {
            "say" => said(TextKind::Privmsg),
            "notice" => said(TextKind::Notice),
            "me" => said(TextKind::Action),
            "topic" => {
                let (id, expires, journal) = timed(next());
                (id, IrcAction::Topic { channel: next(), topic: next(), expires, journal })
            }
            "kick" => {
                let (id, expires, journal) = timed(next());
                let channel = next();
                let rest = next();
                let (nick, reason) =
                    rest.split_once(' ').map_or((rest.as_str(), None), |(n, r)| (n, Some(r.to_owned())));
                (id, IrcAction::Kick { channel, nick: nick.into(), reason, expires, journal })
            }
            "part" => {
                let (channel, reason) = (next(), [next(), next()].join(" ").trim_end().to_owned());
                (CommandId(0), IrcAction::Part { channel, reason: Some(reason).filter(|r| !r.is_empty()) })
            }
            "observe" => (CommandId(0), IrcAction::Observe { channel: next(), role: Role::Observer }),
            "stand-by" => (CommandId(0), IrcAction::Observe { channel: next(), role: Role::Standby }),
            "unobserve" => (CommandId(0), IrcAction::Observe { channel: next(), role: Role::Member }),
            "nick" => (CommandId(0), IrcAction::Nick { nick: next() }),
            "ask-names" => (CommandId(0), IrcAction::AskNames { channel: next() }),
            "ask-whois" => (CommandId(0), IrcAction::AskWhois { nick: next() }),
            _ => panic!("`{word}` is no directive"),
        };
        self.input(Input::Action(id, action));
    }
}

/// The text of a wire line, which must be legal: one CR LF at the end, no other, no NUL, and at most 512 bytes.
pub(crate) fn legal(wire: &[u8]) -> String {
    let body = wire.strip_suffix(b"\r\n").expect("a line ends with CR LF");
    assert!(!body.iter().any(|b| matches!(b, 0 | b'\r' | b'\n')), "one line only: {body:?}");
    Line::parse(body).expect("a line that can be read");
    let untagged = if body.starts_with(b"@") { body.iter().position(|b| *b == b' ').unwrap() + 1 } else { 0 };
    assert!(wire.len() - untagged <= 512, "{} bytes", wire.len());
    String::from_utf8_lossy(body).replace('\x01', "\\x01")
}

fn mode(change: &ModeChange) -> String {
    let sign = if change.set { '+' } else { '-' };
    let arg = change.arg.as_ref().map(|arg| format!("({arg})")).unwrap_or_default();
    format!("{sign}{}{arg}", change.letter)
}

fn event_words(event: &IrcEvent) -> String {
    match event {
        IrcEvent::Text { source, target, kind, text, msgid, account } => {
            let target = match target {
                TextTarget::Channel { name, status } => {
                    format!("{}{name}", status.map(String::from).unwrap_or_default())
                }
                TextTarget::Own => "me".into(),
            };
            let extra = extra(&[("msgid", msgid), ("account", account)]);
            format!("text {kind:?} <{}> to {target}: {text}{extra}", who(source))
        }
        IrcEvent::Joined { channel, source, account } => {
            format!("joined {channel} {}{}", who(source), extra(&[("account", account)]))
        }
        IrcEvent::Parted { channel, source, reason } => {
            format!("parted {channel} {}{}", who(source), extra(&[("reason", reason)]))
        }
        IrcEvent::Kicked { channel, source, nick, reason } => {
            format!("kicked {channel} {nick} by {}{}", who(source), extra(&[("reason", reason)]))
        }
        IrcEvent::Quit { source, reason } => format!("quit {}{}", who(source), extra(&[("reason", reason)])),
        IrcEvent::Renamed { source, nick } => format!("renamed {} to {nick}", who(source)),
        IrcEvent::Topic { channel, source, topic } => {
            format!("topic {channel} by {}: {topic}", source.as_ref().map_or("nobody".into(), who))
        }
        IrcEvent::Roster { channel, members } => {
            let members: Vec<String> =
                members.iter().map(|member| format!("{}{}", member.prefixes, who(&member.source))).collect();
            format!("roster {channel} {}", members.join(" "))
        }
        IrcEvent::Modes { channel, source, changes } => {
            format!("modes {channel} by {}: {}", who(source), changes.iter().map(mode).collect::<Vec<_>>().join(" "))
        }
        IrcEvent::Settings { channel, modes } => {
            format!("settings {channel}: {}", modes.iter().map(mode).collect::<Vec<_>>().join(" "))
        }
        IrcEvent::List { channel, letter, masks } => format!("list {channel} {letter}: {}", masks.join(" ")),
        IrcEvent::Accounts { channel, accounts } => {
            let accounts =
                accounts.iter().map(|(nick, account)| format!("{nick}={}", account.as_deref().unwrap_or("*")));
            format!("accounts {channel} {}", accounts.collect::<Vec<_>>().join(" "))
        }
        IrcEvent::Account { source, account } => {
            format!("account of {}: {}", who(source), account.as_deref().unwrap_or("*"))
        }
        IrcEvent::Rehosted { source, user, host } => format!("{} is now {user}@{host}", who(source)),
        IrcEvent::Recalls { channel, since } => format!("recalls {channel} since {}", since - UNIX),
        IrcEvent::Names { channel, members } => {
            let members: Vec<String> =
                members.iter().map(|member| format!("{}{}", member.prefixes, who(&member.source))).collect();
            format!("names {channel}: {}", members.join(" "))
        }
        IrcEvent::Whois { nick, profile: None } => format!("whois {nick}: nobody"),
        IrcEvent::Whois { nick, profile: Some(profile) } => {
            let channels: Vec<String> =
                profile.channels.iter().map(|(ranks, channel)| format!("{ranks}{channel}")).collect();
            format!("whois {nick}: {}{}", channels.join(" "), extra(&[("account", &profile.account)]))
        }
        IrcEvent::Invited { source, channel } => format!("invited to {channel} by {}", who(source)),
        IrcEvent::OwnJoined { channel } => format!("own joined {channel}"),
        IrcEvent::OwnParted { channel } => format!("own parted {channel}"),
        IrcEvent::OwnKicked { channel, source, reason } => {
            format!("own kicked {channel} by {}{}", who(source), extra(&[("reason", reason)]))
        }
        IrcEvent::JoinRefused { channel, failure } => format!("join refused {channel} {}", failure_words(failure)),
        IrcEvent::OwnMask { user, host } => format!("own mask {user}@{host}"),
        IrcEvent::OwnNick { nick } => format!("own nick {nick}"),
    }
}

fn who(source: &Source) -> String {
    let user = source.user.as_ref().map(|user| format!("!{user}")).unwrap_or_default();
    let host = source.host.as_ref().map(|host| format!("@{host}")).unwrap_or_default();
    format!("{}{user}{host}", source.nick)
}

fn extra(fields: &[(&str, &Option<String>)]) -> String {
    let known = fields.iter().filter_map(|(name, value)| Some(format!(" {name}={}", value.as_ref()?)));
    known.collect()
}

fn fate_words(fate: &Fate) -> String {
    match fate {
        Fate::Delivered { msgid } => format!("delivered{}", extra(&[("msgid", msgid)])),
        Fate::Failed(failure) => format!("failed {}", failure_words(failure)),
    }
}

fn failure_words(failure: &Failure) -> String {
    let certain = if failure.certain { "" } else { " uncertain" };
    let arrived = match failure.arrived {
        Arrived::Nothing => String::new(),
        Arrived::Lines { first, of } => format!(" after {first} of {of} lines"),
        Arrived::Part => " in part".to_owned(),
    };
    let detail =
        failure.words.as_ref().or(failure.detail.as_ref()).map(|words| format!(" ({words})")).unwrap_or_default();
    format!("{:?}{certain}{arrived}{detail}", failure.reason)
}

/// `\xff`, `\n`, `\r`, `\0` and `\\`; and `*100` after a character in braces: `{x*100}`.
pub(crate) fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (taken, code): (usize, Vec<u8>) = if let Some(hex) = rest.strip_prefix("\\x") {
            (4, vec![u8::from_str_radix(&hex[..2], 16).unwrap()])
        } else if rest.starts_with("\\n") {
            (2, vec![b'\n'])
        } else if rest.starts_with("\\r") {
            (2, vec![b'\r'])
        } else if rest.starts_with("\\0") {
            (2, vec![0])
        } else if let Some((what, times, len)) = repeat(rest) {
            (len, what.repeat(times).into_bytes())
        } else {
            (c.len_utf8(), c.to_string().into_bytes())
        };
        bytes.extend(code);
        rest = &rest[taken..];
    }
    bytes
}

fn repeat(text: &str) -> Option<(&str, usize, usize)> {
    let (inner, _) = text.strip_prefix('{')?.split_once('}')?;
    let (what, times) = inner.rsplit_once('*')?;
    Some((what, times.parse().ok()?, inner.len() + 2))
}
