//! What each kind of answer means, and what is made of a homeserver that gives none: errors, retries, patience.

use std::{pin::Pin, time::Duration};

use axum::response::{Html, IntoResponse, Response};
use footbridge::matrix::{
    CreateRoom, HomeserverClient, HomeserverSettings, InvalidHomeserver, MatrixApi, MatrixError, RetryPolicy, persist,
};
use futures_util::TryFutureExt as _;
use http::StatusCode;
use ruma::{room_alias_id, user_id};
use serde_json::{json, value::RawValue};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_util::sync::CancellationToken;

use crate::fake::{Fake, client, ghost, ok, raw, refuse, room};

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
        Box::pin(it.creators(room(), None).map_ok(drop)),
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
