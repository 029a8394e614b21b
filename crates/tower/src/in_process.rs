//! Deciding in this process.

use std::sync::Arc;

use keyrack_core::decide::Place;
use keyrack_core::guard::{Admitted, Audience};
use keyrack_core::{Decision, OrganizationId, Role, WorkspaceId};
use keyrack_engine::{Call, Charge, Engine, Error, KnownKey, Presented, Tenant, Verdict};

use crate::arrival::Arrival;
use crate::body::Note;
use crate::door::{Decided, Undecided};
use crate::grant::{Billing, Grant, Granted, Group, Key, Organization, Workspace};
use crate::require::{RequireKey, SetupError};

/// An engine, and the organization whose doors these are.
#[derive(Clone)]
pub(crate) struct InProcess {
    pub(crate) engine: Arc<Engine>,
    pub(crate) organization: OrganizationId,
}

/// What one door asks. Groups and workspaces are held by their ids: one that is deleted and made anew under its name is
/// another one, and nobody gets in by it.
pub(crate) struct Guard {
    engine: Arc<Engine>,
    organization: OrganizationId,
    asks: keyrack_core::Guard,
    workspace: Option<WorkspaceId>,
    charge: Charge,
}

impl InProcess {
    pub(crate) fn guard(&self, asked: RequireKey, any_organization: bool) -> Result<Guard, SetupError> {
        let Self { engine, organization } = self.clone();
        let tenant = engine.directory().tenant(organization).ok_or(SetupError::Organization)?;
        let audience = if any_organization { Audience::Any } else { Audience::Own(organization) };
        let (demand, charge) = (asked.demand()?, Charge::Units(asked.units()?));
        let workspace = asked.workspace.map(|name| match tenant.workspace(&name) {
            Some(workspace) => Ok(workspace.id),
            None => Err(SetupError::Workspace(name)),
        });
        let asks = keyrack_core::Guard {
            public: asked.public,
            admitted: asked.groups.map(|groups| admitted(&tenant, groups)).transpose()?,
            demand,
            roles: asked.roles,
            query_key: asked.query_key,
            ..keyrack_core::Guard::new(audience)
        };
        Ok(Guard { engine, organization, asks, workspace: workspace.transpose()?, charge })
    }
}

fn admitted(tenant: &Tenant, groups: Vec<String>) -> Result<Admitted, SetupError> {
    let id = |name: String| match tenant.group(&name) {
        Some(group) => Ok(group.id),
        None => Err(SetupError::Group(name)),
    };
    let groups = groups.into_iter().map(id).collect::<Result<_, _>>()?;
    Ok(Admitted { groups, ..Admitted::default() })
}

impl Guard {
    pub(crate) async fn decide(&self, arrival: Arrival<'_>) -> Result<Decided, Undecided> {
        let call = Call { endpoint: arrival.endpoint, user_agent: arrival.user_agent, door: Some(self.organization) };
        let presented = Presented {
            credential: arrival.credential,
            session: None,
            method: arrival.method,
            address: arrival.address,
            place: self.place(),
            charge: self.charge,
            call,
        };
        let (mut verdict, visit) = self.engine.visit(&self.asks, &presented).await.map_err(undecided)?;
        let standing = verdict.standing.take();
        let outcome = match verdict.decision {
            Decision::Deny(reason) => Err(reason.refusal()),
            Decision::Grant(keyrack_core::Grant::Key(role)) => {
                let quota = standing.as_ref().and_then(|standing| standing.quota);
                let billing = |tenant: &Tenant| Billing::of(tenant.organization.tier, quota);
                let grant = verdict.admitted().map(|key| grant(key, role, billing(&key.tenant)));
                Ok(Some(grant.ok_or(Undecided::UNKNOWN)?))
            }
            // No door here takes sessions.
            Decision::Grant(keyrack_core::Grant::Anonymous | keyrack_core::Grant::Session(_)) => Ok(None),
        };
        Ok(Decided { outcome, standing, note: Note::of(visit, &verdict) })
    }

    /// Where the door stands; nowhere that anybody is known, once its workspace is gone.
    fn place(&self) -> Place {
        let Some(workspace) = self.workspace else { return Place::Nowhere };
        let tenant = self.engine.directory().tenant(self.organization);
        let is_there = tenant.is_some_and(|tenant| tenant.workspaces.contains_key(&workspace));
        if is_there { Place::In(workspace) } else { Place::Elsewhere }
    }
}

impl Note {
    /// Of nobody nothing is to be told.
    fn of(visit: keyrack_engine::Visit, verdict: &Verdict) -> Self {
        let is_counted = !matches!(verdict.decision, Decision::Grant(keyrack_core::Grant::Anonymous));
        Self::new(is_counted.then_some(visit))
    }
}

fn undecided(error: Error) -> Undecided {
    match error {
        Error::Overloaded => Undecided("there is too much to do"),
        Error::Unavailable(what, source) => {
            tracing::warn!(error = ?source, "{what}");
            Undecided(what)
        }
        error => {
            tracing::error!(?error, "it cannot be decided about a key");
            Undecided::UNKNOWN
        }
    }
}

fn grant(key: &KnownKey, role: Role, billing: Billing) -> Grant {
    let (profile, tenant) = (&key.record.profile, &key.tenant);
    let workspace = profile.workspace.zip(key.workspace_slug());
    Grant::new(Granted {
        organization: Organization { id: tenant.organization.id, slug: (&*tenant.organization.slug).into(), billing },
        workspace: workspace.map(|(id, slug)| Workspace { id, slug: slug.into() }),
        key: Key { id: key.record.key, name: key.record.name.clone(), role, expires_at: Engine::ends_at(key) },
        group: Group { id: profile.group, name: key.group_name().into() },
        scopes: key.scope_names(),
    })
}
