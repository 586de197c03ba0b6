//! What each call puts on the wire, and what it reads from the answer.

use std::time::Duration;

use footbridge::matrix::{CreateRoom, MatrixApi, MatrixError, Member, Membership, Preset};
use http::StatusCode;
use ruma::{
    RoomAliasId, RoomId, RoomOrAliasId, RoomVersionId, events::room::history_visibility::HistoryVisibility,
    owned_user_id, user_id,
};
use serde_json::{Value, json, value::RawValue};

use crate::fake::{AS_GHOST, Fake, ghost, ok, raw, refuse, room};

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
    let event = json!({ "type": "m.bridge", "state_key": "k", "content": { "odd": 1.0 } });
    fake.answer(ok(&json!([event])));
    let state = fake.client.all_state(room(), None).await.unwrap();
    assert_eq!(state.iter().map(|event| event.get()).collect::<Vec<_>>(), [event.to_string()]);
    fake.saw("GET /_matrix/client/v3/rooms/!r:x/state", &Value::Null);
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
async fn creators_are_those_who_may_not_be_named_in_the_power_levels() {
    let fake = Fake::start().await;
    let new = json!({ "room_version": "12", "additional_creators": ["@b:x"] });
    for (content, expected) in [
        (new, &["@root:x", "@b:x"][..]),
        (json!({ "room_version": "11" }), &[]),
        (json!({}), &[]),
        (json!({ "room_version": "org.example.new" }), &[]),
    ] {
        fake.script.answers.lock().unwrap().clear();
        fake.answer(ok(&json!({ "type": "m.room.create", "sender": "@root:x", "state_key": "", "content": content })));
        assert_eq!(fake.client.creators(room(), Some(ghost())).await.unwrap(), expected, "{content}");
        fake.saw(
            &format!("GET /_matrix/client/v3/rooms/!r:x/state/m.room.create/?format=event&{AS_GHOST}"),
            &Value::Null,
        );
    }
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
        invite: vec![owned_user_id!("@bob:x")],
        is_direct: true,
        preset: Preset::Trusted,
        history_visibility: Some(HistoryVisibility::Joined),
        room_version: Some(RoomVersionId::V11),
        power_levels: Some(raw(&json!({ "users_default": 5 }))),
        federate: false,
        additional_creators: vec![owned_user_id!("@op:x")],
        mark: Some(("footbridge.query", "@bob:x".to_owned())),
    };
    fake.client.create_room(room).await.unwrap();
    let body = json!({
        "preset": "trusted_private_chat", "name": "n", "topic": "t",
        "invite": ["@bob:x"], "is_direct": true, "room_version": "11",
        "initial_state": [{
            "type": "m.room.history_visibility", "state_key": "", "content": { "history_visibility": "joined" },
        }],
        "power_level_content_override": { "users_default": 5 },
        "creation_content": { "m.federate": false, "additional_creators": ["@op:x"], "footbridge.query": "@bob:x" },
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
    fake.seen();
    fake.answer(ok(&json!({})));
    fake.client.remove_alias(&alias).await.unwrap();
    fake.saw("DELETE /_matrix/client/v3/directory/room/%23irc_net_%23c:x", &json!({}));
    fake.answer(refuse(404, &json!({ "errcode": "M_NOT_FOUND", "error": "Unknown room alias." })));
    fake.client.remove_alias(&alias).await.unwrap();
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
