//! What the server's lines mean, once skimmed: which part of the session each is for.

use super::{
    Now, Output, Session, State,
    channels::{Channel, Names},
    connection::{Batch, BatchKind, Connection, Phase},
    numeric,
    receipts::Verb,
    registration::isupport_line,
    skim,
};
use crate::{
    irc::{
        codec::decode,
        ctcp, roster,
        wire::{Line, unescape},
    },
    model::{IrcEvent, LinkState, Millis, Source},
};

/// More open batches than a server needs; further ones are read as if they were none.
const MOST_BATCHES: usize = 16;

impl Session {
    /// Takes a line. False if it changed nothing but the time at which the server was last heard.
    pub(super) fn line(&mut self, bytes: &[u8], now: Now, out: &mut Vec<Output>) -> bool {
        let State::On(connection) = &mut self.state else { return false };
        connection.heard = now.monotonic;
        let Ok(line) = Line::parse(bytes) else { return false };
        if connection.is_ready() && skim::is_noise(&line, connection, &self.channels, &self.isupport) {
            if matches!(line.command, b"PRIVMSG" | b"NOTICE") && !connection.is_old(&line) {
                let channel = skim::channel_of(line.param(0), &self.isupport);
                self.channels.hear(channel, bytes, self.isupport.casemapping, now.unix);
            }
            return false;
        }
        if connection.is_old(&line) {
            return false;
        }
        self.learn_own_mask(&line, out);
        match line.numeric() {
            Some(number) => self.numeric(number, &line, now, out),
            None => self.command(&line, now, out),
        }
        true
    }

    fn command(&mut self, line: &Line<'_>, now: Now, out: &mut Vec<Output>) {
        match line.command {
            b"PING" => {
                self.urgent(out, |writer| writer.pong(line.param(0)));
            }
            b"PONG" => self.pong(line, now, out),
            b"ERROR" => {
                let words = decode(line.last_param(), self.encoding).into_owned();
                self.error_line(&words, now, out);
            }
            b"CAP" => self.cap(line, now, out),
            b"AUTHENTICATE" => self.authenticate(line, out),
            _ if !self.is_registered() => {}
            b"BATCH" => self.batch(line, out),
            b"FAIL" => self.fail_reply(line, out),
            b"ACK" => self.ack(line, out),
            // All that follows is somebody's doing.
            _ if line.nick().is_empty() => {}
            b"PRIVMSG" => self.text(line, Verb::Privmsg, now, out),
            b"NOTICE" => self.text(line, Verb::Notice, now, out),
            b"JOIN" => self.join(line, out),
            b"PART" => self.part(line, out),
            b"KICK" => self.kick(line, out),
            b"QUIT" => self.quit(line, now, out),
            b"NICK" => self.nick(line, now, out),
            b"TOPIC" => self.topic_changed(line, out),
            b"INVITE" => self.invite(line, out),
            b"MODE" => self.mode_changed(line, out),
            b"ACCOUNT" if self.channels.any_watched() && !self.is_me(line.nick()) => self.account_changed(line, out),
            b"CHGHOST" if self.channels.any_watched() && !self.is_me(line.nick()) => self.rehosted(line, out),
            b"KILL" if self.is_me(line.param(0)) => self.kill_verdict(line),
            _ => {}
        }
    }

    fn numeric(&mut self, number: u16, line: &Line<'_>, now: Now, out: &mut Vec<Output>) {
        // 466 only warns of it: the connection may go on for days and end otherwise.
        if number == numeric::ERR_YOUREBANNEDCREEP {
            return self.ban_verdict(line);
        }
        if self.login_numeric(number, line, now, out) {
            return;
        }
        if !self.is_registered() {
            return self.registration_numeric(number, line, now, out);
        }
        if matches!(&self.state, State::On(connection) if matches!(connection.phase, Phase::Settling(_))) {
            self.greeting_numeric(number, line, now, out);
        }
        if self.question_answered(number, line, out) {
            return;
        }
        match number {
            numeric::RPL_ISUPPORT => self.isupport_again(line, out),
            numeric::RPL_HOSTHIDDEN if self.is_me(line.param(0)) => {
                let host = self.text_of(line.param(1));
                match host.split_once('@') {
                    Some((user, host)) => self.seen_as(Some(user.to_owned()), Some(host.to_owned()), out),
                    None => self.seen_as(None, Some(host), out),
                }
            }
            numeric::RPL_WHOISUSER if self.is_me(line.param(1)) => {
                let (user, host) = (self.text_of(line.param(2)), self.text_of(line.param(3)));
                self.seen_as(Some(user), Some(host), out);
            }
            numeric::RPL_NOTOPIC => self.topic_told(line.param(1), b"", line, out),
            numeric::RPL_TOPIC => self.topic_told(line.param(1), line.param(2), line, out),
            numeric::RPL_NAMREPLY => {
                let (isupport, encoding) = (&self.isupport, self.encoding);
                let names = decode(line.param(3), encoding);
                let channel = self.channels.get_mut(&decode(line.param(2), encoding), isupport.casemapping);
                if let Some(Channel { names: Names::Gathering(roster), .. }) = channel {
                    roster.add(&names, isupport);
                }
            }
            numeric::RPL_ENDOFNAMES => self.names_end(line, out),
            _ if self.told_more(number, line, out) => {}
            _ => self.answer_numeric(number, line, now, out),
        }
    }

    /// 005 after the greeting: the server has changed its mind.
    fn isupport_again(&mut self, line: &Line<'_>, out: &mut Vec<Output>) {
        if !self.is_ready() {
            return;
        }
        let mut changed = (*self.isupport).clone();
        isupport_line(&mut changed, line);
        if changed != *self.isupport {
            self.set_isupport(changed);
            let State::On(connection) = &self.state else { return };
            let (nick, isupport) = (connection.me.nick.clone(), std::sync::Arc::clone(&self.isupport));
            out.push(Output::State(LinkState::Ready { nick, isupport }));
        }
    }

    pub(super) fn set_isupport(&mut self, isupport: crate::model::Isupport) {
        let before = self.isupport.casemapping;
        self.isupport = self.isupports.share(isupport);
        if self.isupport.casemapping != before {
            self.channels.refold(self.isupport.casemapping);
        }
    }

    /// The answer to a question of ours: `PONG server :fb17`.
    fn pong(&mut self, line: &Line<'_>, now: Now, out: &mut Vec<Output>) {
        let State::On(connection) = &mut self.state else { return };
        let serial = line.last_param().strip_prefix(b"fb").and_then(|n| std::str::from_utf8(n).ok()?.parse().ok());
        if let Some(serial) = serial {
            connection.receipts.answered(serial, now.monotonic, out);
        }
    }

    /// `BATCH +ref type …` and `BATCH -ref`.
    fn batch(&mut self, line: &Line<'_>, out: &mut Vec<Output>) {
        let State::On(connection) = &mut self.state else { return };
        match line.param(0).split_first() {
            Some((b'+', reference)) => {
                let kind = match line.param(1) {
                    b"labeled-response" => connection.label_of(line).map(BatchKind::Answer),
                    b"chathistory" => Some(BatchKind::History),
                    _ => None, // Netsplits and the like: their lines mean what they mean elsewhere.
                };
                if let Some(kind) = kind.filter(|_| connection.batches.len() < MOST_BATCHES) {
                    connection.batches.push(Batch { reference: reference.into(), kind });
                }
            }
            Some((b'-', reference)) => {
                let Some(at) = connection.batches.iter().position(|batch| *batch.reference == *reference) else {
                    return;
                };
                if let BatchKind::Answer(label) = connection.batches.swap_remove(at).kind {
                    connection.receipts.labelled(label, Ok(None), out);
                }
            }
            _ => {}
        }
    }

    /// User and host of lines that are ours are what others see of us.
    fn learn_own_mask(&mut self, line: &Line<'_>, out: &mut Vec<Output>) {
        if !self.is_me(line.nick()) {
            return;
        }
        let seen = match (line.command, std::str::from_utf8(line.source.unwrap_or_default())) {
            (b"CHGHOST", _) => {
                let (user, host) = (line.param(0), line.param(1));
                let word = |bytes| Some(decode(bytes, self.encoding).into_owned()).filter(|word| !word.is_empty());
                (word(user), word(host))
            }
            (_, Ok(source)) => {
                let Source { user, host, .. } = roster::source(source);
                (user, host)
            }
            _ => return,
        };
        if let (Some(user), Some(host)) = seen {
            self.seen_as(Some(user), Some(host), out);
        }
    }

    /// Others see us so; what isn't said is as before.
    fn seen_as(&mut self, user: Option<String>, host: Option<String>, out: &mut Vec<Output>) {
        let State::On(connection) = &mut self.state else { return };
        let me = &mut connection.me;
        let (user, host) = (user.or_else(|| me.user.clone()), host.or_else(|| me.host.clone()));
        if (&user, &host) == (&me.user, &me.host) {
            return;
        }
        (me.user, me.host) = (user, host);
        if connection.is_ready() {
            out.extend(connection.mask().map(|mask| Output::Event(mask, None)));
        }
    }

    pub(super) fn is_me(&self, nick: &[u8]) -> bool {
        matches!(&self.state, State::On(connection)
            if self.isupport.casemapping.same_bytes(nick, connection.me.nick.as_bytes()))
    }

    /// The name of an observed channel, as the server writes it.
    pub(super) fn watched(&self, name: &[u8]) -> Option<String> {
        let channel = self.channels.get(name, self.isupport.casemapping).filter(|channel| channel.is_watched())?;
        Some(channel.name.to_string())
    }

    pub(super) fn text_of(&self, bytes: &[u8]) -> String {
        decode(bytes, self.encoding).into_owned()
    }

    /// A reason, if there is any.
    pub(super) fn words(&self, bytes: &[u8]) -> Option<String> {
        Some(self.text_of(bytes)).filter(|words| !words.is_empty())
    }

    pub(super) fn source(&self, line: &Line<'_>) -> Source {
        roster::source(&decode(line.source.unwrap_or_default(), self.encoding))
    }

    pub(super) fn tag(&self, line: &Line<'_>, key: &str) -> Option<String> {
        let value = line.tags.get(key)?;
        Some(self.text_of(&unescape(value))).filter(|value| !value.is_empty())
    }
}

/// Tells an event, with the time that the server gives it.
pub(super) fn tell(line: &Line<'_>, event: IrcEvent, out: &mut Vec<Output>) {
    let at: Option<Millis> = line.tags.get("time").and_then(ctcp::server_time);
    out.push(Output::Event(event, at));
}

impl Connection {
    /// The label of our line that `line` answers, given on itself or on the batch that it is in.
    pub(super) fn label_of(&self, line: &Line<'_>) -> Option<u64> {
        if let Some(label) = line.tags.get("label") {
            return std::str::from_utf8(label).ok()?.parse().ok();
        }
        match self.batch_of(line)?.kind {
            BatchKind::Answer(label) => Some(label),
            BatchKind::History => None,
        }
    }

    fn batch_of(&self, line: &Line<'_>) -> Option<&Batch> {
        if self.batches.is_empty() {
            return None;
        }
        let reference = line.tags.get("batch")?;
        self.batches.iter().find(|batch| *batch.reference == *reference)
    }

    fn is_old(&self, line: &Line<'_>) -> bool {
        self.batch_of(line).is_some_and(|batch| batch.kind == BatchKind::History)
    }
}
