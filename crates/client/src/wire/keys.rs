//! Keys.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::text::{Description, ForeignKey, GroupReference, Name, Network, Reason, Scope, Sha256, WorkspaceReference};
use super::{Environment, KeyStatus, Level, RateLimit, Role, given, present};

/// An API key. Its text is never part of it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ApiKey {
    /// Its id, which no rotation changes.
    pub id: Uuid,
    /// Its name, unique among the group's keys that could still be used.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// For real use or for tests.
    pub environment: Environment,
    /// The name of its group.
    pub group: String,
    /// The id of its group.
    pub group_id: Uuid,
    /// The slug of the workspace it is bound to; null for the whole organization.
    #[schema(required)]
    pub workspace: Option<String>,
    /// The id of that workspace.
    #[schema(required)]
    pub workspace_id: Option<Uuid>,
    /// What it may do.
    #[schema(examples(json!(["contacts:read", "contacts:write"])))]
    pub scopes: Vec<String>,
    /// What it counts as at doors that name roles: admin in an access group, else member.
    pub role: Role,
    /// What it is now.
    pub status: KeyStatus,
    /// Whether it is switched on.
    pub enabled: bool,
    /// The visible beginning of its newest secret.
    pub display_prefix: String,
    /// The visible end of its newest secret.
    pub last4: String,
    /// Networks it works from; null for any.
    #[schema(required)]
    pub ip_allowlist: Option<Vec<String>>,
    /// How much it may ask for; null for no limit.
    #[schema(required)]
    pub rate_limits: Option<Vec<RateLimit>>,
    /// Whatever was written down with it.
    #[schema(required, value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
    /// Whether its text was made elsewhere.
    pub imported: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// The person who made it; null for keys made by keys, and once that person is no member any more.
    #[schema(required)]
    pub created_by: Option<Uuid>,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// From this moment on it does not work; null for never.
    #[schema(required)]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[schema(required)]
    pub revoked_at: Option<Timestamp>,
    /// Why it was revoked.
    #[schema(required)]
    pub revoke_reason: Option<String>,
    /// When it last let somebody in.
    #[schema(required)]
    pub last_used_at: Option<Timestamp>,
}

/// What a key is to be.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    /// Its name, 1 to 100 characters; taken from the description if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Name>)]
    pub name: Option<String>,
    /// What it is for, up to 1,000 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Description>)]
    pub description: Option<String>,
    /// `live` if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// The name or id of its group; `default` if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<GroupReference>)]
    pub group: Option<String>,
    /// The slug or id of the workspace to bind it to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<WorkspaceReference>)]
    pub workspace: Option<String>,
    /// What it may do; the group's default scopes if neither this nor a level is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Scope>>, max_items = 64)]
    pub scopes: Option<Vec<String>>,
    /// A level instead of scopes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// Until when it works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// `true` says expressly that it has no expiry; `false` that `expires_at` must be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub never_expires: Option<bool>,
    /// `true` if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Networks it works from, such as `203.0.113.0/24`; any if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Network>>, min_items = 1, max_items = 64)]
    pub ip_allowlist: Option<Vec<String>>,
    /// How much it may ask for; no limit if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<RateLimit>>, min_items = 1, max_items = 8)]
    pub rate_limits: Option<Vec<RateLimit>>,
    /// A JSON object of up to 4,096 bytes to keep with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
}

/// A key that was made.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedKey {
    /// The key.
    pub key: ApiKey,
    /// Its text. It is shown this once and never again; null in the answer to a repeated request.
    #[schema(required)]
    pub secret: Option<String>,
}

/// What of a key is to change: an absent field is kept, null clears.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateKey {
    /// A new name.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Name>)]
    pub name: Option<String>,
    /// A new description.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Description>)]
    pub description: Option<String>,
    /// New scopes.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Vec<Scope>>, max_items = 64)]
    pub scopes: Option<Vec<String>>,
    /// A level instead of scopes.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub level: Option<Level>,
    /// Switch it on or off.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub enabled: Option<bool>,
    /// A new expiry; null for none.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Timestamp>)]
    pub expires_at: Option<Option<Timestamp>>,
    /// New networks; null for any.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Network>>, min_items = 1, max_items = 64)]
    pub ip_allowlist: Option<Option<Vec<String>>>,
    /// New rate limits; null for none.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<RateLimit>>, min_items = 1, max_items = 8)]
    pub rate_limits: Option<Option<Vec<RateLimit>>>,
    /// New metadata; null for none.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Option<Map<String, Value>>>,
}

/// How to rotate a key.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateKey {
    /// How long the old secret lives on: 0 to 2,592,000 (30 days); a day if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 2_592_000)]
    pub overlap_seconds: Option<i64>,
    /// Rotate although two secrets are in use: the older one ends at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force: Option<bool>,
}

/// A key with its new secret.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct RotatedKey {
    /// The key.
    pub key: ApiKey,
    /// The new text, shown this once; null in the answer to a repeated request.
    #[schema(required)]
    pub secret: Option<String>,
    /// Until when the old secret is taken.
    #[schema(required)]
    pub previous_secret_expires_at: Option<Timestamp>,
}

/// Why a key is revoked.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeKey {
    /// Up to 200 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Reason>)]
    pub reason: Option<String>,
}

/// A key that was revoked.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RevokedKey {
    /// The key.
    pub key: ApiKey,
    /// Since when that holds.
    pub receipt: Receipt,
}

/// Says since when a change holds, and who knows it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Receipt {
    /// The number of the change in the log.
    pub sequence: i64,
    /// From this moment on nothing is decided by the old state.
    pub effective_at: Timestamp,
    /// The processes that serve a PostgreSQL database; none on SQLite, where only one does.
    pub nodes: Vec<ReceiptNode>,
}

/// A process that serves, and whether it has said that it knows a change.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReceiptNode {
    /// Drawn at its start.
    pub id: Uuid,
    /// The machine it runs on.
    pub name: String,
    /// False if it was silent for so long that it may decide nothing before it has applied the change.
    pub applied: bool,
}

/// A secret of a key, without its text.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct KeySecret {
    /// Which one, from 1.
    pub version: i64,
    /// Its visible beginning.
    pub display_prefix: String,
    /// Its visible end.
    pub last4: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it is taken; null as long as the key is.
    #[schema(required)]
    pub expires_at: Option<Timestamp>,
    /// When it last let somebody in.
    #[schema(required)]
    pub last_used_at: Option<Timestamp>,
}

/// Keys to bring along from elsewhere: all of them are imported, or none is.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportKeys {
    /// 1 to 1,000 keys.
    #[schema(min_items = 1, max_items = 1000)]
    pub keys: Vec<ImportKey>,
}

/// A key to bring along: its text or the SHA-256 of it, and what it is to be.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportKey {
    /// Its text: 16 to 128 printable ASCII characters without comma or space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ForeignKey>)]
    pub key: Option<String>,
    /// Or the SHA-256 of its text in 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Sha256>)]
    pub sha256: Option<String>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Name>)]
    pub name: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Description>)]
    pub description: Option<String>,
    /// `live` if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// The name or id of its group; `default` if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<GroupReference>)]
    pub group: Option<String>,
    /// The slug or id of the workspace to bind it to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<WorkspaceReference>)]
    pub workspace: Option<String>,
    /// What it may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Scope>>, max_items = 64)]
    pub scopes: Option<Vec<String>>,
    /// A level instead of scopes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// Until when it works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// `true` if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Networks it works from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Network>>, min_items = 1, max_items = 64)]
    pub ip_allowlist: Option<Vec<String>>,
    /// How much it may ask for; no limit if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<RateLimit>>, min_items = 1, max_items = 8)]
    pub rate_limits: Option<Vec<RateLimit>>,
    /// A JSON object to keep with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
}

/// Keys that were imported, in the order they were given.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ImportedKeys {
    /// The keys.
    pub data: Vec<ApiKey>,
}

/// The text of a key, for an owner.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct RevealedKey {
    /// The text of its newest secret.
    pub secret: String,
}
