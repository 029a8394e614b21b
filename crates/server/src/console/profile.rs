//! `/profile`: a person's own account.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use keyrack_core::SessionId;
use keyrack_engine::{NewSecondFactor, Protection, RecoveryCodes, SignedIn};
use qrcodegen::{QrCode, QrCodeEcc};
use serde::Deserialize;
use uuid::Uuid;

use super::entry::redirect;
use super::form::{Errors, Form};
use super::frame::{Frame, Visit, refused, shown};
use super::show::{self, Moment};
use crate::app::App;
use crate::cookie;
use crate::error::ApiError;
use crate::json::{Path, Query};
use crate::sign_ins::{self, Client};

struct SessionRow {
    id: String,
    is_current: bool,
    agent: String,
    address: String,
    began: Moment,
    ends: Moment,
}

#[derive(Template)]
#[template(path = "console/profile.html")]
struct ProfilePage {
    frame: Frame,
    errors: Errors,
    name: String,
    protection: Protection,
    sessions: Vec<SessionRow>,
}

async fn page(app: &App, visit: Visit, errors: Errors) -> Result<Response, ApiError> {
    let is_refused = errors.any();
    let now = visit.frame.now;
    let own = visit.person.session;
    let sessions = app.engine.list_sessions(&visit.person).await?.into_iter();
    let sessions = sessions.map(|session| SessionRow {
        id: session.id.to_string(),
        is_current: session.id == own,
        agent: session.user_agent.as_deref().map_or_else(|| "unknown".to_owned(), show::agent),
        address: session.address.unwrap_or_else(|| "unknown".to_owned()),
        began: Moment::new(session.created_at, now),
        ends: Moment::new(session.expires_at, now),
    });
    let sessions = sessions.collect();
    let protection = app.engine.protection(&visit.person).await?;
    let name = visit.person.name.clone();
    let response = shown(&ProfilePage { frame: visit.frame, errors, name, protection, sessions });
    if is_refused { response.map(refused) } else { response }
}

/// `GET`
pub(super) async fn show(State(app): State<App>, visit: Visit) -> Result<Response, ApiError> {
    page(&app, visit, Errors::default()).await
}

/// `POST`: another name.
pub(super) async fn rename(State(app): State<App>, visit: Visit, form: Form) -> Result<Response, ApiError> {
    match app.engine.rename_user(&visit.person, form.raw("name")).await.map_err(ApiError::from) {
        Ok(_) => Ok(redirect("/profile?done=profile-changed")),
        Err(error) => page(&app, visit, Errors::of(error, &["name"])?).await,
    }
}

/// `POST /profile/password`
pub(super) async fn change_password(
    State(app): State<App>,
    visit: Visit,
    client: Client,
    form: Form,
) -> Result<Response, ApiError> {
    let changing = app.engine.change_password(&visit.person, form.raw("current_password"), form.raw("new_password"));
    match sign_ins::again(&app, &visit.person, &client, changing).await {
        Ok(signed_in) => with_session(&signed_in, "/profile?done=password-changed"),
        Err(error) if error.code == "wrong_password" => {
            page(&app, visit, Errors::on("current_password", "is not your password")).await
        }
        Err(error) => page(&app, visit, Errors::of(error, &["new_password"])?).await,
    }
}

/// Goes on under another cookie.
fn with_session(signed_in: &SignedIn, to: &str) -> Result<Response, ApiError> {
    let mut response = redirect(to);
    cookie::put(&mut response, cookie::of_session(signed_in))?;
    Ok(response)
}

/// `POST /profile/sessions/{id}/end`
pub(super) async fn end_session(
    State(app): State<App>,
    visit: Visit,
    Path(id): Path<Uuid>,
    _: Form,
) -> Result<Response, ApiError> {
    app.engine.end_session(&visit.person, SessionId(id)).await?;
    Ok(redirect("/profile?done=session-ended"))
}

/// Where to go on once the password was entered again.
#[derive(Deserialize)]
pub(super) struct Then {
    #[serde(default)]
    next: String,
}

#[derive(Template)]
#[template(path = "console/step_up.html")]
struct StepUpPage {
    frame: Frame,
    errors: Errors,
    next: String,
    needs_code: bool,
}

/// `GET /profile/step-up`
pub(super) async fn show_step_up(
    State(app): State<App>,
    visit: Visit,
    Query(Then { next }): Query<Then>,
) -> Result<Response, ApiError> {
    let needs_code = app.engine.protection(&visit.person).await?.has_second_factor;
    shown(&StepUpPage { frame: visit.frame, errors: Errors::default(), next, needs_code })
}

/// `POST /profile/step-up`
pub(super) async fn step_up(
    State(app): State<App>,
    visit: Visit,
    client: Client,
    form: Form,
) -> Result<Response, ApiError> {
    let (next, code) = (form.raw("next").to_owned(), form.text("code"));
    let stepping = app.engine.step_up(&visit.person, form.raw("password"), code.as_deref());
    match sign_ins::again(&app, &visit.person, &client, stepping).await {
        Ok(signed_in) => super::sign_in::signed_in_to(&signed_in, &next),
        Err(error) => {
            let errors = Errors::of(error, &[])?;
            let needs_code = app.engine.protection(&visit.person).await?.has_second_factor;
            shown(&StepUpPage { frame: visit.frame, errors, next, needs_code }).map(refused)
        }
    }
}

#[derive(Template)]
#[template(path = "console/new_second_factor.html")]
struct NewSecondFactorPage {
    frame: Frame,
    errors: Errors,
    secret: String,
    /// The dark squares of the QR code, by column and row, and how many there are in a row.
    squares: Vec<(i32, i32)>,
    size: i32,
}

/// Draws what a device reads.
fn squares(factor: &NewSecondFactor) -> Result<(Vec<(i32, i32)>, i32), ApiError> {
    let code = QrCode::encode_text(&factor.uri, QrCodeEcc::Medium).map_err(|_| ApiError::internal())?;
    let size = code.size();
    let all = (0..size).flat_map(|y| (0..size).map(move |x| (x, y)));
    Ok((all.filter(|(x, y)| code.get_module(*x, *y)).collect(), size))
}

/// Sends whoever has to enter the password again there, and back.
fn step_up_first(error: ApiError) -> Result<Response, ApiError> {
    if error.code == "step_up_required" { Ok(redirect("/profile/step-up?next=/profile")) } else { Err(error) }
}

/// `POST /profile/second-factor`: shows what the device is to read.
pub(super) async fn begin_second_factor(State(app): State<App>, visit: Visit, _: Form) -> Result<Response, ApiError> {
    let factor = match app.engine.begin_second_factor(&visit.person).await.map_err(ApiError::from) {
        Ok(factor) => factor,
        Err(error) => return step_up_first(error),
    };
    let (squares, size) = squares(&factor)?;
    let secret = factor.secret.to_string();
    shown(&NewSecondFactorPage { frame: visit.frame, errors: Errors::default(), secret, squares, size })
}

#[derive(Template)]
#[template(path = "console/recovery_codes.html")]
struct RecoveryCodesPage {
    frame: Frame,
    codes: Vec<String>,
}

fn show_codes(frame: Frame, codes: &RecoveryCodes) -> Result<Response, ApiError> {
    shown(&RecoveryCodesPage { frame, codes: codes.expose().map(str::to_owned).collect() })
}

/// `POST /profile/second-factor/confirm`
pub(super) async fn confirm_second_factor(
    State(app): State<App>,
    visit: Visit,
    client: Client,
    form: Form,
) -> Result<Response, ApiError> {
    let confirming = app.engine.confirm_second_factor(&visit.person, form.raw("code"));
    match sign_ins::again(&app, &visit.person, &client, confirming).await {
        Ok(codes) => show_codes(visit.frame, &codes),
        Err(error) if error.code == "step_up_required" => step_up_first(error),
        Err(error) => {
            let errors = Errors::of(error, &["code"])?;
            // What the device has is not shown twice: it may be typed again, or begun anew.
            let (frame, secret) = (visit.frame, String::new());
            let page = NewSecondFactorPage { frame, errors, secret, squares: Vec::new(), size: 0 };
            shown(&page).map(refused)
        }
    }
}

/// `POST /profile/second-factor/remove`
pub(super) async fn remove_second_factor(State(app): State<App>, visit: Visit, _: Form) -> Result<Response, ApiError> {
    match app.engine.remove_second_factor(&visit.person).await.map_err(ApiError::from) {
        Ok(()) => Ok(redirect("/profile?done=factor-removed")),
        Err(error) => step_up_first(error),
    }
}

/// `POST /profile/recovery-codes`
pub(super) async fn renew_codes(State(app): State<App>, visit: Visit, _: Form) -> Result<Response, ApiError> {
    match app.engine.renew_recovery_codes(&visit.person).await.map_err(ApiError::from) {
        Ok(codes) => show_codes(visit.frame, &codes),
        Err(error) => step_up_first(error),
    }
}
