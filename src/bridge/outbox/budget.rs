//! How many joins and leaves the homeserver is asked for.

// Held for a line, never over an await.
use std::sync::{Mutex, PoisonError};

use tokio::time::{Duration, Instant, sleep_until};

/// The budget of all lanes together. What people wait for is spent at once; everything else has its turn.
pub(super) struct Budget {
    /// Between two; none if there is no limit.
    pause: Option<Duration>,
    /// When the next one may be.
    next: Mutex<Instant>,
    /// One after the other.
    turn: tokio::sync::Mutex<()>,
}

impl Budget {
    /// So many in a second; 0: no limit.
    pub(super) fn new(per_second: u32) -> Self {
        let pause = (per_second > 0).then(|| Duration::from_secs(1) / per_second);
        Self { pause, next: Mutex::new(Instant::now()), turn: tokio::sync::Mutex::default() }
    }

    /// Waits for one's turn, and takes it. It isn't taken if this is dropped before.
    pub(super) async fn wait(&self) {
        let _turn = self.turn.lock().await;
        while let Err(at) = self.take(false) {
            sleep_until(at).await;
        }
    }

    /// Takes a turn that can't wait: others wait for longer.
    pub(super) fn spend(&self) {
        let _ = self.take(true);
    }

    fn take(&self, at_once: bool) -> Result<(), Instant> {
        let Some(pause) = self.pause else { return Ok(()) };
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if *next > now && !at_once {
            return Err(*next);
        }
        *next = (*next).max(now) + pause;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn r78_no_more_than_so_many_in_a_second() {
        let budget = Budget::new(10);
        let start = Instant::now();
        for _ in 0..31 {
            budget.wait().await;
        }
        assert_eq!(start.elapsed().as_secs(), 3);
        // Who has something to say doesn't wait, but counts.
        for _ in 0..20 {
            budget.spend();
        }
        assert_eq!(start.elapsed().as_secs(), 3);
        budget.wait().await;
        assert_eq!(start.elapsed().as_secs(), 5);
        assert!(tokio::time::timeout(Duration::from_millis(50), budget.wait()).await.is_err());
        let waited = Instant::now();
        budget.wait().await;
        assert!(waited.elapsed() <= Duration::from_millis(51), "what was given up wasn't taken");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_no_limit() {
        let (budget, start) = (Budget::new(0), Instant::now());
        for _ in 0..1000 {
            budget.wait().await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
