//! Moments as the database holds them.

use keyrack_core::{Timestamp, from_micros, micros};
use proptest::prelude::*;

#[test]
fn moment_is_microseconds_since_1970() {
    assert_eq!(micros("1970-01-01T00:00:01.000002Z".parse().unwrap()), 1_000_002);
    assert_eq!(micros("1969-12-31T23:59:59.999999Z".parse().unwrap()), -1);
}

#[test]
fn number_out_of_range_becomes_the_nearest_moment() {
    assert_eq!(from_micros(i64::MAX), Timestamp::MAX);
    assert_eq!(from_micros(i64::MIN), Timestamp::MIN);
}

proptest! {
    #[test]
    fn whole_microseconds_are_read_back(value in -300_000_000_000_000_000_i64..250_000_000_000_000_000) {
        prop_assert_eq!(micros(from_micros(value)), value);
    }

    #[test]
    fn order_is_kept(a: i64, b: i64) {
        prop_assert!(a > b || from_micros(a) <= from_micros(b));
    }
}
