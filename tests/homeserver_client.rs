//! The homeserver client over real HTTP: what each call puts on the wire, and what it makes of each kind of answer.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    response::{Html, IntoResponse, Response},
};
use footbridge::matrix::{
    CreateRoom, HomeserverClient, HomeserverSettings, InvalidHomeserver, MatrixApi, MatrixError, Member, Membership,
    Preset, RetryPolicy, persist,
};
use futures_util::TryFutureExt as _;
use http::{HeaderMap, Method, StatusCode, Uri};
use ruma::{
    RoomAliasId, RoomId, RoomOrAliasId, RoomVersionId, UserId, events::room::history_visibility::HistoryVisibility,
    owned_user_id, room_alias_id, room_id, user_id,
};
use serde_json::{Value, json, value::RawValue};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;

/// A request as it arrived: `PUT /path?query`, and the body.
#[derive(Debug, PartialEq)]
struct Seen {
    line: String,
    body: Value,
}

struct Script {
    seen: Mutex<Vec<Seen>>,
    answers: Mutex<VecDeque<Response>>,
    /// How many requests may be answered; tests that hold answers back begin with none.
    gate: Semaphore,
}

/// A homeserver that answers what it is told to, in turn.
struct Fake {
    script: Arc<Script>,
    client: HomeserverClient,
    url: String,
}

async fn handle(
    State(script): State<Arc<Script>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    assert_eq!(headers["authorization"], "Bearer as_token");
    if !body.is_empty() {
        assert_eq!(headers["content-type"], "application/json");
    }
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    script.seen.lock().unwrap().push(Seen { line: format!("{method} {uri}"), body });
    script.gate.acquire().await.unwrap().forget();
    script.answers.lock().unwrap().pop_front().expect("no answer is left in the script")
}

fn client(url: &str) -> HomeserverClient {
    let (as_token, appservice_id) = ("as_token".to_owned(), "footbridge".to_owned());
    HomeserverClient::new(HomeserverSettings { url: url.to_owned(), as_token, appservice_id }).unwrap()
}

fn ok(body: &Value) -> Response {
    refuse(200, body)
}

fn refuse(status: u16, body: &Value) -> Response {
    (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
}

impl Fake {
    async fn start() -> Self {
        Self::at("").await
    }

    /// A homeserver whose `homeserver.url` ends in `suffix`.
    async fn at(suffix: &str) -> Self {
        let script =
            Arc::new(Script { seen: Mutex::default(), answers: Mutex::default(), gate: Semaphore::new(1_000_000) });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}{suffix}", listener.local_addr().unwrap());
        let routes = Router::new().fallback(handle).with_state(script.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { script, client: client(&url), url }
    }

    fn answer(&self, answer: impl IntoResponse) {
        self.script.answers.lock().unwrap().push_back(answer.into_response());
    }

    fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.script.seen.lock().unwrap())
    }

    /// Asserts that one request came, this one.
    #[track_caller]
    fn saw(&self, line: &str, body: &Value) {
        assert_eq!(self.seen(), [Seen { line: line.to_owned(), body: body.clone() }]);
    }
}

fn room() -> &'static RoomId {
    room_id!("!r:x")
}

fn ghost() -> &'static UserId {
    user_id!("@irc_net_a:x")
}

const AS_GHOST: &str = "user_id=%40irc_net_a%3Ax";

fn raw(json: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(json).unwrap()
}

#[tokio::test]
async fn messages_carry_their_sender_time_and_transaction_id() {
    let fake = Fake::start().await;
    let content = RawValue::from_string(r#"{"body":"hi", "n":1.0}"#.to_owned()).unwrap();
    fake.answer(ok(&json!({ "event_id": "$e" })));
    let event =
        fake.client.send(room(), "m.room.message", "5-1a", &content, Some(ghost()), Some(1_700_000_000_123)).await;
    assert_eq!(event.unwrap(), "$e");
    let line = format!("PUT /_matrix/client/v3/rooms/!r:x/send/m.room.message/5-1a?ts=1700000000123&{AS_GHOST}");
    fake.saw(&line, &json!({ "body": "hi", "n": 1.0 }));

    fake.answer(ok(&json!({ "event_id": "$f" })));
    assert_eq!(fake.client.send(room(), "m.reaction", "6", &content, None, None).await.unwrap(), "$f");
    fake.saw("PUT /_matrix/client/v3/rooms/!r:x/send/m.reaction/6", &json!({ "body": "hi", "n": 1.0 }));

    // No time is better than one that the homeserver can't read.
    fake.answer(ok(&json!({ "event_id": "$g" })));
    fake.client.send(room(), "m.reaction", "7", &content, None, Some(-1)).await.unwrap();
    assert_eq!(fake.seen()[0].line, "PUT /_matrix/client/v3/rooms/!r:x/send/m.reaction/7");
}

#[tokio::test]
async fn every_part_of_a_path_arrives_as_it_was() {
    let fake = Fake::start().await;
    let hostile = r#"a/b\c%2Fd%e?f#g h"i<j>é{k}|^`"#;
    for _ in 0..4 {
        fake.answer(ok(&json!({ "event_id": "$e", "room_id": "!r:x", "servers": [] })));
    }
    let room = RoomId::parse(format!("!{hostile}")).unwrap();
    fake.client
        .send(&room, &format!("t{hostile}"), &format!("n{hostile}"), &raw(&json!({})), None, None)
        .await
        .unwrap();
    let alias = RoomAliasId::parse(format!("#{hostile}:x")).unwrap();
    fake.client.resolve_alias(&alias).await.unwrap();
    fake.client.join(<&RoomOrAliasId>::from(&*alias), None).await.unwrap();
    fake.client.send_state(&room, "t", hostile, &raw(&json!({})), None).await.unwrap();

    let decoded = |line: &str| -> Vec<String> {
        let path = line.split(['?', ' ']).nth(1).unwrap();
        path.split('/').map(percent_decode).collect()
    };
    let seen = fake.seen();
    let lines: Vec<_> = seen.iter().map(|seen| decoded(&seen.line)).collect();
    let (room, alias) = (room.to_string(), alias.to_string());
    let (kind, txn) = (format!("t{hostile}"), format!("n{hostile}"));
    assert_eq!(lines[0][4..], ["rooms", &room, "send", &kind, &txn]);
    assert_eq!(lines[1][4..], ["directory", "room", &alias]);
    assert_eq!(lines[2][4..], ["join", &alias]);
    assert_eq!(lines[3][4..], ["rooms", &room, "state", "t", hostile]);
    assert!(seen.iter().all(|seen| !seen.line.contains('?')), "{seen:?}");
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'%' {
            let (hex, tail) = tail.split_at(2);
            bytes.push(u8::from_str_radix(str::from_utf8(hex).unwrap(), 16).unwrap());
            rest = tail;
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn the_homeserver_may_live_below_a_path() {
    for suffix in ["", "/", "/hs", "/hs/", "/a/b//"] {
        let fake = Fake::at(suffix).await;
        fake.answer(ok(&json!({ "user_id": "@bot:x" })));
        fake.answer(ok(&json!({ "versions": ["v1.11", "v1.99"] })));
        fake.answer(ok(&json!({ "event_id": "$e" })));
        assert_eq!(fake.client.whoami().await.unwrap(), "@bot:x");
        assert_eq!(fake.client.versions().await.unwrap(), ["v1.11", "v1.99"]);
        fake.client.send(room(), "t", "1", &raw(&json!({})), Some(ghost()), None).await.unwrap();
        let base = suffix.trim_end_matches('/');
        let expected = [
            format!("GET {base}/_matrix/client/v3/account/whoami"),
            format!("GET {base}/_matrix/client/versions"),
            format!("PUT {base}/_matrix/client/v3/rooms/!r:x/send/t/1?{AS_GHOST}"),
        ];
        assert_eq!(fake.seen().into_iter().map(|seen| seen.line).collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn ghosts_are_registered_without_a_login_and_may_be_there_already() {
    let fake = Fake::start().await;
    let body = json!({ "username": "irc_net_a", "type": "m.login.application_service", "inhibit_login": true });
    fake.answer(ok(&json!({ "user_id": "@irc_net_a:x" })));
    fake.client.register("irc_net_a").await.unwrap();
    fake.saw("POST /_matrix/client/v3/register", &body);
    fake.answer(refuse(201, &json!({ "user_id": "@irc_net_a:x" })));
    fake.client.register("irc_net_a").await.unwrap();
    fake.answer(refuse(400, &json!({ "errcode": "M_USER_IN_USE", "error": "User ID already taken." })));
    fake.client.register("irc_net_a").await.unwrap();
    fake.answer(refuse(400, &json!({ "errcode": "M_EXCLUSIVE", "error": "not yours" })));
    let error = fake.client.register("irc_net_a").await.unwrap_err();
    assert_eq!(error.errcode(), Some("M_EXCLUSIVE"));
    fake.answer(refuse(401, &json!({ "session": "s", "flows": [], "params": {} })));
    assert!(matches!(fake.client.register("irc_net_a").await, Err(MatrixError::BadToken { .. })));
}

#[tokio::test]
async fn profiles_are_set_by_their_owner_and_read_by_the_bot() {
    let fake = Fake::start().await;
    fake.answer(ok(&json!({})));
    fake.client.set_display_name(ghost(), "alice").await.unwrap();
    let line = format!("PUT /_matrix/client/v3/profile/@irc_net_a:x/displayname?{AS_GHOST}");
    fake.saw(&line, &json!({ "displayname": "alice" }));

    fake.answer(ok(&json!({ "displayname": "Bob" })));
    assert_eq!(fake.client.display_name(user_id!("@bob:x")).await.unwrap().as_deref(), Some("Bob"));
    fake.saw("GET /_matrix/client/v3/profile/@bob:x/displayname", &Value::Null);
    for nameless in
        [ok(&json!({})), refuse(404, &json!({ "errcode": "M_NOT_FOUND", "error": "Profile was not found" }))]
    {
        fake.answer(nameless);
        assert_eq!(fake.client.display_name(user_id!("@bob:x")).await.unwrap(), None);
    }
}

#[tokio::test]
async fn members_come_and_go_as_who_they_are() {
    let fake = Fake::start().await;
    let (path, bob) = (format!("/_matrix/client/v3/rooms/{}", room()), user_id!("@bob:y"));
    fake.answer(ok(&json!({ "room_id": "!r:x" })));
    assert_eq!(fake.client.join(room().into(), Some(ghost())).await.unwrap(), "!r:x");
    fake.saw(&format!("POST /_matrix/client/v3/join/!r:x?{AS_GHOST}"), &json!({}));

    for _ in 0..7 {
        fake.answer(ok(&json!({})));
    }
    fake.client.invite(room(), bob, Some(ghost())).await.unwrap();
    fake.saw(&format!("POST {path}/invite?{AS_GHOST}"), &json!({ "user_id": "@bob:y" }));
    fake.client.leave(room(), Some(ghost()), Some("Quit: bye")).await.unwrap();
    fake.saw(&format!("POST {path}/leave?{AS_GHOST}"), &json!({ "reason": "Quit: bye" }));
    fake.client.leave(room(), None, None).await.unwrap();
    fake.saw(&format!("POST {path}/leave"), &json!({}));
    fake.client.kick(room(), bob, Some("spam"), Some(ghost())).await.unwrap();
    fake.saw(&format!("POST {path}/kick?{AS_GHOST}"), &json!({ "user_id": "@bob:y", "reason": "spam" }));
    fake.client.ban(room(), bob, None, None).await.unwrap();
    fake.saw(&format!("POST {path}/ban"), &json!({ "user_id": "@bob:y" }));
    fake.client.unban(room(), bob, Some("sorry"), None).await.unwrap();
    fake.saw(&format!("POST {path}/unban"), &json!({ "user_id": "@bob:y", "reason": "sorry" }));

    fake.seen();
    fake.script.answers.lock().unwrap().clear();
    fake.answer(ok(&json!({ "joined_rooms": ["!r:x", "!v12room"] })));
    assert_eq!(fake.client.joined_rooms(Some(ghost())).await.unwrap(), ["!r:x", "!v12room"]);
    fake.saw(&format!("GET /_matrix/client/v3/joined_rooms?{AS_GHOST}"), &Value::Null);

    fake.script.answers.lock().unwrap().clear();
    fake.answer(ok(&json!({ "aliases": ["#a:x"] })));
    assert_eq!(fake.client.local_aliases(room(), None).await.unwrap(), ["#a:x"]);
    fake.saw("GET /_matrix/client/v3/rooms/!r:x/aliases", &Value::Null);
}

#[tokio::test]
async fn history_is_read_backwards_page_by_page() {
    let fake = Fake::start().await;
    let event = json!({ "type": "m.room.message", "event_id": "$2", "content": { "odd": 1.0 } });
    fake.answer(ok(&json!({ "start": "a", "end": "b", "chunk": [event, "nonsense"] })));
    let page = fake.client.history(room(), None, Some(ghost())).await.unwrap();
    let events: Vec<&str> = page.events.iter().map(|event| event.get()).collect();
    assert_eq!((events, page.before.as_deref()), (vec![&*event.to_string(), "\"nonsense\""], Some("b")));
    fake.saw(&format!("GET /_matrix/client/v3/rooms/!r:x/messages?dir=b&limit=100&{AS_GHOST}"), &Value::Null);
    fake.script.answers.lock().unwrap().clear();
    fake.answer(ok(&json!({ "start": "b", "chunk": [] })));
    let page = fake.client.history(room(), Some("b"), Some(ghost())).await.unwrap();
    assert!(page.events.is_empty() && page.before.is_none());
    fake.saw(&format!("GET /_matrix/client/v3/rooms/!r:x/messages?from=b&dir=b&limit=100&{AS_GHOST}"), &Value::Null);
}

#[tokio::test]
async fn the_list_of_members_leaves_out_who_is_neither_in_nor_asked_in() {
    let fake = Fake::start().await;
    let event = |user: &str, content: Value| json!({ "type": "m.room.member", "state_key": user, "content": content });
    fake.answer(ok(&json!({ "chunk": [
        event("@a:x", json!({ "membership": "join", "displayname": "A" })),
        event("@b:x", json!({ "membership": "invite", "displayname": null })),
        event("@c:x", json!({ "membership": "ban", "displayname": "C" })),
        event("@d:x", json!({ "membership": "knock" })),
        event("@e:x", json!({ "membership": "join", "displayname": ["odd"] })),
        event("no user", json!({ "membership": "join" })),
        "nonsense",
    ] })));
    let member = |user: &str, name: Option<&str>, membership| Member {
        user: user.try_into().unwrap(),
        display_name: name.map(str::to_owned),
        membership,
    };
    let expected = [
        member("@a:x", Some("A"), Membership::Join),
        member("@b:x", None, Membership::Invite),
        member("@e:x", None, Membership::Join),
    ];
    assert_eq!(fake.client.members(room(), None).await.unwrap(), expected);
    fake.saw("GET /_matrix/client/v3/rooms/!r:x/members?not_membership=leave", &Value::Null);
}

#[tokio::test]
async fn state_is_set_and_read_as_it_is() {
    let fake = Fake::start().await;
    fake.answer(ok(&json!({ "event_id": "$s" })));
    let topic = raw(&json!({ "topic": "hello" }));
    assert_eq!(fake.client.send_state(room(), "m.room.topic", "", &topic, Some(ghost())).await.unwrap(), "$s");
    let line = format!("PUT /_matrix/client/v3/rooms/!r:x/state/m.room.topic/?{AS_GHOST}");
    fake.saw(&line, &json!({ "topic": "hello" }));

    fake.answer(r#"{"topic":"x", "n":1.0}"#);
    let state = fake.client.state(room(), "m.room.topic", "", None).await.unwrap();
    assert_eq!(state.unwrap().get(), r#"{"topic":"x", "n":1.0}"#);
    fake.saw("GET /_matrix/client/v3/rooms/!r:x/state/m.room.topic/", &Value::Null);
    fake.answer(refuse(404, &json!({ "errcode": "M_NOT_FOUND", "error": "Event not found." })));
    assert!(fake.client.state(room(), "m.room.topic", "", None).await.unwrap().is_none());
    fake.answer(refuse(403, &json!({ "errcode": "M_FORBIDDEN", "error": "not in room" })));
    fake.client.state(room(), "m.room.topic", "", None).await.unwrap_err();

    let _ = fake.seen();
    fake.answer(ok(&json!([{ "type": "m.x", "state_key": "", "content": {} }, 7])));
    let state = fake.client.room_state(room()).await.unwrap();
    assert_eq!((state.len(), state[1].get()), (2, "7"));
    fake.saw("GET /_matrix/client/v3/rooms/!r:x/state", &Value::Null);
    let create = |version: &str| json!({ "type": "m.room.create", "sender": "@a:x", "content": { "room_version": version, "additional_creators": ["@b:x"] } });
    for (answer, creators) in [
        (create("12"), vec!["@a:x", "@b:x"]),
        (create("11"), vec![]),
        (create("org.example"), vec![]),
        // A homeserver that knows only the content.
        (json!({ "room_version": "12" }), vec![]),
    ] {
        fake.answer(ok(&answer));
        assert_eq!(fake.client.creators(room()).await.unwrap(), creators);
        fake.saw("GET /_matrix/client/v3/rooms/!r:x/state/m.room.create/?format=event", &Value::Null);
    }
}

#[tokio::test]
async fn rooms_are_made_as_asked_and_never_listed() {
    let fake = Fake::start().await;
    fake.answer(ok(&json!({ "room_id": "!new" })));
    assert_eq!(fake.client.create_room(CreateRoom::default()).await.unwrap(), "!new");
    fake.saw("POST /_matrix/client/v3/createRoom", &json!({ "preset": "private_chat" }));

    fake.answer(ok(&json!({ "room_id": "!new:x" })));
    let room = CreateRoom {
        as_user: Some(ghost().to_owned()),
        name: Some("n".to_owned()),
        topic: Some("t".to_owned()),
        alias_localpart: Some("irc_net_#c".to_owned()),
        invite: vec![owned_user_id!("@bob:x")],
        is_direct: true,
        preset: Preset::Trusted,
        history_visibility: Some(HistoryVisibility::Joined),
        room_version: Some(RoomVersionId::V11),
        power_levels: Some(raw(&json!({ "users_default": 5 }))),
        federate: false,
        additional_creators: vec![owned_user_id!("@op:x")],
    };
    fake.client.create_room(room).await.unwrap();
    let body = json!({
        "preset": "trusted_private_chat", "name": "n", "topic": "t", "room_alias_name": "irc_net_#c",
        "invite": ["@bob:x"], "is_direct": true, "room_version": "11",
        "initial_state": [{
            "type": "m.room.history_visibility", "state_key": "", "content": { "history_visibility": "joined" },
        }],
        "power_level_content_override": { "users_default": 5 },
        "creation_content": { "m.federate": false, "additional_creators": ["@op:x"] },
    });
    fake.saw(&format!("POST /_matrix/client/v3/createRoom?{AS_GHOST}"), &body);
}

#[tokio::test]
async fn aliases_lead_to_a_room_or_nowhere() {
    let fake = Fake::start().await;
    let alias = RoomAliasId::parse("#irc_net_#c:x").unwrap();
    fake.answer(ok(&json!({ "room_id": "!r:x", "servers": ["x"] })));
    assert_eq!(fake.client.resolve_alias(&alias).await.unwrap().unwrap(), "!r:x");
    fake.saw("GET /_matrix/client/v3/directory/room/%23irc_net_%23c:x", &Value::Null);
    fake.answer(refuse(404, &json!({ "errcode": "M_NOT_FOUND", "error": "Room alias not found." })));
    assert_eq!(fake.client.resolve_alias(&alias).await.unwrap(), None);
    fake.answer((StatusCode::NOT_FOUND, "<html>"));
    assert!(matches!(fake.client.resolve_alias(&alias).await, Err(MatrixError::Unavailable { .. })));
}

#[tokio::test]
async fn r101_a_ping_goes_round_or_tells_why_not() {
    let fake = Fake::start().await;
    fake.answer(ok(&json!({ "duration_ms": 123 })));
    assert_eq!(fake.client.ping("t1").await.unwrap(), Duration::from_millis(123));
    fake.saw("POST /_matrix/client/v1/appservice/footbridge/ping", &json!({ "transaction_id": "t1" }));
    fake.answer(refuse(502, &json!({ "errcode": "M_BAD_STATUS", "error": "Ping returned status 401", "status": 401 })));
    let error = fake.client.ping("t2").await.unwrap_err();
    assert_eq!(error.errcode(), Some("M_BAD_STATUS"));
    let expected = format!(
        "could not have a ping for appservice `footbridge` sent back at {} for now: \
         the homeserver answered 502 (M_BAD_STATUS: Ping returned status 401)",
        fake.url
    );
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn errors_name_the_wish_the_user_and_the_homeserver() {
    let fake = Fake::start().await;
    fake.answer(refuse(403, &json!({ "errcode": "M_FORBIDDEN", "error": "You are not invited to this room." })));
    let error = fake.client.join(room().into(), Some(ghost())).await.unwrap_err();
    let expected = format!(
        "could not join !r:x as @irc_net_a:x at {}: \
         the homeserver forbids it (M_FORBIDDEN: You are not invited to this room.)",
        fake.url
    );
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn answers_that_are_not_the_homeservers_mean_later() {
    let fake = Fake::start().await;
    let html = "<html>maintenance</html>";
    let pause = |error: &MatrixError| match error {
        MatrixError::Unavailable { retry_after, .. } => *retry_after,
        other => panic!("{other}"),
    };
    // (answer, the pause it asks for)
    let answers: Vec<(Response, Option<Duration>)> = vec![
        ((StatusCode::BAD_GATEWAY, html).into_response(), None),
        (html.into_response(), None),
        ("".into_response(), None),
        (ok(&json!({ "status": "maintenance" })), None),
        (ok(&json!({ "event_id": "no id" })), None),
        ((StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "7")], html).into_response(), Some(Duration::from_secs(7))),
        ((StatusCode::MOVED_PERMANENTLY, [("location", "/elsewhere")]).into_response(), None),
        (
            refuse(429, &json!({ "errcode": "M_LIMIT_EXCEEDED", "error": "slow down", "retry_after_ms": 1500 })),
            Some(Duration::from_millis(1500)),
        ),
    ];
    for (answer, asked) in answers {
        fake.answer(answer);
        let error = fake.client.send(room(), "t", "1", &raw(&json!({})), None, None).await.unwrap_err();
        assert_eq!(pause(&error), asked, "{error}");
    }
    // The redirect wasn't followed: one request each.
    assert_eq!(fake.seen().len(), 8);
}

/// A captive portal, a maintenance page: whatever was asked, a page agrees to nothing.
#[tokio::test]
async fn a_page_is_no_agreement_to_anything() {
    type Asked<'a> = Pin<Box<dyn Future<Output = Result<(), MatrixError>> + Send + 'a>>;
    let fake = Fake::start().await;
    let (it, bob, alias, content) = (&fake.client, user_id!("@bob:x"), room_alias_id!("#a:x"), raw(&json!({})));
    let asked: Vec<Asked<'_>> = vec![
        it.register("irc_net_a"),
        it.set_display_name(ghost(), "a"),
        Box::pin(it.display_name(bob).map_ok(drop)),
        Box::pin(it.join(room().into(), None).map_ok(drop)),
        it.invite(room(), bob, None),
        it.leave(room(), None, None),
        it.kick(room(), bob, None, None),
        it.ban(room(), bob, None, None),
        it.unban(room(), bob, None, None),
        Box::pin(it.send(room(), "t", "1", &content, None, None).map_ok(drop)),
        Box::pin(it.send_state(room(), "t", "", &content, None).map_ok(drop)),
        Box::pin(it.state(room(), "t", "", None).map_ok(drop)),
        Box::pin(it.room_state(room()).map_ok(drop)),
        Box::pin(it.creators(room()).map_ok(drop)),
        Box::pin(it.members(room(), None).map_ok(drop)),
        Box::pin(it.create_room(CreateRoom::default()).map_ok(drop)),
        it.put_alias(alias, room()),
        Box::pin(it.resolve_alias(alias).map_ok(drop)),
        Box::pin(it.local_aliases(room(), None).map_ok(drop)),
        Box::pin(it.joined_rooms(None).map_ok(drop)),
        Box::pin(it.ping("1").map_ok(drop)),
        Box::pin(it.whoami().map_ok(drop)),
        Box::pin(it.versions().map_ok(drop)),
    ];
    for request in asked {
        fake.answer(Html("<html>\n<h1>Back soon</h1>"));
        let error = request.await.unwrap_err();
        assert!(matches!(error, MatrixError::Unavailable { errcode: None, .. }) && error.is_fault(), "{error}");
        let words =
            "status 200 and no Matrix JSON in the answer; is this a proxy? It begins: <html> <h1>Back soon</h1>";
        assert!(error.to_string().ends_with(words), "{error}");
        assert!(!error.words().contains("Back soon"), "a page is for operators");
    }
    for page in ["", " ", "null", "[]", "{", "{}{}", "true", "\"{}\""] {
        fake.answer(page);
        let error = it.kick(room(), bob, None, None).await.unwrap_err();
        assert!(matches!(error, MatrixError::Unavailable { .. }), "{page}: {error}");
    }
    for agreement in ["{}", " {}\r\n", r#"{"anything":[{}]}"#] {
        fake.answer(agreement);
        it.kick(room(), bob, None, None).await.unwrap();
    }
    // Of an answer in JSON that says something else too, it is shown how it begins.
    fake.answer(ok(&json!({ "status": "maintenance" })));
    let error = it.whoami().await.unwrap_err();
    assert!(error.to_string().ends_with(r#"It begins: {"status":"maintenance"}"#), "{error}");
}

/// Answers each connection with `bytes` once it has read a request, then closes it.
async fn raw_server(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4096];
            let _ = socket.read(&mut buffer).await;
            let _ = socket.write_all(bytes).await;
        }
    });
    url
}

#[tokio::test]
async fn broken_connections_mean_later_and_say_what_broke() {
    // Bound and not listening: nobody answers there, and nobody else is given the port meanwhile.
    let nobody = tokio::net::TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let table = [
        (format!("http://{}", nobody.local_addr().unwrap()), "refused"),
        (raw_server(b"").await, "closed"),
        (raw_server(b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{\"user_id\"").await, "body"),
        (raw_server(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"us").await, "body"),
        (raw_server(b"SSH-2.0-OpenSSH_9.2\r\n").await, "invalid HTTP"),
    ];
    for (url, word) in table {
        match client(&url).whoami().await {
            Err(error @ MatrixError::Unavailable { retry_after: None, errcode: None, .. }) => {
                assert!(error.to_string().contains(word), "{word}: {error}");
            }
            other => panic!("{word}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn addresses_and_tokens_that_can_not_work_are_refused_at_once() {
    let new = |url: &str, token: &str| {
        HomeserverClient::new(HomeserverSettings {
            url: url.to_owned(),
            as_token: token.to_owned(),
            appservice_id: "x".to_owned(),
        })
    };
    for url in ["", "example.org", "localhost:8008", "ftp://x", "http://", "http://x/?q", "unix:/run/hs.sock"] {
        let error = new(url, "t").unwrap_err();
        assert!(matches!(error, InvalidHomeserver::Url { .. }), "{url}");
        assert!(error.to_string().starts_with(&format!("homeserver.url: `{url}` ")), "{error}");
    }
    let error = new("http://anna:pa55@x", "t").unwrap_err().to_string();
    assert!(error.contains("user name or password") && !error.contains("pa55"), "{error}");
    for token in ["", "a b", "a\r\nb", "é"] {
        assert_eq!(new("http://x", token).unwrap_err(), InvalidHomeserver::Token);
    }
    let debug = format!("{:?}", new("https://x:8448/hs/", "s3cret").unwrap());
    assert!(debug.contains("https://x:8448/hs") && !debug.contains("s3cret"), "{debug}");
}

#[tokio::test]
async fn noise_waits_for_noise_and_messages_pass() {
    let fake = Fake::start().await;
    fake.script.gate.forget_permits(usize::MAX);
    for _ in 0..21 {
        fake.answer(ok(&json!({ "room_id": "!r:x", "event_id": "$e" })));
    }
    let noise = fake.client.noise();
    let joins: Vec<_> = (0..20)
        .map(|_| {
            let noise = noise.clone();
            tokio::spawn(async move { noise.join(room().into(), Some(ghost())).await })
        })
        .collect();
    let message = fake.client.clone();
    let message = tokio::spawn(async move {
        message.send(room(), "t", "1", &RawValue::from_string("{}".to_owned()).unwrap(), None, None).await
    });
    // The message arrives although no join is answered, and most joins are still waiting at home.
    while !fake.script.seen.lock().unwrap().iter().any(|seen| seen.line.contains("/send/")) {
        tokio::task::yield_now().await;
    }
    assert!(fake.seen().len() < 10);
    fake.script.gate.add_permits(21);
    message.await.unwrap().unwrap();
    for join in joins {
        join.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn r6_a_message_outlives_an_outage_under_one_transaction_id() {
    let fake = Fake::start().await;
    for _ in 0..5 {
        fake.answer((StatusCode::BAD_GATEWAY, "<html>"));
    }
    fake.answer(ok(&json!({ "event_id": "$e" })));
    let policy =
        RetryPolicy { first: Duration::from_millis(1), most: Duration::from_millis(2), ..RetryPolicy::default() };
    let client = fake.client.clone();
    // In a task: what persist makes must be `Send`.
    let sent = tokio::spawn(async move {
        let content = RawValue::from_string("{}".to_owned()).unwrap();
        let stop = CancellationToken::new();
        persist(policy, &stop, None, || client.send(room(), "t", "1", &content, Some(ghost()), Some(5))).await
    });
    assert_eq!(sent.await.unwrap().unwrap(), "$e");
    let seen = fake.seen();
    assert_eq!(seen.len(), 6);
    assert!(seen.iter().all(|try_| *try_ == seen[0]));
}
