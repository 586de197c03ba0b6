//! The link: the actor that joins a session, which knows IRC and no socket, with a socket.
//!
//! One task per link, one [`Link`] per task, and nothing in it is shared: whoever wants something of a link puts it
//! into its [`mailbox`]. [`Link::round`] names everything that a link can wait for, in the order in which it looks.
//! The task is written as a future by hand because thousands of links are idle at any time: it weighs what
//! its fields weigh, and reads into a buffer that the thread owns.
//!
//! What may be sent when: lines that the session gives *out* go first and at once; lines that are *pulled* from it
//! are paced by the line budget, pulled only while the socket takes what it is given, and held until the journal
//! has said that it knows of them ([`WriteAhead`](super::pool::WriteAhead)).
//!
//! To let a link wait for one more thing, add a step to [`Link::round`] and, if it is a moment, to
//! [`Link::next_deadline`].

mod alarm;
mod given;
mod mailbox;
mod network;
mod outbox;
mod wire;

use std::{
    cell::RefCell,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};
use tracing::{debug, info, warn};

use self::{
    alarm::Alarm,
    mailbox::Mail,
    network::Stage,
    outbox::Outbox,
    wire::{Read, Wire},
};
pub(in crate::irc) use self::{
    given::{Common, NewSession, Opening, Protocol, Registrar},
    mailbox::Mailbox,
    network::Network,
};
use crate::{
    irc::{
        connect_budget::Rank,
        flood::LineBudget,
        pool::protocol::{PoolEvent, PoolEventBody},
        session::{Input, Now, Output},
        transport::Stream,
    },
    model::{Failure, IrcKey, LinkId, LinkState, Millis, Reason},
};

/// Rounds that a link may go before it lets others have their turn.
const ROUNDS: usize = 8;
/// Lines pulled for one write, at most.
const BATCH_LINES: u64 = 256;
/// How long what comes for a link that only listens gathers in its socket. Hundreds of puppets hear each line of a channel in
/// the same moment; meanwhile whoever has to act on it does so, and where much is said they read it in one go.
const GATHER: Duration = Duration::from_millis(10);
/// Reads after which what had gathered is read, whatever has followed it.
const CATCH_UP: u8 = 4;
/// Bytes pulled for one write, more or less.
const BATCH_BYTES: usize = 64 * 1024;

thread_local! {
    /// What sessions answer on this thread; kept so that no link needs a list of its own.
    static OUTPUTS: RefCell<Vec<Output>> = const { RefCell::new(Vec::new()) };
}

/// Something to be done later, owned.
type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Where a link is.
enum Phase {
    /// Without a socket.
    Idle,
    /// Waiting for the network's connect budget, then for the server. The budget is told when the link has words.
    Dialing(Later<Result<Stream, Failure>>, Arc<Notify>),
    /// With a socket.
    Connected(Box<Wire>),
}

/// When the socket is read.
#[derive(Clone, Copy)]
enum Reading {
    /// As soon as there is something.
    OnArrival,
    /// It was read to its end; a link that only listens may let gather what comes next.
    Drained,
    /// What has come gathers until then.
    At(Instant),
    /// What has gathered is being read, in so many reads at the most.
    CatchingUp(u8),
}

/// Lines that go out as soon as the journal has answered.
struct Held {
    lines: Vec<u8>,
    /// What may not overtake them and goes out even where they don't, as a goodbye does.
    behind: Vec<u8>,
    known: Later<()>,
}

/// One link: the state of its task.
pub(in crate::irc) struct Link {
    id: LinkId,
    common: Arc<Common>,
    registrar: Arc<dyn Registrar>,
    network: Arc<Network>,
    mailbox: Arc<Mailbox>,
    session: Box<dyn Protocol>,
    phase: Phase,
    /// What the bridge was last told of us. `None` before the first word.
    stage: Option<Stage>,
    budget: LineBudget,
    /// When the line budget allows another line; set while one waits for it.
    next_line: Option<Instant>,
    held: Option<Box<Held>>,
    reading: Reading,
    outbox: Outbox,
    /// The key of the next event.
    key: IrcKey,
    /// Whether `key`'s epoch has been dialled.
    dialled: bool,
    alarm: Alarm,
    retired: bool,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("id", &self.id).field("stage", &self.stage).finish_non_exhaustive()
    }
}

impl Future for Link {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let link = self.get_mut();
        for _ in 0..ROUNDS {
            if !link.round(cx) {
                return Poll::Pending;
            }
            if link.is_over() && link.registrar.retire(&link.id, &link.mailbox) {
                link.retired = true;
                return Poll::Ready(());
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Link {
    /// A link that begins with its first poll.
    pub(in crate::irc) fn new(
        opening: Opening,
        common: Arc<Common>,
        registrar: Arc<dyn Registrar>,
        mailbox: Arc<Mailbox>,
    ) -> Self {
        let Opening { spec, network } = opening;
        let mut link = Self {
            id: spec.link.clone(),
            budget: network.line_budget(),
            session: (common.new_session)(spec, &network),
            outbox: Outbox::new(common.events.clone()),
            key: IrcKey { epoch: common.next_epoch(), seq: 0 },
            phase: Phase::Idle,
            stage: None,
            next_line: None,
            held: None,
            reading: Reading::OnArrival,
            dialled: false,
            alarm: Alarm::default(),
            retired: false,
            common,
            registrar,
            network,
            mailbox,
        };
        link.step(Input::Start);
        link
    }

    /// Looks once at everything a link waits for. Whether anything came of it; if not, each of them will wake us.
    fn round(&mut self, cx: &mut Context<'_>) -> bool {
        let now = Instant::now();
        // No short cut: each must be asked.
        self.outbox.post(cx)
            | self.take_mail(cx)
            | self.finish_dial(cx)
            | self.read(cx)
            | self.watch_clock(cx, now)
            | self.release_held(cx)
            | self.pull()
            | self.write(cx, now)
    }

    /// Whether there is nothing left to do or to tell.
    fn is_over(&self) -> bool {
        self.stage == Some(Stage::Closed) && matches!(self.phase, Phase::Idle) && self.outbox.is_empty()
    }

    fn take_mail(&mut self, cx: &Context<'_>) -> bool {
        // A link that can't tell what becomes of an action takes no more of them; and one that is saying goodbye
        // begins again only when it has.
        self.mailbox.listen(cx);
        let gone = self.stage == Some(Stage::Closed) && matches!(self.phase, Phase::Idle);
        if (self.session.has_said_goodbye() && !gone) || (self.outbox.is_full() && !self.mailbox.is_closed()) {
            return false;
        }
        let Some(mail) = self.mailbox.take() else { return false };
        match mail {
            Mail::Act(command, action) => {
                self.step(Input::Action(command, *action));
                if let Phase::Dialing(_, has_words) = &self.phase
                    && self.session.has_words()
                {
                    has_words.notify_one();
                }
            }
            Mail::Close(_) | Mail::Stop(_) if self.session.has_said_goodbye() => {}
            Mail::Close(reason) => self.step(Input::Close(&reason)),
            Mail::Stop(reason) => self.step(Input::Stop(&reason)),
            Mail::Open(opening) if matches!(self.stage, Some(Stage::Refused | Stage::Closed)) => self.restart(*opening),
            // It may have been about to close.
            Mail::Open(_) => self.step(Input::Start),
        }
        true
    }

    /// Begins again, with what may be another password or another server.
    fn restart(&mut self, Opening { spec, network }: Opening) {
        if self.session.next_timer().is_some() {
            // It has something left to tell.
            self.step(Input::Timer);
        }
        self.session = (self.common.new_session)(spec, &network);
        self.budget = network.line_budget();
        self.network.count(self.stage.take(), None);
        self.network = network;
        self.step(Input::Start);
    }

    fn finish_dial(&mut self, cx: &mut Context<'_>) -> bool {
        let Phase::Dialing(dial, _) = &mut self.phase else { return false };
        let Poll::Ready(result) = dial.as_mut().poll(cx) else { return false };
        match result {
            Ok(stream) => {
                self.phase = Phase::Connected(Box::new(Wire::new(stream)));
                self.step(Input::Connected);
            }
            Err(failure) => {
                self.phase = Phase::Idle;
                self.step(Input::DialFailed(failure));
            }
        }
        true
    }

    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        // What can't be told isn't read: it waits in the socket, and the server holds the rest back.
        let Phase::Connected(wire) = &mut self.phase else { return false };
        if self.outbox.is_full() && !wire.is_leaving() {
            return false;
        }
        if self.session.only_listens() && !wire.is_leaving() {
            if matches!(self.reading, Reading::Drained) {
                if !wire.is_readable(cx) {
                    return false;
                }
                self.reading = Reading::At(Instant::now() + GATHER);
            }
            if matches!(self.reading, Reading::At(at) if Instant::now() < at) {
                return false;
            }
        }
        let (now, dropped, mut lines, mut over) = (self.common.now(), wire.dropped(), 0, false);
        let mut outputs = OUTPUTS.take();
        let read = wire.poll_read(cx, |line| {
            lines += 1;
            if !over {
                let before = outputs.len();
                self.session.step(Input::Line(line), now, &mut outputs);
                over = outputs[before..].contains(&Output::Hangup);
            }
        });
        self.network.received(lines, wire.dropped() - dropped);
        self.perform(&mut outputs, now);
        OUTPUTS.set(outputs);
        match read {
            Poll::Pending => {
                self.reading = Reading::Drained;
                false
            }
            Poll::Ready(Read::Some) => {
                self.reading = match self.reading {
                    Reading::At(_) => Reading::CatchingUp(CATCH_UP),
                    Reading::CatchingUp(left) if left > 1 => Reading::CatchingUp(left - 1),
                    _ => Reading::OnArrival,
                };
                true
            }
            Poll::Ready(Read::End(reason)) => {
                self.lose(&reason);
                true
            }
        }
    }

    /// The socket is gone.
    fn lose(&mut self, reason: &str) {
        let Phase::Connected(wire) = std::mem::replace(&mut self.phase, Phase::Idle) else { return };
        self.held = None;
        self.reading = Reading::OnArrival;
        if !wire.is_leaving() {
            info!(link.id = %self.id, reason, "lost the connection");
            self.step(Input::Disconnected(reason));
        }
    }

    fn watch_clock(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        if let Phase::Connected(wire) = &self.phase
            && let Some(reason) = wire.overdue(now)
        {
            self.lose(&reason);
            return true;
        }
        let timer = self.session_timer();
        let Some(deadline) = self.next_deadline(timer) else { return false };
        if self.alarm.poll_reached(cx, deadline, now).is_pending() {
            return false;
        }
        self.next_line.take_if(|at| *at <= now);
        if timer.is_some_and(|at| at <= now) {
            self.step(Input::Timer);
        }
        true
    }

    /// When the session wants to be called.
    fn session_timer(&self) -> Option<Instant> {
        // While we don't listen, it would take our silence for the server's.
        let deaf = self.outbox.is_full() && matches!(self.phase, Phase::Connected(_));
        let at = self.session.next_timer().filter(|_| !deaf)?;
        self.common.origin.checked_add(Duration::from_millis(at))
    }

    /// The next moment at which there is something to do.
    fn next_deadline(&self, timer: Option<Instant>) -> Option<Instant> {
        let wire = match &self.phase {
            Phase::Connected(wire) => wire.deadline(),
            Phase::Idle | Phase::Dialing(..) => None,
        };
        // While we don't listen, what has come is none of our business.
        let read_at = match self.reading {
            Reading::At(at) if !self.outbox.is_full() => Some(at),
            _ => None,
        };
        [timer, wire, self.next_line, read_at].into_iter().flatten().min()
    }

    fn release_held(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(held) = &mut self.held else { return false };
        if held.known.as_mut().poll(cx).is_pending() {
            return false;
        }
        if let Phase::Connected(wire) = &mut self.phase {
            wire.push(&held.lines);
            wire.push(&held.behind);
        }
        self.held = None;
        true
    }

    /// Takes as many lines from the session as the budget allows, if the socket is ready for them.
    fn pull(&mut self) -> bool {
        let Phase::Connected(wire) = &mut self.phase else { return false };
        // What was left to gather may end with the end of the connection.
        if matches!(self.reading, Reading::At(_) | Reading::CatchingUp(_))
            || self.held.is_some()
            || self.next_line.is_some()
            || !wire.is_idle()
            || !self.session.has_pullable()
        {
            return false;
        }
        let now = self.common.now();
        let (mut lines, mut keys, mut count) = (Vec::new(), Vec::new(), 0);
        while count < BATCH_LINES && lines.len() < BATCH_BYTES && self.session.has_pullable() {
            if let Err(until) = self.budget.take() {
                self.next_line = Some(until);
                break;
            }
            if !self.session.pull(now, &mut lines, &mut keys) {
                break;
            }
            count += 1;
        }
        self.network.sent(count);
        if keys.is_empty() {
            wire.push(&lines);
        } else {
            let write_ahead = Arc::clone(&self.common.write_ahead);
            let known = Box::pin(async move { write_ahead.before_write(&keys).await });
            self.held = Some(Box::new(Held { lines, behind: Vec::new(), known }));
        }
        count > 0 || self.next_line.is_some()
    }

    fn write(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        match &mut self.phase {
            Phase::Connected(wire) => wire.poll_write(cx, now).is_ready(),
            Phase::Idle | Phase::Dialing(..) => false,
        }
    }

    /// Gives the session an input and does what it says.
    fn step(&mut self, input: Input<'_>) {
        let now = self.common.now();
        let mut outputs = OUTPUTS.take();
        self.session.step(input, now, &mut outputs);
        self.perform(&mut outputs, now);
        OUTPUTS.set(outputs);
    }

    fn perform(&mut self, outputs: &mut Vec<Output>, now: Now) {
        for output in outputs.drain(..) {
            match output {
                Output::Dial => self.dial(),
                Output::Line(line) => match (&mut self.phase, &mut self.held) {
                    // A question must not overtake what it asks about, nor a goodbye what is said before it.
                    (Phase::Connected(_), Some(held)) if !line.starts_with(b"PONG") => {
                        held.behind.extend_from_slice(&line);
                        self.network.sent(1);
                    }
                    (Phase::Connected(wire), _) => {
                        wire.push(&line);
                        self.network.sent(1);
                    }
                    (Phase::Idle | Phase::Dialing(..), _) => {
                        debug!(link.id = %self.id, "a line came too late to be sent");
                    }
                },
                Output::Hangup => self.hang_up(),
                Output::Throttled => self.network.throttled(),
                Output::Event(event, at) => self.tell(PoolEventBody::Irc(event), at.unwrap_or(now.unix)),
                Output::State(state) => self.enter(state, now),
                Output::Fate(command, fate) => self.tell(PoolEventBody::Fate { command, fate }, now.unix),
            }
        }
    }

    fn dial(&mut self) {
        if std::mem::replace(&mut self.dialled, true) {
            self.key = IrcKey { epoch: self.common.next_epoch(), seq: 0 };
        }
        let rank = match (self.id.is_bot(), self.session.has_words()) {
            (true, _) => Rank::Bot,
            (false, true) => Rank::Speaker,
            (false, false) => Rank::Idle,
        };
        let (network, server) = (Arc::clone(&self.network), self.session.server().to_owned());
        let has_words = Arc::new(Notify::new());
        let told = Arc::clone(&has_words);
        self.phase = Phase::Dialing(Box::pin(async move { network.dial(&server, rank, &told).await }), has_words);
    }

    fn hang_up(&mut self) {
        let held = self.held.take();
        match &mut self.phase {
            Phase::Connected(wire) => {
                // The journal hasn't answered in time: its lines stay, and the goodbye doesn't.
                if let Some(held) = held {
                    wire.push(&held.behind);
                }
                wire.leave(Instant::now());
            }
            Phase::Idle | Phase::Dialing(..) => self.phase = Phase::Idle,
        }
    }

    fn enter(&mut self, news: LinkState, now: Now) {
        let stage = Stage::of(&news);
        match &news {
            LinkState::Ready { isupport, .. } => {
                info!(link.id = %self.id, "on the network");
                if let Phase::Connected(wire) = &mut self.phase {
                    wire.set_linelen(isupport.linelen);
                }
            }
            LinkState::Refused { failure } => {
                let reason = failure.to_string();
                warn!(link.id = %self.id, reason, "refused by the network; it isn't tried again until someone acts");
            }
            _ => debug!(link.id = %self.id, ?stage, "link"),
        }
        if stage == Stage::Closed {
            self.hang_up();
        }
        self.network.count(self.stage.replace(stage), Some(stage));
        self.tell(PoolEventBody::State(news), now.unix);
    }

    fn tell(&mut self, body: PoolEventBody, at: Millis) {
        let key = self.key;
        self.key.seq += 1;
        self.outbox.push(PoolEvent { link: self.id.clone(), key, at, body });
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if self.retired {
            self.network.count(self.stage, None);
            return;
        }
        // The task was stopped (shutdown has an end), or the code that you are reading has a fault.
        let state = if std::thread::panicking() {
            let detail = "a fault in the bridge, which its log tells of";
            LinkState::Refused { failure: Failure::certain(Reason::LinkRefused).with_detail(detail) }
        } else {
            LinkState::Closed
        };
        self.enter(state, self.common.now());
        self.network.count(self.stage, None);
        self.registrar.bury(&self.id, &self.mailbox);
    }
}

#[cfg(test)]
mod tests;
