//! What the homeserver asks of us: the [application service API](https://spec.matrix.org/v1.18/application-service-api/).
//!
//! [`router`] makes the routes. They hold no state; what they call comes in as traits ([`TransactionSink`], [`Queries`],
//! [`Health`]), so that this room is blind to the journal and to IRC. A new endpoint is a handler in its file and one line
//! in [`router`].
//!
//! Whatever a homeserver sends, the answer is a Matrix answer: nothing here panics, and 5xx means only that the sink can't
//! take a transaction now.

use std::{future::ready, sync::Arc};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{get, post, put},
};

mod auth;
mod body;
mod error;
mod health;
mod ping;
mod queries;
mod server;
mod thirdparty;
mod transactions;

use error::Refusal;

pub use health::{Health, HealthReport};
pub use ping::PingHook;
pub use queries::Queries;
pub use server::serve;
pub use transactions::{SinkError, Transaction, TransactionEvent, TransactionSink};

/// What the routes need.
pub struct AppserviceDeps {
    /// The token of the registration by which the homeserver proves that it is ours.
    pub hs_token: String,
    /// Takes the transactions.
    pub sink: Arc<dyn TransactionSink>,
    /// Answers what the homeserver wants to know while its user waits.
    pub queries: Arc<dyn Queries>,
    /// Answers `GET /health`.
    pub health: Arc<dyn Health>,
    /// Is told of each ping.
    pub on_ping: Option<Arc<PingHook>>,
    /// Writes what `GET /metrics` shows; `None`: there is no such page.
    pub metrics: Option<Arc<dyn Fn() -> String + Send + Sync>>,
}

/// The dependencies as the handlers get them.
type Shared = Arc<AppserviceDeps>;

/// All routes: the current ones, and those that homeservers older than Matrix 1.4 fall back to.
pub fn router(deps: AppserviceDeps) -> Router {
    let shared = Arc::new(deps);
    let thirdparty = || {
        Router::new()
            .route("/protocol/{protocol}", get(thirdparty::protocol))
            .route("/location/{protocol}", get(thirdparty::locations))
            .route("/location", get(thirdparty::locations_by_alias))
            .route("/user/{protocol}", get(thirdparty::users))
            .route("/user", get(thirdparty::users_by_id))
    };
    let bridge = || {
        Router::new()
            .route("/transactions/{txn_id}", put(transactions::push))
            .route("/users/{user_id}", get(queries::user))
            .route("/rooms/{room_alias}", get(queries::room))
    };
    Router::new()
        .nest("/_matrix/app/v1", bridge())
        .merge(bridge())
        .nest("/_matrix/app/v1/thirdparty", thirdparty())
        .nest("/_matrix/app/unstable/thirdparty", thirdparty())
        .route("/_matrix/app/v1/ping", post(ping::ping))
        .route("/_matrix/app/unstable/fi.mau.msc2659/ping", post(ping::ping))
        .route_layer(middleware::from_fn_with_state(shared.clone(), auth::require_token))
        .route("/health", get(health::health))
        .route("/metrics", get(health::metrics))
        .method_not_allowed_fallback(|| ready(Refusal::unknown_method()))
        .fallback(|| ready(Refusal::unknown_route()))
        .layer(DefaultBodyLimit::max(body::LIMIT))
        .with_state(shared)
}
