//! Clients that are slow, silent or many, on a clock that runs ahead while nothing happens.

use axum::routing::{get, put};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinHandle,
    time::Instant,
};

use super::{super::body::Whole, *};

/// More than the sockets on the way can hold.
const MUCH: usize = 32 << 20;

struct Server {
    listens: std::net::SocketAddr,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        Self::with(MOST_CONNECTIONS).await
    }

    async fn with(most: usize) -> Self {
        let router = Router::new()
            .route("/", get(|| async { "hello" }))
            .route("/much", get(|| async { vec![b'x'; MUCH] }))
            .route("/", put(|Whole(body): Whole| async { body }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (listens, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let served = tokio::spawn(serve_at_most(most, listener, router, stop.clone()));
        Self { listens, stop, served }
    }

    /// A connection on which this was sent.
    async fn connect(&self, sent: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.listens).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        stream
    }
}

/// Asks, and reads the answer.
async fn ask(stream: &mut TcpStream) {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    hear(stream).await;
}

async fn hear(stream: &mut TcpStream) {
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "it was cut");
    }
}

/// What else comes until the server closes the connection.
async fn rest(mut stream: TcpStream) -> String {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    String::from_utf8(rest).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_head_that_never_ends_is_cut_even_if_it_goes_on() {
    let server = Server::start().await;
    assert_eq!(rest(server.connect("").await).await, "");
    assert_eq!(rest(server.connect("GET / HTT").await).await, "");
    let mut dripping = server.connect("GET / HTTP/1.1\r\nx: ").await;
    let begun = Instant::now();
    while dripping.write_all(b"x").await.is_ok() {
        sleep(Duration::from_secs(1)).await;
        assert!(begun.elapsed() < 2 * NO_HEADWAY, "it is held for ever");
    }
    // One that has asked before has no more patience to hope for.
    let mut known = server.connect("").await;
    ask(&mut known).await;
    known.write_all(b"GET /").await.unwrap();
    assert_eq!(rest(known).await, "");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_told_so() {
    let server = Server::start().await;
    let answer = rest(server.connect("PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{").await).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains(r#""errcode":"M_UNKNOWN""#) && answer.contains("within 60 s"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_reads_is_given_up() {
    let server = Server::start().await;
    let stream = server.connect("GET /much HTTP/1.1\r\nhost: x\r\n\r\n").await;
    sleep(2 * NO_HEADWAY).await;
    assert!(rest(stream).await.len() < MUCH);
}

#[tokio::test(start_paused = true)]
async fn a_connection_may_be_idle_for_as_long_as_homeservers_keep_it() {
    let server = Server::start().await;
    let mut stream = server.connect("").await;
    for _ in 0..3 {
        ask(&mut stream).await;
        sleep(Duration::from_secs(125)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_no_request_that_is_never_sent_to_its_end() {
    for half in ["", "GET / HTT", "PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{"] {
        let server = Server::start().await;
        let mut seen = server.connect("").await;
        ask(&mut seen).await;
        let stream = server.connect(half).await;
        ask(&mut seen).await;
        server.stop.cancel();
        timeout(2 * LAST_REQUESTS, server.served).await.expect("the stop hangs").unwrap();
        assert_eq!(rest(stream).await, "", "nothing is left running");
    }
}

#[tokio::test]
async fn who_comes_to_a_full_house_waits_until_one_leaves() {
    let server = Server::with(2).await;
    let mut inside = [server.connect("").await, server.connect("").await];
    for one in &mut inside {
        ask(one).await;
    }
    let mut waiting = server.connect("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    for one in &mut inside {
        ask(one).await;
    }
    assert_eq!(waiting.try_read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(inside);
    hear(&mut waiting).await;
}
