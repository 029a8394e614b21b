//! Identifiers: one type for each kind of thing, so that a group's id cannot be passed for a key's.
//!
//! All of them are UUIDs of version 7 (RFC 9562): they sort by the time they were made.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Makes a version 7 UUID from a moment and 80 random bits.
pub fn uuid_v7(now: Timestamp, random: [u8; 10]) -> Uuid {
    let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id from a moment and 80 random bits.
            pub fn new(now: Timestamp, random: [u8; 10]) -> Self {
                Self(uuid_v7(now, random))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(text).map(Self)
            }
        }
    )*};
}

ids! {
    /// An organization: the tenant.
    OrganizationId;
    /// A workspace inside an organization.
    WorkspaceId;
    /// A person.
    UserId;
    /// A group of keys.
    GroupId;
    /// An API key; survives the rotation of its secret.
    KeyId;
    /// A route: a guarded door.
    RouteId;
    /// An event in the log.
    EventId;
    /// A signed-in session.
    SessionId;
    /// An invitation to become a member.
    InvitationId;
    /// A process that serves.
    NodeId;
    /// Something that owners and admins are told.
    NotificationId;
    /// A letter that is to be sent by mail.
    LetterId;
    /// A secret: a named value that callers are given.
    SecretId;
    /// A key that values are sealed with.
    DataKeyId;
    /// A line of a route's log.
    LogId;
}
