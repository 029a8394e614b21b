//! How often an address was answered 401 lately, or an account was guessed at: guessing costs the guesser.
//!
//! In bounded memory, however many addresses there are: a table of counters in which the one that matters least makes room. Who
//! overflows it makes the limit laxer for others. A good key is never refused for its address's sins, since
//! only what is answered 401 is counted and looked at.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keyrack_core::address::canonical;

/// How many places a set has.
const PLACES: usize = 4;

/// A counter: whose, since when and how many. In one word, so that nobody waits.
#[derive(Clone, Copy)]
struct Counter(u64);

impl Counter {
    fn new(whose: u32, since: u16, count: u16) -> Self {
        Self(u64::from(whose) << 32 | u64::from(since) << 16 | u64::from(count))
    }

    fn whose(self) -> u32 {
        u32::try_from(self.0 >> 32).unwrap_or(0)
    }

    fn since(self) -> u16 {
        u16::try_from(self.0 >> 16 & 0xffff).unwrap_or(0)
    }

    fn count(self) -> u16 {
        u16::try_from(self.0 & 0xffff).unwrap_or(0)
    }

    fn is_over(self, now: u16, window: Duration) -> bool {
        self.count() == 0 || u64::from(now.wrapping_sub(self.since())) >= window.as_secs()
    }
}

/// Counts failures by whoever caused them.
pub(crate) struct Failures {
    /// How many each may have within the window; 0 for any number.
    limit: u16,
    /// For how long they count together, an hour at most.
    window: Duration,
    begun: Instant,
    hash: RandomState,
    counters: Box<[AtomicU64]>,
}

impl Failures {
    /// So many within a time; 0 for any number. Whoever causes them is told apart by a hash, and has a place in one of these sets.
    pub(crate) fn new(limit: u16, window: Duration, sets: usize) -> Self {
        let places = if limit == 0 { 0 } else { sets * PLACES };
        let counters = std::iter::repeat_with(AtomicU64::default).take(places).collect();
        Self { limit, window, begun: Instant::now(), hash: RandomState::new(), counters }
    }

    /// Counts a failure. In how many seconds to come again, if it is one too many.
    pub(crate) fn note(&self, whose: impl Hash) -> Option<u64> {
        self.note_at(whose, self.begun.elapsed().as_secs())
    }

    /// In how many seconds to come again, if one more would be one too many. Counts nothing.
    pub(crate) fn look(&self, whose: impl Hash) -> Option<u64> {
        self.look_at(whose, self.begun.elapsed().as_secs())
    }

    /// Forgets failures: whoever it was has shown who they are.
    pub(crate) fn forget(&self, whose: impl Hash) {
        let now = seconds(self.begun.elapsed().as_secs());
        let Some((places, whose)) = self.places(whose) else { return };
        for place in places {
            let seen = Counter(place.load(Ordering::Relaxed));
            if seen.whose() == whose && !seen.is_over(now, self.window) {
                let _ = place.compare_exchange(seen.0, 0, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
    }

    /// Where somebody's counter may stand, and what it is known by.
    fn places(&self, whose: impl Hash) -> Option<(&[AtomicU64], u32)> {
        let sets = self.counters.len() / PLACES;
        let hash = self.hash.hash_one(whose);
        let first = usize::try_from(hash).unwrap_or(0).checked_rem(sets)? * PLACES;
        Some((self.counters.get(first..first + PLACES)?, u32::try_from(hash >> 32).unwrap_or(0)))
    }

    fn look_at(&self, whose: impl Hash, second: u64) -> Option<u64> {
        let now = seconds(second);
        let (places, whose) = self.places(whose)?;
        let mut seen = places.iter().map(|place| Counter(place.load(Ordering::Relaxed)));
        let own = seen.find(|seen| seen.whose() == whose && !seen.is_over(now, self.window))?;
        (own.count() >= self.limit).then(|| self.rest(own, now))
    }

    fn note_at(&self, whose: impl Hash, second: u64) -> Option<u64> {
        let now = seconds(second);
        let (places, whose) = self.places(whose)?;
        let load = |place: &AtomicU64| Counter(place.load(Ordering::Relaxed));
        let is_over = |seen: Counter| seen.is_over(now, self.window);
        // Its own; else the one that matters least.
        let own = places.iter().find(|place| load(place).whose() == whose && !is_over(load(place)));
        let least = || places.iter().min_by_key(|place| (!is_over(load(place)), load(place).count()));
        let place = own.or_else(least)?;
        let seen = load(place);
        let is_own = seen.whose() == whose && !is_over(seen);
        let (since, count) = if is_own { (seen.since(), seen.count().saturating_add(1)) } else { (now, 1) };
        let counted = Counter::new(whose, since, count);
        // Whoever is in between counts, and this one does not.
        let _ = place.compare_exchange(seen.0, counted.0, Ordering::Relaxed, Ordering::Relaxed);
        (counted.count() > self.limit).then(|| self.rest(counted, now))
    }

    /// How long a counter goes on.
    fn rest(&self, counter: Counter, now: u16) -> u64 {
        let window = self.window.as_secs();
        window - u64::from(now.wrapping_sub(counter.since())).min(window - 1)
    }
}

/// Seconds as counters have them. They come round after 18 hours.
fn seconds(second: u64) -> u16 {
    u16::try_from(second & 0xffff).unwrap_or(0)
}

/// What counts as one address: of IPv6 the network that one customer has.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match canonical(address) {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);
    const SETS: usize = 1 << 14;

    fn v4(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn the_hundred_and_first_within_a_minute_is_one_too_many() {
        let failures = Failures::new(100, MINUTE, SETS);
        for at in 0..100 {
            assert_eq!(failures.note_at(v4(1), at / 10), None);
        }
        assert_eq!(failures.note_at(v4(1), 20), Some(40));
        assert_eq!(failures.note_at(v4(2), 20), None, "somebody else");
        assert_eq!(failures.note_at(v4(1), 59), Some(1));
        assert_eq!(failures.note_at(v4(1), 60), None, "a minute later");
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_a_mapped_one_is_its_ipv4() {
        let failures = Failures::new(2, MINUTE, SETS);
        let seen = [
            "2001:db8::1",
            "2001:db8::ffff:2",
            "2001:db8:0:1::1",
            "2001:db8::3",
            "::ffff:192.0.2.1",
            "192.0.2.1",
            "192.0.2.1",
        ];
        let told = seen.map(|address| failures.note_at(network_of(address.parse().unwrap()), 5).is_some());
        assert_eq!(told, [false, false, false, true, false, false, true]);
    }

    #[test]
    fn a_million_addresses_take_no_more_memory_and_a_guesser_among_them_is_told() {
        let failures = Failures::new(100, MINUTE, SETS);
        assert_eq!(failures.counters.len() * size_of::<AtomicU64>(), 512 * 1024);
        let mut told = 0;
        for number in 0..1_000_000 {
            assert_eq!(failures.note_at(v4(number), 7), None, "nobody is refused for the others");
            // The guesser is quicker than each of them.
            if number % 100 == 0 {
                told += u32::from(failures.note_at(v4(u32::MAX), 7).is_some());
            }
        }
        assert!(told > 9_000, "{told}");
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let failures = Failures::new(0, MINUTE, SETS);
        assert!((0..1000).all(|_| failures.note_at(v4(1), 1).is_none()) && failures.counters.is_empty());
    }

    #[test]
    fn a_look_counts_nothing_and_who_is_known_begins_anew() {
        let failures = Failures::new(2, MINUTE * 15, 16);
        for _ in 0..9 {
            assert_eq!(failures.look_at("ada", 5), None);
        }
        assert_eq!(
            (failures.note_at("ada", 0), failures.look_at("ada", 10), failures.note_at("ada", 10)),
            (None, None, None)
        );
        assert_eq!(failures.look_at("ada", 10), Some(890), "two there were");
        assert_eq!(failures.look_at("ada", 900), None);
        failures.note("ada");
        failures.note("ada");
        assert!(failures.look("ada").is_some());
        failures.forget("ada");
        assert!(failures.look("ada").is_none());
    }
}
