//! The composition root: the one place that sees every room, builds them in order, and stops them in reverse.

mod probes;

use std::{sync::Arc, time::Duration};

use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;

pub(crate) use probes::{check_database, check_homeserver, check_server};

use crate::{
    bridge::{Bridge, Decommission, DecommissionError, JournalAhead, Left, Parts, Pings},
    config::Config,
    irc::pool::{ConnectionPool, local::LocalPool},
    lifecycle,
    matrix::{
        HomeserverClient, HomeserverSettings, MatrixApi, MatrixError,
        appservice::{self, AppserviceDeps},
        registration::Registration,
    },
    model::{Clock, SystemClock},
    store::{self, Journal, Limits, Vault},
};

/// What is said on every link when the bridge stops.
const QUIT_REASON: &str = "The bridge is stopping";

/// How long the links may take to say it where something else has broken.
const GOODBYE: Duration = Duration::from_secs(5);
/// How long the journal's last handles may take to be dropped.
const LAST_HANDLES: Duration = Duration::from_secs(1);

/// Runs the bridge until it is told to stop.
///
/// # Errors
/// Whatever keeps it from starting, in words for the operator.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let metrics = crate::telemetry::init_metrics()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let registration = Registration::load(&config.appservice.registration)?;
    let vault = config.secrets.key_file.as_deref().map(Vault::open).transpose().map_err(anyhow::Error::msg)?;
    let store = store::open(config.database.url.expose()).await?;
    let (journal, mut writer) = Journal::start(store.clone(), clock.clone(), Limits::default()).await?;
    let client = homeserver(&config, &registration)?;
    let matrix: Arc<dyn MatrixApi> = Arc::new(client.clone());
    let pool = LocalPool::new(clock.clone(), Arc::new(JournalAhead(journal.clone())));
    let links = pool.clone();
    let pings = Pings::new(matrix.clone(), clock.clone());
    let bind = config.appservice.bind;
    let listener = TcpListener::bind(bind).await.map_err(|error| probes::explain_bind(bind, &error))?;
    tracing::info!(address = %config.appservice.bind, "listening for the homeserver");
    let parts = Parts {
        config,
        store: store.clone(),
        journal: journal.clone(),
        matrix,
        noise: Arc::new(client.noise()),
        pool,
        clock,
        pings: pings.clone(),
        vault,
    };
    let mut bridge = Bridge::start(parts).await?;
    let router = appservice::router(AppserviceDeps {
        hs_token: registration.hs_token.expose().to_owned(),
        sink: bridge.sink(),
        queries: bridge.queries(),
        health: bridge.health(),
        on_ping: None,
        metrics: Some(Arc::new(move || metrics.render())),
    });
    let stop_listening = CancellationToken::new();
    let server = tokio::spawn(appservice::serve(listener, router, stop_listening.clone()));
    let greeting = tokio::spawn(async move {
        match pings.reaches_us().await {
            Ok(()) => tracing::info!("the homeserver reaches us"),
            Err(error) => tracing::error!(error, "the homeserver doesn't reach us; `footbridge check` explains more"),
        }
    });
    lifecycle::ready();
    tokio::select! {
        () = lifecycle::stop_requested() => {}
        // The service manager starts us anew; the journal has everything.
        () = bridge.broken() => {
            goodbye(&*links).await;
            anyhow::bail!("a part of the bridge has ended by a fault, which the lines above tell");
        }
        // It has said why; nothing can be accepted without it.
        _ = &mut writer => {
            goodbye(&*links).await;
            anyhow::bail!("the journal has ended, and the bridge with it, as the lines above tell");
        }
    }
    lifecycle::stopping();
    tracing::info!("stopping");
    greeting.abort();
    stop_listening.cancel();
    let finish = async {
        // What the homeserver sends from here on it will send again to the next run.
        let _ = server.await;
        bridge.stop(QUIT_REASON).await;
        drop(journal);
        // A request that was never sent to its end still holds the journal, which has nothing left to write.
        let _ = timeout(LAST_HANDLES, writer).await;
        store.close().await;
    };
    lifecycle::or_hard_stop(finish).await;
    tracing::info!("stopped");
    Ok(())
}

/// Takes everybody of the bridge's out of every room, if `yes`; else says what there is to do.
///
/// # Errors
/// Whatever keeps it from being done, in words for the operator: above all that the bridge runs.
pub async fn decommission(config: Config, yes: bool, say: &(dyn Fn(String) + Sync)) -> anyhow::Result<()> {
    let registration = Registration::load(&config.appservice.registration)?;
    let matrix: Arc<dyn MatrixApi> = Arc::new(homeserver(&config, &registration)?.noise());
    // A bridge that runs has it.
    let store = store::open(config.database.url.expose()).await?;
    let stop = CancellationToken::new();
    let decommission = Decommission::new(&config, store.clone(), matrix, stop.clone());
    let interrupt = tokio::spawn(async move {
        lifecycle::stop_requested().await;
        stop.cancel();
    });
    let done = if yes {
        decommission.run(say).await
    } else {
        decommission.look().await.map(|Left { rooms, ghosts }| {
            say(format!(
                "The bot is in {rooms} rooms, and there are {ghosts} ghosts. With --yes, all of them leave for good."
            ));
        })
    };
    interrupt.abort();
    store.close().await;
    match done {
        Err(DecommissionError::Matrix(MatrixError::Stopped)) => {
            anyhow::bail!("interrupted: run it again to go on with what is left")
        }
        done => Ok(done?),
    }
}

/// Says QUIT on every link, as far as that works.
async fn goodbye(links: &dyn ConnectionPool) {
    if timeout(GOODBYE, links.shutdown(QUIT_REASON)).await.is_err() {
        tracing::warn!("not all links could say goodbye");
    }
}

/// The homeserver's client, as the registration says who we are.
///
/// # Errors
/// A URL that no client can use.
pub(crate) fn homeserver(config: &Config, registration: &Registration) -> anyhow::Result<HomeserverClient> {
    let settings = HomeserverSettings {
        url: config.homeserver.url.as_str().to_owned(),
        appservice_id: registration.id.clone(),
        as_token: registration.as_token.expose().to_owned(),
    };
    Ok(HomeserverClient::new(settings)?)
}
