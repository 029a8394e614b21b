//! How often an address was answered 401 lately: guessing keys costs the guesser.
//!
//! In bounded memory, however many addresses there are: a table of counters in which the one that matters least makes room. Who
//! overflows it makes the limit laxer for others. A good key is never refused for its address's sins, since
//! only what is answered 401 is counted and looked at.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keyrack_core::address::canonical;

/// Addresses are told apart by a hash; each has its place in one of these sets.
const SETS: usize = 1 << 14;
/// How many places a set has.
const PLACES: usize = 4;
/// For how long failures count together.
const WINDOW: Duration = Duration::from_mins(1);

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

    fn is_over(self, now: u16) -> bool {
        self.count() == 0 || u64::from(now.wrapping_sub(self.since())) >= WINDOW.as_secs()
    }
}

/// Counts 401s by address.
pub(crate) struct Failures {
    /// How many a minute an address may have; 0 for any number.
    limit: u16,
    begun: Instant,
    hash: RandomState,
    counters: Box<[AtomicU64]>,
}

impl Failures {
    /// So many a minute; 0 for any number.
    pub(crate) fn new(limit: u16) -> Self {
        let places = if limit == 0 { 0 } else { SETS * PLACES };
        let counters = std::iter::repeat_with(AtomicU64::default).take(places).collect();
        Self { limit, begun: Instant::now(), hash: RandomState::new(), counters }
    }

    /// Counts a 401. In how many seconds to come again, if it is one too many.
    pub(crate) fn note(&self, address: IpAddr) -> Option<u64> {
        self.note_at(address, self.begun.elapsed().as_secs())
    }

    fn note_at(&self, address: IpAddr, second: u64) -> Option<u64> {
        if self.limit == 0 {
            return None;
        }
        // Comes round after 18 hours.
        let now = u16::try_from(second & 0xffff).unwrap_or(0);
        let hash = self.hash.hash_one(network_of(address));
        let whose = u32::try_from(hash >> 32).unwrap_or(0);
        let first = usize::try_from(hash).unwrap_or(0) % SETS * PLACES;
        let places = self.counters.get(first..first + PLACES)?;
        let load = |place: &AtomicU64| Counter(place.load(Ordering::Relaxed));
        // Its own; else the one that matters least.
        let own = places.iter().find(|place| load(place).whose() == whose && !load(place).is_over(now));
        let least = || places.iter().min_by_key(|place| (!load(place).is_over(now), load(place).count()));
        let place = own.or_else(least)?;
        let seen = load(place);
        let is_own = seen.whose() == whose && !seen.is_over(now);
        let (since, count) = if is_own { (seen.since(), seen.count().saturating_add(1)) } else { (now, 1) };
        let counted = Counter::new(whose, since, count);
        // Whoever is in between counts, and this one does not.
        let _ = place.compare_exchange(seen.0, counted.0, Ordering::Relaxed, Ordering::Relaxed);
        let rest = WINDOW.as_secs() - u64::from(now.wrapping_sub(counted.since())).min(WINDOW.as_secs() - 1);
        (counted.count() > self.limit).then_some(rest)
    }
}

/// What counts as one address: of IPv6 the network that one customer has.
fn network_of(address: IpAddr) -> IpAddr {
    match canonical(address) {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn the_hundred_and_first_within_a_minute_is_one_too_many() {
        let failures = Failures::new(100);
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
        let failures = Failures::new(2);
        let seen = [
            "2001:db8::1",
            "2001:db8::ffff:2",
            "2001:db8:0:1::1",
            "2001:db8::3",
            "::ffff:192.0.2.1",
            "192.0.2.1",
            "192.0.2.1",
        ];
        let told = seen.map(|address| failures.note_at(address.parse().unwrap(), 5).is_some());
        assert_eq!(told, [false, false, false, true, false, false, true]);
    }

    #[test]
    fn a_million_addresses_take_no_more_memory_and_a_guesser_among_them_is_told() {
        let failures = Failures::new(100);
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
        let failures = Failures::new(0);
        assert!((0..1000).all(|_| failures.note_at(v4(1), 1).is_none()) && failures.counters.is_empty());
    }
}
