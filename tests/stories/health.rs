//! `GET /health` names what isn't well, whatever hangs or can't be written, and nothing of where things are.

use std::time::Duration;

use futures_util::future::join_all;
use sqlx::{Connection as _, Executor as _, SqliteConnection};

use super::{
    operator::{health_of, health_when},
    world::World,
};
use crate::support::{IrcdConfig, Outage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_homeserver_that_hangs_is_named() {
    let world = World::new(IrcdConfig::modern()).await;
    world.homeserver.outage(Outage::Latency(Duration::from_hours(1)));
    // Everybody who asks hears it, also side by side.
    for (status, body) in join_all((0..5).map(|_| health_of(&world.bridge, |status, _| status == 503))).await {
        assert_eq!(status, 503);
        let words = body["homeserver"].as_str().unwrap_or_else(|| panic!("it isn't said what hangs: {body}"));
        assert!(words.contains("did not answer"), "{body}");
        assert_eq!((&body["database"], &body["networks"]["net"]), (&"ok".into(), &"ok".into()));
        assert!(!body.to_string().contains("127.0.0.1"), "{body}");
    }
}

/// Somebody holds the database's lock: it can be read, and nothing can be accepted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_can_only_be_read_is_named() {
    let world = World::new(IrcdConfig::modern()).await;
    world.settle("start").await;
    let file = format!("sqlite://{}", world.bridge.folder().join("footbridge.db").display());
    let mut other = SqliteConnection::connect(&file).await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    world.alice.say(&world.room, "wait for me").await;
    let (_, body) = health_when(&world, |status, body| status == 503 && body["database"] != "ok").await;
    assert!(body["database"].as_str().is_some_and(|words| words.contains("locked")), "{body}");
    assert_eq!(body["homeserver"], "ok");
    other.execute("ROLLBACK").await.unwrap();
    world.settle("it goes on").await;
    health_when(&world, |status, _| status == 200).await;
}
