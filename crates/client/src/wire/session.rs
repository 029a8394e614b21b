//! Who am I.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Organization, Role, Workspace};

/// Signs in.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// The e-mail address.
    pub email: String,
    /// The password.
    pub password: String,
    /// The code that the person's device shows, or a recovery code: for who has a second factor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// Enters the password again.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StepUp {
    /// The password.
    pub password: String,
    /// The code that the person's device shows, or a recovery code: for who has a second factor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// A session that has begun; its cookie is in the header.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SignedIn {
    /// Who.
    pub user: User,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A person.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// Their id.
    pub id: Uuid,
    /// Their e-mail address.
    pub email: String,
    /// Their name.
    pub name: String,
}

/// Who the caller is: a person with a session, or a key with a virtual one.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct WhoAmI {
    /// The person; null for a key.
    #[schema(required)]
    pub user: Option<User>,
    /// The organization; null for a person who has named none of several.
    #[schema(required)]
    pub organization: Option<BilledOrganization>,
    /// The workspace that the key is bound to.
    #[schema(required)]
    pub workspace: Option<Workspace>,
    /// The role in the organization.
    #[schema(required)]
    pub role: Option<Role>,
    /// The key; null for a person.
    #[schema(required)]
    pub key: Option<SessionKey>,
}

/// An organization with what it may use.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BilledOrganization {
    /// The organization.
    #[serde(flatten)]
    pub organization: Organization,
    /// What it may use.
    pub billing: Billing,
}

/// What an organization may use.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Billing {
    /// What it pays for.
    pub tier: super::Tier,
    /// Units of a month; null for no limit.
    #[schema(required)]
    pub monthly_limit: Option<u64>,
    /// Units used this month.
    pub used: u64,
    /// When the next month begins.
    pub resets_at: Timestamp,
}

/// The key of a virtual session.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SessionKey {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// The name of its group.
    pub group: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Until when it works.
    #[schema(required)]
    pub expires_at: Option<Timestamp>,
}
