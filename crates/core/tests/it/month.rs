use keyrack_core::{Month, Timestamp, from_micros};
use proptest::prelude::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn month_begins_at_midnight_utc_on_the_first() {
    for (moment, name, start, next) in [
        ("2026-11-22T17:00:00Z", "2026-11", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"),
        ("2026-12-31T23:59:59.999999Z", "2026-12", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("2027-01-01T00:00:00Z", "2027-01", "2027-01-01T00:00:00Z", "2027-02-01T00:00:00Z"),
        ("2028-02-29T12:00:00Z", "2028-02", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
    ] {
        let month = Month::of(at(moment));
        assert_eq!(month.to_string(), name);
        assert_eq!((month.start(), month.next().start()), (at(start), at(next)), "{moment}");
        assert_eq!(Month::from_number(month.number()), Some(month));
    }
}

#[test]
fn numbers_of_no_month_are_none() {
    for number in [i64::MIN, i64::MAX, 12 * 10_000, -12 * 10_000] {
        assert_eq!(Month::from_number(number), None, "{number}");
    }
}

proptest! {
    #[test]
    fn every_moment_lies_in_its_month(micros in 0..4_102_444_800_000_000_i64) {
        let moment = from_micros(micros);
        let month = Month::of(moment);
        prop_assert!(month.start() <= moment && moment < month.next().start());
        prop_assert!(month < month.next());
    }
}
