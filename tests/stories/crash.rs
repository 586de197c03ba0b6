//! kill -9 at any moment: nothing lost, nothing twice, and what is in doubt is told. On both databases.

use std::time::Duration;

use axum::http::Method;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use sqlx::{PgPool, SqlitePool};

use super::world::{ALICE, BOT, DORA, Stage, TEA, World, assert_same};
use crate::support::{IrcdConfig, Network, Outage, homeserver::encode, process::POLL, real::Postgres, wait::DEADLINE};

/// How often the bridge is killed in a story.
const KILLS: usize = 12;
/// How many messages each side sends for each kill.
const BURST: usize = 30;

/// The bridge's database, as somebody else may look into it.
enum Database {
    Sqlite,
    Postgres(String),
}

impl Database {
    fn postgres() -> Self {
        Self::Postgres(Postgres::shared().create_database())
    }

    /// The scene with the plumb's room by its id on one engine, and by an alias, which is looked up at each start, on the other.
    async fn world(&self, ircd: IrcdConfig) -> World {
        let stage = Stage::set(ircd).await;
        let bridge = match self {
            Self::Sqlite => stage.bridge().network(stage.network()),
            Self::Postgres(url) => {
                let path = format!("/_matrix/client/v3/directory/room/{}", encode("#tea:hs.test"));
                stage.alice.request(Method::PUT, &path, json!({ "room_id": stage.room })).await;
                let network = Network::new("net", stage.ircd.address()).plumb(TEA, "#tea:hs.test");
                stage.bridge().network(network).database(url)
            }
        };
        stage.start(bridge).await
    }

    /// Waits until all that Dora said is recorded as arrived, and its text erased.
    async fn all_of_dora_settled(&self, world: &World) {
        let all_settled = async {
            while !self.accepted_of_dora(world).await.is_empty() {
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(DEADLINE, all_settled).await.expect("what has arrived is settled, and its text erased");
    }

    /// Waits until so many lines of Dora are accepted, while the homeserver is away.
    async fn accepts_of_dora(&self, world: &World, lines: usize) {
        let all_accepted = async {
            while self.accepted_of_dora(world).await.len() < lines {
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(DEADLINE, all_accepted).await.expect("the bridge accepts what IRC says");
    }

    /// Changes it behind the bridge's back.
    async fn sql(&self, world: &World, sql: &'static str) {
        match self {
            Self::Sqlite => {
                let file = format!("sqlite://{}", world.bridge.folder().join("footbridge.db").display());
                let pool = SqlitePool::connect(&file).await.expect("the bridge's database opens");
                sqlx::query(sql).execute(&pool).await.expect("it can be changed");
                pool.close().await;
            }
            Self::Postgres(url) => {
                let pool = PgPool::connect(url).await.expect("the bridge's database opens");
                sqlx::query(sql).execute(&pool).await.expect("it can be changed");
                pool.close().await;
            }
        }
    }

    /// How many lines of IRC it has accepted, ever.
    async fn lines_of_irc(&self, world: &World) -> usize {
        let count = self.query(world, "SELECT CAST(count(*) AS TEXT) FROM journal_lines").await;
        count[0].parse().expect("a number")
    }

    /// The one column of these rows.
    async fn query(&self, world: &World, sql: &'static str) -> Vec<String> {
        let rows: Vec<(String,)> = match self {
            Self::Sqlite => {
                let file = format!("sqlite://{}", world.bridge.folder().join("footbridge.db").display());
                let pool = SqlitePool::connect(&file).await.expect("the bridge's database opens");
                let rows = sqlx::query_as(sql).fetch_all(&pool).await.expect("there are rows");
                pool.close().await;
                rows
            }
            Self::Postgres(url) => {
                let pool = PgPool::connect(url).await.expect("the bridge's database opens");
                let rows = sqlx::query_as(sql).fetch_all(&pool).await.expect("there are rows");
                pool.close().await;
                rows
            }
        };
        rows.into_iter().map(|(column,)| column).collect()
    }

    /// What Dora said that the bridge has accepted and the homeserver has not got, in order.
    async fn accepted_of_dora(&self, world: &World) -> Vec<String> {
        const SQL: &str = "SELECT body FROM journal_lines WHERE settled_at IS NULL AND body IS NOT NULL ORDER BY n";
        let bodies = self.query(world, SQL).await;
        let said = bodies.iter().map(|body| serde_json::from_str::<Value>(body).expect("a line is JSON"));
        let by_dora = said.filter(|line| line["text"]["source"]["nick"] == "dora");
        by_dora.map(|line| line["text"]["text"].as_str().expect("what was said").to_owned()).collect()
    }
}

macro_rules! on_both_databases {
    ($($story:ident),* $(,)?) => {
        mod sqlite {
            use super::Database;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                super::$story(Database::Sqlite).await;
            })*
        }
        mod postgres {
            use super::Database;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                super::$story(Database::postgres()).await;
            })*
        }
    };
}

on_both_databases!(
    r5_killed_at_random_with_labels,
    r5_killed_at_random_without_capabilities,
    what_was_accepted_from_irc_survives,
    what_was_accepted_from_matrix_survives,
    what_was_accepted_of_a_puppets_namesake_survives,
    r1_what_two_links_tell_is_accepted_once,
    what_ended_shortly_before_a_crash_is_over_after_it,
);

async fn r5_killed_at_random_with_labels(database: Database) {
    killed_at_random(database, IrcdConfig::modern(), 1).await;
}

async fn r5_killed_at_random_without_capabilities(database: Database) {
    killed_at_random(database, IrcdConfig::default(), 2).await;
}

/// Both sides talk; the bridge is killed again and again, somewhere in the middle.
async fn killed_at_random(database: Database, ircd: IrcdConfig, seed: u64) {
    let mut world = database.world(ircd).await;
    let mut random = StdRng::seed_from_u64(seed);
    let (mut from_alice, mut from_dora) = (Vec::new(), Vec::new());
    for round in 0..KILLS {
        world.alice.say(&world.room, &format!("round {round}")).await;
        world.dora.expect(&format!("round {round}"), |line| line.text() == format!("round {round}")).await;
        let said: Vec<String> = (0..BURST).map(|n| format!("dora {round}.{n}")).collect();
        // The moment is the test's own choice: somewhere in the burst, with the rest still to come.
        let last = random.random_range(0..BURST);
        for (n, line) in said.iter().enumerate() {
            let text = format!("alice {round}.{n}");
            from_alice.push((world.alice.say(&world.room, &text).await, text));
            world.dora.say(TEA, line).await;
            tokio::time::sleep(Duration::from_micros(random.random_range(0..500))).await;
            if n == last {
                world.bridge.kill();
            }
        }
        let accepted = database.accepted_of_dora(&world).await;
        assert!(
            accepted.iter().all(|line| from_dora.iter().flatten().chain(&said).any(|said| said == line)),
            "{accepted:?}"
        );
        from_dora.push(said);
        world.bridge.restart().await;
        world.ircd.expect_on_channel(BOT, TEA).await;
        for line in &accepted {
            world.alice.expect_message(&world.room, |from| from == DORA, line).await;
        }
    }
    end(&world).await;

    let read = world.homeserver.messages(&world.room);
    for (round, said) in from_dora.iter().enumerate() {
        // What the bridge had heard when it was killed is a beginning of what was said: no hole, nothing twice, in order.
        let read: Vec<String> = read.iter().filter(|body| said.contains(body)).cloned().collect();
        assert_same(&read, &said[..read.len()]);
        println!("round {round}: {} of {BURST} lines of IRC were accepted", read.len());
    }
    let told = world.told();
    let mut in_doubt = 0;
    for (event, text) in &from_alice {
        let (heard, words) = (world.heard(text), told.iter().find(|(told, _)| told == event).map(|(_, words)| words));
        assert!(heard <= 1, "{text} was said {heard} times");
        assert_eq!(world.read(text), 1, "{text} came back");
        match words {
            None => assert_eq!(heard, 1, "{text} is lost without a word"),
            Some(words) => {
                in_doubt += 1;
                assert!(words.contains("isn't certain"), "{text}: {words}");
            }
        }
    }
    assert!(in_doubt < from_alice.len(), "everything was told as uncertain");
    println!("{in_doubt} of {} messages were told as uncertain", from_alice.len());
    let heard: Vec<String> =
        world.dora.texts(TEA).into_iter().map(|(_, text)| text).filter(|text| text.starts_with("alice ")).collect();
    let in_order: Vec<String> =
        from_alice.iter().map(|(_, text)| text.clone()).filter(|text| heard.contains(text)).collect();
    assert_same(&heard, &in_order);
}

/// Waits until what was taken up by the last start has gone both ways.
async fn end(world: &World) {
    world.alice.say(&world.room, "the end").await;
    world.dora.expect("the end", |line| line.text() == "the end").await;
    world.dora.say(TEA, "the end of dora").await;
    world.alice.expect_message(&world.room, |from| from == DORA, "the end of dora").await;
}

/// The homeserver is away, the bridge takes what IRC says, and dies; then it comes back, twice.
async fn what_was_accepted_from_irc_survives(database: Database) {
    const LINES: usize = 100;
    let mut world = database.world(IrcdConfig::modern()).await;
    world.settle("start").await;
    database.all_of_dora_settled(&world).await;
    world.homeserver.outage(Outage::BadGateway);
    let said: Vec<String> = (0..LINES).map(|n| format!("line {n}")).collect();
    for line in &said {
        world.dora.say(TEA, line).await;
    }
    database.accepts_of_dora(&world, LINES).await;
    world.bridge.kill();
    assert_same(&database.accepted_of_dora(&world).await, &said);
    // The next life may die in the middle of telling it.
    world.homeserver.outage(None);
    world.bridge.spawn();
    world.alice.expect_message(&world.room, |from| from == DORA, &said[LINES / 3]).await;
    world.bridge.kill();
    world.bridge.restart().await;
    world.ircd.expect_on_channel(BOT, TEA).await;
    end(&world).await;
    let read: Vec<String> =
        world.homeserver.messages(&world.room).into_iter().filter(|body| said.contains(body)).collect();
    assert_same(&read, &said);
    database.all_of_dora_settled(&world).await;
}

/// The bot's link ends, its standby tells what it has heard, and the bridge dies before it knows what became of that: what
/// the bot had told is in the journal once.
async fn r1_what_two_links_tell_is_accepted_once(database: Database) {
    let mut world = database.world(IrcdConfig::modern()).await;
    world.alice_speaks().await;
    world.settle("start").await;
    let said: Vec<String> = (0..50).map(|n| format!("line {n}")).collect();
    for line in &said {
        world.dora.say(TEA, line).await;
    }
    world.settle("all heard").await;
    let lines = database.lines_of_irc(&world).await;
    world.ircd.cut(BOT);
    world.dora.say(TEA, "without the bot").await;
    world.alice.expect_message(&world.room, |from| from == DORA, "without the bot").await;
    world.bridge.kill();
    assert_eq!(database.lines_of_irc(&world).await, lines + 1);
    world.bridge.restart().await;
    world.ircd.expect_on_channel(BOT, TEA).await;
    end(&world).await;
    let read: Vec<String> =
        world.homeserver.messages(&world.room).into_iter().filter(|body| said.contains(body)).collect();
    assert_same(&read, &said);
    assert_eq!(world.read("without the bot"), 1);
}

/// The same person on both sides, with the same user name: what she says on IRC isn't her puppet's.
async fn what_was_accepted_of_a_puppets_namesake_survives(database: Database) {
    let mut world = database.world(IrcdConfig::modern()).await;
    world.homeserver.user("dora").join(&world.room).await;
    world.ircd.expect_on_channel("dora[m]", TEA).await;
    world.settle("start").await;
    world.homeserver.outage(Outage::BadGateway);
    let said: Vec<String> = (0..5).map(|n| format!("line {n}")).collect();
    for line in &said {
        world.dora.say(TEA, line).await;
    }
    database.accepts_of_dora(&world, said.len()).await;
    world.bridge.kill();
    world.homeserver.outage(None);
    world.bridge.restart().await;
    world.ircd.expect_on_channel(BOT, TEA).await;
    end(&world).await;
    let read: Vec<String> =
        world.homeserver.messages(&world.room).into_iter().filter(|body| said.contains(body)).collect();
    assert_same(&read, &said);
}

/// IRC is away, the bridge takes what Matrix says, and dies; then it comes back.
/// Waits until the bridge has logged these words so many times.
async fn expect_logged(world: &World, words: &str, times: usize) {
    let logged = async {
        while world.bridge.log().matches(words).count() < times {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(DEADLINE, logged).await.unwrap_or_else(|_| panic!("never logged {times} times: {words}"));
}

async fn what_was_accepted_from_matrix_survives(database: Database) {
    let mut world = database.world(IrcdConfig::modern()).await;
    world.settle("start").await;
    world.ircd.stop().await;
    // What is said before the bridge knows is in doubt.
    expect_logged(&world, "not on the network", ["the bot", "alice's puppet"].len()).await;
    let said: Vec<String> = (0..250).map(|n| format!("message {n}")).collect();
    let mut events = Vec::new();
    for text in &said {
        events.push(world.alice.say(&world.room, text).await);
    }
    world.homeserver.wait_pushed().await;
    world.bridge.kill();
    world.ircd.start_again().await;
    let dora = world.ircd.client("dora").await;
    dora.join(TEA).await;
    world.bridge.restart().await;
    dora.expect("the last message", |line| line.text() == said[said.len() - 1]).await;
    // What the homeserver pushes again is known.
    let pushed: Vec<_> =
        world.homeserver.timeline(&world.room).into_iter().filter(|event| events.contains(&event.event_id)).collect();
    assert_eq!(world.homeserver.replay_events_under_new_txn(&pushed).await, Some(200));
    world.alice.say(&world.room, "the end").await;
    dora.expect("the end", |line| line.text() == "the end").await;
    let heard: Vec<String> =
        dora.texts(TEA).into_iter().map(|(_, text)| text).filter(|text| said.contains(text)).collect();
    assert_same(&heard, &said);
    assert!(!world.told().iter().any(|(event, _)| events.contains(event)), "none of it was in doubt");
}

/// The database goes away for a while: nothing is accepted that couldn't be kept, nothing is lost, and all goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_goes_away_loses_nothing() {
    let postgres = Postgres::start();
    let database = Database::Postgres(postgres.create_database());
    let world = database.world(IrcdConfig::modern()).await;
    world.settle("start").await;
    postgres.stop();
    let message = world.alice.say(&world.room, "into the void").await;
    // The connection that died may be told of first.
    let words = |body: &Value| body["database"].as_str().unwrap_or_default().to_owned();
    let is_told = |body: &Value| words(body).contains("is PostgreSQL running");
    let (status, body) = super::operator::health_when(&world, |_, body| is_told(body)).await;
    assert_eq!((status, &body["healthy"]), (503, &Value::Bool(false)));
    assert!(!words(&body).contains("127.0.0.1"), "{body}");
    assert_eq!(world.heard("into the void"), 0, "what isn't kept isn't acted on");
    assert!(world.told().iter().all(|(event, _)| *event != message), "the homeserver still has it: nothing has failed");
    postgres.start_again();
    world.dora.expect_text(TEA, |from| from == ALICE, "into the void").await;
    world.settle("all goes on").await;
    assert_eq!(world.heard("into the void"), 1);
}

/// A room is made while it can't be kept: it is kept as soon as can be, and is the room after a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_made_while_the_database_is_away_is_known_after_a_restart() {
    let mut world = World::new(IrcdConfig::modern()).await;
    world.alice_speaks().await;
    let file = format!("sqlite://{}", world.bridge.folder().join("footbridge.db").display());
    let database = SqlitePool::connect(&file).await.expect("the bridge's database opens");
    sqlx::query("ALTER TABLE queries RENAME TO queries_away").execute(&database).await.unwrap();
    world.dora.say(ALICE, "psst").await;
    let room = world.alice.expect_invite(|from| from == DORA).await;
    world.alice.join(&room).await;
    expect_logged(&world, "the database is away", 1).await;
    world.settle("nobody else waits").await;
    sqlx::query("ALTER TABLE queries_away RENAME TO queries").execute(&database).await.unwrap();
    database.close().await;
    world.alice.expect_message(&room, |from| from == DORA, "psst").await;
    world.bridge.kill();
    world.bridge.restart().await;
    world.ircd.expect_on_channel(ALICE, TEA).await;
    world.dora.say(ALICE, "the same room").await;
    world.alice.expect_message(&room, |from| from == DORA, "the same room").await;
}

/// Whether the bridge lives on or not: where the room's making was answered by nobody, the room is found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_whose_making_was_not_answered_is_one_room() {
    for dies in [false, true] {
        let mut world = World::new(IrcdConfig::modern()).await;
        world.alice_speaks().await;
        world.homeserver.outage(Outage::LosesAnswersAt("createRoom"));
        world.dora.say(ALICE, "psst").await;
        let room = world.alice.expect_invite(|from| from == DORA).await;
        if dies {
            world.bridge.kill();
            world.bridge.restart().await;
        }
        world.alice.join(&room).await;
        world.alice.expect_message(&room, |from| from == DORA, "psst").await;
        world.dora.say(ALICE, "are you there?").await;
        world.alice.expect_message(&room, |from| from == DORA, "are you there?").await;
        world.alice.say(&room, "I am").await;
        world.dora.expect_text("dora", |from| from == ALICE, "I am").await;
        let made = world.homeserver.state().rooms.values().filter(|room| room.is_joined(DORA)).count();
        assert_eq!(made, 2, "that of the channel, and one query (killed: {dies})");
    }
}

/// The database takes what happens and not yet what follows from it, and then the bridge is killed: it follows all the same.
async fn what_ended_shortly_before_a_crash_is_over_after_it(database: Database) {
    let mut world = database.world(IrcdConfig::modern()).await;
    world.alice_speaks().await;
    world.dora.say(ALICE, "hello").await;
    let query = world.alice.expect_invite(|from| from == DORA).await;
    world.alice.join(&query).await;
    world.alice.expect_message(&query, |from| from == DORA, "hello").await;
    database.sql(&world, "ALTER TABLE queries RENAME TO away").await;
    world.alice.leave(&query).await;
    world.homeserver.expect_membership(&query, DORA, "leave").await;
    world.settle("everything else goes on").await;
    world.bridge.kill();
    world.ircd.expect_gone(ALICE).await;
    database.sql(&world, "ALTER TABLE away RENAME TO queries").await;
    world.bridge.restart().await;
    world.ircd.expect_on_channel(ALICE, TEA).await;

    world.dora.say(ALICE, "are you still there?").await;
    let room = world.homeserver.wait_until("another room", |state| {
        let mut rooms = state.rooms.iter().filter(|(id, _)| **id != query);
        rooms
            .find(|(_, room)| room.timeline.iter().any(|event| event.body() == "are you still there?"))
            .map(|(id, _)| id.clone())
    });
    world.alice.join(&room.await).await;
}
