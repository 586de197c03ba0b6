//! A person on IRC, on the fake server or a real one.
//!
//! It answers PING by itself and remembers every line. A line that a test has expected is used up, so that expecting the same text
//! twice needs it twice.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpSocket,
    sync::Notify,
    task::JoinHandle,
};
use tokio_rustls::TlsConnector;

use super::{IrcLine, wait};

/// How to connect. See [`IrcClient::options`].
#[derive(Default)]
pub struct Options {
    /// The capabilities to ask for. None: no CAP at all.
    pub caps: Vec<String>,
    /// Trust in the server's certificate, for TLS.
    pub tls: Option<TlsConnector>,
    /// The server's password.
    pub password: Option<String>,
    /// The account and password for SASL PLAIN.
    pub sasl: Option<(String, String)>,
}

/// A connected and welcomed client. Dropping it closes the connection without QUIT.
pub struct IrcClient {
    nick: String,
    wire: Arc<Wire>,
    reader: JoinHandle<()>,
}

struct Wire {
    writer: tokio::sync::Mutex<Box<dyn AsyncWrite + Send + Unpin>>,
    seen: Mutex<Seen>,
    changes: Notify,
}

#[derive(Default)]
struct Seen {
    lines: Vec<IrcLine>,
    /// Whether a test has expected the line of the same place.
    used: Vec<bool>,
    closed: bool,
}

impl Options {
    /// The same with these capabilities.
    #[must_use]
    pub fn caps(mut self, caps: &[&str]) -> Self {
        self.caps = caps.iter().map(|&cap| cap.to_owned()).collect();
        self
    }

    /// The same over TLS.
    #[must_use]
    pub fn tls(mut self, connector: TlsConnector) -> Self {
        self.tls = Some(connector);
        self
    }

    /// The same with SASL PLAIN.
    #[must_use]
    pub fn sasl(mut self, account: &str, password: &str) -> Self {
        self.sasl = Some((account.to_owned(), password.to_owned()));
        self.caps.push("sasl".to_owned());
        self
    }

    /// Connects and registers.
    ///
    /// The client comes from 127.0.0.2, so that a server's ident look-up asks nobody who answers for the bridge.
    ///
    /// # Panics
    /// If the server can't be reached or refuses.
    pub async fn connect(self, server: SocketAddr, nick: &str) -> IrcClient {
        let client = self.dial(server, nick).await;
        client.register(&self).await;
        client
    }

    /// Connects without saying anything yet.
    pub async fn dial(&self, server: SocketAddr, nick: &str) -> IrcClient {
        let socket = TcpSocket::new_v4().expect("the machine has sockets");
        socket.bind(([127, 0, 0, 2], 0).into()).expect("127.0.0.2 is loopback");
        let stream = socket
            .connect(server)
            .await
            .unwrap_or_else(|error| panic!("{nick} can't connect to the IRC server {server}: {error}"));
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => IrcClient::over(stream, nick),
            Some(tls) => {
                let name = server.ip().into();
                let stream = tls.connect(name, stream).await;
                IrcClient::over(stream.unwrap_or_else(|error| panic!("{nick}: no TLS with {server}: {error}")), nick)
            }
        }
    }
}

impl IrcClient {
    /// Plain TCP, no capabilities, no account.
    pub fn options() -> Options {
        Options::default()
    }

    /// A client with the default options.
    pub async fn connect(server: SocketAddr, nick: &str) -> Self {
        Self::options().connect(server, nick).await
    }

    fn over<S: AsyncRead + AsyncWrite + Send + 'static>(stream: S, nick: &str) -> Self {
        let (mut reader, writer) = tokio::io::split(stream);
        let wire = Arc::new(Wire {
            writer: tokio::sync::Mutex::new(Box::new(writer)),
            seen: Mutex::default(),
            changes: Notify::new(),
        });
        let task_wire = wire.clone();
        let reader = tokio::spawn(async move {
            let mut input = Vec::new();
            while let Ok(1..) = reader.read_buf(&mut input).await {
                while let Some(end) = input.iter().position(|&byte| byte == b'\n') {
                    let line: Vec<u8> = input.drain(..=end).collect();
                    let line = IrcLine::parse(&String::from_utf8_lossy(&line));
                    if line.is("PING") {
                        task_wire.send(&format!("PONG :{}", line.text())).await;
                    }
                    task_wire.saw(line);
                }
            }
            task_wire.seen().closed = true;
            task_wire.changes.notify_waiters();
        });
        Self { nick: nick.to_owned(), wire, reader }
    }

    async fn register(&self, options: &Options) {
        let nick = &self.nick;
        if let Some(password) = &options.password {
            self.raw(&format!("PASS :{password}")).await;
        }
        if !options.caps.is_empty() {
            self.raw("CAP LS 302").await;
            self.expect("the end of CAP LS", |line| line.is("CAP") && line.param(1) == "LS" && line.params.len() == 3)
                .await;
            self.raw(&format!("CAP REQ :{}", options.caps.join(" "))).await;
            let answer = self.expect("CAP ACK", |line| line.is("CAP") && ["ACK", "NAK"].contains(&line.param(1))).await;
            assert_eq!(answer.param(1), "ACK", "{nick}: the server doesn't have what was asked: {answer}");
        }
        if let Some((account, password)) = &options.sasl {
            self.raw("AUTHENTICATE PLAIN").await;
            self.expect("AUTHENTICATE +", |line| line.is("AUTHENTICATE")).await;
            self.raw(&format!("AUTHENTICATE {}", STANDARD.encode(format!("\0{account}\0{password}")))).await;
            let answer = self.expect("903", |line| ["903", "904"].contains(&line.command.as_str())).await;
            assert!(answer.is("903"), "{nick}: login failed: {answer}");
        }
        self.raw(&format!("NICK {nick}")).await;
        // A nick may have characters that a user name may not.
        let user: String = nick.chars().filter(char::is_ascii_alphanumeric).collect();
        self.raw(&format!("USER {user} 0 * :{nick} of the tests")).await;
        if !options.caps.is_empty() {
            self.raw("CAP END").await;
        }
        let end = |line: &IrcLine| {
            matches!(line.command.as_str(), "376" | "422" | "431" | "432" | "433" | "464" | "465" | "ERROR")
        };
        let last = self.expect("the end of the message of the day", end).await;
        assert!(last.is("376") || last.is("422"), "{nick} isn't welcome: {last}");
    }

    /// The nick it registered with.
    pub fn nick(&self) -> &str {
        &self.nick
    }

    // --- Saying ---

    /// Sends a line as it is; the line ending is added.
    pub async fn raw(&self, line: &str) {
        self.wire.send(line).await;
    }

    /// Sends bytes as they are, without line ending.
    pub async fn bytes(&self, bytes: &[u8]) {
        self.wire.send_bytes(bytes).await;
    }

    /// Joins a channel and waits until the server says so.
    pub async fn join(&self, channel: &str) {
        self.raw(&format!("JOIN {channel}")).await;
        let refused = |line: &IrcLine| {
            matches!(line.command.as_str(), "403" | "405" | "437" | "471" | "473" | "474" | "475" | "477" | "480")
                && line.param(1).eq_ignore_ascii_case(channel)
        };
        let joined =
            |line: &IrcLine| line.is("JOIN") && line.nick() == self.nick && line.param(0).eq_ignore_ascii_case(channel);
        let answer = self.expect(&format!("JOIN {channel}"), |line| joined(line) || refused(line)).await;
        assert!(joined(&answer), "{} can't join {channel}: {answer}", self.nick);
    }

    /// Leaves a channel.
    pub async fn part(&self, channel: &str, reason: &str) {
        self.raw(&format!("PART {channel} :{reason}")).await;
    }

    /// Says something in a channel or to a nick.
    pub async fn say(&self, target: &str, text: &str) {
        self.raw(&format!("PRIVMSG {target} :{text}")).await;
    }

    /// Sends a notice to a channel or a nick.
    pub async fn notice(&self, target: &str, text: &str) {
        self.raw(&format!("NOTICE {target} :{text}")).await;
    }

    /// Describes an action (`/me`) in a channel or to a nick.
    pub async fn action(&self, target: &str, text: &str) {
        self.say(target, &format!("\u{1}ACTION {text}\u{1}")).await;
    }

    /// Takes leave and waits until the server has closed the connection.
    pub async fn quit(&self, reason: &str) {
        self.raw(&format!("QUIT :{reason}")).await;
        self.expect_closed().await;
    }

    /// Waits until the server has handled everything sent so far.
    pub async fn sync(&self) {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let token = format!("sync{}", NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        self.raw(&format!("PING {token}")).await;
        self.expect("PONG", |line| line.is("PONG") && line.text() == token).await;
    }

    // --- Hearing ---

    /// Waits for a line that no earlier call has used up.
    ///
    /// # Panics
    /// After [`wait::DEADLINE`] or when the connection is closed, with all lines seen.
    pub async fn expect(&self, what: &str, is: impl Fn(&IrcLine) -> bool) -> IrcLine {
        let what = format!("{what}, as {} sees it", self.nick);
        let look = || {
            let mut seen = self.wire.seen();
            let found = (0..seen.lines.len()).find(|&at| !seen.used[at] && is(&seen.lines[at]));
            match found {
                Some(at) => {
                    seen.used[at] = true;
                    Some(Some(seen.lines[at].clone()))
                }
                None if seen.closed => Some(None),
                None => None,
            }
        };
        let dump = || wait::listing(&self.lines());
        match wait::until(&self.wire.changes, &what, look, dump).await {
            Some(line) => line,
            None => panic!("the connection was closed while waiting for {what}; seen:\n{}", dump()),
        }
    }

    /// Waits for a PRIVMSG to `target` with this text from someone.
    pub async fn expect_text(&self, target: &str, from: impl Fn(&str) -> bool, text: &str) -> IrcLine {
        self.expect(&format!("`{text}` in {target}"), |line| line.is_privmsg(target, &from, text)).await
    }

    /// Waits until the server has closed the connection.
    pub async fn expect_closed(&self) {
        let what = format!("the end of {}'s connection", self.nick);
        let closed = || self.wire.seen().closed.then_some(());
        wait::until(&self.wire.changes, &what, closed, || wait::listing(&self.lines())).await;
    }

    /// Every line so far, used up or not.
    pub fn lines(&self) -> Vec<IrcLine> {
        self.wire.seen().lines.clone()
    }

    /// The texts of all PRIVMSG to `target` so far, in order, with the nicks of their senders.
    pub fn texts(&self, target: &str) -> Vec<(String, String)> {
        let seen = self.wire.seen();
        let texts = seen.lines.iter().filter(|line| line.is("PRIVMSG") && line.param(0).eq_ignore_ascii_case(target));
        texts.map(|line| (line.nick().to_owned(), line.text().to_owned())).collect()
    }
}

impl Drop for IrcClient {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Wire {
    async fn send(&self, line: &str) {
        self.send_bytes(format!("{line}\r\n").as_bytes()).await;
    }

    async fn send_bytes(&self, bytes: &[u8]) {
        let mut writer = self.writer.lock().await;
        // A closed connection shows when the next line is expected.
        let _ = writer.write_all(bytes).await;
        let _ = writer.flush().await;
    }

    fn saw(&self, line: IrcLine) {
        let mut seen = self.seen();
        seen.lines.push(line);
        seen.used.push(false);
        drop(seen);
        self.changes.notify_waiters();
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
