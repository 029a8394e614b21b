//! Asking about a key.

use std::borrow::Cow;
use std::collections::BTreeMap;

use compact_str::CompactString;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::text::{Address, GroupReference, KeyText, RequestPath, Scope, SecretName, WorkspaceReference};
use super::{Environment, Limits, Role, Tier};

/// May this key do this?
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyKey {
    /// The text of the key.
    #[schema(value_type = KeyText)]
    pub key: String,
    /// The scope it must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Scope>)]
    pub scope: Option<String>,
    /// The workspace the request is about, by slug or id. A key bound to one needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<WorkspaceReference>)]
    pub workspace: Option<String>,
    /// The groups, by name or id, of which it must be in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<GroupReference>>)]
    pub groups: Option<Vec<String>>,
    /// The roles of which it must count as one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<Role>>,
    /// The method of the request it came with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The path of the request it came with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<RequestPath>)]
    pub path: Option<String>,
    /// The address the request came from. A key restricted to addresses needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Address>)]
    pub ip: Option<String>,
    /// What the client calls itself, to be shown as the key's last use; its first 256 bytes are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// How many units of its limits and its organization's quota the request takes; 1 if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    pub cost: Option<i64>,
    /// The names of secrets that the key is to be given if it may: its own, its group's or the organization's. Up to 32; whoever asks
    /// needs `keyrack.secrets:read`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<SecretName>>, max_items = 32)]
    pub secrets: Option<Vec<String>>,
    /// Only look: nothing is taken of limits and quota, and nothing is counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peek: Option<bool>,
}

/// The answer; its status is 200 whatever it is.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct Verified {
    /// Whether the key may.
    pub valid: bool,
    /// `VALID`, or why not: `NOT_FOUND`, `REVOKED`, `EXPIRED`, `INSUFFICIENT_SCOPE`, `RATE_LIMITED`...
    #[schema(value_type = String)]
    pub code: Cow<'static, str>,
    /// The same for people.
    #[schema(value_type = String)]
    pub message: Cow<'static, str>,
    /// The key, unless it is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<VerifiedKey>,
    /// Its organization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<VerifiedOrganization>,
    /// The workspace it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<Named>,
    /// Its group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Named>,
    /// What it may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub scopes: Option<Vec<CompactString>>,
    /// How limits and quota stand now, if the key may do this but for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// The secrets that were asked for, if the key may; null for those it has none of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<BTreeMap<String, Option<String>>>,
}

/// A key as a decision knows it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct VerifiedKey {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    #[schema(value_type = String)]
    pub name: CompactString,
    /// For real use or for tests.
    pub environment: Environment,
    /// What it counts as at doors that name roles.
    pub role: Role,
    /// Until when it, or the secret that was asked about, works.
    #[schema(required)]
    pub expires_at: Option<Timestamp>,
    /// Whatever was written down with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
    /// Which of its secrets was asked about.
    pub secret_version: u32,
}

/// The organization of a key that was asked about.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct VerifiedOrganization {
    /// Its id.
    pub id: Uuid,
    /// Its slug.
    #[schema(value_type = String)]
    pub name: CompactString,
    /// What it pays for.
    pub tier: Tier,
}

/// Something with an id and a name or slug.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Named {
    /// Its id.
    pub id: Uuid,
    /// Its name or slug.
    #[schema(value_type = String)]
    pub name: CompactString,
}

/// Up to 100 questions at once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyKeys {
    /// The questions.
    #[schema(max_items = 100)]
    pub keys: Vec<VerifyKey>,
}

/// The answers, in the order of the questions.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct VerifiedKeys {
    /// The answers.
    pub data: Vec<Verified>,
}

/// RFC 7662, section 2.1: sent as a form.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct Introspect {
    /// The text of the key.
    #[schema(value_type = KeyText)]
    pub token: String,
    /// Allowed by the standard; nothing depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_type_hint: Option<String>,
}

/// RFC 7662, section 2.2. Only `active` for a key that is not, whatever the reason.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Introspected {
    /// Whether the key works.
    pub active: bool,
    /// Its scopes, with spaces between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The id of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The id of the key: no person stands behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// The slug of its organization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aud: Option<String>,
    /// `Bearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_type: Option<String>,
    /// Until when it works, in seconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
}
