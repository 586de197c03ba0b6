//! The homeserver client: ruma's requests over one pooled HTTP client.
//!
//! Every request goes through [`HomeserverClient::call`], which knows masquerading, and [`HomeserverClient::exchange`],
//! which knows HTTP. Answers outside 2xx are sorted in `error.rs`.

use std::{borrow::Cow, time::Duration};

use async_trait::async_trait;
use http::{HeaderMap, StatusCode};
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedTransactionId, OwnedUserId, RoomAliasId, RoomId,
    RoomOrAliasId, UInt, UserId,
    api::{
        AppserviceUserIdentity, IncomingResponse, MatrixVersion, OutgoingRequest, OutgoingRequestAppserviceExt,
        SupportedVersions,
        auth_scheme::{AuthScheme, SendAccessToken},
        client::{
            account::{register, whoami},
            alias::{create_alias, get_alias},
            appservice::request_ping,
            discovery::get_supported_versions,
            membership::{
                ban_user, get_member_events, invite_user, join_room_by_id_or_alias, joined_rooms, kick_user,
                leave_room, unban_user,
            },
            message::send_message_event,
            profile::{get_profile_field, set_profile_field},
            room::create_room,
            state::{get_state_event_for_key, send_state_event},
        },
        path_builder::PathBuilder,
    },
    events::room::member::MembershipState,
    profile::{ProfileFieldName, ProfileFieldValue},
    serde::Raw,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{CreateRoom, MatrixApi, MatrixError, Member, Membership, Preset, error::classify, limiter::Lane};
use crate::model::Millis;

/// To open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For a request as a whole. A join over federation may take this long; asking again then finds it done.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);
/// Shorter than the 60 s and more after which homeservers and proxies close an idle connection, so that it is mostly we who
/// close it and no request meets a closing one.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer we read: the members of a room of 30,000 take some 20 MB.
const ANSWER_LIMIT: usize = 64 * 1024 * 1024;

/// Which homeserver, and who we are there.
#[derive(Clone)]
pub struct HomeserverSettings {
    /// `homeserver.url`: http or https, with a path where a proxy wants one.
    pub url: String,
    /// The `as_token` of the registration.
    pub as_token: String,
    /// The `id` of the registration.
    pub appservice_id: String,
}

/// `homeserver.url` or the token can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHomeserver {
    /// No http or https address.
    #[error("homeserver.url: `{url}` is no address of a homeserver ({reason}); write it like http://127.0.0.1:8008")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A token that can't be written into an HTTP header.
    #[error(
        "the as_token of the registration is empty or has characters that no HTTP header can carry; make a new one"
    )]
    Token,
    /// The machine's TLS or its certificates don't work.
    #[error("can't start the HTTP client: {0}")]
    Tls(String),
}

/// Speaks to the homeserver as the application service. Cheap to clone; clones share the connections.
#[derive(Clone)]
pub struct HomeserverClient {
    http: reqwest::Client,
    settings: std::sync::Arc<HomeserverSettings>,
    versions: std::sync::Arc<SupportedVersions>,
    lane: Lane,
    noise: Lane,
}

impl std::fmt::Debug for HomeserverClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HomeserverClient").field("url", &self.settings.url).finish_non_exhaustive()
    }
}

impl HomeserverClient {
    /// Makes the client; nothing is asked yet.
    pub fn new(mut settings: HomeserverSettings) -> Result<Self, InvalidHomeserver> {
        let url = check_url(&settings.url)?;
        url.as_str().trim_end_matches('/').clone_into(&mut settings.url);
        let token = &settings.as_token;
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(InvalidHomeserver::Token);
        }
        // An error means that the process has its provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            // A followed redirect turns a PUT into a GET, and a proxy named in the environment would get the token.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("footbridge/", env!("CARGO_PKG_VERSION")));
        if url.scheme() == "http" {
            // Don't load the machine's certificates, which takes time and can fail, for nothing.
            http = http.tls_certs_only([]);
        }
        Ok(Self {
            http: http.build().map_err(|error| InvalidHomeserver::Tls(chain(&error)))?,
            settings: settings.into(),
            // Not asked of the homeserver: these are the oldest paths of what we need, and every server in use has them.
            versions: SupportedVersions { versions: [MatrixVersion::V1_7].into(), features: [].into() }.into(),
            lane: Lane::messages(),
            noise: Lane::noise(),
        })
    }

    /// The same client for what nobody waits for (joins and leaves of idle ghosts, display names): its requests wait for
    /// each other in a narrow lane of their own instead of standing in the way of messages.
    #[must_use]
    pub fn noise(&self) -> Self {
        Self { lane: self.noise.clone(), ..self.clone() }
    }

    /// Sends one of ruma's requests as `as_user`. `asked` reads well after "could not", up to "of whom".
    async fn call<R>(
        &self,
        request: R,
        as_user: Option<&UserId>,
        asked: impl FnOnce() -> String + Send,
    ) -> Result<R::IncomingResponse, MatrixError>
    where
        R: OutgoingRequest + Send,
        for<'a> R::Authentication: AuthScheme<Input<'a> = SendAccessToken<'a>>,
        for<'a> R::PathBuilder: PathBuilder<Input<'a> = Cow<'a, SupportedVersions>>,
    {
        let token = SendAccessToken::Always(&self.settings.as_token);
        let identity = as_user.map_or_else(AppserviceUserIdentity::default, AppserviceUserIdentity::new);
        let versions = Cow::Borrowed(&*self.versions);
        let request =
            request.try_into_http_request_with_identity::<Vec<u8>>(&self.settings.url, token, identity, versions);
        let asked = || match as_user {
            Some(user) => format!("{} as {user} at {}", asked(), self.settings.url),
            None => format!("{} at {}", asked(), self.settings.url),
        };
        match request {
            Ok(request) => self.exchange::<R::IncomingResponse>(request, asked).await,
            Err(error) => Err(unwritable(asked(), &error)),
        }
    }

    /// One request, one answer.
    async fn exchange<A: IncomingResponse>(
        &self,
        request: http::Request<Vec<u8>>,
        asked: impl FnOnce() -> String + Send,
    ) -> Result<A, MatrixError> {
        let request = match reqwest::Request::try_from(request) {
            Ok(request) => request,
            Err(error) => return Err(unwritable(asked(), &error)),
        };
        let _turn = self.lane.turn().await;
        let (status, headers, body) = match self.transfer(request).await {
            Ok(answer) => answer,
            Err(what) => return Err(MatrixError::unavailable(asked(), what)),
        };
        if !status.is_success() {
            return Err(classify(asked(), status, &headers, &body));
        }
        A::try_from_http_response(http::Response::new(body)).map_err(|error| {
            // Not a refusal: it may have done what we asked. Asking again is harmless and tells.
            MatrixError::unavailable(asked(), format!("it agreed in an answer that can't be read: {}", chain(&error)))
        })
    }

    /// Writes a request and reads the whole answer. An error is why there is none.
    async fn transfer(&self, request: reqwest::Request) -> Result<(StatusCode, HeaderMap, Vec<u8>), String> {
        let mut answer = self.http.execute(request).await.map_err(|error| chain(&error.without_url()))?;
        let mut body = Vec::with_capacity(answer.content_length().map_or(0, |n| n.min(64 * 1024) as usize));
        while let Some(chunk) = answer.chunk().await.map_err(|error| chain(&error.without_url()))? {
            if body.len() + chunk.len() > ANSWER_LIMIT {
                return Err(format!("the answer is larger than {} MiB", ANSWER_LIMIT >> 20));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((answer.status(), std::mem::take(answer.headers_mut()), body))
    }
}

/// Takes what can be the front of every request's address.
fn check_url(given: &str) -> Result<reqwest::Url, InvalidHomeserver> {
    let invalid = |reason: &str| InvalidHomeserver::Url { url: given.to_owned(), reason: reason.to_owned() };
    let url = reqwest::Url::parse(given).map_err(|error| invalid(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(invalid("it begins neither with http:// nor with https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("it has a user name or password in it"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("it has a ? or # in it"));
    }
    Ok(url)
}

/// An error with its causes: reqwest's own first line says only "error sending request".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let line = error.to_string();
        if !text.contains(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        cause = error.source();
    }
    text
}

/// A request that can't even be written, for instance for a name that is no part of an address.
fn unwritable(asked: String, error: &dyn std::error::Error) -> MatrixError {
    MatrixError::Rejected { asked, status: 0, errcode: String::new(), message: chain(error) }
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

    async fn resolve_alias(&self, alias: &RoomAliasId) -> Result<Option<OwnedRoomId>, MatrixError> {
        let request = get_alias::v3::Request::new(in_path(alias));
        let answer = found(self.call(request, None, || format!("look up {alias}")).await)?;
        Ok(answer.map(|answer| answer.room_id))
    }

    async fn joined_rooms(&self, as_user: Option<&UserId>) -> Result<Vec<OwnedRoomId>, MatrixError> {
        let request = joined_rooms::v3::Request::new();
        Ok(self.call(request, as_user, || "list the joined rooms".to_owned()).await?.joined_rooms)
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

/// The request that makes `room`.
fn creation(room: CreateRoom) -> create_room::v3::Request {
    let mut request = create_room::v3::Request::new();
    request.name = room.name;
    request.topic = room.topic;
    request.room_alias_name = room.alias_localpart;
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
    if !creation.federate || !creation.additional_creators.is_empty() {
        request.creation_content = Raw::new(&creation).ok();
    }
    if let Some(visibility) = room.history_visibility {
        let state = serde_json::json!({
            "type": "m.room.history_visibility", "state_key": "", "content": { "history_visibility": visibility },
        });
        request.initial_state.extend(Raw::new(&state).ok().map(Raw::cast_unchecked));
    }
    request
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
