//! `/api/workspaces`

use axum::extract::State;
use http::StatusCode;
use keyrack_client::wire::text;
use keyrack_client::wire::{CreateWorkspace, Page, UpdateWorkspace, Workspace};
use keyrack_core::WorkspaceId;
use uuid::Uuid;

use super::groups::Deletion;
use super::whole;
use crate::app::App;
use crate::caller::Caller;
use crate::convert;
use crate::error::ApiError;
use crate::json::{Json, Path, Query};

/// List workspaces
#[utoipa::path(get, path = "/api/workspaces", tag = "workspaces", operation_id = "listWorkspaces",
    responses((status = 200, body = Page<Workspace>)))]
pub(super) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Page<Workspace>>, ApiError> {
    let workspaces = app.engine.list_workspaces(&caller.context).await?;
    Ok(Json(whole(workspaces.into_iter().map(convert::workspace).collect())))
}

/// Make a workspace
#[utoipa::path(post, path = "/api/workspaces", tag = "workspaces", operation_id = "createWorkspace",
    request_body = CreateWorkspace,
    responses((status = 201, body = Workspace), (status = 409, description = "The slug is taken")))]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<CreateWorkspace>,
) -> Result<(StatusCode, Json<Workspace>), ApiError> {
    let workspace = app.engine.create_workspace(&caller.context, &body.slug, body.name.as_deref()).await?;
    Ok((StatusCode::CREATED, Json(convert::workspace(workspace))))
}

/// Show a workspace
#[utoipa::path(get, path = "/api/workspaces/{id}", tag = "workspaces", operation_id = "getWorkspace",
    params(("id" = text::WorkspaceId, Path)),
    responses((status = 200, body = Workspace), (status = 404, description = "No such workspace")))]
pub(super) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<Json<Workspace>, ApiError> {
    Ok(Json(convert::workspace(app.engine.get_workspace(&caller.context, WorkspaceId(id)).await?)))
}

/// Rename a workspace
///
/// Its slug stays.
#[utoipa::path(patch, path = "/api/workspaces/{id}", tag = "workspaces", operation_id = "updateWorkspace",
    params(("id" = text::WorkspaceId, Path)), request_body = UpdateWorkspace,
    responses((status = 200, body = Workspace), (status = 404, description = "No such workspace")))]
pub(super) async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Json(body): Json<UpdateWorkspace>,
) -> Result<Json<Workspace>, ApiError> {
    let workspace = app.engine.rename_workspace(&caller.context, WorkspaceId(id), &body.name).await?;
    Ok(Json(convert::workspace(workspace)))
}

/// Delete a workspace
#[utoipa::path(delete, path = "/api/workspaces/{id}", tag = "workspaces", operation_id = "deleteWorkspace",
    params(("id" = text::WorkspaceId, Path), Deletion),
    responses((status = 204), (status = 404, description = "No such workspace"),
        (status = 409, description = "It has live keys, or a route names it")))]
pub(super) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Query(how): Query<Deletion>,
) -> Result<StatusCode, ApiError> {
    app.engine.delete_workspace(&caller.context, WorkspaceId(id), how.revokes_keys()).await?;
    Ok(StatusCode::NO_CONTENT)
}
