//! A request's body, whole: within the limits of size and time.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
};
use http::StatusCode;
use tokio::time::timeout;

use super::error::Refusal;

/// The largest body we read. Synapse puts up to 100 events of at most 64 KiB each into a transaction, and ephemeral data.
pub(super) const LIMIT: usize = 16 * 1024 * 1024;

/// How long a body may take, as long as Synapse waits for an answer; it sends again what was cut off.
const PATIENCE: Duration = Duration::from_mins(1);

/// The whole body of a request.
pub(super) struct Whole(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Whole {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        match timeout(PATIENCE, Bytes::from_request(request, state)).await {
            Ok(Ok(body)) => Ok(Self(body)),
            Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(Refusal::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "M_TOO_LARGE",
                format!("the body has more than {} MiB", LIMIT >> 20),
            )),
            Ok(Err(_)) => Err(Refusal::new(StatusCode::BAD_REQUEST, "M_UNKNOWN", "the body broke off")),
            Err(_) => Err(Refusal::new(
                StatusCode::REQUEST_TIMEOUT,
                "M_UNKNOWN",
                format!("the body didn't come within {} s", PATIENCE.as_secs()),
            )),
        }
    }
}
