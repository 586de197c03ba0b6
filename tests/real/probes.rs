//! What the homeserver makes of the events by which the bridge finds out whether it works.

use axum::http::Method;
use serde_json::{Value, json};

use crate::{
    support::{MatrixUser, matrix_user::RequestError},
    town::{Kind, Town},
};

/// Sends a probe as the bridge does.
async fn probe(bot: &MatrixUser, room: &str, number: u32) -> Result<Value, RequestError> {
    let path = format!("/_matrix/client/v3/rooms/{room}/send/footbridge.probe/{number}");
    bot.try_request(Method::PUT, &path, json!({})).await
}

/// How much in the room wants the user's attention. The homeserver gives the same answer to the same question for a while.
async fn unread(user: &MatrixUser, room: &str, question: u32) -> (Value, Value) {
    let path = format!("/_matrix/client/v3/sync?timeout={question}");
    let sync = user.request(Method::GET, &path, Value::Null).await;
    let counts = &sync["rooms"]["join"][room]["unread_notifications"];
    (counts["notification_count"].clone(), counts["highlight_count"].clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_wants_nobodys_attention_and_is_refused_where_the_bot_has_no_say() {
    let town = Town::new(Kind::NgIrcd);
    let (alice, bot) = (town.person("alice").await, town.bot_itself());
    // Most attention is due where there are but two.
    let room = alice.create_room(json!({ "preset": "public_chat" })).await;
    bot.join(&room).await;
    probe(&bot, &room, 1).await.unwrap();
    let seen = alice.wait_for(&room, "the probe", |timeline| {
        timeline.iter().find(|event| event.kind == "footbridge.probe").cloned()
    });
    seen.await;
    assert_eq!(unread(&alice, &room, 1).await, (json!(0), json!(0)));
    bot.say(&room, "this is for you").await;
    alice.expect_message(&room, |sender| sender == town.bot(), "this is for you").await;
    assert_eq!(unread(&alice, &room, 2).await, (json!(1), json!(0)), "what is said is counted");

    let levels = json!({ "events_default": 50, "events": { "m.room.message": 0 } });
    let quiet = json!({ "preset": "public_chat", "power_level_content_override": levels });
    let (quiet, foreign) = (alice.create_room(quiet).await, alice.create_room(json!({})).await);
    bot.join(&quiet).await;
    bot.say(&quiet, "I may speak").await;
    for (number, room) in [(2, quiet), (3, foreign)] {
        let refused = probe(&bot, &room, number).await.unwrap_err();
        assert_eq!((refused.status, &*refused.errcode), (403, "M_FORBIDDEN"), "{refused}");
    }
}
