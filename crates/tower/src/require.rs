//! What a route asks of its callers.

use std::collections::BTreeSet;

use keyrack_core::Role;
use keyrack_core::guard::Demand;
use keyrack_core::rate::MAX_LIMIT;
use keyrack_core::scope::ScopeError;

/// What a route asks of its callers. All that is said must hold.
///
/// ```
/// # use keyrack_tower::{RequireKey, Role};
/// RequireKey::scope("contacts:read");
/// RequireKey::resource("contacts").groups(["partners"]).workspace("sales").cost(5);
/// RequireKey::any().roles([Role::Admin]);
/// ```
#[derive(Clone, Debug)]
#[must_use = "it guards nothing until Keyrack::require makes a layer of it"]
pub struct RequireKey {
    pub(crate) public: bool,
    asked: Asked,
    pub(crate) groups: Option<Vec<String>>,
    pub(crate) roles: Option<BTreeSet<Role>>,
    pub(crate) workspace: Option<String>,
    pub(crate) query_key: bool,
    cost: u32,
}

#[derive(Clone, Debug)]
enum Asked {
    Nothing,
    Scope(String),
    Resource(String),
}

/// Why no layer can be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The scope that is asked for is none.
    #[error("the scope {0:?}: {1}")]
    Scope(String, #[source] ScopeError),
    /// The resource that is asked for is none.
    #[error("the resource {0:?}: {1}")]
    Resource(String, #[source] ScopeError),
    /// The organization has no such group.
    #[error("there is no group {0:?}")]
    Group(String),
    /// The organization has no such workspace.
    #[error("there is no workspace {0:?}")]
    Workspace(String),
    /// There is no such organization.
    #[error("there is no such organization")]
    Organization,
    /// A public route asks for something.
    #[error("a public route asks nothing; leave groups, roles and workspace out")]
    Public,
    /// Groups and workspaces belong to one organization.
    #[error("where keys of every organization are taken, groups and workspaces cannot be asked for")]
    AnyOrganization,
    /// A request takes 1 to 1,000,000,000 units.
    #[error("a request costs 1 to {MAX_LIMIT} units")]
    Cost,
    /// The address of the keyrack to ask, or the key to ask it with, is none.
    #[cfg(feature = "remote")]
    #[error(transparent)]
    Remote(#[from] keyrack_client::ClientError),
}

impl RequireKey {
    /// A key with this scope, such as `contacts:read`.
    pub fn scope(scope: impl Into<String>) -> Self {
        Self { asked: Asked::Scope(scope.into()), ..Self::any() }
    }

    /// A key that may read this resource for GET, HEAD and OPTIONS, and write it for every other method.
    pub fn resource(resource: impl Into<String>) -> Self {
        Self { asked: Asked::Resource(resource.into()), ..Self::any() }
    }

    /// Any live key, to be narrowed by what follows.
    pub fn any() -> Self {
        Self {
            public: false,
            asked: Asked::Nothing,
            groups: None,
            roles: None,
            workspace: None,
            query_key: false,
            cost: 1,
        }
    }

    /// No key at all. One that is sent must still be good (else 401 or 403), but brings no [`Grant`](crate::Grant) with it, and
    /// nothing is counted. An `Authorization` of another scheme is the service's own affair.
    pub fn public() -> Self {
        Self { public: true, ..Self::any() }
    }

    /// Of one of these groups, by name or id. No group at all lets nobody in.
    pub fn groups(self, groups: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { groups: Some(groups.into_iter().map(Into::into).collect()), ..self }
    }

    /// Counting as one of these roles: a key is an admin if its group is an access group, and else a member. No role at all
    /// lets nobody in.
    pub fn roles(self, roles: impl IntoIterator<Item = Role>) -> Self {
        Self { roles: Some(roles.into_iter().collect()), ..self }
    }

    /// The route stands in this workspace, by slug or id. Keys that are bound to a workspace pass in their own only; a route
    /// that stands in none lets none of them in.
    pub fn workspace(self, workspace: impl Into<String>) -> Self {
        Self { workspace: Some(workspace.into()), ..self }
    }

    /// A key may stand in the query too, as `api_key` or `apiKey`: where nothing else can be sent, for queries end up in logs.
    pub fn query_key(self) -> Self {
        Self { query_key: true, ..self }
    }

    /// A request takes so many units of the key's limits and of its organization's quota, 1 if nothing is said; at most
    /// 1,000,000,000.
    pub fn cost(self, units: u32) -> Self {
        Self { cost: units, ..self }
    }

    /// What the key must be allowed to do.
    pub(crate) fn demand(&self) -> Result<Option<Demand>, SetupError> {
        match &self.asked {
            Asked::Nothing => Ok(None),
            Asked::Scope(text) => {
                let scope = text.parse().map_err(|error| SetupError::Scope(text.clone(), error))?;
                Ok(Some(Demand::Scope(scope)))
            }
            Asked::Resource(text) => {
                let resource = text.parse().map_err(|error| SetupError::Resource(text.clone(), error))?;
                Ok(Some(Demand::Resource(resource)))
            }
        }
    }

    /// What a request takes.
    pub(crate) fn units(&self) -> Result<u32, SetupError> {
        if (1..=MAX_LIMIT).contains(&self.cost) { Ok(self.cost) } else { Err(SetupError::Cost) }
    }

    /// Fails if what is asked for contradicts itself.
    pub(crate) fn check(&self, any_organization: bool) -> Result<(), SetupError> {
        let is_of_one = self.groups.is_some() || self.workspace.is_some();
        match self {
            _ if self.public && (is_of_one || self.roles.is_some()) => Err(SetupError::Public),
            _ if any_organization && is_of_one => Err(SetupError::AnyOrganization),
            _ => Ok(()),
        }
    }
}
