//! The fake homeserver's side of the application-service API: it pushes transactions and asks for users and aliases.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use serde_json::{Value, json};

use super::{FakeHomeserver, api::Refusal};
use crate::support::{Event, Registration};

/// As on Synapse.
const MAX_EVENTS: usize = 100;
/// Short, so that a test of retries is quick; a real homeserver waits for seconds.
const FIRST_BACKOFF: Duration = Duration::from_millis(20);
const LONGEST_BACKOFF: Duration = Duration::from_millis(320);

/// The last transaction that was pushed.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// Its id.
    pub id: String,
    /// Its body.
    pub body: Arc<[u8]>,
}

impl FakeHomeserver {
    /// Pushes what is in the outbox, one transaction at a time, each until it is answered 200.
    pub(super) async fn push_for_ever(self, registration: Registration) {
        let mut known_users = HashSet::new();
        loop {
            let changed = self.shared.push_wanted.notified();
            let events: Vec<Arc<Event>> = {
                let mut state = self.state();
                let count =
                    if self.shared.paused.load(Ordering::Relaxed) { 0 } else { state.outbox.len().min(MAX_EVENTS) };
                // Still under the lock, so that an event is always in one of the two counts.
                self.shared.unacknowledged.store(count, Ordering::Relaxed);
                state.outbox.drain(..count).collect()
            };
            if events.is_empty() {
                changed.await;
                continue;
            }
            self.ask_about_users(&registration, &events, &mut known_users).await;
            let number = self.shared.pushed.fetch_add(1, Ordering::Relaxed) + 1;
            let body = serde_json::to_vec(&json!({ "events": events })).expect("events are JSON");
            let transaction = Transaction { id: number.to_string(), body: body.into() };
            // The line is held until the answer, so that a test's own transactions don't overlap with these.
            let mut line = self.shared.line.lock().await;
            let mut backoff = FIRST_BACKOFF;
            while self.deliver(&registration, &transaction).await != Some(200) {
                tokio::select! {
                    () = tokio::time::sleep(backoff) => backoff = (backoff * 2).min(LONGEST_BACKOFF),
                    () = self.shared.pinged.notified() => backoff = FIRST_BACKOFF,
                }
            }
            *line = Some(transaction);
            drop(line);
            self.shared.unacknowledged.store(0, Ordering::Relaxed);
            self.shared.changes.notify_waiters();
        }
    }

    /// Puts a transaction and answers with the status, or with nothing if there was no answer.
    pub(super) async fn deliver(&self, registration: &Registration, transaction: &Transaction) -> Option<u16> {
        let url = format!("{}/_matrix/app/v1/transactions/{}", registration.url, transaction.id);
        let request = self.shared.http.put(url).bearer_auth(&registration.hs_token);
        let request = request.header("content-type", "application/json").body(transaction.body.to_vec());
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        // Read to the end, so that the connection can be used again.
        let _ = response.bytes().await;
        Some(status)
    }

    /// As Synapse does before it pushes a membership of an unknown user of the bridge: asks the bridge whether that user exists.
    async fn ask_about_users(&self, registration: &Registration, events: &[Arc<Event>], known: &mut HashSet<String>) {
        for event in events.iter().filter(|event| event.kind == "m.room.member") {
            let Some(user) = event.state_key.as_ref().filter(|user| registration.owns(user)) else { continue };
            if !self.state().users.contains_key(user) && known.insert(user.clone()) {
                self.query(registration, "users", user).await;
            }
        }
    }

    /// Asks the application service for a user or a room alias (`kind` is `users` or `rooms`); true if it says that there is one.
    pub(super) async fn query(&self, registration: &Registration, kind: &str, id: &str) -> bool {
        let url = format!("{}/_matrix/app/v1/{kind}/{}", registration.url, encode(id));
        let response = self.shared.http.get(url).bearer_auth(&registration.hs_token).send().await;
        response.is_ok_and(|response| response.status() == 200)
    }

    /// What `POST /_matrix/client/v1/appservice/{id}/ping` does: a ping to the bridge, and pushing again at once if it is there.
    pub(super) async fn ping(&self, registration: &Registration, transaction: &Value) -> Result<Value, Refusal> {
        let url = format!("{}/_matrix/app/v1/ping", registration.url);
        let started = tokio::time::Instant::now();
        let body = json!({ "transaction_id": transaction });
        let response = self.shared.http.post(url).bearer_auth(&registration.hs_token).json(&body).send().await;
        match response {
            Ok(response) if response.status() == 200 => {
                self.shared.pinged.notify_waiters();
                let duration = u64::try_from(started.elapsed().as_millis()).expect("a ping is short");
                Ok(json!({ "duration_ms": duration }))
            }
            Ok(response) => {
                Err(Refusal::new(502, "M_BAD_STATUS", format!("The bridge answered {}", response.status())))
            }
            Err(error) => {
                Err(Refusal::new(502, "M_CONNECTION_FAILED", format!("The bridge can't be reached: {error}")))
            }
        }
    }
}

/// Percent-encodes one part of a path.
pub fn encode(part: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(part.len());
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}
