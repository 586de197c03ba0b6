//! What the bridge asks for, and the lines that it becomes, one by one as the flood budget allows.

use super::{
    Now, Output, Session, State,
    channels::{Place, Wish},
    connection::Connection,
    nicks,
    outbox::{Command, Current, What},
    receipts::{Piece, Proof, Receipts, Verb},
};
use crate::{
    irc::{
        ctcp,
        wire::{Illegal, LineWriter},
    },
    model::{
        CaseMapping, ChannelKey, CommandId, Failure, Fate, IrcAction, IrcEvent, Isupport, MatrixKey, Millis, Reason,
        TextKind,
    },
    translate,
};

impl Session {
    pub(super) fn action(&mut self, id: CommandId, action: IrcAction, now: Now, out: &mut Vec<Output>) {
        let mapping = self.isupport.casemapping;
        match action {
            IrcAction::Join { channels } => {
                for channel in channels {
                    out.extend(self.want(&channel, mapping));
                }
            }
            IrcAction::Part { channel, reason } => self.leave(id, channel, reason, out),
            IrcAction::Observe { channel, role } => {
                if let Some(heard) = self.channels.observe(&channel, role, mapping) {
                    self.recall(channel, *heard, now, out);
                }
            }
            IrcAction::Nick { nick } => self.rename(nick),
            IrcAction::AskNames { channel } => self.ask_names(channel),
            IrcAction::AskWhois { nick } => self.ask_whois(nick),
            IrcAction::Say { target, kind, lines, expires, journal } => {
                let lines: Vec<String> = lines.iter().flat_map(|line| translate::lines(line)).collect();
                if lines.is_empty() {
                    out.push(Output::Fate(id, Fate::Failed(Failure::certain(Reason::Unsupported))));
                    return;
                }
                self.queue(id, What::Say { target, kind, lines }, expires, journal, now, out);
            }
            IrcAction::Topic { channel, topic, expires, journal } => {
                let topic = translate::one_line(&topic);
                self.queue(id, What::Topic { channel, topic }, expires, journal, now, out);
            }
            IrcAction::Kick { channel, nick, reason, expires, journal } => {
                let reason = reason.map(|reason| translate::one_line(&reason));
                if !translate::possible_nick(&nick, &self.isupport) {
                    out.push(Output::Fate(id, Fate::Failed(Failure::certain(Reason::BadName))));
                    return;
                }
                self.queue(id, What::Kick { channel, nick, reason }, expires, journal, now, out);
            }
        }
    }

    /// Wants a channel; the refusal, if it can't be had.
    pub(super) fn want(&mut self, channel: &ChannelKey, mapping: CaseMapping) -> Option<Output> {
        let ChannelKey { name, key } = channel;
        let failure = if let State::Refused(failure) = &self.state {
            (**failure).clone()
        } else if !translate::valid_channel(name, &self.isupport) {
            Failure::certain(Reason::BadName)
        } else if key.as_deref().is_some_and(|key| !is_key(key)) {
            Failure::certain(Reason::BadKey)
        } else {
            self.outbox.cancel_part(name, mapping);
            self.channels.want(name, key.as_deref(), mapping);
            return None;
        };
        Some(Output::Event(IrcEvent::JoinRefused { channel: name.clone(), failure }, None))
    }

    /// Leaves a channel, in order: after what was said before, even if that can't be said yet.
    fn leave(&mut self, id: CommandId, channel: String, reason: Option<String>, out: &mut Vec<Output>) {
        let mapping = self.isupport.casemapping;
        let more_to_say = self.outbox.has_fated_for(&channel, mapping);
        let place = self.channels.unwant(&channel, more_to_say, mapping);
        // Where nothing is to be said, a JOIN that is on its way is answered with a PART when it has come back.
        if more_to_say || place == Place::In {
            let reason = reason.map(|reason| translate::one_line(&reason));
            let what = What::Part { channel, reason };
            let command = Command { id, what, expires: u64::MAX, journal: None };
            self.outbox.push(command, place != Place::In, self.network.limits.queue, out);
        }
    }

    fn rename(&mut self, nick: String) {
        if !translate::valid_nick(&nick, &self.isupport) {
            return;
        }
        self.spec.nick = nick;
        self.spec.alternatives = Vec::new();
        let wanted = self.wanted_nick().into_owned();
        if let State::On(connection) = &mut self.state {
            connection.regain.now = connection.me.nick != wanted;
        }
    }

    fn queue(
        &mut self,
        id: CommandId,
        what: What,
        expires: Millis,
        journal: Option<MatrixKey>,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let mapping = self.isupport.casemapping;
        let target = what.target();
        let channel = self.isupport.is_channel(target);
        let valid = if channel {
            translate::valid_channel(target, &self.isupport)
        } else {
            matches!(what, What::Say { .. }) && translate::possible_nick(target, &self.isupport)
        };
        let left = u64::try_from(expires.saturating_sub(now.unix)).unwrap_or(0);
        let failure = match &self.state {
            State::Refused(failure) => Some((**failure).clone()),
            State::Closed => Some(Failure::certain(Reason::Interrupted)),
            State::On(connection) if matches!(connection.phase, super::Phase::Draining) => {
                Some(Failure::certain(Reason::Interrupted))
            }
            _ if !valid => Some(Failure::certain(Reason::BadName)),
            _ if left == 0 => Some(Failure::certain(Reason::TooOld)),
            _ => None,
        };
        if let Some(failure) = failure {
            out.push(Output::Fate(id, Fate::Failed(failure)));
            return;
        }
        if channel {
            // Who speaks in a channel wants to be in it (R3). A PART waits only for one that isn't wanted any more, and
            // looking for it takes the longer the more waits.
            if !self.channels.is_wanted(target, mapping) {
                self.outbox.cancel_part(target, mapping);
            }
            self.channels.want(target, None, mapping);
        }
        let held = channel && !self.channels.is_in(target, mapping);
        let command = Command { id, what, expires: now.monotonic.saturating_add(left), journal };
        self.outbox.push(command, held, self.network.limits.queue, out);
    }

    /// What waits for a channel, or is half said in it, fails.
    pub(super) fn fail_channel(&mut self, channel: &str, failure: &Failure, out: &mut Vec<Output>) {
        let mapping = self.isupport.casemapping;
        self.outbox.fail_channel(channel, mapping, failure, out);
        let half_said = |current: &mut Box<Current>| mapping.same(&current.target, channel);
        if let Some(current) = self.outbox.current.take_if(half_said)
            && let State::On(connection) = &mut self.state
        {
            connection.receipts.complete(current.id, Some(failure.clone()), out);
        }
    }

    /// What waits for channels that nobody wants any more would wait for ever.
    pub(super) fn fail_unwanted(&mut self, out: &mut Vec<Output>) {
        let (isupport, channels) = (&self.isupport, &self.channels);
        let unwanted = |target: &str| {
            let channel = channels.get(target.as_bytes(), isupport.casemapping);
            isupport.is_channel(target) && channel.is_none_or(|channel| channel.wish == Wish::No)
        };
        self.outbox.fail_targets(unwanted, &Failure::certain(Reason::NotJoined), out);
    }

    /// A command of which a line has failed need not be said to its end.
    pub(super) fn give_up_failed(&mut self, out: &mut Vec<Output>) {
        if let State::On(connection) = &mut self.state
            && let Some(current) = self.outbox.current.take_if(|c| connection.receipts.has_failed(c.id))
        {
            connection.receipts.complete(current.id, None, out);
        }
    }

    /// A bot says that it is one, where the network has a mode for it.
    pub(super) fn mark_as_bot(&mut self) {
        let (true, Some(mode)) = (self.spec.link.is_bot(), self.isupport.bot_mode) else { return };
        let State::On(connection) = &mut self.state else { return };
        let mut wire = Vec::new();
        let line = LineWriter::new(&mut wire, self.isupport.linelen);
        if line.line("MODE", &[&connection.me.nick, &format!("+{mode}")], None).is_ok() {
            connection.chores.push_back(wire);
        }
    }

    pub(super) fn pull_line(&mut self, now: Now, wire: &mut Vec<u8>, starting: &mut Vec<MatrixKey>) -> bool {
        let State::On(connection) = &mut self.state else { return false };
        if !connection.is_ready() {
            return false;
        }
        let (isupport, owed, now) = (&*self.isupport, &mut self.owed, now.monotonic);
        self.outbox.expire(now, owed);
        let wanted = nicks::wanted(&self.spec, isupport);
        if std::mem::take(&mut connection.regain.now) && LineWriter::new(wire, isupport.linelen).nick(&wanted).is_ok() {
            return true;
        }
        if self.channels.pull(now, isupport, wire, owed) {
            return true;
        }
        if connection.receipts.is_due(!self.outbox.has_ready(), now) {
            let question = connection.receipts.ask(now);
            return LineWriter::new(wire, isupport.linelen).ping(&format!("fb{question}")).is_ok();
        }
        loop {
            if let Some(current) = &mut self.outbox.current {
                let written = next_line(current, connection, isupport, now, wire);
                let (id, done) = (current.id, current.lines.is_empty());
                if done || written.is_err() {
                    self.outbox.current = None;
                }
                match written {
                    Ok(()) => break,
                    Err(_) => connection.receipts.complete(id, Some(Failure::certain(Reason::Refused)), owed),
                }
            } else {
                let Some(command) = self.outbox.pop() else {
                    let Some(chore) = connection.chores.pop_front() else { return false };
                    wire.extend_from_slice(&chore);
                    return true;
                };
                starting.extend(command.journal);
                if begin(command, connection, &mut self.channels, &mut self.outbox.current, isupport, now, wire, owed) {
                    break;
                }
            }
        }
        if connection.receipts.is_due(!self.outbox.has_ready(), now) {
            connection.receipts.due = true;
        }
        true
    }
}

/// Begins a command. True if a line of it has been written.
#[expect(clippy::too_many_arguments, reason = "the parts of a session that it borrows one by one")]
fn begin(
    command: Command,
    connection: &mut Connection,
    channels: &mut super::Channels,
    current: &mut Option<Box<Current>>,
    isupport: &Isupport,
    now: u64,
    wire: &mut Vec<u8>,
    owed: &mut Vec<Output>,
) -> bool {
    let id = command.id;
    let receipts = &mut connection.receipts;
    let written = match command.what {
        What::Say { target, kind, lines } => {
            let of = count(lines.len());
            *current = Some(Box::new(Current { id, kind, target, lines: lines.into(), of, said: 0 }));
            return false;
        }
        What::Topic { channel, topic } => {
            let topic = cut(&topic, isupport.topiclen);
            let written = labelled(wire, receipts, isupport).topic(&channel, topic);
            written.map(|()| receipts.sent(id, Verb::Topic, &channel, None, Piece::WHOLE, now))
        }
        What::Kick { channel, nick, reason } => {
            let reason = reason.as_deref().map(|reason| cut(reason, isupport.kicklen));
            let written = labelled(wire, receipts, isupport).kick(&channel, &nick, reason);
            written.map(|()| receipts.sent(id, Verb::Kick, &channel, Some(&nick), Piece::WHOLE, now))
        }
        What::Part { channel, reason } => {
            channels.leaving(&channel, isupport.casemapping);
            return LineWriter::new(wire, isupport.linelen).part(&channel, reason.as_deref()).is_ok();
        }
    };
    if written.is_err() {
        owed.push(Output::Fate(id, Fate::Failed(Failure::certain(Reason::Refused))));
    }
    written.is_ok()
}

/// Writes the next line of a command that is being said: as much of what its author wrote as fits (R62), framed.
fn next_line(
    current: &mut Current,
    connection: &mut Connection,
    isupport: &Isupport,
    now: u64,
    wire: &mut Vec<u8>,
) -> Result<(), Illegal> {
    let budget = translate::budget(isupport.linelen, &connection.me, current.kind, &current.target);
    let number = current.of - count(current.lines.len());
    let line = current.lines.pop_front().unwrap_or_default();
    let (piece, rest) = translate::first_piece(&line[current.said..], budget);
    let writer = labelled(wire, &connection.receipts, isupport);
    let verb = match current.kind {
        TextKind::Notice => writer.notice(&current.target, piece).map(|()| Verb::Notice),
        TextKind::Action => writer.privmsg(&current.target, &ctcp::action(piece)).map(|()| Verb::Privmsg),
        TextKind::Privmsg => writer.privmsg(&current.target, piece).map(|()| Verb::Privmsg),
    }?;
    current.said = if rest.is_empty() { 0 } else { line.len() - rest.len() };
    if current.said > 0 {
        current.lines.push_front(line);
    }
    let piece = Piece { line: number, out: current.of - count(current.lines.len()), of: current.of };
    connection.receipts.sent(current.id, verb, &current.target, None, piece, now);
    Ok(())
}

fn count(lines: usize) -> u32 {
    u32::try_from(lines).unwrap_or(u32::MAX)
}

fn labelled<'w>(wire: &'w mut Vec<u8>, receipts: &Receipts, isupport: &Isupport) -> LineWriter<'w> {
    let label = (receipts.proof == Proof::Label).then(|| receipts.next_serial());
    LineWriter::new(wire, isupport.linelen).labelled(label)
}

fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && !key.starts_with(':') && !key.contains(|c: char| c == ',' || c.is_whitespace() || c.is_control())
}
