//! `/api/tiers`

use axum::extract::State;
use keyrack_client::wire::{TierLimits, Tiers, UpdateTiers};
use keyrack_core::Tier;

use crate::app::App;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::json::Json;

fn shown(app: &App) -> Json<Tiers> {
    let tiers = app.engine.tiers();
    let of = |tier| TierLimits { monthly_limit: tiers.limit(tier) };
    Json(Tiers { free: of(Tier::Free), pro: of(Tier::Pro), enterprise: of(Tier::Enterprise) })
}

/// Show the tiers
///
/// What organizations may use for what they pay.
#[utoipa::path(get, path = "/api/tiers", tag = "organizations", operation_id = "getTiers",
    responses((status = 200, body = Tiers)))]
pub(super) async fn get(State(app): State<App>, _: Caller) -> Json<Tiers> {
    shown(&app)
}

/// Change tiers
///
/// From the next request on, for all organizations that have them.
#[utoipa::path(patch, path = "/api/tiers", tag = "organizations", operation_id = "updateTiers",
    request_body = UpdateTiers, responses((status = 200, body = Tiers)))]
pub(super) async fn update(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<UpdateTiers>,
) -> Result<Json<Tiers>, ApiError> {
    let limits = [(Tier::Free, body.free), (Tier::Pro, body.pro), (Tier::Enterprise, body.enterprise)];
    let limits = limits.into_iter().filter_map(|(tier, patch)| Some((tier, patch?.monthly_limit?)));
    app.engine.set_tiers(&caller.context, limits.collect()).await?;
    Ok(shown(&app))
}
