//! `/api/keys`

use axum::extract::{FromRequestParts, State};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use jiff::SignedDuration;
use keyrack_client::wire::text::{self, KeyOrder};
use keyrack_client::wire::{
    ApiKey, CreateKey, CreatedKey, ImportKeys, ImportedKeys, KeySecret, Page, RevealedKey, RevokeKey, RevokedKey,
    RotateKey, RotatedKey, UpdateKey,
};
use keyrack_core::{KeyId, duration};
use keyrack_engine::{Context, Idempotency, KeyQuery, KeySort, RotateKey as Rotate};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;
use uuid::Uuid;

use super::{limit, whole};
use crate::app::App;
use crate::caller::Caller;
use crate::convert::{self, Wire as _};
use crate::error::ApiError;
use crate::json::{Json, LargeJson, OptionalJson, Path, Query};

/// The longest idempotency key.
const MAX_IDEMPOTENCY_KEY: usize = 255;

/// The header `Idempotency-Key`, if it is sent.
pub(super) struct IdempotencyKey(Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Some(value) = parts.headers.get("idempotency-key") else { return Ok(Self(None)) };
        let text = value.to_str().ok().filter(|t| (1..=MAX_IDEMPOTENCY_KEY).contains(&t.len()) && !t.contains('\t'));
        let message = format!("must be 1 to {MAX_IDEMPOTENCY_KEY} printable ASCII characters");
        Ok(Self(Some(text.ok_or_else(|| ApiError::field("Idempotency-Key", message))?.to_owned())))
    }
}

impl IdempotencyKey {
    /// The context of a request that may be repeated: what is asked, to what, counts.
    fn context(self, context: Context, to: &str, body: &impl Serialize) -> Context {
        let idempotency = self.0.map(|key| {
            let asked = serde_json::to_vec(&(to, body)).unwrap_or_default();
            Idempotency { key, request_hash: keyrack_core::leaf::leaf_hash([Some(asked.as_slice())]) }
        });
        Context { idempotency, ..context }
    }
}

fn answer(status: StatusCode, is_replay: bool, body: impl Serialize) -> Response {
    let mut response = (status, Json(body)).into_response();
    if is_replay {
        response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    response
}

/// Which keys are wanted.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListKeys {
    /// The name or id of a group.
    #[param(value_type = Option<text::GroupReference>)]
    group: Option<String>,
    /// The slug or id of a workspace.
    #[param(value_type = Option<text::WorkspaceReference>)]
    workspace: Option<String>,
    /// What they are now.
    status: Option<keyrack_client::wire::KeyStatus>,
    /// A part of the name.
    name: Option<String>,
    /// Only keys not used for this long, and older than that: `30d`, `12h`.
    #[param(pattern = "^[0-9]{1,9}[dh]$")]
    unused_for: Option<String>,
    /// `created_at` (newest first, the default) or `last_used_at` (never used first, then longest unused).
    #[param(value_type = Option<KeyOrder>)]
    sort: Option<String>,
    /// How many: 1 to 200, 50 if missing.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
    /// Where the part before ended.
    #[param(value_type = Option<text::Cursor>)]
    cursor: Option<String>,
}

/// List keys
#[utoipa::path(get, path = "/api/keys", tag = "keys", operation_id = "listKeys", params(ListKeys),
    responses((status = 200, body = Page<ApiKey>), (status = 404, description = "No such group or workspace")))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(q): Query<ListKeys>,
) -> Result<Json<Page<ApiKey>>, ApiError> {
    let sort = match q.sort.as_deref() {
        None | Some("created_at") => KeySort::CreatedAt,
        Some("last_used_at") => KeySort::LastUsedAt,
        Some(_) => return Err(ApiError::field("sort", "must be created_at or last_used_at")),
    };
    let query = KeyQuery {
        group: q.group,
        workspace: q.workspace,
        status: q.status.map(keyrack_core::KeyStatus::from_wire),
        name: q.name,
        unused_for: q.unused_for.as_deref().map(age).transpose()?,
        sort,
        cursor: q.cursor,
        limit: limit(q.limit)?,
    };
    let page = app.engine.list_keys(&caller.context, query).await?;
    let data = page.data.into_iter().map(convert::key).collect();
    Ok(Json(Page { data, next_cursor: page.next_cursor }))
}

/// Reads `30d` or `12h`.
fn age(text: &str) -> Result<SignedDuration, ApiError> {
    let message = "must be a number of days or hours, such as 30d or 12h";
    let seconds = duration::seconds(text, &["d", "h"]).ok_or_else(|| ApiError::field("unused_for", message))?;
    Ok(SignedDuration::from_secs(seconds))
}

/// Make a key
///
/// Its text is in this answer and never again. A repeated request with the same `Idempotency-Key` makes nothing new.
#[utoipa::path(post, path = "/api/keys", tag = "keys", operation_id = "createKey", request_body = CreateKey,
    params(("Idempotency-Key" = Option<text::IdempotencyKey>, Header, description = "Names the request; recognised for 24 hours")),
    responses((status = 201, body = CreatedKey), (status = 409, description = "The name is taken, or the Idempotency-Key is in use"),
        (status = 422, description = "The Idempotency-Key was used for another request")))]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    idempotency: IdempotencyKey,
    Json(body): Json<CreateKey>,
) -> Result<Response, ApiError> {
    let context = idempotency.context(caller.context, "create", &body);
    let created = app.engine.create_key(&context, convert::new_key(body)).await?;
    let secret = created.secret.as_ref().map(|s| s.expose().to_owned());
    Ok(answer(StatusCode::CREATED, created.is_replay, CreatedKey { key: convert::key(created.key), secret }))
}

/// Import keys
///
/// By their text or by the SHA-256 of it. All of them are imported, or none is.
#[utoipa::path(post, path = "/api/keys/import", tag = "keys", operation_id = "importKeys", request_body = ImportKeys,
    responses((status = 201, body = ImportedKeys), (status = 409, description = "A key is known already, or a name is taken")))]
pub(super) async fn import(
    State(app): State<App>,
    caller: Caller,
    LargeJson(body): LargeJson<ImportKeys>,
) -> Result<Response, ApiError> {
    let keys = body.keys.into_iter().map(convert::import_key).collect();
    let data = app.engine.import_keys(&caller.context, keys).await?.into_iter().map(convert::key).collect();
    Ok(answer(StatusCode::CREATED, false, ImportedKeys { data }))
}

/// Show a key
#[utoipa::path(get, path = "/api/keys/{id}", tag = "keys", operation_id = "getKey", params(("id" = text::KeyId, Path)),
    responses((status = 200, body = ApiKey), (status = 404, description = "No such key")))]
pub(super) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<Json<ApiKey>, ApiError> {
    Ok(Json(convert::key(app.engine.get_key(&caller.context, KeyId(id)).await?)))
}

/// Change a key
///
/// What it is bound to (group, workspace, environment) never changes.
#[utoipa::path(patch, path = "/api/keys/{id}", tag = "keys", operation_id = "updateKey", params(("id" = text::KeyId, Path)), request_body = UpdateKey,
    responses((status = 200, body = ApiKey), (status = 404, description = "No such key"),
        (status = 409, description = "The key is revoked or expired, or the name is taken")))]
pub(super) async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Json(body): Json<UpdateKey>,
) -> Result<Json<ApiKey>, ApiError> {
    Ok(Json(convert::key(app.engine.update_key(&caller.context, KeyId(id), convert::key_patch(body)).await?)))
}

/// Delete a key
///
/// Its name and digest stay behind, so that the audit log can name it and its text can never come back.
#[utoipa::path(delete, path = "/api/keys/{id}", tag = "keys", operation_id = "deleteKey", params(("id" = text::KeyId, Path)),
    responses((status = 204), (status = 404, description = "No such key")))]
pub(super) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, ApiError> {
    app.engine.delete_key(&caller.context, KeyId(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Rotate a key
///
/// The key gets a new secret and keeps its id; the old secret is taken until the overlap ends.
#[utoipa::path(post, path = "/api/keys/{id}/rotate", tag = "keys", operation_id = "rotateKey", request_body = Option<RotateKey>,
    params(("id" = text::KeyId, Path), ("Idempotency-Key" = Option<text::IdempotencyKey>, Header, description = "Names the request; recognised for 24 hours")),
    responses((status = 200, body = RotatedKey), (status = 404, description = "No such key"),
        (status = 409, description = "The key is final, or an overlap is going on"),
        (status = 422, description = "The Idempotency-Key was used for another request")))]
pub(super) async fn rotate(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    idempotency: IdempotencyKey,
    OptionalJson(body): OptionalJson<RotateKey>,
) -> Result<Response, ApiError> {
    let context = idempotency.context(caller.context, &format!("rotate {id}"), &body);
    let how = Rotate { overlap_seconds: body.overlap_seconds, force: body.force.unwrap_or(false) };
    let rotated = app.engine.rotate_key(&context, KeyId(id), how).await?;
    let secret = rotated.secret.as_ref().map(|s| s.expose().to_owned());
    let previous_secret_expires_at = rotated.previous_secret_expires_at;
    let body = RotatedKey { key: convert::key(rotated.key), secret, previous_secret_expires_at };
    Ok(answer(StatusCode::OK, rotated.is_replay, body))
}

/// Revoke a key
///
/// For good. When this has answered, no request is let in with it. Revoking a revoked key changes nothing.
#[utoipa::path(post, path = "/api/keys/{id}/revoke", tag = "keys", operation_id = "revokeKey", params(("id" = text::KeyId, Path)), request_body = Option<RevokeKey>,
    responses((status = 200, body = RevokedKey), (status = 404, description = "No such key")))]
pub(super) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    OptionalJson(body): OptionalJson<RevokeKey>,
) -> Result<Json<RevokedKey>, ApiError> {
    let (key, receipt) = app.engine.revoke_key(&caller.context, KeyId(id), body.reason.as_deref()).await?;
    Ok(Json(RevokedKey { key: convert::key(key), receipt: convert::receipt(receipt) }))
}

/// List the secrets of a key
///
/// Without their texts, oldest first.
#[utoipa::path(get, path = "/api/keys/{id}/secrets", tag = "keys", operation_id = "listKeySecrets", params(("id" = text::KeyId, Path)),
    responses((status = 200, body = Page<KeySecret>), (status = 404, description = "No such key")))]
pub(super) async fn list_key_secrets(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<Json<Page<KeySecret>>, ApiError> {
    let secrets = app.engine.list_key_secrets(&caller.context, KeyId(id)).await?;
    Ok(Json(whole(secrets.into_iter().map(convert::secret).collect())))
}

/// End an overlap early
///
/// The old secret is taken no more.
#[utoipa::path(delete, path = "/api/keys/{id}/secrets/{version}", tag = "keys", operation_id = "endOverlap",
    params(("id" = text::KeyId, Path), ("version" = text::SecretVersion, Path)),
    responses((status = 204), (status = 404, description = "No such key or secret"),
        (status = 409, description = "It is the key's newest secret")))]
pub(super) async fn end_overlap(
    State(app): State<App>,
    caller: Caller,
    Path((id, version)): Path<(Uuid, i64)>,
) -> Result<StatusCode, ApiError> {
    app.engine.end_overlap(&caller.context, KeyId(id), version).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Show the text of a key
///
/// Of its newest secret, where its group is recoverable. For an owner who has just entered the password again.
#[utoipa::path(post, path = "/api/keys/{id}/reveal", tag = "keys", operation_id = "revealKey", params(("id" = text::KeyId, Path)),
    responses((status = 200, body = RevealedKey), (status = 404, description = "No such key"),
        (status = 409, description = "Its text is not kept")))]
pub(super) async fn reveal(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<Json<RevealedKey>, ApiError> {
    let text = app.engine.reveal_key(&caller.context, KeyId(id)).await?;
    Ok(Json(RevealedKey { secret: text.expose().to_owned() }))
}
