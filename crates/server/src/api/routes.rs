//! `/api/routes`

use axum::extract::State;
use http::StatusCode;
use jiff::Timestamp;
use keyrack_client::wire::text;
use keyrack_client::wire::{CreateRoute, Page, Route, RouteLog, RouteMetrics, ScriptVersion, UpdateRoute, UsageBy};
use keyrack_core::usage::Span;
use keyrack_core::{LogId, RouteId};
use keyrack_engine::{NewRoute, RoutePatch};
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::{cursor, limit, whole};
use crate::app::App;
use crate::caller::Caller;
use crate::convert::{self, Wire as _};
use crate::error::ApiError;
use crate::json::{Json, Path, Query};

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
    let target = convert::target(body.target);
    app.scripts.check(&target).await?;
    let new = NewRoute {
        name: body.name.unwrap_or_else(|| body.path.chars().take(keyrack_core::name::MAX_NAME).collect()),
        host: body.host,
        path: body.path,
        methods: body.methods,
        disabled: body.enabled == Some(false),
        guard: convert::guard_text(body.guard),
        target,
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
    let target = body.target.map(convert::target);
    if let Some(target) = &target {
        app.scripts.check(target).await?;
    }
    let patch = RoutePatch {
        name: body.name,
        path: body.path,
        methods: body.methods,
        enabled: body.enabled,
        guard: body.guard.map(convert::guard_text),
        target,
        cors: body.cors.map(|cors| cors.map(convert::cors)),
    };
    Ok(Json(shown(&app, app.engine.update_route(&caller.context, RouteId(id), patch).await?)?))
}

/// List versions of a route's script
///
/// The newest 50, the newest first, without what they say. Nothing for a route that never was a script.
#[utoipa::path(get, path = "/api/routes/{id}/versions", tag = "routes", operation_id = "listScriptVersions",
    params(("id" = text::RouteId, Path)),
    responses((status = 200, body = Page<ScriptVersion>), (status = 404, description = "No such route")))]
pub(super) async fn list_versions(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<Json<Page<ScriptVersion>>, ApiError> {
    let versions = app.engine.list_script_versions(&caller.context, RouteId(id)).await?;
    Ok(Json(whole(versions.iter().map(convert::script_version).collect())))
}

/// Show a version of a route's script
#[utoipa::path(get, path = "/api/routes/{id}/versions/{version}", tag = "routes", operation_id = "getScriptVersion",
    params(("id" = text::RouteId, Path), ("version" = text::ScriptVersionNumber, Path)),
    responses((status = 200, body = ScriptVersion), (status = 404, description = "No such route or version")))]
pub(super) async fn get_version(
    State(app): State<App>,
    caller: Caller,
    Path((id, version)): Path<(Uuid, i64)>,
) -> Result<Json<ScriptVersion>, ApiError> {
    let found = app.engine.get_script_version(&caller.context, RouteId(id), version).await?;
    Ok(Json(ScriptVersion { source: Some(found.source.clone()), ..convert::script_version(&found) }))
}

/// Which lines of a log are wanted.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListLog {
    /// How many at most.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<i64>,
    /// Where the page before ended.
    #[param(value_type = Option<text::RouteLogId>)]
    cursor: Option<String>,
    /// Only what came after this line, the oldest first: to follow the log.
    #[param(value_type = Option<text::RouteLogId>)]
    after: Option<String>,
}

/// Show a route's log
///
/// What its script wrote, how calls ended, and whom it did not let in; the newest first. Kept for 7 days, and 10,000 lines at most.
#[utoipa::path(get, path = "/api/routes/{id}/logs", tag = "routes", operation_id = "listRouteLogs",
    params(("id" = text::RouteId, Path), ListLog),
    responses((status = 200, body = Page<RouteLog>), (status = 404, description = "No such route")))]
pub(super) async fn list_logs(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Query(query): Query<ListLog>,
) -> Result<Json<Page<RouteLog>>, ApiError> {
    let (limit, before) = (limit(query.limit)?, cursor(query.cursor.as_deref())?);
    let after: Option<LogId> = query
        .after
        .map(|after| after.parse())
        .transpose()
        .map_err(|_| ApiError::field("after", "must be the id of a line"))?;
    let (ctx, id) = (&caller.context, RouteId(id));
    let (lines, next_cursor) = match (after, before) {
        (Some(_), Some(_)) => return Err(ApiError::field("after", "does not go with cursor")),
        (Some(after), None) => (app.engine.route_log_after(ctx, id, after, limit).await?, None),
        (None, before) => {
            let page = app.engine.route_log(ctx, id, before, limit).await?;
            (page.data, page.next_cursor)
        }
    };
    Ok(Json(Page { data: lines.into_iter().map(convert::route_log).collect(), next_cursor }))
}

/// Which times are wanted.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct MetricsQuery {
    /// From the beginning of the minute, hour or day that this moment is in. If missing: 60 minutes, 24 hours or 30 days back.
    from: Option<Timestamp>,
    /// To the end of the one that this moment is in; now if missing.
    until: Option<Timestamp>,
    /// What times to tell apart; `hour` if missing. At most 3,000 of them.
    by: Option<UsageBy>,
}

/// Show how many calls a route let in, and how long they took
///
/// How many there were, how long they took on average and at most, by minute (kept for 48 hours), hour (90 days) or day (two
/// years). A call is counted within a second after its answer has begun. Calls that only ask Keyrack, from a proxy that forwards
/// them itself, are not timed here.
#[utoipa::path(get, path = "/api/routes/{id}/metrics", tag = "routes", operation_id = "getRouteMetrics",
    params(("id" = text::RouteId, Path), MetricsQuery),
    responses((status = 200, body = RouteMetrics), (status = 404, description = "No such route")))]
pub(super) async fn get_metrics(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Query(q): Query<MetricsQuery>,
) -> Result<Json<RouteMetrics>, ApiError> {
    let by = q.by.map_or(Span::Hour, Span::from_wire);
    let metrics = app.engine.route_metrics(&caller.context, RouteId(id), by, (q.from, q.until)).await?;
    Ok(Json(convert::route_metrics(&metrics)))
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
