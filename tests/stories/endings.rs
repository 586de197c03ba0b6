//! How the bridge ends where nobody asked it to, or where something holds it up.

use sqlx::PgPool;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::world::{ALICE, BOT, Stage, TEA};
use crate::support::{IrcdConfig, real::Postgres};

/// Lets the bridge's connection that writes break, and another bridge have had the database before the next one.
async fn take_over(database: &str) {
    let database = PgPool::connect(database).await.expect("the bridge's database opens");
    let here = "database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    for sql in [
        "UPDATE boots SET number = number + 1".to_owned(),
        format!("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND {here}"),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&database).await.expect("it is the owner who asks");
    }
    database.close().await;
}

/// The bridge's database is another's now: it ends, and says so on every link and in its log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_lost_the_database_says_goodbye_on_every_link() {
    let database = Postgres::shared().create_database();
    let stage = Stage::set(IrcdConfig::modern()).await;
    let bridge = stage.bridge().network(stage.network()).database(&database);
    let mut world = stage.start(bridge).await;
    world.alice_speaks().await;
    world.settle("before").await;
    take_over(&database).await;
    world.dora.say(TEA, "anybody there?").await;
    assert_eq!(world.bridge.ended().await.code(), Some(1));
    for nick in [BOT, ALICE] {
        let quit = world.dora.expect("the QUIT", |line| line.is("QUIT") && line.nick() == nick).await;
        assert!(quit.text().contains("The bridge is stopping"), "{quit}");
    }
    assert!(world.bridge.log().contains("the journal has ended, and the bridge with it"));
}

/// Nobody is waited for who has begun to send something and never ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_half_sent_holds_up_no_stop() {
    let stage = Stage::set(IrcdConfig::modern()).await;
    let registration = stage.registration.clone();
    let bridge = stage.bridge().network(stage.network());
    let mut world = stage.start(bridge).await;
    world.alice_speaks().await;
    let mut halves = Vec::new();
    for half in [
        "GET /hea".to_owned(),
        format!(
            "PUT /_matrix/app/v1/transactions/half HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{\"events\": [",
            registration.hs_token
        ),
    ] {
        let mut connection = TcpStream::connect(("127.0.0.1", registration.port())).await.expect("the bridge listens");
        connection.write_all(half.as_bytes()).await.expect("the bridge reads");
        halves.push(connection);
    }
    // The bridge has read them when it has answered what came after.
    assert_eq!(world.bridge.health().await, Some(200));
    assert_eq!(world.bridge.terminate().await.code(), Some(0));
    let log = world.bridge.log();
    assert!(log.contains("stopped") && !log.contains("still holds the journal"), "{log}");
    world.dora.expect("the QUIT", |line| line.is("QUIT") && line.nick() == BOT).await;
}
