//! How the bridge is: whether the homeserver reaches us, the database answers, and each network's bot is on.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use serde_json::json;
use tokio::sync::{Mutex, mpsc, oneshot};

use super::{dispatch::Input, network::BotState};
use crate::{
    matrix::{
        MatrixApi,
        appservice::{Health, HealthReport},
    },
    model::{Clock, Millis, NetworkId},
    store::Store,
};

/// How long a successful ping is believed: a monitor that asks every second must not ping every second.
const FRESH: Millis = 15_000;
/// How long the homeserver may take to reach us.
const PATIENCE: Duration = Duration::from_secs(4);

/// Pings over the homeserver back to ourselves (R101).
pub struct Pings {
    matrix: Arc<dyn MatrixApi>,
    clock: Arc<dyn Clock>,
    count: AtomicU64,
    last_success: AtomicI64,
    /// One at a time: others wait for its result.
    under_way: Mutex<()>,
}

impl Pings {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(matrix: Arc<dyn MatrixApi>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            matrix,
            clock,
            count: AtomicU64::new(0),
            last_success: AtomicI64::new(Millis::MIN / 2),
            under_way: Mutex::new(()),
        })
    }

    /// Whether the homeserver reaches us; if not, why, in words for the operator.
    pub async fn reaches_us(&self) -> Result<(), String> {
        let _one = self.under_way.lock().await;
        if self.clock.now() - self.last_success.load(Ordering::Relaxed) < FRESH {
            return Ok(());
        }
        let txn = format!("ping{}-{}", self.clock.now(), self.count.fetch_add(1, Ordering::Relaxed));
        match tokio::time::timeout(PATIENCE, self.matrix.ping(&txn)).await {
            Ok(Ok(_)) => {
                self.last_success.store(self.clock.now(), Ordering::Relaxed);
                Ok(())
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("the homeserver did not answer a ping within {} s", PATIENCE.as_secs())),
        }
    }
}

/// Answers `GET /health`.
pub(super) struct Checks {
    pub(super) pings: Arc<Pings>,
    pub(super) store: Arc<dyn Store>,
    pub(super) input: mpsc::Sender<Input>,
}

impl Checks {
    async fn bots(&self) -> BTreeMap<NetworkId, BotState> {
        let (answer, answered) = oneshot::channel();
        if self.input.send(Input::Bots(answer)).await.is_err() {
            return BTreeMap::new();
        }
        answered.await.unwrap_or_default()
    }
}

#[async_trait]
impl Health for Checks {
    async fn check(&self) -> HealthReport {
        let (homeserver, database, bots) = tokio::join!(self.pings.reaches_us(), self.store.ping(), self.bots());
        let database = database.map_err(|error| error.to_string());
        let networks: serde_json::Map<String, serde_json::Value> = bots
            .iter()
            .map(|(id, state)| {
                let words = match state {
                    BotState::On => "ok",
                    BotState::Off(why) => why,
                };
                (id.to_string(), words.into())
            })
            .collect();
        // No networks at all: the dispatcher, which would know them, is gone.
        let healthy = homeserver.is_ok()
            && database.is_ok()
            && !bots.is_empty()
            && bots.values().all(|state| *state == BotState::On);
        let words = |result: Result<(), String>| result.err().unwrap_or_else(|| "ok".to_owned());
        HealthReport {
            healthy,
            body: json!({
                "healthy": healthy,
                "homeserver": words(homeserver),
                "database": words(database),
                "networks": networks,
            }),
        }
    }
}
