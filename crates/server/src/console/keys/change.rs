//! Changing a key, switching it off and on, and deleting it.

use askama::Template;
use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use jiff::Timestamp;
use keyrack_core::{KeyId, KeyStatus};
use keyrack_engine::{KeyPatch, KeyView};
use uuid::Uuid;

use super::create::{FIELDS, Grid, ResourceRow, addresses, known_resources, limits, metadata, own_address};
use crate::app::App;
use crate::console::entry::redirect;
use crate::console::form::{Errors, Form};
use crate::console::frame::{Frame, Visit, refused, shown};
use crate::error::ApiError;
use crate::json::Path;

#[derive(Template)]
#[template(path = "console/keys/edit.html")]
struct EditPage {
    frame: Frame,
    errors: Errors,
    id: Uuid,
    name: String,
    typed: Typed,
    grid: Grid,
    own_address: Option<String>,
}

/// What was typed, or what the key has.
struct Typed {
    name: String,
    description: String,
    expires_at: String,
    ip_allowlist: String,
    limits: [(String, String); 2],
    metadata: String,
    /// When the key was changed last, as whoever edits it has seen it.
    seen: String,
}

impl Typed {
    fn of_key(view: &KeyView) -> Self {
        let key = &view.key;
        let mut limits = key.rate_limits.iter().map(|limit| (limit.limit().to_string(), limit.seconds().to_string()));
        let mut limit = |usual: &str| limits.next().unwrap_or((String::new(), usual.to_owned()));
        Self {
            name: key.name.clone(),
            description: key.description.clone(),
            expires_at: key.expires_at.map(|at| at.to_string()).unwrap_or_default(),
            ip_allowlist: key.ip_allowlist.to_strings().unwrap_or_default().join("\n"),
            limits: [limit("60"), limit("3600")],
            metadata: key.metadata.as_ref().map(|metadata| format!("{metadata:#}")).unwrap_or_default(),
            seen: key.updated_at.to_string(),
        }
    }

    fn of_form(form: &Form) -> Self {
        let raw = |name: &str| form.raw(name).to_owned();
        let limit = |at: usize| (raw(&format!("limit{at}")), raw(&format!("window{at}")));
        Self {
            name: raw("name"),
            description: raw("description"),
            expires_at: raw("expires_at"),
            ip_allowlist: raw("ip_allowlist"),
            limits: [limit(0), limit(1)],
            metadata: raw("metadata"),
            seen: raw("seen"),
        }
    }
}

async fn page(
    app: &App,
    visit: Visit,
    parts: &Parts,
    view: KeyView,
    (errors, typed, chosen): (Errors, Typed, (Vec<String>, Vec<ResourceRow>)),
) -> Result<Response, ApiError> {
    let tenant = visit.tenant(app)?;
    let mut known = known_resources(app, &visit.context, &tenant).await?;
    let held = view.key.scopes.to_strings();
    known.extend(held.iter().filter_map(|scope| scope.split_once(':')).map(|(resource, _)| resource.to_owned()));
    known.retain(|resource| !resource.starts_with("keyrack."));
    let grid = Grid::new(&known, &chosen.0, chosen.1);
    let (id, name) = (view.key.id.0, view.key.name);
    let own_address = own_address(app, parts);
    shown(&EditPage { frame: visit.frame, errors, id, name, typed, grid, own_address })
}

/// `GET /organizations/{organization}/keys/{id}/edit`
pub(in crate::console) async fn show(
    State(app): State<App>,
    visit: Visit,
    Path((_, id)): Path<(String, Uuid)>,
    parts: Parts,
) -> Result<Response, ApiError> {
    let view = app.engine.get_key(&visit.context, KeyId(id)).await?;
    let (typed, scopes) = (Typed::of_key(&view), view.key.scopes.to_strings());
    page(&app, visit, &parts, view, (Errors::default(), typed, (scopes, Vec::new()))).await
}

/// `POST`
pub(in crate::console) async fn change(
    State(app): State<App>,
    visit: Visit,
    Path((organization, id)): Path<(String, Uuid)>,
    parts: Parts,
    form: Form,
) -> Result<Response, ApiError> {
    let (scopes, free) = Grid::read(&form);
    let changed = match patch(&form, scopes.clone()) {
        Ok(patch) => app.engine.update_key(&visit.context, KeyId(id), patch).await.map_err(ApiError::from),
        Err(error) => Err(error),
    };
    let Err(error) = changed else {
        return Ok(redirect(&format!("/organizations/{organization}/keys/{id}?done=key-changed")));
    };
    let errors = Errors::of(error, &FIELDS)?;
    let view = app.engine.get_key(&visit.context, KeyId(id)).await?;
    page(&app, visit, &parts, view, (errors, Typed::of_form(&form), (scopes, free))).await.map(refused)
}

fn patch(form: &Form, scopes: Vec<String>) -> Result<KeyPatch, ApiError> {
    let seen = form.text("seen").map(|text| text.parse::<Timestamp>()).transpose();
    let expires_at = form.text("expires_at").map(|text| text.parse::<Timestamp>()).transpose();
    let message = "must be a moment, such as 2027-12-31T23:59:59Z; empty for never";
    Ok(KeyPatch {
        name: Some(form.raw("name").to_owned()),
        description: Some(form.raw("description").to_owned()),
        scopes: Some(scopes),
        level: None,
        enabled: None,
        expires_at: Some(expires_at.map_err(|_| ApiError::field("expires_at", message))?),
        ip_allowlist: Some(addresses(form)),
        rate_limits: Some(limits(form)?),
        metadata: Some(metadata(form)?),
        if_unchanged_since: seen.map_err(|_| ApiError::bad_request("this form is out of date"))?,
    })
}

/// `POST /organizations/{organization}/keys/{id}/switch`: off and on.
pub(in crate::console) async fn switch(
    State(app): State<App>,
    visit: Visit,
    Path((organization, id)): Path<(String, Uuid)>,
    form: Form,
) -> Result<Response, ApiError> {
    let enabled = form.raw("enabled") == "yes";
    let patch = KeyPatch { enabled: Some(enabled), ..KeyPatch::default() };
    let view = app.engine.update_key(&visit.context, KeyId(id), patch).await?;
    let done = if view.status == KeyStatus::Disabled { "key-disabled" } else { "key-enabled" };
    Ok(redirect(&format!("/organizations/{organization}/keys/{id}?done={done}")))
}
