//! What became of the lines that went out.
//!
//! Proof, best first: the answer that carries the line's label (labeled-response); our own line coming back
//! (echo-message); the answer to a PING sent after it, without an error in between (the *barrier*). A line that is
//! still undecided after [`PATIENCE`] is asked about with a barrier in any case, so that none pends for ever.
//!
//! An error that doesn't name its line is the oldest one's where the server echoes: the lines before it came back.
//! Where only the barrier proves anything, it may be any line's that it could mean: it is kept until the barrier has
//! come back, and if fewer errors came than there are such lines, all of these are uncertain.
//!
//! A command is decided when all of its lines are: delivered only if each was; else its failure says how many lines of
//! its author's arrived, and it is certain only if that of each line is. Its fate is told exactly once.

use std::collections::VecDeque;

use super::Output;
use crate::model::{Arrived, CaseMapping, CommandId, Failure, Fate, Reason};

/// How long an echo or a labelled answer may take before we ask. In milliseconds.
const PATIENCE: u64 = 10_000;
/// Without echo or labels: the shortest time between two questions, in milliseconds ...
const PAUSE: u64 = 2_000;
/// ... unless so many lines have gone out since the last one.
const MANY: usize = 20;
/// A server that doesn't answer a question for so long is gone. In milliseconds.
const SILENCE: u64 = 180_000;

/// How this server proves that it took a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// By the label of its answer.
    Label,
    /// By our line coming back.
    Echo,
    /// By the order of its answers alone.
    Barrier,
}

/// What kind of line went out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Privmsg,
    Notice,
    Topic,
    Kick,
    Mode,
    Invite,
}

impl Verb {
    /// Any kind of line.
    pub(super) const ANY: &[Self] = &[Self::Privmsg, Self::Notice, Self::Topic, Self::Kick, Self::Mode, Self::Invite];
    /// What is said.
    pub(super) const SAID: &[Self] = &[Self::Privmsg, Self::Notice];

    /// The kinds of line that a command's name means; none if none of ours.
    pub(super) fn named(command: &str) -> &'static [Self] {
        match command.to_ascii_uppercase().as_str() {
            "PRIVMSG" => &[Self::Privmsg],
            "NOTICE" => &[Self::Notice],
            "TOPIC" => &[Self::Topic],
            "KICK" => &[Self::Kick],
            "MODE" => &[Self::Mode],
            "INVITE" => &[Self::Invite],
            _ => &[],
        }
    }
}

/// What of a command a line is, counted in lines as its author wrote them: one may need several of ours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    /// The line that it is of, or a part of.
    pub(super) line: u32,
    /// How many lines are out in full after it.
    pub(super) out: u32,
    /// How many there are.
    pub(super) of: u32,
}

impl Piece {
    /// All of a command.
    pub(super) const WHOLE: Self = Self { line: 0, out: 1, of: 1 };
}

/// A line on its way.
#[derive(Debug)]
struct Sent {
    serial: u64,
    command: CommandId,
    line: u32,
    verb: Verb,
    target: Box<str>,
    /// What it is about besides its target: who is to be kicked or invited, or the modes' arguments, with blanks between.
    about: Option<Box<str>>,
    at: u64,
}

impl Sent {
    fn may_be_meant(&self, name: Option<&str>, verbs: &[Verb], mapping: CaseMapping) -> bool {
        let mut about = self.about.iter().flat_map(|about| about.split(' '));
        let is_named = |name: &str| mapping.same(&self.target, name) || about.any(|about| mapping.same(about, name));
        verbs.contains(&self.verb) && name.is_none_or(is_named)
    }
}

/// An error that may be any of several commands' lines', until a question is answered.
#[derive(Debug)]
struct Refusal {
    name: Option<Box<str>>,
    verbs: &'static [Verb],
    mapping: CaseMapping,
    failure: Failure,
    count: usize,
}

/// A command of which lines have gone out.
#[derive(Debug)]
struct Tally {
    command: CommandId,
    undecided: u32,
    /// Whether all lines of the command have gone out.
    complete: bool,
    failure: Option<Failure>,
    msgid: Option<String>,
    /// How many lines its author wrote.
    of: u32,
    /// How many of them have gone out in full.
    out: u32,
    /// The first of them that has failed.
    first_lost: u32,
    /// The last of them of which something has arrived.
    last_arrived: Option<u32>,
}

impl Tally {
    const fn new(command: CommandId) -> Self {
        Self {
            command,
            undecided: 0,
            complete: false,
            failure: None,
            msgid: None,
            of: 0,
            out: 0,
            first_lost: u32::MAX,
            last_arrived: None,
        }
    }

    /// A line, or what there was to come, failed.
    fn failed(&mut self, failure: Failure) {
        match &mut self.failure {
            Some(first) => first.certain &= failure.certain,
            None => self.failure = Some(failure),
        }
    }

    /// What became of it all.
    fn fate(self) -> Fate {
        let Some(failure) = self.failure else { return Fate::Delivered { msgid: self.msgid } };
        let first = self.first_lost.min(self.out);
        let arrived = match self.last_arrived {
            None => Arrived::Nothing,
            Some(last) if last < first => Arrived::Lines { first, of: self.of },
            Some(_) => Arrived::Part,
        };
        Fate::Failed(Failure { arrived, ..failure })
    }
}

/// The lines on their way, and what is known of their commands.
#[derive(Debug)]
pub(super) struct Receipts {
    pub(super) proof: Proof,
    sent: VecDeque<Sent>,
    commands: Vec<Tally>,
    /// What was refused, if it isn't known of which line.
    refusals: Vec<Refusal>,
    next: u64,
    /// Lines before this serial have been asked about.
    asked: u64,
    /// When the last question went out.
    asked_at: u64,
    /// When the oldest question without an answer went out.
    unanswered_since: Option<u64>,
    /// A question is due, whatever the rest says.
    pub(super) due: bool,
}

impl Receipts {
    pub(super) const fn new() -> Self {
        Self {
            proof: Proof::Barrier,
            sent: VecDeque::new(),
            commands: Vec::new(),
            refusals: Vec::new(),
            next: 0,
            asked: 0,
            asked_at: 0,
            unanswered_since: None,
            due: false,
        }
    }

    /// The serial of the line to be written next: its label.
    pub(super) const fn next_serial(&self) -> u64 {
        self.next
    }

    /// A line goes out: this piece of the command.
    pub(super) fn sent(
        &mut self,
        command: CommandId,
        verb: Verb,
        target: &str,
        about: Option<&str>,
        piece: Piece,
        now: u64,
    ) {
        let (serial, target, about) = (self.next, target.into(), about.map(Into::into));
        self.next += 1;
        self.sent.push_back(Sent { serial, command, line: piece.line, verb, target, about, at: now });
        let tally = self.tally(command);
        tally.undecided += 1;
        (tally.out, tally.of) = (piece.out, piece.of);
        tally.complete = piece.out == piece.of;
    }

    /// No more lines of the command will go out. With a failure, it has failed.
    pub(super) fn complete(&mut self, command: CommandId, failure: Option<Failure>, out: &mut Vec<Output>) {
        let tally = self.tally(command);
        tally.complete = true;
        if let Some(failure) = failure {
            tally.failed(failure);
        }
        self.conclude(command, out);
    }

    /// Whether a line of the command has failed already.
    pub(super) fn has_failed(&self, command: CommandId) -> bool {
        self.commands.iter().any(|tally| tally.command == command && tally.failure.is_some())
    }

    /// Our own line came back. False if none like it is on its way.
    pub(super) fn echo(
        &mut self,
        verb: Verb,
        target: &str,
        mapping: CaseMapping,
        msgid: Option<String>,
        out: &mut Vec<Output>,
    ) -> bool {
        let at = self.sent.iter().position(|sent| sent.verb == verb && mapping.same(&sent.target, target));
        at.is_some_and(|at| self.decide(at, Ok(msgid), out))
    }

    /// An answer with a label came.
    pub(super) fn labelled(&mut self, serial: u64, verdict: Result<Option<String>, Failure>, out: &mut Vec<Output>) {
        if let Ok(at) = self.sent.binary_search_by_key(&serial, |sent| sent.serial) {
            self.decide(at, verdict, out);
        }
    }

    /// An error came for `name` (a target, or whom a line was about; `None` if it doesn't say), about lines of these
    /// kinds. False if none like that is on its way.
    pub(super) fn refused(
        &mut self,
        name: Option<&str>,
        verbs: &'static [Verb],
        mapping: CaseMapping,
        failure: Failure,
        out: &mut Vec<Output>,
    ) -> bool {
        let is_meant = |sent: &Sent| sent.may_be_meant(name, verbs, mapping);
        let Some(oldest) = self.sent.iter().position(is_meant) else { return false };
        let command = self.sent[oldest].command;
        let one_command = self.sent.iter().filter(|sent| is_meant(sent)).all(|sent| sent.command == command);
        if self.proof != Proof::Barrier || one_command {
            return self.decide(oldest, Err(failure), out);
        }
        let name: Option<Box<str>> = name.map(Into::into);
        match self.refusals.iter_mut().find(|refusal| refusal.name == name && refusal.verbs == verbs) {
            Some(refusal) => refusal.count += 1,
            None => self.refusals.push(Refusal { name, verbs, mapping, failure, count: 1 }),
        }
        true
    }

    /// Decides what the errors before the answer to the question `serial` were about: lines that went out before it.
    fn settle_refusals(&mut self, serial: u64, out: &mut Vec<Output>) {
        for refusal in std::mem::take(&mut self.refusals) {
            let Refusal { name, verbs, mapping, failure, count } = refusal;
            let is_meant = |sent: &Sent| sent.serial < serial && sent.may_be_meant(name.as_deref(), verbs, mapping);
            let meant = self.sent.iter().filter(|sent| is_meant(sent)).count();
            let failure = Failure { certain: failure.certain && count >= meant, ..failure };
            while let Some(at) = self.sent.iter().position(is_meant) {
                self.decide(at, Err(failure.clone()), out);
            }
        }
    }

    /// The question `serial` was answered: everything that went out before it was taken.
    pub(super) fn answered(&mut self, serial: u64, now: u64, out: &mut Vec<Output>) {
        if serial > self.asked {
            return; // Never asked: somebody plays tricks.
        }
        self.settle_refusals(serial, out);
        while self.sent.front().is_some_and(|sent| sent.serial < serial) {
            self.decide(0, Ok(None), out);
        }
        // An answer counts for every question before it.
        self.unanswered_since = if self.asked > serial { Some(now) } else { None };
    }

    /// The connection is over: what is undecided stays so.
    pub(super) fn abandon(&mut self, failure: &Failure, out: &mut Vec<Output>) {
        self.settle_refusals(u64::MAX, out);
        while !self.sent.is_empty() {
            self.decide(0, Err(failure.clone()), out);
        }
        self.due = false;
        self.unanswered_since = None;
    }

    /// Whether a question is due now. `idle`: nothing else waits to be sent.
    pub(super) fn is_due(&self, idle: bool, now: u64) -> bool {
        self.due || self.due_at(idle).is_some_and(|at| at <= now)
    }

    /// When a question will be due; `None` if there is nothing to ask.
    fn due_at(&self, idle: bool) -> Option<u64> {
        let first = self.sent.partition_point(|sent| sent.serial < self.asked);
        let oldest = self.sent.get(first)?;
        let patient = oldest.at + PATIENCE;
        Some(match self.proof {
            Proof::Barrier if self.sent.len() - first >= MANY => 0,
            Proof::Barrier if idle && self.asked == 0 => 0,
            Proof::Barrier if idle => patient.min(self.asked_at + PAUSE),
            _ => patient,
        })
    }

    /// When to look again: at a question that will be due, or a server that is gone.
    pub(super) fn timer(&self, idle: bool) -> Option<u64> {
        let gone = self.unanswered_since.map(|since| since + SILENCE);
        // What is due already only waits to be pulled.
        let due = if self.due { None } else { self.due_at(idle) };
        gone.into_iter().chain(due).min()
    }

    /// Whether a question has been without an answer for too long.
    pub(super) fn is_gone(&self, now: u64) -> bool {
        self.unanswered_since.is_some_and(|since| now >= since + SILENCE)
    }

    /// Asks: the number that the PING is to carry.
    pub(super) fn ask(&mut self, now: u64) -> u64 {
        self.due = false;
        self.asked = self.next;
        self.asked_at = now;
        self.unanswered_since.get_or_insert(now);
        self.asked
    }

    /// Whether anything is undecided.
    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    fn tally(&mut self, command: CommandId) -> &mut Tally {
        let at = self.commands.iter().position(|tally| tally.command == command).unwrap_or_else(|| {
            self.commands.push(Tally::new(command));
            self.commands.len() - 1
        });
        &mut self.commands[at]
    }

    fn decide(&mut self, at: usize, verdict: Result<Option<String>, Failure>, out: &mut Vec<Output>) -> bool {
        let Some(sent) = self.sent.remove(at) else { return false };
        let tally = self.tally(sent.command);
        tally.undecided -= 1;
        match verdict {
            Ok(msgid) => {
                tally.msgid = msgid.or(tally.msgid.take());
                tally.last_arrived = tally.last_arrived.max(Some(sent.line));
            }
            Err(failure) => {
                tally.first_lost = tally.first_lost.min(sent.line);
                tally.failed(failure);
            }
        }
        self.conclude(sent.command, out);
        true
    }

    fn conclude(&mut self, command: CommandId, out: &mut Vec<Output>) {
        let done = self.commands.iter().position(|t| t.command == command && t.complete && t.undecided == 0);
        if let Some(at) = done {
            let tally = self.commands.remove(at);
            out.push(Output::Fate(command, tally.fate()));
        }
        if self.sent.is_empty() && self.commands.is_empty() && self.sent.capacity() > 16 {
            // A quiet link keeps nothing of its busy hour.
            (self.sent, self.commands, self.refusals) = (VecDeque::new(), Vec::new(), Vec::new());
        }
    }
}

/// What an error numeric means for something that was sent; `None` if it isn't known to be about that.
pub(super) const fn reason_of(numeric: u16) -> Option<Reason> {
    use super::numeric as n;
    Some(match numeric {
        n::ERR_NOSUCHNICK => Reason::NoSuchNick,
        n::ERR_USERNOTINCHANNEL => Reason::NotThere,
        n::ERR_USERONCHANNEL => Reason::ThereAlready,
        n::ERR_BANLISTFULL => Reason::ListFull,
        n::ERR_NOSUCHCHANNEL => Reason::NoSuchChannel,
        n::ERR_CANNOTSENDTOCHAN | n::ERR_NOCOLORSONCHAN | n::ERR_NOCTCP | n::ERR_WORDFILTERED => Reason::CannotSend,
        n::ERR_NOTONCHANNEL => Reason::NotJoined,
        n::ERR_NEEDREGGEDNICK | n::ERR_NONONREG | n::ERR_SECUREONLYCHAN => Reason::NeedsAccount,
        n::ERR_TARGETTOOFAST | n::ERR_TARGCHANGE => Reason::TooFast,
        n::ERR_NOSUCHSERVER
        | n::ERR_INPUTTOOLONG
        | n::ERR_TOOMANYTARGETS
        | n::ERR_NORECIPIENT
        | n::ERR_NOTEXTTOSEND
        | n::ERR_BADMASK
        | n::ERR_UNAVAILRESOURCE
        | n::ERR_NOPRIVILEGES
        | n::ERR_CHANOPRIVSNEEDED
        | n::ERR_UNKNOWNMODE
        | n::ERR_INVALIDMODEPARAM
        | n::ERR_CANTSENDTOUSER
        | n::ERR_TARGUMODEG => Reason::Refused,
        _ => return None,
    })
}

/// Whether `numeric`, as the answer to a line of ours, says that the line was not taken: every error, and what servers
/// have added to errors from 600 on, among much that only tells something.
pub(super) const fn is_refusal(numeric: u16) -> bool {
    // WATCH, WHOIS and STARTTLS; HELP; KNOCK; +g, notices to operators, lists, MONITOR; metadata; logins.
    let tells = matches!(numeric, 600..=689 | 704..=706 | 710..=715 | 717..=722 | 725..=734 | 750..=774 | 900..=903);
    reason_of(numeric).is_some() || (numeric >= 400 && !tells)
}

#[cfg(test)]
mod tests;
