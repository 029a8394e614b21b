use keyrack_core::rate::{MAX_LIMIT, MAX_LIMITS, MAX_WINDOW, RateLimitError};
use keyrack_core::{RateLimit, RateLimits};

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
