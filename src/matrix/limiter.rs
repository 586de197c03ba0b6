//! How many requests may be under way at once, in two lanes, so that a netsplit's joins and leaves never hold up messages.
//!
//! A homeserver works on a bounded number of requests at a time; what we send beyond that only waits there, where we have no
//! say in the order. So the waiting is done here: each lane is a first-come-first-served semaphore, and as each room has one
//! request under way at a time, first come first served is fair between rooms.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Requests under way in the lane of messages.
const MESSAGES: usize = 64;
/// Requests under way in the lane of noise. Synapse takes some 10 ms of its one core for a join.
const NOISE: usize = 4;

/// One lane. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Lane(Arc<Semaphore>);

impl Lane {
    /// The lane for what people wait for.
    pub(super) fn messages() -> Self {
        Self(Arc::new(Semaphore::new(MESSAGES)))
    }

    /// The lane for what nobody waits for.
    pub(super) fn noise() -> Self {
        Self(Arc::new(Semaphore::new(NOISE)))
    }

    /// Waits for its turn; the turn lasts until the permit is dropped.
    pub(super) async fn turn(&self) -> SemaphorePermit<'_> {
        self.0.acquire().await.expect("the semaphore is never closed")
    }
}
