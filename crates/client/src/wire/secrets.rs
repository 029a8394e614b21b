//! Secrets: named values that callers are given.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::text::{Description, SecretName, SecretOwner, SecretValue};
use super::{SecretScope, given};

/// A named value that callers are given.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct Secret {
    /// Its id.
    pub id: Uuid,
    /// Its name, the only one of its scope and owner.
    pub name: String,
    /// Who is given it. Of several that have the name, that of the key counts before that of its group, of the route, and of all.
    pub scope: SecretScope,
    /// The id of the route, group or key that it belongs to and goes with; null for `global`.
    #[schema(required)]
    pub owner: Option<Uuid>,
    /// What that is called.
    #[schema(required)]
    pub owner_name: Option<String>,
    /// What it is for.
    pub comment: String,
    /// How many bytes the value has.
    pub size_bytes: i64,
    /// The value, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// What a secret is to be.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSecret {
    /// Its name.
    #[schema(value_type = SecretName)]
    pub name: String,
    /// Its value: up to 16,384 bytes.
    #[schema(value_type = SecretValue)]
    pub value: String,
    /// Who is given it.
    pub scope: SecretScope,
    /// What it belongs to: the name or id of a route or a group, or the id of a key. Missing for `global`, and only there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<SecretOwner>)]
    pub owner: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Description>)]
    pub comment: Option<String>,
}

/// What of a secret is to change: an absent field is kept.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateSecret {
    /// A new value.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<SecretValue>)]
    pub value: Option<String>,
    /// A new comment.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Description>)]
    pub comment: Option<String>,
}
