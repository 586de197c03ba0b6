//! The appservice side over real HTTP: every route, every error body, whatever a homeserver sends.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::{
    collections::BTreeMap,
    future::pending,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use footbridge::matrix::appservice::{
    AppserviceDeps, Health, HealthReport, Queries, SinkError, Transaction, TransactionSink, router, serve,
};
use http::Method;
use ruma::{
    RoomAliasId, UserId,
    api::appservice::thirdparty::get_protocol::v1::AppserviceProtocol,
    room_alias_id,
    thirdparty::{Location, ProtocolInit, ProtocolInstanceInit, User},
    user_id,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify};
use tokio_util::sync::CancellationToken;

/// Everything that the routes call, and what it was called with.
#[derive(Default)]
struct Bridge {
    taken: Mutex<Vec<Transaction>>,
    refuse: Mutex<Option<SinkError>>,
    asked: Mutex<Vec<String>>,
    pings: Mutex<Vec<Option<String>>>,
    sick: Mutex<bool>,
    /// If set, `accept` says here that it has begun, and waits for the other to be notified.
    hold: Option<(Arc<Notify>, Arc<Notify>)>,
}

impl Bridge {
    fn note(&self, what: impl Into<String>) {
        self.asked.lock().unwrap().push(what.into());
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

#[async_trait]
impl TransactionSink for Bridge {
    async fn accept(&self, transaction: Transaction) -> Result<(), SinkError> {
        if let Some((begun, go_on)) = &self.hold {
            begun.notify_one();
            go_on.notified().await;
        }
        if let Some(error) = self.refuse.lock().unwrap().clone() {
            return Err(error);
        }
        self.taken.lock().unwrap().push(transaction);
        Ok(())
    }
}

fn fields(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[async_trait]
impl Queries for Bridge {
    async fn user(&self, user: &UserId) -> bool {
        self.note(format!("user {user}"));
        if user.localpart() == "irc_slow" {
            pending::<()>().await;
        }
        user.localpart() == "irc_net_alice"
    }

    async fn room(&self, alias: &RoomAliasId) -> bool {
        self.note(format!("room {alias}"));
        alias.alias() == "irc_net_#a/b%"
    }

    async fn protocol(&self, protocol: &str) -> Option<AppserviceProtocol> {
        self.note(format!("protocol {protocol}"));
        let instance = ProtocolInstanceInit {
            desc: "Net".to_owned(),
            fields: fields(&[("network", "net")]),
            network_id: "net".to_owned(),
        };
        let init = ProtocolInit {
            user_fields: vec!["nick".to_owned()],
            location_fields: vec!["channel".to_owned()],
            icon: "mxc://x/y".to_owned(),
            field_types: BTreeMap::new(),
            instances: vec![instance.into()],
        };
        (protocol == "irc").then(|| init.into())
    }

    async fn locations(&self, protocol: &str, fields: &BTreeMap<String, String>) -> Vec<Location> {
        self.note(format!("locations {protocol} {fields:?}"));
        if fields.get("channel").is_some_and(|channel| channel == "#slow") {
            pending::<()>().await;
        }
        if fields.get("channel").is_none_or(|channel| channel != "#c d") {
            return Vec::new();
        }
        vec![Location::new(room_alias_id!("#irc_net_#c:x").to_owned(), protocol.to_owned(), fields.clone())]
    }

    async fn locations_by_alias(&self, alias: &RoomAliasId) -> Vec<Location> {
        self.note(format!("locations of {alias}"));
        vec![Location::new(alias.to_owned(), "irc".to_owned(), fields(&[("channel", "#c")]))]
    }

    async fn users(&self, protocol: &str, fields: &BTreeMap<String, String>) -> Vec<User> {
        self.note(format!("users {protocol} {fields:?}"));
        vec![User::new(user_id!("@irc_net_alice:x").to_owned(), protocol.to_owned(), fields.clone())]
    }

    async fn users_by_id(&self, user: &UserId) -> Vec<User> {
        self.note(format!("users of {user}"));
        vec![User::new(user.to_owned(), "irc".to_owned(), fields(&[("nick", "alice")]))]
    }
}

#[async_trait]
impl Health for Bridge {
    async fn check(&self) -> HealthReport {
        let healthy = !*self.sick.lock().unwrap();
        HealthReport { healthy, body: json!({ "database": healthy }) }
    }
}

/// The routes on a port of their own, and a client.
struct Server {
    url: String,
    http: reqwest::Client,
    bridge: Arc<Bridge>,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        Self::with(Bridge::default(), Some(Arc::new(|| "footbridge_up 1\n".to_owned()))).await
    }

    async fn with(bridge: Bridge, metrics: Option<Arc<dyn Fn() -> String + Send + Sync>>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let bridge = Arc::new(bridge);
        let pinged = bridge.clone();
        let routes = router(AppserviceDeps {
            hs_token: "hs+token".to_owned(),
            sink: bridge.clone(),
            queries: bridge.clone(),
            health: bridge.clone(),
            on_ping: Some(Arc::new(move |txn| pinged.pings.lock().unwrap().push(txn.map(str::to_owned)))),
            metrics,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let served = tokio::spawn(serve(listener, routes, stop.clone()));
        Self { url, http: reqwest::Client::builder().no_proxy().build().unwrap(), bridge, stop, served }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth("hs+token")
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.request(Method::GET, path)).await
    }

    async fn put(&self, path: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
        answer(self.request(Method::PUT, path).body(body)).await
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    assert_eq!(answer.headers()["content-type"], "application/json", "{status}");
    (status, answer.json().await.unwrap())
}

/// Asserts the standard error body.
#[track_caller]
fn assert_refused((status, body): (u16, Value), expected: u16, errcode: &str) {
    assert_eq!((status, body["errcode"].as_str()), (expected, Some(errcode)), "{body}");
    assert!(!body["error"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn transactions_reach_the_sink_under_every_path() {
    let server = Server::start().await;
    let body =
        r#"{"events":[{"event_id":"$1","type":"m.room.message"},{"event_id":7}],"ephemeral":[{"type":"m.typing"}]}"#;
    for (path, txn_id) in [
        ("/_matrix/app/v1/transactions/35", "35"),
        ("/transactions/36", "36"),
        ("/_matrix/app/v1/transactions/1%2F2%3A%23%25", "1/2:#%"),
        ("/transactions/a%20b", "a b"),
    ] {
        assert_eq!(server.put(path, body).await, (200, json!({})), "{path}");
        let taken = server.bridge.taken.lock().unwrap().pop().unwrap();
        assert_eq!(taken.txn_id, txn_id);
        let ids: Vec<_> = taken.events.iter().map(|event| event.event_id.as_str()).collect();
        assert_eq!((ids, taken.left_out), (vec!["$1"], 1));
        assert_eq!(taken.events[0].json.get(), r#"{"event_id":"$1","type":"m.room.message"}"#);
        assert_eq!(taken.ephemeral[0].get(), r#"{"type":"m.typing"}"#);
    }
    // The token of old homeservers.
    let url = format!("{}/transactions/37?access_token=hs%2Btoken", server.url);
    assert_eq!(answer(server.http.put(url).body(body)).await, (200, json!({})));
}

#[tokio::test]
async fn bodies_that_are_no_transaction_are_the_senders_fault() {
    let server = Server::start().await;
    let path = "/_matrix/app/v1/transactions/1";
    assert_refused(server.put(path, "").await, 400, "M_NOT_JSON");
    assert_refused(server.put(path, "{\"events\":[").await, 400, "M_NOT_JSON");
    assert_refused(server.put(path, b"{\"events\":[\"\xff\"]}".to_vec()).await, 400, "M_NOT_JSON");
    assert_refused(server.put(path, "[]").await, 400, "M_BAD_JSON");
    assert_refused(server.put(path, "{}").await, 400, "M_BAD_JSON");
    assert_refused(server.put(path, r#"{"events":"x"}"#).await, 400, "M_BAD_JSON");
    assert_refused(server.put("/_matrix/app/v1/transactions/%FF", "{}").await, 400, "M_INVALID_PARAM");
    // As much as a homeserver ever sends, and more than anybody may.
    let full = format!(r#"{{"events":["{}"]}}"#, "x".repeat(10 * 1024 * 1024));
    assert_eq!(server.put(path, full).await.0, 200);
    assert_eq!(server.bridge.taken.lock().unwrap().drain(..).count(), 1);
    let large = format!(r#"{{"events":["{}"]}}"#, "x".repeat(16 * 1024 * 1024));
    assert_refused(server.put(path, large).await, 413, "M_TOO_LARGE");
    assert!(server.bridge.taken.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_sink_that_can_not_take_it_makes_the_homeserver_come_again() {
    let server = Server::start().await;
    *server.bridge.refuse.lock().unwrap() = Some(SinkError::Full);
    assert_refused(server.put("/transactions/1", r#"{"events":[]}"#).await, 503, "M_LIMIT_EXCEEDED");
    *server.bridge.refuse.lock().unwrap() = Some(SinkError::Unavailable("the disk is full".to_owned()));
    let (status, body) = server.put("/transactions/1", r#"{"events":[]}"#).await;
    assert!(body["error"].as_str().unwrap().contains("the disk is full"), "{body}");
    assert_refused((status, body), 503, "M_UNKNOWN");
    *server.bridge.refuse.lock().unwrap() = None;
    assert_eq!(server.put("/transactions/1", r#"{"events":[]}"#).await.0, 200);
}

#[tokio::test]
async fn only_the_homeserver_gets_in() {
    let server = Server::start().await;
    let routes = [
        (Method::PUT, "/_matrix/app/v1/transactions/1"),
        (Method::PUT, "/transactions/1"),
        (Method::GET, "/_matrix/app/v1/users/@irc_net_alice:x"),
        (Method::GET, "/users/@irc_net_alice:x"),
        (Method::GET, "/_matrix/app/v1/rooms/%23irc_net_%23a:x"),
        (Method::GET, "/rooms/%23irc_net_%23a:x"),
        (Method::POST, "/_matrix/app/v1/ping"),
        (Method::GET, "/_matrix/app/v1/thirdparty/protocol/irc"),
        (Method::GET, "/_matrix/app/unstable/thirdparty/protocol/irc"),
        (Method::GET, "/_matrix/app/v1/thirdparty/location/irc"),
        (Method::GET, "/_matrix/app/v1/thirdparty/location?alias=%23a:x"),
        (Method::GET, "/_matrix/app/v1/thirdparty/user/irc"),
        (Method::GET, "/_matrix/app/v1/thirdparty/user?userid=@a:x"),
    ];
    for (method, path) in routes {
        let bare = || server.http.request(method.clone(), format!("{}{path}", server.url)).body(r#"{"events":[]}"#);
        assert_refused(answer(bare()).await, 401, "M_FORBIDDEN");
        assert_refused(answer(bare().bearer_auth("wrong")).await, 403, "M_FORBIDDEN");
        let query = if path.contains('?') { '&' } else { '?' };
        let legacy = format!("{}{path}{query}access_token=hs+token", server.url); // `+` stands for a blank here
        assert_refused(answer(server.http.request(method, legacy).body(r#"{"events":[]}"#)).await, 403, "M_FORBIDDEN");
    }
    assert!(server.bridge.taken.lock().unwrap().is_empty());
    assert!(server.bridge.pings.lock().unwrap().is_empty());
    assert!(server.bridge.asked().is_empty());
}

#[tokio::test]
async fn unknown_routes_and_methods_are_unrecognized() {
    let server = Server::start().await;
    for path in [
        "/",
        "/_matrix/app/v1",
        "/_matrix/app/v2/users/x",
        "/_matrix/client/versions",
        "/transactions/",
        "/transactions/1/2",
        "/users",
    ] {
        assert_refused(server.get(path).await, 404, "M_UNRECOGNIZED");
    }
    for (method, path, allowed) in [
        (Method::GET, "/_matrix/app/v1/transactions/1", "PUT"),
        (Method::POST, "/transactions/1", "PUT"),
        (Method::DELETE, "/_matrix/app/v1/users/@a:x", "GET,HEAD"),
        (Method::PUT, "/rooms/x", "GET,HEAD"),
        (Method::GET, "/_matrix/app/v1/ping", "POST"),
        (Method::GET, "/_matrix/app/unstable/fi.mau.msc2659/ping", "POST"),
        (Method::POST, "/_matrix/app/v1/thirdparty/user/irc", "GET,HEAD"),
        (Method::POST, "/health", "GET,HEAD"),
        (Method::POST, "/metrics", "GET,HEAD"),
    ] {
        let told = server.request(method.clone(), path).send().await.unwrap();
        assert_eq!(told.headers().get("allow").map(|it| it.to_str().unwrap()), Some(allowed), "{method} {path}");
        assert_refused(answer(server.request(method, path)).await, 405, "M_UNRECOGNIZED");
    }
}

#[tokio::test]
async fn users_and_rooms_exist_or_not_and_are_never_an_error() {
    let server = Server::start().await;
    for prefix in ["", "/_matrix/app/v1"] {
        assert_eq!(server.get(&format!("{prefix}/users/%40irc_net_alice%3Ax")).await, (200, json!({})));
        assert_refused(server.get(&format!("{prefix}/users/@irc_net_bob:x")).await, 404, "M_NOT_FOUND");
        assert_eq!(server.get(&format!("{prefix}/rooms/%23irc_net_%23a%2Fb%25%3Ax")).await, (200, json!({})));
        assert_refused(server.get(&format!("{prefix}/rooms/%23other:x")).await, 404, "M_NOT_FOUND");
        let asked = ["user @irc_net_alice:x", "user @irc_net_bob:x", "room #irc_net_#a/b%:x", "room #other:x"];
        assert_eq!(server.bridge.asked(), asked);
        for odd in ["users/no-id", "users/%FF", "users/%23room:x", "rooms/%FF", "rooms/@user:x", "rooms/%00"] {
            assert_refused(server.get(&format!("{prefix}/{odd}")).await, 404, "M_NOT_FOUND");
        }
        assert_eq!(server.bridge.asked(), [""; 0]);
    }
}

#[tokio::test]
async fn a_query_that_hangs_is_answered_with_no() {
    let server = Server::start().await;
    let (user, location) = ("/users/@irc_slow:x", "/_matrix/app/v1/thirdparty/location/irc?channel=%23slow");
    let (user, location) = tokio::join!(server.get(user), server.get(location));
    assert_refused(user, 404, "M_NOT_FOUND");
    assert_refused(location, 404, "M_NOT_FOUND");
}

#[tokio::test]
async fn third_party_lookups_work_both_ways() {
    let server = Server::start().await;
    for prefix in ["/_matrix/app/v1/thirdparty", "/_matrix/app/unstable/thirdparty"] {
        let get = async |path: &str| server.get(&format!("{prefix}{path}")).await;
        let (status, protocol) = get("/protocol/irc").await;
        let instance = json!({ "desc": "Net", "fields": { "network": "net" }, "network_id": "net" });
        assert_eq!((status, &protocol["instances"]), (200, &json!([instance])));
        assert_refused(get("/protocol/xmpp").await, 404, "M_NOT_FOUND");

        let found =
            |kind: &str, name: &str, fields: Value| (200, json!([{ kind: name, "protocol": "irc", "fields": fields }]));
        let location = get("/location/irc?channel=%23c+d&network=net&access_token=x").await;
        assert_eq!(location, found("alias", "#irc_net_#c:x", json!({ "channel": "#c d", "network": "net" })));
        assert_refused(get("/location/irc?channel=%23nothing").await, 404, "M_NOT_FOUND");
        assert_refused(get("/location/irc").await, 404, "M_NOT_FOUND");
        let by_alias = get("/location?alias=%23irc_net_%23c%3Ax").await;
        assert_eq!(by_alias, found("alias", "#irc_net_#c:x", json!({ "channel": "#c" })));
        assert_refused(get("/location?alias=nonsense").await, 404, "M_NOT_FOUND");
        assert_refused(get("/location").await, 404, "M_NOT_FOUND");

        let user = get("/user/irc?nick=alice").await;
        assert_eq!(user, found("userid", "@irc_net_alice:x", json!({ "nick": "alice" })));
        let by_id = get("/user?userid=%40irc_net_alice%3Ax").await;
        assert_eq!(by_id, found("userid", "@irc_net_alice:x", json!({ "nick": "alice" })));
        assert_refused(get("/user?userid=%00").await, 404, "M_NOT_FOUND");
        assert_refused(get("/user").await, 404, "M_NOT_FOUND");
    }
}

#[tokio::test]
async fn r101_pings_are_told_to_who_waits_for_them() {
    let server = Server::start().await;
    let ping = async |body: &'static str| answer(server.request(Method::POST, "/_matrix/app/v1/ping").body(body)).await;
    assert_eq!(ping(r#"{"transaction_id":"mami"}"#).await, (200, json!({})));
    assert_eq!(ping("{}").await, (200, json!({})));
    assert_eq!(ping(r#"{"transaction_id":5}"#).await, (200, json!({})));
    assert_eq!(*server.bridge.pings.lock().unwrap(), [Some("mami".to_owned()), None, None]);
    assert_refused(ping("").await, 400, "M_NOT_JSON");
    assert_refused(ping("nonsense").await, 400, "M_NOT_JSON");
    assert_refused(ping("5").await, 400, "M_BAD_JSON");
}

#[tokio::test]
async fn health_and_metrics_need_no_token() {
    let server = Server::start().await;
    let health = || answer(server.http.get(format!("{}/health", server.url)));
    assert_eq!(health().await, (200, json!({ "database": true })));
    *server.bridge.sick.lock().unwrap() = true;
    assert_eq!(health().await, (503, json!({ "database": false })));

    let metrics = server.http.get(format!("{}/metrics", server.url)).send().await.unwrap();
    assert_eq!(metrics.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(metrics.text().await.unwrap(), "footbridge_up 1\n");
    let without = Server::with(Bridge::default(), None).await;
    assert_refused(without.get("/metrics").await, 404, "M_UNRECOGNIZED");
}

#[tokio::test]
async fn stopping_answers_the_request_under_way_and_takes_no_other() {
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let bridge = Bridge { hold: Some((begun.clone(), go_on.clone())), ..Bridge::default() };
    let Server { url, http, bridge, stop, served } = Server::with(bridge, None).await;
    let put = http.put(format!("{url}/transactions/1")).bearer_auth("hs+token").body(r#"{"events":[]}"#);
    let under_way = tokio::spawn(answer(put));
    begun.notified().await;
    stop.cancel();
    go_on.notify_one();
    assert_eq!(under_way.await.unwrap(), (200, json!({})));
    served.await.unwrap();
    assert_eq!(bridge.taken.lock().unwrap().len(), 1);
    http.get(format!("{url}/health")).send().await.unwrap_err();
}
