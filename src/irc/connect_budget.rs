//! How often a network may be dialled, all links together, so that it doesn't take us for a flood.
//!
//! Links queue in the order in which they asked; the bot goes first, as nobody's view of a channel is complete
//! without it. A link that no longer wants to dial leaves the queue by dropping its future. A network that calls us too
//! fast is left alone for a while, whatever the budget says.

use std::{num::NonZeroU32, sync::PoisonError, time::Duration};

use tokio::{
    sync::{Mutex, watch},
    time::{Instant, sleep_until},
};

use super::flood::Bucket;

/// The connection attempts that all links of one network share.
#[derive(Debug)]
pub struct ConnectBudget {
    /// `None`: no limit.
    bucket: Option<Bucket>,
    /// Nobody dials before then.
    paused_until: std::sync::Mutex<Instant>,
    /// Held by the puppet whose turn is next. tokio's mutex is fair: first come, first served.
    turn: Mutex<()>,
    /// How many bots wait.
    bots: watch::Sender<usize>,
}

impl ConnectBudget {
    /// `per_minute` attempts, evenly spread; 0 is no limit.
    #[must_use]
    pub fn new(per_minute: u32) -> Self {
        let period = Duration::from_mins(1).checked_div(per_minute).unwrap_or_default();
        Self {
            bucket: Bucket::new(NonZeroU32::MIN, period),
            paused_until: std::sync::Mutex::new(Instant::now()),
            turn: Mutex::new(()),
            bots: watch::Sender::new(0),
        }
    }

    /// Lets nobody dial for so long: the network says that we come too fast.
    pub fn pause(&self, length: Duration) {
        *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + length;
    }

    /// Takes the right to dial once, or says when to ask again.
    fn take(&self) -> Result<(), Instant> {
        let paused_until = *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        if Instant::now() < paused_until {
            return Err(paused_until);
        }
        self.bucket.as_ref().map_or(Ok(()), Bucket::take)
    }

    /// Returns when the network may be dialled once. Dropping the future gives up the place in the queue.
    pub async fn acquire(&self, is_bot: bool) {
        if is_bot {
            let _ahead = BotWaits::new(&self.bots);
            while let Err(until) = self.take() {
                sleep_until(until).await;
            }
        } else {
            let _turn = self.turn.lock().await;
            let mut bots = self.bots.subscribe();
            loop {
                // The sender lives in `self`, so this can't fail.
                let _ = bots.wait_for(|waiting| *waiting == 0).await;
                let Err(until) = self.take() else { return };
                sleep_until(until).await;
            }
        }
    }
}

/// Holds the puppets back for as long as it lives.
struct BotWaits<'a>(&'a watch::Sender<usize>);

impl<'a> BotWaits<'a> {
    fn new(bots: &'a watch::Sender<usize>) -> Self {
        bots.send_modify(|waiting| *waiting += 1);
        Self(bots)
    }
}

impl Drop for BotWaits<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|waiting| *waiting -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::{sync::mpsc, task::JoinHandle};

    use super::*;

    /// Starts a waiter that reports its name and the second in which it was let go.
    fn waiter(
        budget: &Arc<ConnectBudget>,
        name: &'static str,
        done: &mpsc::Sender<(&'static str, u64)>,
    ) -> JoinHandle<()> {
        let (budget, done, start) = (Arc::clone(budget), done.clone(), Instant::now());
        tokio::spawn(async move {
            budget.acquire(name.starts_with("bot")).await;
            done.send((name, start.elapsed().as_secs())).await.unwrap();
        })
    }

    /// Lets every other task run until it waits for something.
    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn r45_dials_are_spread_evenly_in_order_and_the_bot_goes_first() {
        let budget = Arc::new(ConnectBudget::new(4));
        let (done, mut order) = mpsc::channel(8);
        for name in ["a", "b", "c", "bot", "d"] {
            waiter(&budget, name, &done);
            settle().await;
        }
        drop(done);
        let mut seen = Vec::new();
        while let Some(one) = order.recv().await {
            seen.push(one);
        }
        assert_eq!(seen, [("a", 0), ("bot", 15), ("b", 30), ("c", 45), ("d", 60)]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_gives_up_costs_the_others_nothing() {
        let budget = Arc::new(ConnectBudget::new(4));
        let (done, mut order) = mpsc::channel(8);
        let mut tasks = Vec::new();
        for name in ["a", "b", "bot", "c", "d"] {
            tasks.push(waiter(&budget, name, &done));
            settle().await;
        }
        assert_eq!(order.recv().await, Some(("a", 0)));
        for gone in [1, 2, 3] {
            tasks[gone].abort();
        }
        assert_eq!(order.recv().await, Some(("d", 15)));
    }

    #[tokio::test(start_paused = true)]
    async fn r45_a_network_that_calls_us_too_fast_is_left_alone_by_everyone() {
        for (per_minute, expected) in [(4, [("a", 0), ("bot", 50), ("b", 65)]), (0, [("a", 0), ("bot", 40), ("b", 40)])]
        {
            let budget = Arc::new(ConnectBudget::new(per_minute));
            let (done, mut order) = mpsc::channel(8);
            waiter(&budget, "a", &done);
            assert_eq!(order.recv().await, Some(("a", 0)));
            let pause = if per_minute == 0 { 40 } else { 50 };
            budget.pause(Duration::from_secs(pause));
            for name in ["b", "bot"] {
                waiter(&budget, name, &done);
                settle().await;
            }
            drop(done);
            let mut seen = vec![("a", 0)];
            while let Some(one) = order.recv().await {
                seen.push(one);
            }
            assert_eq!(seen, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn zero_is_no_limit() {
        let budget = ConnectBudget::new(0);
        let start = Instant::now();
        for _ in 0..100 {
            budget.acquire(false).await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
