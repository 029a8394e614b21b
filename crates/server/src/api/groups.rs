//! `/api/groups`

use axum::extract::State;
use http::StatusCode;
use keyrack_client::wire::text;
use keyrack_client::wire::{CreateGroup, Group, Page, UpdateGroup};
use keyrack_core::GroupId;
use keyrack_engine::{Context, GroupPatch, HashProfile, KeyGroup, NewGroup};
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::whole;
use crate::app::App;
use crate::caller::Caller;
use crate::convert::{self, Wire as _};
use crate::error::ApiError;
use crate::json::{Json, Path, Query};

/// What to do with keys that stand in the way of a deletion.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Deletion {
    /// Revoke and delete live keys along with it.
    revoke_keys: Option<bool>,
}

impl Deletion {
    /// Whether live keys go along.
    pub(super) fn revokes_keys(&self) -> bool {
        self.revoke_keys.unwrap_or(false)
    }
}

fn shown(app: &App, context: &Context, group: KeyGroup) -> Group {
    let tenant = app.engine.directory().tenant(context.organization);
    let is_access_group = tenant.is_some_and(|t| t.access_groups.contains(&group.id));
    convert::group(group, is_access_group)
}

/// List groups
#[utoipa::path(get, path = "/api/groups", tag = "groups", operation_id = "listGroups",
    responses((status = 200, body = Page<Group>)))]
pub(super) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Page<Group>>, ApiError> {
    let groups = app.engine.list_groups(&caller.context).await?;
    Ok(Json(whole(groups.into_iter().map(|g| shown(&app, &caller.context, g)).collect())))
}

/// Make a group
#[utoipa::path(post, path = "/api/groups", tag = "groups", operation_id = "createGroup", request_body = CreateGroup,
    responses((status = 201, body = Group), (status = 409, description = "The name is taken")))]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<CreateGroup>,
) -> Result<(StatusCode, Json<Group>), ApiError> {
    let new = NewGroup {
        name: body.name,
        description: body.description,
        key_format: body.key_format.map(convert::key_format),
        hash_profile: body.hash_profile.map(HashProfile::from_wire),
        default_scopes: body.default_scopes,
        rate_limits: body.rate_limits.map(convert::limit_pairs),
        recoverable: body.recoverable == Some(true),
    };
    let group = app.engine.create_group(&caller.context, new).await?;
    Ok((StatusCode::CREATED, Json(shown(&app, &caller.context, group))))
}

/// Show a group
#[utoipa::path(get, path = "/api/groups/{id}", tag = "groups", operation_id = "getGroup", params(("id" = text::GroupId, Path)),
    responses((status = 200, body = Group), (status = 404, description = "No such group")))]
pub(super) async fn get(State(app): State<App>, caller: Caller, Path(id): Path<Uuid>) -> Result<Json<Group>, ApiError> {
    let group = app.engine.get_group(&caller.context, GroupId(id)).await?;
    Ok(Json(shown(&app, &caller.context, group)))
}

/// Change a group
///
/// Keys that exist keep their look and their scopes.
#[utoipa::path(patch, path = "/api/groups/{id}", tag = "groups", operation_id = "updateGroup", params(("id" = text::GroupId, Path)),
    request_body = UpdateGroup,
    responses((status = 200, body = Group), (status = 404, description = "No such group"),
        (status = 409, description = "The name is taken")))]
pub(super) async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Json(body): Json<UpdateGroup>,
) -> Result<Json<Group>, ApiError> {
    let patch = GroupPatch {
        name: body.name,
        description: body.description,
        key_format: body.key_format.map(|format| format.map(convert::key_format).unwrap_or_default()),
        default_scopes: body.default_scopes,
        rate_limits: body.rate_limits.map(|limits| limits.map(convert::limit_pairs)),
        recoverable: body.recoverable,
    };
    let group = app.engine.update_group(&caller.context, GroupId(id), patch).await?;
    Ok(Json(shown(&app, &caller.context, group)))
}

/// Delete a group
#[utoipa::path(delete, path = "/api/groups/{id}", tag = "groups", operation_id = "deleteGroup",
    params(("id" = text::GroupId, Path), Deletion),
    responses((status = 204), (status = 404, description = "No such group"),
        (status = 409, description = "It has live keys, or a route or setting names it")))]
pub(super) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Query(how): Query<Deletion>,
) -> Result<StatusCode, ApiError> {
    app.engine.delete_group(&caller.context, GroupId(id), how.revokes_keys()).await?;
    Ok(StatusCode::NO_CONTENT)
}
