//! The two fakes with people on them, and the real bridge between.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use crate::{
    process,
    support::{Bridge, FakeHomeserver, FakeIrcd, IrcdConfig, MatrixUser, Network, Registration, process::free_port},
};

/// How long anything may take before the benchmark gives up.
const PATIENCE: Duration = Duration::from_mins(10);
/// How often to look whether something has happened that takes seconds.
const LOOK: Duration = Duration::from_millis(1);

/// What a world is made of.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// Bridged channels, each with a room.
    pub(crate) channels: usize,
    /// Matrix users in all rooms, each with a puppet on IRC.
    pub(crate) puppets: usize,
    /// People on IRC who are in all channels.
    pub(crate) crowd: usize,
    /// Whether the bridge speaks TLS with the IRC server.
    pub(crate) tls: bool,
    /// How long the IRC server gathers lines for a busy socket, as a real one under load does.
    pub(crate) gather: Duration,
    /// Lines per second that each link may send; 0: as many as it can.
    pub(crate) lines_per_second: u32,
    /// Whether the IRC server has a thread of its own, as real ones have. Else what it writes to hundreds of sockets stands
    /// before the homeserver's work in the same queue.
    pub(crate) ircd_apart: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            channels: 1,
            puppets: 0,
            crowd: 0,
            tls: false,
            gather: Duration::ZERO,
            lines_per_second: 0,
            ircd_apart: false,
        }
    }
}

/// Everything, running.
pub(crate) struct World {
    pub(crate) homeserver: FakeHomeserver,
    pub(crate) ircd: FakeIrcd,
    pub(crate) bridge: Bridge,
    /// The rooms, in the order of their channels.
    pub(crate) rooms: Vec<String>,
    /// The Matrix users, in all rooms once [`World::bring_puppets`] has been called.
    pub(crate) users: Vec<MatrixUser>,
    /// The connection numbers of the people on IRC.
    pub(crate) crowd: Vec<u64>,
    /// The IRC server's, if it is apart.
    thread: Option<Runtime>,
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.shutdown_background();
        }
    }
}

/// The name of a channel by its number.
pub(crate) fn channel(number: usize) -> String {
    format!("#bench{number}")
}

impl World {
    /// A world whose bridge is ready and whose puppets are all in their channels.
    pub(crate) async fn start(setup: &Setup) -> Self {
        let mut world = Self::prepare(setup).await;
        world.bridge.restart().await;
        world.wait_for_bot().await;
        world.bring_puppets().await;
        world
    }

    /// A world whose bridge has not been started.
    pub(crate) async fn prepare(setup: &Setup) -> Self {
        let registration = Registration::new("bench.test", free_port(), &["net"]);
        let homeserver = FakeHomeserver::start(&registration).await;
        let ircd = FakeIrcd::start(IrcdConfig {
            record: false,
            write_delay: setup.gather,
            tls: setup.tls,
            channel_limit: setup.channels + 10,
            ..IrcdConfig::modern()
        });
        let thread = setup.ircd_apart.then(one_thread);
        let ircd = match &thread {
            Some(thread) => thread.spawn(ircd).await.expect("it starts"),
            None => ircd.await,
        };
        let channels: Vec<String> = (0..setup.channels).map(channel).collect();
        let crowd = ircd.crowd((0..setup.crowd).map(|number| format!("irc{number}")), &channels.join(","));
        let owner = homeserver.user("owner");
        let mut network = Network::new("net", ircd.address())
            .set("puppets", "limit", "0")
            .set("limits", "lines_per_second", &format!("{}.0", setup.lines_per_second))
            .set("limits", "line_burst", &setup.lines_per_second.to_string());
        if let Some(certificate) = ircd.certificate() {
            network = network.tls(certificate);
        }
        let mut rooms = Vec::new();
        for channel in channels {
            let room = owner.create_room(json!({ "preset": "public_chat" })).await;
            network = network.plumb(&channel, &room);
            rooms.push(room);
        }
        let bridge = Bridge::of(homeserver.url(), &registration).network(network).log_filter("info").prepare();
        let users = (0..setup.puppets).map(|number| homeserver.user(&format!("user{number}"))).collect();
        Self { homeserver, ircd, bridge, rooms, users, crowd, thread }
    }

    /// Waits until the bot is in all channels and all rooms.
    pub(crate) async fn wait_for_bot(&self) {
        wait("the bot to be in all channels", || self.bridged_members() >= self.rooms.len()).await;
    }

    /// Lets all Matrix users join all rooms, and waits until their puppets are in all channels and nothing moves any more.
    pub(crate) async fn bring_puppets(&self) {
        for room in &self.rooms {
            for user in &self.users {
                user.join(room).await;
            }
        }
        self.wait_for_puppets().await;
        self.wait_for_rest().await;
    }

    /// Waits until all puppets are in all channels.
    pub(crate) async fn wait_for_puppets(&self) {
        let all = (self.users.len() + 1) * self.rooms.len();
        wait("all puppets to be in their channels", || self.bridged_members() >= all).await;
    }

    /// How many of the bridge's links are in channels, counted once for each channel.
    fn bridged_members(&self) -> usize {
        let state = self.ircd.state();
        let members: usize = state.channels.values().map(|channel| channel.members.len()).sum();
        members.saturating_sub(self.crowd.len() * self.rooms.len())
    }

    /// Waits until the bridge has nothing left to do; answers with the processor time that it has used by then.
    pub(crate) async fn wait_for_rest(&self) -> Duration {
        let pid = self.bridge.pid();
        let (mut used, mut quiet) = (process::cpu(pid), 0);
        while quiet < 4 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let now = process::cpu(pid);
            // One tick may be the timer's.
            quiet = if now.saturating_sub(used) > Duration::from_millis(10) { 0 } else { quiet + 1 };
            used = now;
        }
        used
    }
}

/// Waits until `done`, which is asked once in a millisecond.
pub(crate) async fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited {} minutes in vain for {what}", PATIENCE.as_secs() / 60);
        tokio::time::sleep(LOOK).await;
    }
}

fn one_thread() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("the system has another thread")
}
