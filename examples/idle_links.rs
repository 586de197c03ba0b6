//! What an idle link weighs: opens links to a trivial server in another process, waits until all are on the
//! network and in a channel, and prints the memory of this process per link.
//!
//! `cargo run --release --example idle_links [-- tls] [counts...]`, by default 1000 and 5000 links. Memory is
//! `RssAnon` of `/proc/self/status`: the kernel's socket buffers come on top.

use std::{
    env,
    io::{BufRead, BufReader as Blocking},
    process::{Command, Stdio},
    sync::Arc,
};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use footbridge::{
    irc::pool::{
        ConnectionPool, WriteAhead,
        local::LocalPool,
        protocol::{Cursors, Limits, LinkSpec, NetworkSpec, PoolEventBody, TlsSpec},
    },
    model::{ChannelKey, Epoch, IrcEvent, LinkId, LinkState, MatrixKey, SystemClock},
};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, split},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct NoJournal;

#[async_trait]
impl WriteAhead for NoJournal {
    async fn before_write(&self, _: &[MatrixKey]) {}
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments: Vec<String> = env::args().skip(1).collect();
    rlimit::increase_nofile_limit(u64::MAX)?;
    let tls = arguments.iter().position(|a| a == "tls").map(|at| arguments.remove(at)).is_some();
    if arguments.first().is_some_and(|a| a == "serve") {
        return serve(tls).await;
    }
    let counts = if arguments.is_empty() { vec!["1000".to_owned(), "5000".to_owned()] } else { arguments };
    for count in counts {
        // One process per count, so that none finds memory that another left behind.
        if env::var_os("IDLE_LINKS_ONE").is_some() {
            measure(count.parse()?, tls).await?;
        } else {
            let mode: &[&str] = if tls { &["tls"] } else { &[] };
            let one = Command::new(env::current_exe()?).args(mode).arg(&count).env("IDLE_LINKS_ONE", "1").status();
            ensure!(one?.success(), "measuring {count} links failed");
        }
    }
    Ok(())
}

async fn measure(count: u64, tls: bool) -> Result<()> {
    let mode: &[&str] = if tls { &["tls"] } else { &[] };
    let mut server = Command::new(env::current_exe()?).arg("serve").args(mode).stdout(Stdio::piped()).spawn()?;
    let mut hello = Blocking::new(server.stdout.take().context("no output")?).lines();
    let port = hello.next().context("the server didn't start")??;
    let mut ca_pem = String::new();
    while tls && !ca_pem.contains("-----END") {
        ca_pem += &hello.next().context("no certificate")??;
        ca_pem.push('\n');
    }

    let pool = LocalPool::new(Arc::new(SystemClock), Arc::new(NoJournal));
    let mut events = pool.attach(Cursors { links: Vec::new(), first_epoch: Epoch(1 << 32) });
    pool.configure(NetworkSpec {
        network: "idle".parse()?,
        servers: vec![format!("127.0.0.1:{port}")],
        tls: tls.then_some(TlsSpec { ca_pem: Some(ca_pem) }),
        encoding: "windows-1252".into(),
        password: None,
        limits: Limits { connects_per_minute: 0, line_burst: 0, lines_per_second: 0.0, queue: 50 },
    });
    // The first link pays for what all of them share.
    for (links, first) in [(1, 0), (count, 1)] {
        let before = rss_anon()?;
        for number in first..first + links {
            pool.open(spec(number)?);
        }
        let mut joined = 0;
        while joined < links {
            match events.recv().await.context("the pool has stopped")?.body {
                PoolEventBody::Irc(IrcEvent::OwnJoined { .. }) => joined += 1,
                PoolEventBody::State(LinkState::Waiting { failure: Some(failure), .. }) => eprintln!("{failure}"),
                _ => {}
            }
        }
        tokio::time::sleep(std::time::Duration::from_secs(4)).await;
        if links > 1 {
            let per_link = (rss_anon()? - before) / links;
            let kind = if tls { "TLS" } else { "plaintext" };
            println!("{links} idle {kind} links, each in one channel: {per_link} bytes each");
        }
    }
    server.kill()?;
    Ok(())
}

fn spec(number: u64) -> Result<LinkSpec> {
    Ok(LinkSpec {
        link: LinkId::puppet("idle".parse()?, format!("@user{number}:example.org").try_into()?),
        nick: format!("user{number}"),
        alternatives: vec![format!("user{number}_")],
        nick_end: String::new(),
        username: format!("u{number}"),
        realname: format!("@user{number}:example.org"),
        sasl: None,
        channels: vec![ChannelKey { name: "#idle".into(), key: None }],
    })
}

fn rss_anon() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).context("no RssAnon in /proc/self/status")?;
    Ok(line.split_whitespace().nth(1).context("no number")?.parse::<u64>()? * 1024)
}

/// Serves until the parent has gone away.
async fn serve(tls: bool) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    let certificate = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    let acceptor = if tls {
        println!("{}", certificate.cert.pem());
        let key = PrivateKeyDer::try_from(certificate.signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::clone(certificate.cert.der())], key)?;
        Some(TlsAcceptor::from(Arc::new(config)))
    } else {
        None
    };
    loop {
        let (tcp, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            match acceptor {
                Some(acceptor) => converse(acceptor.accept(tcp).await?).await,
                None => converse(tcp).await,
            }
        });
    }
}

/// Says what a server says to a newcomer.
async fn converse(stream: impl AsyncRead + AsyncWrite) -> Result<()> {
    let (read, mut write) = split(stream);
    let mut lines = BufReader::new(read).lines();
    let mut nick = "*".to_owned();
    while let Some(line) = lines.next_line().await? {
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let answer = match word {
            "CAP" => format!(":irc 421 {nick} CAP :Unknown command\r\n"),
            "NICK" => {
                rest.trim_start_matches(':').clone_into(&mut nick);
                continue;
            }
            "USER" => format!(
                ":irc 001 {nick} :Welcome\r\n:irc 004 {nick} irc toy-1 io bklmnopst\r\n:irc 005 {nick} NICKLEN=30 NETWORK=Idle \
                 CHANTYPES=# :are supported by this server\r\n:irc 422 {nick} :No message of the day\r\n"
            ),
            "JOIN" => {
                let channel = rest.split(' ').next().unwrap_or(rest).trim_start_matches(':');
                format!(
                    ":{nick}!user@host.example JOIN {channel}\r\n:irc 353 {nick} = {channel} :{}\r\n:irc 366 {nick} {channel} :End\r\n",
                    "somebody ".repeat(40).trim_end()
                )
            }
            "PING" => format!(":irc PONG irc {rest}\r\n"),
            _ => continue,
        };
        write.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}
