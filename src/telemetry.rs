//! Logs and metrics.
//!
//! Logs go to standard error, one span per handled event, fields dotted (`link.id`, `portal.room`, `event.id`); never
//! bodies, secrets or IP addresses. Metrics are named in [`metric`] and nowhere else; labels are network and kind only,
//! so that their number doesn't grow with users. To add one: a line in the list there, and an increment at its place.

use std::io::{self, IsTerminal as _};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
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

/// Starts counting. The handle's `render` gives the text for a scraper (Prometheus).
pub fn init_metrics() -> Result<PrometheusHandle, TelemetryError> {
    let handle =
        PrometheusBuilder::new().install_recorder().map_err(|error| TelemetryError::Twice(error.to_string()))?;
    metric::describe();
    Ok(handle)
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
        APPSERVICE_TRANSACTIONS = "footbridge_appservice_transactions_total", describe_counter, Count,
            "Transactions taken from the homeserver, by kind (new, repeated)";
        APPSERVICE_EVENTS = "footbridge_appservice_events_total", describe_counter, Count,
            "Events in them";
        MATRIX_REQUESTS = "footbridge_matrix_requests_total", describe_counter, Count,
            "Requests to the homeserver, by kind (ok, retried, failed)";
        MATRIX_REQUEST_DURATION = "footbridge_matrix_request_seconds", describe_histogram, Seconds,
            "Time until the homeserver answered";
        IRC_LINKS = "footbridge_irc_links", describe_gauge, Count,
            "Connections to a network, by kind (ready, connecting, refused)";
        IRC_CONNECTS = "footbridge_irc_connects_total", describe_counter, Count,
            "Attempts to connect, by kind (ok, failed, refused)";
        IRC_LINES_IN = "footbridge_irc_lines_received_total", describe_counter, Count,
            "Lines that came from a network";
        IRC_LINES_OUT = "footbridge_irc_lines_sent_total", describe_counter, Count,
            "Lines that went to a network";
        JOURNAL_PENDING = "footbridge_journal_pending", describe_gauge, Count,
            "Accepted and not yet settled events, by kind (matrix, irc)";
        JOURNAL_OLDEST = "footbridge_journal_oldest_seconds", describe_gauge, Seconds,
            "Age of the oldest of them, by kind (matrix, irc)";
        BRIDGE_DELIVERED = "footbridge_bridge_delivered_total", describe_counter, Count,
            "Messages that arrived, by network and kind (out, in)";
        BRIDGE_FAILED = "footbridge_bridge_failed_total", describe_counter, Count,
            "Messages whose sender was told that they did not (or may not) arrive, by network and kind (the reason)";
        BRIDGE_DELAY = "footbridge_bridge_delay_seconds", describe_histogram, Seconds,
            "Time from accepting a message to its fate, by network and kind (out, in)";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_named_alike_and_once() {
        let rooms = ["appservice", "matrix", "irc", "journal", "bridge"];
        for (n, name) in metric::ALL.iter().enumerate() {
            let room = name.strip_prefix("footbridge_").and_then(|rest| rest.split('_').next());
            assert!(room.is_some_and(|room| rooms.contains(&room)), "{name}");
            assert!(!metric::ALL[..n].contains(name), "{name} is there twice");
        }
    }

    #[test]
    fn a_filter_that_says_nothing_is_refused_with_an_example() {
        let error = init_logs(LogFormat::Text, Some("footbridge=loud")).unwrap_err().to_string();
        assert!(error.contains("RUST_LOG") && error.contains("footbridge::irc=debug"), "{error}");
    }
}
