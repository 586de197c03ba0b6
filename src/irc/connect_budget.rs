//! How often a network may be dialled, all links together, so that it doesn't take us for a flood.
//!
//! The bot goes first, as nobody's view of a channel is complete without it; then those who have something to say, which
//! may not wait for long; then the rest. Among equals, links queue in the order in which they asked. A link that no longer
//! wants to dial leaves the queue by dropping its future. A network that calls us too fast is left alone for a while,
//! whatever the budget says.

use std::{num::NonZeroU32, sync::PoisonError, time::Duration};

use tokio::{
    sync::{Mutex, Notify, watch},
    time::{Instant, sleep_until},
};

use super::flood::Bucket;

/// Who goes before whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// The network's bot.
    Bot,
    /// A puppet with something to say.
    Speaker,
    /// A puppet that only wants to be there.
    Idle,
}

/// The connection attempts that all links of one network share.
#[derive(Debug)]
pub struct ConnectBudget {
    /// `None`: no limit.
    bucket: Option<Bucket>,
    /// Nobody dials before then.
    paused_until: std::sync::Mutex<Instant>,
    /// By rank: held by the link whose turn is next. tokio's mutex is fair: first come, first served.
    turns: [Mutex<()>; 3],
    /// By rank: how many wait.
    waiting: watch::Sender<[usize; 3]>,
}

impl ConnectBudget {
    /// `per_minute` attempts, evenly spread; 0 is no limit.
    #[must_use]
    pub fn new(per_minute: u32) -> Self {
        let period = Duration::from_mins(1).checked_div(per_minute).unwrap_or_default();
        Self {
            bucket: Bucket::new(NonZeroU32::MIN, period),
            paused_until: std::sync::Mutex::new(Instant::now()),
            turns: Default::default(),
            waiting: watch::Sender::default(),
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

    /// Returns when the network may be dialled once. Dropping the future gives up the place in the queue. `has_words` tells
    /// of an idle link that it has something to say now.
    pub async fn acquire(&self, rank: Rank, has_words: &Notify) {
        if rank == Rank::Idle {
            tokio::select! {
                biased;
                () = self.acquire_as(rank) => return,
                () = has_words.notified() => {}
            }
            self.acquire_as(Rank::Speaker).await;
        } else {
            self.acquire_as(rank).await;
        }
    }

    async fn acquire_as(&self, rank: Rank) {
        let _place = Place::new(&self.waiting, rank);
        let _turn = self.turns[rank as usize].lock().await;
        let mut waiting = self.waiting.subscribe();
        loop {
            // The sender lives in `self`, so this can't fail.
            let _ = waiting.wait_for(|waiting| waiting[..rank as usize].iter().all(|ahead| *ahead == 0)).await;
            let Err(until) = self.take() else { return };
            sleep_until(until).await;
        }
    }
}

/// Holds those of lower rank back for as long as it lives.
struct Place<'a> {
    waiting: &'a watch::Sender<[usize; 3]>,
    rank: Rank,
}

impl<'a> Place<'a> {
    fn new(waiting: &'a watch::Sender<[usize; 3]>, rank: Rank) -> Self {
        waiting.send_modify(|waiting| waiting[rank as usize] += 1);
        Self { waiting, rank }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.waiting.send_modify(|waiting| waiting[self.rank as usize] -= 1);
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
            let rank = match name {
                "bot" => Rank::Bot,
                "speaker" => Rank::Speaker,
                _ => Rank::Idle,
            };
            budget.acquire(rank, &Notify::new()).await;
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
    async fn r4_who_has_something_to_say_goes_before_who_has_not() {
        let budget = Arc::new(ConnectBudget::new(4));
        let (done, mut order) = mpsc::channel(8);
        for name in ["a", "b", "c", "speaker", "bot"] {
            waiter(&budget, name, &done);
            settle().await;
        }
        // One that has waited for long, and is told now that somebody speaks.
        let (late, words) = (Arc::clone(&budget), Arc::new(Notify::new()));
        let (told, start, spoken) = (done.clone(), Instant::now(), Arc::clone(&words));
        tokio::spawn(async move {
            late.acquire(Rank::Idle, &spoken).await;
            told.send(("late", start.elapsed().as_secs())).await.unwrap();
        });
        settle().await;
        words.notify_one();
        drop(done);
        let mut seen = Vec::new();
        while let Some(one) = order.recv().await {
            seen.push(one);
        }
        assert_eq!(seen, [("a", 0), ("bot", 15), ("speaker", 30), ("late", 45), ("b", 60), ("c", 75)]);
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
            budget.acquire(Rank::Idle, &Notify::new()).await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
