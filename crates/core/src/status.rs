//! The states a key and an organization can be in.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{from_micros, micros};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// Every one of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word used in JSON, on the command line and in the database.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            /// The one of that word.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|v| v.as_str() == text)
            }
        }
    };
}

words! {
    /// What has been done to a key. That it expired is not done to it: see [`KeyState::status`].
    Switch {
        /// In use.
        Active = "active",
        /// Switched off; may be switched on again.
        Disabled = "disabled",
        /// Withdrawn for good.
        Revoked = "revoked",
    }
}

words! {
    /// What a key is at a moment.
    KeyStatus {
        /// It works.
        Active = "active",
        /// Switched off; may be switched on again.
        Disabled = "disabled",
        /// Withdrawn for good.
        Revoked = "revoked",
        /// Its time is over, for good.
        Expired = "expired",
    }
}

words! {
    /// The state of an organization. Only the keys and members of an active one pass any door.
    OrganizationState {
        /// In use.
        Active = "active",
        /// Switched off; may come back.
        Suspended = "suspended",
        /// Gone; its slug is never used again and its audit log stays.
        Deleted = "deleted",
    }
}

words! {
    /// What an organization pays for; decides its monthly quota.
    Tier {
        /// The free tier.
        Free = "free",
        /// The paid tier.
        Pro = "pro",
        /// The tier without a quota.
        Enterprise = "enterprise",
    }
}

/// A key's switch and expiry, from which its status at a moment follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyState {
    /// What has been done to it.
    pub switch: Switch,
    /// From this moment on it does not work.
    pub expires_at: Option<Timestamp>,
}

impl KeyState {
    /// The status at `now`. Revoked is told before expired, and both before disabled: the final states win.
    pub fn status(self, now: Timestamp) -> KeyStatus {
        match self.switch {
            Switch::Revoked => KeyStatus::Revoked,
            _ if self.expires_at.is_some_and(|at| now >= at) => KeyStatus::Expired,
            Switch::Disabled => KeyStatus::Disabled,
            Switch::Active => KeyStatus::Active,
        }
    }
}

/// From when on something no longer works, if ever: a number, so that looking whether it has come takes as long for what ends
/// as for what never does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct End(i64);

impl End {
    /// It always works.
    pub const NEVER: Self = Self(i64::MAX);

    /// Whether it is over at `now`: at the moment itself it is.
    pub fn has_come(self, now: Timestamp) -> bool {
        micros(now) >= self.0
    }

    /// The moment, `None` for never.
    pub fn moment(self) -> Option<Timestamp> {
        (self != Self::NEVER).then(|| from_micros(self.0))
    }
}

impl From<Option<Timestamp>> for End {
    fn from(moment: Option<Timestamp>) -> Self {
        moment.map_or(Self::NEVER, |at| Self(micros(at)))
    }
}
