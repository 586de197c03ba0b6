//! A homeserver that answers what it is told to, and the client that asks it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    response::{IntoResponse, Response},
};
use footbridge::matrix::{HomeserverClient, HomeserverSettings};
use http::{HeaderMap, Method, StatusCode, Uri};
use ruma::{RoomId, UserId, room_id, user_id};
use serde_json::{Value, value::RawValue};
use tokio::{net::TcpListener, sync::Semaphore};

/// A request as it arrived: `PUT /path?query`, and the body.
#[derive(Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) body: Value,
}

pub(crate) struct Script {
    pub(crate) seen: Mutex<Vec<Seen>>,
    pub(crate) answers: Mutex<VecDeque<Response>>,
    /// How many requests may be answered; tests that hold answers back begin with none.
    pub(crate) gate: Semaphore,
}

/// A homeserver that answers what it is told to, in turn.
pub(crate) struct Fake {
    pub(crate) script: Arc<Script>,
    pub(crate) client: HomeserverClient,
    pub(crate) url: String,
}

async fn handle(
    State(script): State<Arc<Script>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    assert_eq!(headers["authorization"], "Bearer as_token");
    // ruma gives a DELETE an empty object without saying what it is.
    if !body.is_empty() && method != Method::DELETE {
        assert_eq!(headers["content-type"], "application/json");
    }
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    script.seen.lock().unwrap().push(Seen { line: format!("{method} {uri}"), body });
    script.gate.acquire().await.unwrap().forget();
    script.answers.lock().unwrap().pop_front().expect("no answer is left in the script")
}

pub(crate) fn client(url: &str) -> HomeserverClient {
    let (as_token, appservice_id) = ("as_token".to_owned(), "footbridge".to_owned());
    HomeserverClient::new(HomeserverSettings { url: url.to_owned(), as_token, appservice_id }).unwrap()
}

pub(crate) fn ok(body: &Value) -> Response {
    refuse(200, body)
}

pub(crate) fn refuse(status: u16, body: &Value) -> Response {
    (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
}

impl Fake {
    pub(crate) async fn start() -> Self {
        Self::at("").await
    }

    /// A homeserver whose `homeserver.url` ends in `suffix`.
    pub(crate) async fn at(suffix: &str) -> Self {
        let script =
            Arc::new(Script { seen: Mutex::default(), answers: Mutex::default(), gate: Semaphore::new(1_000_000) });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}{suffix}", listener.local_addr().unwrap());
        let routes = Router::new().fallback(handle).with_state(script.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { script, client: client(&url), url }
    }

    pub(crate) fn answer(&self, answer: impl IntoResponse) {
        self.script.answers.lock().unwrap().push_back(answer.into_response());
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.script.seen.lock().unwrap())
    }

    /// Asserts that one request came, this one.
    #[track_caller]
    pub(crate) fn saw(&self, line: &str, body: &Value) {
        assert_eq!(self.seen(), [Seen { line: line.to_owned(), body: body.clone() }]);
    }
}

pub(crate) fn room() -> &'static RoomId {
    room_id!("!r:x")
}

pub(crate) fn ghost() -> &'static UserId {
    user_id!("@irc_net_a:x")
}

pub(crate) const AS_GHOST: &str = "user_id=%40irc_net_a%3Ax";

pub(crate) fn raw(json: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(json).unwrap()
}
