//! `/organizations/{organization}/workspaces`

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use keyrack_core::WorkspaceId;
use uuid::Uuid;

use super::entry::redirect;
use super::form::{Errors, Form};
use super::frame::{Frame, Visit, refused, shown};
use super::show::Moment;
use crate::app::App;
use crate::error::ApiError;
use crate::json::Path;

struct Row {
    id: String,
    slug: String,
    name: String,
    created: Moment,
}

#[derive(Template)]
#[template(path = "console/workspaces.html")]
struct WorkspacesPage {
    frame: Frame,
    errors: Errors,
    rows: Vec<Row>,
    slug: String,
    name: String,
}

async fn page(app: &App, visit: Visit, (errors, slug, name): (Errors, String, String)) -> Result<Response, ApiError> {
    let is_refused = errors.any();
    let now = visit.frame.now;
    let workspaces = app.engine.list_workspaces(&visit.context).await?.into_iter();
    let rows = workspaces.map(|w| Row {
        id: w.id.to_string(),
        slug: w.slug,
        name: w.name,
        created: Moment::new(w.created_at, now),
    });
    let rows = rows.collect();
    let response = shown(&WorkspacesPage { frame: visit.frame, errors, rows, slug, name });
    if is_refused { response.map(refused) } else { response }
}

/// `GET`
pub(super) async fn list(State(app): State<App>, visit: Visit) -> Result<Response, ApiError> {
    page(&app, visit, (Errors::default(), String::new(), String::new())).await
}

/// `POST`
pub(super) async fn create(State(app): State<App>, visit: Visit, form: Form) -> Result<Response, ApiError> {
    let (slug, name) = (form.raw("slug").trim().to_owned(), form.text("name"));
    match app.engine.create_workspace(&visit.context, &slug, name.as_deref()).await.map_err(ApiError::from) {
        Ok(_) => Ok(redirect(&format!("{}/workspaces?done=workspace-created", visit.frame.base()))),
        Err(error) => {
            let errors = Errors::of(error, &["slug", "name"])?;
            page(&app, visit, (errors, slug, name.unwrap_or_default())).await
        }
    }
}

/// `POST .../workspaces/{id}`: another name.
pub(super) async fn rename(
    State(app): State<App>,
    visit: Visit,
    Path((_, id)): Path<(String, Uuid)>,
    form: Form,
) -> Result<Response, ApiError> {
    let renamed = app.engine.rename_workspace(&visit.context, WorkspaceId(id), form.raw("new_name")).await;
    match renamed.map_err(ApiError::from) {
        Ok(_) => Ok(redirect(&format!("{}/workspaces?done=workspace-changed", visit.frame.base()))),
        Err(error) => page(&app, visit, (Errors::of(error, &[])?, String::new(), String::new())).await,
    }
}

/// `POST .../workspaces/{id}/delete`
pub(super) async fn delete(
    State(app): State<App>,
    visit: Visit,
    Path((_, id)): Path<(String, Uuid)>,
    form: Form,
) -> Result<Response, ApiError> {
    let deleted = app.engine.delete_workspace(&visit.context, WorkspaceId(id), form.has("revoke_keys")).await;
    match deleted.map_err(ApiError::from) {
        Ok(()) => Ok(redirect(&format!("{}/workspaces?done=workspace-deleted", visit.frame.base()))),
        Err(error) => page(&app, visit, (Errors::of(error, &[])?, String::new(), String::new())).await,
    }
}
