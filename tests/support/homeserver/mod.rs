//! A homeserver in this process: the client-server API that an application service uses, and the push of events to it.
//!
//! [`rooms`] owns the state and its rules, [`api`] is the table of endpoints, [`server`] the HTTP front with its outages, [`push`]
//! the other direction. Work per request is small, because the benchmarks use this as their load generator.
//!
//! ```ignore
//! let homeserver = FakeHomeserver::start(&Registration::new("fake.test", free_port(), &["net"])).await;
//! let alice = homeserver.user("alice");
//! let room = alice.create_room(json!({ "preset": "public_chat" })).await;
//! alice.say(&room, "hello").await;
//! homeserver.expect_message(&room, |sender| sender == "@alice:fake.test", "hello").await;
//! ```

mod api;
mod push;
mod rooms;
mod server;

use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use axum::http::Method;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify};

pub use self::{
    api::Refusal,
    push::encode,
    rooms::{Room, State, Witness},
    server::Outage,
};
use self::{
    api::{Call, Query},
    push::Transaction,
};
use super::{Event, MatrixUser, Registration, wait};

/// A fake homeserver; a cheap handle that can be cloned. It serves until the runtime that started it ends.
#[derive(Clone)]
pub struct FakeHomeserver {
    shared: Arc<Shared>,
}

struct Shared {
    url: String,
    state: Mutex<State>,
    /// Notified after every change that a test may wait for.
    changes: Notify,
    push_wanted: Notify,
    pinged: Notify,
    paused: AtomicBool,
    unacknowledged: AtomicUsize,
    /// The number of the last transaction.
    pushed: AtomicU64,
    requests: AtomicU64,
    /// What goes wrong, and with how many more requests (none: all).
    outage: Mutex<Option<(Outage, Option<usize>)>>,
    /// Held while a transaction is under way; holds the last one that was answered 200.
    line: tokio::sync::Mutex<Option<Transaction>>,
    http: reqwest::Client,
}

impl FakeHomeserver {
    /// Starts a homeserver for this application service on a free port of loopback.
    pub async fn start(registration: &Registration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("a bound listener has an address");
        let state = State::new(registration);
        let homeserver = Self {
            shared: Arc::new(Shared {
                url: format!("http://{address}"),
                state: Mutex::new(state),
                changes: Notify::new(),
                push_wanted: Notify::new(),
                pinged: Notify::new(),
                paused: AtomicBool::new(false),
                unacknowledged: AtomicUsize::new(0),
                pushed: AtomicU64::new(0),
                requests: AtomicU64::new(0),
                outage: Mutex::new(None),
                line: tokio::sync::Mutex::new(None),
                http: super::tls::http_client(),
            }),
        };
        tokio::spawn(server::serve(homeserver.clone(), listener));
        tokio::spawn(homeserver.clone().push_for_ever(registration.clone()));
        homeserver
    }

    /// The base URL of the client-server API.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// The homeserver's name.
    pub fn server_name(&self) -> String {
        self.state().server_name.clone()
    }

    /// Everything the homeserver knows. Release it before the next await.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// How many requests to the client-server API came over HTTP.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    // --- People ---

    /// The user of this localpart, registered on first use.
    pub fn user(&self, localpart: &str) -> MatrixUser {
        let id = format!("@{localpart}:{}", self.server_name());
        self.state().add_user(&id);
        MatrixUser::on_fake(self.clone(), id)
    }

    /// Makes a local user accept every invitation at once.
    pub fn auto_join(&self, user: &str) {
        self.state().auto_join.insert(user.to_owned());
    }

    /// Answers a request as if it had come from `user`, without HTTP.
    pub async fn request(&self, user: &str, method: &Method, path: &str, body: Value) -> Result<Value, Refusal> {
        let call = Call { method, raw_path: path, query: &Query::default(), body, caller: user, by_appservice: false };
        self.perform(call).await
    }

    async fn perform(&self, call: Call<'_>) -> Result<Value, Refusal> {
        server::route(self, call).await
    }

    fn changed(&self) {
        self.shared.changes.notify_waiters();
        self.shared.push_wanted.notify_one();
    }

    // --- What tests look at ---

    /// All events of a room so far, in order.
    pub fn timeline(&self, room: &str) -> Vec<Arc<Event>> {
        self.state().rooms.get(room).map(|room| room.timeline.clone()).unwrap_or_default()
    }

    /// The bodies of a room's messages so far, in order.
    pub fn messages(&self, room: &str) -> Vec<String> {
        self.timeline(room).iter().filter(|event| event.is_message()).map(|event| event.body().to_owned()).collect()
    }

    /// Waits until `look` finds something in the state.
    pub async fn wait_until<T>(&self, what: &str, mut look: impl FnMut(&State) -> Option<T>) -> T {
        let dump = || {
            let state = self.state();
            let mut events: Vec<_> = state.rooms.values().flat_map(|room| room.timeline.iter().cloned()).collect();
            events.sort_by_key(|event| event.event_id[6..].parse::<u64>().unwrap_or(0));
            wait::listing(&events)
        };
        wait::until(&self.shared.changes, what, || look(&self.state()), dump).await
    }

    /// Waits until `look` finds something in the timeline of `room`.
    pub async fn wait_for<T>(&self, room: &str, what: &str, mut look: impl FnMut(&[Arc<Event>]) -> Option<T>) -> T {
        let what = format!("{what} in {room}");
        self.wait_until(&what, |state| state.rooms.get(room).and_then(|room| look(&room.timeline))).await
    }

    /// Waits for a message of this body from someone.
    pub async fn expect_message(&self, room: &str, from: impl Fn(&str) -> bool, body: &str) -> Arc<Event> {
        self.wait_for(room, &format!("the message `{body}`"), |timeline| {
            timeline.iter().find(|event| event.is_message() && from(&event.sender) && event.body() == body).cloned()
        })
        .await
    }

    /// Waits until `user`'s membership of `room` is `membership`.
    pub async fn expect_membership(&self, room: &str, user: &str, membership: &str) {
        let what = format!("{user} to be `{membership}` in {room}");
        self.wait_until(&what, |state| (state.rooms.get(room)?.membership(user)? == membership).then_some(())).await;
    }

    // --- Pushing to the bridge ---

    /// Holds events back from the bridge, after the transaction that is under way.
    pub fn pause(&self) {
        self.shared.paused.store(true, Ordering::Relaxed);
    }

    /// What is held back will never be pushed.
    pub fn forget_unpushed(&self) {
        self.state().outbox.clear();
    }

    /// Pushes again what was held back.
    pub fn resume(&self) {
        self.shared.paused.store(false, Ordering::Relaxed);
        self.shared.push_wanted.notify_one();
    }

    /// Waits until the bridge has answered 200 for every event so far.
    pub async fn wait_pushed(&self) {
        self.wait_until("all events to be accepted by the bridge", |state| {
            (state.outbox.is_empty() && self.shared.unacknowledged.load(Ordering::Relaxed) == 0).then_some(())
        })
        .await;
    }

    /// Pushes the last accepted transaction once more under the same id; answers with the status, none if there was no answer.
    pub async fn resend_last_transaction(&self) -> Option<u16> {
        let line = self.shared.line.lock().await;
        let transaction = line.as_ref().expect("a transaction was pushed before");
        self.deliver(&self.appservice(), transaction).await
    }

    /// Pushes events once more, in a transaction of a new id; answers with the status.
    pub async fn replay_events_under_new_txn(&self, events: &[Arc<Event>]) -> Option<u16> {
        let id = self.state().fresh();
        self.push_transaction(&format!("replay{id}"), &json!({ "events": events })).await
    }

    /// Pushes a transaction of the test's own making; answers with the status, none if there was no answer.
    pub async fn push_transaction(&self, id: &str, body: &Value) -> Option<u16> {
        let body = serde_json::to_vec(body).expect("a value is JSON");
        let _line = self.shared.line.lock().await;
        self.deliver(&self.appservice(), &Transaction { id: id.to_owned(), body: body.into() }).await
    }

    /// From now on transactions are numbered from 1 again, as by a Synapse on SQLite that was started anew.
    pub fn count_anew(&self) {
        self.shared.pushed.store(0, Ordering::Relaxed);
    }

    /// Asks the bridge whether it has this user, as for a profile that somebody looks at; true if it says so in time.
    pub async fn ask_for_user(&self, user: &str) -> bool {
        self.query(&self.appservice(), "users", user).await
    }

    fn appservice(&self) -> Registration {
        self.state().registration.clone().expect("it was given at the start")
    }

    // --- Outages ---

    /// From now on every request over HTTP meets this; `None` ends it.
    pub fn outage(&self, outage: impl Into<Option<Outage>>) {
        let outage = outage.into();
        self.state().stores_nothing = outage == Some(Outage::StoresNothing);
        *self.outage_slot() = outage.map(|outage| (outage, None));
    }

    /// The next `count` requests over HTTP meet this.
    pub fn outage_of_next(&self, count: usize, outage: Outage) {
        *self.outage_slot() = Some((outage, Some(count)));
    }

    fn next_outage(&self) -> Option<Outage> {
        let mut slot = self.outage_slot();
        let (outage, left) = slot.as_mut()?;
        let outage = outage.clone();
        if let Some(left) = left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                *slot = None;
            }
        }
        Some(outage)
    }

    fn outage_slot(&self) -> MutexGuard<'_, Option<(Outage, Option<usize>)>> {
        self.shared.outage.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
