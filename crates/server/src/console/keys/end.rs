//! `/organizations/{organization}/keys/{id}/revoke`: ending a key, once it is known what will break.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use keyrack_core::KeyId;
use keyrack_engine::{KeyView, Receipt};
use uuid::Uuid;

use super::page::Facts;
use crate::app::App;
use crate::console::entry::redirect;
use crate::console::form::{Errors, Form};
use crate::console::frame::{Frame, Visit, refused, shown};
use crate::error::ApiError;
use crate::json::{Path, Query};

/// Of a key that was used so lately the name has to be typed.
const LATELY: SignedDuration = SignedDuration::from_hours(24);

#[derive(Template)]
#[template(path = "console/keys/revoke.html")]
struct RevokePage {
    frame: Frame,
    errors: Errors,
    facts: Facts,
    used_by: Option<(String, Option<String>)>,
    routes: Vec<(String, String)>,
    needs_name: bool,
    /// Whether it is to be deleted, and not only revoked.
    is_deletion: bool,
}

/// Whether a key is to be deleted.
#[derive(serde::Deserialize)]
pub(in crate::console) struct How {
    #[serde(default)]
    delete: String,
}

/// `GET`
pub(in crate::console) async fn show(
    State(app): State<App>,
    visit: Visit,
    Path((_, id)): Path<(String, Uuid)>,
    Query(How { delete }): Query<How>,
) -> Result<Response, ApiError> {
    page(&app, visit, id, !delete.is_empty(), Errors::default()).await
}

async fn page(app: &App, visit: Visit, id: Uuid, is_deletion: bool, errors: Errors) -> Result<Response, ApiError> {
    let view = app.engine.get_key(&visit.context, KeyId(id)).await?;
    let secrets = app.engine.list_key_secrets(&visit.context, KeyId(id)).await?;
    let latest = secrets.into_iter().filter(|secret| secret.last_used_at.is_some());
    let latest = latest.max_by_key(|secret| secret.last_used_at);
    let used_by = latest.and_then(|secret| secret.last_address.map(|address| (address, secret.last_user_agent)));
    let id = id.to_string();
    let names_it =
        |route: &keyrack_engine::Route| app.engine.show_guard(route).keys.is_some_and(|keys| keys.contains(&id));
    let routes = app.engine.list_routes(&visit.context).await?.into_iter().filter(names_it);
    shown(&RevokePage {
        errors,
        needs_name: was_used_lately(&view, visit.frame.now),
        facts: Facts::new(view, visit.frame.now),
        used_by,
        routes: routes.map(|route| (route.id.to_string(), route.name)).collect(),
        is_deletion,
        frame: visit.frame,
    })
}

fn was_used_lately(view: &KeyView, now: Timestamp) -> bool {
    view.key.last_used_at.is_some_and(|at| now.duration_since(at) < LATELY)
}

/// Refuses to end a key that somebody uses, unless its name was typed.
fn require_name(view: &KeyView, form: &Form, now: Timestamp) -> Result<(), ApiError> {
    if was_used_lately(view, now) && form.raw("confirm").trim() != view.key.name {
        return Err(ApiError::field("confirm", "type the name of the key: it was used in the last 24 hours"));
    }
    Ok(())
}

#[derive(Template)]
#[template(path = "console/keys/revoked.html")]
struct RevokedPage {
    frame: Frame,
    id: String,
    name: String,
    since: String,
    since_exact: String,
    nodes: Vec<(String, bool)>,
    applied: usize,
}

/// `POST`
pub(in crate::console) async fn revoke(
    State(app): State<App>,
    visit: Visit,
    Path((_, id)): Path<(String, Uuid)>,
    form: Form,
) -> Result<Response, ApiError> {
    let view = app.engine.get_key(&visit.context, KeyId(id)).await?;
    let revoked = match require_name(&view, &form, visit.frame.now) {
        Ok(()) => {
            let reason = form.text("reason");
            app.engine.revoke_key(&visit.context, KeyId(id), reason.as_deref()).await.map_err(ApiError::from)
        }
        Err(error) => Err(error),
    };
    match revoked {
        Ok((view, receipt)) => shown(&receipt_page(visit.frame, view, &receipt)),
        Err(error) => {
            let errors = Errors::of(error, &["confirm", "reason"])?;
            page(&app, visit, id, false, errors).await.map(refused)
        }
    }
}

/// `POST /organizations/{organization}/keys/{id}/delete`
pub(in crate::console) async fn delete(
    State(app): State<App>,
    visit: Visit,
    Path((_, id)): Path<(String, Uuid)>,
    form: Form,
) -> Result<Response, ApiError> {
    let view = app.engine.get_key(&visit.context, KeyId(id)).await?;
    let deleted = match require_name(&view, &form, visit.frame.now) {
        Ok(()) => app.engine.delete_key(&visit.context, KeyId(id)).await.map_err(ApiError::from),
        Err(error) => Err(error),
    };
    let Err(error) = deleted else {
        return Ok(redirect(&format!("{}/keys?done=key-deleted", visit.frame.base())));
    };
    page(&app, visit, id, true, Errors::of(error, &["confirm"])?).await.map(refused)
}

fn receipt_page(frame: Frame, view: KeyView, receipt: &Receipt) -> RevokedPage {
    let nodes: Vec<_> = receipt.nodes.iter().map(|node| (node.name.clone(), node.has_applied)).collect();
    RevokedPage {
        frame,
        id: view.key.id.to_string(),
        name: view.key.name,
        since: receipt.effective_at.strftime("%H:%M:%S%.3f UTC").to_string(),
        since_exact: receipt.effective_at.to_string(),
        applied: nodes.iter().filter(|(_, has_applied)| *has_applied).count(),
        nodes,
    }
}
