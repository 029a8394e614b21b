//! Why a key would pass a door or not, question by question, for those entitled to know.

use std::net::IpAddr;

use keyrack_core::decide::{KeyFacts, Place, Request, explain};
use keyrack_core::status::End;
use keyrack_core::{KeyId, OrganizationState, Reason, Role, RouteId};
use keyrack_store::{ApiKey, Route};

use crate::actor::Context;
use crate::directory::Tenant;
use crate::engine::Engine;
use crate::keys::KeyView;
use crate::routes::LiveRoute;
use crate::verify::Candidate;
use crate::{Error, Result};

/// Which key is meant.
#[derive(Clone, Copy, Debug)]
pub enum Which<'k> {
    /// The one of this id.
    Id(KeyId),
    /// The one of this text.
    Text(&'k str),
}

/// What is to be explained.
#[derive(Clone, Copy, Debug)]
pub struct Explain<'e> {
    /// The key.
    pub key: Which<'e>,
    /// The route; if it is not said, that of the path.
    pub route: Option<RouteId>,
    /// The method of the request.
    pub method: &'e str,
    /// Its path.
    pub path: &'e str,
    /// Where it comes from.
    pub address: Option<IpAddr>,
}

/// A question that a door asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// The reason to keep the caller out if the answer is no.
    pub reason: Reason,
    /// Whether it is yes.
    pub passes: bool,
    /// What the door asks.
    pub asked: String,
    /// What the key or the request has.
    pub found: String,
}

/// What would come of a request.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The key, if it is one of the organization's.
    pub key: Option<KeyView>,
    /// The route; `None` if no open one takes the method and the path.
    pub route: Option<Route>,
    /// Every question, in the order in which they are asked. The first whose answer is no decides.
    pub steps: Vec<Step>,
    /// What would let it through, in a sentence; `None` if nothing keeps it out.
    pub cure: Option<String>,
}

impl Engine {
    /// Explains what would come of a request with a key at a door of the organization. Nothing is taken, and nothing is counted.
    pub async fn explain(&self, ctx: &Context, asked: Explain<'_>) -> Result<Explanation> {
        keyrack_core::path::check(asked.path.as_bytes()).map_err(|e| Error::invalid("path", e))?;
        let tenant = self.tenant(ctx)?;
        let key = self.key_meant(ctx, asked.key).await?;
        let live = self.door_meant(ctx, &tenant, &asked).await?;
        let view = key.clone().map(|key| self.view(key)).transpose()?;
        let Some(live) = live else {
            let cure = "No open route takes this method and path: make one, or open it.".to_owned();
            return Ok(Explanation { key: view, route: None, steps: Vec::new(), cure: Some(cure) });
        };
        let route = Some(live.route.clone());
        if live.guard.public && key.is_none() {
            return Ok(Explanation { key: view, route, steps: Vec::new(), cure: None });
        }
        let Some(key) = key else {
            let steps = vec![Step {
                reason: Reason::NotFound,
                passes: false,
                asked: "a key of this organization".to_owned(),
                found: "none that is known here".to_owned(),
            }];
            let cure =
                Some("Send a key of this organization, whole and without anything before or behind it.".to_owned());
            return Ok(Explanation { key: None, route, steps, cure });
        };
        let mut steps = self.steps(&tenant, &live, &key, &asked);
        if let Some(standing) = self.quota_use(ctx).await?.limit_and_used() {
            let (limit, used) = standing;
            steps.push(Step {
                reason: Reason::QuotaExceeded,
                passes: used < limit,
                asked: format!("less than {limit} requests this month"),
                found: format!("{used} so far"),
            });
        }
        let cure = steps.iter().find(|step| !step.passes).map(cure);
        Ok(Explanation { key: view, route, steps, cure })
    }

    /// A key of the organization, however it is named.
    async fn key_meant(&self, ctx: &Context, which: Which<'_>) -> Result<Option<ApiKey>> {
        let id = match which {
            Which::Id(id) => Some(id),
            Which::Text(text) => {
                let candidate = self.identify(text.trim(), self.now()).await?.and_then(Candidate::known);
                candidate.filter(|key| key.tenant.organization.id == ctx.organization).map(|key| key.record.key)
            }
        };
        match id {
            Some(id) => Ok(Some(self.visible_key(&mut self.reader().await?, ctx, id).await?)),
            None => Ok(None),
        }
    }

    async fn door_meant(
        &self,
        ctx: &Context,
        tenant: &Tenant,
        asked: &Explain<'_>,
    ) -> Result<Option<std::sync::Arc<LiveRoute>>> {
        if let Some(id) = asked.route {
            let route = self.get_route(ctx, id).await?;
            return Ok(self.find_named_route(&tenant.organization.slug, &route.id.to_string(), asked.method));
        }
        let path = format!("/o/{}{}", tenant.organization.slug, asked.path);
        let found = self.find_route("", &path, asked.method).map(|found| found.route);
        Ok(found.filter(|found| found.route.organization == ctx.organization))
    }

    fn steps(&self, tenant: &Tenant, live: &LiveRoute, key: &ApiKey, asked: &Explain<'_>) -> Vec<Step> {
        let now = self.now();
        let facts = KeyFacts {
            secret_matches: true,
            key: key.id,
            group: key.group,
            organization: key.organization,
            organization_state: tenant.organization.state,
            in_access_group: tenant.is_access_group(key.group),
            workspace: key.workspace,
            switch: key.switch,
            expires_at: key.expires_at.into(),
            secret_expires_at: End::from(None),
            scopes: &key.scopes,
            narrowed_to: None,
            ip_allowlist: &key.ip_allowlist,
        };
        let place = live.place_if_matched(Some(asked.path), &self.directory).unwrap_or(Place::Elsewhere);
        let request = Request { method: asked.method, address: asked.address, place };
        let mut steps: Vec<Step> = Vec::new();
        for (reason, passes) in explain(&live.guard, &facts, &request, now) {
            // Several questions may have the same reason; who asks sees one.
            if let Some(known) = steps.iter_mut().find(|step| step.reason == reason) {
                known.passes &= passes;
                continue;
            }
            let Some((what, found)) = words(reason, (tenant, live, key), &request, asked) else { continue };
            steps.push(Step { reason, passes, asked: what, found });
        }
        steps
    }
}

/// What a door asks and what there is, in words; `None` for what does not come up at a route.
fn words(
    reason: Reason,
    (tenant, live, key): (&Tenant, &LiveRoute, &ApiKey),
    request: &Request<'_>,
    asked: &Explain<'_>,
) -> Option<(String, String)> {
    let say = |asked: &str, found: String| Some((asked.to_owned(), found));
    let workspace =
        |id| tenant.workspaces.get(&id).map_or("one that is deleted", |w: &keyrack_store::Workspace| &*w.slug);
    let guard = &live.guard;
    match reason {
        Reason::NotFound => say("a key of this server", key.display_prefix.clone() + "…"),
        Reason::Revoked => say("a key that is not revoked", key.switch.as_str().to_owned()),
        Reason::Disabled => say("a key that is not disabled", key.switch.as_str().to_owned()),
        Reason::Expired => {
            say("a key that has not expired", key.expires_at.map_or("never expires".to_owned(), |at| at.to_string()))
        }
        Reason::OrganizationInactive => {
            let state: OrganizationState = tenant.organization.state;
            say("an active organization", state.as_str().to_owned())
        }
        Reason::WrongOrganization => say("a key of this organization", tenant.organization.slug.clone()),
        Reason::WrongWorkspace => {
            let door = match request.place {
                Place::In(id) => format!("workspace {}", workspace(id)),
                Place::Elsewhere => "a workspace that this organization does not have".to_owned(),
                _ => "no workspace: only keys of the whole organization".to_owned(),
            };
            let bound = key.workspace.map(|id| format!("bound to {}", workspace(id)));
            Some((door, bound.unwrap_or_else(|| "the whole organization".to_owned())))
        }
        Reason::WrongGroup => {
            let admitted = guard.admitted.as_ref()?;
            let name = |id| tenant.groups.get(id).map_or("a deleted group", |group| &*group.name);
            let mut named: Vec<&str> = admitted.groups.iter().map(name).collect();
            let keys = format!("one of {} keys", admitted.keys.len());
            if !admitted.keys.is_empty() {
                named.push(&keys);
            }
            let door = if named.is_empty() { "nobody any more".to_owned() } else { named.join(" or ") };
            Some((door, name(&key.group).to_owned()))
        }
        Reason::IpNotAllowed | Reason::IpRequired => {
            let networks = key.ip_allowlist.to_strings();
            let door = networks.map_or("any address".to_owned(), |networks| networks.join(", "));
            Some((door, asked.address.map_or("no address was said".to_owned(), |address| address.to_string())))
        }
        Reason::InsufficientRole => {
            let roles: Vec<&str> = guard.roles.as_ref()?.iter().map(|role| role.as_str()).collect();
            let own = Role::of_key(tenant.is_access_group(key.group));
            Some((format!("role {}", roles.join(" or ")), own.as_str().to_owned()))
        }
        Reason::InsufficientScope => {
            let scope = guard.demand.as_ref()?.scope(request.method);
            Some((scope.to_string(), key.scopes.to_strings().join(" ")))
        }
        _ => None,
    }
}

/// What would let the caller through.
fn cure(step: &Step) -> String {
    let Step { asked, found, .. } = step;
    match step.reason {
        Reason::Revoked => "The key is revoked for good: make a new one.".to_owned(),
        Reason::Expired => "The key has expired for good: make a new one.".to_owned(),
        Reason::Disabled => "Enable the key.".to_owned(),
        Reason::OrganizationInactive => "An instance admin has to make the organization active again.".to_owned(),
        Reason::WrongWorkspace => format!("Use a key for {asked}; this one is {found}."),
        Reason::WrongGroup => format!("Use a key of {asked}, or let the group {found} in at the route."),
        Reason::IpNotAllowed | Reason::IpRequired => {
            format!("Call from {asked}, or add the address to the key.")
        }
        Reason::InsufficientRole => format!("The route asks for {asked}; the key counts as {found}."),
        Reason::InsufficientScope => format!("Give the key the scope {asked}."),
        Reason::QuotaExceeded => "Wait for the next month, or take a larger tier.".to_owned(),
        _ => "Send a key of this organization.".to_owned(),
    }
}
