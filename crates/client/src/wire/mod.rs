//! What goes over the wire: JSON in snake case, times in RFC 3339 UTC, unknown fields refused.

mod audit;
mod groups;
mod keys;
mod limits;
mod members;
mod nodes;
mod notifications;
mod organizations;
mod profile;
mod route_logs;
mod route_metrics;
mod routes;
mod secrets;
mod session;
pub mod text;
mod tokens;
mod usage;
mod verify;

pub use audit::*;
pub use groups::*;
pub use keys::*;
pub use limits::*;
pub use members::*;
pub use nodes::*;
pub use notifications::*;
pub use organizations::*;
pub use profile::*;
pub use route_logs::*;
pub use route_metrics::*;
pub use routes::*;
pub use secrets::*;
pub use session::*;
pub use tokens::*;
pub use usage::*;
pub use verify::*;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A part of a list.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// What was found.
    pub data: Vec<T>,
    /// Give this as `cursor` for the next part; null if this was the last.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// The body of every error but the 401 and the 429 of a quota, which have the first two fields only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// A stable word for what is wrong.
    #[schema(examples("invalid_request"))]
    pub error: String,
    /// The same for people.
    pub message: String,
    /// Names this request in the logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Which fields or things it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<ErrorDetail>,
}

/// One field or thing that an error is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorDetail {
    /// The field of the request, such as `scopes[2]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What it must be, or what stands in the way.
    pub message: String,
}

/// A word of a fixed set, written in lower case. (`tt`, since a `literal` would be opaque to the derive of the schema.)
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:tt,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant,)* }

        impl $name {
            /// The word as it is written.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(format!("must be one of {}", [$($word),*].join(", "))),
                }
            }
        }
    )*};
}

words! {
    /// What times are told apart.
    UsageBy {
        /// Minutes; kept for 48 hours.
        Minute = "minute",
        /// Hours; kept for 90 days.
        Hour = "hour",
        /// Days of UTC; kept for two years.
        Day = "day",
    }
    /// Who is given a secret.
    SecretScope {
        /// Everybody whom a door of the organization lets in.
        Global = "global",
        /// Everybody at a route.
        Route = "route",
        /// Keys of a group.
        Group = "group",
        /// A key.
        Key = "key",
    }
    /// What a key is for.
    Environment {
        /// Real use.
        Live = "live",
        /// Trying things out.
        Test = "test",
    }
    /// What a key is now.
    KeyStatus {
        /// It works.
        Active = "active",
        /// Switched off; may be switched on again.
        Disabled = "disabled",
        /// Withdrawn for good.
        Revoked = "revoked",
        /// Its time is over.
        Expired = "expired",
    }
    /// A preset of scopes.
    Level {
        /// `*:read`.
        ReadOnly = "read_only",
        /// `*:read *:write`.
        ReadWrite = "read_write",
    }
    /// A role in an organization.
    Role {
        /// May use what the organization has.
        Member = "member",
        /// May also manage it.
        Admin = "admin",
        /// May also change who owns it.
        Owner = "owner",
    }
    /// What an organization pays for.
    Tier {
        /// The free tier.
        Free = "free",
        /// The paid tier.
        Pro = "pro",
        /// The tier without a quota.
        Enterprise = "enterprise",
    }
    /// The state of an organization.
    OrganizationState {
        /// In use.
        Active = "active",
        /// Switched off: none of its keys works.
        Suspended = "suspended",
        /// Gone for good; its audit log stays.
        Deleted = "deleted",
    }
    /// How the random part of a key is written.
    KeyBody {
        /// 43 characters of 0-9 A-Z a-z and a checksum of 6.
        Base62 = "base62",
        /// 64 lower-case hexadecimal digits.
        Hex = "hex",
        /// 43 characters of base64url.
        Base64url = "base64url",
    }
    /// How keys are remembered.
    HashProfile {
        /// HMAC-SHA-256 under a pepper kept outside the database.
        HmacSha256 = "hmac-sha256",
        /// bcrypt.
        Bcrypt = "bcrypt",
    }
}

/// Takes no null: for a field of a change that can be left out (keep) but holds nothing that null could clear.
pub(crate) fn given<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// Tells an absent field (keep) from null (clear): use with `#[serde(default, deserialize_with = "present")]`.
pub(crate) fn present<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}
