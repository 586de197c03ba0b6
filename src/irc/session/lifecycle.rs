//! From dial to dial: how a connection begins, is lost, refused or closed, and what time does to it.

use super::{
    Now, Output, Session, State,
    connection::{Connection, Phase, Silence},
    nicks::NickWalk,
    receipts::Proof,
    refusal::{self, Closing},
    registration::Negotiation,
};
use crate::{
    irc::wire::LineWriter,
    model::{Failure, IrcEvent, LinkState, Reason, Source},
    translate,
};

/// From the socket to 001. In milliseconds.
const REGISTRATION: u64 = 90_000;
/// How long the server may take to say goodbye. In milliseconds.
const GOODBYE: u64 = 2_000;

impl Session {
    pub(super) fn start(&mut self, out: &mut Vec<Output>) {
        if !self.has_said_goodbye() {
            self.leaving = None;
        }
        if matches!(self.state, State::New | State::Refused(_)) {
            self.dial(out);
        }
    }

    fn dial(&mut self, out: &mut Vec<Output>) {
        self.state = State::Dialing;
        out.push(Output::State(LinkState::Connecting { server: self.server().to_owned() }));
        out.push(Output::Dial);
    }

    pub(super) fn dial_failed(&mut self, failure: Failure, now: Now, out: &mut Vec<Output>) {
        if matches!(self.state, State::Dialing) {
            self.wait(Closing::Lost, failure, now, out);
        }
    }

    /// The socket is there: everything that needs no answer is said at once, so that a server without CAP, which
    /// ignores or refuses the first line, registers us all the same.
    pub(super) fn connected(&mut self, now: Now, out: &mut Vec<Output>) {
        if !matches!(self.state, State::Dialing) {
            out.push(Output::Hangup);
            return;
        }
        let mut walk = NickWalk::new(&self.spec, self.isupport.nicklen);
        let nick = walk.current(&self.spec).unwrap_or_default();
        let me = Source { nick: nick.clone(), user: None, host: None };
        let phase = Phase::Negotiating(Box::<Negotiation>::default());
        let deadline = now.monotonic + REGISTRATION;
        self.state = State::On(Box::new(Connection::new(me, walk, phase, deadline, now.monotonic)));
        self.urgent(out, |line| line.cap("LS", Some("302")));
        if let Some(password) = &self.network.password {
            let password = password.clone();
            self.urgent(out, |line| line.pass(password.expose()));
        }
        self.urgent(out, |line| line.nick(&nick));
        let realname = translate::one_line(&self.spec.realname);
        let username = self.spec.username.clone();
        self.urgent(out, |line| line.user(&username, &realname));
    }

    /// Gives out a line that needn't wait. A line that can't be written isn't: what users wrote is mended before.
    pub(super) fn urgent(
        &self,
        out: &mut Vec<Output>,
        write: impl FnOnce(LineWriter<'_>) -> Result<(), crate::irc::wire::Illegal>,
    ) -> bool {
        let mut wire = Vec::new();
        let written = write(LineWriter::new(&mut wire, self.isupport.linelen)).is_ok();
        if written {
            out.push(Output::Line(wire));
        }
        written
    }

    pub(super) fn disconnected(&mut self, reason: &str, now: Now, out: &mut Vec<Output>) {
        let State::On(connection) = &mut self.state else {
            if matches!(self.state, State::Dialing) {
                self.wait(Closing::Lost, Failure::certain(Reason::LinkLost).with_detail(reason), now, out);
            }
            return;
        };
        if matches!(connection.phase, Phase::Draining) {
            return self.closed(now, out);
        }
        let verdict = connection.verdict.take();
        match verdict.map(|verdict| *verdict) {
            Some((closing, words)) => self.end(closing, ended(closing).with_words(words), now, out),
            None => self.end(Closing::Lost, ended(Closing::Lost).with_detail(reason), now, out),
        }
    }

    /// `ERROR :words`: the server closes the connection.
    pub(super) fn error_line(&mut self, words: &str, now: Now, out: &mut Vec<Output>) {
        let State::On(connection) = &mut self.state else { return };
        out.push(Output::Hangup);
        if matches!(connection.phase, Phase::Draining) {
            return self.closed(now, out);
        }
        // What came before says it better than the goodbye, but that a ban is only a pause.
        let goodbye = || (refusal::classify(words), words.to_owned());
        let (closing, words) = match connection.verdict.take() {
            Some(verdict) if verdict.0 != Closing::Banned || !refusal::classify_ban(words).is_pause() => *verdict,
            Some(_) | None => goodbye(),
        };
        self.end(closing, ended(closing).with_words(words), now, out);
    }

    /// We give the connection up.
    pub(super) fn hang_up(&mut self, closing: Closing, words: &str, now: Now, out: &mut Vec<Output>) {
        out.push(Output::Hangup);
        self.end(closing, ended(closing).with_detail(words), now, out);
    }

    /// The connection has ended.
    fn end(&mut self, closing: Closing, failure: Failure, now: Now, out: &mut Vec<Output>) {
        match closing {
            Closing::Banned => self.refuse(failure, now, out),
            _ => self.wait(closing, failure, now, out),
        }
    }

    /// Forgets the connection: what was on its way is uncertain now, what waits goes on waiting.
    fn wait(&mut self, closing: Closing, failure: Failure, now: Now, out: &mut Vec<Output>) {
        let lost = Failure { certain: false, ..failure.clone() };
        self.abandon(&Failure { reason: Reason::LinkLost, ..lost }, out);
        if let State::On(connection) = &self.state
            && let Phase::Ready { since } = connection.phase
        {
            self.backoff.was_ready(now.monotonic.saturating_sub(since));
        }
        let isupport = std::sync::Arc::clone(&self.isupport);
        let mapping = isupport.casemapping;
        self.outbox.hold(mapping, |target| isupport.is_channel(target));
        self.recall_all(now, out);
        let outbox = &self.outbox;
        self.channels.disconnected(|channel| outbox.has_fated_for(channel, mapping));
        self.fail_unwanted(out);
        self.server = self.server.wrapping_add(1);
        if closing.is_pause() {
            out.push(Output::Throttled);
        }
        let wait = self.backoff.next(closing);
        self.state = State::Waiting(now.monotonic + wait);
        let until = now.unix.saturating_add(i64::try_from(wait).unwrap_or(i64::MAX));
        out.push(Output::State(LinkState::Waiting { until, failure: Some(failure) }));
    }

    /// What is on its way, or half out, won't be heard of any more.
    fn abandon(&mut self, failure: &Failure, out: &mut Vec<Output>) {
        if let State::On(connection) = &mut self.state {
            if let Some(current) = self.outbox.current.take() {
                connection.receipts.complete(current.id, Some(failure.clone()), out);
            }
            connection.receipts.abandon(failure, out);
        }
    }

    /// The network doesn't want us: terminal until a person acts (R44).
    fn refuse(&mut self, failure: Failure, now: Now, out: &mut Vec<Output>) {
        self.abandon(&Failure { certain: false, ..failure.clone() }, out);
        self.outbox.fail_all(&failure, out);
        self.recall_all(now, out);
        self.channels.disconnected(|_| false);
        self.backoff.was_ready(u64::MAX);
        out.push(Output::State(LinkState::Refused { failure: failure.clone() }));
        self.state = State::Refused(Box::new(failure));
    }

    /// The link's user has left: it says goodbye once it has said what was handed to it before.
    pub(super) fn close(&mut self, reason: &str) {
        self.leaving.get_or_insert_with(|| reason.into());
    }

    /// Whether it is time for the goodbye: everything is said, or can't be said any more.
    pub(super) fn is_goodbye_due(&self) -> bool {
        self.leaving.is_some() && !self.has_said_goodbye() && !self.outbox.has_fated()
    }

    /// Whether the goodbye has been said: all that can follow is the end.
    #[must_use]
    pub fn has_said_goodbye(&self) -> bool {
        match &self.state {
            State::On(connection) => matches!(connection.phase, Phase::Draining),
            state => matches!(state, State::Closed),
        }
    }

    /// Says goodbye. What is on its way still has a chance to be answered before the server hangs up.
    pub(super) fn stop(&mut self, reason: &str, now: Now, out: &mut Vec<Output>) {
        if let State::On(connection) = &mut self.state {
            if matches!(connection.phase, Phase::Draining) {
                return;
            }
            if let Some(current) = self.outbox.current.take() {
                let failure = Failure::uncertain(Reason::Interrupted);
                connection.receipts.complete(current.id, Some(failure), out);
            }
            let question = (!connection.receipts.is_empty()).then(|| connection.receipts.ask(now.monotonic));
            connection.phase = Phase::Draining;
            connection.deadline = now.monotonic + GOODBYE;
            if let Some(question) = question {
                self.urgent(out, |line| line.ping(&format!("fb{question}")));
            }
            let reason = translate::one_line(reason);
            self.urgent(out, |line| line.quit(&reason));
            self.outbox.fail_all(&Failure::certain(Reason::Interrupted), out);
        } else if !matches!(self.state, State::Closed) {
            self.closed(now, out);
        }
    }

    fn closed(&mut self, now: Now, out: &mut Vec<Output>) {
        // Only a bridge that stops leaves without having said everything.
        let reason = if self.leaving.is_some() { Reason::LinkLost } else { Reason::Interrupted };
        self.abandon(&Failure::uncertain(reason), out);
        self.outbox.fail_all(&Failure::certain(Reason::Interrupted), out);
        self.recall_all(now, out);
        self.state = State::Closed;
        out.push(Output::State(LinkState::Closed));
    }

    /// Time has passed. Each part looks for itself whether it was meant.
    pub(super) fn timer(&mut self, now: Now, out: &mut Vec<Output>) {
        self.outbox.expire(now.monotonic, out);
        for channel in self.channels.overdue(now.monotonic) {
            let failure = Failure::certain(Reason::NotJoined);
            self.join_refused(&channel, failure, out);
        }
        let idle = !self.outbox.has_ready();
        let State::On(connection) = &mut self.state else {
            if let State::Waiting(until) = self.state
                && until <= now.monotonic
            {
                self.dial(out);
            }
            return;
        };
        if connection.deadline <= now.monotonic {
            return self.deadline(now, out);
        }
        if connection.receipts.is_gone(now.monotonic) {
            return self.hang_up(Closing::Lost, "the server answers no more", now, out);
        }
        if connection.is_ready() {
            if connection.receipts.is_due(idle, now.monotonic) {
                connection.receipts.due = true;
            }
            if connection.regain.timer().is_some_and(|at| at <= now.monotonic) {
                connection.regain.chance(now.monotonic);
            }
        }
        match connection.silence(now.monotonic) {
            Silence::Fine => {}
            Silence::Ask => {
                self.urgent(out, |line| line.ping("footbridge"));
            }
            Silence::Dead => self.hang_up(Closing::Lost, "the server was silent for too long", now, out),
        }
    }

    /// The phase has lasted for too long.
    fn deadline(&mut self, now: Now, out: &mut Vec<Output>) {
        let State::On(connection) = &mut self.state else { return };
        match connection.phase {
            Phase::Draining => {
                out.push(Output::Hangup);
                self.closed(now, out);
            }
            // A server without any end to its greeting.
            Phase::Settling(_) => self.ready(now, out),
            ref phase => {
                let words = match phase {
                    Phase::Authenticating(_) => "the login (SASL) was not answered in time",
                    _ => "the server did not let us in in time",
                };
                let Some(verdict) = connection.verdict.take() else {
                    return self.hang_up(Closing::Lost, words, now, out);
                };
                let (closing, words) = *verdict;
                out.push(Output::Hangup);
                self.end(closing, ended(closing).with_words(words), now, out);
            }
        }
    }

    /// On the network: everything that waited may begin.
    pub(super) fn ready(&mut self, now: Now, out: &mut Vec<Output>) {
        let State::On(connection) = &mut self.state else { return };
        let Phase::Settling(draft) = std::mem::replace(&mut connection.phase, Phase::Ready { since: now.monotonic })
        else {
            return;
        };
        connection.deadline = u64::MAX;
        connection.receipts.proof = Proof::of(connection.caps);
        self.set_isupport(*draft);
        self.watch_nick(now.monotonic);
        self.mark_as_bot();
        let State::On(connection) = &self.state else { return };
        out.push(Output::State(LinkState::Ready {
            nick: connection.me.nick.clone(),
            isupport: std::sync::Arc::clone(&self.isupport),
        }));
        out.extend(connection.mask().map(|mask| Output::Event(mask, None)));
    }

    /// A JOIN was refused: so is what waits for it.
    pub(super) fn join_refused(&mut self, channel: &str, failure: Failure, out: &mut Vec<Output>) {
        self.outbox.fail_channel(channel, self.isupport.casemapping, &failure, out);
        out.push(Output::Event(IrcEvent::JoinRefused { channel: channel.to_owned(), failure }, None));
    }
}

/// Why nothing more arrives after such an end.
const fn ended(closing: Closing) -> Failure {
    Failure::certain(if matches!(closing, Closing::Banned) { Reason::LinkRefused } else { Reason::LinkLost })
}
