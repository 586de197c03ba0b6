//! `footbridge check`: each of the common mistakes is named, and comes with what to do.

use axum::{Json, Router, http::StatusCode, response::Html, routing::get};
use serde_json::json;

use super::world::Stage;
use crate::support::{Bridge, IrcdConfig, process::free_port};

/// A stage, and a bridge on it of which all is well.
async fn set_up() -> (Stage, Bridge) {
    set_up_with(IrcdConfig::modern()).await
}

async fn set_up_with(ircd: IrcdConfig) -> (Stage, Bridge) {
    let stage = Stage::set(ircd).await;
    let bridge = stage.bridge().network(stage.network()).prepare();
    assert!(bridge.run("registration", &[]).await.status.success());
    (stage, bridge)
}

/// Runs `footbridge check` with a text of the file replaced, and puts the file in order again.
async fn check_with(bridge: &Bridge, file: &str, from: &str, to: &str) -> (Option<i32>, String) {
    let file = bridge.folder().join(file);
    let text = std::fs::read_to_string(&file).expect("the file is there");
    assert!(text.contains(from), "there is no `{from}` in\n{text}");
    std::fs::write(&file, text.replace(from, to)).expect("it can be written");
    let output = bridge.run("check", &[]).await;
    std::fs::write(&file, text).expect("it can be written");
    let told = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&told).into_owned())
}

/// Exactly one thing is wrong: this, and it is said what to do.
async fn assert_advice(bridge: &Bridge, (file, from, to): (&str, &str, &str), about: &str, words: &[&str]) {
    let (code, told) = check_with(bridge, file, from, to).await;
    assert_eq!(code, Some(1), "{told}");
    let failures: Vec<&str> = told.lines().filter(|line| line.starts_with("FAIL")).collect();
    let [failure] = failures[..] else { panic!("`{to}` is one mistake:\n{told}") };
    assert!(failure.starts_with(&format!("FAIL {about}")), "{failure}");
    for word in words {
        assert!(failure.contains(word), "`{word}` isn't in: {failure}");
    }
}

/// A web server on a free port; answers with its address.
async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let address = listener.local_addr().expect("a bound listener has an address");
    tokio::spawn(async move { axum::serve(listener, router).await.expect("serving never ends") });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r101_where_the_homeserver_is() {
    let (stage, bridge) = set_up().await;
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let page = serve(Router::new().fallback(|| async { (StatusCode::NOT_FOUND, Html("<h1>Welcome</h1>")) })).await;
    // Whatever it is asked, it agrees.
    let portal = serve(Router::new().fallback(|| async { Html("<h1>Please log in</h1>") })).await;
    let secure = stage.homeserver.url().replace("http://", "https://");
    for (url, words) in [
        (nowhere.as_str(), &["nothing listens at", "start the homeserver", "homeserver.url"][..]),
        ("http://no-such-host.invalid", &["no address is known for no-such-host.invalid", "homeserver.url"]),
        (&secure, &["speaks no TLS", "write http://"]),
        (&page, &["as no homeserver does", "homeserver.url", "/_matrix", "Welcome"]),
        (&portal, &["as no homeserver does", "status 200", "is this a proxy? It begins: <h1>Please log in</h1>"]),
    ] {
        assert_advice(&bridge, ("config.toml", stage.homeserver.url(), url), "homeserver", words).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r101_whether_the_homeserver_reaches_us() {
    let (stage, bridge) = set_up().await;
    // It knows the token, under another id.
    let id = format!("id: '{}'", stage.registration.id);
    assert_advice(
        &bridge,
        ("registration.yaml", &id, "id: 'another'"),
        "homeserver",
        &["another id", "registration file"],
    )
    .await;
    // It is too old for pings.
    let bot = stage.registration.bot();
    let versions = get(|| async { Json(json!({ "versions": ["v1.1"] })) });
    let whoami = get(move || async move { Json(json!({ "user_id": bot })) });
    let unknown =
        || async { (StatusCode::NOT_FOUND, Json(json!({ "errcode": "M_UNRECOGNIZED", "error": "Unrecognized" }))) };
    let router = Router::new().route("/_matrix/client/versions", versions);
    let old = serve(router.route("/_matrix/client/v3/account/whoami", whoami).fallback(unknown)).await;
    let words = ["too old", "update it", "1.7"];
    assert_advice(&bridge, ("config.toml", stage.homeserver.url(), &old), "homeserver", &words).await;
    // We can't even listen: 192.0.2.1 is nobody's.
    let address = stage.registration.url.trim_start_matches("http://");
    let port = address.rsplit(':').next().expect("it has a port");
    let (from, to) = (format!("bind = \"{address}\""), format!("bind = \"192.0.2.1:{port}\""));
    let words = ["appservice.bind", "no address 192.0.2.1", &format!("0.0.0.0:{port}")];
    assert_advice(&bridge, ("config.toml", &from, &to), "homeserver", &words).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r101_what_homeservers_are_told_of_us() {
    let (_stage, bridge) = set_up().await;
    for (from, to, key) in [
        ("exclusive: true", "exclusive: false", "exclusive"),
        ("protocols: [irc]", "protocols: []", "protocols"),
        ("protocols: [irc]", "# nothing", "protocols"),
    ] {
        let words = [key, "`footbridge registration`", "restart the homeserver"];
        assert_advice(&bridge, ("registration.yaml", from, to), "registration", &words).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r101_what_is_wrong_with_the_way_to_a_network() {
    let (stage, bridge) = set_up_with(IrcdConfig { tls: true, ..IrcdConfig::modern() }).await;
    let written = std::fs::read_to_string(bridge.folder().join("config.toml")).expect("the file is there");
    let ca = written.lines().find(|line| line.starts_with("tls_ca")).expect("the certificate is named");
    let address = stage.ircd.address().to_string();
    let nowhere = format!("127.0.0.1:{}", free_port());
    // The bridge's homeserver speaks no TLS.
    let plain = stage.homeserver.url().trim_start_matches("http://").to_owned();
    for (from, to, words) in [
        (ca, "", &["signed by nobody we trust", "`tls_ca`"][..]),
        (&address, &nowhere, &["refused the connection", "is the port right"]),
        (&address, &plain, &["doesn't speak TLS", "6697"]),
        (&address, "no-such-host.invalid:6697", &["no such host", "`servers`"]),
    ] {
        assert_advice(&bridge, ("config.toml", from, to), "network net, ", words).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_makes_no_database() {
    let (_stage, bridge) = set_up().await;
    let output = bridge.run("check", &[]).await;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && told.contains("will be created"), "{told}");
    assert!(!bridge.folder().join("footbridge.db").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_in_the_homeservers_address_is_a_mistake_in_the_configuration() {
    let (stage, bridge) = set_up().await;
    let with_password = stage.homeserver.url().replace("http://", "http://me:hunter2@");
    let (code, told) = check_with(&bridge, "config.toml", stage.homeserver.url(), &with_password).await;
    assert_eq!(code, Some(78), "{told}");
    assert!(told.contains("homeserver.url") && told.contains("password") && !told.contains("hunter2"), "{told}");
}
