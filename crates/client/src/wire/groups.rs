//! Groups of keys.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::text::{Description, GroupName, KeyPrefix, Scope};
use super::{HashProfile, KeyBody, RateLimit, given, present};

/// A named set of keys.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Group {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// How keys made from now on look.
    pub key_format: KeyFormat,
    /// How its keys are remembered; never changes.
    pub hash_profile: HashProfile,
    /// The scopes of a key made without any.
    pub default_scopes: Vec<String>,
    /// How much all its keys together may ask for; null for no limit.
    #[schema(required)]
    pub rate_limits: Option<Vec<RateLimit>>,
    /// Whether the texts of its keys are kept, sealed, so that an owner can look at them again.
    pub recoverable: bool,
    /// Whether its keys may manage the organization.
    pub is_access_group: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// How keys look.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyFormat {
    /// Up to 16 characters of a-z, 0-9 and _; null for `sk_live_` and `sk_test_`.
    #[serde(default)]
    #[schema(value_type = Option<KeyPrefix>)]
    pub prefix: Option<String>,
    /// How the random part is written.
    #[serde(default = "base62")]
    pub body: KeyBody,
}

fn base62() -> KeyBody {
    KeyBody::Base62
}

/// What a group is to be.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateGroup {
    /// 1 to 63 characters of a-z, 0-9, - and _.
    #[schema(value_type = GroupName)]
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Description>)]
    pub description: Option<String>,
    /// How its keys look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_format: Option<KeyFormat>,
    /// How its keys are remembered; `hmac-sha256` if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_profile: Option<HashProfile>,
    /// The scopes of a key made without any; `*:read` if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Scope>>, max_items = 64)]
    pub default_scopes: Option<Vec<String>>,
    /// How much all its keys together may ask for; no limit if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<RateLimit>>, min_items = 1, max_items = 8)]
    pub rate_limits: Option<Vec<RateLimit>>,
    /// Whether the texts of its keys are kept, sealed, so that an owner can look at them again; `false` if missing: nobody can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recoverable: Option<bool>,
}

/// What of a group is to change: an absent field is kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateGroup {
    /// A new name.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<GroupName>)]
    pub name: Option<String>,
    /// A new description.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Description>)]
    pub description: Option<String>,
    /// How keys made from now on look; null for the default. Keys that exist go on working.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<KeyFormat>)]
    pub key_format: Option<Option<KeyFormat>>,
    /// New default scopes.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Vec<Scope>>, max_items = 64)]
    pub default_scopes: Option<Vec<String>>,
    /// New rate limits; null for none.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<RateLimit>>, min_items = 1, max_items = 8)]
    pub rate_limits: Option<Option<Vec<RateLimit>>>,
    /// Whether the texts of keys made from now on are kept, sealed. With `false` those that are kept are erased.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub recoverable: Option<bool>,
}
