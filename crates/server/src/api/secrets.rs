//! `/api/secrets`

use axum::extract::State;
use http::StatusCode;
use keyrack_client::wire::text;
use keyrack_client::wire::{CreateSecret, Page, Secret, SecretScope, UpdateSecret};
use keyrack_core::SecretId;
use keyrack_engine::{NewSecret, SecretPatch, SecretQuery};
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::{cursor, limit};
use crate::app::App;
use crate::caller::Caller;
use crate::convert;
use crate::error::ApiError;
use crate::json::{Json, Path, Query};

/// Which secrets are wanted.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListSecrets {
    /// Of this name.
    #[param(value_type = Option<text::SecretName>)]
    name: Option<String>,
    /// Of this kind.
    scope: Option<SecretScope>,
    /// Of this route, group or key; together with `scope`.
    #[param(value_type = Option<text::SecretOwner>)]
    owner: Option<String>,
    /// Show the values too. The audit log tells of each.
    values: Option<bool>,
    /// How many at most.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<i64>,
    /// Where the page before ended.
    #[param(value_type = Option<text::Cursor>)]
    cursor: Option<String>,
}

/// Whether a value is wanted.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct GetSecret {
    /// Show the value too. The audit log tells of it.
    value: Option<bool>,
}

async fn revealed(
    app: &App,
    caller: &Caller,
    secrets: Vec<keyrack_engine::Secret>,
    with_values: Option<bool>,
) -> Result<Vec<Secret>, ApiError> {
    if with_values != Some(true) {
        return Ok(secrets.into_iter().map(convert::scoped_secret).collect());
    }
    let values = app.engine.reveal_secrets(&caller.context, &secrets).await?;
    let shown = secrets.into_iter().zip(values);
    Ok(shown
        .map(|(secret, value)| Secret { value: Some(value.expose().to_owned()), ..convert::scoped_secret(secret) })
        .collect())
}

/// List secrets
///
/// Without their values, unless they are asked for.
#[utoipa::path(get, path = "/api/secrets", tag = "secrets", operation_id = "listSecrets", params(ListSecrets),
    responses((status = 200, body = Page<Secret>)))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ListSecrets>,
) -> Result<Json<Page<Secret>>, ApiError> {
    let wanted = SecretQuery {
        name: query.name,
        scope: query.scope.map(|scope| scope.as_str().to_owned()),
        owner: query.owner,
        after: cursor(query.cursor.as_deref())?,
        limit: limit(query.limit)?,
    };
    let found = app.engine.list_secrets(&caller.context, wanted).await?;
    let data = revealed(&app, &caller, found.data, query.values).await?;
    Ok(Json(Page { data, next_cursor: found.next_cursor }))
}

/// Make a secret
#[utoipa::path(post, path = "/api/secrets", tag = "secrets", operation_id = "createSecret", request_body = CreateSecret,
    responses((status = 201, body = Secret), (status = 409, description = "There is one of this name in this scope")))]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<CreateSecret>,
) -> Result<(StatusCode, Json<Secret>), ApiError> {
    let new = NewSecret {
        name: body.name,
        value: body.value.into(),
        scope: body.scope.as_str().to_owned(),
        owner: body.owner,
        comment: body.comment,
    };
    let secret = app.engine.create_secret(&caller.context, new).await?;
    Ok((StatusCode::CREATED, Json(convert::scoped_secret(secret))))
}

/// Show a secret
#[utoipa::path(get, path = "/api/secrets/{id}", tag = "secrets", operation_id = "getSecret",
    params(("id" = text::SecretId, Path), GetSecret),
    responses((status = 200, body = Secret), (status = 404, description = "No such secret")))]
pub(super) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Query(query): Query<GetSecret>,
) -> Result<Json<Secret>, ApiError> {
    let secret = app.engine.get_secret(&caller.context, SecretId(id)).await?;
    let mut shown = revealed(&app, &caller, vec![secret], query.value).await?;
    Ok(Json(shown.pop().ok_or_else(ApiError::internal)?))
}

/// Change a secret
#[utoipa::path(patch, path = "/api/secrets/{id}", tag = "secrets", operation_id = "updateSecret",
    params(("id" = text::SecretId, Path)), request_body = UpdateSecret,
    responses((status = 200, body = Secret), (status = 404, description = "No such secret")))]
pub(super) async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Json(body): Json<UpdateSecret>,
) -> Result<Json<Secret>, ApiError> {
    let patch = SecretPatch { value: body.value.map(Into::into), comment: body.comment };
    let secret = app.engine.update_secret(&caller.context, SecretId(id), patch).await?;
    Ok(Json(convert::scoped_secret(secret)))
}

/// Delete a secret
#[utoipa::path(delete, path = "/api/secrets/{id}", tag = "secrets", operation_id = "deleteSecret",
    params(("id" = text::SecretId, Path)), responses((status = 204), (status = 404, description = "No such secret")))]
pub(super) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, ApiError> {
    app.engine.delete_secret(&caller.context, SecretId(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
