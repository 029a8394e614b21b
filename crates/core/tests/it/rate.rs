use keyrack_core::rate::{COUNTED, Counts, Level, MAX_LIMIT, MAX_LIMITS, MAX_WINDOW, RateLimitError, block};
use keyrack_core::{RateLimit, RateLimits};
use proptest::prelude::*;

#[test]
fn limits_are_kept_the_shortest_window_first() {
    let limits = RateLimits::new(Some(&[(1000, 3600), (10, 1)])).unwrap();
    assert_eq!(limits.to_text().as_deref(), Some("10/1 1000/3600"));
    assert_eq!(RateLimits::parse("10/1 1000/3600"), Some(limits));
    let twice = RateLimits::new(Some(&[(20, 60), (10, 60), (30, 60)])).unwrap();
    assert_eq!(twice.to_text().as_deref(), Some("10/60"), "the strictest of each window");
    assert_eq!(RateLimits::new(None), Ok(RateLimits::default()));
    assert_eq!(RateLimits::default().to_text(), None);
}

#[test]
fn numbers_out_of_range_are_refused_with_their_place() {
    let (limit, window) = (i64::from(MAX_LIMIT), i64::from(MAX_WINDOW));
    assert!(RateLimits::new(Some(&[(limit, window), (1, 1)])).is_ok());
    let many: Vec<_> = (1..=9).map(|s| (1, s)).collect();
    assert_eq!(many.len(), MAX_LIMITS + 1);
    for (limits, error) in [
        (&[][..], (0, RateLimitError::Empty)),
        (&[(0, 1)], (0, RateLimitError::Limit)),
        (&[(1, 1), (-1, 2)], (1, RateLimitError::Limit)),
        (&[(limit + 1, 1)], (0, RateLimitError::Limit)),
        (&[(i64::MAX, 1)], (0, RateLimitError::Limit)),
        (&[(1, 0)], (0, RateLimitError::Window)),
        (&[(1, -1)], (0, RateLimitError::Window)),
        (&[(1, window + 1)], (0, RateLimitError::Window)),
        (&[(1, 10 * 365 * 86_400)], (0, RateLimitError::Window)),
        (&[(1, i64::MIN)], (0, RateLimitError::Window)),
        (&many, (MAX_LIMITS, RateLimitError::TooMany)),
    ] {
        assert_eq!(RateLimits::new(Some(limits)), Err(error), "{limits:?}");
    }
    for text in ["", "10", "10/", "/1", "10/1/1", "0/1", "a/b"] {
        assert_eq!(RateLimits::parse(text), None, "{text}");
    }
}

#[test]
fn limits_cover_what_keeps_them_too() {
    let limits = |pairs: &[(i64, i64)]| RateLimits::new(Some(pairs)).unwrap();
    let none = RateLimits::default();
    for (ours, theirs, covers) in [
        (none.clone(), none.clone(), true),
        (none.clone(), limits(&[(1, 1)]), true),
        (limits(&[(1, 1)]), none, false),
        (limits(&[(10, 1)]), limits(&[(10, 1)]), true),
        (limits(&[(10, 1)]), limits(&[(11, 1)]), false),
        // Ten in an hour are no more than ten in a second.
        (limits(&[(10, 1)]), limits(&[(10, 3600)]), true),
        (limits(&[(10, 1)]), limits(&[(11, 3600)]), false),
        // One a second is 60 a minute.
        (limits(&[(60, 60)]), limits(&[(1, 1)]), true),
        (limits(&[(59, 60)]), limits(&[(1, 1)]), false),
        (limits(&[(10, 1), (100, 60)]), limits(&[(10, 1)]), false),
        (limits(&[(10, 1), (100, 60)]), limits(&[(10, 1), (100, 60), (1000, 3600)]), true),
    ] {
        assert_eq!(ours.cover(&theirs), covers, "{ours:?} {theirs:?}");
    }
}

#[test]
fn parts_are_a_sixteenth_of_the_window() {
    let limit = RateLimit::new(1, 1).unwrap();
    assert_eq!(limit.part(), 62_500);
    assert_eq!((limit.part_at(0), limit.part_at(62_499), limit.part_at(62_500), limit.part_at(-1)), (0, 0, 1, 0));
}

#[test]
fn what_is_counted_counts_until_its_part_has_left() {
    let mut counts = Counts::new(100, [0; COUNTED]);
    counts.add(3);
    counts.open(101);
    counts.add(4);
    counts.open(99);
    assert_eq!((counts.part(), counts.sum()), (101, 7), "nothing goes back");
    counts.open(116);
    assert_eq!(counts.sum(), 7);
    counts.open(117);
    assert_eq!(counts.sum(), 4, "the part 17 before has left");
    counts.give_back(101, 1);
    counts.give_back(100, 1);
    counts.give_back(118, 1);
    assert_eq!(counts.sum(), 3, "only of parts that count");
    counts.give_back(101, 10);
    assert_eq!(counts.sum(), 0, "no more than was counted");
    counts.add(5);
    counts.open(u64::MAX);
    assert_eq!(counts, Counts::new(u64::MAX, [0; COUNTED]));
}

#[test]
fn a_level_says_when_there_is_more() {
    let limit = RateLimit::new(10, 16).unwrap();
    let mut units = [0; COUNTED];
    (units[0], units[16]) = (4, 5);
    let counts = Counts::new(100, units);
    let level = |units| counts.level(limit, 100_500_000, units);
    assert_eq!(level(0), Level { remaining: 1, more_in: 500_000 });
    // The next five have to leave, and those that follow them only when the running part does.
    assert_eq!(level(6), Level { remaining: 1, more_in: 500_000 });
    assert_eq!(level(7), Level { remaining: 1, more_in: 16_500_000 });
    let unused = Counts::new(100, [0; COUNTED]).level(limit, 100_500_000, 0);
    assert_eq!(unused, Level { remaining: 10, more_in: 0 });
    let over = Counts::new(100, [10; COUNTED]).level(limit, 100_500_000, 1);
    assert_eq!(over.remaining, 0, "when the limit was lowered");
    assert_eq!(counts.over_at(limit), 117_000_000);
}

#[test]
fn counts_are_read_as_they_were_written() {
    let counts = Counts::new(7, std::array::from_fn(|at| at as u64 * 1_000_000_000));
    assert_eq!(Counts::parse(7, &counts.to_text()), Some(counts));
    for text in ["", "0 0", "a", "0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0", "-1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0"] {
        assert_eq!(Counts::parse(7, text), None, "{text:?}");
    }
}

proptest! {
    #[test]
    fn nodes_that_take_blocks_find_all_there_is_and_no_more(limit in 1..100_000_u64, nodes in 1..20_u64) {
        let mut left = limit;
        let mut asked = 0;
        while left > 0 {
            let taken = block(left, nodes);
            prop_assert!(taken >= 1 && taken <= left);
            prop_assert!(taken == 1 || taken * nodes * 8 <= left, "what they hold together stays small");
            left -= taken;
            asked += 1;
        }
        prop_assert_eq!(block(0, nodes), 0);
        // A tenth of what is left goes in a few questions, so that all of it takes few.
        prop_assert!(asked <= nodes * 8 * 14 + 16, "{} questions", asked);
    }
}
