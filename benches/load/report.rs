//! The table: what was measured, the figure, what we aim at, and how much others used the machine meanwhile.

use std::{
    fmt::Write as _,
    path::Path,
    process::{Command, ExitCode},
    time::Instant,
};

use crate::{flow::Verdict, is_quick, process};

/// The rows so far.
pub(crate) struct Report {
    command: String,
    load_before: String,
    rows: Vec<[String; 4]>,
    failures: Vec<String>,
}

/// The use of the machine since a moment, by those who aren't measured.
pub(crate) struct Others {
    since: Instant,
    machine: std::time::Duration,
    ours: std::time::Duration,
    bridge: Option<u32>,
}

impl Others {
    /// From now on; `bridge` is the process that is measured.
    pub(crate) fn since_now(bridge: Option<u32>) -> Self {
        Self { since: Instant::now(), machine: process::machine_cpu(), ours: ours(bridge), bridge }
    }

    /// How many cores others have used since then, on average.
    pub(crate) fn cores(&self) -> f64 {
        let machine = process::machine_cpu().saturating_sub(self.machine);
        let own = ours(self.bridge).saturating_sub(self.ours);
        machine.saturating_sub(own).as_secs_f64() / self.since.elapsed().as_secs_f64()
    }
}

fn ours(bridge: Option<u32>) -> std::time::Duration {
    process::cpu(std::process::id()) + bridge.map(process::cpu).unwrap_or_default()
}

impl Report {
    /// An empty table for these scenarios (none: all).
    pub(crate) fn new(scenarios: &[String]) -> Self {
        let mut command = "cargo bench --bench load".to_owned();
        if !scenarios.is_empty() {
            let _ = write!(command, " -- {}", scenarios.join(" "));
        }
        if is_quick() {
            command.insert_str(0, "QUICK=1 ");
        }
        let load_before = process::load();
        eprintln!("{command}\n{}\nload before: {load_before}", process::machine());
        Self { command, load_before, rows: Vec::new(), failures: Vec::new() }
    }

    /// Says which scenario runs now.
    #[expect(clippy::unused_self, reason = "whoever reports speaks to the report")]
    pub(crate) fn begin(&self, scenario: &str) {
        eprintln!("\n==> {scenario}");
    }

    /// Says what is going on.
    #[expect(clippy::unused_self, reason = "whoever reports speaks to the report")]
    pub(crate) fn progress(&self, text: &str) {
        eprintln!("    {text}");
    }

    /// Adds a row, and shows it at once.
    pub(crate) fn row(
        &mut self,
        what: impl Into<String>,
        figure: impl Into<String>,
        aim: &str,
        others: Option<&Others>,
    ) {
        let others = others.map_or_else(String::new, |others| format!("{:.1}", others.cores()));
        let row = [what.into(), figure.into(), aim.to_owned(), others];
        eprintln!("    {}: {} (aim: {}; others used {} cores)", row[0], row[1], row[2], row[3]);
        self.rows.push(row);
    }

    /// Adds a row about what arrived; if that isn't everything, once and in order, the benchmark fails at its end.
    pub(crate) fn verdict(&mut self, what: &str, verdict: Verdict) {
        self.row(format!("{what}: what arrived"), verdict.to_string(), "0, 0, 0", None);
        if !verdict.is_perfect() {
            self.failures.push(format!("{what}: {verdict}"));
        }
    }

    /// Prints the table and keeps it in a file. Fails if messages did.
    pub(crate) fn finish(self) -> ExitCode {
        let mut text = format!(
            "# Benchmarks of Footbridge\n\n- Machine: {}\n- Commit: {}\n- Command: `{}`\n- Load averages before: {}; after: {}\n\n\
             The load generator (both fakes) runs on the same cores. The last column says how many of them processes that have \
             nothing to do with it used meanwhile: the larger, the less a figure says.\n\n",
            process::machine(),
            commit(),
            self.command,
            self.load_before,
            process::load()
        );
        if is_quick() {
            text.push_str("**Only a trial of the benchmark itself (`QUICK=1`): the numbers mean nothing.**\n\n");
        }
        text.push_str("| What | Figure | Aim | Others, cores |\n|---|---|---|---|\n");
        for [what, figure, aim, others] in &self.rows {
            let _ = writeln!(text, "| {what} | {figure} | {aim} | {others} |");
        }
        println!("\n{text}");
        // The folder for temporary files lies in the target folder.
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it has a parent").join("bench");
        let file = folder.join("report.md");
        match std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, &text)) {
            Ok(()) => println!("This table is also in {}", file.display()),
            Err(error) => eprintln!("The table could not be written to {}: {error}", file.display()),
        }
        for failure in &self.failures {
            eprintln!("FAILED: {failure}");
        }
        if self.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// The commit, with a mark if the sources have been changed since.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
        output
            .ok()
            .filter(|output| output.status.success())
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".to_owned() };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| !changes.is_empty());
    format!("{}{}", commit.trim(), if changed { " with changes" } else { "" })
}
