//! `/health`

use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::error::ApiError;
use crate::json::Json;

/// How the server is.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok`.
    status: &'static str,
}

/// Is the process alive
#[utoipa::path(get, path = "/health/live", tag = "health", operation_id = "live", responses((status = 200, body = Health)))]
pub(super) async fn live() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Can it decide
///
/// 503 while it may not, for instance without a lease, and once it is about to stop.
#[utoipa::path(get, path = "/health/ready", tag = "health", operation_id = "ready", responses((status = 200, body = Health)))]
pub(super) async fn ready(State(app): State<App>) -> Result<Json<Health>, ApiError> {
    if app.engine.is_serving() && !app.is_leaving() {
        return Ok(Json(Health { status: "ok" }));
    }
    Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "not ready to decide"))
}
