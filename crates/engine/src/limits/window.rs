//! What this process has counted of one rate limit.

use std::sync::atomic::{AtomicU64, Ordering};

use keyrack_core::RateLimit;
use keyrack_core::rate::{COUNTED, Counts, Level};

const COUNT_BITS: u32 = 30;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
const PART_BITS: u32 = 33;
const PART: u64 = (1 << PART_BITS) - 1;
const SEALED: u64 = 1 << 63;

/// A slot: how many units were counted in which part, and whether that part is over. In one word, so that units are only
/// ever added to a part that is not.
#[derive(Clone, Copy)]
struct Slot(u64);

impl Slot {
    fn new(part: u64, count: u64) -> Self {
        Self((part & PART) << COUNT_BITS | (count & COUNT))
    }

    /// How many parts ago its part was; `None` if that is yet to come.
    fn age(self, part: u64) -> Option<u64> {
        // Numbers of parts come round after years, so whatever is far behind is ahead.
        let age = part.wrapping_sub(self.0 >> COUNT_BITS) & PART;
        (age <= PART / 2).then_some(age)
    }

    fn count(self) -> u64 {
        self.0 & COUNT
    }

    fn is_sealed(self) -> bool {
        self.0 & SEALED != 0
    }
}

/// What has been counted of one rate limit. It is shared by all threads and waits for none: a part of the window is closed
/// before a later one is opened, so that what was counted before is known for good.
#[derive(Debug)]
pub(crate) struct Window {
    /// The number of the part that counts now.
    current: AtomicU64,
    slots: [AtomicU64; COUNTED],
}

/// Units that were counted, and may be given back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    pub(super) part: u64,
    pub(super) units: u32,
}

impl Window {
    /// One in which nothing was counted, at a moment by the same clock as the later ones.
    pub(crate) fn new(limit: RateLimit, at: i64) -> Self {
        let part = limit.part_at(at);
        let before = Slot::new(part.wrapping_sub(1), 0).0 | SEALED;
        Self { current: AtomicU64::new(part), slots: std::array::from_fn(|_| AtomicU64::new(before)) }
    }

    /// Counts units if the limit allows them; and how it stands then.
    pub(crate) fn take(&self, limit: RateLimit, at: i64, units: u32) -> Option<(Counted, Level)> {
        let mut part = limit.part_at(at);
        loop {
            part = self.open(part);
            let slot = self.slot(part);
            let seen = Slot(slot.load(Ordering::Acquire));
            let running = match seen.age(part) {
                Some(0) if !seen.is_sealed() => seen.count(),
                Some(1..) => 0,
                // Somebody is about to open a later part, or has. Whoever that is need not be waited for.
                _ => {
                    part += 1;
                    continue;
                }
            };
            // Those before are all closed.
            let mut counts = Counts::new(part, std::array::from_fn(|age| self.counted_before(part, age as u64)));
            counts.add(running + u64::from(units));
            if counts.sum() > limit.limit().into() {
                return None;
            }
            let counted = Slot::new(part, running + u64::from(units));
            if slot.compare_exchange(seen.0, counted.0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return Some((Counted { part, units }, counts.level(limit, at, 0)));
            }
        }
    }

    /// Gives back what was counted for nothing.
    pub(crate) fn give_back(&self, counted: Counted) {
        let without = |slot: u64| {
            let slot = Slot(slot);
            let has = slot.age(counted.part) == Some(0) && slot.count() >= counted.units.into();
            has.then(|| slot.0 - u64::from(counted.units))
        };
        let _ = self.slot(counted.part).fetch_update(Ordering::AcqRel, Ordering::Acquire, without);
    }

    /// How the limit stands; with `units`, when so many will be left.
    pub(crate) fn level(&self, limit: RateLimit, at: i64, units: u32) -> Level {
        let part = limit.part_at(at).max(self.current.load(Ordering::Acquire));
        Counts::new(part, std::array::from_fn(|age| self.counted_in(part, age as u64))).level(limit, at, units)
    }

    /// Opens a part, unless a later one is open already; the number of the one that is.
    fn open(&self, part: u64) -> u64 {
        loop {
            let current = self.current.load(Ordering::Acquire);
            if current >= part {
                return current;
            }
            self.seal(current);
            if self.current.compare_exchange(current, part, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return part;
            }
        }
    }

    /// Closes a part: nobody counts anything in it any more.
    fn seal(&self, part: u64) {
        let sealed = |slot: u64| match Slot(slot).age(part) {
            Some(0) => Some(slot | SEALED),
            Some(_) => Some(Slot::new(part, 0).0 | SEALED),
            None => None,
        };
        let _ = self.slot(part).fetch_update(Ordering::AcqRel, Ordering::Acquire, sealed);
    }

    /// What was counted in a part before the one given; nothing in that itself.
    fn counted_before(&self, part: u64, age: u64) -> u64 {
        if age == 0 { 0 } else { self.counted_in(part, age) }
    }

    fn counted_in(&self, part: u64, age: u64) -> u64 {
        let slot = Slot(self.slot(part.wrapping_sub(age)).load(Ordering::Acquire));
        if slot.age(part) == Some(age) { slot.count() } else { 0 }
    }

    fn slot(&self, part: u64) -> &AtomicU64 {
        &self.slots[usize::try_from(part).unwrap_or(0) % COUNTED]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI64;

    use keyrack_core::rate::PARTS;
    use proptest::prelude::*;

    use super::*;

    fn limit(units: i64, seconds: i64) -> RateLimit {
        RateLimit::new(units, seconds).unwrap()
    }

    /// The most units that were let in within any window of this length.
    fn most_within(let_in: &[(i64, u32)], length: i64) -> u64 {
        let ending_at = |end: i64| let_in.iter().filter(move |(at, _)| *at <= end && *at > end - length);
        let_in.iter().map(|(at, _)| ending_at(*at).map(|(_, units)| u64::from(*units)).sum()).max().unwrap_or(0)
    }

    proptest! {
        #[test]
        fn no_window_ever_holds_more_than_the_limit(
            units in 1..50_i64,
            seconds in 1..100_i64,
            start in 0..2_000_000_000_000_000_i64,
            asked in prop::collection::vec((0..20_000_000_i64, 1..5_u32), 1..300),
        ) {
            let limit = limit(units, seconds);
            let window = Window::new(limit, start);
            let (mut at, mut let_in) = (start, Vec::new());
            for (later, units) in asked {
                at += later;
                if let Some((_, level)) = window.take(limit, at, units) {
                    prop_assert_eq!(level, window.level(limit, at, 0));
                    let_in.push((at, units));
                }
            }
            prop_assert!(most_within(&let_in, seconds * 1_000_000) <= u64::try_from(units).unwrap());
        }

        #[test]
        fn whoever_asks_steadily_at_nine_tenths_of_the_rate_is_never_refused(
            units in 1..2000_i64,
            seconds in prop::sample::select(vec![1_i64, 2, 7, 10, 60, 3600, 86_400, 31 * 86_400]),
            start in 0..2_000_000_000_000_000_i64,
        ) {
            let limit = limit(units, seconds);
            let window = Window::new(limit, start);
            for at in 0..units * 9 {
                // So many tenths of the rate for ten windows.
                let moment = start + i64::try_from(i128::from(at) * i128::from(seconds) * 10_000_000 / i128::from(units * 9)).unwrap();
                prop_assert!(window.take(limit, moment, 1).is_some(), "request {} of {} in {} s", at, units, seconds);
            }
        }

        #[test]
        fn whoever_waits_as_long_as_told_gets_it(
            units in 1..20_u32,
            seconds in 1..100_i64,
            asked in prop::collection::vec((0..9_000_000_i64, 1..20_u32), 1..60),
        ) {
            let limit = limit(units.into(), seconds);
            let window = Window::new(limit, 77);
            let mut at = 77;
            for (later, wanted) in asked {
                at += later;
                let wanted = wanted.min(units);
                if window.take(limit, at, wanted).is_none() {
                    let level = window.level(limit, at, wanted);
                    prop_assert!(level.remaining < wanted && level.more_in > 0);
                    let wait = i64::try_from(level.more_in).unwrap();
                    prop_assert!(window.take(limit, at + wait - 1, wanted).is_none(), "not a moment sooner");
                    at += wait;
                    prop_assert!(window.take(limit, at, wanted).is_some());
                }
            }
        }
    }

    #[test]
    fn what_is_given_back_can_be_had_again() {
        let limit = limit(10, 1);
        let window = Window::new(limit, 0);
        let (counted, _) = window.take(limit, 0, 10).unwrap();
        assert!(window.take(limit, 1, 1).is_none());
        // Also when its part is over.
        assert!(window.take(limit, 100_000, 1).is_none());
        window.give_back(counted);
        assert!(window.take(limit, 100_000, 10).is_some());
        assert_eq!(window.level(limit, 100_000, 0), Level { remaining: 0, more_in: 1_025_000 });
    }

    #[test]
    fn a_clock_that_goes_back_opens_nothing() {
        let limit = limit(3, 1);
        let window = Window::new(limit, 10_000_000);
        assert!(window.take(limit, 10_000_000, 3).is_some());
        for at in [9_999_999, 0, i64::MIN, 10_000_001] {
            assert!(window.take(limit, at, 1).is_none(), "{at}");
        }
    }

    #[test]
    fn threads_together_get_no_more_than_the_limit_while_parts_come_and_go() {
        let limit = limit(1000, 1);
        let (window, clock) = (Window::new(limit, 0), AtomicI64::new(0));
        let counted_in: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        // Each step is 100 us, and a thread that is held up between two of them is many parts late.
                        let ask = |_| window.take(limit, clock.fetch_add(100, Ordering::Relaxed), 1);
                        (0..20_000).filter_map(ask).map(|(counted, _)| counted.part).collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let last = *counted_in.iter().max().unwrap();
        for first in 0..=last {
            let sum = counted_in.iter().filter(|part| (first..=first + PARTS).contains(part)).count();
            assert!(sum <= 1000, "{sum} in the parts from {first}");
        }
        assert!(counted_in.len() > 7 * 1000 * 16 / 17, "{} of 8 windows' worth", counted_in.len());
    }
}
