//! Waiting for an event instead of for a moment.

use std::{fmt::Write as _, pin::pin, time::Duration};

use tokio::{sync::Notify, time::Instant};

/// How long a wait may take before the test fails. It is generous, so that a busy machine fails no test.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Looks again whenever `changes` is notified, until `look` finds something.
///
/// Whoever changes what `look` looks at must call [`Notify::notify_waiters`] after the change.
///
/// # Panics
/// After [`DEADLINE`], with `what` was waited for and what `dump` says was there instead.
pub async fn until<T>(
    changes: &Notify,
    what: &str,
    mut look: impl FnMut() -> Option<T>,
    dump: impl FnOnce() -> String,
) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let mut news = pin!(changes.notified());
        // Enabled before the look, so that a change between the look and the wait isn't lost.
        news.as_mut().enable();
        if let Some(found) = look() {
            return found;
        }
        let in_time = tokio::time::timeout_at(deadline, news).await.is_ok();
        assert!(in_time, "waited {} s in vain for {what}; seen instead:\n{}", DEADLINE.as_secs(), dump());
    }
}

/// One line per item, and only the last hundred, so that a failure stays readable.
pub fn listing<T: std::fmt::Display>(items: &[T]) -> String {
    let hidden = items.len().saturating_sub(100);
    let mut text = String::new();
    if hidden > 0 {
        let _ = writeln!(text, "  ... {hidden} before these");
    }
    for item in &items[hidden..] {
        let _ = writeln!(text, "  {item}");
    }
    if text.is_empty() { "  (nothing)\n".to_owned() } else { text }
}
