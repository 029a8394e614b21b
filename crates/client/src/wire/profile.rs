//! A person's own account.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{User, text};

/// A person's own account.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Profile {
    /// Who.
    pub user: User,
    /// Whether a code is asked for when they sign in.
    pub has_second_factor: bool,
    /// How many recovery codes they have left.
    pub recovery_codes_left: i64,
    /// Whether they have entered the password again lately.
    pub has_stepped_up: bool,
}

/// Changes a person's own account.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateProfile {
    /// Another name.
    #[schema(value_type = text::Name)]
    pub name: String,
}

/// Changes a person's own password.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    /// The password as it is.
    pub current_password: String,
    /// Another one.
    #[schema(min_length = 15)]
    pub new_password: String,
}

/// A session with which a person is signed in.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// Its id.
    pub id: Uuid,
    /// Whether it is the one that asks.
    pub is_current: bool,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// From where it began.
    #[schema(required)]
    pub address: Option<String>,
    /// With which browser it began.
    #[schema(required)]
    pub user_agent: Option<String>,
}

/// What a person's device makes codes from; it is shown this once, and counts once a code of it has been given.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct NewSecondFactor {
    /// The secret in base32, for who types it in.
    pub secret: String,
    /// The same for a QR code.
    pub uri: String,
}

/// A code that the person's device shows.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmSecondFactor {
    /// The code.
    pub code: String,
}

/// Codes for who has lost the device; they are shown this once, and each is good once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct RecoveryCodes {
    /// The codes.
    pub codes: Vec<String>,
}
