//! The pool of this process as the bridge sees it: real sessions on real sockets, against a scripted IRC server.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use footbridge::{
    irc::pool::{
        ConnectionPool, SendRefused, WriteAhead,
        local::LocalPool,
        protocol::{Cursors, Limits, LinkSpec, NetworkSpec, PoolEvent, PoolEventBody, TlsSpec},
    },
    model::{
        ChannelKey, CommandId, Epoch, Failure, Fate, IrcAction, IrcEvent, LinkId, LinkState, MatrixKey, Reason,
        SystemClock, TextKind,
    },
};
use metrics_exporter_prometheus::PrometheusBuilder;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpListener,
    sync::{Semaphore, mpsc},
};
use tokio_rustls::TlsAcceptor;

const NO_LIMITS: Limits = Limits { connects_per_minute: 0, line_burst: 0, lines_per_second: 0.0, queue: 100 };

/// A journal that answers when the test says so.
struct Gate {
    asked: mpsc::Sender<Vec<MatrixKey>>,
    answers: Semaphore,
}

#[async_trait]
impl WriteAhead for Gate {
    async fn before_write(&self, keys: &[MatrixKey]) {
        self.asked.send(keys.to_vec()).await.unwrap();
        self.answers.acquire().await.unwrap().forget();
    }
}

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// The server's end of a connection.
struct Peer(BufReader<Box<dyn Wire>>);

impl Peer {
    async fn says(&mut self, line: &str) {
        self.0.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
        self.0.flush().await.unwrap();
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        line.trim_end().to_owned()
    }

    async fn hears(&mut self, expected: &str) {
        assert_eq!(self.line().await, expected);
    }

    /// Reads until a line that begins so, and gives it.
    async fn waits_for(&mut self, start: &str) -> String {
        loop {
            let line = self.line().await;
            assert!(!line.is_empty(), "the link has hung up; waiting for {start}");
            if line.starts_with(start) {
                return line;
            }
        }
    }

    /// Lets a client without capabilities in.
    async fn welcomes(&mut self, nick: &str) {
        self.waits_for("USER ").await;
        self.says(":irc.example 421 * CAP :Unknown command").await;
        self.says(&format!(":irc.example 001 {nick} :Welcome")).await;
        self.says(&format!(":irc.example 422 {nick} :No message of the day")).await;
    }
}

struct Rig {
    pool: Arc<LocalPool>,
    events: mpsc::Receiver<PoolEvent>,
    gate: Arc<Gate>,
    asked: mpsc::Receiver<Vec<MatrixKey>>,
    listener: TcpListener,
}

impl Rig {
    async fn new(tls: Option<TlsSpec>, servers: impl Fn(u16) -> Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (questions, asked) = mpsc::channel(100);
        let gate = Arc::new(Gate { asked: questions, answers: Semaphore::new(0) });
        let pool = LocalPool::new(Arc::new(SystemClock), Arc::clone(&gate) as _);
        let events = pool.attach(Cursors { links: Vec::new(), first_epoch: Epoch(3 << 32) });
        let rig = Self { pool, events, gate, asked, listener };
        rig.configure(tls, servers);
        rig
    }

    async fn plain() -> Self {
        Self::new(None, |port| vec![format!("127.0.0.1:{port}")]).await
    }

    fn configure(&self, tls: Option<TlsSpec>, servers: impl Fn(u16) -> Vec<String>) {
        self.pool.configure(NetworkSpec {
            network: "test".parse().unwrap(),
            servers: servers(self.listener.local_addr().unwrap().port()),
            tls,
            encoding: "windows-1252".into(),
            password: None,
            limits: NO_LIMITS,
        });
    }

    fn open(&self, nick: &str) -> LinkId {
        let user = format!("@{nick}:example.org").try_into().unwrap();
        let link = LinkId::puppet("test".parse().unwrap(), user);
        self.pool.open(LinkSpec {
            link: link.clone(),
            nick: nick.into(),
            alternatives: vec![format!("{nick}_")],
            nick_end: String::new(),
            username: nick.into(),
            realname: format!("@{nick}:example.org"),
            sasl: None,
            channels: vec![ChannelKey { name: "#a".into(), key: None }],
        });
        link
    }

    async fn accept(&self) -> Peer {
        Peer(BufReader::new(Box::new(self.listener.accept().await.unwrap().0)))
    }

    async fn accept_tls(&self, config: ServerConfig) -> std::io::Result<Peer> {
        let (tcp, _) = self.listener.accept().await?;
        Ok(Peer(BufReader::new(Box::new(TlsAcceptor::from(Arc::new(config)).accept(tcp).await?))))
    }

    async fn body(&mut self) -> PoolEventBody {
        self.events.recv().await.unwrap().body
    }

    /// The next event is somebody's words, and they begin so.
    async fn hears(&mut self, start: &str) {
        match self.body().await {
            PoolEventBody::Irc(IrcEvent::Text { text, .. }) if text.starts_with(start) => {}
            other => panic!("waiting for `{start}`: {other:?}"),
        }
    }

    async fn state(&mut self) -> LinkState {
        match self.body().await {
            PoolEventBody::State(state) => state,
            other => panic!("{other:?}"),
        }
    }

    /// Opens a link and sees it onto the network and into its channel.
    async fn joined(&mut self, nick: &str) -> (LinkId, Peer) {
        let link = self.open(nick);
        let mut peer = self.accept().await;
        self.see_in(nick, &mut peer).await;
        (link, peer)
    }

    async fn see_in(&mut self, nick: &str, peer: &mut Peer) {
        assert!(matches!(self.state().await, LinkState::Connecting { .. }));
        peer.welcomes(nick).await;
        let ready = self.state().await;
        assert!(matches!(&ready, LinkState::Ready { nick: own, .. } if own == nick), "{ready:?}");
        peer.waits_for("JOIN #a").await;
        peer.says(&format!(":{nick}!u@host JOIN #a")).await;
        let mask = IrcEvent::OwnMask { user: "u".into(), host: "host".into() };
        assert_eq!(self.body().await, PoolEventBody::Irc(mask));
        assert_eq!(self.body().await, PoolEventBody::Irc(IrcEvent::OwnJoined { channel: "#a".into() }));
    }

    fn say(&self, link: &LinkId, command: u64, text: &str, txn: Option<i64>) -> Result<(), SendRefused> {
        let action = IrcAction::Say {
            target: "#a".into(),
            kind: TextKind::Privmsg,
            lines: vec![text.to_owned()],
            expires: i64::MAX,
            journal: txn.map(|txn| MatrixKey { txn, index: 0 }),
        };
        self.pool.send(link, CommandId(command), action)
    }
}

fn certificate(name: &str) -> (ServerConfig, String) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::clone(made.cert.der())],
            PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap(),
        )
        .unwrap();
    (config, made.cert.pem())
}

/// Says something that the journal must know of first, and sees it delivered.
async fn deliver(rig: &mut Rig, link: &LinkId, peer: &mut Peer) {
    rig.say(link, 1, "hello", Some(5)).unwrap();
    assert_eq!(rig.asked.recv().await.unwrap(), [MatrixKey { txn: 5, index: 0 }]);
    // The journal takes its time. The server must see nothing of it, and no less of us.
    peer.says("PING :still there?").await;
    peer.hears("PONG :still there?").await;
    rig.gate.answers.add_permits(1);
    peer.hears("PRIVMSG #a :hello").await;
    let barrier = peer.waits_for("PING ").await;
    peer.says(&format!(":irc.example PONG irc.example {}", &barrier["PING ".len()..])).await;
    let delivered = PoolEventBody::Fate { command: CommandId(1), fate: Fate::Delivered { msgid: None } };
    assert_eq!(rig.body().await, delivered);
}

#[tokio::test]
async fn a_message_goes_out_once_the_journal_knows_and_is_told_as_delivered() {
    let mut rig = Rig::plain().await;
    let (link, mut peer) = rig.joined("alice").await;
    deliver(&mut rig, &link, &mut peer).await;
}

#[tokio::test]
async fn all_of_it_works_under_tls() {
    let (config, pem) = certificate("irc.example.org");
    let tls = Some(TlsSpec { ca_pem: Some(pem) });
    let mut rig = Rig::new(tls, |port| vec![format!("127.0.0.1:{port}")]).await;
    let link = rig.open("alice");
    let mut peer = rig.accept_tls(config).await.unwrap();
    rig.see_in("alice", &mut peer).await;
    deliver(&mut rig, &link, &mut peer).await;
    // More than one TLS record, in one go.
    for number in 0..300 {
        peer.says(&format!(":bob!b@host PRIVMSG alice :{number} {}", "x".repeat(400))).await;
    }
    for number in 0..300 {
        let PoolEventBody::Irc(IrcEvent::Text { text, .. }) = rig.body().await else { panic!() };
        assert!(text.starts_with(&format!("{number} ")), "{number}: {text}");
    }
    rig.pool.close(&link, "enough");
    assert!(peer.waits_for("QUIT").await.contains("enough"));
}

/// A link under TLS, in its channel.
async fn joined_under_tls() -> (Rig, LinkId, Peer) {
    let (config, pem) = certificate("irc.example.org");
    let mut rig = Rig::new(Some(TlsSpec { ca_pem: Some(pem) }), |port| vec![format!("127.0.0.1:{port}")]).await;
    let link = rig.open("alice");
    let mut peer = rig.accept_tls(config).await.unwrap();
    rig.see_in("alice", &mut peer).await;
    (rig, link, peer)
}

#[tokio::test]
async fn what_tls_holds_decrypted_is_read_though_nothing_follows_it() {
    let (mut rig, link, mut peer) = joined_under_tls().await;
    rig.gate.answers.add_permits(1);
    rig.say(&link, 1, "hello", Some(5)).unwrap();
    let barrier = peer.waits_for("PING ").await;
    // Two records, there at once. With the first, as much as is read in one go, the link has nothing left to do but to listen.
    let filler = |length: usize| format!(":irc.example WALLOPS :{}\r\n", "x".repeat(length));
    let pong = format!(":irc.example PONG irc.example {}\r\n", &barrier["PING ".len()..]);
    let mut record = pong + &filler(200).repeat(70);
    record += &filler(16_384 - record.len() - filler(0).len());
    assert_eq!(record.len(), 16_384);
    peer.0.write_all(record.as_bytes()).await.unwrap();
    peer.says(":bob!b@host PRIVMSG alice :held back?").await;
    assert!(matches!(rig.body().await, PoolEventBody::Fate { fate: Fate::Delivered { .. }, .. }));
    rig.hears("held back?").await;
}

/// A link that only listens, and lets gather what comes: nothing is lost, held back, or unanswered.
async fn listening_at_leisure((mut rig, _, mut peer): (Rig, LinkId, Peer)) {
    const LINES: usize = 1000;
    let lines = |range: std::ops::Range<usize>| -> Vec<u8> {
        let line = |n: usize| format!(":bob!b@host PRIVMSG alice :{n} {}\r\n", "x".repeat(n % 400));
        range.map(line).collect::<String>().into_bytes()
    };
    let writer = tokio::spawn(async move {
        let bytes = lines(0..LINES);
        let mut rest = &bytes[..];
        // Lines are cut anywhere; some pieces are more than is read, or decrypted, at once.
        for length in [1, 7, 160, 4096, 5000, 16_384, 20_000, 70_000].into_iter().cycle() {
            let (piece, after) = rest.split_at(length.min(rest.len()));
            peer.0.write_all(piece).await.unwrap();
            peer.0.flush().await.unwrap();
            tokio::task::yield_now().await;
            rest = after;
            if rest.is_empty() {
                return peer;
            }
        }
        unreachable!("it goes on for ever")
    });
    for n in 0..LINES {
        rig.hears(&format!("{n} ")).await;
    }
    let mut peer = writer.await.unwrap();
    peer.says("PING :still there?").await;
    peer.waits_for("PONG :still there?").await;
    // Half a line has gathered and was read before the other half comes.
    tokio::time::pause();
    for half in ["PI", "NG :and now?\r\n", ":bob!b@host PRIVMSG al", "ice :in halves\r\n"] {
        peer.0.write_all(half.as_bytes()).await.unwrap();
        peer.0.flush().await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    peer.waits_for("PONG :and now?").await;
    rig.hears("in halves").await;
    tokio::time::resume();
    // What comes with the end of the connection is heard before it.
    peer.0.write_all(b":bob!b@host PRIVMSG alice :goodbye\r\nERROR :Closing Link: host (I leave)\r\n").await.unwrap();
    peer.0.shutdown().await.unwrap();
    drop(peer);
    rig.hears("goodbye").await;
    let LinkState::Waiting { failure: Some(failure), .. } = rig.state().await else { panic!() };
    assert!(failure.to_string().contains("I leave"), "{failure}");
}

#[tokio::test]
async fn a_link_that_only_listens_hears_everything() {
    let mut rig = Rig::plain().await;
    let (link, peer) = rig.joined("alice").await;
    listening_at_leisure((rig, link, peer)).await;
}

#[tokio::test]
async fn a_link_that_only_listens_hears_everything_under_tls() {
    listening_at_leisure(joined_under_tls().await).await;
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_told_with_what_to_do() {
    let (config, _) = certificate("127.0.0.1");
    let mut rig = Rig::new(Some(TlsSpec::default()), |port| vec![format!("127.0.0.1:{port}")]).await;
    rig.open("alice");
    assert!(rig.accept_tls(config).await.is_err());
    assert!(matches!(rig.state().await, LinkState::Connecting { .. }));
    let LinkState::Waiting { failure: Some(failure), .. } = rig.state().await else { panic!() };
    assert_eq!(failure.reason, Reason::Unreachable);
    assert!(failure.to_string().contains("`tls_ca`"), "{failure}");
}

#[tokio::test]
async fn the_second_server_takes_over_from_the_first() {
    let mut rig = Rig::new(None, |port| vec!["127.0.0.1:1".into(), format!("127.0.0.1:{port}")]).await;
    rig.open("alice");
    assert_eq!(rig.state().await, LinkState::Connecting { server: "127.0.0.1:1".into() });
    let LinkState::Waiting { failure: Some(failure), .. } = rig.state().await else { panic!() };
    assert!(failure.to_string().contains("refused the connection"), "{failure}");
    tokio::time::pause();
    let connecting = rig.state().await;
    tokio::time::resume();
    let here = format!("127.0.0.1:{}", rig.listener.local_addr().unwrap().port());
    assert_eq!(connecting, LinkState::Connecting { server: here });
    let mut peer = rig.accept().await;
    peer.welcomes("alice").await;
    let ready = rig.events.recv().await.unwrap();
    assert!(matches!(ready.body, PoolEventBody::State(LinkState::Ready { .. })), "{ready:?}");
    assert_eq!(ready.key.epoch, Epoch((3 << 32) + 1), "each dial has an epoch of its own");
}

#[tokio::test]
async fn r44_a_ban_rests_until_the_link_is_opened_again() {
    let mut rig = Rig::plain().await;
    let (link, mut peer) = rig.joined("alice").await;
    peer.says(":irc.example 465 alice :You are banned from this server").await;
    peer.says("ERROR :Closing Link: host (K-Lined)").await;
    drop(peer);
    let LinkState::Refused { failure } = rig.state().await else { panic!() };
    assert!(failure.to_string().contains("banned"), "{failure}");
    rig.say(&link, 1, "hello?", None).unwrap();
    let PoolEventBody::Fate { fate: Fate::Failed(failure), .. } = rig.body().await else { panic!() };
    assert!(failure.certain && failure.reason == Reason::LinkRefused, "{failure:?}");
    let (_, mut peer) = rig.joined("alice").await;
    deliver(&mut rig, &link, &mut peer).await;
}

#[tokio::test]
async fn what_was_on_its_way_when_the_wire_was_cut_is_uncertain_and_not_said_again() {
    let mut rig = Rig::plain().await;
    let (link, mut peer) = rig.joined("alice").await;
    rig.gate.answers.add_permits(1);
    rig.say(&link, 1, "hello", Some(5)).unwrap();
    peer.hears("PRIVMSG #a :hello").await;
    peer.0.write_all(b":bob!b@host PRIVMSG alice :cut in the mid").await.unwrap();
    drop(peer);
    let PoolEventBody::Fate { command: CommandId(1), fate: Fate::Failed(failure) } = rig.body().await else { panic!() };
    assert!(!failure.certain, "{failure:?}");
    assert!(matches!(rig.state().await, LinkState::Waiting { .. }));
    tokio::time::pause();
    let mut peer = rig.accept().await;
    tokio::time::resume();
    rig.see_in("alice", &mut peer).await;
    deliver(&mut rig, &link, &mut peer).await;
}

#[tokio::test]
async fn closing_says_quit_and_takes_nothing_more() {
    let mut rig = Rig::plain().await;
    let (link, mut peer) = rig.joined("alice").await;
    rig.pool.close(&link, "gone home");
    assert_eq!(rig.say(&link, 1, "late", None), Err(SendRefused::NotOpen));
    peer.hears("QUIT :gone home").await;
    peer.says("ERROR :Closing Link: host (Quit: gone home)").await;
    drop(peer);
    assert_eq!(rig.state().await, LinkState::Closed);
}

#[tokio::test]
async fn a_link_opened_again_during_its_goodbye_begins_anew_and_does_what_it_was_told_since() {
    let mut rig = Rig::plain().await;
    let (link, mut peer) = rig.joined("alice").await;
    rig.pool.close(&link, "gone home");
    rig.open("alice");
    rig.gate.answers.add_permits(1);
    rig.say(&link, 1, "back again", Some(5)).unwrap();
    peer.hears("QUIT :gone home").await;
    peer.says("ERROR :Closing Link: host (Quit: gone home)").await;
    drop(peer);
    assert_eq!(rig.state().await, LinkState::Closed);
    let mut peer = rig.accept().await;
    rig.see_in("alice", &mut peer).await;
    peer.waits_for("PRIVMSG #a :back again").await;
}

/// A link that waits for its channel, with something to say there, and was told to close.
async fn closing_with_words(rig: &mut Rig) -> (LinkId, Peer) {
    let link = rig.open("alice");
    let mut peer = rig.accept().await;
    assert!(matches!(rig.state().await, LinkState::Connecting { .. }));
    peer.welcomes("alice").await;
    assert!(matches!(rig.state().await, LinkState::Ready { .. }));
    peer.waits_for("JOIN #a").await;
    rig.say(&link, 1, "last words", None).unwrap();
    rig.pool.close(&link, "gone home");
    assert_eq!(rig.say(&link, 2, "too late", None), Err(SendRefused::NotOpen));
    (link, peer)
}

#[tokio::test]
async fn closing_says_first_what_was_handed_over_before() {
    let mut rig = Rig::plain().await;
    let (_, mut peer) = closing_with_words(&mut rig).await;
    peer.says(":alice!u@host JOIN #a").await;
    peer.hears("PRIVMSG #a :last words").await;
    peer.waits_for("QUIT :gone home").await;
}

#[tokio::test]
async fn a_link_opened_again_before_its_goodbye_goes_on() {
    let mut rig = Rig::plain().await;
    let (link, mut peer) = closing_with_words(&mut rig).await;
    rig.open("alice");
    rig.say(&link, 3, "no, I stay", None).unwrap();
    peer.says(":alice!u@host JOIN #a").await;
    peer.hears("PRIVMSG #a :last words").await;
    peer.hears("PRIVMSG #a :no, I stay").await;
    let barrier = peer.waits_for("PING ").await;
    peer.says(&format!(":irc.example PONG irc.example {}", &barrier["PING ".len()..])).await;
    rig.say(&link, 4, "still here", None).unwrap();
    peer.hears("PRIVMSG #a :still here").await;
}

#[tokio::test]
async fn shutdown_waits_for_nothing_that_a_closing_link_has_to_say() {
    let mut rig = Rig::plain().await;
    let (_, mut peer) = closing_with_words(&mut rig).await;
    let pool = Arc::clone(&rig.pool);
    let shutdown = tokio::spawn(async move { pool.shutdown("restarting").await });
    peer.hears("QUIT :restarting").await;
    let failure = Failure::certain(Reason::Interrupted);
    assert_eq!(rig.body().await, PoolEventBody::Fate { command: CommandId(1), fate: Fate::Failed(failure) });
    drop(peer);
    shutdown.await.unwrap();
}

#[tokio::test]
async fn shutdown_says_quit_everywhere() {
    let mut rig = Rig::plain().await;
    let (_, mut alice) = rig.joined("alice").await;
    let (_, mut bob) = rig.joined("bob").await;
    let pool = Arc::clone(&rig.pool);
    let shutdown = tokio::spawn(async move { pool.shutdown("restarting").await });
    for peer in [&mut alice, &mut bob] {
        peer.hears("QUIT :restarting").await;
        peer.says("ERROR :Closing Link: host (Quit: restarting)").await;
    }
    drop((alice, bob));
    shutdown.await.unwrap();
    assert_eq!(rig.state().await, LinkState::Closed);
    assert_eq!(rig.state().await, LinkState::Closed);
}

#[tokio::test]
async fn shutdown_ends_though_servers_are_silent_and_nobody_listens() {
    let mut rig = Rig::plain().await;
    let (_, peer) = rig.joined("alice").await;
    rig.open("bob");
    tokio::time::pause();
    rig.pool.shutdown("restarting").await;
    drop(peer);
}

#[tokio::test]
async fn a_refused_link_can_be_closed() {
    let mut rig = Rig::plain().await;
    let (link, mut peer) = rig.joined("alice").await;
    peer.says("ERROR :Closing Link: host (K-Lined)").await;
    drop(peer);
    assert!(matches!(rig.state().await, LinkState::Refused { .. }));
    rig.pool.close(&link, "no use");
    assert_eq!(rig.state().await, LinkState::Closed);
}

#[tokio::test]
async fn what_goes_on_is_counted() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let mut rig = Rig::plain().await;
    let servers = |port| vec![format!("127.0.0.1:{port}")];
    // Everything is registered when the network is made known.
    metrics::with_local_recorder(&recorder, || rig.configure(None, servers));
    let (link, mut peer) = rig.joined("alice").await;
    peer.says(&"x".repeat(200_000)).await;
    peer.says(":bob!b@host PRIVMSG alice :hi").await;
    rig.body().await;
    let counted = |name: &str| {
        let text = metrics.render();
        let found = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in:\n{text}"));
        found.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()
    };
    assert_eq!(counted(r#"footbridge_irc_links{network="test",state="ready"}"#), 1);
    assert_eq!(counted(r#"footbridge_irc_links{network="test",state="connecting"}"#), 0);
    assert_eq!(counted(r#"footbridge_irc_dropped_lines_total{network="test"}"#), 1);
    // CAP, NICK, USER, JOIN at least; 421, 001, 422, JOIN, PRIVMSG.
    assert!(counted(r#"footbridge_irc_lines_total{network="test",direction="out"}"#) >= 4);
    assert_eq!(counted(r#"footbridge_irc_lines_total{network="test",direction="in"}"#), 5);
    rig.pool.close(&link, "enough");
    peer.waits_for("QUIT").await;
    drop(peer);
    assert_eq!(rig.state().await, LinkState::Closed);
    assert_eq!(counted(r#"footbridge_irc_links{network="test",state="ready"}"#), 0);
}

#[tokio::test]
async fn nothing_is_open_that_was_not_opened() {
    let rig = Rig::plain().await;
    let link = LinkId::bot("test".parse().unwrap());
    assert_eq!(rig.say(&link, 1, "hello", None), Err(SendRefused::NotOpen));
    rig.pool.close(&link, "never was");
}
