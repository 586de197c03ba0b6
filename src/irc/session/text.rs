//! What people say to us, and to channels that we observe.

use super::{Now, Output, Session, State, heard::Heard, incoming::tell, receipts::Verb, skim};
use crate::{
    irc::{
        codec::decode,
        ctcp,
        wire::{Line, LineWriter},
    },
    model::{IrcEvent, Role, TextKind, TextTarget},
};

/// At most so many CTCP answers ...
const CTCP_ANSWERS: u8 = 3;
/// ... in so many milliseconds.
const CTCP_WINDOW: u64 = 10_000;

impl Session {
    /// PRIVMSG and NOTICE.
    pub(super) fn text(&mut self, line: &Line<'_>, verb: Verb, now: Now, out: &mut Vec<Output>) {
        if self.is_me(line.nick()) {
            return self.own_line_came_back(verb, line, out);
        }
        let target = if self.is_me(line.param(0)) {
            TextTarget::Own
        } else if let Some(target) = self.channel_target(line.param(0)) {
            target
        } else {
            return; // To everybody on the server, or to a channel that another link observes.
        };
        self.said(line, verb, target, now, out);
    }

    /// What somebody else said.
    fn said(&mut self, line: &Line<'_>, verb: Verb, target: TextTarget, now: Now, out: &mut Vec<Output>) {
        let text = decode(line.param(1), self.encoding);
        let source = self.source(line);
        // Servers speak without a user name, and only of themselves.
        if source.user.is_none() && (verb == Verb::Notice || source.nick.contains('.') || source.nick.is_empty()) {
            return;
        }
        let (kind, text) = match (verb, ctcp::parse(&text)) {
            (Verb::Privmsg, None) => (TextKind::Privmsg, &*text),
            (_, None) => (TextKind::Notice, &*text),
            (_, Some((command, words))) if command.eq_ignore_ascii_case("ACTION") => {
                (if verb == Verb::Privmsg { TextKind::Action } else { TextKind::Notice }, words)
            }
            (Verb::Privmsg, Some((command, argument))) if target == TextTarget::Own => {
                return self.answer_ctcp(&source.nick, command, argument, now);
            }
            _ => return,
        };
        if !text.is_empty() {
            let (msgid, account) = (self.tag(line, "msgid"), self.tag(line, "account"));
            let text = text.to_owned();
            tell(line, IrcEvent::Text { source, target, kind, text, msgid, account }, out);
        }
    }

    /// How closely to follow a channel from now on. What was heard while we stood by is told, and an observer says in any
    /// case since when it tells.
    pub(super) fn observe(&mut self, channel: &str, role: Role, now: Now, out: &mut Vec<Output>) {
        let mapping = self.isupport.casemapping;
        if !self.channels.observe(channel, role, mapping) {
            return;
        }
        match self.channels.take_heard(channel, mapping) {
            Some((channel, heard)) => self.tell_heard(&channel, *heard, now, out),
            None if role == Role::Observer => self.tell_heard(channel, Heard::since(now.unix), now, out),
            None => {}
        }
    }

    /// We leave a channel: what was heard there while we stood by is told, as the observer may have been deaf.
    pub(super) fn recall(&mut self, channel: &str, now: Now, out: &mut Vec<Output>) {
        if let Some((channel, heard)) = self.channels.take_heard(channel, self.isupport.casemapping) {
            self.tell_heard(&channel, *heard, now, out);
        }
    }

    /// [`Self::recall`] for every channel.
    pub(super) fn recall_all(&mut self, now: Now, out: &mut Vec<Output>) {
        for (channel, heard) in self.channels.take_all_heard() {
            self.tell_heard(&channel, *heard, now, out);
        }
    }

    fn tell_heard(&mut self, channel: &str, mut heard: Heard, now: Now, out: &mut Vec<Output>) {
        heard.forget(now.unix);
        out.push(Output::Event(IrcEvent::Recalls { channel: channel.to_owned(), since: heard.from() }, None));
        for (at, line) in heard.into_lines() {
            let Ok(line) = Line::parse(&line) else { continue };
            let verb = if line.command == b"NOTICE" { Verb::Notice } else { Verb::Privmsg };
            let told = out.len();
            let (_, status) = self.parts_of(line.param(0));
            self.said(&line, verb, TextTarget::Channel { name: channel.to_owned(), status }, now, out);
            for output in &mut out[told..] {
                if let Output::Event(_, time @ None) = output {
                    *time = Some(at);
                }
            }
        }
    }

    /// The observed channel that a message is for.
    pub(super) fn channel_target(&self, target: &[u8]) -> Option<TextTarget> {
        let (channel, status) = self.parts_of(target);
        let channel = self.channels.get(channel, self.isupport.casemapping).filter(|channel| channel.is_watched())?;
        Some(TextTarget::Channel { name: channel.name.to_string(), status })
    }

    /// The channel that a message is for, and the rank that it was limited to.
    fn parts_of<'a>(&self, target: &'a [u8]) -> (&'a [u8], Option<char>) {
        let channel = skim::channel_of(target, &self.isupport);
        let ranks = &target[..target.len() - channel.len()];
        (channel, ranks.first().copied().map(char::from))
    }

    pub(super) fn answer_ctcp(&mut self, to: &str, command: &str, argument: &str, now: Now) {
        let linelen = self.isupport.linelen;
        let State::On(connection) = &mut self.state else { return };
        let Some(answer) = ctcp::answer(command, argument, now.unix) else { return };
        let (since, count) = connection.ctcp;
        connection.ctcp = if now.monotonic >= since + CTCP_WINDOW { (now.monotonic, 1) } else { (since, count + 1) };
        if connection.ctcp.1 <= CTCP_ANSWERS {
            let mut wire = Vec::new();
            if LineWriter::new(&mut wire, linelen).notice(to, &answer).is_ok() {
                connection.chores.push_back(wire);
            }
        } else {
            connection.ctcp.1 = CTCP_ANSWERS;
        }
    }
}
