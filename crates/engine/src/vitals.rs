//! How a process is.

use std::sync::atomic::Ordering;
use std::time::Duration;

use keyrack_store::PoolUse;

use crate::engine::Engine;

/// How a process is, for whoever watches it.
#[derive(Clone, Debug)]
pub struct Vitals {
    /// Whether it may decide.
    pub is_serving: bool,
    /// How many secrets of keys it holds in memory.
    pub secrets: usize,
    /// The number of the newest change that decisions know.
    pub applied: i64,
    /// How long ago it was last known that decisions know every change.
    pub feed_age: Duration,
    /// How many rows of usage are in memory and not in the counts yet.
    pub usage_unwritten: usize,
    /// How long ago usage was last written down.
    pub usage_age: Duration,
    /// How many requests could not be counted since the start.
    pub usage_lost: u64,
    /// How many letters were sent since the start, how many attempts failed, and how many letters were given up.
    pub letters: [u64; 3],
    /// Connections to the database.
    pub pools: Vec<PoolUse>,
}

impl Engine {
    /// How this process is now.
    pub fn vitals(&self) -> Vitals {
        let (usage_unwritten, usage_age) = self.usage.lag();
        Vitals {
            is_serving: self.is_serving(),
            secrets: self.keyring_size(),
            applied: self.applied(),
            feed_age: self.feed_age(),
            usage_unwritten,
            usage_age,
            usage_lost: self.usage.lost(),
            letters: [&self.letters.sent, &self.letters.failed, &self.letters.given_up]
                .map(|count| count.load(Ordering::Relaxed)),
            pools: self.store.pools(),
        }
    }
}
