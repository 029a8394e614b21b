//! `/api/profile`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use keyrack_client::wire::{
    ChangePassword, ConfirmSecondFactor, NewSecondFactor, Page, Profile, RecoveryCodes, Session, UpdateProfile, User,
    text,
};
use keyrack_core::SessionId;
use uuid::Uuid;

use super::session::signed_in_as;
use super::whole;
use crate::app::App;
use crate::caller::Caller;
use crate::convert;
use crate::error::ApiError;
use crate::json::{Json, Path};
use crate::sign_ins::{self, Client};

/// Your own account
#[utoipa::path(get, path = "/api/profile", tag = "profile", operation_id = "getProfile",
    responses((status = 200, body = Profile)))]
pub(super) async fn get(State(app): State<App>, caller: Caller) -> Result<Json<Profile>, ApiError> {
    let person = caller.person()?;
    let protection = app.engine.protection(person).await?;
    Ok(Json(Profile {
        user: User { id: person.user.0, email: person.email.clone(), name: person.name.clone() },
        has_second_factor: protection.has_second_factor,
        recovery_codes_left: protection.recovery_codes_left,
        has_stepped_up: person.has_stepped_up,
    }))
}

/// Change your name
#[utoipa::path(patch, path = "/api/profile", tag = "profile", operation_id = "updateProfile", request_body = UpdateProfile,
    responses((status = 200, body = User)))]
pub(super) async fn update(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<UpdateProfile>,
) -> Result<Json<User>, ApiError> {
    Ok(Json(convert::user(app.engine.rename_user(caller.person()?, &body.name).await?)))
}

/// Change your password
///
/// All your sessions end; the one that asks goes on under another cookie.
#[utoipa::path(post, path = "/api/profile/password", tag = "profile", operation_id = "changePassword",
    request_body = ChangePassword,
    responses((status = 200, body = keyrack_client::wire::SignedIn), (status = 403, description = "Not the password as it is"),
        (status = 429, description = "Too many wrong passwords for this account, or from this address")))]
pub(super) async fn change_password(
    State(app): State<App>,
    caller: Caller,
    client: Client,
    Json(body): Json<ChangePassword>,
) -> Result<Response, ApiError> {
    let person = caller.person()?;
    let changing = app.engine.change_password(person, &body.current_password, &body.new_password);
    signed_in_as(sign_ins::again(&app, person, &client, changing).await?, StatusCode::OK)
}

/// List your sessions
#[utoipa::path(get, path = "/api/profile/sessions", tag = "profile", operation_id = "listSessions",
    responses((status = 200, body = Page<Session>)))]
pub(super) async fn sessions(State(app): State<App>, caller: Caller) -> Result<Json<Page<Session>>, ApiError> {
    let person = caller.person()?;
    let sessions = app.engine.list_sessions(person).await?.into_iter();
    Ok(Json(whole(sessions.map(|session| convert::session(session, person.session)).collect())))
}

/// End one of your sessions
#[utoipa::path(delete, path = "/api/profile/sessions/{session_id}", tag = "profile", operation_id = "endSession",
    params(("session_id" = text::SessionId, Path)),
    responses((status = 204), (status = 404, description = "You have no such session")))]
pub(super) async fn end_session(
    State(app): State<App>,
    caller: Caller,
    Path(session): Path<Uuid>,
) -> Result<StatusCode, ApiError> {
    app.engine.end_session(caller.person()?, SessionId(session)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Begin to set up a second factor
///
/// Give the secret to an app that makes codes (RFC 6238), and confirm with one of them. Needs the password again (step-up).
#[utoipa::path(post, path = "/api/profile/second-factor", tag = "profile", operation_id = "beginSecondFactor",
    responses((status = 201, body = NewSecondFactor), (status = 409, description = "There is one already")))]
pub(super) async fn begin_second_factor(
    State(app): State<App>,
    caller: Caller,
) -> Result<(StatusCode, Json<NewSecondFactor>), ApiError> {
    let new = app.engine.begin_second_factor(caller.person()?).await?;
    Ok((StatusCode::CREATED, Json(NewSecondFactor { secret: new.secret.to_string(), uri: new.uri.to_string() })))
}

/// Confirm a second factor
///
/// From now on a code is asked for when you sign in. The answer holds the recovery codes, once.
#[utoipa::path(post, path = "/api/profile/second-factor/confirm", tag = "profile", operation_id = "confirmSecondFactor",
    request_body = ConfirmSecondFactor,
    responses((status = 200, body = RecoveryCodes), (status = 404, description = "None waits for its first code")))]
pub(super) async fn confirm_second_factor(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<ConfirmSecondFactor>,
) -> Result<Json<RecoveryCodes>, ApiError> {
    let codes = app.engine.confirm_second_factor(caller.person()?, &body.code).await?;
    Ok(Json(RecoveryCodes { codes: codes.expose().map(str::to_owned).collect() }))
}

/// Remove your second factor
///
/// Needs the password again (step-up).
#[utoipa::path(delete, path = "/api/profile/second-factor", tag = "profile", operation_id = "removeSecondFactor",
    responses((status = 204), (status = 404, description = "There is none")))]
pub(super) async fn remove_second_factor(State(app): State<App>, caller: Caller) -> Result<StatusCode, ApiError> {
    app.engine.remove_second_factor(caller.person()?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Renew your recovery codes
///
/// Those before are void. Needs the password again (step-up).
#[utoipa::path(post, path = "/api/profile/recovery-codes", tag = "profile", operation_id = "renewRecoveryCodes",
    responses((status = 200, body = RecoveryCodes), (status = 404, description = "There is no second factor")))]
pub(super) async fn renew_recovery_codes(
    State(app): State<App>,
    caller: Caller,
) -> Result<Json<RecoveryCodes>, ApiError> {
    let codes = app.engine.renew_recovery_codes(caller.person()?).await?;
    Ok(Json(RecoveryCodes { codes: codes.expose().map(str::to_owned).collect() }))
}
