//! Organizations, their workspaces and settings.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::text::{EmailAddress, GroupReference, Name, Slug};
use super::{OrganizationState, RateLimit, Tier, given, present};

/// A tenant.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Organization {
    /// Its id.
    pub id: Uuid,
    /// Its slug: never changes, never used again.
    pub slug: String,
    /// Its name.
    pub name: String,
    /// What it pays for.
    pub tier: Tier,
    /// Whether it is in use.
    pub state: OrganizationState,
    /// How much all its keys together may ask for; null for no limit.
    #[schema(required)]
    pub rate_limits: Option<Vec<RateLimit>>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// What an organization is to be. Only instance admins make one.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateOrganization {
    /// 1 to 63 characters of a-z, 0-9 and -.
    #[schema(value_type = Slug)]
    pub slug: String,
    /// Its name; the slug if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Name>)]
    pub name: Option<String>,
    /// `free` if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// The user who is to own it; whoever is signed in if missing. A key must name one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<EmailAddress>)]
    pub owner_email: Option<String>,
}

/// What of an organization is to change: an absent field is kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateOrganization {
    /// A new name.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Name>)]
    pub name: Option<String>,
    /// A new tier; instance admins only.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub tier: Option<Tier>,
    /// A new state; instance admins only.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub state: Option<OrganizationState>,
    /// How much all its keys together may ask for, null for no limit; instance admins only.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<RateLimit>>, min_items = 1, max_items = 8)]
    pub rate_limits: Option<Option<Vec<RateLimit>>>,
    /// What it is to count as having used of its quota this month; instance admins only.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0, maximum = 4_503_599_627_370_496_u64)]
    pub quota_used: Option<u64>,
}

/// A named place in an organization.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Workspace {
    /// Its id.
    pub id: Uuid,
    /// Its slug: never changes.
    pub slug: String,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// What a workspace is to be.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateWorkspace {
    /// 1 to 63 characters of a-z, 0-9 and -.
    #[schema(value_type = Slug)]
    pub slug: String,
    /// Its name; the slug if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Name>)]
    pub name: Option<String>,
}

/// What of a workspace is to change.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateWorkspace {
    /// A new name.
    #[schema(value_type = Name)]
    pub name: String,
}

/// The settings of an organization.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Settings {
    /// The names of the groups whose keys may manage the organization.
    pub access_groups: Vec<String>,
    /// Whether people who are signed in need a second factor.
    pub second_factor: bool,
    /// After how many hours they have to sign in again; null for the usual 12.
    pub session_hours: Option<i64>,
}

/// Which settings are to change: an absent one is kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateSettings {
    /// The groups, by name or id, whose keys may manage the organization. With none, only people do.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Vec<GroupReference>>)]
    pub access_groups: Option<Vec<String>>,
    /// Whether people who are signed in need a second factor. A person who asks for that has one.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub second_factor: Option<bool>,
    /// After how many hours they have to sign in again; null for the usual 12.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 12)]
    pub session_hours: Option<Option<i64>>,
}
