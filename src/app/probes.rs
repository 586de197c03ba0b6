//! What `footbridge check` looks at: the same things, built the same way, as `footbridge run` will use.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use ruma::{RoomAliasId, UserId, api::appservice::thirdparty::get_protocol::v1::AppserviceProtocol, thirdparty};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::homeserver;
use crate::{
    config::{Config, Network, ServerAddress},
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
    store,
};

/// Opens the database as `run` would.
pub(crate) async fn check_database(config: &Config) -> anyhow::Result<String> {
    let store = store::open(config.database.url.expose()).await?;
    store.ping().await?;
    store.close().await;
    Ok("it opens, and its tables are up to date".to_owned())
}

/// Asks the homeserver who we are, and to reach us (R101).
pub(crate) async fn check_homeserver(config: &Config, registration: &Registration) -> anyhow::Result<String> {
    let matrix = homeserver(config, registration)?;
    matrix.versions().await?;
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
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => None,
        Err(error) => {
            return Err(error)
                .with_context(|| format!("could not listen on {} (appservice.bind)", config.appservice.bind));
        }
    };
    let result = matrix.ping("check").await.map_err(|error| explain(config, &error));
    stop.cancel();
    if let Some(server) = server {
        let _ = server.await;
    }
    result.map(drop)
}

/// Why the homeserver doesn't reach us, and what to do about it.
fn explain(config: &Config, error: &MatrixError) -> anyhow::Error {
    let (url, bind) = (&config.appservice.url, config.appservice.bind);
    let advice = match error.errcode() {
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
        _ => return anyhow::anyhow!("{error}"),
    };
    anyhow::anyhow!("{advice} ({error})")
}

/// Connects to one server as a link would, TLS included, and goes away again.
pub(crate) async fn check_server(id: &NetworkId, network: &Network, server: &ServerAddress) -> anyhow::Result<String> {
    let ca_pem = network.tls_ca_pem().map_err(|problem| anyhow::anyhow!("network.{id}.tls_ca: {problem}"))?;
    let spec = NetworkSpec {
        network: id.clone(),
        servers: vec![server.to_string()],
        tls: network.tls.then_some(TlsSpec { ca_pem }),
        encoding: String::new(),
        password: None,
        limits: Limits { connects_per_minute: 0, line_burst: 0, lines_per_second: 0.0, queue: 0 },
    };
    for (_, result) in transport::probe(&spec).await {
        result.map_err(anyhow::Error::msg)?;
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
