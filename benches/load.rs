//! The whole program under load: a fake homeserver and a fake IRC server in this process, the real `footbridge` as its child.
//!
//! `cargo bench --bench load` runs everything (some ten minutes) and prints a table, which `target/bench/report.md` keeps;
//! `cargo bench --bench load -- m2i start` runs the scenarios that are named so; `QUICK=1` makes every number small, to try the
//! benchmark itself. Nothing here is a test of speed: what fails is only a message lost, doubled or out of order.
//!
//! | module | what it holds |
//! |---|---|
//! | `world` | the two fakes with people on them, and the bridge between |
//! | `flow` | who said what in which order, and what of it arrived |
//! | `process` | what the kernel knows of the bridge: processor time, memory |
//! | `report` | the table |
//! | `throughput`, `latency`, `memory`, `start`, `crash` | the scenarios |
//!
//! To add a figure, add a row in a scenario; to add a scenario, an entry in [`SCENARIOS`].

#[path = "load/crash.rs"]
mod crash;
#[path = "load/flow.rs"]
mod flow;
#[path = "load/latency.rs"]
mod latency;
#[path = "load/memory.rs"]
mod memory;
#[path = "load/process.rs"]
mod process;
#[path = "load/report.rs"]
mod report;
#[path = "load/start.rs"]
mod start;
#[path = "../tests/support/mod.rs"]
mod support;
#[path = "load/throughput.rs"]
mod throughput;
#[path = "load/world.rs"]
mod world;

use std::{pin::Pin, process::ExitCode};

use report::Report;

/// Runs one scenario.
type Run = for<'a> fn(&'a mut Report) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

/// The scenarios by name, in the order of the table.
const SCENARIOS: &[(&str, Run)] = &[
    ("m2i", |report| Box::pin(throughput::matrix_to_irc(report))),
    ("i2m", |report| Box::pin(throughput::irc_to_matrix(report))),
    ("latency", |report| Box::pin(latency::both_ways(report))),
    ("memory", |report| Box::pin(memory::per_puppet(report))),
    ("start", |report| Box::pin(start::and_restart(report))),
    ("crash", |report| Box::pin(crash::in_a_flood(report))),
];

#[tokio::main]
async fn main() -> ExitCode {
    // What cargo adds (`--bench`) names no scenario.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let scenarios: Vec<_> =
        SCENARIOS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name)).collect();
    if scenarios.is_empty() {
        let names: Vec<&str> = SCENARIOS.iter().map(|(name, _)| *name).collect();
        eprintln!("There is no such scenario. Choose from: {}", names.join(" "));
        return ExitCode::from(2);
    }
    // Thousands of sockets.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let mut report = Report::new(&wanted);
    for (name, run) in scenarios {
        report.begin(name);
        run(&mut report).await;
    }
    report.finish()
}

/// `full`, or `quick` if only the benchmark itself is tried (`QUICK=1`).
fn scaled<T>(full: T, quick: T) -> T {
    if is_quick() { quick } else { full }
}

/// Whether numbers are to be small.
fn is_quick() -> bool {
    std::env::var_os("QUICK").is_some_and(|quick| !quick.is_empty() && quick != "0")
}
