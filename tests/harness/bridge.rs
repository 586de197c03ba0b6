//! The bridge as a child: its configuration is what it was asked for, and it can be killed, ended and started again.
//!
//! A shell script stands in for the program, and the test answers `GET /health` in its place: these are tests of the harness.

use std::path::Path;

use axum::{Router, http::StatusCode, routing::get};

use crate::support::{Bridge, Network, Registration, process::free_port, tls::SelfSigned, wait};

async fn answer_health(port: u16, status: StatusCode) {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let router = Router::new().route("/health", get(async move || status));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
}

/// A bridge whose subcommands are the scripts that the test writes: the shell takes the subcommand for its file's name.
///
/// A script that is made executable and run at once may be refused as "busy" while another test's thread is forking.
fn stand_in(registration: &Registration, subcommand: &str, script: &str) -> Bridge {
    let bridge = Bridge::of("http://127.0.0.1:1", registration).program(Path::new("/bin/sh")).prepare();
    std::fs::write(bridge.folder().join(subcommand), script).unwrap();
    bridge
}

#[test]
fn the_configuration_says_what_was_asked_for() {
    let registration = Registration::new("fake.test", free_port(), &["net", "other"]);
    let certificate = SelfSigned::new();
    let address = "127.0.0.1:6667".parse().unwrap();
    let bridge = Bridge::of("http://127.0.0.1:8008", &registration)
        .network(Network::new("net", address).plumb("#tea", "!room1").plumb_with_key("#milk", "#m:fake.test", "\"k\""))
        .network(Network::new("other", address).tls(&certificate).join_by_alias().set(
            "puppets",
            "nick",
            "\"{localpart}\"",
        ))
        .extra("[telemetry]\nbind = \"127.0.0.1:1\"\n")
        .prepare();
    let config: toml::Value = toml::from_str(&std::fs::read_to_string(bridge.config_file()).unwrap()).unwrap();
    assert_eq!(config["homeserver"]["url"].as_str(), Some("http://127.0.0.1:8008"));
    assert_eq!(config["homeserver"]["server_name"].as_str(), Some("fake.test"));
    assert_eq!(config["appservice"]["url"].as_str(), Some(registration.url.as_str()));
    let net = &config["network"]["net"];
    assert_eq!(net["servers"][0].as_str(), Some("127.0.0.1:6667"));
    assert_eq!((net["tls"].as_bool(), net.get("tls_ca")), (Some(false), None));
    assert_eq!(net["limits"]["line_burst"].as_integer(), Some(0));
    assert_eq!(net["plumb"][0]["room"].as_str(), Some("!room1"));
    assert_eq!(net["plumb"][1]["key"].as_str(), Some("\"k\""));
    let other = &config["network"]["other"];
    assert_eq!(other["tls"].as_bool(), Some(true));
    assert_eq!(std::fs::read_to_string(other["tls_ca"].as_str().unwrap()).unwrap(), certificate.certificate_pem);
    assert_eq!(other["portals"]["join_by_alias"].as_bool(), Some(true));
    assert_eq!(other["puppets"]["nick"].as_str(), Some("{localpart}"));
    assert_eq!(config["telemetry"]["bind"].as_str(), Some("127.0.0.1:1"));
    let yaml = std::fs::read_to_string(config["appservice"]["registration"].as_str().unwrap()).unwrap();
    assert!(yaml.contains(&registration.as_token) && yaml.contains(r"regex: '@irc_net_.*:fake\.test'"), "{yaml}");
}

#[tokio::test]
async fn the_bridge_is_killed_ended_and_started_again() {
    let registration = Registration::new("fake.test", free_port(), &["net"]);
    let script = "echo \"$@\" >>said; trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done";
    answer_health(registration.port(), StatusCode::OK).await;
    let mut bridge = stand_in(&registration, "run", script);
    bridge.restart().await;
    let ready = async |bridge: &Bridge, lives: usize| {
        // The test answers for the stand-in, so its trap is waited for here.
        let deadline = std::time::Instant::now() + wait::DEADLINE;
        while bridge.log().matches("up").count() < lives {
            assert!(std::time::Instant::now() < deadline, "the stand-in doesn't start");
            tokio::time::sleep(crate::support::process::POLL).await;
        }
    };
    ready(&bridge, 1).await;
    let first = bridge.pid();
    bridge.kill();
    assert!(!Path::new(&format!("/proc/{first}")).exists());
    assert!(bridge.config_file().exists(), "a killed bridge keeps its files");
    bridge.restart().await;
    ready(&bridge, 2).await;
    assert_ne!(bridge.pid(), first);
    assert_eq!(bridge.terminate().await.code(), Some(7));
    let said = std::fs::read_to_string(bridge.folder().join("said")).unwrap();
    assert_eq!(said.lines().next(), Some(format!("--config {}", bridge.config_file().display()).as_str()));
    assert_eq!(said.lines().count(), 2);
}

#[tokio::test]
#[should_panic(expected = "the reason why")]
async fn a_bridge_that_ends_too_early_shows_its_log() {
    let registration = Registration::new("fake.test", free_port(), &["net"]);
    stand_in(&registration, "run", "echo the reason why >&2; exit 1").restart().await;
}

#[tokio::test]
async fn other_commands_run_to_their_end() {
    let registration = Registration::new("fake.test", free_port(), &["net"]);
    answer_health(registration.port(), StatusCode::SERVICE_UNAVAILABLE).await;
    let bridge = stand_in(&registration, "check", "echo \"$3\"; exit 3");
    let output = bridge.run("check", &["--quick"]).await;
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(3), &b"--quick\n"[..]));
    assert_eq!(bridge.health().await, Some(503));
}
