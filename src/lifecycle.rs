//! How the process lives: signals, the service manager, and stopping in two steps.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

/// How long a soft stop may take before it is a hard one.
const SOFT_STOP: Duration = Duration::from_secs(20);

/// Tells the service manager (systemd's `Type=notify`) that we are up. Without one this does nothing.
pub fn ready() {
    notify(sd_notify::NotifyState::Ready);
}

/// Tells the service manager that we are going down.
pub fn stopping() {
    notify(sd_notify::NotifyState::Stopping);
}

fn notify(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "could not tell the service manager");
    }
}

/// Waits for SIGTERM or SIGINT.
pub async fn stop_requested() {
    let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be listened for");
    let mut interrupt = signal(SignalKind::interrupt()).expect("SIGINT can be listened for");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Finishes in good order, unless that takes too long or a second signal comes. The journal has what is left then.
pub async fn or_hard_stop(finish: impl Future<Output = ()>) {
    tokio::select! {
        () = finish => {}
        () = stop_requested() => tracing::warn!("stopping at once; what is left is done by the next run"),
        () = tokio::time::sleep(SOFT_STOP) => tracing::warn!("stopping took too long; what is left is done by the next run"),
    }
}
