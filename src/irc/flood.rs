//! How fast we may speak: a leaky bucket on tokio's clock, so that tests can hold the time still.
//!
//! [`LineBudget`] paces the lines of one link; [`super::connect_budget`] paces the dials of a network by the same
//! bucket. Each is asked by one waiter at a time, who sleeps until the moment it is given: governor's own waiting
//! runs on a thread of its own and isn't fair.

use std::{num::NonZeroU32, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use tokio::time::Instant;

/// The slowest rate that is told apart from standing still.
const SLOWEST: Duration = Duration::from_hours(1);

/// tokio's clock as governor sees it: the time since the bucket was made.
#[derive(Debug, Clone, Copy)]
struct Since(Instant);

impl Clock for Since {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A bucket from which one takes turns: some at once, then one each `period`.
#[derive(Debug)]
pub(super) struct Bucket {
    limiter: RateLimiter<NotKeyed, InMemoryState, Since, NoOpMiddleware<Duration>>,
    clock: Since,
}

impl Bucket {
    /// A full bucket. `None` if the period is nothing, which is no limit.
    pub(super) fn new(burst: NonZeroU32, period: Duration) -> Option<Self> {
        let quota = Quota::with_period(period.min(SLOWEST))?.allow_burst(burst);
        let clock = Since(Instant::now());
        Some(Self { limiter: RateLimiter::direct_with_clock(quota, clock), clock })
    }

    /// Takes one turn, or says when there will be one.
    pub(super) fn take(&self) -> Result<(), Instant> {
        self.limiter.check().map_err(|refused| Instant::now() + refused.wait_time_from(self.clock.now()))
    }
}

/// How many lines one link may send now.
#[derive(Debug)]
pub struct LineBudget(Option<Bucket>);

impl LineBudget {
    /// `burst` lines at once, then `per_second` (which may be a fraction). No limit if either is 0.
    #[must_use]
    pub fn new(burst: u32, per_second: f64) -> Self {
        let period = if per_second > 0.0 {
            Duration::try_from_secs_f64(per_second.recip()).unwrap_or(SLOWEST)
        } else {
            Duration::ZERO
        };
        Self(NonZeroU32::new(burst).and_then(|burst| Bucket::new(burst, period)))
    }

    /// Takes the right to send one line.
    ///
    /// # Errors
    /// The moment at which to ask again.
    pub fn take(&self) -> Result<(), Instant> {
        self.0.as_ref().map_or(Ok(()), Bucket::take)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When each of `lines` lines goes out, in milliseconds, from a link that always has one more to say.
    async fn schedule(budget: &LineBudget, lines: usize) -> Vec<u128> {
        let start = Instant::now();
        let mut times = Vec::new();
        while times.len() < lines {
            match budget.take() {
                Ok(()) => times.push(start.elapsed().as_millis()),
                Err(until) => tokio::time::sleep_until(until).await,
            }
        }
        times
    }

    #[tokio::test(start_paused = true)]
    async fn r45_a_burst_goes_at_once_and_the_rest_in_even_steps() {
        let table: [(u32, f64, &[u128]); 4] = [
            (4, 0.5, &[0, 0, 0, 0, 2000, 4000, 6000]),
            (1, 2.0, &[0, 500, 1000, 1500]),
            (2, 0.25, &[0, 0, 4000, 8000]),
            (5, 1000.0, &[0, 0, 0, 0, 0, 1, 2]),
        ];
        for (burst, rate, expected) in table {
            // tokio's timers are whole milliseconds and never early: a step may be told a millisecond late.
            let times = schedule(&LineBudget::new(burst, rate), expected.len()).await;
            for (time, expected) in times.iter().zip(expected) {
                assert!((*expected..=expected + 5).contains(time), "burst {burst}, {rate}/s: {times:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_link_earns_its_burst_again() {
        let budget = LineBudget::new(3, 0.5);
        schedule(&budget, 3).await;
        assert!(budget.take().is_err());
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert!(budget.take().is_ok() && budget.take().is_ok() && budget.take().is_ok());
        assert!(budget.take().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn zero_and_nonsense_are_no_limit() {
        for (burst, rate) in [(0, 0.0), (0, 1.0), (3, 0.0), (3, -1.0), (3, f64::NAN), (3, f64::INFINITY)] {
            let budget = LineBudget::new(burst, rate);
            assert!((0..1000).all(|_| budget.take().is_ok()), "{burst} {rate}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_too_slow_to_tell_is_a_line_an_hour() {
        let budget = LineBudget::new(1, f64::MIN_POSITIVE);
        assert!(budget.take().is_ok());
        let wait = budget.take().unwrap_err() - Instant::now();
        assert!(wait > Duration::from_secs(3599), "{wait:?}");
    }
}
