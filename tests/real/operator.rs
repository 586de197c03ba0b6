//! The operator's way: write the registration, check, run, look at its health, stop; and every mistake named in plain words (R101).

use std::{fs, path::PathBuf, process::Output};

use serde_json::json;

use crate::{
    support::{Bridge, IrcClient, Registration, process::free_port, real::Synapse},
    town::{Ircd, Kind, TEA, expect_join, puppet},
};

/// An operator's desk: a configuration, a registration that `footbridge registration` wrote, and the servers.
struct Desk {
    bridge: Bridge,
    synapse: Synapse,
    ircd: Ircd,
}

impl Desk {
    /// Follows the README up to where the homeserver has read the registration.
    async fn set_up(kind: Kind) -> Self {
        let ircd = Ircd::start(kind);
        let registration = Registration::new(Synapse::SERVER_NAME, free_port(), &["net"]);
        let homeserver_port = free_port();
        let network = ircd.network("net").plumb(TEA, &format!("#tearoom:{}", Synapse::SERVER_NAME));
        let bridge =
            Bridge::of(&format!("http://127.0.0.1:{homeserver_port}"), &registration).network(network).prepare();
        let file = bridge.folder().join("registration.yaml");
        // The harness has written one; the operator has none yet.
        fs::remove_file(&file).unwrap();
        let output = bridge.run("registration", &["--output", "registration.yaml"]).await;
        assert!(output.status.success(), "{output:?}");
        let synapse = Synapse::start_with_files(homeserver_port, &[file]);
        Self { bridge, synapse, ircd }
    }

    fn registration_file(&self) -> PathBuf {
        self.bridge.folder().join("registration.yaml")
    }

    /// Runs `footbridge check` with a text of a file replaced, and puts the file in order again.
    async fn check_with(&self, file: PathBuf, from: &str, to: &str) -> String {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "there is no `{from}` in\n{text}");
        fs::write(&file, text.replace(from, to)).unwrap();
        let output = self.bridge.run("check", &[]).await;
        fs::write(&file, text).unwrap();
        failed(&output)
    }

    async fn check_with_config(&self, from: &str, to: &str) -> String {
        self.check_with(self.bridge.config_file(), from, to).await
    }

    /// The value of a key in the registration.
    fn registered(&self, key: &str) -> String {
        let text = fs::read_to_string(self.registration_file()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key}: ")));
        line.unwrap_or_else(|| panic!("no {key} in {text}")).trim_matches(['"', '\'']).to_owned()
    }
}

/// What `footbridge check` printed when it found something wrong: the failures alone.
fn failed(output: &Output) -> String {
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    printed.lines().filter(|line| line.starts_with("FAIL")).collect::<Vec<_>>().join("\n")
}

/// Exactly one thing is wrong, and it is said so: in these words, about this.
fn assert_one(failures: &str, about: &str, words: &[&str]) {
    assert_eq!(failures.lines().count(), 1, "{failures}");
    assert!(failures.contains(&format!("FAIL {about}")), "{failures}");
    for word in words {
        assert!(failures.contains(word), "`{word}` isn't in: {failures}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_an_empty_folder_to_a_conversation_over_tls() {
    there_and_back(Kind::InspIrcd).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_an_empty_folder_to_a_conversation_in_plaintext() {
    there_and_back(Kind::NgIrcd).await;
}

/// Follows the README to its end, and stops.
async fn there_and_back(kind: Kind) {
    let mut desk = Desk::set_up(kind).await;
    // Written again, it keeps its tokens.
    let written = fs::read_to_string(desk.registration_file()).unwrap();
    assert!(desk.bridge.run("registration", &["--output", "registration.yaml"]).await.status.success());
    assert_eq!(fs::read_to_string(desk.registration_file()).unwrap(), written);
    let token = desk.registered("as_token");
    let url = desk.bridge.folder().join("another.yaml").display().to_string();
    assert!(desk.bridge.run("registration", &["--output", &url]).await.status.success());
    assert!(!fs::read_to_string(&url).unwrap().contains(&token), "each file has its own tokens");

    let alice = desk.synapse.user("alice").await;
    let room = alice.create_room(json!({ "preset": "public_chat", "room_alias_name": "tearoom" })).await;
    all_ok(&desk.bridge.run("check", &[]).await);

    let dora = IrcClient::connect(desk.ircd.address(), "dora").await;
    dora.join(TEA).await;
    desk.bridge.restart().await;
    expect_join(&dora, "footbridge", TEA).await;
    all_ok(&desk.bridge.run("check", &[]).await);
    let health = desk.bridge.health_report().await.unwrap();
    assert_eq!((&health["homeserver"], &health["database"]), (&json!("ok"), &json!("ok")));
    alice.say(&room, "it works").await;
    dora.expect_text(TEA, |nick| nick == puppet("alice"), "it works").await;
    dora.say(TEA, "so it does").await;
    alice.expect_message(&room, |sender| sender == "@irc_net_dora:real.test", "so it does").await;

    // SIGTERM: everybody takes leave, with a reason.
    let status = desk.bridge.terminate().await;
    assert_eq!(status.code(), Some(0));
    for nick in ["footbridge", &*puppet("alice")] {
        let quit = dora.expect("QUIT", |line| line.is("QUIT") && line.nick() == nick).await;
        assert!(quit.text().contains("The bridge is stopping"), "{quit}");
    }
}

fn all_ok(output: &Output) {
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}");
    assert!(printed.lines().all(|line| line.starts_with("ok ")) && printed.lines().count() == 5, "{printed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_mistake_is_named() {
    let mut desk = Desk::set_up(Kind::InspIrcd).await;
    all_ok(&desk.bridge.run("check", &[]).await);

    // What the homeserver and we must agree on.
    let (as_token, hs_token) = (desk.registered("as_token"), desk.registered("hs_token"));
    let failures = desk.check_with(desk.registration_file(), &as_token, "wrong").await;
    assert_one(&failures, "homeserver", &["doesn't accept our as_token", "restart the homeserver"]);
    let failures = desk.check_with(desk.registration_file(), &hs_token, "wrong").await;
    assert_one(&failures, "homeserver", &["did not accept its token", "another registration file"]);

    // Where the homeserver is, and where it looks for us (R101).
    let nowhere = format!("127.0.0.1:{}", free_port());
    let failures = desk.check_with_config(desk.synapse.url().trim_start_matches("http://"), &nowhere).await;
    assert_one(&failures, "homeserver", &[&nowhere, "nothing listens", "homeserver.url"]);
    let bind = desk.registered("url").trim_start_matches("http://").trim_end_matches('/').to_owned();
    let failures = desk.check_with_config(&format!("bind = \"{bind}\""), &format!("bind = \"{nowhere}\"")).await;
    assert_one(&failures, "homeserver", &["can't connect to", "appservice.url", "firewall"]);

    // The networks: no trust, no server.
    let ca = desk.bridge.folder().join("net.pem").display().to_string();
    let failures = desk.check_with_config(&format!("tls_ca = \"{ca}\""), "").await;
    assert_one(&failures, "network net, ", &["certificate", "tls_ca"]);
    let plain = desk.ircd.address().to_string();
    let failures = desk.check_with_config(&desk.ircd.bridge_address().to_string(), &plain).await;
    assert_one(&failures, &format!("network net, {plain}"), &["TLS"]);
    desk.ircd.kill();
    let failures = failed(&desk.bridge.run("check", &[]).await);
    assert_one(&failures, "network net, ", &[&desk.ircd.bridge_address().to_string()]);
    desk.ircd.start_again();

    // The database.
    let folder = desk.bridge.folder().display().to_string();
    for place in ["no/such/folder", "config.toml"] {
        let place = format!("sqlite://{folder}/{place}/footbridge.db");
        let failures = desk.check_with_config(&format!("sqlite://{folder}/footbridge.db"), &place).await;
        assert_one(&failures, "database", &[place.trim_start_matches("sqlite://")]);
    }
    let failures =
        desk.check_with_config(&format!("sqlite://{folder}/footbridge.db"), "postgres://a:secret@127.0.0.1:1/b").await;
    assert_one(&failures, "database", &["127.0.0.1"]);
    assert!(!failures.contains("secret"), "{failures}");

    // The configuration itself has an exit code of its own; it can't be helped by starting again.
    let text = fs::read_to_string(desk.bridge.config_file()).unwrap();
    fs::write(desk.bridge.config_file(), text.replace("server_name", "sever_name")).unwrap();
    for command in ["check", "run"] {
        let output = desk.bridge.run(command, &[]).await;
        assert_eq!(output.status.code(), Some(78));
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(complaint.contains("sever_name") && complaint.contains("server_name"), "{complaint}");
    }
}

/// Without TLS there are fewer mistakes to make on the side of IRC: the wrong kind of connection, and no server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_mistake_with_a_plaintext_network_is_named() {
    let mut desk = Desk::set_up(Kind::NgIrcd).await;
    all_ok(&desk.bridge.run("check", &[]).await);
    let address = desk.ircd.address().to_string();
    let failures = desk.check_with_config("tls = false", "tls = true").await;
    assert_one(&failures, &format!("network net, {address}"), &["TLS"]);
    desk.ircd.kill();
    let failures = failed(&desk.bridge.run("check", &[]).await);
    assert_one(&failures, "network net, ", &[&address]);
    desk.ircd.start_again();
    all_ok(&desk.bridge.run("check", &[]).await);
}
