//! `POST /_matrix/app/v1/ping`: the homeserver's half of a ping that we asked for
//! ([spec](https://spec.matrix.org/v1.18/application-service-api/#post_matrixappv1ping), R101).

use axum::{Json, extract::State};
use http::StatusCode;
use serde::Deserialize;

use super::{Shared, body::Whole, error::Refusal, transactions::Empty};

/// Is told of each ping that comes in, with its transaction id, so that whoever asked for it sees it arrive.
pub type PingHook = dyn Fn(Option<&str>) + Send + Sync;

#[derive(Deserialize)]
struct Ping {
    #[serde(default)]
    transaction_id: serde_json::Value,
}

/// The handler.
pub(super) async fn ping(State(shared): State<Shared>, Whole(body): Whole) -> Result<Json<Empty>, Refusal> {
    let ping: Ping = serde_json::from_slice(&body).map_err(|error| {
        let errcode = if error.is_data() { "M_BAD_JSON" } else { "M_NOT_JSON" };
        Refusal::new(StatusCode::BAD_REQUEST, errcode, format!("the body isn't a ping: {error}"))
    })?;
    if let Some(hook) = &shared.on_ping {
        hook(ping.transaction_id.as_str());
    }
    Ok(Json(Empty {}))
}
