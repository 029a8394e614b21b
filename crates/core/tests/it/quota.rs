use keyrack_core::quota::block;
use proptest::prelude::*;

#[test]
fn block_is_a_share_of_the_rest_and_a_hundredth_of_the_whole_at_most() {
    for (limit, granted, nodes, expected) in [
        (10_000, 0, 1, 100),
        (10_000, 9_200, 1, 100),
        (10_000, 9_600, 1, 50),
        (10_000, 9_984, 1, 2),
        (10_000, 9_999, 1, 1),
        (10_000, 10_000, 1, 0),
        (10_000, 11_000, 1, 0),
        (10_000, 9_600, 3, 16),
        (100_000, 0, 3, 1000),
        (50, 0, 1, 1),
        (1, 0, 1, 1),
        (0, 0, 1, 0),
        (10, 0, 0, 1),
    ] {
        assert_eq!(block(limit, granted, nodes), expected, "{limit} {granted} {nodes}");
    }
}

proptest! {
    #[test]
    fn block_never_exceeds_what_is_left_and_is_nothing_only_at_the_end(
        limit in 0..1_000_000_u64, granted in 0..1_100_000_u64, nodes in 0..100_u64,
    ) {
        let left = limit.saturating_sub(granted);
        let block = block(limit, granted, nodes);
        prop_assert!(block <= left);
        prop_assert_eq!(block == 0, left == 0);
        prop_assert!(block <= (limit / 100).max(1));
    }
}
