//! Guards as people write them, and what decisions make of them.

use std::sync::Arc;

use keyrack_core::guard::{Admitted, Audience, Demand};
use keyrack_core::scope::Scope;
use keyrack_core::{GroupId, Guard, KeyId, OrganizationId, Role};
use serde::{Deserialize, Serialize};

use crate::actor::Context;
use crate::directory::Tenant;
use crate::{Error, Result};

/// A guard as it is written down: in a request, in an answer and in the database (there with ids only).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuardText {
    /// Anonymous callers pass; stands alone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub public: bool,
    /// `own` (the default) or `any`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organizations: Option<String>,
    /// Groups that are let in, by name or id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// Keys that are let in, by id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<Vec<String>>,
    /// The scope that is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The resource that is read by GET, HEAD and OPTIONS and written by other methods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Roles that are let in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<Role>>,
    /// The workspace of the door, by slug or id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// Signed-in people are let in too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub sessions: bool,
    /// A key may stand in the query.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub query_key: bool,
}

impl GuardText {
    pub(crate) fn names_group(&self, id: &str) -> bool {
        self.groups.as_ref().is_some_and(|groups| groups.iter().any(|g| g == id))
    }

    pub(crate) fn names_workspace(&self, id: &str) -> bool {
        self.workspace.as_deref() == Some(id)
    }
}

/// Checks a guard as it was asked for; the same with ids in the place of names, and the keys it names.
pub(super) fn resolve_guard(
    ctx: &Context,
    tenant: &Arc<Tenant>,
    mut text: GuardText,
) -> Result<(GuardText, Vec<KeyId>)> {
    for (at, group) in text.groups.iter_mut().flatten().enumerate() {
        let known = tenant.group(group);
        *group = known.ok_or_else(|| Error::invalid(format!("guard.groups[{at}]"), "no such group"))?.id.to_string();
    }
    if let Some(workspace) = &mut text.workspace {
        let known = tenant.workspace(workspace);
        *workspace = known.ok_or_else(|| Error::invalid("guard.workspace", "no such workspace"))?.id.to_string();
    }
    if text.organizations.as_deref() == Some("any") && !ctx.actor.is_instance_admin() {
        return Err(Error::forbidden(
            "insufficient_scope",
            "only an instance admin opens a door to every organization",
        ));
    }
    read_guard(&text, ctx.organization)?;
    let keys = text.keys.iter().flatten().map(|id| id.parse());
    let keys = keys.collect::<std::result::Result<_, _>>().map_err(|_| Error::invalid("guard.keys", "must be ids"))?;
    Ok((text, keys))
}

pub(super) fn read_guard(text: &GuardText, organization: OrganizationId) -> Result<Guard> {
    let asks = text.groups.is_some()
        || text.keys.is_some()
        || text.scope.is_some()
        || text.resource.is_some()
        || text.roles.is_some()
        || text.workspace.is_some();
    let any = match text.organizations.as_deref() {
        None | Some("own") => false,
        Some("any") => true,
        Some(_) => return Err(Error::invalid("guard.organizations", "must be own or any")),
    };
    if text.public && (asks || any || text.sessions) {
        return Err(Error::invalid("guard.public", "stands alone; a public door asks nothing"));
    }
    if !text.public && !asks && !any {
        return Err(Error::invalid("guard", "must ask for something, or say public: true"));
    }
    if any && (text.groups.is_some() || text.keys.is_some() || text.workspace.is_some()) {
        return Err(Error::invalid("guard.organizations", "any goes without groups, keys and workspace"));
    }
    let demand = match (&text.scope, &text.resource) {
        (Some(_), Some(_)) => return Err(Error::invalid("guard.resource", "give either a scope or a resource")),
        (Some(scope), None) => {
            Some(Demand::Scope(scope.parse::<Scope>().map_err(|e| Error::invalid("guard.scope", e))?))
        }
        (None, Some(resource)) => {
            Some(Demand::Resource(resource.parse().map_err(|e| Error::invalid("guard.resource", e))?))
        }
        (None, None) => None,
    };
    let admitted = (text.groups.is_some() || text.keys.is_some()).then(|| -> Result<Admitted> {
        let ids = |field: &str, texts: &Option<Vec<String>>| -> Result<Vec<uuid::Uuid>> {
            let parsed = texts.iter().flatten().map(|id| uuid::Uuid::parse_str(id));
            parsed.collect::<std::result::Result<_, _>>().map_err(|_| Error::invalid(field, "must be ids"))
        };
        Ok(Admitted {
            groups: ids("guard.groups", &text.groups)?.into_iter().map(GroupId).collect(),
            keys: ids("guard.keys", &text.keys)?.into_iter().map(KeyId).collect(),
        })
    });
    let audience = if any { Audience::Any } else { Audience::Own(organization) };
    Ok(Guard {
        public: text.public,
        admitted: admitted.transpose()?,
        demand,
        roles: text.roles.as_ref().map(|roles| roles.iter().copied().collect()),
        sessions: text.sessions,
        query_key: text.query_key,
        ..Guard::new(audience)
    })
}
