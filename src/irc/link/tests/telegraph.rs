//! A protocol for the link's tests: `HELLO`, `WELCOME`, `NEWS text` (told as a nick), `PING`, `REFUSE reason`, `SAY`, `BYE`.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    irc::{
        link::{Network, Protocol},
        pool::protocol::LinkSpec,
        session::{Input, Now, Output},
    },
    model::{CommandId, Failure, Fate, IrcAction, IrcEvent, Isupport, LinkState, MatrixKey, Reason},
};

/// Milliseconds before it dials again.
const BACKOFF: u64 = 2;

struct Telegraph {
    servers: Vec<String>,
    dials: usize,
    ready: bool,
    over: bool,
    queue: VecDeque<(CommandId, Option<MatrixKey>, String)>,
    under_way: Vec<CommandId>,
    timer: Option<u64>,
}

pub(super) fn new(_: LinkSpec, network: &Network) -> Box<dyn Protocol> {
    Box::new(Telegraph {
        servers: network.spec.servers.clone(),
        dials: 0,
        ready: false,
        over: false,
        queue: VecDeque::new(),
        under_way: Vec::new(),
        timer: None,
    })
}

impl Telegraph {
    fn dial(&mut self, out: &mut Vec<Output>) {
        self.timer = None;
        out.push(Output::State(LinkState::Connecting { server: self.server().to_owned() }));
        out.push(Output::Dial);
    }

    fn wait(&mut self, now: Now, failure: Failure, out: &mut Vec<Output>) {
        self.ready = false;
        self.dials += 1;
        self.timer = Some(now.monotonic + BACKOFF);
        for command in self.under_way.drain(..) {
            out.push(Output::Fate(command, Fate::Failed(Failure::uncertain(Reason::LinkLost))));
        }
        out.push(Output::State(LinkState::Waiting { until: now.unix, failure: Some(failure) }));
    }

    fn line(&mut self, line: &str, out: &mut Vec<Output>) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "WELCOME" => {
                self.ready = true;
                let isupport = Arc::new(Isupport::default());
                out.push(Output::State(LinkState::Ready { nick: "me".into(), isupport }));
            }
            "PING" => out.push(Output::Line(format!("PONG {rest}\r\n").into_bytes())),
            "NEWS" => out.push(Output::Event(IrcEvent::OwnNick { nick: rest.into() }, None)),
            "REFUSE" => {
                self.ready = false;
                let failure = Failure::certain(Reason::LinkRefused).with_detail(rest);
                out.push(Output::Hangup);
                out.push(Output::State(LinkState::Refused { failure }));
            }
            _ => {}
        }
    }
}

impl Protocol for Telegraph {
    fn step(&mut self, input: Input<'_>, now: Now, out: &mut Vec<Output>) {
        assert!(!self.over, "{input:?} after the end");
        match input {
            Input::Start | Input::Timer if !self.ready => self.dial(out),
            Input::Start => {}
            Input::Timer => panic!("{input:?} unasked for"),
            Input::Connected => out.push(Output::Line(b"HELLO\r\n".to_vec())),
            Input::DialFailed(failure) => self.wait(now, failure, out),
            Input::Disconnected(reason) => {
                self.wait(now, Failure::certain(Reason::LinkLost).with_detail(reason), out);
            }
            Input::Line(line) => self.line(str::from_utf8(line).unwrap(), out),
            Input::Action(command, IrcAction::Say { lines, mut journal, .. }) => {
                self.queue.extend(lines.into_iter().map(|line| (command, journal.take(), line)));
            }
            Input::Action(..) => unimplemented!(),
            Input::Close(reason) | Input::Stop(reason) => {
                self.over = true;
                out.push(Output::Line(format!("BYE {reason}\r\n").into_bytes()));
                out.push(Output::Hangup);
                out.push(Output::State(LinkState::Closed));
            }
        }
    }

    fn pull(&mut self, _: Now, wire: &mut Vec<u8>, starting: &mut Vec<MatrixKey>) -> bool {
        let Some((command, key, line)) = self.queue.pop_front() else { return false };
        if self.under_way.last() != Some(&command) {
            self.under_way.push(command);
        }
        starting.extend(key);
        wire.extend_from_slice(format!("SAY {line}\r\n").as_bytes());
        true
    }

    fn has_pullable(&self) -> bool {
        self.ready && !self.queue.is_empty()
    }

    fn only_listens(&self) -> bool {
        self.ready && self.queue.is_empty() && self.under_way.is_empty()
    }

    fn has_words(&self) -> bool {
        !self.queue.is_empty()
    }

    fn next_timer(&self) -> Option<u64> {
        self.timer
    }

    fn has_said_goodbye(&self) -> bool {
        self.over
    }

    fn server(&self) -> &str {
        &self.servers[self.dials % self.servers.len()]
    }
}
