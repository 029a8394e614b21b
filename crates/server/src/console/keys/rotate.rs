//! `/organizations/{organization}/keys/{id}/rotate`: a new secret, while the old one works on for a while.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use data_encoding::BASE64URL_NOPAD;
use keyrack_core::KeyId;
use keyrack_engine::{Context, RotateKey};
use uuid::Uuid;

use super::create::{ValuePage, once, variable};
use super::page::Facts;
use crate::app::App;
use crate::console::entry::redirect;
use crate::console::form::{Errors, Form};
use crate::console::frame::{Frame, Visit, refused, shown};
use crate::console::show::{self, Moment};
use crate::error::ApiError;
use crate::json::Path;

#[derive(Template)]
#[template(path = "console/keys/rotate.html")]
struct RotatePage {
    frame: Frame,
    errors: Errors,
    facts: Facts,
    overlap: String,
    /// Whether two secrets are in use, so that the older one would end at once.
    needs_force: bool,
    once: String,
}

/// `GET`
pub(in crate::console) async fn show(
    State(app): State<App>,
    visit: Visit,
    Path((_, id)): Path<(String, Uuid)>,
) -> Result<Response, ApiError> {
    let view = app.engine.get_key(&visit.context, KeyId(id)).await?;
    let (facts, once) = (Facts::new(view, visit.frame.now), BASE64URL_NOPAD.encode(&app.engine.random_128()?));
    let (errors, overlap) = (Errors::default(), "86400".to_owned());
    shown(&RotatePage { frame: visit.frame, errors, facts, overlap, needs_force: false, once })
}

/// `POST`
pub(in crate::console) async fn rotate(
    State(app): State<App>,
    visit: Visit,
    Path((_, id)): Path<(String, Uuid)>,
    form: Form,
) -> Result<Response, ApiError> {
    let context = Context { idempotency: once(&form), ..visit.context.clone() };
    let rotated = match form.number("overlap_seconds") {
        Ok(overlap_seconds) => {
            let how = RotateKey { overlap_seconds, force: form.has("force") };
            app.engine.rotate_key(&context, KeyId(id), how).await.map_err(ApiError::from)
        }
        Err(error) => Err(error),
    };
    match rotated {
        Ok(rotated) => {
            let key = rotated.key.key;
            let tenant = visit.tenant(&app)?;
            let until = rotated.previous_secret_expires_at.map(|at| Moment::new(at, visit.frame.now));
            shown(&ValuePage {
                id: key.id.to_string(),
                may: show::may(&key.scopes),
                variable: variable(&key.name),
                name: key.name,
                secret: rotated.secret.map(|secret| secret.expose().to_owned()),
                rotated: Some(until),
                is_kept: tenant.groups.get(&key.group).is_some_and(|group| group.recoverable),
                frame: visit.frame,
            })
        }
        Err(error) => {
            let needs_force = error.code == "overlap_in_progress";
            let errors = Errors::of(error, &["overlap_seconds"])?;
            let view = app.engine.get_key(&visit.context, KeyId(id)).await?;
            let facts = Facts::new(view, visit.frame.now);
            let overlap = form.raw("overlap_seconds").to_owned();
            // What is sent next asks for something else.
            let once = BASE64URL_NOPAD.encode(&app.engine.random_128()?);
            shown(&RotatePage { frame: visit.frame, errors, facts, overlap, needs_force, once }).map(refused)
        }
    }
}

/// `POST /organizations/{organization}/keys/{id}/secrets/{version}/end`
pub(in crate::console) async fn end_secret(
    State(app): State<App>,
    visit: Visit,
    Path((organization, id, version)): Path<(String, Uuid, i64)>,
    _: Form,
) -> Result<Response, ApiError> {
    app.engine.end_overlap(&visit.context, KeyId(id), version).await?;
    Ok(redirect(&format!("/organizations/{organization}/keys/{id}?done=secret-ended")))
}
