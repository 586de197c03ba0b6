//! SIGKILL in the middle of a flood, and a new start: what arrives, what doesn't, and who is told.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use crate::{
    flow::{Mark, OnIrc, Verdict},
    report::Report,
    scaled,
    world::{Setup, World, wait},
};

/// Messages of a flood.
const MESSAGES: usize = 2000;
/// Who sends them.
const SENDERS: usize = 20;

/// Floods that the homeserver is rid of before the kill, and floods that it is still pushing.
pub(crate) async fn in_a_flood(report: &mut Report) {
    for (lines_per_second, what) in
        [(20, "killed when all were accepted"), (0, "killed while they were being accepted")]
    {
        let mut sum = Tally::default();
        let rounds = scaled(5, 1);
        for round in 0..rounds {
            let after = MESSAGES * (round + 1) / (rounds + 1);
            report.progress(&format!("flood {}, {what}, after {after} arrivals", round + 1));
            sum.add(&flood(lines_per_second, after).await);
        }
        let all = MESSAGES * rounds;
        let what = format!("Crash in {rounds} floods of {MESSAGES} messages, {what}");
        let figure = format!(
            "{} of {all} arrived, {} twice, {} never; {} told as uncertain, of which {} had arrived; {} never and not told",
            sum.arrived, sum.twice, sum.never, sum.told, sum.told_but_arrived, sum.silent
        );
        report.row(&what, figure, "0 twice, 0 never and not told", None);
        report.verdict(&what, Verdict { lost: sum.silent, doubled: sum.twice, inverted: sum.inverted });
    }
}

#[derive(Debug, Default)]
struct Tally {
    arrived: usize,
    twice: usize,
    never: usize,
    told: usize,
    told_but_arrived: usize,
    silent: usize,
    inverted: usize,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.arrived += other.arrived;
        self.twice += other.twice;
        self.never += other.never;
        self.told += other.told;
        self.told_but_arrived += other.told_but_arrived;
        self.silent += other.silent;
        self.inverted += other.inverted;
    }
}

async fn flood(lines_per_second: u32, kill_after: usize) -> Tally {
    let mut world = World::start(&Setup { puppets: SENDERS, lines_per_second, ..Setup::default() }).await;
    let on_irc = OnIrc::listen(&world.ircd);
    world.homeserver.pause();
    let mut events = HashMap::with_capacity(MESSAGES);
    for number in 0..MESSAGES {
        let mark = Mark { sender: number % SENDERS, place: number / SENDERS };
        let event = world.users[mark.sender].say(&world.rooms[0], &mark.text()).await;
        events.insert(event, mark);
    }
    world.homeserver.resume();
    if lines_per_second > 0 {
        world.homeserver.wait_pushed().await;
    }
    wait("the flood to be half over", || on_irc.count() >= kill_after).await;
    world.bridge.kill();
    world.bridge.restart().await;
    world.homeserver.wait_pushed().await;
    settle(&world, &on_irc).await;

    let said: Vec<Mark> = events.values().copied().collect();
    let arrived = on_irc.marks();
    let verdict = Verdict::of(&said, &arrived);
    let arrived: HashSet<Mark> = arrived.into_iter().collect();
    let told = told(&world, &events);
    Tally {
        arrived: arrived.len(),
        twice: verdict.doubled,
        never: verdict.lost,
        told: told.len(),
        told_but_arrived: told.intersection(&arrived).count(),
        silent: said.iter().filter(|mark| !arrived.contains(mark) && !told.contains(mark)).count(),
        inverted: verdict.inverted,
    }
}

/// Waits until nothing has arrived on either side for three seconds.
async fn settle(world: &World, on_irc: &OnIrc) {
    let now =
        || on_irc.count() + world.homeserver.state().rooms.values().map(|room| room.timeline.len()).sum::<usize>();
    let (mut seen, mut since) = (now(), Instant::now());
    while since.elapsed() < Duration::from_secs(3) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if now() != seen {
            (seen, since) = (now(), Instant::now());
        }
    }
}

/// The messages whose senders were told that they may not have arrived.
fn told(world: &World, events: &HashMap<String, Mark>) -> HashSet<Mark> {
    let state = world.homeserver.state();
    let notices = state.rooms.values().flat_map(|room| &room.timeline);
    let ids = notices.flat_map(|event| event.content["footbridge.undelivered"].as_array().into_iter().flatten());
    ids.filter_map(|id| events.get(id.as_str()?).copied()).collect()
}
