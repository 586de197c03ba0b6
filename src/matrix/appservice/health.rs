//! `GET /health` and `GET /metrics`: for the operator's tools, without a token.

use std::time::Duration;

use async_trait::async_trait;
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header::CONTENT_TYPE};
use serde_json::json;

use super::{Shared, error::Refusal};

/// How long a check may take; a bridge that can't say how it is isn't well.
const PATIENCE: Duration = Duration::from_secs(5);

/// How the bridge is.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthReport {
    /// Whether everything works that has to.
    pub healthy: bool,
    /// What works and what doesn't. It is shown to everybody who can reach the port: no secrets, no addresses.
    pub body: serde_json::Value,
}

/// Knows how the bridge is.
#[async_trait]
pub trait Health: Send + Sync {
    /// Looks now.
    async fn check(&self) -> HealthReport;
}

/// The handler for `/health`.
pub(super) async fn health(State(shared): State<Shared>) -> Response {
    let report = tokio::time::timeout(PATIENCE, shared.health.check()).await.unwrap_or_else(|_| HealthReport {
        healthy: false,
        body: json!({ "error": format!("the check took longer than {} s", PATIENCE.as_secs()) }),
    });
    let status = if report.healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report.body)).into_response()
}

/// The handler for `/metrics`, in the text format of Prometheus.
pub(super) async fn metrics(State(shared): State<Shared>) -> Response {
    match &shared.metrics {
        Some(render) => ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], render()).into_response(),
        None => Refusal::unknown_route().into_response(),
    }
}
