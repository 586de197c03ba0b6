//! What the homeserver reads when we don't do as it asks: the
//! [standard error body](https://spec.matrix.org/v1.18/client-server-api/#standard-error-response).

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde_json::json;

/// A refusal: status, Matrix error code, and a sentence for the operator who reads the homeserver's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) errcode: &'static str,
    pub(super) error: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, errcode: &'static str, error: impl Into<String>) -> Self {
        Self { status, errcode, error: error.into() }
    }

    /// What was asked for is not ours, or doesn't exist, or wasn't found in time.
    pub(super) fn not_found(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "M_NOT_FOUND", error)
    }

    /// Nothing that the specification lets a homeserver ask of us.
    pub(super) fn unknown_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, "M_UNRECOGNIZED", "there is no such endpoint here")
    }

    /// A known path with another verb.
    pub(super) fn unknown_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "M_UNRECOGNIZED", "this endpoint doesn't take this method")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "errcode": self.errcode, "error": self.error }))).into_response()
    }
}
