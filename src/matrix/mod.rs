//! Everything Matrix: what we ask of the homeserver ([`MatrixApi`]) and what it tells us ([`appservice`]).
//!
//! This room knows HTTP and the Matrix APIs and nothing of IRC, the store or the bridge. [`HomeserverClient`] owns the one
//! connection pool; [`appservice`] owns no state at all, what its routes need comes in as traits.
//!
//! To ask something new of the homeserver: a method in [`MatrixApi`], its request in `requests.rs`, a row in
//! `tests/homeserver_client/requests.rs`. To answer something new: a route in `appservice/mod.rs` and a row in `tests/appservice.rs`.

use std::time::Duration;

use async_trait::async_trait;
use ruma::{
    OwnedEventId, OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomAliasId, RoomId, RoomOrAliasId, RoomVersionId,
    UserId, events::room::history_visibility::HistoryVisibility,
};
use serde_json::value::RawValue;

use crate::model::Millis;

pub mod appservice;
mod client;
mod error;
mod limiter;
pub mod registration;
mod requests;
mod retry;

pub use client::{HomeserverClient, HomeserverSettings, InvalidHomeserver};
pub use error::MatrixError;
pub use retry::{Probe, RetryPolicy, persist};

/// What the bridge asks of a homeserver.
///
/// One call is one request: nothing is repeated behind the caller's back (see [`persist`]). `as_user` names the ghost that
/// acts; `None` is the bridge's bot. Reasons, names and bodies go out as they are given.
#[async_trait]
pub trait MatrixApi: Send + Sync {
    /// Makes the user `@localpart:…` exist. That it exists already is success.
    async fn register(&self, localpart: &str) -> Result<(), MatrixError>;

    /// Gives `user` (a ghost or the bot) the display name `name`.
    async fn set_display_name(&self, user: &UserId, name: &str) -> Result<(), MatrixError>;

    /// The display name of any user; `None` if they have none or don't exist.
    async fn display_name(&self, user: &UserId) -> Result<Option<String>, MatrixError>;

    /// Joins a room. Joining again is success.
    async fn join(&self, room: &RoomOrAliasId, as_user: Option<&UserId>) -> Result<OwnedRoomId, MatrixError>;

    /// Invites `invitee`. Inviting a member is [`MatrixError::Forbidden`].
    async fn invite(&self, room: &RoomId, invitee: &UserId, as_user: Option<&UserId>) -> Result<(), MatrixError>;

    /// Leaves a room, or turns an invitation down.
    async fn leave(&self, room: &RoomId, as_user: Option<&UserId>, reason: Option<&str>) -> Result<(), MatrixError>;

    /// Puts `user` out of the room.
    async fn kick(
        &self,
        room: &RoomId,
        user: &UserId,
        reason: Option<&str>,
        as_user: Option<&UserId>,
    ) -> Result<(), MatrixError>;

    /// Puts `user` out of the room and keeps them out.
    async fn ban(
        &self,
        room: &RoomId,
        user: &UserId,
        reason: Option<&str>,
        as_user: Option<&UserId>,
    ) -> Result<(), MatrixError>;

    /// Lets a banned user come back.
    async fn unban(
        &self,
        room: &RoomId,
        user: &UserId,
        reason: Option<&str>,
        as_user: Option<&UserId>,
    ) -> Result<(), MatrixError>;

    /// Sends a message event.
    ///
    /// The homeserver takes `txn` once per *appservice*, whoever sends: it must be unique over all ghosts and all runs, and
    /// the same when the same event is sent again. `ts` is when it was said
    /// ([timestamp massaging](https://spec.matrix.org/v1.18/application-service-api/#timestamp-massaging)).
    async fn send(
        &self,
        room: &RoomId,
        event_type: &str,
        txn: &str,
        content: &RawValue,
        as_user: Option<&UserId>,
        ts: Option<Millis>,
    ) -> Result<OwnedEventId, MatrixError>;

    /// Sets a piece of room state.
    async fn send_state(
        &self,
        room: &RoomId,
        event_type: &str,
        state_key: &str,
        content: &RawValue,
        as_user: Option<&UserId>,
    ) -> Result<OwnedEventId, MatrixError>;

    /// The content of a piece of room state; `None` if it was never set.
    async fn state(
        &self,
        room: &RoomId,
        event_type: &str,
        state_key: &str,
        as_user: Option<&UserId>,
    ) -> Result<Option<Box<RawValue>>, MatrixError>;

    /// All of a room's state, as whole events.
    async fn all_state(&self, room: &RoomId, as_user: Option<&UserId>) -> Result<Vec<Box<RawValue>>, MatrixError>;

    /// Those whose power has no bounds and who are not named in the power levels: from room version 12 on, its creators.
    async fn creators(&self, room: &RoomId, as_user: Option<&UserId>) -> Result<Vec<OwnedUserId>, MatrixError>;

    /// Who has joined or is invited. Members that can't be read are left out.
    async fn members(&self, room: &RoomId, as_user: Option<&UserId>) -> Result<Vec<Member>, MatrixError>;

    /// Makes a room. It is never listed in the public directory (R18).
    async fn create_room(&self, room: CreateRoom) -> Result<OwnedRoomId, MatrixError>;

    /// Lets an alias of ours lead to a room.
    async fn put_alias(&self, alias: &RoomAliasId, room: &RoomId) -> Result<(), MatrixError>;

    /// Lets an alias of ours lead nowhere. That it leads nowhere already is success.
    async fn remove_alias(&self, alias: &RoomAliasId) -> Result<(), MatrixError>;

    /// The room behind an alias; `None` if there is none.
    async fn resolve_alias(&self, alias: &RoomAliasId) -> Result<Option<OwnedRoomId>, MatrixError>;

    /// The homeserver's own aliases that lead to a room which a user of ours is in. Unlike [`Self::resolve_alias`] it never
    /// makes the homeserver ask us whether an alias is to be made.
    async fn local_aliases(
        &self,
        room: &RoomId,
        as_user: Option<&UserId>,
    ) -> Result<Vec<OwnedRoomAliasId>, MatrixError>;

    /// The rooms that a user of ours has joined.
    async fn joined_rooms(&self, as_user: Option<&UserId>) -> Result<Vec<OwnedRoomId>, MatrixError>;

    /// A room's events that `as_user` may see, from the newest backwards or from where an earlier page ended.
    async fn history(&self, room: &RoomId, before: Option<&str>, as_user: Option<&UserId>)
    -> Result<Page, MatrixError>;

    /// Has the homeserver call our `POST /_matrix/app/v1/ping` with `txn`, and says how long that took it (R101).
    ///
    /// [`MatrixError::errcode`] tells why it could not: `M_URL_NOT_SET`, `M_CONNECTION_FAILED`, `M_CONNECTION_TIMEOUT`,
    /// `M_BAD_STATUS` (mostly a wrong `hs_token`), `M_FORBIDDEN` (another appservice's token).
    async fn ping(&self, txn: &str) -> Result<Duration, MatrixError>;

    /// Who the homeserver takes us for: the bridge's bot.
    async fn whoami(&self) -> Result<OwnedUserId, MatrixError>;

    /// The versions of the client-server API that the homeserver speaks, as it writes them (`v1.11`).
    async fn versions(&self) -> Result<Vec<String>, MatrixError>;
}

/// A piece of a room's history.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The newest first.
    pub events: Vec<Box<RawValue>>,
    /// What leads to the page before this one; `None`: this is the beginning.
    pub before: Option<String>,
}

/// Somebody in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub user: OwnedUserId,
    /// Their name in this room, if they have one.
    pub display_name: Option<String>,
    /// Whether they are in, or asked in.
    pub membership: Membership,
}

/// The two ways of belonging to a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Membership {
    /// In the room.
    Join,
    /// Asked in.
    Invite,
}

/// Who may come into a new room ([presets](https://spec.matrix.org/v1.18/client-server-api/#post_matrixclientv3createroom)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preset {
    /// Only who is invited.
    #[default]
    Private,
    /// Only who is invited, and they may do what the creator may.
    Trusted,
    /// Everybody.
    Public,
}

/// A room to be made. `..CreateRoom::default()` is a private, federated room without a name.
#[derive(Debug, Clone)]
pub struct CreateRoom {
    /// The ghost that makes it; `None`: the bot.
    pub as_user: Option<OwnedUserId>,
    /// Its name.
    pub name: Option<String>,
    /// Its topic.
    pub topic: Option<String>,
    /// Who is invited at once.
    pub invite: Vec<OwnedUserId>,
    /// Whether clients show it as a private chat to those invited.
    pub is_direct: bool,
    /// Who may come in.
    pub preset: Preset,
    /// Who may read back; `None`: what the preset says (members, from before they came).
    pub history_visibility: Option<HistoryVisibility>,
    /// The room version; `None`: the homeserver's default, from 2026 mostly 12, where the creator must not be named in
    /// `power_levels` and can't be demoted.
    pub room_version: Option<RoomVersionId>,
    /// What differs from the homeserver's default `m.room.power_levels` content.
    pub power_levels: Option<Box<RawValue>>,
    /// Whether users of other homeservers can ever join. It can't be changed later.
    pub federate: bool,
    /// From room version 12 on: who else can't be demoted.
    pub additional_creators: Vec<OwnedUserId>,
    /// A key of ours and its value in `m.room.create`, by which the room is known again.
    pub mark: Option<(&'static str, String)>,
}

impl Default for CreateRoom {
    fn default() -> Self {
        Self {
            as_user: None,
            name: None,
            topic: None,
            invite: Vec::new(),
            is_direct: false,
            preset: Preset::default(),
            history_visibility: None,
            room_version: None,
            power_levels: None,
            federate: true,
            additional_creators: Vec::new(),
            mark: None,
        }
    }
}
