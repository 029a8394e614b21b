//! How limits and a quota stand after a decision, and how an answer says so.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;

use crate::RateLimit;

/// How the limits and the quota of a key stand after a decision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// The quota of its organization, if its tier has one.
    pub quota: Option<QuotaStanding>,
    /// Rate limits: its own, then its group's, then its organization's.
    pub windows: Vec<WindowStanding>,
    /// How long to wait until as much is allowed as was refused.
    pub retry_after: Option<Duration>,
}

/// How a quota stands after a decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuotaStanding {
    /// Units of a month.
    pub limit: u64,
    /// How many are left: exactly with one process, at least so many with several.
    pub remaining: u64,
    /// When the next month begins.
    pub resets_at: Timestamp,
}

/// How a rate limit stands after a decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WindowStanding {
    /// Whose it is.
    pub of: Owner,
    /// What it allows.
    pub limit: RateLimit,
    /// How many units are left.
    pub remaining: u32,
    /// In how long there are more.
    pub more_in: Duration,
}

/// Whose limit it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// The key's own.
    Key,
    /// Of all keys of its group together.
    Group,
    /// Of all keys of its organization together.
    Organization,
}

impl Owner {
    /// Every one of them.
    pub const ALL: [Self; 3] = [Self::Key, Self::Group, Self::Organization];

    /// The word that is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Group => "group",
            Self::Organization => "organization",
        }
    }

    /// The one of that word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|owner| owner.as_str() == text)
    }
}

impl WindowStanding {
    /// In how many seconds there is more of it.
    pub fn reset_seconds(&self) -> u64 {
        whole_seconds(self.more_in)
    }
}

impl Standing {
    /// After how many seconds it is worth trying again; at least one.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.map(|wait| whole_seconds(wait).max(1))
    }

    /// The headers of an answer that say this, names in lower case: `X-RateLimit-*` speak of the monthly quota; rate limits
    /// have the pair of the IETF's draft (draft-ietf-httpapi-ratelimit-headers-10).
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        if let Some(quota) = self.quota {
            headers.push(("x-ratelimit-limit", quota.limit.to_string()));
            headers.push(("x-ratelimit-remaining", quota.remaining.to_string()));
            headers.push(("x-ratelimit-reset", in_seconds(quota.resets_at).to_string()));
        }
        if !self.windows.is_empty() {
            let (policies, states) = self.windows_in_words();
            headers.push(("ratelimit-policy", policies));
            headers.push(("ratelimit", states));
        }
        headers.extend(self.retry_after_seconds().map(|seconds| ("retry-after", seconds.to_string())));
        headers
    }

    fn windows_in_words(&self) -> (String, String) {
        let (mut policies, mut states) = (String::new(), String::new());
        for window in &self.windows {
            let separator = if policies.is_empty() { "" } else { ", " };
            let (of, seconds) = (window.of.as_str(), window.limit.seconds());
            let (limit, remaining, wait) = (window.limit.limit(), window.remaining, window.reset_seconds());
            // Writing into a String does not fail.
            let _ = write!(policies, "{separator}\"{of}-{seconds}s\";q={limit};w={seconds}");
            let _ = write!(states, "{separator}\"{of}-{seconds}s\";r={remaining};t={wait}");
        }
        (policies, states)
    }
}

/// Whoever waits so many seconds has waited long enough.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// Without the fraction that the beginning of a month has not.
fn in_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}
