//! `/api/settings`

use axum::extract::State;
use keyrack_client::wire::{Settings, UpdateSettings};

use crate::app::App;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::json::Json;

/// Show the settings
#[utoipa::path(get, path = "/api/settings", tag = "settings", operation_id = "getSettings",
    responses((status = 200, body = Settings)))]
pub(super) async fn get(State(app): State<App>, caller: Caller) -> Result<Json<Settings>, ApiError> {
    Ok(Json(Settings { access_groups: app.engine.access_groups(&caller.context)? }))
}

/// Change settings
#[utoipa::path(patch, path = "/api/settings", tag = "settings", operation_id = "updateSettings",
    request_body = UpdateSettings, responses((status = 200, body = Settings)))]
pub(super) async fn update(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<UpdateSettings>,
) -> Result<Json<Settings>, ApiError> {
    if let Some(groups) = body.access_groups {
        app.engine.set_access_groups(&caller.context, &groups).await?;
    }
    get(State(app), caller).await
}
