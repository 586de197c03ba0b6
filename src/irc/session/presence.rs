//! Who comes, goes and is called what: ourselves always, others where we observe.

use super::{
    Now, Output, Session, State,
    channels::{Joined, Names, Topic},
    incoming::tell,
    receipts::Verb,
};
use crate::{
    irc::{
        caps::Cap,
        codec::decode,
        wire::{Line, LineWriter},
    },
    model::{Failure, IrcEvent, Reason},
};

impl Session {
    pub(super) fn join(&mut self, line: &Line<'_>, out: &mut Vec<Output>) {
        let mapping = self.isupport.casemapping;
        for name in line.param(0).split(|b| *b == b',') {
            let name = decode(name, self.encoding);
            if !self.is_me(line.nick()) {
                let Some(channel) = self.watched(name.as_bytes()) else { continue };
                let extended = Some(line.param(1)).filter(|account| !matches!(*account, b"" | b"*"));
                let account = match &self.state {
                    State::On(connection) if connection.caps.has(Cap::ExtendedJoin) => extended,
                    _ => None,
                };
                let account = account.map(|account| self.text_of(account)).or_else(|| self.tag(line, "account"));
                tell(line, IrcEvent::Joined { channel, source: self.source(line), account }, out);
                continue;
            }
            let State::On(connection) = &mut self.state else { return };
            let names_follow = !connection.caps.has(Cap::NoImplicitNames);
            match self.channels.joined(&name, names_follow, mapping) {
                Joined::Stay => {
                    self.outbox.release(&name, mapping);
                    tell(line, IrcEvent::OwnJoined { channel: name.into_owned() }, out);
                }
                Joined::Ignore => {}
                Joined::Leave => {
                    let mut wire = Vec::new();
                    if LineWriter::new(&mut wire, self.isupport.linelen).part(&name, None).is_ok() {
                        connection.chores.push_back(wire);
                    }
                }
            }
        }
    }

    pub(super) fn part(&mut self, line: &Line<'_>, out: &mut Vec<Output>) {
        let mapping = self.isupport.casemapping;
        for name in line.param(0).split(|b| *b == b',') {
            if !self.is_me(line.nick()) {
                let Some(channel) = self.watched(name) else { continue };
                let event = IrcEvent::Parted { channel, source: self.source(line), reason: self.words(line.param(1)) };
                tell(line, event, out);
            } else if let Some(channel) = self.channels.get(name, mapping).map(|channel| channel.name.to_string()) {
                if !self.channels.left(&channel, mapping) {
                    self.fail_channel(&channel, &Failure::certain(Reason::NotJoined), out);
                }
                tell(line, IrcEvent::OwnParted { channel }, out);
            }
        }
    }

    pub(super) fn kick(&mut self, line: &Line<'_>, out: &mut Vec<Output>) {
        let mapping = self.isupport.casemapping;
        let name = line.param(0);
        if self.is_me(line.nick()) {
            self.own_line_came_back(Verb::Kick, line, out);
        }
        for nick in line.param(1).split(|b| *b == b',') {
            let reason = self.words(line.param(2));
            if !self.is_me(nick) {
                if let Some(channel) = self.watched(name) {
                    let (source, nick) = (self.source(line), self.text_of(nick));
                    tell(line, IrcEvent::Kicked { channel, source, nick, reason }, out);
                }
            } else if let Some(channel) = self.channels.get(name, mapping).map(|channel| channel.name.to_string()) {
                self.channels.thrown_out(&channel, mapping);
                let failure = Failure { detail: reason.clone(), ..Failure::certain(Reason::NotJoined) };
                self.fail_channel(&channel, &failure, out);
                let source = self.source(line);
                tell(line, IrcEvent::OwnKicked { channel, source, reason }, out);
            }
        }
    }

    pub(super) fn quit(&mut self, line: &Line<'_>, now: Now, out: &mut Vec<Output>) {
        if self.is_me(line.nick()) {
            return; // ERROR follows.
        }
        if self.channels.any_watched() {
            let split = matches!(&self.state, State::On(connection) if connection.is_of_split(line));
            let event = IrcEvent::Quit { source: self.source(line), reason: self.words(line.param(0)), split };
            tell(line, event, out);
        }
        self.nick_freed(line.nick(), now);
    }

    pub(super) fn nick(&mut self, line: &Line<'_>, now: Now, out: &mut Vec<Output>) {
        let nick = self.text_of(line.param(0));
        if nick.is_empty() {
            return;
        }
        if !self.is_me(line.nick()) {
            if self.channels.any_watched() {
                tell(line, IrcEvent::Renamed { source: self.source(line), nick }, out);
            }
            return self.nick_freed(line.nick(), now);
        }
        let ready = self.is_ready();
        if let State::On(connection) = &mut self.state {
            connection.me.nick.clone_from(&nick);
        }
        if ready {
            self.watch_nick(now.monotonic);
            tell(line, IrcEvent::OwnNick { nick }, out);
        }
    }

    pub(super) fn topic_changed(&mut self, line: &Line<'_>, out: &mut Vec<Output>) {
        if self.is_me(line.nick()) {
            self.own_line_came_back(Verb::Topic, line, out);
        }
        if let Some(channel) = self.watched(line.param(0)) {
            let event =
                IrcEvent::Topic { channel, source: Some(self.source(line)), topic: self.text_of(line.param(1)) };
            tell(line, event, out);
        }
    }

    /// The topic as it stands.
    pub(super) fn topic_told(&mut self, name: &[u8], topic: &[u8], line: &Line<'_>, out: &mut Vec<Output>) {
        let topic = self.text_of(topic);
        let name = self.text_of(name);
        let Some(channel) = self.channels.get_mut(&name, self.isupport.casemapping).filter(|c| c.is_watched()) else {
            return;
        };
        channel.topic = Topic::Told;
        let channel = channel.name.to_string();
        tell(line, IrcEvent::Topic { channel, source: None, topic }, out);
    }

    pub(super) fn names_end(&mut self, line: &Line<'_>, out: &mut Vec<Output>) {
        let name = self.text_of(line.param(1));
        let Some(channel) = self.channels.get_mut(&name, self.isupport.casemapping) else { return };
        let Names::Gathering(gathered) = std::mem::replace(&mut channel.names, Names::Idle) else { return };
        let told = std::mem::replace(&mut channel.topic, Topic::Told) == Topic::Told;
        let channel = channel.name.to_string();
        if !told {
            // A server tells a topic before the members; one that told none has none.
            let (channel, topic) = (channel.clone(), String::new());
            tell(line, IrcEvent::Topic { channel, source: None, topic }, out);
        }
        let members = gathered.into_members();
        if !members.is_empty() {
            let count = members.len();
            tell(line, IrcEvent::Roster { channel: channel.clone(), members }, out);
            self.ask_more(&channel, count);
        }
    }

    pub(super) fn invite(&mut self, line: &Line<'_>, out: &mut Vec<Output>) {
        let channel = self.text_of(line.param(1));
        if self.is_me(line.param(0)) && self.isupport.is_channel(&channel) {
            tell(line, IrcEvent::Invited { source: self.source(line), channel }, out);
        }
    }
}
