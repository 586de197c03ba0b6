//! How long to wait before the next dial, with jitter, so that a thousand links that fell together don't rise
//! together.

use super::refusal::Closing;

/// A connection that was up for this long counts as good: the next wait begins small again. In milliseconds.
const GOOD: u64 = 60_000;

/// Counts failures in a row, and spreads the waits.
#[derive(Debug)]
pub(super) struct Backoff {
    failures: u32,
    random: u64,
}

impl Backoff {
    pub(super) const fn new(seed: u64) -> Self {
        Self { failures: 0, random: seed }
    }

    /// A connection ended that had been on the network for `ready_for` milliseconds.
    pub(super) const fn was_ready(&mut self, ready_for: u64) {
        if ready_for >= GOOD {
            self.failures = 0;
        }
    }

    /// How many milliseconds to wait now.
    pub(super) fn next(&mut self, closing: Closing) -> u64 {
        let (first, most) = match closing {
            Closing::Lost => (1_000, 300_000),
            Closing::Throttled | Closing::Later => (60_000, 1_800_000),
            Closing::Full | Closing::Banned => (120_000, 1_800_000),
        };
        let wait = (first << self.failures.min(16)).min(most);
        self.failures = self.failures.saturating_add(1);
        // Never below the promised time; up to a quarter above.
        wait + self.random() % (wait / 4 + 1)
    }

    /// The next of a row of numbers that the seed begins (SplitMix64, <https://prng.di.unimi.it/splitmix64.c>).
    const fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r45_waits_grow_to_a_bound_and_are_spread() {
        let waits: Vec<u64> = {
            let mut backoff = Backoff::new(1);
            (0..40).map(|_| backoff.next(Closing::Lost)).collect()
        };
        for (n, wait) in waits.iter().enumerate() {
            let base = (1_000_u64 << n.min(20)).min(300_000);
            assert!((base..=base + base / 4).contains(wait), "{n}: {wait}");
        }
        assert_ne!(Backoff::new(1).next(Closing::Lost), Backoff::new(2).next(Closing::Lost));
        assert!(Backoff::new(3).next(Closing::Throttled) >= 60_000);
        assert!(Backoff::new(3).next(Closing::Full) >= 120_000);
    }

    #[test]
    fn only_a_good_connection_makes_the_wait_small_again() {
        let mut backoff = Backoff::new(1);
        for _ in 0..5 {
            backoff.next(Closing::Lost);
        }
        backoff.was_ready(59_999);
        assert!(backoff.next(Closing::Lost) >= 32_000);
        backoff.was_ready(60_000);
        assert!(backoff.next(Closing::Lost) <= 1_250);
    }
}
