//! `/api/session`

use axum::extract::{FromRequest as _, Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{SET_COOKIE, USER_AGENT};
use http::{HeaderValue, StatusCode};
use keyrack_client::wire::{BilledOrganization, Billing, SessionKey, SignIn, SignedIn, WhoAmI};
use keyrack_core::Role;
use keyrack_engine::Engine;

use crate::app::App;
use crate::caller::{self, COOKIE, Caller};
use crate::convert::{self, Wire as _};
use crate::error::ApiError;
use crate::json::Json;

/// The longest `User-Agent` that is kept with a session.
const MAX_USER_AGENT: usize = 256;

/// Sign in
///
/// Sets the session cookie. Wrong address and wrong password are answered alike.
#[utoipa::path(post, path = "/api/session", tag = "session", operation_id = "signIn", request_body = SignIn,
    responses((status = 201, body = SignedIn), (status = 401, description = "Wrong address or password")))]
pub(super) async fn sign_in(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let address = caller::address(&app, &parts.headers, &parts.extensions).map(|a| a.to_string());
    let agent = parts.headers.get(USER_AGENT).and_then(|v| v.to_str().ok());
    let agent = agent.map(|text| text.chars().take(MAX_USER_AGENT).collect());
    let Json(SignIn { email, password }) = Json::from_request(Request::from_parts(parts, body), &()).await?;
    let signed_in = app.engine.sign_in(&email, &password, (address, agent)).await?;
    let seconds = keyrack_engine::SESSION_LENGTH.as_secs();
    let cookie =
        format!("{COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={seconds}", signed_in.token.expose());
    let mut cookie = HeaderValue::try_from(cookie).map_err(|_| ApiError::internal())?;
    cookie.set_sensitive(true);
    let body = SignedIn { user: convert::user(signed_in.user), expires_at: signed_in.expires_at };
    let mut response = (StatusCode::CREATED, Json(body)).into_response();
    response.headers_mut().insert(SET_COOKIE, cookie);
    Ok(response)
}

/// Who am I
///
/// For a person, and for a key: a virtual session without a user.
#[utoipa::path(get, path = "/api/session", tag = "session", operation_id = "whoAmI", responses((status = 200, body = WhoAmI)))]
pub(super) async fn who_am_i(State(app): State<App>, caller: Caller) -> Result<Json<WhoAmI>, ApiError> {
    let is_member = caller.key.is_some() || caller.person.as_ref().is_some_and(|person| person.role.is_some());
    let organization = if is_member { billed(&app, &caller).await? } else { None };
    if let Some(key) = &caller.key {
        let facts = key.facts();
        let workspace = facts.workspace.and_then(|id| key.tenant.workspaces.get(&id)).cloned();
        let session_key = SessionKey {
            id: facts.key.0,
            name: key.record.name.to_string(),
            group: key.group_name().to_owned(),
            scopes: key.scope_names().into_iter().map(String::from).collect(),
            expires_at: Engine::ends_at(key),
        };
        return Ok(Json(WhoAmI {
            user: None,
            organization,
            workspace: workspace.map(convert::workspace),
            role: Some(Role::of_key(facts.in_access_group).wire()),
            key: Some(session_key),
        }));
    }
    let user = match &caller.person {
        Some(person) => app.engine.find_user(person.user).await?.map(convert::user),
        None => None,
    };
    let role = caller.person.as_ref().and_then(|p| p.role).map(Role::wire);
    Ok(Json(WhoAmI { user, organization, workspace: None, role, key: None }))
}

/// The caller's organization with what it may use; `None` if there is none.
async fn billed(app: &App, caller: &Caller) -> Result<Option<BilledOrganization>, ApiError> {
    let Some(tenant) = app.engine.directory().tenant(caller.context.organization) else { return Ok(None) };
    let quota = app.engine.quota_use(&caller.context).await?;
    let organization = tenant.organization.clone();
    let billing = Billing {
        tier: organization.tier.wire(),
        monthly_limit: quota.limit,
        used: quota.used,
        resets_at: quota.resets_at,
    };
    Ok(Some(BilledOrganization { organization: convert::organization(organization), billing }))
}

/// Sign out
#[utoipa::path(delete, path = "/api/session", tag = "session", operation_id = "signOut", responses((status = 204)))]
pub(super) async fn sign_out(State(app): State<App>, caller: Caller) -> Result<Response, ApiError> {
    if let Some(person) = &caller.person {
        app.engine.sign_out(person).await?;
    }
    let gone = format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0");
    let gone = HeaderValue::try_from(gone).map_err(|_| ApiError::internal())?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert(SET_COOKIE, gone);
    Ok(response)
}
