//! The HTTP front of the fake homeserver: tokens, masquerading, and outages on demand.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Query as FromQuery, Request, State as FromState, connect_info::Connected},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts},
    serve::{IncomingStream, Listener},
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

use super::{
    FakeHomeserver,
    api::{self, Call, Query, Refusal},
};
use crate::support::process::POLL;

/// The largest request that a homeserver takes.
const MAX_BODY: usize = 1024 * 1024;
/// The largest event (spec: 65536 bytes of canonical JSON).
const MAX_EVENT: usize = 65_536;

/// What goes wrong with the homeserver's client-server API.
#[derive(Debug, Clone, PartialEq)]
pub enum Outage {
    /// The connection is closed without an answer, and nothing was done.
    DropConnections,
    /// The request takes effect, but its answer is lost with the connection.
    LoseAnswers,
    /// The same to every request whose address has this text; all others work.
    LosesAnswersAt(&'static str),
    /// 502 with the HTML page of a reverse proxy.
    BadGateway,
    /// 429 `M_LIMIT_EXCEEDED` with a `Retry-After` of so many seconds.
    RateLimited(u64),
    /// The same to every request whose address has this text, and a pause of an hour; all others work.
    RateLimitedAt(&'static str),
    /// 403 `M_FORBIDDEN` to every request whose address has this text; all others work.
    ForbiddenAt(&'static str),
    /// Every request whose address has this text waits until the outage is over; all others work.
    HeldAt(String),
    /// Everything works, but each answer takes this much longer.
    Latency(Duration),
    /// 500 `M_UNKNOWN` to every request.
    Fails,
    /// 500 `M_UNKNOWN` to everybody who may send an event, and their refusal to everybody who may not: nothing can be stored.
    StoresNothing,
    /// 500 `M_UNKNOWN` to every request with this text in its body; all others work.
    StumblesOver(&'static str),
    /// 403 with the HTML page of a firewall to every request with this text in its body; all others work.
    Blocks(&'static str),
}

/// A connection that can be broken from within a request.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    broken: Broken,
}

/// True once the connection is to be closed without another byte.
#[derive(Debug, Clone, Default)]
pub struct Broken(Arc<AtomicBool>);

struct Wires(TcpListener);

impl Listener for Wires {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        let _ = stream.set_nodelay(true);
        (Wire { stream, broken: Broken::default() }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, Wires>> for Broken {
    fn connect_info(stream: IncomingStream<'_, Wires>) -> Self {
        stream.io().broken.clone()
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.broken.0.load(Ordering::Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Serves the API until the runtime ends.
pub(super) async fn serve(homeserver: FakeHomeserver, listener: TcpListener) {
    let service = Router::new().fallback(front).with_state(homeserver).into_make_service_with_connect_info::<Broken>();
    axum::serve(Wires(listener), service).await.expect("serving never ends");
}

async fn front(
    FromState(homeserver): FromState<FakeHomeserver>,
    ConnectInfo(connection): ConnectInfo<Broken>,
    request: Request,
) -> Response<Body> {
    homeserver.shared.requests.fetch_add(1, Ordering::Relaxed);
    let outage = homeserver.next_outage();
    match &outage {
        Some(Outage::Latency(extra)) => tokio::time::sleep(*extra).await,
        Some(Outage::BadGateway) => return html(StatusCode::BAD_GATEWAY),
        Some(Outage::RateLimited(seconds)) => return rate_limited(*seconds),
        Some(Outage::ForbiddenAt(text)) if request.uri().to_string().contains(text) => {
            let refusal = Refusal::forbidden("You may not do that.");
            return json_response(StatusCode::FORBIDDEN, &refusal.body());
        }
        Some(held @ Outage::HeldAt(text)) if request.uri().to_string().contains(&**text) => {
            while homeserver.next_outage().as_ref() == Some(held) {
                tokio::time::sleep(POLL).await;
            }
        }
        Some(Outage::RateLimitedAt(text)) if request.uri().to_string().contains(text) => return rate_limited(3600),
        Some(Outage::DropConnections) => {
            connection.0.store(true, Ordering::Relaxed);
            return html(StatusCode::BAD_GATEWAY);
        }
        Some(Outage::Fails) => return refused(&internal_error()),
        Some(
            Outage::LoseAnswers
            | Outage::LosesAnswersAt(_)
            | Outage::StoresNothing
            | Outage::StumblesOver(_)
            | Outage::Blocks(_)
            | Outage::RateLimitedAt(_)
            | Outage::ForbiddenAt(_)
            | Outage::HeldAt(_),
        )
        | None => {}
    }
    let (parts, body) = request.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, MAX_BODY).await else {
        return refused(&Refusal::new(413, "M_TOO_LARGE", "The request is too large"));
    };
    let has = |text: &str| String::from_utf8_lossy(&bytes).contains(text);
    match outage {
        Some(Outage::StumblesOver(text)) if has(text) => return refused(&internal_error()),
        Some(Outage::Blocks(text)) if has(text) => return html(StatusCode::FORBIDDEN),
        _ => {}
    }
    let answer = handle(&homeserver, &parts, &bytes).await;
    let is_lost = match outage {
        Some(Outage::LoseAnswers) => true,
        Some(Outage::LosesAnswersAt(text)) => parts.uri.to_string().contains(text),
        _ => false,
    };
    if is_lost {
        connection.0.store(true, Ordering::Relaxed);
    }
    match answer {
        Ok(body) => json_response(StatusCode::OK, &body),
        Err(refusal) => refused(&refusal),
    }
}

async fn handle(homeserver: &FakeHomeserver, parts: &Parts, bytes: &[u8]) -> Result<Value, Refusal> {
    let FromQuery(query) = FromQuery::<Query>::try_from_uri(&parts.uri)
        .map_err(|error| Refusal::new(400, "M_INVALID_PARAM", error.to_string()))?;
    let path = parts.uri.path();
    if path == "/_matrix/client/versions" {
        return Ok(serde_json::json!({ "versions": ["v1.1", "v1.11", "v1.16", "v1.17"], "unstable_features": {} }));
    }
    let caller = authenticate(homeserver, &parts.headers, &query, path)?;
    if bytes.len() > MAX_EVENT {
        return Err(Refusal::new(413, "M_TOO_LARGE", "event too large"));
    }
    let body = if bytes.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(bytes).map_err(|_| Refusal::new(400, "M_NOT_JSON", "Content not JSON."))?
    };
    let call =
        Call { method: &parts.method, raw_path: path, query: &query, body, caller: &caller, by_appservice: true };
    homeserver.perform(call).await
}

/// Who asks: the bridge's bot, or the ghost that it speaks for.
fn authenticate(
    homeserver: &FakeHomeserver,
    headers: &HeaderMap,
    query: &Query,
    path: &str,
) -> Result<String, Refusal> {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let Some(token) = token else {
        return Err(Refusal::new(401, "M_MISSING_TOKEN", "Missing access token"));
    };
    let state = homeserver.state();
    let registration = state.registration.as_ref().filter(|registration| registration.as_token == token);
    let Some(registration) = registration else {
        return Err(Refusal::new(401, "M_UNKNOWN_TOKEN", "Invalid access token passed."));
    };
    let caller = query.user_id.clone().unwrap_or_else(|| registration.bot());
    if !registration.is_bridge_user(&caller) {
        return Err(Refusal::forbidden(format!("Application service cannot masquerade as this user ({caller}).")));
    }
    if !state.users.contains_key(&caller) && !path.ends_with("/register") {
        return Err(Refusal::forbidden(format!("Application service has not registered this user ({caller})")));
    }
    Ok(caller)
}

pub(super) async fn route(homeserver: &FakeHomeserver, call: Call<'_>) -> Result<Value, Refusal> {
    let segments = api::segments(call.raw_path);
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let registration = || homeserver.state().registration.clone();
    match segments.as_slice() {
        ["_matrix", "client", "v1", "appservice", id, "ping"] if call.by_appservice => {
            let registration = registration().filter(|registration| registration.id == *id);
            let Some(registration) = registration else {
                return Err(Refusal::forbidden("Mismatched application service ID in path"));
            };
            homeserver.ping(&registration, &call.body["transaction_id"]).await
        }
        ["_matrix", "client", "v3" | "r0", path @ ..] => {
            if let Some(alias) = api::alias_to_resolve(call.method, path)
                && !homeserver.state().aliases.contains_key(alias)
                && let Some(registration) = registration().filter(|registration| registration.owns(alias))
            {
                homeserver.query(&registration, "rooms", alias).await;
            }
            let answer = api::answer(&mut homeserver.state(), &call, path);
            homeserver.changed();
            answer
        }
        _ => Err(Refusal::new(404, "M_UNRECOGNIZED", "Unrecognized request")),
    }
}

fn json_response(status: StatusCode, body: &Value) -> Response<Body> {
    let bytes = serde_json::to_vec(body).expect("a value is JSON");
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn refused(refusal: &Refusal) -> Response<Body> {
    json_response(StatusCode::from_u16(refusal.status).expect("refusals have a status"), &refusal.body())
}

/// What Synapse says when something has gone wrong in it.
pub fn internal_error() -> Refusal {
    Refusal::new(500, "M_UNKNOWN", "Internal server error")
}

fn html(status: StatusCode) -> Response<Body> {
    let page = format!("<html><head><title>{status}</title></head><body><h1>{status}</h1><hr>nginx</body></html>");
    let mut response = Response::new(Body::from(page));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
    response
}

fn rate_limited(seconds: u64) -> Response<Body> {
    let body = serde_json::json!({ "errcode": "M_LIMIT_EXCEEDED", "error": "Too Many Requests", "retry_after_ms": seconds * 1000 });
    let mut response = json_response(StatusCode::TOO_MANY_REQUESTS, &body);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}
