//! `/organizations/{organization}/routes`: guarded doors to other services.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use keyrack_core::usage::Span;
use keyrack_core::{Role, RouteId};
use keyrack_engine::{GuardText, NewRoute, Route, RouteMetric, RoutePatch, Script, Target, Upstream};
use serde::Deserialize;
use uuid::Uuid;

use super::charts::Bars;
use super::entry::redirect;
use super::form::{Errors, Form};
use super::frame::{Frame, Visit, refused, shown};
use super::keys::create::offered;
use super::show;
use crate::app::App;
use crate::error::ApiError;
use crate::json::{Path, Query};

const FIELDS: [&str; 6] = ["name", "path", "methods", "guard", "target", "secret_headers"];
/// The methods that can be chosen.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

struct Row {
    id: String,
    name: String,
    host: Option<String>,
    path: String,
    methods: String,
    asks: String,
    is_public: bool,
    /// The address of the service behind it; nothing if it is a script.
    target: Option<String>,
    is_open: bool,
}

/// What a guard asks of callers, in words.
pub(super) fn asks(guard: &GuardText) -> String {
    if guard.public {
        return "anybody".to_owned();
    }
    let mut parts = Vec::new();
    if guard.organizations.as_deref() == Some("any") {
        parts.push("a key of any organization".to_owned());
    }
    if let Some(groups) = &guard.groups {
        parts.push(format!("group {}", groups.join(" or ")));
    }
    if let Some(keys) = &guard.keys {
        parts.push(if keys.len() == 1 { "one key".to_owned() } else { format!("one of {} keys", keys.len()) });
    }
    parts.extend(guard.scope.as_ref().map(|scope| format!("scope {scope}")));
    parts.extend(guard.resource.as_ref().map(|resource| format!("{resource}:read or {resource}:write by method")));
    if let Some(roles) = &guard.roles {
        parts.push(format!("role {}", roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(" or ")));
    }
    parts.extend(guard.workspace.as_ref().map(|workspace| format!("workspace {workspace}")));
    if guard.sessions {
        parts.push("or a signed-in person".to_owned());
    }
    parts.join(", ")
}

/// What a script says that was just made.
const FIRST_SCRIPT: &str = "export default async function (request, ctx) {
  return Response.json({ hello: ctx.authenticatedKey?.name ?? \"world\" });
}
";

/// What is behind a route. Of one that cannot be read, a service without an address.
pub(super) fn target_of(route: &Route) -> Target {
    serde_json::from_value(route.target.clone()).unwrap_or_else(|_| Target::upstream(""))
}

impl Row {
    fn new(app: &App, route: &Route) -> Self {
        let guard = app.engine.show_guard(route);
        Self {
            id: route.id.to_string(),
            name: route.name.clone(),
            host: route.host.clone(),
            path: route.path.clone(),
            methods: route.methods.join(" "),
            asks: asks(&guard),
            is_public: guard.public,
            target: match target_of(route) {
                Target::Upstream(upstream) => Some(upstream.url),
                Target::Script(_) => None,
            },
            is_open: route.enabled,
        }
    }
}

#[derive(Template)]
#[template(path = "console/routes.html")]
struct ListPage {
    frame: Frame,
    rows: Vec<Row>,
}

/// `GET`
pub(super) async fn list(State(app): State<App>, visit: Visit) -> Result<Response, ApiError> {
    let routes = app.engine.list_routes(&visit.context).await?;
    shown(&ListPage { rows: routes.iter().map(|route| Row::new(&app, route)).collect(), frame: visit.frame })
}

/// What was typed, or what the route has.
#[derive(Default)]
struct Typed {
    name: String,
    path: String,
    methods: Vec<(&'static str, bool)>,
    is_script: bool,
    url: String,
    strip_prefix: String,
    /// Lines of a header and the secret it tells.
    secret_headers: String,
    who: String,
    groups: Vec<String>,
    keys: String,
    scope: String,
    resource: String,
    roles: Vec<String>,
    workspace: String,
    sessions: bool,
    query_key: bool,
}

impl Typed {
    fn of_form(form: &Form) -> Self {
        let raw = |name: &str| form.raw(name).to_owned();
        let chosen = form.words("method");
        Self {
            name: raw("name"),
            path: raw("path"),
            methods: METHODS.map(|method| (method, chosen.iter().any(|c| c == method))).to_vec(),
            is_script: raw("kind") == "script",
            url: raw("url"),
            strip_prefix: raw("strip_prefix"),
            secret_headers: raw("secret_headers"),
            who: raw("who"),
            groups: form.words("group"),
            keys: raw("keys"),
            scope: raw("scope"),
            resource: raw("resource"),
            roles: form.words("role"),
            workspace: raw("workspace"),
            sessions: form.has("sessions"),
            query_key: form.has("query_key"),
        }
    }

    fn of_route(app: &App, route: &Route) -> Self {
        let guard = app.engine.show_guard(route);
        let (is_script, upstream) = match target_of(route) {
            Target::Upstream(upstream) => (false, upstream),
            Target::Script(_) => (true, Upstream::default()),
        };
        let who = match (guard.public, guard.organizations.as_deref()) {
            (true, _) => "public",
            (_, Some("any")) => "any",
            _ => "own",
        };
        let told = upstream.secret_headers.iter().map(|(header, secret)| format!("{header}: {secret}"));
        Self {
            secret_headers: told.collect::<Vec<_>>().join("\n"),
            name: route.name.clone(),
            path: route.path.clone(),
            methods: METHODS.map(|method| (method, route.methods.iter().any(|m| m == method))).to_vec(),
            is_script,
            url: upstream.url,
            strip_prefix: upstream.strip_prefix.unwrap_or_default(),
            who: who.to_owned(),
            groups: guard.groups.unwrap_or_default(),
            keys: guard.keys.unwrap_or_default().join("\n"),
            scope: guard.scope.unwrap_or_default(),
            resource: guard.resource.unwrap_or_default(),
            roles: guard.roles.iter().flatten().map(|role| role.as_str().to_owned()).collect(),
            workspace: guard.workspace.unwrap_or_default(),
            sessions: guard.sessions,
            query_key: guard.query_key,
        }
    }

    fn has_group(&self, name: &str) -> bool {
        self.groups.iter().any(|group| group == name)
    }

    fn has_role(&self, name: &str) -> bool {
        self.roles.iter().any(|role| role == name)
    }
}

fn guard(form: &Form) -> Result<GuardText, ApiError> {
    let some = |words: Vec<String>| Some(words).filter(|words| !words.is_empty());
    if form.raw("who") == "public" {
        return Ok(GuardText { public: true, ..GuardText::default() });
    }
    let role = |word: &String| Role::parse(word).ok_or_else(|| ApiError::field("guard", "has a role that is none"));
    let roles = form.words("role").iter().map(role).collect::<Result<Vec<_>, _>>()?;
    Ok(GuardText {
        public: false,
        organizations: (form.raw("who") == "any").then(|| "any".to_owned()),
        groups: some(form.words("group")),
        keys: some(form.words("keys")),
        scope: form.text("scope"),
        resource: form.text("resource"),
        roles: Some(roles).filter(|roles| !roles.is_empty()),
        workspace: form.text("workspace"),
        sessions: form.has("sessions"),
        query_key: form.has("query_key"),
    })
}

/// What is wrong with the form: of the target it has two fields.
fn errors(mut error: ApiError) -> Result<Errors, ApiError> {
    for field in error.details.iter_mut().filter_map(|detail| detail.field.as_mut()) {
        if let Some(header) = field.strip_prefix("target.secret_headers") {
            *field = format!("secret_headers{header}");
        }
    }
    Errors::of(error, &FIELDS)
}

/// A script, as it was before; or the address of a service, and whatever else was said of it before.
fn target(form: &Form, before: Option<Target>) -> Result<Target, ApiError> {
    let before = match (form.raw("kind"), before) {
        ("script", Some(Target::Script(script))) => return Ok(Target::Script(script)),
        ("script", _) => return Ok(Target::Script(Script { source: FIRST_SCRIPT.to_owned() })),
        (_, Some(Target::Upstream(upstream))) => upstream,
        _ => Upstream::default(),
    };
    let lines = form.raw("secret_headers").lines().map(str::trim).filter(|line| !line.is_empty());
    let told = lines.map(|line| {
        let (header, secret) = line.split_once(':').ok_or_else(|| {
            ApiError::field("secret_headers", "each line must be a header and the name of a secret, with : between")
        })?;
        Ok((header.trim().to_ascii_lowercase(), secret.trim().to_owned()))
    });
    Ok(Target::Upstream(Upstream {
        url: form.raw("url").trim().to_owned(),
        strip_prefix: form.text("strip_prefix"),
        secret_headers: told.collect::<Result<_, ApiError>>()?,
        ..before
    }))
}

/// What the page of a route is asked to show.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    /// Calls by `minute`, `hour` or `day`.
    by: String,
}

impl Asked {
    fn span(&self) -> Span {
        Span::ALL.into_iter().find(|span| span.as_str() == self.by).unwrap_or(Span::Hour)
    }
}

/// How many calls a route let in, and how long they took.
struct Calls {
    by: &'static str,
    total: String,
    failures: String,
    mean: Option<String>,
    longest: Option<String>,
    chart: Bars,
    /// Each time with its calls, failures, mean and longest.
    times: Vec<[String; 5]>,
}

impl Calls {
    async fn of(app: &App, visit: &Visit, id: RouteId, by: Span) -> Result<Self, ApiError> {
        let counted = app.engine.route_metrics(&visit.context, id, by, (None, None)).await?;
        let label = if by == Span::Day { "%b %-d" } else { "%H:%M" };
        let bar = |of: &RouteMetric| {
            let failures = of.failures.unsigned_abs();
            (of.start, of.calls.unsigned_abs().saturating_sub(failures), failures)
        };
        let chart = Bars::of(&counted.times.iter().map(bar).collect::<Vec<_>>(), label);
        let count = |number: i64| show::count(number.unsigned_abs());
        let mean = |of: &RouteMetric| of.mean().map(|mean| show::micros(mean.unsigned_abs()));
        let longest = |of: &RouteMetric| (of.calls > 0).then(|| show::micros(of.longest.unsigned_abs()));
        let row = |of: &RouteMetric| {
            let (mean, longest) = (mean(of).unwrap_or_default(), longest(of).unwrap_or_default());
            [of.start.strftime(label).to_string(), count(of.calls), count(of.failures), mean, longest]
        };
        let total = &counted.total;
        Ok(Self {
            by: by.as_str(),
            total: count(total.calls),
            failures: count(total.failures),
            mean: mean(total),
            longest: longest(total),
            chart,
            times: counted.times.iter().map(row).collect(),
        })
    }
}

#[derive(Template)]
#[template(path = "console/route.html")]
struct RoutePage {
    frame: Frame,
    errors: Errors,
    typed: Typed,
    /// The route, unless it is to be made.
    row: Option<Row>,
    calls: Option<Calls>,
    groups: Vec<String>,
    workspaces: Vec<(String, String)>,
}

async fn page(
    app: &App,
    visit: Visit,
    errors: Errors,
    typed: Typed,
    about: Option<(&Route, Span)>,
) -> Result<Response, ApiError> {
    let is_refused = errors.any();
    let calls = match about {
        Some((route, by)) => Some(Calls::of(app, &visit, route.id, by).await?),
        None => None,
    };
    let route = about.map(|(route, _)| route);
    let (groups, workspaces) = offered(visit.tenant(app)?.as_ref());
    let row = route.map(|route| Row::new(app, route));
    let response = shown(&RoutePage { frame: visit.frame, errors, typed, row, calls, groups, workspaces });
    if is_refused { response.map(refused) } else { response }
}

/// `GET .../routes/new`
pub(super) async fn show_new(State(app): State<App>, visit: Visit) -> Result<Response, ApiError> {
    let methods = METHODS.map(|method| (method, method != "OPTIONS")).to_vec();
    let typed = Typed { methods, who: "own".to_owned(), ..Typed::default() };
    page(&app, visit, Errors::default(), typed, None).await
}

/// `POST .../routes/new`
pub(super) async fn create(State(app): State<App>, visit: Visit, form: Form) -> Result<Response, ApiError> {
    let created = match guard(&form).and_then(|guard| Ok((guard, target(&form, None)?))) {
        Ok((guard, target)) => {
            let new = NewRoute {
                name: form.raw("name").to_owned(),
                host: None,
                path: form.raw("path").trim().to_owned(),
                methods: Some(form.words("method")),
                disabled: false,
                guard,
                target,
                cors: None,
            };
            app.engine.create_route(&visit.context, new).await.map_err(ApiError::from)
        }
        Err(error) => Err(error),
    };
    match created {
        Ok(route) => {
            let script = if matches!(target_of(&route), Target::Script(_)) { "/script" } else { "" };
            Ok(redirect(&format!("{}/routes/{}{script}?done=route-created", visit.frame.base(), route.id)))
        }
        Err(error) => page(&app, visit, errors(error)?, Typed::of_form(&form), None).await,
    }
}

/// `GET .../routes/{id}`
pub(super) async fn show(
    State(app): State<App>,
    visit: Visit,
    Path((_, id)): Path<(String, Uuid)>,
    Query(asked): Query<Asked>,
) -> Result<Response, ApiError> {
    let route = app.engine.get_route(&visit.context, RouteId(id)).await?;
    let typed = Typed::of_route(&app, &route);
    page(&app, visit, Errors::default(), typed, Some((&route, asked.span()))).await
}

/// `POST .../routes/{id}`
pub(super) async fn change(
    State(app): State<App>,
    visit: Visit,
    Path((_, id)): Path<(String, Uuid)>,
    form: Form,
) -> Result<Response, ApiError> {
    let route = app.engine.get_route(&visit.context, RouteId(id)).await?;
    let changed = match guard(&form).and_then(|guard| Ok((guard, target(&form, Some(target_of(&route)))?))) {
        Ok((guard, target)) => {
            let patch = RoutePatch {
                name: Some(form.raw("name").to_owned()),
                path: Some(form.raw("path").trim().to_owned()),
                methods: Some(form.words("method")),
                enabled: None,
                guard: Some(guard),
                target: Some(target),
                cors: None,
            };
            app.engine.update_route(&visit.context, RouteId(id), patch).await.map_err(ApiError::from)
        }
        Err(error) => Err(error),
    };
    match changed {
        Ok(_) => Ok(redirect(&format!("{}/routes/{id}?done=route-changed", visit.frame.base()))),
        Err(error) => page(&app, visit, errors(error)?, Typed::of_form(&form), Some((&route, Span::Hour))).await,
    }
}

/// `POST .../routes/{id}/switch`: open and closed.
pub(super) async fn switch(
    State(app): State<App>,
    visit: Visit,
    Path((_, id)): Path<(String, Uuid)>,
    form: Form,
) -> Result<Response, ApiError> {
    let patch = RoutePatch { enabled: Some(form.raw("enabled") == "yes"), ..RoutePatch::default() };
    app.engine.update_route(&visit.context, RouteId(id), patch).await?;
    Ok(redirect(&format!("{}/routes/{id}?done=route-changed", visit.frame.base())))
}

/// `POST .../routes/{id}/delete`
pub(super) async fn delete(
    State(app): State<App>,
    visit: Visit,
    Path((_, id)): Path<(String, Uuid)>,
    _: Form,
) -> Result<Response, ApiError> {
    app.engine.delete_route(&visit.context, RouteId(id)).await?;
    Ok(redirect(&format!("{}/routes?done=route-deleted", visit.frame.base())))
}
