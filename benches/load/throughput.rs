//! Messages per second each way, and what one costs.

use std::time::{Duration, Instant};

use crate::{
    flow::{self, Mark, OnIrc, Verdict},
    report::{Others, Report},
    scaled,
    support::Outage,
    world::{self, Setup, World, wait},
};

/// How long a loaded IRC server gathers lines for a busy socket.
const GATHER: Duration = Duration::from_millis(2);

/// One room, every message from another of so many senders in turn, all of it waiting at the homeserver at the start.
pub(crate) async fn matrix_to_irc(report: &mut Report) {
    for (senders, messages, aim) in [
        (1, scaled(30_000, 1_000), "≥ 5,000/s"),
        (50, scaled(20_000, 1_000), "none"),
        (scaled(500, 60), scaled(15_000, 1_000), "≥ 3,000/s"),
    ] {
        let what = format!("Matrix→IRC, {senders} senders in one room");
        report.progress(&format!("{what}: {messages} messages"));
        let setup = Setup { puppets: senders, gather: GATHER, ..Setup::default() };
        let world = World::start(&setup).await;
        let on_irc = OnIrc::listen(&world.ircd);
        world.homeserver.pause();
        let mut said = Vec::with_capacity(messages);
        for number in 0..messages {
            let mark = Mark { sender: number % senders, place: number / senders };
            world.users[mark.sender].say(&world.rooms[0], &mark.text()).await;
            said.push(mark);
        }
        let before = world.wait_for_rest().await;
        let others = Others::since_now(Some(world.bridge.pid()));
        let started = Instant::now();
        world.homeserver.resume();
        let arrived = arrive(messages, || on_irc.count()).await;
        let rate = rate(arrived, started.elapsed());
        // Its echo still has to be read from every puppet's socket, and the journal to be told.
        let used = world.wait_for_rest().await.saturating_sub(before);
        let rest = started.elapsed();
        report.row(format!("{what}: rate"), rate, aim, Some(&others));
        report.row(
            format!("{what}: processor time per message"),
            format!("{:.3} ms", per_message(used, messages)),
            "none",
            None,
        );
        report.row(
            format!("{what}: until the bridge is at rest"),
            format!("{:.1} s", rest.as_secs_f64()),
            "none",
            None,
        );
        report.verdict(&what, Verdict::of(&said, &on_irc.marks()));
    }
}

/// Twenty people on IRC speak in turn, as fast as the bridge listens.
pub(crate) async fn irc_to_matrix(report: &mut Report) {
    for (puppets, messages, rate_aim, cpu_aim) in [
        (1, scaled(20_000, 1_000), "none", "none"),
        (20, scaled(20_000, 1_000), "≥ 4,000/s", "≤ 0.1 ms"),
        (scaled(500, 60), scaled(10_000, 1_000), "none", "≤ 0.5 ms"),
    ] {
        let what = format!("IRC→Matrix, {puppets} puppets, one channel");
        let setup = Setup { puppets, crowd: 20, gather: GATHER, ..Setup::default() };
        flood(report, &what, &setup, messages, None, rate_aim, cpu_aim).await;
    }
    let far = Some(Duration::from_millis(20));
    let setup = Setup { puppets: 20, crowd: 5, channels: scaled(100, 10), gather: GATHER, ..Setup::default() };
    let what = format!("IRC→Matrix, 20 puppets, {} channels, homeserver 20 ms away", setup.channels);
    flood(report, &what, &setup, scaled(20_000, 500), far, "order kept", "none").await;
    let setup = Setup { puppets: 20, crowd: 20, gather: GATHER, ..Setup::default() };
    let what = "IRC→Matrix, 20 puppets, one channel, homeserver 20 ms away";
    flood(report, what, &setup, scaled(500, 50), far, "in turn within a room", "none").await;
}

async fn flood(
    report: &mut Report,
    what: &str,
    setup: &Setup,
    messages: usize,
    latency: Option<Duration>,
    rate_aim: &str,
    cpu_aim: &str,
) {
    report.progress(&format!("{what}: {messages} messages"));
    let world = World::start(setup).await;
    greet(&world).await;
    let from: Vec<usize> = world.rooms.iter().map(|room| flow::length(&world.homeserver, room)).collect();
    let all_from: usize = from.iter().sum();
    let (before, requests) = (world.wait_for_rest().await, world.homeserver.requests());
    world.homeserver.outage(latency.map(Outage::Latency));
    let others = Others::since_now(Some(world.bridge.pid()));
    let started = Instant::now();
    let mut said = vec![Vec::new(); setup.channels];
    for number in 0..messages {
        // Each speaker goes through the channels in turn, one after the other.
        let (channel, round) = (number % setup.channels, number / setup.channels);
        let mark = Mark { sender: round % setup.crowd, place: round / setup.crowd };
        let line = format!("PRIVMSG {} :{}", world::channel(channel), mark.text());
        world.ircd.hear(world.crowd[mark.sender], &line);
        said[channel].push(mark);
        if number % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let lengths =
        || world.rooms.iter().map(|room| flow::length(&world.homeserver, room)).sum::<usize>().saturating_sub(all_from);
    let arrived = arrive(messages, lengths).await;
    let rate = rate(arrived, started.elapsed());
    let used = world.wait_for_rest().await.saturating_sub(before);
    let requests = world.homeserver.requests() - requests;
    report.row(format!("{what}: rate"), rate, rate_aim, Some(&others));
    report.row(
        format!("{what}: processor time per message"),
        format!("{:.3} ms", per_message(used, messages)),
        cpu_aim,
        None,
    );
    report.row(format!("{what}: requests"), format!("{requests} for {messages} messages"), "one per message", None);
    let mut verdict = Verdict::default();
    for ((room, from), said) in world.rooms.iter().zip(from).zip(&said) {
        verdict = verdict.with(Verdict::of(said, &flow::in_room(&world.homeserver, room, from)));
    }
    report.verdict(what, verdict);
}

/// Lets everyone on IRC say a word everywhere, so that their ghosts exist and are in the rooms.
async fn greet(world: &World) {
    for (number, room) in world.rooms.iter().enumerate() {
        for id in &world.crowd {
            world.ircd.hear(*id, &format!("PRIVMSG {} :hello", world::channel(number)));
        }
        let hellos = || world.homeserver.messages(room).len();
        wait("everyone on IRC to be heard", || hellos() >= world.crowd.len()).await;
    }
}

/// Waits until so many have arrived, or none has come for ten seconds; answers how many did.
async fn arrive(messages: usize, count: impl Fn() -> usize) -> usize {
    let (mut seen, mut at) = (0, Instant::now());
    loop {
        let now = count();
        if now >= messages || at.elapsed() > Duration::from_secs(10) {
            return now;
        }
        if now > seen {
            (seen, at) = (now, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn rate(messages: usize, time: Duration) -> String {
    format!("{:.0}/s", messages as f64 / time.as_secs_f64())
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn per_message(used: Duration, messages: usize) -> f64 {
    used.as_secs_f64() * 1000.0 / messages as f64
}
