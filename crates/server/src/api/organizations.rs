//! `/api/organizations`

use axum::extract::State;
use http::StatusCode;
use keyrack_client::wire::text;
use keyrack_client::wire::{CreateOrganization, Organization, Page, Quota, UpdateOrganization};
use keyrack_core::{OrganizationId, OrganizationState, Tier};
use keyrack_engine::{Context, NewOrganization, OrganizationPatch};
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::{cursor, limit};
use crate::app::App;
use crate::caller::Caller;
use crate::convert::{self, Wire as _};
use crate::error::ApiError;
use crate::json::{Json, Path, Query};

/// A part of a list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Paging {
    /// How many: 1 to 200, 50 if missing.
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<i64>,
    /// Where the part before ended.
    #[param(value_type = Option<text::Cursor>)]
    pub cursor: Option<String>,
}

/// The caller's circumstances in the organization of this id: their own, or any for an instance admin.
fn within(caller: &Caller, id: Uuid) -> Result<Context, ApiError> {
    let context = &caller.context;
    if context.organization.0 == id || context.actor.is_instance_admin() {
        return Ok(Context { organization: OrganizationId(id), ..context.clone() });
    }
    Err(keyrack_engine::Error::NotFound("organization").into())
}

/// List organizations
///
/// All of them for an instance admin, one's own otherwise.
#[utoipa::path(get, path = "/api/organizations", tag = "organizations", operation_id = "listOrganizations", params(Paging),
    responses((status = 200, body = Page<Organization>)))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(q): Query<Paging>,
) -> Result<Json<Page<Organization>>, ApiError> {
    let after = cursor(q.cursor.as_deref())?.map(OrganizationId);
    let page = app.engine.list_organizations(&caller.context, after, limit(q.limit)?).await?;
    let data = page.data.into_iter().map(convert::organization).collect();
    Ok(Json(Page { data, next_cursor: page.next_cursor }))
}

/// Make an organization
///
/// The groups `default` and `management` come with it.
#[utoipa::path(post, path = "/api/organizations", tag = "organizations", operation_id = "createOrganization",
    request_body = CreateOrganization,
    responses((status = 201, body = Organization), (status = 409, description = "The slug is, or once was, taken")))]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<CreateOrganization>,
) -> Result<(StatusCode, Json<Organization>), ApiError> {
    let new = NewOrganization {
        slug: body.slug,
        name: body.name,
        tier: body.tier.map(Tier::from_wire),
        owner_email: body.owner_email,
    };
    let organization = app.engine.create_organization(&caller.context, new).await?;
    Ok((StatusCode::CREATED, Json(convert::organization(organization))))
}

/// Show an organization
#[utoipa::path(get, path = "/api/organizations/{id}", tag = "organizations", operation_id = "getOrganization",
    params(("id" = text::OrganizationId, Path)),
    responses((status = 200, body = Organization), (status = 404, description = "No such organization")))]
pub(super) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<Json<Organization>, ApiError> {
    Ok(Json(convert::organization(app.engine.get_organization(&within(&caller, id)?)?)))
}

/// Show what an organization has used
///
/// Its monthly quota, by its tier as it is now. The month is that of the calendar, in UTC.
#[utoipa::path(get, path = "/api/organizations/{id}/quota", tag = "organizations", operation_id = "getQuota",
    params(("id" = text::OrganizationId, Path)),
    responses((status = 200, body = Quota), (status = 404, description = "No such organization")))]
pub(super) async fn quota(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<Json<Quota>, ApiError> {
    let context = within(&caller, id)?;
    let tier = app.engine.get_organization(&context)?.tier;
    Ok(Json(convert::quota(app.engine.quota_use(&context).await?, tier)))
}

/// Change an organization
///
/// Tier, state, rate limits and the counter of the quota are changed by instance admins only. A suspended or deleted organization lets nobody in.
#[utoipa::path(patch, path = "/api/organizations/{id}", tag = "organizations", operation_id = "updateOrganization",
    params(("id" = text::OrganizationId, Path)), request_body = UpdateOrganization,
    responses((status = 200, body = Organization), (status = 404, description = "No such organization"),
        (status = 409, description = "The organization is deleted")))]
pub(super) async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Json(body): Json<UpdateOrganization>,
) -> Result<Json<Organization>, ApiError> {
    let context = within(&caller, id)?;
    let patch = OrganizationPatch {
        name: body.name,
        tier: body.tier.map(Tier::from_wire),
        state: body.state.map(OrganizationState::from_wire),
        rate_limits: body.rate_limits.map(|limits| limits.map(convert::limit_pairs)),
        quota_used: body.quota_used,
    };
    Ok(Json(convert::organization(app.engine.update_organization(&context, patch).await?)))
}
