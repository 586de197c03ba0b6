//! What we ask of the homeserver: ruma's request for each method of [`MatrixApi`].

use std::{borrow::Cow, time::Duration};

use async_trait::async_trait;
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomAliasId, OwnedRoomId, OwnedTransactionId, OwnedUserId,
    RoomAliasId, RoomId, RoomOrAliasId, UInt, UserId,
    api::{
        OutgoingRequest as _,
        auth_scheme::SendAccessToken,
        client::{
            account::{register, whoami},
            alias::{create_alias, delete_alias, get_alias},
            appservice::request_ping,
            discovery::get_supported_versions,
            membership::{
                ban_user, get_member_events, invite_user, join_room_by_id_or_alias, joined_rooms, kick_user,
                leave_room, unban_user,
            },
            message::{get_message_events, send_message_event},
            profile::{get_profile_field, set_profile_field},
            room::{aliases, create_room},
            state::{
                get_state_event_for_key::{self, v3::StateEventFormat},
                get_state_events, send_state_event,
            },
        },
    },
    events::{StateEventType, room::member::MembershipState},
    profile::{ProfileFieldName, ProfileFieldValue},
    serde::Raw,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    CreateRoom, HomeserverClient, MatrixApi, MatrixError, Member, Membership, Page, Preset, client::unwritable,
};
use crate::model::Millis;

/// Events in one page of history.
const HISTORY_PAGE: u32 = 100;

#[async_trait]
impl MatrixApi for HomeserverClient {
    async fn register(&self, localpart: &str) -> Result<(), MatrixError> {
        let mut request = register::v3::Request::new();
        request.username = Some(localpart.to_owned());
        request.login_type = Some(register::LoginType::ApplicationService);
        // Required since MSC4190; where it isn't, it keeps the ghost from getting a device nobody uses.
        request.inhibit_login = true;
        match self.call(request, None, || format!("register the user `{localpart}`")).await {
            Err(MatrixError::Rejected { errcode, .. }) if errcode == "M_USER_IN_USE" => Ok(()),
            answer => answer.map(|_| ()),
        }
    }

    async fn set_display_name(&self, user: &UserId, name: &str) -> Result<(), MatrixError> {
        let value = ProfileFieldValue::DisplayName(name.to_owned());
        let request = set_profile_field::v3::Request::new(in_path(user), value);
        self.call(request, Some(user), || "set the display name".to_owned()).await.map(|_| ())
    }

    async fn display_name(&self, user: &UserId) -> Result<Option<String>, MatrixError> {
        let request = get_profile_field::v3::Request::new(in_path(user), ProfileFieldName::DisplayName);
        let answer = found(self.call(request, None, || format!("read the display name of {user}")).await)?;
        Ok(answer.and_then(|answer| match answer.value {
            Some(ProfileFieldValue::DisplayName(name)) => Some(name),
            _ => None,
        }))
    }

    async fn join(&self, room: &RoomOrAliasId, as_user: Option<&UserId>) -> Result<OwnedRoomId, MatrixError> {
        let request = join_room_by_id_or_alias::v3::Request::new(in_path(room));
        Ok(self.call(request, as_user, || format!("join {room}")).await?.room_id)
    }

    async fn invite(&self, room: &RoomId, invitee: &UserId, as_user: Option<&UserId>) -> Result<(), MatrixError> {
        let recipient = invite_user::v3::InviteUserId::new(invitee.to_owned()).into();
        let request = invite_user::v3::Request::new(in_path(room), recipient);
        self.call(request, as_user, || format!("invite {invitee} to {room}")).await.map(|_| ())
    }

    async fn leave(&self, room: &RoomId, as_user: Option<&UserId>, reason: Option<&str>) -> Result<(), MatrixError> {
        let mut request = leave_room::v3::Request::new(in_path(room));
        request.reason = reason.map(str::to_owned);
        self.call(request, as_user, || format!("leave {room}")).await.map(|_| ())
    }

    async fn kick(
        &self,
        room: &RoomId,
        user: &UserId,
        reason: Option<&str>,
        as_user: Option<&UserId>,
    ) -> Result<(), MatrixError> {
        let mut request = kick_user::v3::Request::new(in_path(room), user.to_owned());
        request.reason = reason.map(str::to_owned);
        self.call(request, as_user, || format!("kick {user} out of {room}")).await.map(|_| ())
    }

    async fn ban(
        &self,
        room: &RoomId,
        user: &UserId,
        reason: Option<&str>,
        as_user: Option<&UserId>,
    ) -> Result<(), MatrixError> {
        let mut request = ban_user::v3::Request::new(in_path(room), user.to_owned());
        request.reason = reason.map(str::to_owned);
        self.call(request, as_user, || format!("ban {user} from {room}")).await.map(|_| ())
    }

    async fn unban(
        &self,
        room: &RoomId,
        user: &UserId,
        reason: Option<&str>,
        as_user: Option<&UserId>,
    ) -> Result<(), MatrixError> {
        let mut request = unban_user::v3::Request::new(in_path(room), user.to_owned());
        request.reason = reason.map(str::to_owned);
        self.call(request, as_user, || format!("lift the ban of {user} from {room}")).await.map(|_| ())
    }

    async fn send(
        &self,
        room: &RoomId,
        event_type: &str,
        txn: &str,
        content: &RawValue,
        as_user: Option<&UserId>,
        ts: Option<Millis>,
    ) -> Result<OwnedEventId, MatrixError> {
        let mut request = send_message_event::v3::Request::new_raw(
            in_path(room),
            OwnedTransactionId::from(&*segment(txn)),
            segment(event_type).as_ref().into(),
            Raw::from_json(content.to_owned()),
        );
        // A time before 1970 is no time at all; then the homeserver's own is the better one.
        request.timestamp = ts.and_then(|ts| UInt::try_from(ts).ok()).map(MilliSecondsSinceUnixEpoch);
        Ok(self.call(request, as_user, || format!("send {event_type} to {room}")).await?.event_id)
    }

    async fn send_state(
        &self,
        room: &RoomId,
        event_type: &str,
        state_key: &str,
        content: &RawValue,
        as_user: Option<&UserId>,
    ) -> Result<OwnedEventId, MatrixError> {
        let request = send_state_event::v3::Request::new_raw(
            in_path(room),
            segment(event_type).as_ref().into(),
            segment(state_key).into_owned(),
            Raw::from_json(content.to_owned()),
        );
        Ok(self.call(request, as_user, || format!("set {event_type} in {room}")).await?.event_id)
    }

    async fn state(
        &self,
        room: &RoomId,
        event_type: &str,
        state_key: &str,
        as_user: Option<&UserId>,
    ) -> Result<Option<Box<RawValue>>, MatrixError> {
        let request = get_state_event_for_key::v3::Request::new(
            in_path(room),
            segment(event_type).as_ref().into(),
            segment(state_key).into_owned(),
        );
        let answer = found(self.call(request, as_user, || format!("read {event_type} of {room}")).await)?;
        Ok(answer.map(|answer| answer.event_or_content))
    }

    async fn all_state(&self, room: &RoomId, as_user: Option<&UserId>) -> Result<Vec<Box<RawValue>>, MatrixError> {
        let request = get_state_events::v3::Request::new(in_path(room));
        let answer = self.call(request, as_user, || format!("read the state of {room}")).await?;
        Ok(answer.room_state.into_iter().map(|event| event.json().to_owned()).collect())
    }

    async fn creators(&self, room: &RoomId, as_user: Option<&UserId>) -> Result<Vec<OwnedUserId>, MatrixError> {
        let kind = StateEventType::RoomCreate;
        let mut request = get_state_event_for_key::v3::Request::new(in_path(room), kind, String::new());
        request.format = StateEventFormat::Event;
        let answer = self.call(request, as_user, || format!("read who made {room}")).await?;
        Ok(creators(&answer.event_or_content))
    }

    async fn members(&self, room: &RoomId, as_user: Option<&UserId>) -> Result<Vec<Member>, MatrixError> {
        let mut request = get_member_events::v3::Request::new(in_path(room));
        // Only one kind can be left out, and who has left is by far the most numerous.
        request.not_membership = Some(MembershipState::Leave);
        let answer = self.call(request, as_user, || format!("list the members of {room}")).await?;
        Ok(answer.chunk.iter().filter_map(|event| member(event.json())).collect())
    }

    async fn create_room(&self, room: CreateRoom) -> Result<OwnedRoomId, MatrixError> {
        let as_user = room.as_user.clone();
        self.call(creation(room), as_user.as_deref(), || "make a room".to_owned()).await.map(|answer| answer.room_id)
    }

    async fn put_alias(&self, alias: &RoomAliasId, room: &RoomId) -> Result<(), MatrixError> {
        let request = create_alias::v3::Request::new(in_path(alias), in_path(room));
        self.call(request, None, || format!("let {alias} lead to {room}")).await.map(drop)
    }

    async fn remove_alias(&self, alias: &RoomAliasId) -> Result<(), MatrixError> {
        let request = delete_alias::v3::Request::new(in_path(alias));
        found(self.call(request, None, || format!("let {alias} lead nowhere")).await).map(drop)
    }

    async fn resolve_alias(&self, alias: &RoomAliasId) -> Result<Option<OwnedRoomId>, MatrixError> {
        let request = get_alias::v3::Request::new(in_path(alias));
        let answer = found(self.call(request, None, || format!("look up {alias}")).await)?;
        Ok(answer.map(|answer| answer.room_id))
    }

    async fn local_aliases(
        &self,
        room: &RoomId,
        as_user: Option<&UserId>,
    ) -> Result<Vec<OwnedRoomAliasId>, MatrixError> {
        let request = aliases::v3::Request::new(room.to_owned());
        Ok(self.call(request, as_user, || format!("list the aliases of {room}")).await?.aliases)
    }

    async fn joined_rooms(&self, as_user: Option<&UserId>) -> Result<Vec<OwnedRoomId>, MatrixError> {
        let request = joined_rooms::v3::Request::new();
        Ok(self.call(request, as_user, || "list the joined rooms".to_owned()).await?.joined_rooms)
    }

    async fn history(
        &self,
        room: &RoomId,
        before: Option<&str>,
        as_user: Option<&UserId>,
    ) -> Result<Page, MatrixError> {
        let mut request = get_message_events::v3::Request::backward(in_path(room));
        request.from = before.map(str::to_owned);
        request.limit = HISTORY_PAGE.into();
        let answer = self.call(request, as_user, || format!("read what was said in {room}")).await?;
        let events = answer.chunk.into_iter().map(|event| event.json().to_owned()).collect();
        Ok(Page { events, before: answer.end })
    }

    async fn ping(&self, txn: &str) -> Result<Duration, MatrixError> {
        let id = &self.settings.appservice_id;
        let mut request = request_ping::v1::Request::new(segment(id).into_owned());
        request.transaction_id = Some(txn.into());
        Ok(self.call(request, None, || format!("have a ping for appservice `{id}` sent back")).await?.duration)
    }

    async fn whoami(&self) -> Result<OwnedUserId, MatrixError> {
        let request = whoami::v3::Request::new();
        Ok(self.call(request, None, || "ask who we are".to_owned()).await?.user_id)
    }

    async fn versions(&self) -> Result<Vec<String>, MatrixError> {
        let request = get_supported_versions::Request::new();
        let asked = || format!("ask for the versions spoken at {}", self.settings.url);
        let token = SendAccessToken::Always(&self.settings.as_token);
        match request.try_into_http_request(&self.settings.url, token, ()) {
            Ok(request) => Ok(self.exchange::<get_supported_versions::Response>(request, asked).await?.versions),
            Err(error) => Err(unwritable(asked(), &error)),
        }
    }
}

/// Makes `text` safe as one segment of a path.
///
/// ruma escapes a segment as the URL standard's *path* set says, which leaves `%` as it is (so `#100%25:x` would name
/// another alias) and `\` too (which reqwest's URL parser reads as `/`). A test fails if ruma begins to do it.
fn segment(text: &str) -> Cow<'_, str> {
    if text.contains(['%', '\\']) { text.replace('%', "%25").replace('\\', "%5C").into() } else { text.into() }
}

/// [`segment`] for ids.
fn in_path<I>(id: &I) -> I::Owned
where
    I: AsRef<str> + ToOwned + ?Sized,
    I::Owned: for<'a> TryFrom<&'a str>,
{
    match segment(id.as_ref()) {
        Cow::Borrowed(_) => id.to_owned(),
        // Escapes are as valid in an id as what they stand for.
        Cow::Owned(escaped) => I::Owned::try_from(&escaped).unwrap_or_else(|_| id.to_owned()),
    }
}

/// "Not found" as an answer, where it is one.
fn found<T>(answer: Result<T, MatrixError>) -> Result<Option<T>, MatrixError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(MatrixError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The request that makes `room`.
fn creation(room: CreateRoom) -> create_room::v3::Request {
    let mut request = create_room::v3::Request::new();
    request.name = room.name;
    request.topic = room.topic;
    request.invite = room.invite;
    request.is_direct = room.is_direct;
    request.room_version = room.room_version;
    request.power_level_content_override = room.power_levels.map(Raw::from_json);
    request.preset = Some(match room.preset {
        Preset::Private => create_room::v3::RoomPreset::PrivateChat,
        Preset::Trusted => create_room::v3::RoomPreset::TrustedPrivateChat,
        Preset::Public => create_room::v3::RoomPreset::PublicChat,
    });
    let mut creation = create_room::v3::CreationContent::new();
    creation.federate = room.federate;
    creation.additional_creators = room.additional_creators;
    if let Ok(serde_json::Value::Object(mut content)) = serde_json::to_value(&creation) {
        content.extend(room.mark.map(|(key, value)| (key.to_owned(), value.into())));
        request.creation_content =
            (!content.is_empty()).then(|| Raw::new(&content).ok().map(Raw::cast_unchecked)).flatten();
    }
    if let Some(visibility) = room.history_visibility {
        let state = serde_json::json!({
            "type": "m.room.history_visibility", "state_key": "", "content": { "history_visibility": visibility },
        });
        request.initial_state.extend(Raw::new(&state).ok().map(Raw::cast_unchecked));
    }
    request
}

/// Who may not be named in the power levels, by the event that made the room. The versions before 12 are numbers; of
/// what else there may be, nothing is known.
fn creators(event: &RawValue) -> Vec<OwnedUserId> {
    #[derive(Deserialize)]
    struct Event {
        sender: OwnedUserId,
        content: Content,
    }
    #[derive(Deserialize)]
    struct Content {
        #[serde(default)]
        room_version: Option<String>,
        #[serde(default)]
        additional_creators: Vec<OwnedUserId>,
    }
    let Ok(Event { sender, content }) = serde_json::from_str(event.get()) else { return Vec::new() };
    let version: u32 = content.room_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(1);
    if version < 12 { Vec::new() } else { std::iter::once(sender).chain(content.additional_creators).collect() }
}

/// Reads a member event, or tells that it is none (of somebody joined or invited).
fn member(event: &RawValue) -> Option<Member> {
    #[derive(Deserialize)]
    struct Event {
        state_key: OwnedUserId,
        content: Content,
    }
    #[derive(Deserialize)]
    struct Content {
        membership: String,
        #[serde(default)]
        displayname: serde_json::Value,
    }
    let event: Event = serde_json::from_str(event.get()).ok()?;
    let membership = match event.content.membership.as_str() {
        "join" => Membership::Join,
        "invite" => Membership::Invite,
        _ => return None,
    };
    let display_name = event.content.displayname.as_str().map(str::to_owned);
    Some(Member { user: event.state_key, display_name, membership })
}
