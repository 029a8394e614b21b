//! Routes: made, changed, deleted, and found for a request.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use keyrack_core::decide::Place;
use keyrack_core::guard::{Admitted, Audience, Demand};
use keyrack_core::pattern::{Pattern, Table};
use keyrack_core::scope::Scope;
use keyrack_core::{GroupId, Guard, KeyId, OrganizationId, Role, RouteId, WorkspaceId, name};
use keyrack_store::{INSTANCE, Route, SubjectKind, Writer};
use serde::{Deserialize, Serialize};

use crate::actor::{Context, authority_of};
use crate::directory::{Directory, Tenant};
use crate::engine::{Engine, Subject};
use crate::groups::refuse_workspace_bound;
use crate::keys::too_strong;
use crate::{Error, Result};

/// The setting that names the organization which owns the default host.
pub(crate) const DEFAULT_ORGANIZATION: &str = "default_organization";
/// First segments that are Keyrack's own.
pub const RESERVED: [&str; 15] = [
    "api",
    "hooks",
    "forward-auth",
    "extauthz",
    "login",
    "logout",
    "setup",
    "organizations",
    "profile",
    "static",
    "docs",
    "health",
    "metrics",
    "o",
    "-",
];
const RESERVED_WELL_KNOWN: &str = "/.well-known/keyrack";
/// The methods of a route that names none.
const USUAL_METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

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

/// What is behind a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Target {
    /// Another HTTP service.
    Upstream {
        /// Its address; the path of a request is appended.
        url: String,
    },
}

/// What a route is to be.
#[derive(Clone, Debug)]
pub struct NewRoute {
    /// Its name.
    pub name: String,
    /// The host it answers on; only instance admins give one.
    pub host: Option<String>,
    /// Its path pattern.
    pub path: String,
    /// The methods it takes; the usual ones if missing.
    pub methods: Option<Vec<String>>,
    /// Whether it is made closed.
    pub disabled: bool,
    /// What it asks of callers.
    pub guard: GuardText,
    /// What is behind it.
    pub target: Target,
}

/// What of a route is to change.
#[derive(Clone, Debug, Default)]
pub struct RoutePatch {
    /// A new name.
    pub name: Option<String>,
    /// A new path pattern.
    pub path: Option<String>,
    /// New methods.
    pub methods: Option<Vec<String>>,
    /// Open or close it.
    pub enabled: Option<bool>,
    /// A new guard, whole.
    pub guard: Option<GuardText>,
    /// A new target, whole.
    pub target: Option<Target>,
}

/// A route, read and ready.
#[derive(Debug)]
pub struct LiveRoute {
    /// As it is stored.
    pub route: Route,
    /// What it asks.
    pub guard: Guard,
    /// What is behind it.
    pub target: Target,
    pattern: Pattern,
    workspace: Option<WorkspaceId>,
}

impl LiveRoute {
    /// Reads a route. One whose guard or target cannot be read is closed; if it were left out, a weaker pattern would take
    /// its requests.
    fn read(route: Route) -> Option<Self> {
        let pattern = Pattern::parse(&route.path).ok()?;
        if let Some((guard, workspace, target)) = read_door(&route) {
            return Some(Self { route, guard, target, pattern, workspace });
        }
        tracing::error!(route = %route.id, "a route cannot be read and stays closed");
        let guard = Guard { admitted: Some(Admitted::default()), ..Guard::new(Audience::Own(route.organization)) };
        let (target, route) = (Target::Upstream { url: String::new() }, Route { enabled: false, ..route });
        Some(Self { route, guard, target, pattern, workspace: None })
    }

    fn takes(&self, method: &str) -> bool {
        self.route.enabled && self.route.methods.iter().any(|m| m == method)
    }

    /// The workspace of the door for a path: the guard's, or the one its `:workspace` names. `None` if the path names an
    /// organization (`:org`) that is not the route's, or a workspace that is not its organization's or not the guard's: then
    /// no key is accepted.
    pub fn place(&self, path: &str, directory: &Directory) -> Option<Place> {
        let tenant = directory.tenant(self.route.organization)?;
        let mut place = self.workspace.map_or(Place::Nowhere, Place::In);
        for (name, value) in self.pattern.bind(path) {
            match name {
                "org" if tenant.organization.slug != value => return None,
                "workspace" => {
                    let named = tenant.workspace(value)?.id;
                    if self.workspace.is_some_and(|own| own != named) {
                        return None;
                    }
                    place = Place::In(named);
                }
                _ => {}
            }
        }
        Some(place)
    }
}

/// The route for a request, and the path its target is to see.
pub struct RouteMatch<'p> {
    /// The route.
    pub route: Arc<LiveRoute>,
    /// The path without the part that named the organization.
    pub path: &'p str,
}

/// All routes, arranged for finding.
#[derive(Default)]
pub struct RouteTable(ArcSwap<Arranged>);

#[derive(Default)]
struct Arranged {
    default: Option<OrganizationId>,
    by_organization: HashMap<OrganizationId, Table<Arc<LiveRoute>>>,
    by_host: HashMap<String, Table<Arc<LiveRoute>>>,
}

impl RouteTable {
    /// Puts these routes in the place of those that were known.
    pub(crate) fn replace(&self, routes: Vec<Route>, default: Option<OrganizationId>) {
        let mut arranged = Arranged { default, ..Arranged::default() };
        for route in routes {
            let id = route.id;
            let Some(live) = LiveRoute::read(route) else {
                tracing::error!(route = %id, "the path of a route cannot be read");
                continue;
            };
            let table = match &live.route.host {
                Some(host) => arranged.by_host.entry(host.clone()).or_default(),
                None => arranged.by_organization.entry(live.route.organization).or_default(),
            };
            let pattern = live.pattern.clone();
            table.insert(&pattern, Arc::new(live));
        }
        self.0.store(Arc::new(arranged));
    }
}

impl Engine {
    /// The route for a host, a canonical path and a method. A host of its own has its own routes; elsewhere `/o/{slug}/`
    /// leads to an organization's, and any other path to those of the organization that owns the default host.
    pub fn find_route<'p>(&self, host: &str, path: &'p str, method: &str) -> Option<RouteMatch<'p>> {
        let arranged = self.routes.0.load();
        let (table, path) = match arranged.by_host.get(host) {
            Some(table) => (table, path),
            None => match path.strip_prefix("/o/").and_then(|rest| rest.find('/').map(|at| (rest, at))) {
                Some((rest, at)) => {
                    let tenant = self.directory.resolve(&rest[..at])?;
                    (arranged.by_organization.get(&tenant.organization.id)?, &rest[at..])
                }
                None => (arranged.by_organization.get(&arranged.default?)?, path),
            },
        };
        let route = table.find(path).iter().find(|route| route.takes(method))?;
        Some(RouteMatch { route: route.clone(), path })
    }

    /// Makes a route.
    pub async fn create_route(&self, ctx: &Context, new: NewRoute) -> Result<Route> {
        let tenant = self.tenant(ctx)?;
        let now = self.now();
        let host = new.host.as_deref().map(|host| read_host(ctx, host)).transpose()?;
        let (guard, keys) = resolve_guard(ctx, &tenant, new.guard)?;
        check_target(&new.target)?;
        let route = Route {
            id: RouteId::new(now, self.random_id()?),
            organization: ctx.organization,
            name: name::name(&new.name).map_err(|e| Error::invalid("name", e))?,
            host,
            path: read_path(&new.path)?.to_string(),
            methods: read_methods(new.methods)?,
            enabled: !new.disabled,
            guard: serde_json::json!(guard),
            target: serde_json::json!(new.target),
            created_at: now,
            updated_at: now,
        };
        let mut writer = self.begin_route(ctx, &route, &keys).await?;
        refuse_clash(&mut writer, &route).await?;
        writer.insert_route(&route).await?;
        let event = self.event(ctx, "route.created", about(&route))?;
        self.commit(writer, event).await?;
        Ok(route)
    }

    /// The routes of the organization.
    pub async fn list_routes(&self, ctx: &Context) -> Result<Vec<Route>> {
        refuse_workspace_bound(ctx)?;
        Ok(self.reader().await?.list_routes(ctx.organization).await?)
    }

    /// A route.
    pub async fn get_route(&self, ctx: &Context, id: RouteId) -> Result<Route> {
        refuse_workspace_bound(ctx)?;
        self.reader().await?.find_route(ctx.organization, id).await?.ok_or(Error::NotFound("route"))
    }

    /// Changes a route.
    pub async fn update_route(&self, ctx: &Context, id: RouteId, patch: RoutePatch) -> Result<Route> {
        let tenant = self.tenant(ctx)?;
        let before = self.get_route(ctx, id).await?;
        let mut after = before.clone();
        let mut keys = Vec::new();
        if let Some(text) = patch.name {
            after.name = name::name(&text).map_err(|e| Error::invalid("name", e))?;
        }
        if let Some(path) = patch.path {
            after.path = read_path(&path)?.to_string();
        }
        if patch.methods.is_some() {
            after.methods = read_methods(patch.methods)?;
        }
        if let Some(guard) = patch.guard {
            let (guard, named) = resolve_guard(ctx, &tenant, guard)?;
            (after.guard, keys) = (serde_json::json!(guard), named);
        }
        if let Some(target) = patch.target {
            check_target(&target)?;
            after.target = serde_json::json!(target);
        }
        after.enabled = patch.enabled.unwrap_or(before.enabled);
        if after == before {
            return Ok(before);
        }
        after.updated_at = self.now();
        let mut writer = self.begin_route(ctx, &after, &keys).await?;
        if writer.find_route(ctx.organization, id).await?.as_ref() != Some(&before) {
            return Err(Error::conflict("changed_meanwhile", "somebody else has just changed the route; look again"));
        }
        refuse_clash(&mut writer, &after).await?;
        writer.update_route(&after).await?;
        let event = self.event(ctx, "route.changed", about(&after))?;
        self.commit(writer, event).await?;
        Ok(after)
    }

    /// Deletes a route.
    pub async fn delete_route(&self, ctx: &Context, id: RouteId) -> Result<()> {
        let route = self.get_route(ctx, id).await?;
        let (mut writer, _) = self.begin(ctx).await?;
        writer.find_route(ctx.organization, id).await?.ok_or(Error::NotFound("route"))?;
        writer.delete_route(ctx.organization, id).await?;
        let event = self.event(ctx, "route.deleted", about(&route))?;
        self.commit(writer, event).await.map(|_| ())
    }

    /// A guard with the names of groups and workspaces in the place of their ids.
    pub fn show_guard(&self, route: &Route) -> GuardText {
        let mut text: GuardText = serde_json::from_value(route.guard.clone()).unwrap_or_default();
        let Some(tenant) = self.directory.tenant(route.organization) else { return text };
        for group in text.groups.iter_mut().flatten() {
            if let Some(known) = tenant.group(group) {
                group.clone_from(&known.name);
            }
        }
        if let Some(known) = text.workspace.as_deref().and_then(|w| tenant.workspace(w)) {
            text.workspace = Some(known.slug.clone());
        }
        text
    }

    /// Begins a change of a route. Who binds a key to a door must be as strong as the key.
    async fn begin_route(&self, ctx: &Context, route: &Route, keys: &[KeyId]) -> Result<Writer> {
        let shared = route.host.is_some().then_some(INSTANCE);
        let (mut writer, authority) = self.begin_beside(ctx, shared).await?;
        crate::workspaces::only_whole_organization(&authority)?;
        let tenant = self.tenant(ctx)?;
        for (at, id) in keys.iter().enumerate() {
            let key = writer.find_key(ctx.organization, *id).await?;
            let key = key.ok_or_else(|| Error::invalid(format!("guard.keys[{at}]"), "no such key"))?;
            let in_access_group = tenant.access_groups.contains(&key.group);
            authority_of(&key, in_access_group).within(&authority).map_err(too_strong)?;
        }
        Ok(writer)
    }

    /// Refuses to delete what a route's guard names.
    pub(crate) async fn refuse_if_named(
        &self,
        ctx: &Context,
        writer: &mut Writer,
        names: impl Fn(&GuardText) -> bool,
    ) -> Result<()> {
        let mut details = Vec::new();
        for route in writer.list_routes(ctx.organization).await? {
            let guard = serde_json::from_value(route.guard).map_err(|_| Error::internal("a guard cannot be read"))?;
            if names(&guard) {
                details.push(format!("route {}", route.name));
            }
        }
        if details.is_empty() {
            return Ok(());
        }
        let message = "routes name it; change or delete them first".to_owned();
        Err(Error::Conflict { code: "in_use", message, details })
    }
}

/// Two routes clash when the same request could be meant for either.
async fn refuse_clash(writer: &mut Writer, route: &Route) -> Result<()> {
    let pattern = read_path(&route.path)?;
    let others = match route.host {
        Some(_) => writer.list_all_routes().await?,
        None => writer.list_routes(route.organization).await?,
    };
    for other in others.iter().filter(|o| o.id != route.id && o.host == route.host) {
        let meets = Pattern::parse(&other.path).is_ok_and(|p| p.meets(&pattern));
        if meets && other.methods.iter().any(|m| route.methods.contains(m)) {
            let own = other.organization == route.organization;
            let details = if own { vec![format!("route {}", other.name)] } else { Vec::new() };
            let message = "another route takes the same host, path and method".to_owned();
            return Err(Error::Conflict { code: "route_clash", message, details });
        }
    }
    Ok(())
}

fn read_path(path: &str) -> Result<Pattern> {
    let pattern = Pattern::parse(path).map_err(|e| Error::invalid("path", e))?;
    if pattern.first_static().is_some_and(|first| RESERVED.contains(&first)) || path.starts_with(RESERVED_WELL_KNOWN) {
        return Err(Error::invalid("path", "is reserved for Keyrack"));
    }
    Ok(pattern)
}

fn read_methods(methods: Option<Vec<String>>) -> Result<Vec<String>> {
    let Some(methods) = methods else { return Ok(USUAL_METHODS.map(str::to_owned).to_vec()) };
    if methods.is_empty() {
        return Err(Error::invalid("methods", "must not be empty; leave it out for the usual ones"));
    }
    let mut read = BTreeSet::new();
    for (at, method) in methods.into_iter().enumerate() {
        if !USUAL_METHODS.contains(&&*method) && method != "OPTIONS" {
            let message = "must be GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS";
            return Err(Error::invalid(format!("methods[{at}]"), message));
        }
        if method == "GET" {
            read.insert("HEAD".to_owned());
        }
        read.insert(method);
    }
    Ok(read.into_iter().collect())
}

fn read_host(ctx: &Context, host: &str) -> Result<String> {
    if !ctx.actor.is_instance_admin() {
        return Err(Error::forbidden("insufficient_scope", "hosts are given by an instance admin"));
    }
    let host = host.to_ascii_lowercase();
    let label = |l: &str| !l.is_empty() && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if host.len() <= 253 && host.split('.').all(label) {
        return Ok(host);
    }
    Err(Error::invalid("host", "must be a host name without port, such as api.example.com"))
}

fn check_target(target: &Target) -> Result<()> {
    let Target::Upstream { url } = target;
    let refuse = |message| Err(Error::invalid("target.url", message));
    let Some(rest) = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")) else {
        return refuse("must start with http:// or https://");
    };
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    if authority.is_empty() || authority.contains('@') || url.len() > 2048 || !url.bytes().all(|b| b.is_ascii_graphic())
    {
        return refuse("must name a host, without user name and password");
    }
    if path.contains(['?', '#']) || keyrack_core::path::check(path.as_bytes()).is_err() {
        return refuse("must have a plain path, without query");
    }
    Ok(())
}

/// Checks a guard as it was asked for; the same with ids in the place of names, and the keys it names.
fn resolve_guard(ctx: &Context, tenant: &Arc<Tenant>, mut text: GuardText) -> Result<(GuardText, Vec<KeyId>)> {
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

/// What a stored route asks, where it stands and what is behind it.
fn read_door(route: &Route) -> Option<(Guard, Option<WorkspaceId>, Target)> {
    let text: GuardText = serde_json::from_value(route.guard.clone()).ok()?;
    let workspace = text.workspace.as_deref().map(str::parse).transpose().ok()?;
    let target = serde_json::from_value(route.target.clone()).ok()?;
    Some((read_guard(&text, route.organization).ok()?, workspace, target))
}

fn read_guard(text: &GuardText, organization: OrganizationId) -> Result<Guard> {
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

fn about(route: &Route) -> Subject<'_> {
    let data = serde_json::json!({
        "host": route.host,
        "path": route.path,
        "methods": route.methods,
        "enabled": route.enabled,
        "guard": route.guard,
        "target": route.target,
    });
    Subject { kind: SubjectKind::Route, id: route.id.0, name: &route.name, data }
}
