//! Rate limits.

use keyrack_core::RateLimits;

/// Text as rate limits, as the database has them: what is read is written back so that it reads the same; and whoever keeps limits
/// keeps those limits.
pub fn rate_limits(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(limits) = RateLimits::parse(text) else { return };
    assert!(!limits.is_unrestricted() && limits.cover(&limits));
    assert!(limits.iter().map(keyrack_core::RateLimit::seconds).is_sorted_by(|one, next| one < next));
    let written = limits.to_text().unwrap_or_default();
    assert_eq!(RateLimits::parse(&written).as_ref(), Some(&limits));
    assert!(RateLimits::default().cover(&limits) && !limits.cover(&RateLimits::default()));
}
