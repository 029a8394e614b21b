//! Ids.

use keyrack_core::id::uuid_v7;
use keyrack_core::{KeyId, OrganizationId, Timestamp};
use proptest::prelude::*;

const RANDOM: [u8; 10] = [0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9];

#[test]
fn id_is_the_uuid_version_7_of_its_moment_and_random_bytes() {
    let at = "2026-11-21T12:34:56.789Z".parse().unwrap();
    assert_eq!(uuid_v7(at, RANDOM).to_string(), "01a1fe1a-4495-70f1-b2f3-f4f5f6f7f8f9");
    assert_eq!(KeyId::new(at, RANDOM).to_string(), "01a1fe1a-4495-70f1-b2f3-f4f5f6f7f8f9");
}

#[test]
fn moment_before_1970_counts_as_1970() {
    let before = "1969-12-31T23:59:59Z".parse().unwrap();
    assert_eq!(uuid_v7(before, RANDOM), uuid_v7(Timestamp::UNIX_EPOCH, RANDOM));
}

#[test]
fn id_is_a_plain_string_in_json() {
    let id = KeyId::new("2026-11-21T12:34:56.789Z".parse().unwrap(), RANDOM);
    assert_eq!(serde_json::to_value(id).unwrap(), "01a1fe1a-4495-70f1-b2f3-f4f5f6f7f8f9");
    assert_eq!(serde_json::from_str::<KeyId>("\"01a1fe1a-4495-70f1-b2f3-f4f5f6f7f8f9\"").unwrap(), id);
    for bad in ["\"\"", "\"sk_live_x\"", "7", "null", "\"01a1fe1a-4495-70f1-b2f3-f4f5f6f7f8f\""] {
        assert!(serde_json::from_str::<OrganizationId>(bad).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn later_id_sorts_behind_whatever_the_random_bytes(
        at in 0..4_000_000_000_000_i64, later in 1..1_000_000_i64, a: [u8; 10], b: [u8; 10],
    ) {
        let moment = |millis| Timestamp::from_millisecond(millis).unwrap();
        let (first, second) = (KeyId::new(moment(at), a), KeyId::new(moment(at + later), b));
        prop_assert!(first < second);
        prop_assert!(first.to_string() < second.to_string());
        prop_assert_eq!(first.0.get_version_num(), 7);
        prop_assert_eq!(first.to_string().parse::<KeyId>().unwrap(), first);
    }
}
