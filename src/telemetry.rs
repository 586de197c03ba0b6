//! Logs and metrics.
//!
//! Logs go to standard error, one span per handled event, fields dotted (`link.id`, `portal.room`, `event.id`); never
//! bodies, secrets or IP addresses. Metrics are named in [`metric`] and nowhere else; labels are network and kind only,
//! so that their number doesn't grow with users. To add one: a line in the list there, and an increment at its place.

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why there are no logs or metrics.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `RUST_LOG` can't be understood.
    #[error(
        "the environment variable RUST_LOG is no log filter: {0}\n  Use a level, such as `debug`, or `footbridge::irc=debug,info`."
    )]
    Filter(String),
    /// Somebody else has set up logs or metrics in this process.
    #[error("logs or metrics have been set up already: {0}")]
    Twice(String),
}

/// Sends logs to standard error, as much as `filter` (the syntax of `RUST_LOG`) says.
pub fn init_logs(format: LogFormat, filter: Option<&str>) -> Result<(), TelemetryError> {
    let filter =
        EnvFilter::try_new(filter.unwrap_or("info")).map_err(|error| TelemetryError::Filter(error.to_string()))?;
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Text => registry.with(lines.with_target(false)).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    }
    .map_err(|error| TelemetryError::Twice(error.to_string()))
}

/// Bounds of the histogram's buckets, in seconds: from a commit in memory to a disk that gives up.
const COMMIT_SECONDS: [f64; 9] = [0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 10.0];
/// How often samples are put into their buckets. Until then they take memory, whether anybody scrapes or not.
const UPKEEP: Duration = Duration::from_secs(5);

/// Starts counting, in a tokio runtime. The handle's `render` gives the text for a scraper (Prometheus).
pub fn init_metrics() -> Result<PrometheusHandle, TelemetryError> {
    let handle = builder().install_recorder().map_err(|error| TelemetryError::Twice(error.to_string()))?;
    metric::describe();
    let recorder = handle.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            recorder.run_upkeep();
        }
    });
    Ok(handle)
}

fn builder() -> PrometheusBuilder {
    let commits = Matcher::Full(metric::STORE_COMMIT_SECONDS.to_owned());
    PrometheusBuilder::new().set_buckets_for_metric(commits, &COMMIT_SECONDS).expect("there are buckets")
}

/// The names of all metrics: `footbridge_<room>_<thing>_<unit or total>`.
pub mod metric {
    /// Makes a constant for each metric and one function that tells the recorder what they mean.
    macro_rules! metrics {
        ($($name:ident = $text:literal, $describe:ident, $unit:ident, $help:literal;)*) => {
            $(#[doc = $help] pub const $name: &str = $text;)*

            pub(super) fn describe() {
                $(metrics::$describe!($name, metrics::Unit::$unit, $help);)*
            }

            #[cfg(test)]
            pub(super) const ALL: &[&str] = &[$($text),*];
        };
    }

    metrics! {
        BRIDGE_MATRIX_MESSAGES = "footbridge_bridge_matrix_messages_total", describe_counter, Count,
            "Matrix events that went to IRC, by outcome (delivered, failed, uncertain); of the latter two the sender was told";
        BRIDGE_IRC_MESSAGES = "footbridge_bridge_irc_messages_total", describe_counter, Count,
            "Lines that people said on IRC, by network and outcome (delivered, failed), once for each room";
        BRIDGE_UNDER_WAY = "footbridge_bridge_under_way", describe_gauge, Count,
            "Matrix events handed to IRC connections whose fate isn't known yet";
        BRIDGE_WAITING_ROOMS = "footbridge_bridge_waiting_rooms", describe_gauge, Count,
            "Strict rooms in which what comes from IRC waits, since somebody who could read it isn't seen there";
        BRIDGE_MEMBERS_DIFFERENCE = "footbridge_bridge_members_difference", describe_gauge, Count,
            "Ghosts by which rooms differed from their channels when they were last compared";
        BRIDGE_MEMBERS_AGE = "footbridge_bridge_members_agreed_seconds", describe_gauge, Seconds,
            "Time since a room was last seen to have the members that it should have, of the room where that is longest ago";
        BRIDGE_MEMBERS_WAITING = "footbridge_bridge_members_waiting", describe_gauge, Count,
            "Joins and leaves of ghosts that wait for their turn";
        IRC_LINKS = "footbridge_irc_links", describe_gauge, Count,
            "Connections, by network and state";
        IRC_LINES = "footbridge_irc_lines_total", describe_counter, Count,
            "Lines, by network and direction (in, out)";
        IRC_DROPPED_LINES = "footbridge_irc_dropped_lines_total", describe_counter, Count,
            "Lines from a network that were longer than lines may be, by network";
        STORE_JOURNAL_UNSETTLED = "footbridge_store_journal_unsettled", describe_gauge, Count,
            "Accepted and not yet settled events, by direction (matrix, irc)";
        STORE_JOURNAL_ERRORS = "footbridge_store_journal_errors_total", describe_counter, Count,
            "Commits of the journal that failed and were tried again";
        STORE_COMMIT_SECONDS = "footbridge_store_commit_seconds", describe_histogram, Seconds,
            "Time that a commit of the journal took";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_named_alike_and_once() {
        let rooms = ["bridge", "irc", "matrix", "store"];
        for (n, name) in metric::ALL.iter().enumerate() {
            let room = name.strip_prefix("footbridge_").and_then(|rest| rest.split('_').next());
            assert!(room.is_some_and(|room| rooms.contains(&room)), "{name}");
            assert!(!metric::ALL[..n].contains(name), "{name} is there twice");
        }
    }

    #[test]
    fn times_are_counted_in_buckets() {
        let recorder = builder().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            metrics::histogram!(metric::STORE_COMMIT_SECONDS).record(Duration::from_millis(2));
        });
        recorder.handle().run_upkeep();
        let page = recorder.handle().render();
        for line in ["_bucket{le=\"0.001\"} 0", "_bucket{le=\"0.003\"} 1", "_bucket{le=\"+Inf\"} 1", "_count 1"] {
            assert!(page.contains(&format!("{}{line}", metric::STORE_COMMIT_SECONDS)), "{line} in {page}");
        }
    }

    #[test]
    fn a_filter_that_says_nothing_is_refused_with_an_example() {
        let error = init_logs(LogFormat::Text, Some("footbridge=loud")).unwrap_err().to_string();
        assert!(error.contains("RUST_LOG") && error.contains("footbridge::irc=debug"), "{error}");
    }
}
