//! Limits and quota as headers of an answer.
//!
//! `X-RateLimit-*` speak of the monthly quota; rate limits have the pair of the IETF's draft
//! (draft-ietf-httpapi-ratelimit-headers-10).

use std::fmt::Write as _;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use jiff::Timestamp;
use keyrack_engine::{Standing, WindowStanding};

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Says in an answer how limits stand. What the service behind the door said under these names was about limits of its own;
/// where we have something to say, ours count.
pub(crate) fn write(headers: &mut HeaderMap, standing: &Standing) {
    if let Some(quota) = &standing.quota {
        headers.insert(LIMIT, quota.limit.into());
        headers.insert(REMAINING, quota.remaining.into());
        insert(headers, RESET, &in_seconds(quota.resets_at).to_string());
    }
    if !standing.windows.is_empty() {
        let (mut policies, mut states) = (String::new(), String::new());
        for window in &standing.windows {
            let separator = if policies.is_empty() { "" } else { ", " };
            let (of, seconds) = (window.of.as_str(), window.limit.seconds());
            let (limit, remaining, wait) = (window.limit.limit(), window.remaining, whole_seconds(window.more_in));
            // Writing into a String does not fail.
            let _ = write!(policies, "{separator}\"{of}-{seconds}s\";q={limit};w={seconds}");
            let _ = write!(states, "{separator}\"{of}-{seconds}s\";r={remaining};t={wait}");
        }
        insert(headers, RATE_LIMIT_POLICY, &policies);
        insert(headers, RATE_LIMIT, &states);
    }
    if let Some(seconds) = retry_after(standing) {
        headers.insert(RETRY_AFTER, seconds.into());
    }
}

/// In how many seconds there is more of a rate limit.
pub(crate) fn reset_seconds(window: &WindowStanding) -> u64 {
    whole_seconds(window.more_in)
}

/// After how many seconds it is worth trying again; at least one.
pub(crate) fn retry_after(standing: &Standing) -> Option<u64> {
    standing.retry_after.map(|wait| whole_seconds(wait).max(1))
}

/// Whoever waits so many seconds has waited long enough.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// Without the fraction that the beginning of a month has not.
fn in_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn insert(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}
