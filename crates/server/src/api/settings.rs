//! `/api/settings`

use axum::extract::State;
use keyrack_client::wire::{Settings, UpdateSettings};
use keyrack_engine::SettingsPatch;

use crate::app::App;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::json::Json;

/// Show the settings
#[utoipa::path(get, path = "/api/settings", tag = "settings", operation_id = "getSettings",
    responses((status = 200, body = Settings)))]
pub(super) async fn get(State(app): State<App>, caller: Caller) -> Result<Json<Settings>, ApiError> {
    let rules = app.engine.sign_in_rules(&caller.context)?;
    Ok(Json(Settings {
        access_groups: app.engine.access_groups(&caller.context)?,
        second_factor: rules.second_factor,
        session_hours: rules.session_hours,
    }))
}

/// Change settings
#[utoipa::path(patch, path = "/api/settings", tag = "settings", operation_id = "updateSettings",
    request_body = UpdateSettings, responses((status = 200, body = Settings),
        (status = 409, description = "A person who asks for second factors has none")))]
pub(super) async fn update(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<UpdateSettings>,
) -> Result<Json<Settings>, ApiError> {
    let UpdateSettings { access_groups, second_factor, session_hours } = body;
    let patch = SettingsPatch { access_groups, second_factor, session_hours };
    app.engine.update_settings(&caller.context, patch).await?;
    get(State(app), caller).await
}
