//! Roles of people in an organization, and the role a key counts as.

use serde::{Deserialize, Serialize};

use crate::scope::{Action, Resource, Scope, ScopeSet};

/// A role, weakest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May use what the organization has.
    Member,
    /// May also manage it.
    Admin,
    /// May also change who owns it. No key ever has this role.
    Owner,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Member, Self::Admin, Self::Owner];

    /// The word used in JSON, on the command line and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// The role of that word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.as_str() == text)
    }

    /// The scopes a person of this role has.
    pub fn scopes(self) -> ScopeSet {
        let any = |action| Scope { resource: Resource::Any, action };
        match self {
            Self::Member => ScopeSet::of([any(Action::Read), any(Action::Write)]),
            Self::Admin | Self::Owner => {
                ScopeSet::of([any(Action::Admin), Scope { resource: Resource::AnyKeyrack, action: Action::Admin }])
            }
        }
    }

    /// The role a key counts as at a door that names roles: admin if its group is an access group, else member.
    pub fn of_key(in_access_group: bool) -> Self {
        if in_access_group { Self::Admin } else { Self::Member }
    }
}
