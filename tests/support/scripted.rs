//! An IRC server without a mind: the test reads and writes the lines itself, one connection at a time.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::{
    IrcLine,
    wait::{self, DEADLINE},
};

/// A listener on loopback.
pub struct ScriptedIrcd {
    listener: TcpListener,
}

/// One accepted connection.
pub struct ScriptedConnection {
    stream: TcpStream,
    input: Vec<u8>,
    log: Vec<String>,
}

impl ScriptedIrcd {
    /// Listens on a free port.
    pub async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports") }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("a bound listener has an address")
    }

    /// Waits for the next connection.
    pub async fn accept(&self) -> ScriptedConnection {
        let accepted = timeout(DEADLINE, self.listener.accept()).await;
        let (stream, _) = accepted.expect("nobody connected in time").expect("accepting works on loopback");
        let _ = stream.set_nodelay(true);
        ScriptedConnection { stream, input: Vec::new(), log: Vec::new() }
    }
}

impl ScriptedConnection {
    /// The next line from the client.
    ///
    /// # Panics
    /// If none comes in time, or the client closes the connection; with all lines so far.
    pub async fn read(&mut self) -> IrcLine {
        let problem = match timeout(DEADLINE, self.next_line()).await {
            Ok(Some(line)) => return line,
            Ok(None) => "the client closed the connection",
            Err(_) => "no line came in time",
        };
        panic!("{problem}; the dialogue was:\n{}", wait::listing(&self.log))
    }

    /// Reads lines until one is such as this; the others are skipped.
    pub async fn read_until(&mut self, is: impl Fn(&IrcLine) -> bool) -> IrcLine {
        loop {
            let line = self.read().await;
            if is(&line) {
                return line;
            }
        }
    }

    /// Waits until the client closes the connection; lines before that are skipped.
    pub async fn expect_closed(&mut self) {
        let closed = async { while self.next_line().await.is_some() {} };
        let in_time = timeout(DEADLINE, closed).await.is_ok();
        assert!(in_time, "the client kept the connection; the dialogue was:\n{}", wait::listing(&self.log));
    }

    async fn next_line(&mut self) -> Option<IrcLine> {
        loop {
            if let Some(end) = self.input.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.input.drain(..=end).collect();
                let line = IrcLine::parse(&String::from_utf8_lossy(&line));
                self.log.push(format!("C: {line}"));
                return Some(line);
            }
            let Ok(1..) = self.stream.read_buf(&mut self.input).await else { return None };
        }
    }

    /// Sends a line; the line ending is added.
    pub async fn send(&mut self, line: &str) {
        self.log.push(format!("S: {line}"));
        self.send_bytes(format!("{line}\r\n").as_bytes()).await;
    }

    /// Sends bytes as they are: half a line, or what is no line at all.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the client is there");
    }

    /// Plays the welcome of a server without capabilities, up to the end of the message of the day; answers with the nick.
    pub async fn welcome(&mut self, isupport: &str) -> String {
        let (mut nick, mut user) = (None, false);
        while nick.is_none() || !user {
            let line = self.read().await;
            match line.command.as_str() {
                "CAP" if line.param(0) != "END" => self.send(":irc.fake.test 421 * CAP :Unknown command").await,
                "NICK" => nick = Some(line.param(0).to_owned()),
                "USER" => user = true,
                _ => {}
            }
        }
        let nick = nick.expect("the loop ends with a nick");
        self.send(&format!(":irc.fake.test 001 {nick} :Welcome {nick}!user@host.fake.test")).await;
        self.send(&format!(":irc.fake.test 005 {nick} {isupport} :are supported by this server")).await;
        self.send(&format!(":irc.fake.test 422 {nick} :MOTD File is missing")).await;
        nick
    }
}
