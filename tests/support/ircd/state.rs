//! What the fake IRC server knows: connections, channels, and who gets which line. It knows no sockets.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use super::{
    IrcdConfig, Reaction, Received,
    caps::{Caps, Fanout, Line},
    outbox::{End, Outbox},
};
use crate::support::IrcLine;

/// One client.
#[derive(Debug)]
pub struct Connection {
    /// The nick; before registration the one asked for, or `*`.
    pub nick: String,
    /// The user name.
    pub user: String,
    /// The real name.
    pub realname: String,
    /// The account it is logged in to.
    pub account: Option<Arc<str>>,
    /// The password it gave.
    pub password: Option<String>,
    /// True once it was welcomed.
    pub registered: bool,
    /// True between the first CAP and CAP END.
    pub negotiating: bool,
    /// True after AUTHENTICATE PLAIN.
    pub authenticating: bool,
    /// The away message.
    pub away: Option<String>,
    /// The channels it is in, folded.
    pub channels: HashSet<String>,
    /// What goes out.
    pub outbox: Arc<Outbox>,
}

/// A member of a channel.
#[derive(Debug)]
pub struct Member {
    /// `@`, `+`, both or none.
    pub op: bool,
    /// True if voiced.
    pub voice: bool,
    outbox: Arc<Outbox>,
}

/// A channel.
#[derive(Debug, Default)]
pub struct Channel {
    /// The name as its creator wrote it.
    pub name: String,
    /// The topic, who set it, and when (seconds since 1970).
    pub topic: Option<(String, String, u64)>,
    /// The members by connection.
    pub members: BTreeMap<u64, Member>,
    /// Simple modes that are set, such as `m`, `n`, `t`, `i`.
    pub flags: HashSet<char>,
    /// The key.
    pub key: Option<String>,
    /// The most members.
    pub limit: Option<usize>,
    /// Banned masks.
    pub bans: Vec<String>,
    /// Masks of who can't speak.
    pub quiets: Vec<String>,
    /// Masks of who is excepted from both.
    pub excepts: Vec<String>,
    /// Connections that were invited.
    pub invited: HashSet<u64>,
}

/// What a test has told the server to refuse in a channel.
#[derive(Debug, Clone, Copy, Default)]
pub struct ChannelRefusals {
    /// The numeric with which every JOIN is refused.
    pub join: Option<u16>,
    /// The numeric with which every message is refused.
    pub speech: Option<u16>,
}

/// A test's decision on each line.
pub type Hook = Box<dyn FnMut(&Received) -> Reaction + Send>;

/// The whole server.
pub struct State {
    /// How it behaves.
    pub config: IrcdConfig,
    /// The clients.
    pub connections: HashMap<u64, Connection>,
    /// Registered and claimed nicks, folded.
    pub nicks: HashMap<String, u64>,
    /// The channels by folded name.
    pub channels: HashMap<String, Channel>,
    /// What tests want refused, by folded channel.
    pub refusals: HashMap<String, ChannelRefusals>,
    /// Every line received, if the configuration says so.
    pub log: Vec<Received>,
    /// A test's own reaction to lines.
    pub hook: Option<Hook>,
    /// Answers to the command under way, for its sender.
    replies: Vec<Line>,
    last_id: u64,
}

impl State {
    /// A server without clients.
    pub fn new(config: IrcdConfig) -> Self {
        Self {
            config,
            connections: HashMap::new(),
            nicks: HashMap::new(),
            channels: HashMap::new(),
            refusals: HashMap::new(),
            log: Vec::new(),
            hook: None,
            replies: Vec::new(),
            last_id: 0,
        }
    }

    /// A number never used before.
    pub fn fresh(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Forgets all clients and channels, as a crash does.
    pub fn crash(&mut self) {
        for connection in self.connections.values() {
            connection.outbox.end(End::AtOnce);
        }
        self.connections.clear();
        self.nicks.clear();
        self.channels.clear();
    }

    /// Folds a nick or channel name under the server's CASEMAPPING.
    pub fn fold(&self, name: &str) -> String {
        let mut folded = name.to_ascii_lowercase();
        if self.config.casemapping == "rfc1459" {
            folded = folded.replace('[', "{").replace(']', "}").replace('\\', "|").replace('~', "^");
        }
        folded
    }

    /// The connection of this nick.
    pub fn find(&self, nick: &str) -> Option<(u64, &Connection)> {
        let id = *self.nicks.get(&self.fold(nick))?;
        self.connections.get(&id).map(|connection| (id, connection))
    }

    /// The connection under way. It exists as long as one of its lines is handled.
    pub fn connection(&self, id: u64) -> &Connection {
        &self.connections[&id]
    }

    /// The same, to change it.
    pub fn connection_mut(&mut self, id: u64) -> &mut Connection {
        self.connections.get_mut(&id).expect("a connection exists while one of its lines is handled")
    }

    /// `nick!user@host` of a connection.
    pub fn mask(&self, id: u64) -> String {
        let connection = self.connection(id);
        format!("{}!{}@{}", connection.nick, connection.user, self.config.host)
    }

    /// A new client.
    pub fn connect(&mut self) -> (u64, Arc<Outbox>) {
        let id = self.fresh();
        let outbox = Arc::new(Outbox::default());
        let connection = Connection {
            nick: "*".to_owned(),
            user: String::new(),
            realname: String::new(),
            account: None,
            password: None,
            registered: false,
            negotiating: false,
            authenticating: false,
            away: None,
            channels: HashSet::new(),
            outbox: outbox.clone(),
        };
        self.connections.insert(id, connection);
        (id, outbox)
    }

    /// One line from a client.
    pub fn receive(&mut self, id: u64, line: &str) {
        let Some(connection) = self.connections.get(&id) else { return };
        let received = Received { connection: id, nick: connection.nick.as_str().into(), line: line.into() };
        let reaction = self.hook.as_mut().map_or(Reaction::Obey, |hook| hook(&received));
        if self.config.record {
            self.log.push(received);
        }
        match reaction {
            Reaction::Obey => self.obey(id, line),
            Reaction::Ignore => {}
            Reaction::Answer(lines) => {
                for line in lines {
                    self.reply_body(line);
                }
                self.flush_replies(id, None);
            }
            Reaction::CutBefore => self.drop_connection(id, "Connection reset by peer", End::AtOnce),
            Reaction::CutAfter => {
                // What others get goes out; what the sender gets (its echo, its answers) doesn't.
                let outbox = self.connection(id).outbox.clone();
                outbox.end(End::AtOnce);
                self.obey(id, line);
                self.drop_connection(id, "Connection reset by peer", End::AtOnce);
            }
        }
    }

    fn obey(&mut self, id: u64, line: &str) {
        let line = IrcLine::parse(line);
        if line.command.is_empty() {
            return;
        }
        let label = line.tag("label").filter(|_| self.caps(id).has(Caps::LABELED_RESPONSE)).map(str::to_owned);
        self.command(id, &line);
        self.flush_replies(id, label.as_deref());
    }

    /// The capabilities of a connection.
    pub fn caps(&self, id: u64) -> Caps {
        self.connections.get(&id).map(|connection| connection.outbox.caps()).unwrap_or_default()
    }

    // --- Answers ---

    /// A line that `id` causes: with its mask in front, and its account.
    pub fn line_from(&self, id: u64, rest: &str) -> Line {
        Line { account: self.connection(id).account.clone(), ..Line::new(format!(":{} {rest}", self.mask(id))) }
    }

    /// An answer to the sender of the command under way.
    pub fn reply(&mut self, line: Line) {
        self.replies.push(line);
    }

    /// The same, from everything after the tags.
    pub fn reply_body(&mut self, body: String) {
        let line = Line::new(body);
        self.reply(line);
    }

    /// A numeric to the sender of the command under way; `rest` is what follows the nick.
    pub fn numeric(&mut self, id: u64, numeric: u16, rest: &str) {
        let body = format!(":{} {numeric:03} {} {rest}", self.config.server_name, self.connection(id).nick);
        self.reply_body(body);
    }

    /// Sends the answers to a command, under its label if it had one.
    pub fn flush_replies(&mut self, id: u64, label: Option<&str>) {
        let replies = std::mem::take(&mut self.replies);
        let Some(connection) = self.connections.get(&id) else { return };
        let (outbox, caps) = (connection.outbox.clone(), connection.outbox.caps());
        let Some(label) = label else {
            for line in &replies {
                outbox.push(line.encode(caps, &[]));
            }
            return;
        };
        let server = self.config.server_name.clone();
        match replies.as_slice() {
            [] => outbox.push(Line::new(format!(":{server} ACK")).encode(caps, &[("label", label)])),
            [line] => outbox.push(line.encode(caps, &[("label", label)])),
            lines => {
                let batch = format!("b{}", self.fresh());
                let start = Line::new(format!(":{server} BATCH +{batch} labeled-response"));
                outbox.push(start.encode(caps, &[("label", label)]));
                for line in lines {
                    outbox.push(line.encode(caps, &[("batch", &batch)]));
                }
                outbox.push(Line::new(format!(":{server} BATCH -{batch}")).encode(caps, &[]));
            }
        }
    }

    // --- Lines to others ---

    /// Sends a line to the members of a channel (folded name), except one.
    pub fn send_to_channel(&self, channel: &str, except: Option<u64>, line: &Line) {
        let Some(channel) = self.channels.get(channel) else { return };
        let mut fanout = Fanout::new(line);
        for (id, member) in &channel.members {
            if Some(*id) != except {
                member.outbox.push(fanout.to(member.outbox.caps()));
            }
        }
    }

    /// Sends a line once to everyone who shares a channel with `id`, but not to `id`.
    pub fn send_to_peers(&self, id: u64, line: &Line) {
        let mut fanout = Fanout::new(line);
        let mut done = HashSet::from([id]);
        for channel in &self.connection(id).channels {
            for (peer, member) in &self.channels[channel].members {
                if done.insert(*peer) {
                    member.outbox.push(fanout.to(member.outbox.caps()));
                }
            }
        }
    }

    /// Sends a line to one connection.
    pub fn send_to(&self, id: u64, line: &Line) {
        if let Some(connection) = self.connections.get(&id) {
            connection.outbox.push(line.encode(connection.outbox.caps(), &[]));
        }
    }

    // --- Channels and ends ---

    /// Adds a member.
    pub fn add_member(&mut self, id: u64, channel: &str, op: bool) {
        let outbox = self.connection(id).outbox.clone();
        let member = Member { op, voice: false, outbox };
        self.channels.entry(channel.to_owned()).or_default().members.insert(id, member);
        self.connection_mut(id).channels.insert(channel.to_owned());
    }

    /// Removes a member, and the channel with its last one.
    pub fn remove_member(&mut self, id: u64, channel: &str) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.channels.remove(channel);
        }
        if let Some(found) = self.channels.get_mut(channel) {
            found.members.remove(&id);
            if found.members.is_empty() {
                self.channels.remove(channel);
            }
        }
    }

    /// A client is gone: its channels hear of it. Harmless if it is gone already.
    pub fn drop_connection(&mut self, id: u64, reason: &str, end: End) {
        let Some(connection) = self.connections.get(&id) else { return };
        connection.outbox.end(end);
        if connection.registered {
            let line = self.line_from(id, &format!("QUIT :{reason}"));
            self.send_to_peers(id, &line);
        }
        let channels: Vec<String> = self.connection(id).channels.iter().cloned().collect();
        for channel in channels {
            self.remove_member(id, &channel);
        }
        let nick = self.fold(&self.connection(id).nick);
        if self.nicks.get(&nick) == Some(&id) {
            self.nicks.remove(&nick);
        }
        self.connections.remove(&id);
    }

    /// Gives a user another nick without being asked.
    pub fn force_nick(&mut self, id: u64, nick: &str) {
        self.rename(id, nick);
        self.flush_replies(id, None);
    }

    /// Ends a connection as servers do: `ERROR :text`, then the wire.
    pub fn close_with_error(&mut self, id: u64, text: &str) {
        let line = Line::new(format!("ERROR :{text}"));
        self.send_to(id, &line);
        self.drop_connection(id, text, End::AfterFlush);
    }
}
