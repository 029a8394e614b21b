//! `/api/routes`

use axum::extract::State;
use http::StatusCode;
use keyrack_client::wire::text;
use keyrack_client::wire::{CreateRoute, Page, Route, UpdateRoute};
use keyrack_core::RouteId;
use keyrack_engine::{NewRoute, RoutePatch};
use uuid::Uuid;

use super::whole;
use crate::app::App;
use crate::caller::Caller;
use crate::convert;
use crate::error::ApiError;
use crate::json::{Json, Path};

fn shown(app: &App, route: keyrack_engine::Route) -> Result<Route, ApiError> {
    let guard = app.engine.show_guard(&route);
    convert::route(route, guard).ok_or_else(ApiError::internal)
}

/// List routes
#[utoipa::path(get, path = "/api/routes", tag = "routes", operation_id = "listRoutes",
    responses((status = 200, body = Page<Route>)))]
pub(super) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Page<Route>>, ApiError> {
    let routes = app.engine.list_routes(&caller.context).await?;
    Ok(Json(whole(routes.into_iter().map(|r| shown(&app, r)).collect::<Result<_, _>>()?)))
}

/// Make a route
#[utoipa::path(post, path = "/api/routes", tag = "routes", operation_id = "createRoute", request_body = CreateRoute,
    responses((status = 201, body = Route), (status = 409, description = "Another route takes the same requests")))]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<CreateRoute>,
) -> Result<(StatusCode, Json<Route>), ApiError> {
    let new = NewRoute {
        name: body.name.unwrap_or_else(|| body.path.chars().take(keyrack_core::name::MAX_NAME).collect()),
        host: body.host,
        path: body.path,
        methods: body.methods,
        disabled: body.enabled == Some(false),
        guard: convert::guard_text(body.guard),
        target: convert::target(body.target),
        cors: body.cors.map(convert::cors),
    };
    let route = app.engine.create_route(&caller.context, new).await?;
    Ok((StatusCode::CREATED, Json(shown(&app, route)?)))
}

/// Show a route
#[utoipa::path(get, path = "/api/routes/{id}", tag = "routes", operation_id = "getRoute", params(("id" = text::RouteId, Path)),
    responses((status = 200, body = Route), (status = 404, description = "No such route")))]
pub(super) async fn get(State(app): State<App>, caller: Caller, Path(id): Path<Uuid>) -> Result<Json<Route>, ApiError> {
    Ok(Json(shown(&app, app.engine.get_route(&caller.context, RouteId(id)).await?)?))
}

/// Change a route
///
/// Guard, target and cors are replaced whole.
#[utoipa::path(patch, path = "/api/routes/{id}", tag = "routes", operation_id = "updateRoute", params(("id" = text::RouteId, Path)),
    request_body = UpdateRoute,
    responses((status = 200, body = Route), (status = 404, description = "No such route"),
        (status = 409, description = "Another route takes the same requests, or it was changed meanwhile")))]
pub(super) async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Json(body): Json<UpdateRoute>,
) -> Result<Json<Route>, ApiError> {
    let patch = RoutePatch {
        name: body.name,
        path: body.path,
        methods: body.methods,
        enabled: body.enabled,
        guard: body.guard.map(convert::guard_text),
        target: body.target.map(convert::target),
        cors: body.cors.map(|cors| cors.map(convert::cors)),
    };
    Ok(Json(shown(&app, app.engine.update_route(&caller.context, RouteId(id), patch).await?)?))
}

/// Delete a route
#[utoipa::path(delete, path = "/api/routes/{id}", tag = "routes", operation_id = "deleteRoute", params(("id" = text::RouteId, Path)),
    responses((status = 204), (status = 404, description = "No such route")))]
pub(super) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, ApiError> {
    app.engine.delete_route(&caller.context, RouteId(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
