//! The fake homeserver: people talk, ghosts are masqueraded, transactions are pushed in order and again, outages happen.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post, put},
};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::support::{FakeHomeserver, Outage, Registration, homeserver::encode, process::free_port, tls, wait};

/// A tiny application service: it remembers every transaction and refuses the first few.
#[derive(Clone, Default)]
struct Appservice {
    seen: Arc<Mutex<Vec<(String, Value)>>>,
    refuse: Arc<Mutex<u32>>,
    queries: Arc<Mutex<Vec<String>>>,
    changed: Arc<Notify>,
}

impl Appservice {
    async fn start(port: u16) -> Self {
        Self::refusing(0, port).await
    }

    async fn refusing(count: u32, port: u16) -> Self {
        let this = Self { refuse: Arc::new(Mutex::new(count)), ..Self::default() };
        let router = Router::new()
            .route("/_matrix/app/v1/transactions/{id}", put(Self::transaction))
            .route("/_matrix/app/v1/rooms/{alias}", get(Self::query))
            .route("/_matrix/app/v1/users/{user}", get(Self::query))
            .route("/_matrix/app/v1/ping", post(async || Json(json!({}))))
            .with_state(this.clone());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        this
    }

    #[expect(clippy::unused_async, reason = "a handler is an async function")]
    async fn transaction(
        State(this): State<Self>,
        Path(id): Path<String>,
        Json(body): Json<Value>,
    ) -> (StatusCode, Json<Value>) {
        this.seen.lock().unwrap().push((id, body));
        this.changed.notify_waiters();
        let mut refuse = this.refuse.lock().unwrap();
        if *refuse > 0 {
            *refuse -= 1;
            return (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({})));
        }
        (StatusCode::OK, Json(json!({})))
    }

    #[expect(clippy::unused_async, reason = "a handler is an async function")]
    async fn query(State(this): State<Self>, Path(id): Path<String>) -> (StatusCode, Json<Value>) {
        this.queries.lock().unwrap().push(id);
        (StatusCode::NOT_FOUND, Json(json!({ "errcode": "M_NOT_FOUND" })))
    }

    /// The ids of the transactions so far.
    fn ids(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|(id, _)| id.clone()).collect()
    }

    /// The bodies of the messages so far, each transaction id counted once.
    fn messages(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let mut ids = std::collections::HashSet::new();
        let events =
            seen.iter().filter(|(id, _)| ids.insert(id)).flat_map(|(_, body)| body["events"].as_array().unwrap());
        events
            .filter(|event| event["type"] == "m.room.message")
            .map(|e| e["content"]["body"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// What the bridge does over HTTP.
struct Client {
    homeserver: FakeHomeserver,
    registration: Registration,
    http: reqwest::Client,
}

impl Client {
    async fn call(&self, method: reqwest::Method, path: &str, ghost: Option<&str>, body: Value) -> (u16, Value) {
        let mut url = format!("{}{path}", self.homeserver.url());
        if let Some(ghost) = ghost {
            url = format!("{url}{}user_id={}", if url.contains('?') { '&' } else { '?' }, encode(ghost));
        }
        let request = self.http.request(method, url).bearer_auth(&self.registration.as_token).json(&body);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn register(&self, localpart: &str) -> (u16, Value) {
        let body = json!({ "type": "m.login.application_service", "username": localpart, "inhibit_login": true });
        self.call(reqwest::Method::POST, "/_matrix/client/v3/register", None, body).await
    }
}

async fn start() -> (FakeHomeserver, Client) {
    let registration = Registration::new("fake.test", free_port(), &["net"]);
    let homeserver = FakeHomeserver::start(&registration).await;
    let client = Client { homeserver: homeserver.clone(), registration, http: tls::http_client() };
    (homeserver, client)
}

#[tokio::test]
async fn people_talk_in_a_room() {
    let (homeserver, _) = start().await;
    let (alice, bob) = (homeserver.user("alice"), homeserver.user("bob"));
    let room = alice.create_room(json!({ "preset": "public_chat", "room_alias_name": "tea", "topic": "tea" })).await;
    assert_eq!(bob.join("#tea:fake.test").await, room);
    bob.set_display_name("Bob").await;
    alice.say(&room, "hello bob").await;
    let heard = bob.expect_message(&room, |sender| sender == alice.id(), "hello bob").await;
    assert_eq!(heard.msgtype(), "m.text");
    bob.emote(&room, "waves").await;
    assert_eq!(homeserver.messages(&room), ["hello bob", "waves"]);
    assert_eq!(alice.state(&room, "m.room.topic", "").await.unwrap()["topic"], "tea");
    assert_eq!(alice.state(&room, "m.room.member", bob.id()).await.unwrap()["displayname"], "Bob");

    let refused = bob
        .try_request(
            reqwest::Method::POST,
            &format!("/_matrix/client/v3/rooms/{room}/kick"),
            json!({ "user_id": alice.id() }),
        )
        .await
        .unwrap_err();
    assert_eq!((refused.status, refused.errcode.as_str()), (403, "M_FORBIDDEN"));
    alice.kick(&room, bob.id(), "bye").await;
    homeserver.expect_membership(&room, bob.id(), "leave").await;
    assert_eq!(alice.joined_members(&room).await, [alice.id()]);
}

#[tokio::test]
async fn invitations_are_seen_and_can_be_accepted_at_once() {
    let (homeserver, _) = start().await;
    let (alice, bob) = (homeserver.user("alice"), homeserver.user("bob"));
    homeserver.auto_join("@carol:fake.test");
    let carol = homeserver.user("carol");
    let room = alice.create_room(json!({ "invite": [bob.id(), carol.id()] })).await;
    assert_eq!(bob.expect_invite(|sender| sender == alice.id()).await, room);
    homeserver.expect_membership(&room, carol.id(), "join").await;
    homeserver.expect_membership(&room, bob.id(), "invite").await;
}

#[tokio::test]
async fn ghosts_are_registered_once_and_masqueraded() {
    let (homeserver, bridge) = start().await;
    let alice = homeserver.user("alice");
    let room = alice.create_room(json!({ "preset": "public_chat" })).await;
    let ghost = "@irc_net_bob:fake.test";
    let send = format!("/_matrix/client/v3/rooms/{}/send/m.room.message/t1", encode(&room));
    let hello = json!({ "msgtype": "m.text", "body": "hello from IRC" });

    let (status, answer) = bridge.call(reqwest::Method::PUT, &send, Some(ghost), hello.clone()).await;
    assert_eq!((status, &answer["errcode"]), (403, &json!("M_FORBIDDEN")), "an unregistered ghost may not speak");
    assert_eq!(bridge.register("irc_net_bob").await.0, 200);
    let (status, answer) = bridge.register("irc_net_bob").await;
    assert_eq!((status, &answer["errcode"]), (400, &json!("M_USER_IN_USE")));
    let (status, answer) = bridge.register("somebody").await;
    assert_eq!((status, &answer["errcode"]), (400, &json!("M_EXCLUSIVE")));
    let (status, _) = bridge.call(reqwest::Method::PUT, &send, Some(alice.id()), hello.clone()).await;
    assert_eq!(status, 403, "a person can't be masqueraded");

    let join = format!("/_matrix/client/v3/join/{}", encode(&room));
    assert_eq!(bridge.call(reqwest::Method::POST, &join, Some(ghost), json!({})).await.0, 200);
    let timed = format!("{send}?ts=12345");
    let (status, first) = bridge.call(reqwest::Method::PUT, &timed, Some(ghost), hello.clone()).await;
    assert_eq!(status, 200);
    let (_, second) = bridge.call(reqwest::Method::PUT, &timed, Some(ghost), hello).await;
    assert_eq!(first, second, "the same transaction id makes the same event");
    let event = homeserver.expect_message(&room, |sender| sender == ghost, "hello from IRC").await;
    assert_eq!(event.origin_server_ts, 12345);
    assert_eq!(homeserver.messages(&room).len(), 1);
}

#[tokio::test]
async fn transactions_are_pushed_in_order_and_again_after_a_500() {
    let (homeserver, bridge) = start().await;
    assert_eq!(bridge.register("irc_net_bob").await.0, 200);
    let alice = homeserver.user("alice");
    let room = alice.create_room(json!({ "preset": "public_chat" })).await;
    alice.say(&room, "nobody of the bridge is here").await;
    let join = format!("/_matrix/client/v3/join/{}", encode(&room));
    bridge.call(reqwest::Method::POST, &join, Some("@irc_net_bob:fake.test"), json!({})).await;

    // The bridge isn't there yet, then it refuses twice.
    let appservice = Appservice::refusing(2, bridge.registration.port()).await;
    let expected: Vec<String> = (0..250).map(|n| format!("line {n}")).collect();
    for line in &expected {
        alice.say(&room, line).await;
    }
    let done = || (appservice.messages().len() == expected.len()).then_some(());
    wait::until(&appservice.changed, "250 messages at the bridge", done, || format!("{:?}", appservice.ids())).await;
    homeserver.wait_pushed().await;
    assert_eq!(appservice.messages(), expected);
    let ids = appservice.ids();
    assert!(ids[0] == ids[1] && ids[1] == ids[2], "the first was pushed until it was accepted: {ids:?}");
    assert!(ids.len() >= 5, "a transaction has at most 100 events");

    let before = appservice.ids().len();
    assert_eq!(homeserver.resend_last_transaction().await, Some(200));
    assert_eq!(appservice.ids()[before], appservice.ids()[before - 1], "sent again under its id");
    let last = homeserver.timeline(&room).last().unwrap().clone();
    assert_eq!(homeserver.replay_events_under_new_txn(&[last]).await, Some(200));
    assert_eq!(appservice.messages().last().unwrap(), "line 249");
    assert_eq!(appservice.messages().len(), 251, "the same event under another id");

    homeserver.pause();
    alice.say(&room, "held back").await;
    assert_eq!(homeserver.push_transaction("mine", &json!({ "events": [] })).await, Some(200));
    assert_eq!(appservice.messages().len(), 251);
    homeserver.resume();
    homeserver.wait_pushed().await;
    assert_eq!(appservice.messages().last().unwrap(), "held back");
}

#[tokio::test]
async fn the_bridge_is_asked_for_aliases_and_pinged() {
    let (homeserver, bridge) = start().await;
    let ping = "/_matrix/client/v1/appservice/footbridge/ping";
    let body = json!({ "transaction_id": "p1" });
    let (status, answer) = bridge.call(reqwest::Method::POST, ping, None, body.clone()).await;
    assert_eq!((status, &answer["errcode"]), (502, &json!("M_CONNECTION_FAILED")));

    let appservice = Appservice::start(bridge.registration.port()).await;
    assert_eq!(bridge.call(reqwest::Method::POST, ping, None, body).await.0, 200);
    let alice = homeserver.user("alice");
    let path = format!("/_matrix/client/v3/join/{}", encode("#irc_net_#chan:fake.test"));
    let refused = alice.try_request(reqwest::Method::POST, &path, json!({})).await.unwrap_err();
    assert_eq!(refused.status, 404);
    assert_eq!(*appservice.queries.lock().unwrap(), ["#irc_net_#chan:fake.test"]);
    let room = alice.create_room(json!({ "invite": ["@irc_net_newcomer:fake.test"] })).await;
    homeserver.wait_pushed().await;
    assert_eq!(appservice.queries.lock().unwrap().last().unwrap(), "@irc_net_newcomer:fake.test", "{room}");
}

#[tokio::test]
async fn outages_look_like_outages() {
    let (homeserver, bridge) = start().await;
    let whoami = || async {
        let url = format!("{}/_matrix/client/v3/account/whoami", homeserver.url());
        bridge.http.get(url).bearer_auth(&bridge.registration.as_token).send().await
    };
    assert_eq!(whoami().await.unwrap().status(), 200);

    homeserver.outage(Outage::BadGateway);
    let page = whoami().await.unwrap();
    assert_eq!(page.status(), 502);
    assert!(page.text().await.unwrap().starts_with("<html>"));

    homeserver.outage_of_next(1, Outage::RateLimited(3));
    let limited = whoami().await.unwrap();
    assert_eq!((limited.status().as_u16(), limited.headers()["retry-after"].as_bytes()), (429, &b"3"[..]));
    assert_eq!(whoami().await.unwrap().status(), 200, "only the next one");

    homeserver.outage(Outage::DropConnections);
    assert!(whoami().await.is_err());
    homeserver.outage(Outage::Latency(Duration::from_millis(5)));
    assert_eq!(whoami().await.unwrap().status(), 200);
    homeserver.outage(None);

    // A lost answer: the message is there, and asking again makes no second one.
    let create = json!({ "preset": "public_chat" });
    let (_, room) = bridge.call(reqwest::Method::POST, "/_matrix/client/v3/createRoom", None, create).await;
    let room = room["room_id"].as_str().unwrap();
    let url = format!("{}/_matrix/client/v3/rooms/{}/send/m.room.message/t", homeserver.url(), encode(room));
    let send = || {
        let request = bridge.http.put(&url).bearer_auth(&bridge.registration.as_token);
        request.json(&json!({ "msgtype": "m.text", "body": "once" })).send()
    };
    homeserver.outage_of_next(1, Outage::LoseAnswers);
    assert!(send().await.is_err());
    assert_eq!(homeserver.messages(room), ["once"]);
    assert_eq!(send().await.unwrap().status(), 200);
    assert_eq!(homeserver.messages(room), ["once"]);
}
