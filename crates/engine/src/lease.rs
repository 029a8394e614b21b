//! Until when this process may decide from memory.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::clock::Reading;

/// How long a lease runs from before its renewal was sent.
pub(crate) const DURATION: Duration = Duration::from_secs(1);
/// The same in microseconds.
const LENGTH: i64 = 1_000_000;
/// How far the wall clock may move against the other one before a lease is void: a machine that was frozen knows nothing of
/// the time that has passed.
const TOLERANCE: i64 = 250_000;
const FOREVER: i64 = i64::MAX;
const NEVER: i64 = i64::MIN;

/// A lease. It is read at every decision and changed by one task.
pub(crate) struct Lease {
    /// By the clock that goes on since the machine started.
    until: AtomicI64,
    /// By the wall clock: it ends at whichever comes first.
    wall_until: AtomicI64,
}

impl Lease {
    /// One that nobody can take away: of a process that alone may change what it decides by, or that serves nobody.
    pub(crate) fn forever() -> Self {
        Self { until: AtomicI64::new(FOREVER), wall_until: AtomicI64::new(FOREVER) }
    }

    /// Extends it from a moment before the renewal was sent.
    pub(crate) fn grant(&self, sent: Reading) {
        self.wall_until.store(sent.wall + LENGTH, Ordering::Release);
        self.until.store(sent.boot + LENGTH, Ordering::Release);
    }

    /// Ends it, if it is one that can end.
    pub(crate) fn suspend(&self) {
        let _ =
            self.until.fetch_update(Ordering::AcqRel, Ordering::Acquire, |until| (until != FOREVER).then_some(NEVER));
    }

    /// Ends it.
    pub(crate) fn end(&self) {
        self.until.store(NEVER, Ordering::Release);
    }

    /// Whether it runs. The clocks are not looked at where it does not depend on them.
    pub(crate) fn is_live(&self, read: impl FnOnce() -> Reading) -> bool {
        let until = self.until.load(Ordering::Acquire);
        if until == FOREVER || until == NEVER {
            return until == FOREVER;
        }
        let now = read();
        let (left, wall_left) = (until - now.boot, self.wall_until.load(Ordering::Acquire) - now.wall);
        left > 0 && wall_left > 0 && (left - wall_left).abs() <= TOLERANCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: Reading = Reading { boot: 5_000_000, wall: 1_800_000_000_000_000 };

    fn after(boot: i64, wall: i64) -> Reading {
        Reading { boot: SENT.boot + boot, wall: SENT.wall + wall }
    }

    #[test]
    fn it_runs_a_second_from_before_the_renewal_was_sent() {
        let lease = Lease::forever();
        lease.grant(SENT);
        assert!(lease.is_live(|| SENT));
        assert!(lease.is_live(|| after(999_999, 999_999)));
        assert!(!lease.is_live(|| after(1_000_000, 1_000_000)));
        lease.grant(after(500_000, 500_000));
        assert!(lease.is_live(|| after(1_400_000, 1_400_000)));
    }

    #[test]
    fn it_is_void_once_one_clock_has_moved_against_the_other() {
        let lease = Lease::forever();
        lease.grant(SENT);
        for (wall, is_live) in [(350_001, false), (350_000, true), (-150_000, true), (-150_001, false)] {
            assert_eq!(lease.is_live(|| after(100_000, wall)), is_live, "{wall}");
        }
        assert!(!lease.is_live(|| after(800_000, 1_000_000)), "it ends by whichever clock is ahead");
        assert!(lease.is_live(|| after(100_000, 100_000)), "and runs again when it was only set and set back");
    }

    #[test]
    fn what_depends_on_no_clock_looks_at_none() {
        let lease = Lease::forever();
        assert!(lease.is_live(|| unreachable!()));
        lease.end();
        assert!(!lease.is_live(|| unreachable!()));
    }
}
