//! The link alone: a scripted server on one side, the pool on the other, and between them a protocol so small that
//! whatever goes wrong is the link's doing.

mod telegraph;

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
};

use crate::{
    irc::pool::{
        ConnectionPool, SendRefused, WriteAhead,
        local::LocalPool,
        protocol::{Cursors, Limits, LinkSpec, NetworkSpec, PoolEvent, PoolEventBody},
    },
    model::{CommandId, Epoch, Fate, IrcAction, IrcEvent, IrcKey, LinkId, LinkState, MatrixKey, SystemClock, TextKind},
};

/// A journal that answers when the test says so.
struct Gate {
    asked: mpsc::Sender<Vec<MatrixKey>>,
    answers: Semaphore,
}

#[async_trait::async_trait]
impl WriteAhead for Gate {
    async fn before_write(&self, keys: &[MatrixKey]) {
        self.asked.send(keys.to_vec()).await.unwrap();
        self.answers.acquire().await.unwrap().forget();
    }
}

/// A pool with its listener.
struct Rig {
    pool: Arc<LocalPool>,
    events: mpsc::Receiver<PoolEvent>,
    gate: Arc<Gate>,
    asked: mpsc::Receiver<Vec<MatrixKey>>,
    listener: TcpListener,
    commands: u64,
    last: HashMap<LinkId, IrcKey>,
}

const NO_LIMITS: Limits = Limits { connects_per_minute: 0, line_burst: 0, lines_per_second: 0.0, queue: 100 };

impl Rig {
    async fn new(limits: Limits) -> Self {
        Self::with_servers(limits, |here| vec![here]).await
    }

    async fn with_servers(limits: Limits, servers: impl Fn(String) -> Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (questions, asked) = mpsc::channel(100);
        let gate = Arc::new(Gate { asked: questions, answers: Semaphore::new(0) });
        let pool = LocalPool::with_sessions(Arc::new(SystemClock), Arc::clone(&gate) as _, telegraph::new);
        let events = pool.attach(Cursors { links: Vec::new(), first_epoch: Epoch(7 << 32) });
        pool.configure(NetworkSpec {
            network: "test".parse().unwrap(),
            servers: servers(listener.local_addr().unwrap().to_string()),
            tls: None,
            encoding: "windows-1252".into(),
            password: None,
            limits,
        });
        Self { pool, events, gate, asked, listener, commands: 0, last: HashMap::new() }
    }

    fn open(&self, name: &str) -> LinkId {
        let user = format!("@{name}:example.org").try_into().unwrap();
        let link = LinkId::puppet("test".parse().unwrap(), user);
        self.pool.open(LinkSpec {
            link: link.clone(),
            nick: name.into(),
            alternatives: Vec::new(),
            nick_end: String::new(),
            username: name.into(),
            realname: name.into(),
            sasl: None,
            channels: Vec::new(),
        });
        link
    }

    /// Waits for a link to call, and hears its hello.
    async fn accept(&self) -> Peer {
        let (tcp, _) = self.listener.accept().await.unwrap();
        let mut peer = Peer(BufReader::new(tcp));
        peer.hears("HELLO").await;
        peer
    }

    /// Opens a link and welcomes it.
    async fn ready(&mut self, name: &str) -> (LinkId, Peer) {
        let link = self.open(name);
        let mut peer = self.accept().await;
        peer.says("WELCOME").await;
        while !matches!(self.state(&link).await, LinkState::Ready { .. }) {}
        (link, peer)
    }

    fn say(&mut self, link: &LinkId, lines: &[&str], journal: Option<MatrixKey>) -> Result<CommandId, SendRefused> {
        self.commands += 1;
        let command = CommandId(self.commands);
        let action = IrcAction::Say {
            target: "#all".into(),
            kind: TextKind::Privmsg,
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
            expires: i64::MAX,
            journal,
        };
        self.pool.send(link, command, action).map(|()| command)
    }

    /// The next event; keys must grow without a gap.
    async fn event(&mut self) -> PoolEvent {
        let event = self.events.recv().await.unwrap();
        let expected = match self.last.insert(event.link.clone(), event.key) {
            Some(last) if last.epoch == event.key.epoch => last.seq + 1,
            Some(last) => {
                assert!(event.key.epoch > last.epoch, "{last} then {}", event.key);
                0
            }
            None => 0,
        };
        assert_eq!(event.key.seq, expected, "{event:?}");
        assert!(event.key.epoch >= Epoch(7 << 32));
        event
    }

    /// The next state of `link`; skips nothing else of it.
    async fn state(&mut self, link: &LinkId) -> LinkState {
        loop {
            let event = self.event().await;
            match event.body {
                PoolEventBody::State(state) if event.link == *link => return state,
                body if event.link == *link => panic!("{body:?}"),
                _ => {}
            }
        }
    }

    /// The next news of `link`.
    async fn news(&mut self, link: &LinkId) -> String {
        let event = self.event().await;
        match event.body {
            PoolEventBody::Irc(IrcEvent::OwnNick { nick }) if event.link == *link => nick,
            body => panic!("{body:?}"),
        }
    }

    fn let_through(&self) {
        self.gate.answers.add_permits(1);
    }
}

/// The server's end of a connection.
struct Peer(BufReader<TcpStream>);

impl Peer {
    async fn says(&mut self, line: &str) {
        self.0.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        let cut = line.strip_suffix("\r\n").map(str::to_owned);
        assert!(cut.is_some() || line.is_empty(), "half a line: {line}");
        cut
    }

    async fn hears(&mut self, expected: &str) {
        assert_eq!(self.line().await.as_deref(), Some(expected));
    }

    /// Everything the link has been given to write until now is heard before this: nothing else may be.
    async fn hears_nothing(&mut self) {
        self.says("PING nothing").await;
        self.hears("PONG nothing").await;
    }

    async fn hears_the_end(&mut self) {
        assert_eq!(self.line().await, None);
    }
}

fn key(txn: i64) -> MatrixKey {
    MatrixKey { txn, index: 0 }
}

fn reason(state: LinkState) -> String {
    match state {
        LinkState::Waiting { failure: Some(failure), .. } => failure.detail.unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_link_connects_tells_and_does() {
    let mut rig = Rig::new(NO_LIMITS).await;
    let link = rig.open("alice");
    assert!(matches!(rig.state(&link).await, LinkState::Connecting { .. }));
    let mut peer = rig.accept().await;
    peer.says("WELCOME").await;
    assert!(matches!(rig.state(&link).await, LinkState::Ready { .. }));
    peer.says("NEWS one\r\nNEWS two").await;
    assert_eq!(rig.news(&link).await, "one");
    assert_eq!(rig.news(&link).await, "two");
    rig.say(&link, &["a", "b"], None).unwrap();
    peer.hears("SAY a").await;
    peer.hears("SAY b").await;
}

#[tokio::test]
async fn r45_what_waits_for_the_budget_is_overtaken_by_what_may_not_wait() {
    let mut rig = Rig::new(Limits { line_burst: 2, lines_per_second: 0.1, ..NO_LIMITS }).await;
    let (link, mut peer) = rig.ready("alice").await;
    rig.say(&link, &["1", "2", "3", "4"], None).unwrap();
    peer.hears("SAY 1").await;
    peer.hears("SAY 2").await;
    peer.hears_nothing().await;
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    peer.hears("SAY 3").await;
    peer.hears("SAY 4").await;
    // The time is the test's own: it stood still but for the waiting of the link.
    assert!(start.elapsed().as_secs() >= 19, "{:?}", start.elapsed());
}

#[tokio::test]
async fn nothing_goes_out_before_the_journal_has_answered() {
    let mut rig = Rig::new(NO_LIMITS).await;
    let (link, mut peer) = rig.ready("alice").await;
    rig.say(&link, &["1", "2"], Some(key(1))).unwrap();
    assert_eq!(rig.asked.recv().await.unwrap(), [key(1)]);
    rig.say(&link, &["3"], Some(key(2))).unwrap();
    rig.say(&link, &["4"], Some(key(3))).unwrap();
    peer.hears_nothing().await;
    peer.says("NEWS read on").await;
    assert_eq!(rig.news(&link).await, "read on");
    assert!(rig.asked.try_recv().is_err(), "pulled more while the journal was asked");
    rig.let_through();
    peer.hears("SAY 1").await;
    peer.hears("SAY 2").await;
    assert_eq!(rig.asked.recv().await.unwrap(), [key(2), key(3)], "one question for all that may go now");
    peer.hears_nothing().await;
    rig.let_through();
    peer.hears("SAY 3").await;
    peer.hears("SAY 4").await;
}

#[tokio::test]
async fn what_was_held_when_the_connection_went_never_goes_out() {
    let mut rig = Rig::new(NO_LIMITS).await;
    let (link, peer) = rig.ready("alice").await;
    let lost = rig.say(&link, &["1"], Some(key(1))).unwrap();
    rig.asked.recv().await.unwrap();
    drop(peer);
    let fate = rig.event().await.body;
    let PoolEventBody::Fate { command, fate: Fate::Failed(failure) } = fate else { panic!("{fate:?}") };
    assert!(command == lost && !failure.certain, "{failure:?}");
    let mut peer = rig.accept().await;
    peer.says("WELCOME").await;
    rig.let_through();
    peer.hears_nothing().await;
    rig.say(&link, &["2"], None).unwrap();
    peer.hears("SAY 2").await;
}

#[tokio::test]
async fn a_wire_cut_in_the_middle_of_a_line_tells_the_lines_before_it() {
    let mut rig = Rig::new(NO_LIMITS).await;
    let (link, mut peer) = rig.ready("alice").await;
    let epoch = rig.last[&link].epoch;
    peer.says("NEWS whole\r\nNEWS half").await;
    peer.0.write_all(b"NEWS never ends").await.unwrap();
    drop(peer);
    assert_eq!(rig.news(&link).await, "whole");
    assert_eq!(rig.news(&link).await, "half");
    assert_eq!(reason(rig.state(&link).await), "the server closed the connection");
    let mut peer = rig.accept().await;
    peer.says("NEWS again").await;
    assert!(matches!(rig.state(&link).await, LinkState::Connecting { .. }));
    assert_eq!(rig.news(&link).await, "again");
    assert!(rig.last[&link].epoch > epoch);
}

#[tokio::test]
async fn r44_the_last_words_of_a_server_that_cuts_are_heard() {
    let mut rig = Rig::new(NO_LIMITS).await;
    let (link, mut peer) = rig.ready("alice").await;
    // So much that we are in the middle of writing when the cut comes.
    let long = "x".repeat(1000);
    rig.say(&link, &vec![long.as_str(); 20_000], None).unwrap();
    peer.line().await;
    peer.says("NEWS you are banned").await;
    drop(peer); // with unread data in it: a reset
    assert_eq!(rig.news(&link).await, "you are banned");
}

#[tokio::test]
async fn a_server_that_takes_nothing_for_a_minute_is_given_up() {
    let mut rig = Rig::new(NO_LIMITS).await;
    let (link, peer) = rig.ready("alice").await;
    let long = "x".repeat(1000);
    rig.say(&link, &vec![long.as_str(); 20_000], None).unwrap();
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    let fate = rig.event().await.body;
    assert!(matches!(fate, PoolEventBody::Fate { fate: Fate::Failed(_), .. }), "{fate:?}");
    assert!((60..70).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert_eq!(reason(rig.state(&link).await), "the server has taken nothing for 60 seconds");
    drop(peer);
}

#[tokio::test]
async fn a_line_without_end_costs_itself_only() {
    let mut rig = Rig::new(NO_LIMITS).await;
    let (link, mut peer) = rig.ready("alice").await;
    peer.says(&format!("NEWS {}", "x".repeat(200_000))).await;
    peer.says("NEWS after").await;
    assert_eq!(rig.news(&link).await, "after");
}

#[tokio::test]
async fn closing_says_goodbye_and_hears_the_server_out() {
    let mut rig = Rig::new(NO_LIMITS).await;
    let (link, mut peer) = rig.ready("alice").await;
    // Something unread in the socket must not turn the goodbye into a reset.
    peer.0.write_all(&vec![b'x'; 100_000]).await.unwrap();
    rig.pool.close(&link, "enough");
    assert_eq!(rig.say(&link, &["late"], None), Err(SendRefused::NotOpen));
    peer.hears("BYE enough").await;
    peer.hears_the_end().await;
    peer.says("NEWS ignored").await;
    drop(peer);
    assert_eq!(rig.state(&link).await, LinkState::Closed);
    rig.pool.shutdown("").await;
    assert!(rig.events.is_empty());
}

/// [`ConnectionPool::close`] says first what it was handed; whoever may not be there any more says nothing.
#[tokio::test]
async fn r49_a_link_that_is_cut_says_goodbye_at_once_and_nothing_else() {
    let mut rig = Rig::new(Limits { lines_per_second: 0.001, line_burst: 1, ..NO_LIMITS }).await;
    let (link, mut peer) = rig.ready("alice").await;
    for word in ["one", "two", "three"] {
        rig.say(&link, &[word], None).unwrap();
    }
    rig.pool.cut(&link, "banned");
    loop {
        match peer.line().await.as_deref() {
            Some("SAY one") => {}
            end => break assert_eq!(end, Some("BYE banned")),
        }
    }
    assert_eq!(rig.say(&link, &["late"], None), Err(SendRefused::NotOpen));
    peer.hears_the_end().await;
    drop(peer);
    while rig.state(&link).await != LinkState::Closed {}
}

#[tokio::test]
async fn a_goodbye_goes_out_though_the_journal_never_answers() {
    let mut rig = Rig::new(NO_LIMITS).await;
    let (link, mut peer) = rig.ready("alice").await;
    rig.say(&link, &["held back"], Some(key(1))).unwrap();
    rig.asked.recv().await.unwrap();
    rig.pool.close(&link, "enough");
    peer.hears("BYE enough").await;
    peer.hears_the_end().await;
}

#[tokio::test]
async fn a_full_mailbox_refuses_more_but_not_the_close() {
    let mut rig = Rig::new(NO_LIMITS).await;
    let (link, mut peer) = rig.ready("alice").await;
    // Nothing is awaited meanwhile: the link can't take any of it.
    let sent = (0..=super::mailbox::CAPACITY).filter(|_| rig.say(&link, &["x"], None).is_ok()).count();
    assert_eq!(sent, super::mailbox::CAPACITY);
    assert_eq!(rig.say(&link, &["x"], None), Err(SendRefused::QueueFull));
    rig.pool.close(&link, "enough");
    loop {
        match peer.line().await.as_deref() {
            Some("SAY x") => {}
            end => break assert_eq!(end, Some("BYE enough")),
        }
    }
}

#[tokio::test]
async fn a_link_that_waits_for_its_turn_to_dial_closes_at_once() {
    let mut rig = Rig::new(Limits { connects_per_minute: 1, ..NO_LIMITS }).await;
    let (link, peer) = rig.ready("alice").await;
    let waiting = rig.open("bob");
    assert!(matches!(rig.state(&waiting).await, LinkState::Connecting { .. }));
    rig.pool.close(&waiting, "never mind");
    assert_eq!(rig.state(&waiting).await, LinkState::Closed);
    drop(peer);
    rig.pool.close(&link, "");
    while rig.state(&link).await != LinkState::Closed {}
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    rig.pool.shutdown("").await;
    // Nobody is left whom it would have to wait for.
    assert_eq!(start.elapsed().as_secs(), 0);
}

#[tokio::test]
async fn a_link_opened_again_while_it_says_goodbye_comes_back_after_it() {
    let mut rig = Rig::new(NO_LIMITS).await;
    let (link, mut peer) = rig.ready("alice").await;
    rig.open("alice");
    peer.hears_nothing().await;
    rig.pool.close(&link, "a moment");
    rig.open("alice");
    peer.hears("BYE a moment").await;
    assert_eq!(rig.state(&link).await, LinkState::Closed);
    let epoch = rig.last[&link].epoch;
    rig.say(&link, &["later"], None).unwrap();
    tokio::time::timeout(std::time::Duration::from_millis(1), rig.listener.accept())
        .await
        .expect_err("dialled before the goodbye was over");
    drop(peer);
    let mut peer = rig.accept().await;
    peer.says("WELCOME").await;
    peer.hears("SAY later").await;
    assert!(matches!(rig.state(&link).await, LinkState::Connecting { .. }));
    // Each dial has an epoch of its own.
    assert!(rig.last[&link].epoch >= epoch);
}

#[tokio::test]
async fn r44_a_refused_link_rests_until_it_is_opened_again() {
    let mut rig = Rig::new(NO_LIMITS).await;
    let (link, mut peer) = rig.ready("alice").await;
    peer.says("REFUSE you are banned").await;
    let LinkState::Refused { failure } = rig.state(&link).await else { panic!() };
    assert_eq!(failure.detail.as_deref(), Some("you are banned"));
    peer.hears_the_end().await;
    drop(peer);
    rig.open("alice");
    assert!(matches!(rig.state(&link).await, LinkState::Connecting { .. }));
    rig.accept().await.says("WELCOME").await;
    assert!(matches!(rig.state(&link).await, LinkState::Ready { .. }));
}

#[tokio::test]
async fn shutdown_says_goodbye_on_every_link_and_waits_for_the_slow() {
    let mut rig = Rig::new(NO_LIMITS).await;
    let mut peers = Vec::new();
    for name in ["alice", "bob", "carol"] {
        peers.push(rig.ready(name).await.1);
    }
    let pool = Arc::clone(&rig.pool);
    let shutdown = tokio::spawn(async move { pool.shutdown("restarting").await });
    for peer in &mut peers {
        peer.hears("BYE restarting").await;
        peer.hears_the_end().await;
    }
    let slow = peers.pop();
    drop(peers);
    assert!(!shutdown.is_finished());
    tokio::time::pause();
    shutdown.await.unwrap();
    drop(slow);
    for _ in 0..3 {
        assert!(matches!(rig.event().await.body, PoolEventBody::State(LinkState::Closed)));
    }
    rig.open("dave");
    assert!(rig.events.is_empty(), "opened a link while stopping");
}

#[tokio::test]
async fn a_server_that_is_down_gives_way_to_the_next() {
    let mut rig = Rig::with_servers(NO_LIMITS, |here| vec!["127.0.0.1:1".into(), here]).await;
    let link = rig.open("alice");
    assert_eq!(rig.state(&link).await, LinkState::Connecting { server: "127.0.0.1:1".into() });
    assert!(reason(rig.state(&link).await).contains("refused the connection"));
    rig.accept().await.says("WELCOME").await;
    assert!(matches!(rig.state(&link).await, LinkState::Connecting { .. }));
    assert!(matches!(rig.state(&link).await, LinkState::Ready { .. }));
}

#[tokio::test]
async fn r9_a_bridge_that_takes_its_time_loses_nothing_and_holds_up_nobody() {
    const LINES: usize = 40_000;
    let mut rig = Rig::new(NO_LIMITS).await;
    let (quiet, mut quiet_peer) = rig.ready("quiet").await;
    let (busy, busy_peer) = rig.ready("busy").await;
    let padding = "x".repeat(400);
    let written = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&written);
    let writer = tokio::spawn(async move {
        let mut busy_peer = busy_peer;
        for number in 0..LINES {
            busy_peer.0.write_all(format!("NEWS {number} {padding}\r\n").as_bytes()).await?;
            counter.fetch_add(1, Ordering::Relaxed);
        }
        io::Result::Ok(busy_peer)
    });
    while rig.events.len() < rig.events.max_capacity() {
        tokio::task::yield_now().await;
    }
    // The bridge's queue is full. The busy link stops listening; the quiet one goes on serving its server.
    quiet_peer.says("NEWS kept").await;
    let mut before = LINES;
    while written.load(Ordering::Relaxed) != before {
        before = written.load(Ordering::Relaxed);
        for _ in 0..100 {
            quiet_peer.hears_nothing().await;
        }
    }
    assert!(before < LINES, "the busy link went on listening");
    let (mut next, mut kept) = (0, false);
    while next < LINES || !kept {
        let event = rig.event().await;
        let PoolEventBody::Irc(IrcEvent::OwnNick { nick }) = event.body else { panic!("{:?}", event.body) };
        if event.link == busy {
            assert!(nick.starts_with(&format!("{next} ")), "{next}: {nick}");
            next += 1;
        } else {
            assert_eq!((event.link, nick.as_str()), (quiet.clone(), "kept"));
            kept = true;
        }
    }
    // Everything has been told, so the link listens again.
    let mut busy_peer = writer.await.unwrap().unwrap();
    busy_peer.hears_nothing().await;
}

#[tokio::test]
async fn a_flood_of_one_link_leaves_the_others_their_turn() {
    let mut rig = Rig::new(NO_LIMITS).await;
    let (_, mut quiet) = rig.ready("quiet").await;
    let (_, mut busy) = rig.ready("busy").await;
    let flood =
        tokio::spawn(async move { while busy.0.write_all(&b"NOISE of no interest\r\n".repeat(1000)).await.is_ok() {} });
    for _ in 0..50 {
        quiet.hears_nothing().await;
    }
    assert!(!flood.is_finished());
    flood.abort();
    let _ = rig.events.try_recv();
}

#[tokio::test]
async fn bytes_after_the_end_are_read_until_the_server_has_hung_up() {
    let mut rig = Rig::new(NO_LIMITS).await;
    let (link, mut peer) = rig.ready("alice").await;
    rig.pool.close(&link, "enough");
    let mut rest = String::new();
    peer.says("NEWS too late").await;
    peer.0.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "BYE enough\r\n");
    drop(peer);
    assert_eq!(rig.state(&link).await, LinkState::Closed);
    rig.pool.shutdown("").await;
    assert!(rig.events.is_empty());
}
