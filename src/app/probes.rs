//! What `footbridge check` looks at: the same things, built the same way, as `footbridge run` will use.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{anyhow, bail};
use async_trait::async_trait;
use ruma::{RoomAliasId, UserId, api::appservice::thirdparty::get_protocol::v1::AppserviceProtocol, thirdparty};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::homeserver;
use crate::{
    config::{Config, HttpUrl, Network, ServerAddress},
    irc::{
        pool::protocol::{Limits, NetworkSpec, TlsSpec},
        transport,
    },
    matrix::{
        MatrixApi, MatrixError,
        appservice::{self, AppserviceDeps, Health, HealthReport, Queries, SinkError, Transaction, TransactionSink},
        registration::Registration,
    },
    model::NetworkId,
    store::{self, Outlook},
};

/// How long a connection to the homeserver may take.
const CONNECT: Duration = Duration::from_secs(10);

/// How long the homeserver may take for the first answer, which needs nothing but itself.
const FIRST_ANSWER: Duration = Duration::from_secs(15);

/// Looks whether `run` will be able to open the database.
pub(crate) async fn check_database(config: &Config) -> anyhow::Result<String> {
    let sentence = match store::look(config.database.url.expose()).await? {
        Outlook::New => "its tables will be created at the first start",
        Outlook::Older => "it opens, and its tables will be upgraded at the next start",
        Outlook::Ready => "it opens, and its tables are up to date",
    };
    Ok(sentence.to_owned())
}

/// Asks the homeserver who we are, and to reach us (R101).
pub(crate) async fn check_homeserver(config: &Config, registration: &Registration) -> anyhow::Result<String> {
    let matrix = homeserver(config, registration)?;
    reach(&config.homeserver.url).await?;
    answers(&config.homeserver.url, &matrix).await?;
    let (me, bot) = (matrix.whoami().await?, config.bot_user_id());
    if me != bot {
        bail!(
            "the homeserver takes us for {me}, but the configuration says {bot}: correct homeserver.server_name or \
             appservice.bot_localpart, run `footbridge registration` again, and restart the homeserver"
        );
    }
    ping(config, registration, &matrix).await?;
    Ok(format!("it knows us as {me}, and reaches us at {}", config.appservice.url))
}

/// Has the homeserver call us: the running bridge if there is one, else a listener that only answers this.
async fn ping(config: &Config, registration: &Registration, matrix: &dyn MatrixApi) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let server = match TcpListener::bind(config.appservice.bind).await {
        Ok(listener) => {
            let nobody = Arc::new(Nobody);
            let router = appservice::router(AppserviceDeps {
                hs_token: registration.hs_token.expose().to_owned(),
                sink: nobody.clone(),
                queries: nobody.clone(),
                health: nobody,
                on_ping: None,
                metrics: None,
            });
            Some(tokio::spawn(appservice::serve(listener, router, stop.clone())))
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => None,
        Err(error) => return Err(explain_bind(config.appservice.bind, &error)),
    };
    let result = matrix.ping("check").await.map_err(|error| explain_ping(config, registration, &error));
    stop.cancel();
    if let Some(server) = server {
        let _ = server.await;
    }
    result.map(drop)
}

/// Connects to where the homeserver should be, and goes away again.
async fn reach(url: &HttpUrl) -> anyhow::Result<()> {
    let (host, port) = (url.host(), url.port());
    let addresses = timeout(CONNECT, tokio::net::lookup_host((host, port))).await;
    let addresses: Vec<SocketAddr> = match addresses.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(addresses) => addresses.collect(),
        Err(error) => bail!(
            "no address is known for {host}: correct the name in homeserver.url, or mend this machine's name service ({error})"
        ),
    };
    match timeout(CONNECT, TcpStream::connect(&*addresses)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => bail!(
            "nothing listens at {url}: start the homeserver, or write into homeserver.url where its client API listens \
             ({error})"
        ),
        Ok(Err(error)) => bail!("{url} can't be reached: correct homeserver.url, or this machine's network ({error})"),
        Err(_) => bail!(
            "{url} doesn't answer within {} s: correct homeserver.url, or open the firewall in between",
            CONNECT.as_secs()
        ),
    }
}

/// Asks what needs no right and no database.
async fn answers(url: &HttpUrl, matrix: &dyn MatrixApi) -> anyhow::Result<()> {
    match timeout(FIRST_ANSWER, matrix.versions()).await {
        Ok(answer) => answer.map(drop).map_err(|error| explain_answer(url, &error)),
        Err(_) => bail!(
            "{url} takes the connection and says nothing for {} s: see whether the homeserver is overloaded or still \
             starting, and whether it is one that listens there",
            FIRST_ANSWER.as_secs()
        ),
    }
}

/// Why what listens at `homeserver.url` doesn't answer as a homeserver.
fn explain_answer(url: &HttpUrl, error: &MatrixError) -> anyhow::Error {
    let words = error.to_string();
    let foreign = || {
        format!(
            "something answers at {url}, but as no homeserver does: write into homeserver.url where the homeserver's client \
             API listens (http:// or https:// as it wants it), and let a proxy in between pass on everything below /_matrix"
        )
    };
    let advice = if error.errcode().is_some() || !matches!(error, MatrixError::Unavailable { .. }) {
        return anyhow!(words);
    } else if error.is_fault() {
        // What else its words are is a page's.
        foreign()
    } else if words.contains("InvalidContentType") {
        format!("{url} speaks no TLS: write http:// in homeserver.url, or the port that speaks https")
    } else if words.contains("certificate") {
        format!(
            "the certificate of {url} isn't trusted: write the name that it was issued for in homeserver.url, and give \
                 this machine the certificate of its issuer"
        )
    } else {
        foreign()
    };
    anyhow!("{advice} ({words})")
}

/// Why we can't listen, and what to do about it.
pub(super) fn explain_bind(bind: SocketAddr, error: &io::Error) -> anyhow::Error {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => "another program is using it: stop that program, or choose another port".to_owned(),
        io::ErrorKind::AddrNotAvailable => {
            let all = if bind.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
            format!(
                "this machine has no address {}: write one that it has, or {} for all of them",
                bind.ip(),
                SocketAddr::new(all, bind.port())
            )
        }
        io::ErrorKind::PermissionDenied => "this user may not listen on that port: choose one from 1024 up".to_owned(),
        _ => "see what the system says".to_owned(),
    };
    anyhow!("could not listen on {bind} (appservice.bind): {advice} ({error})")
}

/// Why the homeserver doesn't reach us, and what to do about it.
fn explain_ping(config: &Config, registration: &Registration, error: &MatrixError) -> anyhow::Error {
    let (url, bind) = (&config.appservice.url, config.appservice.bind);
    let advice = match error.errcode() {
        Some("M_FORBIDDEN") => format!(
            "the homeserver knows our as_token under another id than `{}`: give it the registration file that we use, and \
             restart it",
            registration.id
        ),
        Some("M_UNRECOGNIZED") => {
            "the homeserver is too old to say whether it reaches us: update it to a version that \
                                   speaks Matrix 1.7"
                .to_owned()
        }
        Some("M_URL_NOT_SET") => "the registration that the homeserver has names no url: give it the file that \
                                  `footbridge registration` wrote, and restart it"
            .to_owned(),
        Some("M_CONNECTION_FAILED" | "M_CONNECTION_TIMEOUT") => format!(
            "the homeserver can't connect to {url}: appservice.url must be an address under which the homeserver's \
             machine reaches {bind} (a firewall or a container may be in between); after changing it run `footbridge \
             registration` again, and restart the homeserver"
        ),
        Some("M_BAD_STATUS") => format!(
            "something at {url} answered the homeserver, but did not accept its token: the homeserver has another \
             registration file than we have, or another program listens there"
        ),
        _ => return anyhow!("{error}"),
    };
    anyhow!("{advice} ({error})")
}

/// Connects to one server as a link would, TLS included, and goes away again.
pub(crate) async fn check_server(id: &NetworkId, network: &Network, server: &ServerAddress) -> anyhow::Result<String> {
    let ca_pem = network.tls_ca_pem().map_err(|problem| anyhow!("network.{id}.tls_ca: {problem}"))?;
    let spec = NetworkSpec {
        network: id.clone(),
        servers: vec![server.to_string()],
        tls: network.tls.then_some(TlsSpec { ca_pem }),
        encoding: String::new(),
        password: None,
        limits: Limits { connects_per_minute: 0, line_burst: 0, lines_per_second: 0.0, queue: 0 },
    };
    for (server, result) in transport::probe(&spec).await {
        // Which server it is about is said already.
        let alone = |problem: String| problem.strip_prefix(&format!("{server}: ")).unwrap_or(&problem).to_owned();
        result.map_err(|problem| anyhow!(alone(problem)))?;
    }
    Ok(if network.tls { "it answers, and its certificate is good" } else { "it answers (without TLS)" }.to_owned())
}

/// Answers the homeserver while nothing but its ping is of interest.
struct Nobody;

#[async_trait]
impl TransactionSink for Nobody {
    async fn accept(&self, _: Transaction) -> Result<(), SinkError> {
        Err(SinkError::Unavailable("only `footbridge check` is running".into()))
    }
}

#[async_trait]
impl Queries for Nobody {
    async fn user(&self, _: &UserId) -> bool {
        false
    }

    async fn room(&self, _: &RoomAliasId) -> bool {
        false
    }

    async fn protocol(&self, _: &str) -> Option<AppserviceProtocol> {
        None
    }

    async fn locations(&self, _: &str, _: &std::collections::BTreeMap<String, String>) -> Vec<thirdparty::Location> {
        Vec::new()
    }

    async fn locations_by_alias(&self, _: &RoomAliasId) -> Vec<thirdparty::Location> {
        Vec::new()
    }

    async fn users(&self, _: &str, _: &std::collections::BTreeMap<String, String>) -> Vec<thirdparty::User> {
        Vec::new()
    }

    async fn users_by_id(&self, _: &UserId) -> Vec<thirdparty::User> {
        Vec::new()
    }
}

#[async_trait]
impl Health for Nobody {
    async fn check(&self) -> HealthReport {
        HealthReport { healthy: false, body: serde_json::json!({ "error": "only `footbridge check` is running" }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::{HomeserverClient, HomeserverSettings};

    #[tokio::test]
    async fn r101_a_homeserver_that_takes_connections_and_stays_silent_is_told_as_such() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let settings = HomeserverSettings { url: url.clone(), appservice_id: "irc".into(), as_token: "secret".into() };
        let client = HomeserverClient::new(settings).unwrap();
        tokio::time::pause();
        let url = HttpUrl::parse(&url).unwrap();
        let problem = answers(&url, &client).await.unwrap_err().to_string();
        assert!(problem.contains("says nothing for 15 s") && problem.contains("overloaded"), "{problem}");
    }
}
