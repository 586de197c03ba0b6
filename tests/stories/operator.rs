//! What the operator meets: the commands, their exit codes and words, the health page, and the end.

use serde_json::{Value, json};

use super::world::{ALICE, BOT, Stage, TEA, World, on_both_kinds_of_server};
use crate::support::{
    Bridge, IrcdConfig, Network, Outage, Registration,
    bridge::BridgeBuilder,
    process::{POLL, free_port},
    real::{Postgres, postgres::PASSWORD},
    wait::DEADLINE,
};

on_both_kinds_of_server!(sigterm_says_goodbye_on_every_link, health_says_which_network_is_away);

/// Asks `/health` until it answers so.
pub async fn health_when(world: &World, is: impl Fn(u16, &Value) -> bool) -> (u16, Value) {
    health_of(&world.bridge, is).await
}

pub async fn health_of(bridge: &Bridge, is: impl Fn(u16, &Value) -> bool) -> (u16, Value) {
    let config = std::fs::read_to_string(bridge.config_file()).expect("the configuration can be read");
    let config: toml::Value = toml::from_str(&config).expect("it is TOML");
    let url = format!("{}/health", config["appservice"]["url"].as_str().expect("there is a URL"));
    let http = crate::support::tls::http_client();
    let last = std::sync::Mutex::new(Value::Null);
    let asked = async {
        loop {
            if let Ok(response) = http.get(&url).send().await {
                let (status, body) = (response.status().as_u16(), response.json::<Value>().await.expect("it is JSON"));
                if is(status, &body) {
                    return (status, body);
                }
                *last.lock().expect("nobody panics in here") = body;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    let answer = tokio::time::timeout(DEADLINE, asked).await;
    answer.unwrap_or_else(|_| panic!("/health doesn't say it; it says {}", last.lock().expect("nobody panics in here")))
}

async fn sigterm_says_goodbye_on_every_link(ircd: IrcdConfig) {
    let mut world = World::new(ircd).await;
    let bob = world.homeserver.user("bob");
    bob.join(&world.room).await;
    world.ircd.expect_on_channel("bob[m]", TEA).await;
    world.alice_speaks().await;
    world.settle("end").await;
    assert_eq!(world.bridge.terminate().await.code(), Some(0));
    for nick in [BOT, ALICE, "bob[m]"] {
        let last = world.ircd.lines_from(nick).pop().expect("it said something");
        assert_eq!(last, "QUIT :The bridge is stopping", "{nick}");
        let quit = world.dora.expect("the QUIT", |line| line.is("QUIT") && line.nick() == nick).await;
        assert!(quit.text().contains("The bridge is stopping"), "{quit}");
    }
    let log = world.bridge.log();
    assert!(!log.contains("still holds the journal"), "nothing of the bridge is left to be waited for:\n{log}");
}

async fn health_says_which_network_is_away(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    let (_, body) = health_when(&world, |status, _| status == 200).await;
    assert_eq!(body["networks"], json!({ "net": "ok" }));
    world.ircd.stop().await;
    let (_, body) = health_when(&world, |status, _| status == 503).await;
    assert_ne!(body["networks"]["net"], "ok");
    assert_eq!((&body["healthy"], &body["database"]), (&json!(false), &json!("ok")));
    world.ircd.start_again().await;
    health_when(&world, |status, _| status == 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_says_that_the_homeserver_is_away() {
    let stage = Stage::set(IrcdConfig::modern()).await;
    stage.homeserver.outage(Outage::BadGateway);
    let mut bridge = stage.bridge().network(stage.network()).prepare();
    bridge.spawn();
    let (status, body) = health_of(&bridge, |_, body| body["networks"]["net"] == "ok").await;
    assert_eq!(status, 503);
    assert_ne!(body["homeserver"], "ok");
    stage.homeserver.outage(None);
    bridge.wait_ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r101_check_says_what_is_well_and_what_is_wrong() {
    let stage = Stage::set(IrcdConfig { tls: true, ..IrcdConfig::modern() }).await;
    let text = |output: &std::process::Output| {
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    let well = stage.bridge().network(stage.network()).prepare();
    // The harness's registration is as tight as it needs; ours has the bot in it too. The tokens stay.
    assert!(well.run("registration", &[]).await.status.success());
    let output = well.run("check", &[]).await;
    assert!(output.status.success(), "{}", text(&output));
    assert!(!text(&output).contains("FAIL"), "{}", text(&output));
    // Every problem is named in one run.
    let nowhere = "127.0.0.1:1".parse().expect("an address");
    let stranger = crate::support::tls::SelfSigned::new();
    let wrong = stage
        .bridge()
        .network(Network::new("net", stage.ircd.address()).tls(&stranger))
        .network(Network::new("gone", nowhere))
        .database("sqlite:///nowhere/at/all.db")
        .prepare();
    let output = wrong.run("check", &[]).await;
    assert!(!output.status.success());
    let words = text(&output);
    for (what, words) in [("database", &words), ("network net", &words), ("network gone", &words)] {
        let line = words.lines().find(|line| line.starts_with("FAIL") && line.contains(what));
        assert!(line.is_some(), "nothing is said about {what}:\n{words}");
    }
    // The homeserver doesn't know our token; nor does it answer at all.
    let bridge = stage.bridge().network(stage.network()).prepare();
    let path = bridge.folder().join("registration.yaml");
    let yaml = std::fs::read_to_string(&path).expect("it was written");
    std::fs::write(&path, yaml.replace("as_token_of_footbridge", "another_token")).expect("it can be written");
    let output = bridge.run("check", &[]).await;
    assert!(!output.status.success() && text(&output).contains("FAIL homeserver"), "{}", text(&output));
    let gone = Bridge::of("http://127.0.0.1:1", &stage.registration).network(stage.network()).prepare();
    let output = gone.run("check", &[]).await;
    assert!(!output.status.success() && text(&output).contains("FAIL homeserver"), "{}", text(&output));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registration_is_written_and_keeps_its_tokens() {
    let stage = Stage::set(IrcdConfig::modern()).await;
    let bridge = stage.bridge().network(stage.network()).prepare();
    let output = bridge.folder().join("new.yaml");
    let path = output.to_str().expect("the path is text");
    let write = async || {
        let ran = bridge.run("registration", &["--output", path]).await;
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        std::fs::read_to_string(&output).expect("it was written")
    };
    let first = write().await;
    for words in [
        "rate_limited: false",
        "sender_localpart: 'footbridge'",
        "receive_ephemeral: true",
        "de.sorunome.msc2409.push_ephemeral: true",
        "irc_net_",
        "exclusive: true",
        "protocols: [irc]",
        &stage.registration.url,
    ] {
        assert!(first.contains(words), "{words} isn't in\n{first}");
    }
    assert!(!first.contains(&stage.registration.hs_token), "a new file has tokens of its own");
    assert_eq!(write().await, first, "an existing file keeps its tokens");
    // Nobody else may read it.
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&output).expect("it is there").permissions());
    assert_eq!(mode & 0o077, 0, "{mode:o}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mistake_in_the_configuration_is_named() {
    let stage = Stage::set(IrcdConfig::modern()).await;
    let bridge = stage.bridge().network(stage.network()).extra("[network.net.limitz]\nline_burst = 1\n").prepare();
    for command in ["run", "check", "registration"] {
        let output = bridge.run(command, &[]).await;
        let words = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && words.contains("limitz") && words.contains("limits"), "{command}: {words}");
    }
}

/// Two bridges on one port: the second says what is wrong, and the first doesn't notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_bridge_is_refused_its_port() {
    let stage = Stage::set(IrcdConfig::modern()).await;
    let second = stage.bridge().network(stage.network()).prepare();
    let bridge = stage.bridge().network(stage.network());
    let world = stage.start(bridge).await;
    let output = second.run("run", &[]).await;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && words.contains("appservice.bind"), "{words}");
    world.settle("still here").await;
}

/// Two bridges on one database: the second says what is wrong, and the first doesn't notice; nor does it a check.
async fn a_second_bridge_is_refused_its_database(database: Option<String>) {
    let stage = Stage::set(IrcdConfig::modern()).await;
    let elsewhere = Registration { url: format!("http://127.0.0.1:{}", free_port()), ..stage.registration.clone() };
    let on = |bridge: BridgeBuilder| database.iter().fold(bridge, |bridge, url| bridge.database(url));
    let second = Bridge::of(stage.homeserver.url(), &elsewhere).network(stage.network());
    let bridge = on(stage.bridge().network(stage.network()));
    let world = stage.start(bridge).await;
    let file = format!("sqlite://{}", world.bridge.folder().join("footbridge.db").display());
    let second = second.database(database.as_deref().unwrap_or(&file)).prepare();
    let output = second.run("run", &[]).await;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && words.contains("in use by another footbridge"), "{words}");
    let output = world.bridge.run("check", &[]).await;
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(words.contains("ok   database: it opens"), "{words}");
    world.settle("still here").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_bridge_is_refused_its_file() {
    a_second_bridge_is_refused_its_database(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_bridge_is_refused_its_server() {
    a_second_bridge_is_refused_its_database(Some(Postgres::shared().create_database())).await;
}

/// systemd's `Type=notify`: told when the homeserver can reach us, and when we begin to stop; never in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_manager_is_told_when_it_is_ready_and_when_it_stops() {
    let stage = Stage::set(IrcdConfig::modern()).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("notify");
    let manager = tokio::net::UnixDatagram::bind(&path).expect("a socket");
    let told = async || {
        let mut message = [0; 256];
        let received = tokio::time::timeout(DEADLINE, manager.recv(&mut message)).await;
        let length = received.expect("something is told").expect("the socket is ours");
        String::from_utf8_lossy(&message[..length]).trim_end().to_owned()
    };
    let mut bridge = stage.bridge().network(stage.network()).env("NOTIFY_SOCKET", &path).prepare();
    bridge.spawn();
    assert_eq!(told().await, "READY=1");
    assert!(bridge.health().await.is_some(), "it was told before the port was open");
    bridge.wait_ready().await;
    assert_eq!(bridge.terminate().await.code(), Some(0));
    assert_eq!(told().await, "STOPPING=1");
}

/// R26: what people say is never in the log, whatever becomes of it and however much is logged; nor are secrets. As JSON, each line is one
/// object.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r26_no_log_has_bodies_or_secrets() {
    let postgres = Postgres::shared().create_database();
    for (format, filter, database) in [
        ("json", "debug", None),
        ("json", "trace", None),
        ("text", "trace", None),
        ("text", "trace", Some(postgres.as_str())),
    ] {
        let stage = Stage::set(IrcdConfig { tls: true, ..IrcdConfig::modern() }).await;
        let network = stage.network().set("", "password", "\"hidden network password\"");
        let bridge = stage.bridge().network(network).env("RUST_LOG", filter).run_with(&["--log-format", format]);
        let bridge = database.into_iter().fold(bridge, BridgeBuilder::database);
        let tokens = [stage.registration.as_token.clone(), stage.registration.hs_token.clone()];
        let mut world = stage.start(bridge).await;
        // Both ways, in the channel and in private; what arrives, and what is refused and told.
        world.settle("hidden words").await;
        world.dora.raw(&format!("MODE {TEA} -t")).await;
        world.dora.expect("the mode", |line| line.is("MODE")).await;
        world.alice.set_topic(&world.room, "hidden topic").await;
        world.dora.expect("the topic", |line| line.is("TOPIC") && line.text() == "hidden topic").await;
        world.dora.say(ALICE, "hidden private words").await;
        let query = world.alice.expect_invite(|from| from == super::world::DORA).await;
        world.alice.join(&query).await;
        world.alice.expect_message(&query, |from| from == super::world::DORA, "hidden private words").await;
        world.ircd.refuse_speech(TEA, Some(404));
        let refused = world.alice.say(&world.room, "hidden and refused").await;
        world.expect_told(&refused).await;
        assert_eq!(world.bridge.terminate().await.code(), Some(0));

        let log = world.bridge.log();
        assert!(log.lines().count() > 10, "this says something:\n{log}");
        for line in log.lines() {
            let object = serde_json::from_str::<serde_json::Map<String, Value>>(line);
            assert!(format == "text" || object.is_ok_and(|object| object.contains_key("level")), "no JSON: {line}");
            for secret in tokens.iter().map(String::as_str).chain(["hidden", PASSWORD]) {
                assert!(!line.contains(secret), "at {filter}, `{secret}` is in the log: {line}");
            }
        }
    }
}
