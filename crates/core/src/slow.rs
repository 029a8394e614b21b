//! The hash profile `bcrypt`, for those whose rules ask for a slow hash by name.
//!
//! What is hashed is base64(SHA-256(text)): 44 ASCII characters, so bcrypt's cut at 72 bytes and its end at NUL never
//! apply, whatever the key looks like.

use crate::TextHash;

/// The cost of new hashes: 2^12 rounds, about a quarter of a second.
pub const COST: u32 = 12;
/// The highest cost that is ever computed; a stored hash that asks for more is refused instead of running for hours.
const MAX_COST: u32 = 14;

/// Hashes with 16 random bytes of salt. `cost` is [`COST`] everywhere but in tests.
pub fn hash(text: &TextHash, cost: u32, salt: [u8; 16]) -> Option<String> {
    if cost > MAX_COST {
        return None;
    }
    let parts = bcrypt::hash_with_salt(text.base64().as_bytes(), cost, salt).ok()?;
    Some(parts.format_for_version(bcrypt::Version::TwoB))
}

/// Whether the text has this hash. Anything that is no bcrypt hash of an acceptable cost matches nothing.
pub fn verify(text: &TextHash, hash: &str) -> bool {
    let cost = hash.split('$').nth(2).and_then(|c| c.parse::<u32>().ok());
    cost.is_some_and(|c| c <= MAX_COST) && bcrypt::verify(text.base64().as_bytes(), hash).unwrap_or(false)
}
