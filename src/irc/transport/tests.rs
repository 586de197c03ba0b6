use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::irc::pool::protocol::{Limits, TlsSpec};

fn network(servers: Vec<String>, tls: Option<TlsSpec>) -> NetworkSpec {
    NetworkSpec {
        network: "test".parse().unwrap(),
        servers,
        tls,
        encoding: "windows-1252".into(),
        password: None,
        limits: Limits { connects_per_minute: 0, line_burst: 0, lines_per_second: 0.0, queue: 10 },
    }
}

fn trusting(pem: &str) -> TlsSpec {
    TlsSpec { ca_pem: Some(pem.to_owned()) }
}

/// A certificate with its key, in PEM.
struct Certificate {
    chain: String,
    key: String,
}

/// A certificate for `name` that vouches for itself.
fn self_signed(name: &str) -> Certificate {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    Certificate { chain: made.cert.pem(), key: made.signing_key.serialize_pem() }
}

/// A CA.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for `name` by `authority`, until `year`.
fn certified(authority: &CertifiedIssuer<'static, KeyPair>, name: &str, year: i32) -> Certificate {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    let certificate = params.signed_by(&key, authority).unwrap();
    Certificate { chain: certificate.pem(), key: key.serialize_pem() }
}

/// A server on `127.0.0.1` that greets whoever comes and echoes what they say.
async fn tls_server(certificate: &Certificate) -> u16 {
    let chain = CertificateDer::pem_slice_iter(certificate.chain.as_bytes()).collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let (listener, acceptor) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), TlsAcceptor::from(Arc::new(config)));
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            // A client that doesn't like the certificate goes away in the handshake.
            if let Ok(mut tls) = acceptor.accept(tcp).await {
                tls.write_all(b"hello").await.unwrap();
                let _ = tokio::io::copy(&mut tokio::io::split(tls).0, &mut tokio::io::sink()).await;
            }
        }
    });
    port
}

/// Dials and reads the greeting.
async fn dial(network: &NetworkSpec) -> Result<String, String> {
    let dialer = Dialer::new(network)?;
    let mut stream = dialer.dial(&network.servers[0]).await.map_err(|failure| {
        assert!(failure.certain && failure.reason == Reason::Unreachable, "{failure:?}");
        failure.detail.unwrap()
    })?;
    let mut buffer = [0; 16];
    let length = poll_fn(|cx| stream.poll_read(cx, &mut buffer)).await.unwrap();
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

#[tokio::test]
async fn a_server_that_an_own_ca_vouches_for_is_trusted_under_its_name_only() {
    let ours = authority();
    let port = tls_server(&certified(&ours, "localhost", 2999)).await;
    let spec = |host: &str, ca: &str| network(vec![format!("{host}:{port}")], Some(trusting(ca)));

    assert_eq!(dial(&spec("localhost", &ours.pem())).await.as_deref(), Ok("hello"));
    let wrong_name = dial(&spec("127.0.0.1", &ours.pem())).await.unwrap_err();
    assert!(wrong_name.contains("isn't for the name `127.0.0.1`") && wrong_name.contains("localhost"), "{wrong_name}");
    let wrong_ca = dial(&spec("localhost", &authority().pem())).await.unwrap_err();
    assert!(wrong_ca.contains("signed by nobody we trust") && wrong_ca.contains("`tls_ca`"), "{wrong_ca}");
}

#[tokio::test]
async fn a_server_whose_own_certificate_is_named_is_trusted_under_any_name() {
    let certificate = self_signed("irc.example.org");
    let port = tls_server(&certificate).await;
    let spec = |ca: &str| network(vec![format!("127.0.0.1:{port}")], Some(trusting(ca)));

    assert_eq!(dial(&spec(&certificate.chain)).await.as_deref(), Ok("hello"));
    let other = dial(&spec(&self_signed("irc.example.org").chain)).await.unwrap_err();
    assert!(other.contains("certificate"), "{other}");
}

#[tokio::test]
async fn a_certificate_that_nobody_named_is_refused_by_default() {
    let port = tls_server(&self_signed("localhost")).await;
    let refused = dial(&network(vec![format!("localhost:{port}")], Some(TlsSpec::default()))).await.unwrap_err();
    assert!(refused.contains("certificate") && refused.contains("`tls_ca`"), "{refused}");
}

#[tokio::test]
async fn an_expired_certificate_is_refused_and_called_so() {
    let ours = authority();
    let port = tls_server(&certified(&ours, "localhost", 2021)).await;
    let refused = dial(&network(vec![format!("localhost:{port}")], Some(trusting(&ours.pem())))).await.unwrap_err();
    assert!(refused.contains("has expired"), "{refused}");
}

#[tokio::test]
async fn tls_ca_without_a_certificate_is_told_as_such() {
    for pem in ["", "no PEM at all", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let problem = Dialer::new(&network(Vec::new(), Some(trusting(pem)))).unwrap_err();
        assert!(problem.contains("`tls_ca`"), "{problem}");
    }
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_told_as_such() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.write_all(b":irc NOTICE * :*** Looking up your hostname...\r\n").await.unwrap();
        let _ = tcp.read_to_end(&mut Vec::new()).await;
    });
    let problem = dial(&network(vec![format!("127.0.0.1:{port}")], Some(TlsSpec::default()))).await.unwrap_err();
    assert!(problem.contains("doesn't speak TLS on this port"), "{problem}");
}

/// Answers whoever says something with this, or hangs up if there is nothing; without an answer it stays silent.
async fn answering(answer: Option<&'static [u8]>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.readable().await.unwrap();
        match answer {
            Some(answer) => tcp.write_all(answer).await.unwrap(),
            None => std::future::pending().await,
        }
    });
    format!("localhost:{port}")
}

#[tokio::test]
async fn r101_probe_says_of_each_server_what_is_wrong() {
    let up = answering(Some(b"ERROR :Closing link\r\n")).await;
    let (closes, tls, silent) =
        (answering(Some(b"")).await, answering(Some(b"\x15\x03\x03\x00\x02\x02\x32")).await, answering(None).await);
    let wrong = ["127.0.0.1:1", "no.such.host.invalid:6667", "irc.example.org"].map(ToOwned::to_owned);
    let servers: Vec<String> = [up].into_iter().chain(wrong).chain([closes, tls, silent]).collect();
    let mut found = probe(&network(servers[..6].to_vec(), None)).await;
    // The silence is over as soon as everything else stands still.
    tokio::time::pause();
    found.extend(probe(&network(servers[6..].to_vec(), None)).await);

    assert_eq!(found.iter().map(|(server, _)| server).collect::<Vec<_>>(), servers.iter().collect::<Vec<_>>());
    let problems: Vec<&str> = found.iter().map(|(_, result)| result.as_ref().err().map_or("", |s| s)).collect();
    assert_eq!(problems[0], "");
    assert_eq!(problems[1], "127.0.0.1:1: 127.0.0.1 refused the connection; is the port right, is the server up?");
    for (problem, words) in problems[2..].iter().zip([
        "no such host",
        "write it as host:port",
        "hung up without a word",
        "it speaks TLS on this port; set `tls` to true",
        "it takes connections, but said nothing within 10 seconds; is this an IRC server's port?",
    ]) {
        assert!(problem.contains(words), "{problem}");
    }
}

#[test]
fn servers_are_host_and_port() {
    let good = [
        ("irc.example.org:6697", ("irc.example.org", 6697)),
        ("[::1]:6667", ("::1", 6667)),
        ("10.0.0.1:1", ("10.0.0.1", 1)),
    ];
    for (server, expected) in good {
        assert_eq!(host_and_port(server), Ok(expected));
    }
    for bad in ["irc.example.org", "irc.example.org:", ":6667", "::1:6667", "irc:0", "irc:65536", "[]:1", ""] {
        assert!(host_and_port(bad).is_err(), "{bad}");
    }
}
