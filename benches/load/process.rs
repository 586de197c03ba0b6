//! What the kernel knows of the machine and of the bridge's process.

use std::{fs, time::Duration};

/// Ticks of `/proc/*/stat` per second: 100 on every Linux.
const TICKS: u64 = 100;

/// The processor time that a process has used so far, on all cores.
pub(crate) fn cpu(pid: u32) -> Duration {
    let stat = read(&format!("/proc/{pid}/stat"));
    // The second field is a name in parentheses that may hold anything; utime and stime are the 14th and 15th.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    ticks(&fields[11..13])
}

/// The processor time that the whole machine has used so far, on all cores.
pub(crate) fn machine_cpu() -> Duration {
    let stat = read("/proc/stat");
    let fields: Vec<&str> = stat.lines().next().unwrap_or_default().split_whitespace().skip(1).collect();
    // user nice system [idle iowait] irq softirq
    ticks(&[&fields[..3], &fields[5..7]].concat())
}

fn ticks(fields: &[&str]) -> Duration {
    let ticks: u64 = fields.iter().map(|field| field.parse::<u64>().expect("the kernel writes numbers")).sum();
    Duration::from_millis(ticks * 1000 / TICKS)
}

/// Resident memory in KiB: all of it, and the part that is no file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    pub(crate) anonymous: u64,
}

/// The memory of a process now.
pub(crate) fn memory(pid: u32) -> Memory {
    let status = read(&format!("/proc/{pid}/status"));
    let kib = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("every process has resident memory");
        line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("the kernel writes numbers")
    };
    Memory { resident: kib("VmRSS:"), anonymous: kib("RssAnon:") }
}

/// Processor model, cores and memory.
pub(crate) fn machine() -> String {
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split(": ").nth(1));
    let memory = read("/proc/meminfo");
    let total: u64 = memory.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{}, {cores} cores, {} GiB of memory, Linux {}",
        model.unwrap_or("unknown processor"),
        total >> 20,
        kernel.trim()
    )
}

/// The load averages.
pub(crate) fn load() -> String {
    read("/proc/loadavg").split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {path}: {error}"))
}
