//! Routes in memory, and how the one for a request is found.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use keyrack_core::decide::Place;
use keyrack_core::guard::{Admitted, Audience};
use keyrack_core::pattern::{Pattern, Table};
use keyrack_core::{Guard, OrganizationId, RouteId, WorkspaceId};
use keyrack_store::Route;

use super::guard::{GuardText, read_guard};
use super::{Cors, Meter, Target};
use crate::directory::Directory;
use crate::engine::Engine;

/// A route, read and ready.
#[derive(Debug)]
pub struct LiveRoute {
    /// As it is stored.
    pub route: Route,
    /// What it asks.
    pub guard: Guard,
    /// What is behind it.
    pub target: Target,
    /// Which web pages of other origins may call it.
    pub cors: Option<Cors>,
    /// Where calls that it let in are counted.
    pub meter: Arc<Meter>,
    pattern: Pattern,
    workspace: Option<WorkspaceId>,
}

impl LiveRoute {
    /// Reads a route. One whose guard or target cannot be read is closed; if it were left out, a weaker pattern would take
    /// its requests.
    fn read(route: Route, meter: Arc<Meter>) -> Option<Self> {
        let pattern = Pattern::parse(&route.path).ok()?;
        if let Some(Door { guard, workspace, target, cors }) = read_door(&route) {
            return Some(Self { route, guard, target, cors, meter, pattern, workspace });
        }
        tracing::error!(route = %route.id, "a route cannot be read and stays closed");
        let guard = Guard { admitted: Some(Admitted::default()), ..Guard::new(Audience::Own(route.organization)) };
        let (target, route) = (Target::upstream(""), Route { enabled: false, ..route });
        Some(Self { route, guard, target, cors: None, meter, pattern, workspace: None })
    }

    fn takes(&self, method: &str) -> bool {
        self.route.enabled && self.route.methods.iter().any(|m| m == method)
    }

    /// Whether its pattern matches a path, as it is written.
    pub fn takes_path(&self, path: &str) -> bool {
        self.pattern.matches(path)
    }

    /// What the parameters of its path stand for, in a path that it matches.
    pub fn params<'p>(&self, path: &'p str) -> Vec<(&str, &'p str)> {
        self.pattern.bind(path)
    }

    /// The same where the route was named and not found by the path, which may be unknown or another one. `None` too if the
    /// pattern would say something of the place, and does not match.
    pub fn place_if_matched(&self, path: Option<&str>, directory: &Directory) -> Option<Place> {
        let binds = ["org", "workspace"].iter().any(|name| self.pattern.has_param(name));
        match path.filter(|path| self.pattern.matches(path)) {
            Some(path) => self.place(path, directory),
            None if binds => None,
            None => Some(self.workspace.map_or(Place::Nowhere, Place::In)),
        }
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
    all: Vec<Arc<LiveRoute>>,
    by_organization: HashMap<OrganizationId, Table<Arc<LiveRoute>>>,
    by_host: HashMap<String, Table<Arc<LiveRoute>>>,
    /// By name and by id; `None` where two have the same name.
    named: HashMap<(OrganizationId, String), Option<Arc<LiveRoute>>>,
}

impl RouteTable {
    /// Puts these routes in the place of those that were known.
    pub(crate) fn replace(&self, routes: Vec<Route>, default: Option<OrganizationId>) {
        let mut arranged = Arranged { default, ..Arranged::default() };
        // What was counted goes on.
        let mut meters: HashMap<_, _> =
            self.0.load().all.iter().map(|live| (live.route.id, Arc::clone(&live.meter))).collect();
        for route in routes {
            let id = route.id;
            let Some(live) = LiveRoute::read(route, meters.remove(&id).unwrap_or_default()) else {
                tracing::error!(route = %id, "the path of a route cannot be read");
                continue;
            };
            let table = match &live.route.host {
                Some(host) => arranged.by_host.entry(host.clone()).or_default(),
                None => arranged.by_organization.entry(live.route.organization).or_default(),
            };
            let live = Arc::new(live);
            for name in [live.route.name.clone(), live.route.id.to_string()] {
                let same = arranged.named.entry((live.route.organization, name));
                same.and_modify(|named| *named = None).or_insert_with(|| Some(Arc::clone(&live)));
            }
            table.insert(&live.pattern, Arc::clone(&live));
            arranged.all.push(live);
        }
        self.0.store(Arc::new(arranged));
    }

    /// Every route.
    pub(super) fn all(&self) -> Vec<Arc<LiveRoute>> {
        self.0.load().all.clone()
    }
}

/// What a stored route says.
pub(super) struct Door {
    pub(super) guard: Guard,
    workspace: Option<WorkspaceId>,
    pub(super) target: Target,
    pub(super) cors: Option<Cors>,
}

pub(super) fn read_door(route: &Route) -> Option<Door> {
    let text: GuardText = serde_json::from_value(route.guard.clone()).ok()?;
    let workspace = text.workspace.as_deref().map(str::parse).transpose().ok()?;
    let target = serde_json::from_value(route.target.clone()).ok()?;
    let cors = route.cors.clone().map(serde_json::from_value).transpose().ok()?;
    Some(Door { guard: read_guard(&text, route.organization).ok()?, workspace, target, cors })
}

impl Engine {
    /// A route as it is in memory; `None` also if no process has read it yet.
    pub fn live_route(&self, organization: OrganizationId, id: RouteId) -> Option<Arc<LiveRoute>> {
        self.routes.0.load().named.get(&(organization, id.to_string()))?.clone()
    }

    /// The open route of an organization that has this name, if no other has it, or this id, and takes the method.
    pub fn find_named_route(&self, slug: &str, name_or_id: &str, method: &str) -> Option<Arc<LiveRoute>> {
        let organization = self.directory.resolve(slug)?.organization.id;
        let arranged = self.routes.0.load();
        let named = arranged.named.get(&(organization, name_or_id.to_owned()))?.as_ref();
        named.filter(|route| route.takes(method)).cloned()
    }

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
}
