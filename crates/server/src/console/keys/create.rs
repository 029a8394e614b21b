//! `/organizations/{organization}/keys/new`: making a key, and showing its value once.

use std::collections::BTreeSet;
use std::net::IpAddr;

use askama::Template;
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use data_encoding::BASE64URL_NOPAD;
use jiff::{SignedDuration, Timestamp};
use keyrack_core::{Environment, Scope};
use keyrack_engine::{Context, CreatedKey, Idempotency, NewKey, Tenant};
use serde::Deserialize;

use crate::app::App;
use crate::caller;
use crate::console::form::{Errors, Form};
use crate::console::frame::{Frame, Visit, refused, shown};
use crate::console::show;
use crate::error::ApiError;
use crate::json::Query;

/// The fields of the form that errors can be about.
pub(super) const FIELDS: [&str; 11] = [
    "name",
    "description",
    "scopes",
    "level",
    "workspace",
    "group",
    "expires_at",
    "ip_allowlist",
    "rate_limits",
    "metadata",
    "environment",
];
/// The field that tells a form that is sent twice from two forms.
const ONCE: &str = "once";
/// Rows of the grid for resources that are known nowhere yet.
const FREE_ROWS: usize = 3;
/// Keyrack's own resources.
const OWN: [&str; 11] = [
    "keyrack.*",
    "keyrack.keys",
    "keyrack.verification",
    "keyrack.usage",
    "keyrack.audit",
    "keyrack.groups",
    "keyrack.workspaces",
    "keyrack.routes",
    "keyrack.members",
    "keyrack.notifications",
    "keyrack.settings",
];

/// What the address of the page asks to be chosen.
#[derive(Deserialize)]
pub(in crate::console) struct Chosen {
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    workspace: Option<String>,
}

/// A resource that scopes may be about, with the actions that are chosen.
pub(super) struct ResourceRow {
    pub(super) resource: String,
    pub(super) read: bool,
    pub(super) write: bool,
    pub(super) admin: bool,
}

/// Resources of scopes, known and free.
pub(super) struct Grid {
    pub(super) rows: Vec<ResourceRow>,
    pub(super) own: Vec<ResourceRow>,
    pub(super) free: Vec<(usize, ResourceRow)>,
}

impl Grid {
    /// With these scopes chosen.
    pub(super) fn new(known: &BTreeSet<String>, chosen: &[String], typed: Vec<ResourceRow>) -> Self {
        let row = |resource: &str| {
            let has = |action: &str| chosen.iter().any(|scope| *scope == format!("{resource}:{action}"));
            ResourceRow { resource: resource.to_owned(), read: has("read"), write: has("write"), admin: has("admin") }
        };
        let empty = || ResourceRow { resource: String::new(), read: false, write: false, admin: false };
        let mut free = typed;
        free.resize_with(FREE_ROWS, empty);
        Self {
            rows: known.iter().map(|resource| row(resource)).collect(),
            own: OWN.iter().map(|resource| row(resource)).collect(),
            free: free.into_iter().enumerate().collect(),
        }
    }

    /// The scopes that a form chooses, and what it has in the free rows.
    pub(super) fn read(form: &Form) -> (Vec<String>, Vec<ResourceRow>) {
        let mut scopes = form.words("scope");
        let mut typed = Vec::new();
        for at in 0..FREE_ROWS {
            let Some(resource) = form.text(&format!("resource{at}")) else { continue };
            let has = |action: &str| form.has(&format!("resource{at}_{action}"));
            let row = ResourceRow { read: has("read"), write: has("write"), admin: has("admin"), resource };
            for (action, is_chosen) in [("read", row.read), ("write", row.write), ("admin", row.admin)] {
                if is_chosen {
                    scopes.push(format!("{}:{action}", row.resource));
                }
            }
            typed.push(row);
        }
        (scopes, typed)
    }
}

/// The resources that the organization's doors and groups speak of.
pub(super) async fn known_resources(app: &App, ctx: &Context, tenant: &Tenant) -> Result<BTreeSet<String>, ApiError> {
    let mut known = BTreeSet::from(["*".to_owned()]);
    let resource_of = |scope: &str| scope.split_once(':').map(|(resource, _)| resource.to_owned());
    for group in tenant.groups.values() {
        known.extend(group.default_scopes.to_strings().iter().filter_map(|scope| resource_of(scope)));
    }
    for route in app.engine.list_routes(ctx).await? {
        let guard = app.engine.show_guard(&route);
        known.extend(guard.resource);
        known.extend(guard.scope.as_deref().and_then(resource_of));
    }
    known.retain(|resource| !resource.starts_with("keyrack."));
    Ok(known)
}

/// What was typed, or what stands there at first.
struct Typed {
    name: String,
    description: String,
    level: String,
    workspace: String,
    group: String,
    expiry: String,
    expires_on: String,
    ip_allowlist: String,
    limits: [(String, String); 2],
    metadata: String,
    environment: String,
    is_disabled: bool,
    once: String,
}

impl Typed {
    /// Whoever presses Enter twice gets a good key.
    fn new(app: &App, tenant: &Tenant, chosen: Chosen) -> Result<Self, ApiError> {
        let mut workspaces: Vec<&str> = tenant.workspaces.values().map(|workspace| workspace.slug.as_str()).collect();
        workspaces.sort_unstable();
        let first = workspaces.first().map(|slug| (*slug).to_owned());
        let is_for_management = chosen.group.as_ref().and_then(|name| tenant.group(name));
        let is_for_management = is_for_management.is_some_and(|group| tenant.access_groups.contains(&group.id));
        Ok(Self {
            name: String::new(),
            description: String::new(),
            // What manages has scopes that its group says; what else there is begins by reading.
            level: if is_for_management { "group" } else { "read_only" }.to_owned(),
            workspace: if is_for_management { None } else { chosen.workspace.or(first) }.unwrap_or_default(),
            group: chosen.group.unwrap_or_else(|| "default".to_owned()),
            expiry: "90".to_owned(),
            expires_on: String::new(),
            ip_allowlist: String::new(),
            limits: [(String::new(), "60".to_owned()), (String::new(), "3600".to_owned())],
            metadata: String::new(),
            environment: "live".to_owned(),
            is_disabled: false,
            once: BASE64URL_NOPAD.encode(&app.engine.random_128()?),
        })
    }

    fn of(form: &Form) -> Self {
        let raw = |name: &str| form.raw(name).to_owned();
        let limit = |at: usize| (raw(&format!("limit{at}")), raw(&format!("window{at}")));
        Self {
            name: raw("name"),
            description: raw("description"),
            level: raw("level"),
            workspace: raw("workspace"),
            group: raw("group"),
            expiry: raw("expiry"),
            expires_on: raw("expires_on"),
            ip_allowlist: raw("ip_allowlist"),
            limits: [limit(0), limit(1)],
            metadata: raw("metadata"),
            environment: raw("environment"),
            is_disabled: form.has("disabled"),
            once: raw(ONCE),
        }
    }
}

#[derive(Template)]
#[template(path = "console/keys/new.html")]
struct NewPage {
    frame: Frame,
    errors: Errors,
    typed: Typed,
    grid: Grid,
    groups: Vec<String>,
    workspaces: Vec<(String, String)>,
    own_address: Option<String>,
}

/// The names of groups and workspaces that a form offers.
pub(in crate::console) fn offered(tenant: &Tenant) -> (Vec<String>, Vec<(String, String)>) {
    let mut groups: Vec<_> = tenant.groups.values().map(|group| group.name.clone()).collect();
    let mut workspaces: Vec<_> = tenant.workspaces.values().map(|w| (w.slug.clone(), w.name.clone())).collect();
    groups.sort();
    workspaces.sort();
    (groups, workspaces)
}

/// From where whoever asks comes.
pub(super) fn own_address(app: &App, parts: &Parts) -> Option<String> {
    caller::address(app, &parts.headers, &parts.extensions).map(|address: IpAddr| address.to_string())
}

/// `GET`
pub(in crate::console) async fn show(
    State(app): State<App>,
    visit: Visit,
    Query(chosen): Query<Chosen>,
    parts: Parts,
) -> Result<Response, ApiError> {
    let tenant = visit.tenant(&app)?;
    let typed = Typed::new(&app, &tenant, chosen)?;
    let known = known_resources(&app, &visit.context, &tenant).await?;
    let grid = Grid::new(&known, &[], Vec::new());
    let (groups, workspaces) = offered(&tenant);
    let own_address = own_address(&app, &parts);
    shown(&NewPage { frame: visit.frame, errors: Errors::default(), typed, grid, groups, workspaces, own_address })
}

#[derive(Template)]
#[template(path = "console/keys/created.html")]
pub(super) struct ValuePage {
    pub(super) frame: Frame,
    pub(super) id: String,
    pub(super) name: String,
    /// The value; `None` if it has been shown before.
    pub(super) secret: Option<String>,
    /// What it may do, in words.
    pub(super) may: String,
    /// As a line of a `.env` file.
    pub(super) variable: String,
    /// Until when the secret before is taken, after a rotation.
    pub(super) rotated: Option<Option<show::Moment>>,
    /// Whether the group of the key keeps its text.
    pub(super) is_kept: bool,
}

/// `POST`
pub(in crate::console) async fn create(
    State(app): State<App>,
    visit: Visit,
    parts: Parts,
    form: Form,
) -> Result<Response, ApiError> {
    let tenant = visit.tenant(&app)?;
    let (scopes, free) = Grid::read(&form);
    let context = Context { idempotency: once(&form), ..visit.context.clone() };
    let made = match new_key(&form, &scopes, visit.frame.now) {
        Ok(new) => app.engine.create_key(&context, new).await.map_err(ApiError::from),
        Err(error) => Err(error),
    };
    match made {
        Ok(made) => shown(&value_page(visit.frame, &tenant, made)),
        Err(error) => {
            let errors = Errors::of(error, &FIELDS)?;
            let known = known_resources(&app, &visit.context, &tenant).await?;
            let (groups, workspaces) = offered(&tenant);
            let page = NewPage {
                frame: visit.frame,
                errors,
                typed: Typed::of(&form),
                grid: Grid::new(&known, &scopes, free),
                groups,
                workspaces,
                own_address: own_address(&app, &parts),
            };
            shown(&page).map(refused)
        }
    }
}

/// A form that is sent twice makes one key.
pub(super) fn once(form: &Form) -> Option<Idempotency> {
    let key = form.text(ONCE)?;
    let mut request_hash = [0; 32];
    request_hash.copy_from_slice(digest(&SHA256, form.all().as_bytes()).as_ref());
    Some(Idempotency { key, request_hash })
}

fn value_page(frame: Frame, tenant: &Tenant, made: CreatedKey) -> ValuePage {
    let key = made.key.key;
    ValuePage {
        frame,
        id: key.id.to_string(),
        may: show::may(&key.scopes),
        variable: variable(&key.name),
        name: key.name,
        secret: made.secret.map(|secret| secret.expose().to_owned()),
        rotated: None,
        is_kept: tenant.groups.get(&key.group).is_some_and(|group| group.recoverable),
    }
}

/// The name of a variable for a key of this name.
pub(super) fn variable(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let words: String = name.chars().map(letter).collect();
    let words: Vec<&str> = words.split('_').filter(|word| !word.is_empty()).collect();
    let joined = words.join("_");
    if joined.starts_with(|c: char| c.is_ascii_alphabetic()) { joined + "_KEY" } else { "API_KEY".to_owned() }
}

fn new_key(form: &Form, scopes: &[String], now: Timestamp) -> Result<NewKey, ApiError> {
    let level = form.raw("level");
    let chosen = match level {
        "choose" if scopes.is_empty() => {
            return Err(ApiError::field("scopes", "choose at least one, or a level"));
        }
        "choose" => Some(scopes.to_vec()),
        _ => None,
    };
    for scope in chosen.iter().flatten() {
        scope.parse::<Scope>().map_err(|error| ApiError::field("scopes", format!("{scope} {error}")))?;
    }
    Ok(NewKey {
        name: Some(form.raw("name").to_owned()),
        description: form.text("description"),
        environment: Environment::parse(form.raw("environment")).unwrap_or_default(),
        group: form.text("group"),
        workspace: form.text("workspace"),
        scopes: chosen,
        level: matches!(level, "read_only" | "read_write").then(|| level.to_owned()),
        expires_at: expiry(form, now)?,
        never_expires: None,
        disabled: form.has("disabled"),
        ip_allowlist: addresses(form),
        rate_limits: limits(form)?,
        metadata: metadata(form)?,
    })
}

/// Days from now, a day, or never.
pub(super) fn expiry(form: &Form, now: Timestamp) -> Result<Option<Timestamp>, ApiError> {
    match form.raw("expiry") {
        "never" => Ok(None),
        "on" => {
            let day: jiff::civil::Date = form
                .raw("expires_on")
                .trim()
                .parse()
                .map_err(|_| ApiError::field("expires_at", "must be a day, such as 2027-12-31"))?;
            let end = day.at(23, 59, 59, 0).to_zoned(jiff::tz::TimeZone::UTC);
            Ok(Some(end.map_err(|_| ApiError::field("expires_at", "is too far away"))?.timestamp()))
        }
        days => {
            let days: i64 = days.parse().map_err(|_| ApiError::field("expires_at", "choose until when it works"))?;
            let length = SignedDuration::from_hours(24 * days.clamp(1, 3650));
            now.checked_add(length).map(Some).map_err(|_| ApiError::field("expires_at", "is too far away"))
        }
    }
}

/// Addresses and networks, however they are separated.
pub(super) fn addresses(form: &Form) -> Option<Vec<String>> {
    Some(form.words("ip_allowlist")).filter(|addresses| !addresses.is_empty())
}

/// Rate limits, row by row.
pub(in crate::console) fn limits(form: &Form) -> Result<Option<Vec<(i64, i64)>>, ApiError> {
    let mut limits = Vec::new();
    for at in 0..2 {
        let about = |_| ApiError::field("rate_limits", "must be whole numbers");
        let Some(units) = form.number(&format!("limit{at}")).map_err(about)? else { continue };
        let seconds = form.number(&format!("window{at}")).map_err(about)?.unwrap_or(60);
        limits.push((units, seconds));
    }
    Ok(Some(limits).filter(|limits| !limits.is_empty()))
}

/// What is to be kept with the key.
pub(super) fn metadata(form: &Form) -> Result<Option<serde_json::Value>, ApiError> {
    let Some(text) = form.text("metadata") else { return Ok(None) };
    let read = serde_json::from_str(&text);
    read.map(Some).map_err(|error| ApiError::field("metadata", format!("is no JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_have_names_that_shells_take() {
        for (name, expected) in [
            ("Website form", "WEBSITE_FORM_KEY"),
            ("prod-server-1", "PROD_SERVER_1_KEY"),
            ("42", "API_KEY"),
            ("  é  ", "API_KEY"),
            ("a$(rm -rf /)", "A_RM_RF_KEY"),
        ] {
            assert_eq!(variable(name), expected);
        }
    }
}
