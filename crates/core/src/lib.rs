//! What a key is and what it may do.
//!
//! Everything here is a function of its arguments: no IO, no async, no clock and no randomness of its own. Time,
//! random bytes and peppers are handed in. The other crates fetch, store and carry; this one decides.

pub mod address;
pub mod authority;
pub mod carrier;
pub mod decide;
pub mod digest;
pub mod duration;
pub mod format;
pub mod guard;
pub mod id;
pub mod leaf;
pub mod month;
pub mod name;
pub mod path;
pub mod pattern;
pub mod plain;
pub mod quota;
pub mod rate;
pub mod refusal;
pub mod role;
pub mod scope;
pub mod seal;
pub mod secret;
pub mod slow;
pub mod standing;
pub mod status;
pub mod token;
pub mod totp;
pub mod upstream;
pub mod usage;

pub use address::IpAllowlist;
pub use authority::Authority;
pub use decide::{Decision, Grant, Reason, decide};
pub use digest::{KeyDigest, Pepper, TextHash};
pub use format::{Body, Environment, KeyFormat};
pub use guard::Guard;
pub use id::{
    DataKeyId, EventId, GroupId, InvitationId, KeyId, LetterId, LogId, NodeId, NotificationId, OrganizationId, RouteId,
    SecretId, SessionId, UserId, WorkspaceId,
};
pub use month::Month;
pub use plain::PlainKey;
pub use rate::{RateLimit, RateLimits};
pub use refusal::Refusal;
pub use role::Role;
pub use scope::{Action, Scope, ScopeSet};
pub use secret::{SecretScope, SecretText};
pub use standing::Standing;
pub use status::{KeyStatus, OrganizationState, Tier};

/// A moment in UTC. Stored and compared in whole microseconds; see [`micros`].
pub use jiff::Timestamp;

/// A moment as microseconds since the Unix epoch: the form every database column holds.
pub fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// The moment that [`micros`] wrote. A number outside jiff's range becomes the nearest moment within it.
pub fn from_micros(value: i64) -> Timestamp {
    Timestamp::from_microsecond(value).unwrap_or(if value < 0 { Timestamp::MIN } else { Timestamp::MAX })
}
