//! The way to a server: name lookup, TCP, TLS, and plain words for whatever goes wrong on it.
//!
//! A [`Dialer`] is made once per network and shared by its links, with one TLS configuration: loading the trusted
//! certificates again for every link would cost ten times what the link itself does. What a certificate is checked
//! against is `trust`'s business.

mod trust;

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpSocket, TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    irc::{pool::protocol::NetworkSpec, wire::LineWriter},
    model::{Failure, Reason},
};

/// How long one server may take from the name lookup to the end of the TLS handshake.
const DIAL_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a server may take to say something to somebody who only asks whether it is there.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one of several addresses of a server is waited for, at least.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(4);

/// A connection to a server.
#[derive(Debug)]
pub enum Stream {
    /// Readable by everybody on the way.
    Plain(TcpStream),
    /// TLS. Boxed, so that a plaintext link doesn't carry its size.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Reads what there is into `buffer` and says how much; 0 is the end.
    ///
    /// # Errors
    /// The connection's.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, &mut buffer),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, &mut buffer),
        })?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Ready when there is something to read, or the connection is over.
    ///
    /// # Errors
    /// The connection's.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(tcp) => tcp.poll_read_ready(cx),
            Self::Tls(tls) => tls.get_ref().0.poll_read_ready(cx),
        }
    }

    /// Writes some of `bytes` and says how much.
    ///
    /// # Errors
    /// The connection's.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    /// Sends what TLS holds back.
    ///
    /// # Errors
    /// The connection's.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    /// Tells the other side that nothing more will come.
    ///
    /// # Errors
    /// The connection's.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

/// Makes connections to the servers of one network.
#[derive(Debug)]
pub struct Dialer {
    tls: Option<Arc<ClientConfig>>,
}

impl Dialer {
    /// A dialer for `network`.
    ///
    /// # Errors
    /// The network's `tls_ca` (or what the machine trusts) can't be used; in plain words.
    pub fn new(network: &NetworkSpec) -> Result<Self, String> {
        Ok(Self { tls: network.tls.as_ref().map(trust::client_config).transpose()? })
    }

    /// Connects to `server` (`host:port`), by whichever of its addresses answers first in turn, and shakes hands.
    ///
    /// # Errors
    /// [`Reason::Unreachable`], with what is wrong and what to do about it.
    pub async fn dial(&self, server: &str) -> Result<Stream, Failure> {
        self.dial_server(server).await.map_err(|problem| Failure::certain(Reason::Unreachable).with_detail(problem))
    }

    async fn dial_server(&self, server: &str) -> Result<Stream, String> {
        let (host, port) = host_and_port(server)?;
        let mut connected = false;
        let dialed = timeout(DIAL_TIMEOUT, async {
            let tcp = connect(server, host, port).await?;
            connected = true;
            match &self.tls {
                None => Ok(Stream::Plain(tcp)),
                Some(tls) => handshake(server, host, Arc::clone(tls), tcp).await,
            }
        });
        let dialed = dialed.await;
        dialed.unwrap_or_else(|_| {
            let seconds = DIAL_TIMEOUT.as_secs();
            Err(if connected {
                format!("{server}: it takes connections, but did not begin TLS within {seconds} seconds; is this its port for TLS?")
            } else {
                format!("{server}: no answer within {seconds} seconds; is a firewall in the way?")
            })
        })
    }
}

/// Dials each server of a network, sees whether it speaks, and hangs up; for `footbridge check`.
///
/// The result is by server: nothing, or what is wrong in plain words.
pub async fn probe(network: &NetworkSpec) -> Vec<(String, Result<(), String>)> {
    let dialer = Dialer::new(network);
    let mut found = Vec::with_capacity(network.servers.len());
    for server in &network.servers {
        let result = match &dialer {
            Ok(dialer) => match dialer.dial_server(server).await {
                Ok(stream) => hear(server, stream).await,
                Err(problem) => Err(problem),
            },
            Err(problem) => Err(problem.clone()),
        };
        found.push((server.clone(), result));
    }
    found
}

/// Whether what listens there says anything to a question and a goodbye, of which every IRC server answers one.
async fn hear(server: &str, mut stream: Stream) -> Result<(), String> {
    let mut words = Vec::new();
    let written = LineWriter::new(&mut words, 512).line("CAP", &["LS", "302"], None);
    let written = written.and_then(|()| LineWriter::new(&mut words, 512).quit(""));
    written.expect("single words are legal");
    let mut answer = [0; 512];
    let heard = timeout(ANSWER_TIMEOUT, async {
        let mut rest = &words[..];
        while !rest.is_empty() {
            let length = poll_fn(|cx| stream.poll_write(cx, rest)).await?;
            rest = &rest[length..];
        }
        poll_fn(|cx| stream.poll_flush(cx)).await?;
        poll_fn(|cx| stream.poll_read(cx, &mut answer)).await
    });
    match heard.await {
        // A record of TLS: an alert, most likely, about what it takes for one of ours.
        Ok(Ok(1..)) if matches!(answer[..2], [0x14..=0x17, 3]) => {
            Err(format!("{server}: it speaks TLS on this port; set `tls` to true, or name its port for plaintext"))
        }
        Ok(Ok(1..)) => Ok(()),
        Ok(Ok(0) | Err(_)) => {
            Err(format!("{server}: it hung up without a word; is this an IRC server's port, with TLS or without?"))
        }
        Err(_) => {
            let seconds = ANSWER_TIMEOUT.as_secs();
            Err(format!(
                "{server}: it takes connections, but said nothing within {seconds} seconds; is this an IRC server's port?"
            ))
        }
    }
}

/// Takes `host:port` apart; the host may be an IPv6 address in brackets.
fn host_and_port(server: &str) -> Result<(&str, u16), String> {
    let wrong = || format!("`{server}` is no server: write it as host:port, an IPv6 address as [::1]:6697");
    let (host, port) = server.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(bare) => bare,
        None if host.contains(':') => return Err(wrong()),
        None => host,
    };
    if host.is_empty() { Err(wrong()) } else { Ok((host, port)) }
}

/// Tries every address of `host`, each for its share of the time.
async fn connect(server: &str, host: &str, port: u16) -> Result<TcpStream, String> {
    let addresses: Vec<SocketAddr> = lookup_host((host, port))
        .await
        .map_err(|e| {
            format!("{server}: no such host ({e}); is the name right in `servers`, and does the machine's DNS work?")
        })?
        .collect();
    let share = u32::try_from(addresses.len()).ok().and_then(|n| DIAL_TIMEOUT.checked_div(n)).unwrap_or_default();
    let mut problem = format!("{server}: the name has no address");
    for address in addresses {
        problem = match timeout(share.max(ADDRESS_TIMEOUT), connect_address(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(e)) if e.kind() == io::ErrorKind::ConnectionRefused => {
                format!("{server}: {} refused the connection; is the port right, is the server up?", address.ip())
            }
            Ok(Err(e)) => format!("{server}: {} can't be reached ({e})", address.ip()),
            Err(_) => format!("{server}: no answer from {}; is a firewall in the way?", address.ip()),
        };
    }
    Err(problem)
}

async fn connect_address(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_keepalive(true)?;
    let tcp = socket.connect(address).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

async fn handshake(server: &str, host: &str, tls: Arc<ClientConfig>, tcp: TcpStream) -> Result<Stream, String> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| format!("{server}: `{host}` is no name that a certificate could have"))?;
    let stream = TlsConnector::from(tls).connect(name, tcp).await.map_err(|e| trust::explain(server, host, &e))?;
    Ok(Stream::Tls(Box::new(stream)))
}

#[cfg(test)]
mod tests;
