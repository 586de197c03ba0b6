//! What people say to us, and to channels that we observe.

use super::{Now, Output, Session, State, heard::Heard, incoming::tell, receipts::Verb, skim};
use crate::{
    irc::{
        codec::decode,
        ctcp,
        wire::{Line, LineWriter},
    },
    model::{IrcEvent, TextKind, TextTarget},
};

/// At most so many CTCP answers ...
const CTCP_ANSWERS: u8 = 3;
/// ... in so many milliseconds.
const CTCP_WINDOW: u64 = 10_000;

impl Session {
    /// PRIVMSG and NOTICE.
    pub(super) fn text(&mut self, line: &Line<'_>, verb: Verb, now: Now, out: &mut Vec<Output>) {
        let text = decode(line.param(1), self.encoding);
        if self.is_me(line.nick()) {
            return self.own_line_came_back(verb, line, out);
        }
        let source = self.source(line);
        // Servers speak without a user name, and only of themselves.
        if source.user.is_none() && (verb == Verb::Notice || source.nick.contains('.') || source.nick.is_empty()) {
            return;
        }
        let target = if self.is_me(line.param(0)) {
            TextTarget::Own
        } else if let Some(target) = self.channel_target(line.param(0)) {
            target
        } else {
            return; // To everybody on the server, or to a channel that another link observes.
        };
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

    /// Tells what was said in a channel while we stood by: we observe it now.
    pub(super) fn recall(&mut self, channel: String, mut heard: Heard, now: Now, out: &mut Vec<Output>) {
        heard.forget(now.unix);
        out.push(Output::Event(IrcEvent::Recalls { channel, since: heard.from() }, None));
        for (at, line) in heard.into_lines() {
            let Ok(line) = Line::parse(&line) else { continue };
            let verb = if line.command == b"NOTICE" { Verb::Notice } else { Verb::Privmsg };
            let told = out.len();
            self.text(&line, verb, now, out);
            for output in &mut out[told..] {
                if let Output::Event(_, time @ None) = output {
                    *time = Some(at);
                }
            }
        }
    }

    /// The observed channel that a message is for.
    pub(super) fn channel_target(&self, target: &[u8]) -> Option<TextTarget> {
        let channel = skim::channel_of(target, &self.isupport);
        let ranks = &target[..target.len() - channel.len()];
        let channel = self.channels.get(channel, self.isupport.casemapping).filter(|channel| channel.is_watched())?;
        let name = channel.name.to_string();
        Some(TextTarget::Channel { name, status: ranks.first().copied().map(char::from) })
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
