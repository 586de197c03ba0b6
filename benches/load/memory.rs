//! Resident memory: with no puppet, and what each one more takes.
#![expect(clippy::cast_precision_loss, reason = "bytes and puppets are far fewer than 2^52")]

use std::time::Duration;

use crate::{
    process,
    report::{Others, Report},
    scaled,
    world::{Setup, World},
};

/// People on IRC in the channel.
const MEMBERS: usize = 1000;

/// A bridge with its bot in a large channel, then with puppets there too, with plaintext and with TLS connections.
pub(crate) async fn per_puppet(report: &mut Report) {
    for (tls, kind, aim) in [(false, "plaintext", "≤ 8 KiB"), (true, "TLS", "≤ 24 KiB")] {
        for puppets in [scaled(1000, 50), scaled(5000, 100)] {
            report.progress(&format!("{puppets} {kind} puppets in a channel of {MEMBERS} others"));
            let gather = Duration::from_millis(20);
            let setup = Setup { puppets, crowd: MEMBERS, tls, gather, ..Setup::default() };
            let mut world = World::prepare(&setup).await;
            world.bridge.restart().await;
            world.wait_for_bot().await;
            let others = Others::since_now(Some(world.bridge.pid()));
            let idle = settled(&world).await;
            if puppets == scaled(1000, 50) {
                let what = format!("Idle memory with no puppet, {kind}");
                report.row(what, mib(idle.resident), "≤ 30 MiB", Some(&others));
            }
            world.bring_puppets().await;
            let full = settled(&world).await;
            let each = |after: u64, before: u64| after.saturating_sub(before) as f64 / puppets as f64;
            let figure = format!(
                "{:.1} KiB ({:.1} KiB of it not files; {} in all)",
                each(full.resident, idle.resident),
                each(full.anonymous, idle.anonymous),
                mib(full.resident)
            );
            report.row(format!("Memory per joined puppet, {puppets} {kind}"), figure, aim, Some(&others));
        }
    }
}

/// The memory once nothing has happened for some seconds.
async fn settled(world: &World) -> process::Memory {
    world.wait_for_rest().await;
    tokio::time::sleep(Duration::from_secs(scaled(8, 1))).await;
    process::memory(world.bridge.pid())
}

#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
fn mib(kib: u64) -> String {
    format!("{:.1} MiB", kib as f64 / 1024.0)
}
