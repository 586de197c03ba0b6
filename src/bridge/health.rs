//! How the bridge is: whether the homeserver reaches us, the database takes what is accepted, and each network's bot is on.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use serde_json::json;
use tokio::{
    sync::{Mutex, mpsc, oneshot, watch},
    time::timeout,
};

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
const PING_PATIENCE: Duration = Duration::from_secs(3);
/// How long each check may take: less than the answer as a whole, so that it always says what it is that hangs.
const PATIENCE: Duration = Duration::from_secs(4);

/// Pings over the homeserver back to ourselves (R101).
pub struct Pings {
    matrix: Arc<dyn MatrixApi>,
    clock: Arc<dyn Clock>,
    /// How many have ended.
    ended: AtomicU64,
    /// Held by the one that is under way; others wait for its result.
    last: Mutex<LastPing>,
}

struct LastPing {
    ended_at: Millis,
    result: Result<(), String>,
}

impl Pings {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(matrix: Arc<dyn MatrixApi>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            matrix,
            clock,
            ended: AtomicU64::new(0),
            last: Mutex::new(LastPing { ended_at: Millis::MIN / 2, result: Ok(()) }),
        })
    }

    /// Whether the homeserver reaches us; if not, why, in words for the operator.
    pub async fn reaches_us(&self) -> Result<(), String> {
        let ended = self.ended.load(Ordering::Relaxed);
        let mut last = self.last.lock().await;
        let is_fresh = last.result.is_ok() && self.clock.now() - last.ended_at < FRESH;
        let has_just_ended = self.ended.load(Ordering::Relaxed) != ended;
        if is_fresh || has_just_ended {
            return last.result.clone();
        }
        let txn = format!("ping{}-{ended}", self.clock.now());
        let result = match timeout(PING_PATIENCE, self.matrix.ping(&txn)).await {
            Ok(answer) => answer.map(drop).map_err(|error| error.to_string()),
            Err(_) => Err(format!("the homeserver did not answer a ping within {} s", PING_PATIENCE.as_secs())),
        };
        *last = LastPing { ended_at: self.clock.now(), result: result.clone() };
        self.ended.fetch_add(1, Ordering::Relaxed);
        result
    }
}

/// Answers `GET /health`.
pub(super) struct Checks {
    pub(super) pings: Arc<Pings>,
    pub(super) store: Arc<dyn Store>,
    /// What keeps the journal from being written, while something does.
    pub(super) outage: watch::Receiver<Option<String>>,
    pub(super) input: mpsc::Sender<Input>,
}

impl Checks {
    async fn database(&self) -> Result<(), String> {
        // Reading may work where nothing can be written: a full disk, another program's lock.
        let outage = self.outage.borrow().clone();
        match outage {
            Some(problem) => Err(problem),
            None => self.store.ping().await.map_err(|error| error.to_string()),
        }
    }

    async fn bots(&self) -> Result<BTreeMap<NetworkId, BotState>, String> {
        let gone = || "the bridge's dispatcher has ended".to_owned();
        let (answer, answered) = oneshot::channel();
        self.input.send(Input::Bots(answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())
    }
}

#[async_trait]
impl Health for Checks {
    async fn check(&self) -> HealthReport {
        let (homeserver, database, bots) = tokio::join!(
            in_time("the homeserver", self.pings.reaches_us()),
            in_time("the database", self.database()),
            in_time("the bridge's dispatcher", self.bots()),
        );
        let healthy = homeserver.is_ok()
            && database.is_ok()
            && bots.as_ref().is_ok_and(|bots| bots.values().all(|state| *state == BotState::On));
        let words = |result: Result<(), String>| {
            result.map_or_else(|problem| without_addresses(&problem), |()| "ok".to_owned())
        };
        let networks = match bots {
            Ok(bots) => {
                let states = bots.into_iter().map(|(id, state)| {
                    let state = match state {
                        BotState::On => Ok(()),
                        BotState::Off(why) => Err(why),
                    };
                    (id.to_string(), words(state).into())
                });
                serde_json::Value::Object(states.collect())
            }
            Err(problem) => problem.into(),
        };
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

async fn in_time<T>(whom: &str, asked: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let late = || Err(format!("{whom} did not answer within {} s", PATIENCE.as_secs()));
    timeout(PATIENCE, asked).await.unwrap_or_else(|_| late())
}

/// The words without what says where something is: everybody may read them. The log has all of it.
fn without_addresses(words: &str) -> String {
    let words = words.split(' ').map(|word| {
        let core = word.trim_start_matches(['(', '`', '<']).trim_end_matches([')', '`', '>', ',', ';', '.', ':']);
        if is_address(core) { word.replace(core, "…") } else { word.to_owned() }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Whether it is a URL, an IP address, or a host and its port.
fn is_address(word: &str) -> bool {
    word.contains("://")
        || word.parse::<IpAddr>().is_ok()
        || word.parse::<SocketAddr>().is_ok()
        || word.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_for_our_health_learns_no_address() {
        for (words, shown) in [
            ("could not ping at http://127.0.0.1:8008 for now: away", "could not ping at … for now: away"),
            ("it redirects to https://example.org/x: set it", "it redirects to …: set it"),
            ("it is connecting to irc.example.org:6697", "it is connecting to …"),
            ("nobody at [2001:db8::1]:6697 (2001:db8::1), nor at 192.0.2.1.", "nobody at … (…), nor at …."),
            ("@bot:example.org may not (M_FORBIDDEN: no)", "@bot:example.org may not (M_FORBIDDEN: no)"),
            ("status 502", "status 502"),
            ("", ""),
        ] {
            assert_eq!(without_addresses(words), shown);
        }
    }
}
