//! What a door asks of a caller.

use std::collections::BTreeSet;

use crate::scope::{Action, Resource, Scope};
use crate::{GroupId, KeyId, OrganizationId, Role};

/// Whose keys a door takes at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audience {
    /// Those of one organization: the door's own.
    Own(OrganizationId),
    /// Those of every organization.
    Any,
    /// Those of each organization's access groups: the management API, where the credential says which organization.
    Access,
}

/// What the caller must be allowed to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Demand {
    /// This scope.
    Scope(Scope),
    /// Read on this resource for GET, HEAD and OPTIONS, write for every other method.
    Resource(Resource),
}

impl Demand {
    /// The scope a request of this method needs.
    pub fn scope(&self, method: &str) -> Scope {
        match self {
            Self::Scope(scope) => scope.clone(),
            Self::Resource(resource) => Scope { resource: resource.clone(), action: Action::of_method(method) },
        }
    }
}

/// Groups and keys that are let in; either will do. Emptied by deletions it admits nobody.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Admitted {
    /// Any key of these groups.
    pub groups: BTreeSet<GroupId>,
    /// These keys.
    pub keys: BTreeSet<KeyId>,
}

impl Admitted {
    /// Whether nobody is let in any more.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.keys.is_empty()
    }

    /// Whether a key of that group is among them.
    pub fn includes(&self, group: GroupId, key: KeyId) -> bool {
        self.groups.contains(&group) || self.keys.contains(&key)
    }
}

/// What a door asks of a caller. Every member that is given must hold.
#[expect(clippy::struct_excessive_bools, reason = "independent switches, as the route's JSON has them")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guard {
    /// Whose keys are taken.
    pub audience: Audience,
    /// Anonymous callers pass; a credential that is sent must still be good.
    pub public: bool,
    /// Only these groups and keys.
    pub admitted: Option<Admitted>,
    /// Only callers that may do this.
    pub demand: Option<Demand>,
    /// Only callers that count as one of these.
    pub roles: Option<BTreeSet<Role>>,
    /// Signed-in people are let in too.
    pub sessions: bool,
    /// Keys are let in. False only at doors for people.
    pub keys: bool,
    /// A key may stand in the query.
    pub query_key: bool,
}

impl Guard {
    /// A guard for any live key of this audience, to be narrowed by its members.
    pub fn new(audience: Audience) -> Self {
        Self {
            audience,
            public: false,
            admitted: None,
            demand: None,
            roles: None,
            sessions: false,
            keys: true,
            query_key: false,
        }
    }
}
