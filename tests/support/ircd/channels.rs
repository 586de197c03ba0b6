//! The commands of the fake IRC server that are about channels.

use super::{
    caps::{Caps, Line, now_ms},
    commands::explain,
    state::{Channel, Member, State},
};
use crate::support::IrcLine;

impl Member {
    /// The rank as NAMES shows it: the highest, or all of them.
    pub fn prefix(&self, all: bool) -> String {
        match (self.op, self.voice) {
            (true, true) if all => "@+".to_owned(),
            (true, _) => "@".to_owned(),
            (false, true) => "+".to_owned(),
            (false, false) => String::new(),
        }
    }
}

impl State {
    /// Everyone who shares a channel with `id`.
    pub fn peers(&self, id: u64) -> Vec<u64> {
        let channels = &self.connection(id).channels;
        let mut peers: Vec<u64> =
            channels.iter().flat_map(|channel| self.channels[channel].members.keys().copied()).collect();
        peers.sort_unstable();
        peers.dedup();
        peers.retain(|peer| *peer != id);
        peers
    }

    /// Sends a line to the other members of a channel who have these capabilities.
    pub fn send_to_channel_members_with(&self, channel: &str, id: u64, caps: Caps, line: &Line) {
        if caps == Caps::default() {
            return self.send_to_channel(channel, Some(id), line);
        }
        for peer in self.channels[channel].members.keys() {
            if *peer != id && self.caps(*peer).has(caps) {
                self.send_to(*peer, line);
            }
        }
    }

    fn is_op(&self, id: u64, channel: &str) -> bool {
        self.channels.get(channel).and_then(|found| found.members.get(&id)).is_some_and(|member| member.op)
    }

    fn is_banned(&self, id: u64, channel: &Channel) -> bool {
        let mask = self.fold(&self.mask(id));
        channel.bans.iter().any(|ban| glob(&self.fold(ban), &mask))
    }

    /// The numeric with which a message to a channel is refused, if it is.
    pub fn speech_problem(&self, id: u64, channel: &str) -> Option<u16> {
        let Some(found) = self.channels.get(channel) else { return Some(403) };
        if let Some(numeric) = self.refusals.get(channel).and_then(|refusals| refusals.speech) {
            return Some(numeric);
        }
        let member = found.members.get(&id);
        let ranked = member.is_some_and(|member| member.op || member.voice);
        let outside = member.is_none() && found.flags.contains(&'n');
        let silenced = !ranked && (found.flags.contains(&'m') || self.is_banned(id, found));
        (outside || silenced).then_some(404)
    }

    fn join_problem(&self, id: u64, channel: &str, key: Option<&str>) -> Option<u16> {
        if let Some(numeric) = self.refusals.get(channel).and_then(|refusals| refusals.join) {
            return Some(numeric);
        }
        if self.connection(id).channels.len() >= self.config.channel_limit {
            return Some(405);
        }
        let found = self.channels.get(channel)?;
        if found.invited.contains(&id) {
            return None;
        }
        if self.is_banned(id, found) {
            return Some(474);
        }
        if found.flags.contains(&'i') {
            return Some(473);
        }
        if found.key.as_deref().is_some_and(|wanted| key != Some(wanted)) {
            return Some(475);
        }
        found.limit.is_some_and(|limit| found.members.len() >= limit).then_some(471)
    }

    /// JOIN
    pub fn join(&mut self, id: u64, line: &IrcLine) {
        if line.params.is_empty() {
            return self.numeric(id, 461, "JOIN :Not enough parameters");
        }
        let keys: Vec<&str> = line.param(1).split(',').collect();
        for (at, name) in line.param(0).split(',').enumerate() {
            let folded = self.fold(name);
            if !name.starts_with('#') || name.len() > 64 || name.contains([' ', '\u{7}']) {
                self.numeric(id, 403, &format!("{name} :{}", explain(403)));
                continue;
            }
            if self.connection(id).channels.contains(&folded) {
                continue;
            }
            if let Some(numeric) = self.join_problem(id, &folded, keys.get(at).copied()) {
                self.numeric(id, numeric, &format!("{name} :{}", explain(numeric)));
                continue;
            }
            let is_new = !self.channels.contains_key(&folded);
            self.add_member(id, &folded, is_new);
            let channel = self.channels.get_mut(&folded).expect("it was just joined");
            channel.invited.remove(&id);
            if is_new {
                name.clone_into(&mut channel.name);
                channel.flags.extend(['n', 't']);
            }
            let name = channel.name.clone();
            let account = self.connection(id).account.clone().unwrap_or_else(|| "*".into());
            let realname = self.connection(id).realname.clone();
            let mut joined = self.line_from(id, &format!("JOIN {name}"));
            joined.extended = Some(format!("{} {account} :{realname}", joined.body));
            self.send_to_channel(&folded, Some(id), &joined);
            self.reply(joined);
            if self.channels[&folded].topic.is_some() {
                self.show_topic(id, &folded);
            }
            if !self.caps(id).has(Caps::NO_IMPLICIT_NAMES) {
                self.names(id, &name);
            }
        }
    }

    /// PART
    pub fn part(&mut self, id: u64, line: &IrcLine) {
        for name in line.param(0).split(',') {
            let Some(channel) = self.joined(id, name) else { continue };
            let reason = line.params.get(1).map(|reason| format!(" :{reason}")).unwrap_or_default();
            let left = self.line_from(id, &format!("PART {name}{reason}"));
            self.send_to_channel(&channel, Some(id), &left);
            self.reply(left);
            self.remove_member(id, &channel);
        }
    }

    /// The folded name of a channel that the sender is in; else the right numeric is sent.
    fn joined(&mut self, id: u64, name: &str) -> Option<String> {
        let folded = self.fold(name);
        if self.connection(id).channels.contains(&folded) {
            return Some(folded);
        }
        if self.channels.contains_key(&folded) {
            self.numeric(id, 442, &format!("{name} :You're not on that channel"));
        } else {
            self.numeric(id, 403, &format!("{name} :{}", explain(403)));
        }
        None
    }

    /// The same for a channel that the sender must be operator of.
    fn operated(&mut self, id: u64, name: &str) -> Option<String> {
        let channel = self.joined(id, name)?;
        if self.is_op(id, &channel) {
            return Some(channel);
        }
        self.numeric(id, 482, &format!("{name} :You're not channel operator"));
        None
    }

    /// KICK
    pub fn kick(&mut self, id: u64, line: &IrcLine) {
        let (name, nick) = (line.param(0), line.param(1));
        let Some(channel) = self.operated(id, name) else { return };
        let target = self.find(nick).map(|(target, _)| target);
        let Some(target) = target.filter(|target| self.channels[&channel].members.contains_key(target)) else {
            return self.numeric(id, 441, &format!("{nick} {name} :They aren't on that channel"));
        };
        let reason = line.params.get(2).cloned().unwrap_or_else(|| nick.to_owned());
        let kicked = self.line_from(id, &format!("KICK {name} {nick} :{reason}"));
        self.send_to_channel(&channel, Some(id), &kicked);
        self.reply(kicked);
        self.remove_member(target, &channel);
    }

    /// INVITE
    pub fn invite(&mut self, id: u64, line: &IrcLine) {
        let (nick, name) = (line.param(0), line.param(1));
        let Some((target, _)) = self.find(nick) else {
            return self.numeric(id, 401, &format!("{nick} :{}", explain(401)));
        };
        let Some(channel) = self.joined(id, name) else { return };
        if let Some(channel) = self.channels.get_mut(&channel) {
            channel.invited.insert(target);
        }
        let invited = self.line_from(id, &format!("INVITE {nick} :{name}"));
        self.send_to(target, &invited);
        self.numeric(id, 341, &format!("{nick} {name}"));
    }

    /// TOPIC
    pub fn topic(&mut self, id: u64, line: &IrcLine) {
        let name = line.param(0);
        let Some(channel) = self.joined(id, name) else { return };
        let Some(text) = line.params.get(1) else {
            return match self.channels[&channel].topic {
                Some(_) => self.show_topic(id, &channel),
                None => self.numeric(id, 331, &format!("{name} :No topic is set")),
            };
        };
        if self.channels[&channel].flags.contains(&'t') && !self.is_op(id, &channel) {
            return self.numeric(id, 482, &format!("{name} :You're not channel operator"));
        }
        let setter = self.mask(id);
        let found = self.channels.get_mut(&channel).expect("the sender is in it");
        found.topic = (!text.is_empty()).then(|| (text.clone(), setter, now_ms() / 1000));
        let changed = self.line_from(id, &format!("TOPIC {name} :{text}"));
        self.send_to_channel(&channel, Some(id), &changed);
        self.reply(changed);
    }

    fn show_topic(&mut self, id: u64, channel: &str) {
        let found = &self.channels[channel];
        if let (name, Some((text, setter, at))) = (found.name.clone(), found.topic.clone()) {
            self.numeric(id, 332, &format!("{name} :{text}"));
            self.numeric(id, 333, &format!("{name} {setter} {at}"));
        }
    }

    /// NAMES
    pub fn names(&mut self, id: u64, name: &str) {
        let caps = self.caps(id);
        let mut line = String::new();
        let mut lines = Vec::new();
        let visible = |channel: &&Channel| !channel.flags.contains(&'s') || channel.members.contains_key(&id);
        if let Some(channel) = self.channels.get(&self.fold(name)).filter(visible) {
            for (member_id, member) in &channel.members {
                let shown = if caps.has(Caps::USERHOST_IN_NAMES) {
                    self.mask(*member_id)
                } else {
                    self.connection(*member_id).nick.clone()
                };
                let entry = format!("{}{shown}", member.prefix(caps.has(Caps::MULTI_PREFIX)));
                if line.len() + entry.len() > 400 {
                    lines.push(std::mem::take(&mut line));
                }
                line.push_str(&entry);
                line.push(' ');
            }
            lines.push(line);
        }
        for line in lines {
            self.numeric(id, 353, &format!("= {name} :{}", line.trim_end()));
        }
        self.numeric(id, 366, &format!("{name} :End of /NAMES list."));
    }

    /// The channels of `target` that `id` may see, with the ranks there.
    pub fn channels_seen(&self, id: u64, target: u64) -> Vec<String> {
        let mut seen: Vec<String> = self
            .channels
            .values()
            .filter(|channel| !channel.flags.contains(&'s') || channel.members.contains_key(&id))
            .filter_map(|channel| {
                channel.members.get(&target).map(|member| format!("{}{}", member.prefix(true), channel.name))
            })
            .collect();
        seen.sort_unstable();
        seen
    }

    /// MODE, as far as a bridge meets it.
    pub fn mode(&mut self, id: u64, line: &IrcLine) {
        let name = line.param(0);
        if !name.starts_with('#') {
            if self.fold(name) != self.fold(&self.connection(id).nick) {
                return self.numeric(id, 502, ":Can't change mode for other users");
            }
            return match line.params.get(1) {
                Some(modes) => {
                    let changed = self.line_from(id, &format!("MODE {name} :{modes}"));
                    self.reply(changed);
                }
                None => self.numeric(id, 221, "+i"),
            };
        }
        let Some(channel) = self.joined(id, name) else { return };
        let Some(modes) = line.params.get(1) else {
            let mut flags: Vec<char> = self.channels[&channel].flags.iter().copied().collect();
            flags.sort_unstable();
            let flags: String = flags.into_iter().collect();
            return self.numeric(id, 324, &format!("{name} +{flags}"));
        };
        if modes.trim_start_matches('+') == "b" && line.params.len() == 2 {
            for ban in self.channels[&channel].bans.clone() {
                self.numeric(id, 367, &format!("{name} {ban}"));
            }
            return self.numeric(id, 368, &format!("{name} :End of channel ban list"));
        }
        let Some(channel) = self.operated(id, name) else { return };
        let mut done = String::new();
        let mut arguments = line.params[2..].iter();
        let mut used = Vec::new();
        let mut on = true;
        for mode in modes.chars() {
            if let '+' | '-' = mode {
                on = mode == '+';
                continue;
            }
            let takes_argument = matches!(mode, 'o' | 'v' | 'b' | 'k') || (mode == 'l' && on);
            let argument = if takes_argument { arguments.next().cloned() } else { None };
            if takes_argument && argument.is_none() {
                continue;
            }
            if !self.set_mode(&channel, mode, on, argument.as_deref()) {
                match (mode, &argument) {
                    ('o' | 'v', Some(nick)) => {
                        self.numeric(id, 441, &format!("{nick} {name} :They aren't on that channel"));
                    }
                    _ => self.numeric(id, 472, &format!("{mode} :is not a recognised channel mode.")),
                }
                continue;
            }
            done.push(if on { '+' } else { '-' });
            done.push(mode);
            used.extend(argument);
        }
        if !done.is_empty() {
            used.insert(0, done);
            let changed = self.line_from(id, &format!("MODE {name} {}", used.join(" ")));
            self.send_to_channel(&channel, Some(id), &changed);
            self.reply(changed);
        }
    }

    fn set_mode(&mut self, channel: &str, mode: char, on: bool, argument: Option<&str>) -> bool {
        let target = argument.and_then(|nick| self.find(nick)).map(|(target, _)| target);
        let Some(channel) = self.channels.get_mut(channel) else { return false };
        match (mode, argument) {
            ('o' | 'v', _) => {
                let Some(member) = target.and_then(|target| channel.members.get_mut(&target)) else { return false };
                *(if mode == 'o' { &mut member.op } else { &mut member.voice }) = on;
            }
            ('b', Some(mask)) => {
                channel.bans.retain(|ban| ban != mask);
                if on {
                    channel.bans.push(mask.to_owned());
                }
            }
            ('k', key) => channel.key = key.filter(|_| on).map(str::to_owned),
            ('l', limit) => channel.limit = limit.and_then(|limit| limit.parse().ok()),
            ('i' | 'm' | 'n' | 'p' | 's' | 't', _) if on => drop(channel.flags.insert(mode)),
            ('i' | 'm' | 'n' | 'p' | 's' | 't', _) => drop(channel.flags.remove(&mode)),
            _ => return false,
        }
        true
    }
}

/// Does `text` match a mask with `*` and `?`?
fn glob(mask: &str, text: &str) -> bool {
    match (mask.chars().next(), text.chars().next()) {
        (None, None) => true,
        (Some('*'), _) => {
            glob(&mask[1..], text)
                || text
                    .char_indices()
                    .nth(1)
                    .map_or(!text.is_empty() && glob(mask, ""), |(at, _)| glob(mask, &text[at..]))
        }
        (Some('?'), Some(char)) => glob(&mask[1..], &text[char.len_utf8()..]),
        (Some(wanted), Some(char)) if wanted == char => glob(&mask[wanted.len_utf8()..], &text[char.len_utf8()..]),
        _ => false,
    }
}
