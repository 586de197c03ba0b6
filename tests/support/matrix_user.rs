//! A person on Matrix: the same methods on the fake homeserver and on a real one.
//!
//! On the fake a request is a function call; on Synapse it is HTTP with the user's token, and what the user sees comes by `/sync`,
//! which is asked only while a test waits.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::http::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::{
    Event, FakeHomeserver,
    homeserver::encode,
    wait::{self, DEADLINE},
};

/// A request that the homeserver refused.
#[derive(Debug, Clone)]
pub struct RequestError {
    /// The HTTP status.
    pub status: u16,
    /// The error code, such as `M_FORBIDDEN`.
    pub errcode: String,
    /// The text for people.
    pub error: String,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, self.errcode, self.error)
    }
}

/// A user of a homeserver.
pub struct MatrixUser {
    id: String,
    home: Home,
    next_txn: AtomicU64,
}

enum Home {
    Fake(FakeHomeserver),
    Real(Session),
}

/// A login on a real homeserver.
struct Session {
    url: String,
    token: String,
    http: reqwest::Client,
    seen: Mutex<Seen>,
    /// Held by the one who asks `/sync`.
    sync: tokio::sync::Mutex<Option<String>>,
}

/// What `/sync` has shown so far, in order.
#[derive(Default)]
struct Seen {
    rooms: HashMap<String, Vec<Arc<Event>>>,
}

impl MatrixUser {
    /// A user of the fake homeserver; see [`FakeHomeserver::user`].
    pub fn on_fake(homeserver: FakeHomeserver, id: String) -> Self {
        Self { id, home: Home::Fake(homeserver), next_txn: AtomicU64::new(0) }
    }

    /// A user of the homeserver at `url` who is logged in with `token`; see [`super::real::Synapse::user`].
    pub fn on_server(url: &str, id: String, token: String) -> Self {
        let session = Session {
            url: url.to_owned(),
            token,
            http: super::tls::http_client(),
            seen: Mutex::default(),
            sync: tokio::sync::Mutex::default(),
        };
        Self { id, home: Home::Real(session), next_txn: AtomicU64::new(0) }
    }

    /// The user's Matrix id.
    pub fn id(&self) -> &str {
        &self.id
    }

    // --- Requests ---

    /// Sends any request of the client-server API as this user.
    pub async fn try_request(&self, method: Method, path: &str, body: Value) -> Result<Value, RequestError> {
        match &self.home {
            Home::Fake(homeserver) => homeserver.request(&self.id, &method, path, body).await.map_err(|refusal| {
                RequestError { status: refusal.status, errcode: refusal.errcode.to_owned(), error: refusal.error }
            }),
            Home::Real(session) => session.request(method, path, body).await,
        }
    }

    /// Like [`Self::try_request`], for requests that must not fail.
    ///
    /// # Panics
    /// If the homeserver refuses.
    pub async fn request(&self, method: Method, path: &str, body: Value) -> Value {
        let shown = format!("{method} {path} {body}");
        match self.try_request(method, path, body).await {
            Ok(answer) => answer,
            Err(error) => panic!("{}: {shown}: {error}", self.id),
        }
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.request(Method::POST, path, body).await
    }

    /// Makes a room from the body of `POST /createRoom`; answers with its id.
    pub async fn create_room(&self, options: Value) -> String {
        let answer = self.post("/_matrix/client/v3/createRoom", options).await;
        text(&answer, "room_id")
    }

    /// Joins a room by id or alias; answers with its id.
    pub async fn join(&self, room: &str) -> String {
        let answer = self.post(&format!("/_matrix/client/v3/join/{}", encode(room)), json!({})).await;
        text(&answer, "room_id")
    }

    /// Knocks at a room's door.
    pub async fn knock(&self, room: &str) {
        self.post(&format!("/_matrix/client/v3/knock/{}", encode(room)), json!({})).await;
    }

    /// Leaves a room.
    pub async fn leave(&self, room: &str) {
        self.post(&room_path(room, "leave"), json!({})).await;
    }

    /// Invites somebody.
    pub async fn invite(&self, room: &str, user: &str) {
        self.post(&room_path(room, "invite"), json!({ "user_id": user })).await;
    }

    /// Kicks somebody, with a reason (which may be empty).
    pub async fn kick(&self, room: &str, user: &str, reason: &str) {
        self.post(&room_path(room, "kick"), json!({ "user_id": user, "reason": reason })).await;
    }

    /// Bans somebody, with a reason (which may be empty).
    pub async fn ban(&self, room: &str, user: &str, reason: &str) {
        self.post(&room_path(room, "ban"), json!({ "user_id": user, "reason": reason })).await;
    }

    /// Lifts a ban.
    pub async fn unban(&self, room: &str, user: &str) {
        self.post(&room_path(room, "unban"), json!({ "user_id": user })).await;
    }

    /// Sends a text message; answers with its event id.
    pub async fn say(&self, room: &str, body: &str) -> String {
        self.message(room, "m.text", body).await
    }

    /// Sends a notice; answers with its event id.
    pub async fn notice(&self, room: &str, body: &str) -> String {
        self.message(room, "m.notice", body).await
    }

    /// Sends an emote (`/me`); answers with its event id.
    pub async fn emote(&self, room: &str, body: &str) -> String {
        self.message(room, "m.emote", body).await
    }

    async fn message(&self, room: &str, msgtype: &str, body: &str) -> String {
        self.send_raw(room, "m.room.message", json!({ "msgtype": msgtype, "body": body })).await
    }

    /// Sends any event; answers with its id.
    pub async fn send_raw(&self, room: &str, kind: &str, content: Value) -> String {
        let txn = self.next_txn.fetch_add(1, Ordering::Relaxed);
        let path = room_path(room, &format!("send/{}/test{txn}", encode(kind)));
        text(&self.request(Method::PUT, &path, content).await, "event_id")
    }

    /// Redacts an event, with a reason (which may be empty).
    pub async fn redact(&self, room: &str, event: &str, reason: &str) -> String {
        let txn = self.next_txn.fetch_add(1, Ordering::Relaxed);
        let path = room_path(room, &format!("redact/{}/test{txn}", encode(event)));
        text(&self.request(Method::PUT, &path, json!({ "reason": reason })).await, "event_id")
    }

    /// Sets the state event of this type and key; answers with its id.
    pub async fn set_state(&self, room: &str, kind: &str, key: &str, content: Value) -> String {
        let path = room_path(room, &format!("state/{}/{}", encode(kind), encode(key)));
        text(&self.request(Method::PUT, &path, content).await, "event_id")
    }

    /// The content of the state event of this type and key, if there is one.
    pub async fn state(&self, room: &str, kind: &str, key: &str) -> Option<Value> {
        let path = room_path(room, &format!("state/{}/{}", encode(kind), encode(key)));
        match self.try_request(Method::GET, &path, Value::Null).await {
            Ok(content) => Some(content),
            Err(error) if error.status == 404 => None,
            Err(error) => panic!("{}: reading {kind} of {room}: {error}", self.id),
        }
    }

    /// Sets the room's topic.
    pub async fn set_topic(&self, room: &str, topic: &str) {
        self.set_state(room, "m.room.topic", "", json!({ "topic": topic })).await;
    }

    /// Sets the user's own display name.
    pub async fn set_display_name(&self, name: &str) {
        let path = format!("/_matrix/client/v3/profile/{}/displayname", encode(&self.id));
        self.request(Method::PUT, &path, json!({ "displayname": name })).await;
    }

    /// The ids of everyone in the room, sorted.
    pub async fn joined_members(&self, room: &str) -> Vec<String> {
        let answer = self.request(Method::GET, &room_path(room, "joined_members"), Value::Null).await;
        let mut users: Vec<String> =
            answer["joined"].as_object().into_iter().flat_map(|joined| joined.keys().cloned()).collect();
        users.sort_unstable();
        users
    }

    // --- What the user sees ---

    /// Waits until `look` finds something in what the user has seen of `room`, in order.
    ///
    /// # Panics
    /// After [`DEADLINE`], with what was seen.
    pub async fn wait_for<T>(&self, room: &str, what: &str, mut look: impl FnMut(&[Arc<Event>]) -> Option<T>) -> T {
        match &self.home {
            Home::Fake(homeserver) => homeserver.wait_for(room, what, look).await,
            Home::Real(session) => {
                let what = format!("{what} in {room}, as {} sees it", self.id);
                session.wait(&what, |seen| seen.rooms.get(room).and_then(|events| look(events))).await
            }
        }
    }

    /// Waits for a message of this body from someone.
    pub async fn expect_message(&self, room: &str, from: impl Fn(&str) -> bool, body: &str) -> Arc<Event> {
        self.wait_for(room, &format!("the message `{body}`"), |timeline| {
            timeline.iter().find(|event| event.is_message() && from(&event.sender) && event.body() == body).cloned()
        })
        .await
    }

    /// Waits until the latest membership of `user` in `room` is `membership`.
    pub async fn expect_membership(&self, room: &str, user: &str, membership: &str) -> Arc<Event> {
        self.wait_for(room, &format!("{user} to be `{membership}`"), |timeline| {
            let is_about =
                |event: &&Arc<Event>| event.kind == "m.room.member" && event.state_key.as_deref() == Some(user);
            timeline.iter().rev().find(is_about).filter(|event| event.content["membership"] == membership).cloned()
        })
        .await
    }

    /// Waits for an invitation from someone to a room in which the user isn't yet; answers with the room's id.
    pub async fn expect_invite(&self, from: impl Fn(&str) -> bool) -> String {
        let what = format!("an invitation for {}", self.id);
        let invited = |room: &str, events: &[Arc<Event>]| {
            let last = events
                .iter()
                .rev()
                .find(|event| event.kind == "m.room.member" && event.state_key.as_deref() == Some(self.id.as_str()))?;
            (last.is_membership(&self.id, "invite") && from(&last.sender)).then(|| room.to_owned())
        };
        match &self.home {
            Home::Fake(homeserver) => {
                homeserver
                    .wait_until(&what, |state| state.rooms.values().find_map(|room| invited(&room.id, &room.timeline)))
                    .await
            }
            Home::Real(session) => {
                session.wait(&what, |seen| seen.rooms.iter().find_map(|(room, events)| invited(room, events))).await
            }
        }
    }

    /// All that the user has seen of `room` so far, in order.
    pub async fn timeline(&self, room: &str) -> Vec<Arc<Event>> {
        match &self.home {
            Home::Fake(homeserver) => homeserver.timeline(room),
            Home::Real(session) => {
                session.sync_once(0).await;
                session.seen().rooms.get(room).cloned().unwrap_or_default()
            }
        }
    }
}

impl Session {
    async fn request(&self, method: Method, path: &str, body: Value) -> Result<Value, RequestError> {
        let mut request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token);
        if !body.is_null() {
            request = request.json(&body);
        }
        let exchange = async {
            let response = request.send().await?;
            let status = response.status().as_u16();
            Ok::<_, reqwest::Error>((status, response.json::<Value>().await?))
        };
        match exchange.await {
            Ok((status, answer)) if status < 400 => Ok(answer),
            Ok((status, answer)) => {
                Err(RequestError { status, errcode: text(&answer, "errcode"), error: text(&answer, "error") })
            }
            Err(error) => panic!("no answer from {}: {error:?}", self.url),
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn wait<T>(&self, what: &str, mut look: impl FnMut(&Seen) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(found) = look(&self.seen()) {
                return found;
            }
            if timeout_at(deadline, self.sync_once(5_000)).await.is_err() {
                let seen = self.seen();
                let mut events: Vec<_> = seen.rooms.values().flatten().collect();
                events.sort_by_key(|event| event.origin_server_ts);
                panic!("waited {} s in vain for {what}; seen instead:\n{}", DEADLINE.as_secs(), wait::listing(&events));
            }
        }
    }

    /// Asks what is new, waiting up to `patience` milliseconds for it, and remembers it.
    ///
    /// If another task is asking already, its answer is waited for instead.
    async fn sync_once(&self, patience: u32) {
        let Ok(mut since) = self.sync.try_lock() else {
            drop(self.sync.lock().await);
            return;
        };
        let filter = r#"{"room":{"timeline":{"limit":100000}},"presence":{"not_types":["*"]}}"#;
        let mut path = format!("/_matrix/client/v3/sync?timeout={patience}&filter={}", encode(filter));
        if let Some(since) = since.as_deref() {
            path = format!("{path}&since={}", encode(since));
        }
        let answer = self
            .request(Method::GET, &path, Value::Null)
            .await
            .unwrap_or_else(|error| panic!("/sync was refused: {error}"));
        self.seen().add(&answer);
        *since = Some(text(&answer, "next_batch"));
    }
}

impl Seen {
    fn add(&mut self, answer: &Value) {
        for (section, part) in [("join", "timeline"), ("leave", "timeline"), ("invite", "invite_state")] {
            for (room, update) in answer["rooms"][section].as_object().into_iter().flatten() {
                let events = self.rooms.entry(room.clone()).or_default();
                for event in update[part]["events"].as_array().into_iter().flatten() {
                    let mut event: Event = serde_json::from_value(event.clone())
                        .unwrap_or_else(|error| panic!("/sync has a strange event: {error}: {event}"));
                    event.room_id.clone_from(room);
                    events.push(Arc::new(event));
                }
            }
        }
    }
}

fn room_path(room: &str, rest: &str) -> String {
    format!("/_matrix/client/v3/rooms/{}/{rest}", encode(room))
}

fn text(answer: &Value, key: &str) -> String {
    answer[key].as_str().unwrap_or_else(|| panic!("the homeserver's answer has no `{key}`: {answer}")).to_owned()
}
