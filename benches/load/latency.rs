//! What the bridge adds to the time that a message takes, when it has little to do and many puppets.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use crate::{
    flow::{self, Mark},
    report::{Others, Report},
    scaled,
    support::ircd::{Reaction, Received},
    world::{self, Setup, World, wait},
};

/// One message every so often: twenty in a second.
const PACE: Duration = Duration::from_millis(50);

/// From the homeserver having the event to the IRC server having the line, and from the IRC server having the line to the
/// homeserver having the event.
///
/// The IRC server has the line when somebody says it; from then on it writes to hundreds of sockets, on the processor that the
/// bridge uses too. What the bridge adds begins when the server writes to the one that the bridge hears it from.
pub(crate) async fn both_ways(report: &mut Report) {
    let puppets = scaled(500, 20);
    let messages = scaled(600, 40);
    let world = World::start(&Setup { puppets, crowd: 1, ircd_apart: true, ..Setup::default() }).await;
    let room = &world.rooms[0];

    report.progress(&format!("Matrix→IRC: {messages} messages, twenty in a second"));
    let arrivals: Arc<Mutex<Vec<(Mark, Instant)>>> = Arc::default();
    let heard = arrivals.clone();
    world.ircd.react(move |received: &Received| {
        if let Some(mark) = flow::said(received) {
            heard.lock().expect("nobody panics under this lock").push((mark, Instant::now()));
        }
        Reaction::Obey
    });
    let others = Others::since_now(Some(world.bridge.pid()));
    let mut said = Vec::new();
    let mut pace = tokio::time::interval(PACE);
    for place in 0..messages {
        pace.tick().await;
        let user = &world.users[place % puppets];
        let at = Instant::now();
        user.say(room, &Mark { sender: 0, place }.text()).await;
        said.push(at);
    }
    let all = || arrivals.lock().expect("nobody panics under this lock").clone();
    wait("all messages to arrive on IRC", || all().len() >= messages).await;
    let times = all().iter().map(|(mark, at)| at.duration_since(said[mark.place])).collect();
    row(report, &format!("Added latency Matrix→IRC, 20/s, {puppets} puppets"), times, &others);

    report.progress(&format!("IRC→Matrix: {messages} messages, twenty in a second"));
    let others = Others::since_now(Some(world.bridge.pid()));
    let (mut since_said, mut since_written) = (Vec::new(), Vec::new());
    for place in 0..messages {
        pace.tick().await;
        let text = Mark { sender: 1, place }.text();
        let at = Instant::now();
        world.ircd.hear(world.crowd[0], &format!("PRIVMSG {} :{text}", world::channel(0)));
        let look = |state: &crate::support::homeserver::State| {
            let last = state.rooms[room].timeline.iter().rev().take(5).find(|event| event.body() == text);
            last.and_then(|event| event.taken)
        };
        let taken = world.homeserver.wait_until("the message from IRC", look).await;
        let written = world.ircd.written_to("footbridge").expect("the bot was written to");
        // The first brings its ghost into the room.
        if place > 0 {
            since_said.push(taken.duration_since(at));
            since_written.push(taken.duration_since(written));
        }
    }
    let what = format!("Added latency IRC→Matrix, 20/s, {puppets} puppets");
    row(report, &what, since_written, &others);
    row(report, &format!("{what}, with the IRC server's own"), since_said, &others);
}

fn row(report: &mut Report, what: &str, mut times: Vec<Duration>, others: &Others) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1000.0;
    report.row(format!("{what}: p50"), format!("{:.2} ms", at(50)), "none", Some(others));
    report.row(format!("{what}: p99"), format!("{:.2} ms", at(99)), "< 5 ms", Some(others));
}
