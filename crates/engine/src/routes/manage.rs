//! Making, changing and deleting routes.

use std::collections::BTreeSet;

use keyrack_core::pattern::Pattern;
use keyrack_core::{Action, KeyId, RouteId, Scope, name, upstream};
use keyrack_store::{INSTANCE, Route, SubjectKind, Writer};

use super::guard::{GuardText, resolve_guard};
use super::table::read_door;
use super::target::{check_target, read_cors};
use super::versions::{keep_version, without_source};
use super::{NewRoute, RESERVED, RESERVED_WELL_KNOWN, RoutePatch, USUAL_METHODS};
use crate::actor::{Context, authority_of};
use crate::engine::{Engine, Subject};
use crate::keys::too_strong;
use crate::{Error, Result};

impl Engine {
    /// Makes a route.
    pub async fn create_route(&self, ctx: &Context, new: NewRoute) -> Result<Route> {
        let tenant = self.tenant(ctx)?;
        let now = self.now();
        let host = new.host.as_deref().map(|host| read_host(ctx, host)).transpose()?;
        let (guard, keys) = resolve_guard(ctx, &tenant, new.guard)?;
        let path = read_path(&new.path)?.to_string();
        check_target(&new.target, &path)?;
        let cors = new.cors.map(|cors| read_cors(cors, guard.sessions)).transpose()?;
        let route = Route {
            id: RouteId::new(now, self.random_id()?),
            organization: ctx.organization,
            name: name::name(&new.name).map_err(|e| Error::invalid("name", e))?,
            host,
            path,
            methods: read_methods(new.methods)?,
            enabled: !new.disabled,
            guard: serde_json::json!(guard),
            target: serde_json::json!(new.target),
            cors: cors.map(|cors| serde_json::json!(cors)),
            created_at: now,
            updated_at: now,
        };
        let mut writer = self.begin_route(ctx, &route, &keys, new.target.learns_secrets()).await?;
        refuse_clash(&mut writer, &route).await?;
        writer.insert_route(&route).await?;
        keep_version(&mut writer, &route).await?;
        let event = self.event(ctx, "route.created", about(&route))?;
        self.commit(writer, event).await?;
        Ok(route)
    }

    /// The routes of the organization.
    pub async fn list_routes(&self, ctx: &Context) -> Result<Vec<Route>> {
        Ok(self.reader().await?.list_routes(ctx.organization).await?)
    }

    /// A route.
    pub async fn get_route(&self, ctx: &Context, id: RouteId) -> Result<Route> {
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
            after.target = serde_json::json!(target);
        }
        if let Some(cors) = patch.cors {
            after.cors = cors.map(|cors| serde_json::json!(cors));
        }
        // Each of these may have been good with what another one was before. Whoever only closes a door is not kept from it.
        let said = |route: &Route| (route.path.clone(), route.guard.clone(), route.target.clone(), route.cors.clone());
        let mut learns_secrets = false;
        after.enabled = patch.enabled.unwrap_or(before.enabled);
        if said(&after) != said(&before) {
            let unread = || Error::conflict("unreadable", "what is stored of the route cannot be read; make it anew");
            let door = read_door(&after).ok_or_else(unread)?;
            check_target(&door.target, &after.path)?;
            learns_secrets = door.target.learns_secrets();
            let cors = door.cors.map(|cors| read_cors(cors, door.guard.sessions)).transpose()?;
            after.cors = cors.map(|cors| serde_json::json!(cors));
        } else if after.enabled && !before.enabled {
            learns_secrets = read_door(&after).is_none_or(|door| door.target.learns_secrets());
        }
        if after == before {
            self.settle_unchanged().await?;
            return Ok(before);
        }
        after.updated_at = self.now();
        let mut writer = self.begin_route(ctx, &after, &keys, learns_secrets).await?;
        if writer.find_route(ctx.organization, id).await?.as_ref() != Some(&before) {
            return Err(Error::conflict("changed_meanwhile", "somebody else has just changed the route; look again"));
        }
        refuse_clash(&mut writer, &after).await?;
        writer.update_route(&after).await?;
        keep_version(&mut writer, &after).await?;
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
        writer.delete_route_log(id).await?;
        writer.delete_route_metrics(id).await?;
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

    /// Begins a change of a route. Who binds a key to a door must be as strong as the key, and who says where secrets go must be
    /// allowed to read them.
    async fn begin_route(&self, ctx: &Context, route: &Route, keys: &[KeyId], learns_secrets: bool) -> Result<Writer> {
        let shared = route.host.is_some().then_some(INSTANCE);
        let (mut writer, authority) = self.begin_beside(ctx, shared).await?;
        let reading = Scope::keyrack("secrets", Action::Read);
        if learns_secrets && !authority.scopes.grants(&reading) {
            let message = format!("what is behind the route learns secrets: that needs the scope {reading}");
            return Err(Error::forbidden("insufficient_scope", message));
        }
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
    let message = "must be a host name without port, such as api.example.com";
    upstream::host(host).ok_or_else(|| Error::invalid("host", message))
}

fn about(route: &Route) -> Subject<'_> {
    let data = serde_json::json!({
        "host": route.host,
        "path": route.path,
        "methods": route.methods,
        "enabled": route.enabled,
        "guard": route.guard,
        "target": without_source(&route.target),
        "cors": route.cors,
    });
    Subject { kind: SubjectKind::Route, id: route.id.0, name: &route.name, data }
}
