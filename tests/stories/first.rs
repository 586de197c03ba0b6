use serde_json::json;

use crate::support::{Bridge, FakeHomeserver, FakeIrcd, IrcdConfig, Network, Registration};

#[tokio::test(flavor = "multi_thread")]
async fn smoke() {
    let registration = Registration::new("hs.test", crate::support::process::free_port(), &["net"]);
    let homeserver = FakeHomeserver::start(&registration).await;
    let ircd = FakeIrcd::start(IrcdConfig::modern()).await;
    let alice = homeserver.user("alice");
    let room = alice.create_room(json!({"preset": "public_chat"})).await;
    let dora = ircd.client("dora").await;
    dora.join("#tea").await;
    let _bridge = Bridge::of(homeserver.url(), &registration)
        .network(Network::new("net", ircd.address()).plumb("#tea", &room))
        .start()
        .await;
    ircd.expect_on_channel("footbridge", "#tea").await;
    dora.say("#tea", "hello").await;
    alice.expect_message(&room, |from| from == "@irc_net_dora:hs.test", "hello").await;
    alice.say(&room, "hi dora").await;
    dora.expect_text("#tea", |from| from == "alice[m]", "hi dora").await;
}
