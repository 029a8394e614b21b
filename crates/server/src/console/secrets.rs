//! `/organizations/{organization}/secrets`: values that callers are given.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use keyrack_core::SecretId;
use keyrack_engine::{NewSecret, Secret, SecretPatch, SecretQuery};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::entry::redirect;
use super::form::{Errors, Form};
use super::frame::{Frame, Visit, refused, shown};
use super::keys::create::offered;
use super::show::Moment;
use crate::app::App;
use crate::error::ApiError;
use crate::json::{Path, Query};

const FIELDS: [&str; 5] = ["name", "value", "scope", "owner", "comment"];
/// How many are on a page.
const LIMIT: i64 = 50;

struct Row {
    id: String,
    name: String,
    scope: &'static str,
    owner: String,
    /// The address of the owner's page, behind that of the organization.
    link: Option<String>,
    comment: String,
    size: i64,
    changed: Moment,
}

impl Row {
    fn new(secret: &Secret, now: Timestamp) -> Self {
        let scope = secret.scope.as_str();
        Self {
            id: secret.id.to_string(),
            name: secret.name.clone(),
            scope,
            owner: secret.owner_name.clone().unwrap_or_default(),
            link: secret.scope.owner().map(|owner| format!("/{scope}s/{owner}")),
            comment: secret.comment.clone(),
            size: secret.size,
            changed: Moment::new(secret.updated_at, now),
        }
    }
}

/// Which secrets to show.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    owner: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    cursor: String,
}

impl Wanted {
    fn with(&self, change: impl FnOnce(&mut Self)) -> String {
        let mut changed = Self { cursor: String::new(), ..self.clone() };
        change(&mut changed);
        format!("?{}", serde_urlencoded::to_string(&changed).unwrap_or_default())
    }
}

#[derive(Template)]
#[template(path = "console/secrets.html")]
struct ListPage {
    frame: Frame,
    rows: Vec<Row>,
    /// In words, and the address without it.
    filters: Vec<(String, String)>,
    next: Option<String>,
}

/// `GET`
pub(super) async fn list(
    State(app): State<App>,
    visit: Visit,
    Query(wanted): Query<Wanted>,
) -> Result<Response, ApiError> {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let after = given(&wanted.cursor).map(|cursor| cursor.parse()).transpose();
    let query = SecretQuery {
        name: given(&wanted.name),
        scope: given(&wanted.scope),
        owner: given(&wanted.owner),
        after: after.map_err(|_| ApiError::field("cursor", "is not one that a list gave out"))?,
        limit: LIMIT,
    };
    let found = app.engine.list_secrets(&visit.context, query).await?;
    let mut filters = Vec::new();
    if !wanted.name.is_empty() {
        filters.push((format!("Name {}", wanted.name), wanted.with(|w| w.name.clear())));
    }
    if !wanted.scope.is_empty() {
        let without = wanted.with(|w| (w.scope.clear(), w.owner.clear()).0);
        filters.push((format!("For {} {}", wanted.scope, wanted.owner), without));
    }
    let now = visit.frame.now;
    shown(&ListPage {
        rows: found.data.iter().map(|secret| Row::new(secret, now)).collect(),
        filters,
        next: found.next_cursor.map(|cursor| wanted.with(|w| w.cursor = cursor)),
        frame: visit.frame,
    })
}

/// What was typed but for the value, which is not sent back.
#[derive(Default)]
struct Typed {
    name: String,
    scope: String,
    route: String,
    group: String,
    key: String,
    comment: String,
}

impl Typed {
    fn of_form(form: &Form) -> Self {
        let raw = |name: &str| form.raw(name).to_owned();
        Self {
            name: raw("name"),
            scope: raw("scope"),
            route: raw("route"),
            group: raw("group"),
            key: raw("key"),
            comment: raw("comment"),
        }
    }
}

#[derive(Template)]
#[template(path = "console/secret.html")]
struct SecretPage {
    frame: Frame,
    errors: Errors,
    typed: Typed,
    /// The secret, unless it is to be made.
    row: Option<Row>,
    /// Its value, if somebody asked to see it.
    value: Option<Zeroizing<String>>,
    /// By id and name.
    routes: Vec<(String, String)>,
    groups: Vec<String>,
}

impl SecretPage {
    fn of(secret: &Secret, frame: Frame) -> Self {
        let row = Some(Row::new(secret, frame.now));
        let typed = Typed { comment: secret.comment.clone(), ..Typed::default() };
        let (routes, groups) = (Vec::new(), Vec::new());
        Self { frame, errors: Errors::default(), typed, row, value: None, routes, groups }
    }
}

async fn new_page(app: &App, visit: Visit, errors: Errors, typed: Typed) -> Result<Response, ApiError> {
    let is_refused = errors.any();
    let (groups, _) = offered(visit.tenant(app)?.as_ref());
    let routes = app.engine.list_routes(&visit.context).await?;
    let routes = routes.into_iter().map(|route| (route.id.to_string(), route.name)).collect();
    let response = shown(&SecretPage { frame: visit.frame, errors, typed, row: None, value: None, routes, groups });
    if is_refused { response.map(refused) } else { response }
}

/// `GET .../secrets/new`
pub(super) async fn show_new(
    State(app): State<App>,
    visit: Visit,
    Query(wanted): Query<Wanted>,
) -> Result<Response, ApiError> {
    let scope = if wanted.scope.is_empty() { "global".to_owned() } else { wanted.scope };
    let owner = |kind: &str| if scope == kind { wanted.owner.clone() } else { String::new() };
    let (route, group, key) = (owner("route"), owner("group"), owner("key"));
    let typed = Typed { name: wanted.name, route, group, key, scope, comment: String::new() };
    new_page(&app, visit, Errors::default(), typed).await
}

/// `POST .../secrets/new`
pub(super) async fn create(State(app): State<App>, visit: Visit, form: Form) -> Result<Response, ApiError> {
    let scope = form.raw("scope");
    let new = NewSecret {
        name: form.raw("name").trim().to_owned(),
        value: Zeroizing::new(unix_lines(form.raw("value"))),
        scope: scope.to_owned(),
        owner: if scope == "global" { None } else { Some(form.raw(scope).trim().to_owned()) },
        comment: form.text("comment"),
    };
    match app.engine.create_secret(&visit.context, new).await.map_err(ApiError::from) {
        Ok(secret) => Ok(redirect(&format!("{}/secrets/{}?done=secret-created", visit.frame.base(), secret.id))),
        Err(error) => new_page(&app, visit, Errors::of(error, &FIELDS)?, Typed::of_form(&form)).await,
    }
}

/// What was typed into a text area, where browsers end each line with CR LF.
fn unix_lines(text: &str) -> String {
    text.replace("\r\n", "\n")
}

/// `GET .../secrets/{id}`
pub(super) async fn show(
    State(app): State<App>,
    visit: Visit,
    Path((_, id)): Path<(String, Uuid)>,
) -> Result<Response, ApiError> {
    let secret = app.engine.get_secret(&visit.context, SecretId(id)).await?;
    shown(&SecretPage::of(&secret, visit.frame))
}

/// `POST .../secrets/{id}`
pub(super) async fn change(
    State(app): State<App>,
    visit: Visit,
    Path((_, id)): Path<(String, Uuid)>,
    form: Form,
) -> Result<Response, ApiError> {
    let value = Some(form.raw("value")).filter(|value| !value.is_empty());
    let value = value.map(|value| Zeroizing::new(unix_lines(value)));
    let patch = SecretPatch { value, comment: Some(form.raw("comment").to_owned()) };
    match app.engine.update_secret(&visit.context, SecretId(id), patch).await.map_err(ApiError::from) {
        Ok(_) => Ok(redirect(&format!("{}/secrets/{id}?done=secret-changed", visit.frame.base()))),
        Err(error) => {
            let errors = Errors::of(error, &FIELDS)?;
            let secret = app.engine.get_secret(&visit.context, SecretId(id)).await?;
            let typed = Typed::of_form(&form);
            shown(&SecretPage { errors, typed, ..SecretPage::of(&secret, visit.frame) }).map(refused)
        }
    }
}

/// `POST .../secrets/{id}/value`: the page with the value on it.
pub(super) async fn reveal(
    State(app): State<App>,
    visit: Visit,
    Path((_, id)): Path<(String, Uuid)>,
    _: Form,
) -> Result<Response, ApiError> {
    let secret = app.engine.get_secret(&visit.context, SecretId(id)).await?;
    let revealed = app.engine.reveal_secrets(&visit.context, std::slice::from_ref(&secret)).await?;
    let value = revealed.first().map(|value| Zeroizing::new(value.expose().to_owned()));
    shown(&SecretPage { value, ..SecretPage::of(&secret, visit.frame) })
}

/// `POST .../secrets/{id}/delete`
pub(super) async fn delete(
    State(app): State<App>,
    visit: Visit,
    Path((_, id)): Path<(String, Uuid)>,
    _: Form,
) -> Result<Response, ApiError> {
    app.engine.delete_secret(&visit.context, SecretId(id)).await?;
    Ok(redirect(&format!("{}/secrets?done=secret-deleted", visit.frame.base())))
}
