//! The commands of the fake IRC server, one function per command: registration and what isn't about channels.
//!
//! To add a command, add its row to [`State::command`].

use super::{
    Refusal,
    caps::{Caps, Line},
    outbox::End,
    state::State,
};
use crate::support::IrcLine;

impl State {
    /// Does what one line says. Answers to its sender are collected; see `flush_replies`.
    pub fn command(&mut self, id: u64, line: &IrcLine) {
        match line.command.as_str() {
            "CAP" => self.cap(id, line),
            "PASS" => self.connection_mut(id).password = Some(line.param(0).to_owned()),
            "NICK" => self.nick(id, line.param(0)),
            "USER" => self.user(id, line),
            "AUTHENTICATE" => self.authenticate(id, line.param(0)),
            "PING" => {
                let server = self.config.server_name.clone();
                self.reply_body(format!(":{server} PONG {server} :{}", line.param(0)));
            }
            "PONG" => {}
            "QUIT" => {
                let text = format!("Closing link: ({}) [Quit: {}]", self.config.host, line.param(0));
                let error = Line::new(format!("ERROR :{text}"));
                self.send_to(id, &error);
                self.drop_connection(id, &format!("Quit: {}", line.param(0)), End::AfterFlush);
            }
            _ if !self.connection(id).registered => self.numeric(id, 451, ":You have not registered"),
            "JOIN" => self.join(id, line),
            "PART" => self.part(id, line),
            "KICK" => self.kick(id, line),
            "INVITE" => self.invite(id, line),
            "TOPIC" => self.topic(id, line),
            "MODE" => self.mode(id, line),
            "NAMES" => self.names(id, line.param(0)),
            "WHO" => self.who(id, line),
            "WHOIS" => self.whois(id, line.text()),
            "PRIVMSG" | "NOTICE" | "TAGMSG" => self.message(id, line),
            "AWAY" => self.away(id, line.params.first().filter(|text| !text.is_empty()).cloned()),
            "ISON" => {
                let names: Vec<&str> = line.params.iter().flat_map(|param| param.split(' ')).collect();
                let on: Vec<&str> = names.into_iter().filter(|nick| self.find(nick).is_some()).collect();
                let on = on.join(" ");
                self.numeric(id, 303, &format!(":{on}"));
            }
            "MOTD" => self.motd(id),
            "SETNAME" if self.caps(id).has(Caps::SETNAME) => {
                line.text().clone_into(&mut self.connection_mut(id).realname);
                let changed = self.line_from(id, &format!("SETNAME :{}", line.text()));
                self.reply(changed);
            }
            other => self.numeric(id, 421, &format!("{other} :Unknown command")),
        }
    }

    // --- Registration ---

    fn cap(&mut self, id: u64, line: &IrcLine) {
        if self.config.caps.is_empty() {
            // A server that has never heard of CAP.
            let numeric = if self.connection(id).registered { 421 } else { 451 };
            return self.numeric(id, numeric, "CAP :Unknown command");
        }
        let server = self.config.server_name.clone();
        let nick = self.connection(id).nick.clone();
        let names: Vec<String> = line.param(1).split(' ').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        match line.param(0).to_ascii_uppercase().as_str() {
            "LS" => {
                self.connection_mut(id).negotiating = true;
                let values = line.param(1) == "302";
                let offered: Vec<String> = self
                    .config
                    .caps
                    .iter()
                    .map(|cap| if values { cap.clone() } else { name_of(cap).to_owned() })
                    .collect();
                let chunks: Vec<String> =
                    offered.chunks(if values { 8 } else { offered.len() }).map(|c| c.join(" ")).collect();
                for (at, chunk) in chunks.iter().enumerate() {
                    let more = if at + 1 < chunks.len() { "* " } else { "" };
                    self.reply_body(format!(":{server} CAP {nick} LS {more}:{chunk}"));
                }
            }
            "LIST" => self.reply_body(format!(":{server} CAP {nick} LIST :")),
            "REQ" => {
                self.connection_mut(id).negotiating = true;
                let offered =
                    |name: &str| self.config.caps.iter().any(|cap| name_of(cap) == name.trim_start_matches('-'));
                let verdict = if names.iter().all(|name| offered(name)) { "ACK" } else { "NAK" };
                let mut caps = self.caps(id);
                for name in names.iter().filter(|_| verdict == "ACK") {
                    caps = match name.strip_prefix('-') {
                        Some(name) => caps.without(Caps::named(name)),
                        None => caps.with(Caps::named(name)),
                    };
                }
                self.connection(id).outbox.set_caps(caps);
                self.reply_body(format!(":{server} CAP {nick} {verdict} :{}", names.join(" ")));
            }
            "END" => {
                self.connection_mut(id).negotiating = false;
                self.welcome(id);
            }
            other => self.numeric(id, 410, &format!("{other} :Invalid CAP command")),
        }
    }

    fn authenticate(&mut self, id: u64, param: &str) {
        if !self.caps(id).has(Caps::SASL) {
            return self.numeric(id, 421, "AUTHENTICATE :Unknown command");
        }
        if param == "*" {
            return self.numeric(id, 906, ":SASL authentication aborted");
        }
        if !self.connection(id).authenticating {
            if param.eq_ignore_ascii_case("PLAIN") {
                self.connection_mut(id).authenticating = true;
                return self.reply_body("AUTHENTICATE +".to_owned());
            }
            self.numeric(id, 908, "PLAIN :are available SASL mechanisms");
            return self.numeric(id, 904, ":SASL authentication failed");
        }
        self.connection_mut(id).authenticating = false;
        let decoded = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, param).unwrap_or_default();
        let decoded = String::from_utf8_lossy(&decoded).into_owned();
        let parts: Vec<&str> = decoded.split('\0').collect();
        let known = |account: &str, password: &str| {
            self.config.accounts.iter().any(|(name, secret)| name == account && secret == password)
        };
        match parts.as_slice() {
            [_, account, password] if known(account, password) => {
                self.connection_mut(id).account = Some((*account).into());
                let mask = self.mask(id);
                self.numeric(id, 900, &format!("{mask} {account} :You are now logged in as {account}"));
                self.numeric(id, 903, ":SASL authentication successful");
            }
            _ => self.numeric(id, 904, ":SASL authentication failed"),
        }
    }

    fn user(&mut self, id: u64, line: &IrcLine) {
        if self.connection(id).registered {
            return self.numeric(id, 462, ":You may not reregister");
        }
        if line.params.len() < 4 {
            return self.numeric(id, 461, "USER :Not enough parameters");
        }
        let asked_for = || format!("~{}", line.param(0).chars().take(9).collect::<String>());
        let user = self.config.ident.clone().unwrap_or_else(asked_for);
        let connection = self.connection_mut(id);
        connection.user = user;
        line.param(3).clone_into(&mut connection.realname);
        self.welcome(id);
    }

    fn nick(&mut self, id: u64, wanted: &str) {
        if wanted.is_empty() {
            return self.numeric(id, 431, ":No nickname given");
        }
        let valid = |char: char| char.is_ascii_alphanumeric() || r"-_[]\`^{}|".contains(char);
        let starts_well = !wanted.starts_with(|char: char| char.is_ascii_digit() || char == '-');
        if !starts_well || wanted.len() > self.config.nick_len || !wanted.chars().all(valid) {
            return self.numeric(id, 432, &format!("{wanted} :Erroneous Nickname"));
        }
        let folded = self.fold(wanted);
        if self.nicks.get(&folded).is_some_and(|&owner| owner != id) {
            return self.numeric(id, 433, &format!("{wanted} :Nickname is already in use."));
        }
        self.rename(id, wanted);
        if !self.connection(id).registered {
            self.welcome(id);
        }
    }

    /// Gives a connection another nick and tells everyone who sees it.
    pub fn rename(&mut self, id: u64, nick: &str) {
        if self.connection(id).registered {
            let line = self.line_from(id, &format!("NICK :{nick}"));
            self.send_to_peers(id, &line);
            self.reply(line);
        }
        let old = self.fold(&self.connection(id).nick);
        if self.nicks.get(&old) == Some(&id) {
            self.nicks.remove(&old);
        }
        self.nicks.insert(self.fold(nick), id);
        nick.clone_into(&mut self.connection_mut(id).nick);
    }

    /// Welcomes the client once it has said all it must.
    fn welcome(&mut self, id: u64) {
        let connection = self.connection(id);
        if connection.registered || connection.negotiating || connection.user.is_empty() || connection.nick == "*" {
            return;
        }
        if self.config.password.is_some() && self.config.password != connection.password {
            self.numeric(id, 464, ":Password incorrect");
            return self.refuse(id, "Closing Link: Access denied");
        }
        let at_registration = |refusal: &Refusal| matches!(refusal, Refusal::AtRegistration { .. });
        if let Some(Refusal::AtRegistration { numeric, text }) = self.config.next_refusal(at_registration) {
            self.numeric(id, numeric, &format!(":{text}"));
            return self.refuse(id, &format!("Closing Link: ({text})"));
        }
        self.connection_mut(id).registered = true;
        let (mask, server) = (self.mask(id), self.config.server_name.clone());
        self.numeric(id, 1, &format!(":Welcome to the FakeNet IRC Network {mask}"));
        self.numeric(id, 2, &format!(":Your host is {server}, running version fake-1"));
        self.numeric(id, 3, ":This server was created for a test");
        self.numeric(id, 4, &format!("{server} fake-1 iosw biklmnopstv bklov"));
        let tokens = self.config.isupport();
        for tokens in tokens.chunks(13) {
            self.numeric(id, 5, &format!("{} :are supported by this server", tokens.join(" ")));
        }
        self.motd(id);
    }

    /// Sends the answers so far, then `ERROR`, and closes.
    fn refuse(&mut self, id: u64, text: &str) {
        self.flush_replies(id, None);
        self.close_with_error(id, text);
    }

    fn motd(&mut self, id: u64) {
        let Some(motd) = self.config.motd.clone() else {
            return self.numeric(id, 422, ":MOTD File is missing");
        };
        let server = self.config.server_name.clone();
        self.numeric(id, 375, &format!(":- {server} Message of the day - "));
        for line in motd.lines() {
            self.numeric(id, 372, &format!(":- {line}"));
        }
        self.numeric(id, 376, ":End of /MOTD command.");
    }

    // --- People ---

    fn away(&mut self, id: u64, text: Option<String>) {
        let (numeric, said) = match &text {
            Some(_) => (306, ":You have been marked as being away"),
            None => (305, ":You are no longer marked as being away"),
        };
        self.numeric(id, numeric, said);
        let rest = text.as_ref().map_or_else(|| "AWAY".to_owned(), |text| format!("AWAY :{text}"));
        self.connection_mut(id).away = text;
        let line = self.line_from(id, &rest);
        let peers: Vec<u64> =
            self.peers(id).into_iter().filter(|&peer| self.caps(peer).has(Caps::AWAY_NOTIFY)).collect();
        for peer in peers {
            self.send_to(peer, &line);
        }
    }

    fn whois(&mut self, id: u64, nick: &str) {
        let Some((target_id, target)) = self.find(nick) else {
            self.numeric(id, 401, &format!("{nick} :No such nick/channel"));
            return self.numeric(id, 318, &format!("{nick} :End of /WHOIS list."));
        };
        let (nick, user, realname) = (target.nick.clone(), target.user.clone(), target.realname.clone());
        let (account, away) = (target.account.clone(), target.away.clone());
        let host = self.config.host.clone();
        self.numeric(id, 311, &format!("{nick} {user} {host} * :{realname}"));
        let seen = self.channels_seen(id, target_id);
        if !seen.is_empty() {
            self.numeric(id, 319, &format!("{nick} :{}", seen.join(" ")));
        }
        let server = self.config.server_name.clone();
        self.numeric(id, 312, &format!("{nick} {server} :a fake"));
        if let Some(account) = account {
            self.numeric(id, 330, &format!("{nick} {account} :is logged in as"));
        }
        if let Some(away) = away {
            self.numeric(id, 301, &format!("{nick} :{away}"));
        }
        self.numeric(id, 318, &format!("{nick} :End of /WHOIS list."));
    }

    fn who(&mut self, id: u64, line: &IrcLine) {
        let mask = line.param(0).to_owned();
        let channel = self.fold(&mask);
        let found: Vec<(u64, String)> = match self.channels.get(&channel) {
            Some(found) => found.members.iter().map(|(id, member)| (*id, member.prefix(false))).collect(),
            None => self.find(&mask).map(|(id, _)| (id, String::new())).into_iter().collect(),
        };
        let shown = if self.channels.contains_key(&channel) { mask.as_str() } else { "*" };
        for (who, prefix) in found {
            let connection = self.connection(who);
            let flags = format!("{}{prefix}", if connection.away.is_some() { 'G' } else { 'H' });
            let (nick, user) = (connection.nick.clone(), connection.user.clone());
            let (realname, account) = (connection.realname.clone(), connection.account.clone());
            let (host, server) = (self.config.host.clone(), self.config.server_name.clone());
            let Some(fields) = line.param(1).strip_prefix('%') else {
                self.numeric(id, 352, &format!("{shown} {user} {host} {server} {nick} {flags} :0 {realname}"));
                continue;
            };
            let (fields, token) = fields.split_once(',').unwrap_or((fields, "0"));
            // The order is the protocol's, whatever order they were asked in.
            let row: Vec<String> = "tcuihsnfdlaor"
                .chars()
                .filter(|field| fields.contains(*field))
                .map(|field| match field {
                    't' => token.to_owned(),
                    'c' => shown.to_owned(),
                    'u' => user.clone(),
                    'i' => "127.0.0.1".to_owned(),
                    'h' => host.clone(),
                    's' => server.clone(),
                    'n' => nick.clone(),
                    'f' => flags.clone(),
                    'a' => account.as_deref().unwrap_or("0").to_owned(),
                    'o' => "n/a".to_owned(),
                    'r' => format!(":{realname}"),
                    _ => "0".to_owned(),
                })
                .collect();
            self.numeric(id, 354, &row.join(" "));
        }
        self.numeric(id, 315, &format!("{mask} :End of /WHO list."));
    }

    fn message(&mut self, id: u64, line: &IrcLine) {
        let command = line.command.as_str();
        let Some(text) = line.params.get(1).or((command == "TAGMSG").then_some(&String::new())).cloned() else {
            if command == "PRIVMSG" {
                self.numeric(id, 412, ":No text to send");
            }
            return;
        };
        let client_tags: Vec<_> = line.tags.iter().filter(|(key, _)| key.starts_with('+')).cloned().collect();
        for target in line.param(0).split(',') {
            let folded = self.fold(target);
            let problem = if target.starts_with('#') {
                self.speech_problem(id, &folded)
            } else {
                (!self.nicks.contains_key(&folded)).then_some(401)
            };
            if let Some(numeric) = problem {
                if command == "PRIVMSG" {
                    self.numeric(id, numeric, &format!("{target} :{}", explain(numeric)));
                }
                continue;
            }
            let rest =
                if command == "TAGMSG" { format!("TAGMSG {target}") } else { format!("{command} {target} :{text}") };
            let mut sent = self.line_from(id, &rest);
            sent.client_tags.clone_from(&client_tags);
            sent.msgid = Some(format!("m{}-{id}", self.fresh()));
            let wants = if command == "TAGMSG" { Caps::MESSAGE_TAGS } else { Caps::default() };
            if target.starts_with('#') {
                self.send_to_channel_members_with(&folded, id, wants, &sent);
            } else if let Some((peer, _)) = self.find(target)
                && self.caps(peer).has(wants)
                && peer != id
            {
                self.send_to(peer, &sent);
                if let Some(away) = self.connection(peer).away.clone() {
                    self.numeric(id, 301, &format!("{target} :{away}"));
                }
            }
            if self.caps(id).has(Caps::ECHO_MESSAGE.with(wants)) {
                self.reply(sent);
            }
        }
    }
}

/// A capability's name without its value.
fn name_of(cap: &str) -> &str {
    cap.split('=').next().unwrap_or(cap)
}

/// What servers say beside a numeric.
pub fn explain(numeric: u16) -> &'static str {
    match numeric {
        401 => "No such nick/channel",
        403 => "No such channel",
        404 => "Cannot send to channel",
        405 => "You have joined too many channels",
        471 => "Cannot join channel (+l)",
        473 => "Cannot join channel (+i)",
        474 => "Cannot join channel (+b)",
        475 => "Cannot join channel (+k)",
        477 => "You need to be identified to a registered account",
        480 => "Cannot join channel (throttled)",
        _ => "Refused",
    }
}
