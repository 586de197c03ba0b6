//! An IRC server in this process: plain or TLS, with or without capabilities, and failing on demand.
//!
//! [`config`] is how it behaves, [`state`] owns connections and channels, [`commands`] and [`channels`] are what it does with a line, [`caps`] how a line looks to
//! whom, [`outbox`] and [`connection`] the way to the sockets. It is fast enough for the benchmarks: a line is encoded once for all
//! who get it, writes gather what is waiting, and no lock is held over an await.
//!
//! ```ignore
//! let ircd = FakeIrcd::start(IrcdConfig::modern()).await;
//! let bob = ircd.client("bob").await;
//! bob.join("#tea").await;
//! ircd.refuse_speech("#tea", Some(404));
//! ircd.cut_next_line("footbridge");
//! ```

mod caps;
mod channels;
mod commands;
mod config;
mod connection;
mod outbox;
mod state;

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};

use self::outbox::End;
pub use self::{
    config::{IrcdConfig, Refusal},
    state::{Channel, ChannelRefusals, Connection, State},
};
use super::{IrcClient, process::POLL, tls::SelfSigned, wait};

/// A line that the server received.
#[derive(Debug, Clone)]
pub struct Received {
    /// The connection's number; each has another.
    pub connection: u64,
    /// The nick at that time; `*` before there is one.
    pub nick: Arc<str>,
    /// The line without its ending.
    pub line: Arc<str>,
}

impl fmt::Display for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.connection, self.nick, self.line)
    }
}

/// What a test wants done with a line.
#[derive(Debug, Clone)]
pub enum Reaction {
    /// What it says.
    Obey,
    /// Nothing, as if the server had hung.
    Ignore,
    /// These lines go back instead.
    Answer(Vec<String>),
    /// The connection is closed and the line has no effect.
    CutBefore,
    /// The line takes effect for others, then the connection is closed without another byte.
    CutAfter,
}

/// A fake IRC server; a cheap handle that can be cloned. It serves until the runtime that started it ends.
#[derive(Clone)]
pub struct FakeIrcd {
    shared: Arc<Shared>,
}

struct Shared {
    address: SocketAddr,
    certificate: Option<SelfSigned>,
    state: Mutex<State>,
    /// Notified after every change that a test may wait for.
    changes: Notify,
    write_delay: Duration,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

impl FakeIrcd {
    /// Starts a server on a free port of loopback.
    pub async fn start(config: IrcdConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let ircd = Self {
            shared: Arc::new(Shared {
                address: listener.local_addr().expect("a bound listener has an address"),
                certificate: config.tls.then(SelfSigned::new),
                write_delay: config.write_delay,
                state: Mutex::new(State::new(config)),
                changes: Notify::new(),
                accepting: Mutex::new(None),
            }),
        };
        ircd.accept_from(listener);
        ircd
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Its certificate, if it speaks TLS.
    pub fn certificate(&self) -> Option<&SelfSigned> {
        self.shared.certificate.as_ref()
    }

    /// Everything the server knows. Release it before the next await.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn changed(&self) {
        self.shared.changes.notify_waiters();
    }

    fn accept_from(&self, listener: TcpListener) {
        let ircd = self.clone();
        let task = tokio::spawn(async move {
            let acceptor = ircd.certificate().map(SelfSigned::acceptor);
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let _ = stream.set_nodelay(true);
                let (ircd, acceptor) = (ircd.clone(), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => connection::serve(ircd, stream).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                connection::serve(ircd, stream).await;
                            }
                        }
                    }
                });
            }
        });
        *self.accepting() = Some(task);
    }

    fn accepting(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.shared.accepting.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A person on this server, connected and welcomed.
    pub async fn client(&self, nick: &str) -> IrcClient {
        let mut options = IrcClient::options();
        options.tls = self.certificate().map(SelfSigned::connector);
        options.connect(self.address(), nick).await
    }

    /// People without a socket, in these channels: what they are sent is thrown away, and what they say comes by
    /// [`Self::hear`]. They cost the benchmarks next to nothing.
    pub fn crowd(&self, nicks: impl IntoIterator<Item = String>, channels: &str) -> Vec<u64> {
        let mut state = self.state();
        let join = |nick: String| {
            let (id, outbox) = state.connect();
            outbox.end(End::AtOnce);
            for line in [format!("NICK {nick}"), format!("USER {nick} 0 * :{nick}"), format!("JOIN {channels}")] {
                state.receive(id, &line);
            }
            id
        };
        let ids = nicks.into_iter().map(join).collect();
        drop(state);
        self.changed();
        ids
    }

    /// Receives a line from the connection of this number, as if it had come over a socket.
    pub fn hear(&self, id: u64, line: &str) {
        self.state().receive(id, line);
    }

    /// Receives a line from the connection of this nick, as if it had come over its socket.
    pub fn hear_from(&self, nick: &str, line: &str) {
        let id = self.id_of(nick);
        self.hear(id, line);
    }

    // --- What tests look at ---

    /// When the last write to this nick began.
    pub fn written_to(&self, nick: &str) -> Option<std::time::Instant> {
        let id = self.id_of(nick);
        self.state().connection(id).outbox.written()
    }

    /// Waits until `look` finds something in the server's state.
    pub async fn wait_until<T>(&self, what: &str, mut look: impl FnMut(&State) -> Option<T>) -> T {
        let dump = || wait::listing(&self.state().log);
        wait::until(&self.shared.changes, what, || look(&self.state()), dump).await
    }

    /// Waits until the connection of this nick has sent a line such as this; answers with the first of them.
    pub async fn wait_for_line(&self, nick: &str, what: &str, is: impl Fn(&str) -> bool) -> Received {
        let what = format!("{what} from {nick}");
        self.wait_until(&what, |state| {
            state.log.iter().find(|received| &*received.nick == nick && is(&received.line)).cloned()
        })
        .await
    }

    /// Every line received so far from connections that had this nick then, in order.
    pub fn lines_from(&self, nick: &str) -> Vec<String> {
        self.state().log.iter().filter(|line| &*line.nick == nick).map(|line| line.line.to_string()).collect()
    }

    /// Waits until this nick is in this channel.
    pub async fn expect_on_channel(&self, nick: &str, channel: &str) {
        self.wait_until(&format!("{nick} to be on {channel}"), |state| {
            let (_, connection) = state.find(nick)?;
            connection.channels.contains(&state.fold(channel)).then_some(())
        })
        .await;
    }

    /// Waits until nobody has this nick.
    pub async fn expect_gone(&self, nick: &str) {
        self.wait_until(&format!("{nick} to be gone"), |state| state.find(nick).is_none().then_some(())).await;
    }

    /// The nicks of a channel, sorted.
    pub fn members(&self, channel: &str) -> Vec<String> {
        let state = self.state();
        let mut nicks: Vec<String> = state
            .channels
            .get(&state.fold(channel))
            .into_iter()
            .flat_map(|channel| channel.members.keys().map(|id| state.connection(*id).nick.clone()))
            .collect();
        nicks.sort_unstable();
        nicks
    }

    // --- What goes wrong ---

    /// Refuses every JOIN of a channel with this numeric (471, 473, 474, 475, ...), or no longer.
    pub fn refuse_join(&self, channel: &str, numeric: Option<u16>) {
        self.refusals(channel, |refusals| refusals.join = numeric);
    }

    /// Refuses every message to a channel with this numeric (404), or no longer.
    pub fn refuse_speech(&self, channel: &str, numeric: Option<u16>) {
        self.refusals(channel, |refusals| refusals.speech = numeric);
    }

    fn refusals(&self, channel: &str, change: impl FnOnce(&mut ChannelRefusals)) {
        let mut state = self.state();
        let channel = state.fold(channel);
        change(state.refusals.entry(channel).or_default());
    }

    /// Refuses the next connection in this way; call it again for the one after.
    pub fn refuse_next(&self, refusal: Refusal) {
        self.state().config.refusals.push(refusal);
    }

    /// Lets a test decide what becomes of each line, in place of an earlier such test.
    pub fn react(&self, hook: impl FnMut(&Received) -> Reaction + Send + 'static) {
        self.state().hook = Some(Box::new(hook));
    }

    /// Ends the connection of this nick with `ERROR` and a reason, as an operator's KILL or K-line does.
    pub fn kill(&self, nick: &str, reason: &str) {
        let id = self.id_of(nick);
        self.state().close_with_error(id, &format!("Closing Link: ({reason})"));
        self.changed();
    }

    /// Closes the connection of this nick at once.
    pub fn cut(&self, nick: &str) {
        let id = self.id_of(nick);
        self.state().drop_connection(id, "Connection reset by peer", End::AtOnce);
        self.changed();
    }

    /// Loses these people in a split: they quit with the names of two servers.
    pub fn split(&self, nicks: &[String]) {
        for nick in nicks {
            let id = self.id_of(nick);
            self.state().drop_connection(id, "hub.example leaf.example", End::AtOnce);
        }
        self.changed();
    }

    /// Closes the connection of this nick in the middle of the next line to it.
    pub fn cut_next_line(&self, nick: &str) {
        let id = self.id_of(nick);
        self.state().connection(id).outbox.cut_next_line();
    }

    /// Stops reading from the connection of this nick; it still gets its lines.
    pub fn stop_reading(&self, nick: &str) {
        self.set_flow(nick, true, false);
    }

    /// Stops reading from and writing to the connection of this nick, which stays open.
    pub fn freeze(&self, nick: &str) {
        self.set_flow(nick, true, true);
    }

    /// Goes on with a connection that was stopped.
    pub fn thaw(&self, nick: &str) {
        self.set_flow(nick, false, false);
    }

    fn set_flow(&self, nick: &str, deaf: bool, mute: bool) {
        let id = self.id_of(nick);
        self.state().connection(id).outbox.set_flow(deaf, mute);
    }

    /// Sends these bytes to the connection of this nick, whatever they are. Nothing is added, not even a line ending.
    pub fn inject(&self, nick: &str, bytes: &[u8]) {
        let id = self.id_of(nick);
        self.state().connection(id).outbox.push(bytes.into());
    }

    /// Gives a user another nick, as services do.
    pub fn force_nick(&self, nick: &str, new: &str) {
        let id = self.id_of(nick);
        self.state().force_nick(id, new);
        self.changed();
    }

    fn id_of(&self, nick: &str) -> u64 {
        let state = self.state();
        match state.find(nick) {
            Some((id, _)) => id,
            None => panic!("nobody on the fake IRC server has the nick {nick}"),
        }
    }

    /// Crashes: all connections are cut, all channels forgotten, and new connections refused by the system.
    pub async fn stop(&self) {
        let task = self.accepting().take();
        if let Some(task) = task {
            task.abort();
            let _ = task.await;
        }
        // A child that is just being forked may hold the listener a moment longer.
        while tokio::net::TcpStream::connect(self.address()).await.is_ok() {
            tokio::time::sleep(POLL).await;
        }
        self.state().crash();
        self.changed();
    }

    /// Starts again on the same port after [`Self::stop`].
    pub async fn start_again(&self) {
        let listener = TcpListener::bind(self.address())
            .await
            .unwrap_or_else(|error| panic!("cannot listen on {} again: {error}", self.address()));
        self.accept_from(listener);
    }

    /// Crashes and starts again on the same port.
    pub async fn restart(&self) {
        self.stop().await;
        self.start_again().await;
    }
}
