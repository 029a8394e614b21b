//! How much may be asked for: rate limits, quotas, tiers.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Tier, given, present};

/// So many units within any window of so many seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// How many units.
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    pub limit: i64,
    /// Within how many seconds: up to 31 days.
    #[schema(minimum = 1, maximum = 2_678_400)]
    pub window_seconds: i64,
}

/// How limits stand after a decision.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Limits {
    /// The monthly quota of the key's organization; none if its tier has no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<QuotaStanding>,
    /// Rate limits of the key, of its group and of its organization.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<RateStanding>,
    /// After a refusal: how long to wait until as much is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
}

/// How a monthly quota stands.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct QuotaStanding {
    /// Units of a month.
    pub limit: u64,
    /// How many are left: exactly with one node, at least so many with several.
    pub remaining: u64,
    /// When the next month begins.
    pub resets_at: Timestamp,
}

/// How a rate limit stands.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RateStanding {
    /// Whose it is: `key`, `group` or `organization`.
    pub of: Cow<'static, str>,
    /// How many units.
    pub limit: u32,
    /// Within how many seconds.
    pub window_seconds: u32,
    /// How many are left.
    pub remaining: u32,
    /// In how many seconds there are more.
    pub reset_seconds: u64,
}

/// A monthly quota and what has been used of it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Quota {
    /// The month, `2026-12`, in UTC.
    pub month: String,
    /// What the organization pays for.
    pub tier: Tier,
    /// Units of a month; null for no limit.
    #[schema(required)]
    pub monthly_limit: Option<u64>,
    /// Units used. With several nodes those that are held in reserve count as used, for some seconds.
    pub used: u64,
    /// Units left; null for no limit.
    #[schema(required)]
    pub remaining: Option<u64>,
    /// When the next month begins.
    pub resets_at: Timestamp,
}

/// What organizations may use for what they pay.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Tiers {
    /// Of the free tier.
    pub free: TierLimits,
    /// Of the paid tier.
    pub pro: TierLimits,
    /// Of the tier for the largest.
    pub enterprise: TierLimits,
}

/// What organizations of a tier may use.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
pub struct TierLimits {
    /// Units of a month; null for no limit.
    #[schema(required)]
    pub monthly_limit: Option<u64>,
}

/// Which tiers are to change: an absent one is kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateTiers {
    /// The free tier.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub free: Option<UpdateTier>,
    /// The paid tier.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub pro: Option<UpdateTier>,
    /// The tier for the largest.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub enterprise: Option<UpdateTier>,
}

/// What of a tier is to change.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateTier {
    /// Units of a month, up to 2 to the 52nd; null for no limit.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>, minimum = 0, maximum = 4_503_599_627_370_496_u64)]
    pub monthly_limit: Option<Option<u64>>,
}
