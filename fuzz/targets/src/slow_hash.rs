//! Hashes of the profile `bcrypt`, as they are stored or imported.

use keyrack_core::{TextHash, slow};

/// The least cost there is, and the greatest that a target can wait for.
const COSTS: std::ops::RangeInclusive<u32> = 4..=5;
/// From here on nothing is computed.
const TOO_COSTLY: u32 = 15;

/// Text as a stored hash: it matches nothing unless it is one, whole, of a cost that is computed, and then one text alone.
pub fn slow_hash(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let cost = text.split('$').nth(2).and_then(|cost| cost.parse::<u32>().ok());
    if cost.is_some_and(|cost| cost < TOO_COSTLY && !COSTS.contains(&cost)) {
        return;
    }
    let (one, other) = (TextHash::of("one"), TextHash::of("other"));
    let matches = slow::verify(&one, text);
    assert!(!matches || !slow::verify(&other, text));
    assert!(!matches || (text.len() == 60 && text.starts_with("$2") && cost.is_some_and(|cost| COSTS.contains(&cost))));
    assert!(cost.is_some_and(|cost| cost < TOO_COSTLY) || !matches);
}
