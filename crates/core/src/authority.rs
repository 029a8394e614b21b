//! How much a key can do, so that two keys can be compared.
//!
//! Whoever makes, rotates, changes, enables, imports or reveals a key must be at least as strong as that key, both before
//! and after the change. Nobody makes a key stronger than himself.

use jiff::Timestamp;

use crate::scope::{Action, Resource, Scope, ScopeSet};
use crate::{GroupId, IpAllowlist, OrganizationId, RateLimits, Role, WorkspaceId};

/// Everything a key can do, along every dimension that can be compared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authority {
    /// Where.
    pub organization: OrganizationId,
    /// In which group; `None` stands for all of them (people, the host's command line).
    pub group: Option<GroupId>,
    /// What.
    pub scopes: ScopeSet,
    /// In which workspace only; `None` is no restriction.
    pub workspace: Option<WorkspaceId>,
    /// Until when; `None` is no restriction.
    pub expires_at: Option<Timestamp>,
    /// From where only.
    pub ip_allowlist: IpAllowlist,
    /// How much only.
    pub rate_limits: RateLimits,
    /// As what it counts at doors that name roles.
    pub role: Role,
}

/// The first dimension along which a key is stronger than who acts on it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Excess {
    /// Another organization's.
    #[error("the key belongs to another organization")]
    Organization,
    /// A group that is not the actor's.
    #[error("a key of another group needs the scope keyrack.groups:admin")]
    Group,
    /// A scope the actor does not have.
    #[error("the key would have the scope {0}, which you do not have")]
    Scope(Scope),
    /// Not restricted to the actor's workspace.
    #[error("the key would not be bound to your workspace")]
    Workspace,
    /// Lives longer than the actor.
    #[error("the key would outlive yours")]
    Expiry,
    /// Not restricted to the actor's addresses.
    #[error("the key would work from addresses yours does not work from")]
    Addresses,
    /// Not held to the actor's rate limits.
    #[error("the key could ask for more at a time than yours")]
    Rate,
    /// Counts as more than the actor.
    #[error("the key would count as a stronger role than yours")]
    Role,
}

impl Authority {
    /// The authority of a person: bounded by role alone.
    pub fn of_person(organization: OrganizationId, role: Role) -> Self {
        Self {
            organization,
            group: None,
            scopes: role.scopes(),
            workspace: None,
            expires_at: None,
            ip_allowlist: IpAllowlist::default(),
            rate_limits: RateLimits::default(),
            role,
        }
    }

    /// The authority of an instance admin and of the host's own command line, in one organization.
    pub fn of_host(organization: OrganizationId) -> Self {
        let instance = Scope::keyrack(Resource::INSTANCE, Action::Admin);
        let owner = Self::of_person(organization, Role::Owner);
        Self { scopes: ScopeSet::of(owner.scopes.iter().cloned().chain([instance])), ..owner }
    }

    /// Whether this authority is within the actor's; the first excess is named otherwise.
    pub fn within(&self, actor: &Self) -> Result<(), Excess> {
        if self.organization != actor.organization {
            return Err(Excess::Organization);
        }
        let other_group = actor.group.is_some() && self.group != actor.group;
        if other_group && !actor.scopes.grants(&Scope::keyrack("groups", Action::Admin)) {
            return Err(Excess::Group);
        }
        actor.scopes.covers(&self.scopes).map_err(Excess::Scope)?;
        if actor.workspace.is_some() && self.workspace != actor.workspace {
            return Err(Excess::Workspace);
        }
        let ends = |at: Option<Timestamp>| at.unwrap_or(Timestamp::MAX);
        if ends(self.expires_at) > ends(actor.expires_at) {
            return Err(Excess::Expiry);
        }
        if !actor.ip_allowlist.covers(&self.ip_allowlist) {
            return Err(Excess::Addresses);
        }
        if !actor.rate_limits.cover(&self.rate_limits) {
            return Err(Excess::Rate);
        }
        if self.role > actor.role {
            return Err(Excess::Role);
        }
        Ok(())
    }
}
