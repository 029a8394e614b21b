//! Tokens that stand for a key.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::text::{KeyText, Scope};

/// What a token is to be.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// What it may do: no more than the key. All that the key may if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Scope>>, max_items = 64)]
    pub scopes: Option<Vec<String>>,
    /// How many seconds it lives: 1 to 3,600; an hour if missing, and never longer than the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 3600)]
    pub expires_in: Option<i64>,
}

/// A token that was made.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    /// Its text: a CBOR Web Token (RFC 8392) signed with Ed25519, in base64url.
    pub token: String,
    /// `Bearer`
    pub token_type: String,
    /// How many seconds it lives.
    pub expires_in: i64,
    /// From when on it is not taken.
    pub expires_at: Timestamp,
    /// What it may do; null for all that the key may.
    #[schema(required)]
    pub scopes: Option<Vec<String>>,
}

/// The keys whose tokens are taken: a JSON Web Key Set (RFC 7517).
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TokenKeys {
    /// The newest last.
    pub keys: Vec<TokenKey>,
}

/// A public key (RFC 8037).
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TokenKey {
    /// `OKP`
    pub kty: String,
    /// `Ed25519`
    pub crv: String,
    /// The 32 bytes of the key, in base64url.
    pub x: String,
    /// The 8 bytes that tokens name it by, in base64url.
    pub kid: String,
    /// `EdDSA`
    pub alg: String,
    /// `sig`
    #[serde(rename = "use")]
    pub usage: String,
}

/// RFC 7009, section 2.1: sent as a form.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct GiveUp {
    /// The text of the key.
    #[schema(value_type = KeyText)]
    pub token: String,
    /// Allowed by the standard; nothing depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_type_hint: Option<String>,
}
