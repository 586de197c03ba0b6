//! `GET /_matrix/app/v1/thirdparty/…`: which networks there are, and who and what on them has which Matrix name, both ways
//! ([spec](https://spec.matrix.org/v1.18/application-service-api/#third-party-networks)).
//!
//! What isn't found, or not in time, is 404, as the specification says.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{Path, Query, State, rejection::PathRejection, rejection::QueryRejection},
};
use ruma::{
    RoomAliasId, UserId,
    api::appservice::thirdparty::get_protocol::v1::AppserviceProtocol,
    thirdparty::{Location, User},
};

use super::{Shared, error::Refusal, queries::in_time};

type PathPart = Result<Path<String>, PathRejection>;
type Fields = Result<Query<Vec<(String, String)>>, QueryRejection>;

fn nothing() -> Refusal {
    Refusal::not_found("nothing on this bridge matches")
}

/// A list that has something in it, or 404.
fn some<T>(found: Option<Vec<T>>) -> Result<Json<Vec<T>>, Refusal> {
    found.filter(|list| !list.is_empty()).map(Json).ok_or_else(nothing)
}

/// The query's fields, without the token that old homeservers put there.
fn fields(query: Fields) -> Result<BTreeMap<String, String>, Refusal> {
    let Query(pairs) = query.map_err(|_| nothing())?;
    Ok(pairs.into_iter().filter(|(name, _)| name != "access_token").collect())
}

/// `…/protocol/{protocol}`
pub(super) async fn protocol(
    State(shared): State<Shared>,
    protocol: PathPart,
) -> Result<Json<AppserviceProtocol>, Refusal> {
    let Path(protocol) = protocol.map_err(|_| nothing())?;
    in_time("protocol", shared.queries.protocol(&protocol)).await.flatten().map(Json).ok_or_else(nothing)
}

/// `…/location/{protocol}?…`
pub(super) async fn locations(
    State(shared): State<Shared>,
    protocol: PathPart,
    query: Fields,
) -> Result<Json<Vec<Location>>, Refusal> {
    let Path(protocol) = protocol.map_err(|_| nothing())?;
    some(in_time("location", shared.queries.locations(&protocol, &fields(query)?)).await)
}

/// `…/location?alias=`
pub(super) async fn locations_by_alias(
    State(shared): State<Shared>,
    query: Fields,
) -> Result<Json<Vec<Location>>, Refusal> {
    let alias = fields(query)?.remove("alias").and_then(|alias| RoomAliasId::parse(alias).ok()).ok_or_else(nothing)?;
    some(in_time("location by alias", shared.queries.locations_by_alias(&alias)).await)
}

/// `…/user/{protocol}?…`
pub(super) async fn users(
    State(shared): State<Shared>,
    protocol: PathPart,
    query: Fields,
) -> Result<Json<Vec<User>>, Refusal> {
    let Path(protocol) = protocol.map_err(|_| nothing())?;
    some(in_time("user", shared.queries.users(&protocol, &fields(query)?)).await)
}

/// `…/user?userid=`
pub(super) async fn users_by_id(State(shared): State<Shared>, query: Fields) -> Result<Json<Vec<User>>, Refusal> {
    let user = fields(query)?.remove("userid").and_then(|user| UserId::parse(user).ok()).ok_or_else(nothing)?;
    some(in_time("user by id", shared.queries.users_by_id(&user)).await)
}
