//! Identifiers.

use keyrack_core::{KeyId, Timestamp, id};

/// Text as an id: what is read is written in the one form of 36 characters and read back the same, as text and as JSON; and an id
/// that is made of a moment and random bits carries both, and sorts by the moment.
pub fn id(data: &[u8]) {
    if let Some(id) = std::str::from_utf8(data).ok().and_then(|text| text.parse::<KeyId>().ok()) {
        let written = id.to_string();
        assert_eq!(written.len(), 36);
        assert!(written.bytes().all(|b| b == b'-' || b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
        assert_eq!(written.parse(), Ok(id));
        let json = serde_json::to_string(&id).unwrap_or_default();
        assert_eq!(json, format!("\"{written}\""));
        assert_eq!(serde_json::from_str(&json).ok(), Some(id));
    }
    let Some((millis, random)) = data.split_first_chunk::<6>() else { return };
    let Some(random) = random.first_chunk::<10>() else { return };
    let millis = millis.iter().fold(0_i64, |number, byte| number << 8 | i64::from(*byte));
    let Ok(moment) = Timestamp::from_millisecond(millis) else { return };
    let made = id::uuid_v7(moment, *random);
    assert_eq!(made.get_version_num(), 7);
    assert_eq!(made.as_u128() >> 80, u128::try_from(millis).unwrap_or_default());
    assert_eq!(made.as_bytes()[9..], random[3..]);
    if let Ok(later) = Timestamp::from_millisecond(millis + 1) {
        assert!(id::uuid_v7(later, [0; 10]) > made);
    }
}
