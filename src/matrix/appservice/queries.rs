//! `GET /_matrix/app/v1/users/{userId}` and `GET /_matrix/app/v1/rooms/{roomAlias}`: does this exist on your side?
//!
//! A homeserver asks while its user waits, so each answer comes within [`PATIENCE`], and "no" is the only bad one.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use ruma::{
    RoomAliasId, UserId,
    api::appservice::thirdparty::get_protocol::v1::AppserviceProtocol,
    thirdparty::{Location, User},
};

use super::{Shared, error::Refusal, transactions::Empty};

/// How long an answer may take: under the second that the homeserver's user is promised.
pub(super) const PATIENCE: Duration = Duration::from_millis(900);

/// What the homeserver may ask while a user of its waits. None of it may wait for IRC: an implementation that takes longer
/// than 0.9 s is answered for with "no".
#[async_trait]
pub trait Queries: Send + Sync {
    /// Whether `user`, who is in our namespace, exists; if so, they are registered when this returns.
    async fn user(&self, user: &UserId) -> bool;

    /// Whether `alias`, which is in our namespace, exists; if so, it leads to a room when this returns.
    async fn room(&self, alias: &RoomAliasId) -> bool;

    /// What `protocol` looks like: its fields and networks.
    async fn protocol(&self, protocol: &str) -> Option<AppserviceProtocol>;

    /// The rooms of the channels that `fields` describe.
    async fn locations(&self, protocol: &str, fields: &BTreeMap<String, String>) -> Vec<Location>;

    /// The channels behind an alias.
    async fn locations_by_alias(&self, alias: &RoomAliasId) -> Vec<Location>;

    /// The ghosts of the people whom `fields` describe.
    async fn users(&self, protocol: &str, fields: &BTreeMap<String, String>) -> Vec<User>;

    /// The people behind a ghost.
    async fn users_by_id(&self, user: &UserId) -> Vec<User>;
}

/// Waits for an answer as long as the homeserver's user should.
pub(super) async fn in_time<T>(what: &'static str, answer: impl Future<Output = T>) -> Option<T> {
    let answer = tokio::time::timeout(PATIENCE, answer).await;
    answer.inspect_err(|_| tracing::warn!(query.kind = what, "A query took too long and was answered with no")).ok()
}

/// The handler for users.
pub(super) async fn user(
    State(shared): State<Shared>,
    user: Result<Path<String>, PathRejection>,
) -> Result<Json<Empty>, Refusal> {
    let no = || Refusal::not_found("nobody of that name can be reached over this bridge");
    let user = user.ok().and_then(|Path(user)| UserId::parse(user).ok()).ok_or_else(no)?;
    match in_time("user", shared.queries.user(&user)).await {
        Some(true) => Ok(Json(Empty {})),
        _ => Err(no()),
    }
}

/// The handler for aliases.
pub(super) async fn room(
    State(shared): State<Shared>,
    alias: Result<Path<String>, PathRejection>,
) -> Result<Json<Empty>, Refusal> {
    let no = || Refusal::not_found("no channel of that name can be joined over this bridge");
    let alias = alias.ok().and_then(|Path(alias)| RoomAliasId::parse(alias).ok()).ok_or_else(no)?;
    match in_time("room", shared.queries.room(&alias)).await {
        Some(true) => Ok(Json(Empty {})),
        _ => Err(no()),
    }
}
