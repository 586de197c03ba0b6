//! The scene of most stories: one network, the channel `#tea` plumbed to a public room, Alice on Matrix and Dora on IRC.

use std::sync::Arc;

use serde_json::json;

use crate::support::{
    Bridge, Event, FakeHomeserver, FakeIrcd, IrcClient, IrcdConfig, MatrixUser, Network, Registration,
    bridge::BridgeBuilder, process::free_port,
};

/// The channel of the scene.
pub const TEA: &str = "#tea";
/// Alice's puppet.
pub const ALICE: &str = "alice[m]";
/// Dora's ghost.
pub const DORA: &str = "@irc_net_dora:hs.test";
/// The bridge's bot on IRC.
pub const BOT: &str = "footbridge";

/// Everything that is there when a story begins.
pub struct World {
    pub homeserver: FakeHomeserver,
    pub ircd: FakeIrcd,
    pub bridge: Bridge,
    /// On Matrix, and the creator of `room`.
    pub alice: MatrixUser,
    pub room: String,
    /// On IRC, in `#tea`.
    pub dora: IrcClient,
}

/// A scene before the bridge is started.
pub struct Stage {
    pub registration: Registration,
    pub homeserver: FakeHomeserver,
    pub ircd: FakeIrcd,
    pub alice: MatrixUser,
    pub room: String,
    pub dora: IrcClient,
}

impl Stage {
    /// Both servers and their people, without a bridge.
    pub async fn set(ircd: IrcdConfig) -> Self {
        let registration = Registration::new("hs.test", free_port(), &["net"]);
        let homeserver = FakeHomeserver::start(&registration).await;
        let ircd = FakeIrcd::start(ircd).await;
        let alice = homeserver.user("alice");
        let room = alice.create_room(json!({ "preset": "public_chat" })).await;
        let dora = ircd.client("dora").await;
        dora.join(TEA).await;
        Self { registration, homeserver, ircd, alice, room, dora }
    }

    /// The network, with `#tea` plumbed to the room.
    pub fn network(&self) -> Network {
        let network = Network::new("net", self.ircd.address()).plumb(TEA, &self.room);
        match self.ircd.certificate() {
            Some(certificate) => network.tls(certificate),
            None => network,
        }
    }

    /// The bridge, still without networks.
    pub fn bridge(&self) -> BridgeBuilder {
        Bridge::of(self.homeserver.url(), &self.registration)
    }

    /// Starts the bridge and waits until it is in the channel.
    pub async fn start(self, bridge: BridgeBuilder) -> World {
        let bridge = bridge.start().await;
        self.ircd.expect_on_channel(BOT, TEA).await;
        let Self { homeserver, ircd, alice, room, dora, .. } = self;
        World { homeserver, ircd, bridge, alice, room, dora }
    }
}

impl World {
    /// The scene on such a server.
    pub async fn new(ircd: IrcdConfig) -> Self {
        Self::with(ircd, |network| network).await
    }

    /// The scene with changes to the network's configuration.
    pub async fn with(ircd: IrcdConfig, change: impl FnOnce(Network) -> Network) -> Self {
        let stage = Stage::set(ircd).await;
        let bridge = stage.bridge().network(change(stage.network()));
        stage.start(bridge).await
    }

    /// Lets Alice say something first, so that her puppet is in the channel.
    pub async fn alice_speaks(&self) {
        self.alice.say(&self.room, "hello from alice").await;
        self.dora.expect_text(TEA, |from| from == ALICE, "hello from alice").await;
    }

    /// Waits until everything sent so far has gone both ways.
    ///
    /// Order is kept in a channel and in a room, so once these lines have crossed, all earlier ones have or never will.
    pub async fn settle(&self, word: &str) {
        self.alice.say(&self.room, &format!("from alice: {word}")).await;
        self.dora.expect_text(TEA, |from| from == ALICE, &format!("from alice: {word}")).await;
        self.dora.say(TEA, &format!("from dora: {word}")).await;
        self.alice.expect_message(&self.room, |from| from == DORA, &format!("from dora: {word}")).await;
    }

    /// How often Dora has read this in the channel.
    pub fn heard(&self, text: &str) -> usize {
        self.dora.texts(TEA).iter().filter(|(_, said)| said == text).count()
    }

    /// How often this is in the room.
    pub fn read(&self, body: &str) -> usize {
        self.homeserver.messages(&self.room).iter().filter(|said| *said == body).count()
    }

    /// Waits until the sender of this event is told that it did not (surely) arrive; answers with the notice, in whatever room.
    pub async fn expect_told(&self, event_id: &str) -> Arc<Event> {
        expect_told(&self.homeserver, event_id).await
    }

    /// Every event whose sender was told that it did not (surely) arrive, with the words.
    pub fn told(&self) -> Vec<(String, String)> {
        let state = self.homeserver.state();
        let notices = state.rooms.values().flat_map(|room| &room.timeline);
        notices
            .flat_map(|notice| undelivered(notice).map(|event| (event.to_owned(), notice.body().to_owned())))
            .collect()
    }
}

/// The events that a notice says did not (surely) arrive.
pub fn undelivered(notice: &Event) -> impl Iterator<Item = &str> {
    notice.content["footbridge.undelivered"].as_array().into_iter().flatten().filter_map(|event| event.as_str())
}

/// See [`World::expect_told`].
pub async fn expect_told(homeserver: &FakeHomeserver, event_id: &str) -> Arc<Event> {
    homeserver
        .wait_until(&format!("a notice that {event_id} did not arrive"), |state| {
            let mut notices = state.rooms.values().flat_map(|room| &room.timeline);
            notices.find(|notice| undelivered(notice).any(|event| event == event_id)).cloned()
        })
        .await
}

/// Compares long lists so that a failure says what is missing, too much, or out of order.
pub fn assert_same(seen: &[String], expected: &[String]) {
    if seen == expected {
        return;
    }
    let missing: Vec<_> = expected.iter().filter(|item| !seen.contains(item)).collect();
    let twice: Vec<_> = seen.iter().enumerate().filter(|(at, item)| seen[..*at].contains(item)).collect();
    let foreign: Vec<_> = seen.iter().filter(|item| !expected.contains(item)).collect();
    let place = seen.iter().zip(expected).position(|(seen, expected)| seen != expected);
    panic!("differs from place {place:?}; missing: {missing:?}; twice: {twice:?}; unexpected: {foreign:?}");
}

/// Runs each of these stories on a server without any capability and on one with all of them.
macro_rules! on_both_kinds_of_server {
    ($($story:ident),* $(,)?) => {
        mod without_capabilities {
            use crate::support::IrcdConfig;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                super::$story(IrcdConfig::default()).await;
            })*
        }
        mod with_capabilities {
            use crate::support::IrcdConfig;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                super::$story(IrcdConfig::modern()).await;
            })*
        }
    };
}
pub(crate) use on_both_kinds_of_server;
