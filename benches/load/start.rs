//! How long it takes until the bridge is ready, and until its puppets are back.

use std::time::Instant;

use crate::{
    report::{Others, Report},
    scaled,
    world::{Setup, World, wait},
};

/// From the start of the process to `GET /health` saying 200, and to all puppets being in their channel.
pub(crate) async fn and_restart(report: &mut Report) {
    let mut times = Vec::new();
    let others = Others::since_now(None);
    for _ in 0..scaled(7, 2) {
        let mut world = World::prepare(&Setup::default()).await;
        let begun = Instant::now();
        world.bridge.spawn();
        while world.bridge.health().await != Some(200) {
            tokio::task::yield_now().await;
        }
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let figure = format!(
        "{:.0} ms (fastest {:.0}, slowest {:.0}, of {})",
        times[times.len() / 2].as_secs_f64() * 1000.0,
        times[0].as_secs_f64() * 1000.0,
        times[times.len() - 1].as_secs_f64() * 1000.0,
        times.len()
    );
    report.row("Start with an empty database until ready", figure, "< 200 ms", Some(&others));

    let puppets = scaled(1000, 50);
    report.progress(&format!("{puppets} puppets come back after a restart"));
    let mut world = World::start(&Setup { puppets, ..Setup::default() }).await;
    let ending = Instant::now();
    world.bridge.terminate().await;
    let ended = ending.elapsed();
    wait("the IRC server to see the bridge gone", || world.ircd.members("#bench0").is_empty()).await;
    let begun = Instant::now();
    world.bridge.spawn();
    let others = Others::since_now(Some(world.bridge.pid()));
    world.wait_for_puppets().await;
    let back = begun.elapsed();
    report.row(format!("Stop with {puppets} puppets"), format!("{:.1} s", ended.as_secs_f64()), "none", None);
    report.row(
        format!("Restart until all {puppets} puppets are back, no limits"),
        format!("{:.1} s", back.as_secs_f64()),
        "only the configured budget limits it",
        Some(&others),
    );
}
