//! `/api/session`

use axum::extract::{FromRequest as _, Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use keyrack_client::wire::{BilledOrganization, Billing, SessionKey, SignIn, SignedIn, StepUp, WhoAmI};
use keyrack_core::Role;
use keyrack_engine::Engine;

use crate::app::App;
use crate::caller::Caller;
use crate::convert::{self, Wire as _};
use crate::cookie;
use crate::error::ApiError;
use crate::json::Json;
use crate::sign_ins::{self, Client};

/// Sign in
///
/// Sets the session cookie. Wrong address and wrong password are answered alike. Who has a second factor gives a code too; without one
/// the answer to the right password is 401 `second_factor_required`.
#[utoipa::path(post, path = "/api/session", tag = "session", operation_id = "signIn", request_body = SignIn,
    responses((status = 201, body = SignedIn), (status = 401, description = "Wrong address, password or code"),
        (status = 429, description = "Too many wrong passwords for this account, or from this address")))]
pub(super) async fn sign_in(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let client = Client::of(&app, &parts);
    let Json(SignIn { email, password, code }) = Json::from_request(Request::from_parts(parts, body), &()).await?;
    let signed_in = sign_ins::sign_in(&app, (&email, &password), &client).await?;
    let signed_in = match (signed_in.awaits_second_factor, code) {
        (false, _) => signed_in,
        (true, Some(code)) => {
            sign_ins::enter_second_factor(&app, (&email, signed_in.token.expose(), &code), &client).await?
        }
        (true, None) => {
            let message = "the password is right; give a code from your device as well";
            return Err(ApiError::new(StatusCode::UNAUTHORIZED, "second_factor_required", message));
        }
    };
    signed_in_as(signed_in, StatusCode::CREATED)
}

/// Enter the password again
///
/// For ten minutes the session may then do what needs that: owner changes and second factors. It goes on under another cookie.
#[utoipa::path(post, path = "/api/session/step-up", tag = "session", operation_id = "stepUp", request_body = StepUp,
    responses((status = 200, body = SignedIn), (status = 403, description = "Wrong password or code"),
        (status = 429, description = "Too many wrong passwords for this account, or from this address")))]
pub(super) async fn step_up(
    State(app): State<App>,
    caller: Caller,
    client: Client,
    Json(body): Json<StepUp>,
) -> Result<Response, ApiError> {
    let person = caller.person()?;
    let stepping = app.engine.step_up(person, &body.password, body.code.as_deref());
    signed_in_as(sign_ins::again(&app, person, &client, stepping).await?, StatusCode::OK)
}

/// Answers with the session and its cookie.
pub(super) fn signed_in_as(signed_in: keyrack_engine::SignedIn, status: StatusCode) -> Result<Response, ApiError> {
    let cookie = cookie::of_session(&signed_in);
    let body = SignedIn { user: convert::user(signed_in.user), expires_at: signed_in.expires_at };
    let mut response = (status, Json(body)).into_response();
    cookie::put(&mut response, cookie)?;
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
    let mut response = StatusCode::NO_CONTENT.into_response();
    cookie::put(&mut response, cookie::gone(cookie::SESSION))?;
    Ok(response)
}
