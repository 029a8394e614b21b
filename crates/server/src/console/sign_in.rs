//! `/login`, `/logout`: in and out.

use askama::Template;
use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use keyrack_engine::SignedIn;
use serde::Deserialize;

use super::entry::redirect;
use super::form::{Errors, Form};
use super::frame::{Frame, Stranger, Visit, refused};
use crate::app::App;
use crate::caller;
use crate::cookie;
use crate::error::ApiError;
use crate::json::Query;
use crate::sign_ins::{self, Client};

/// The cookie of who has given the password and owes a code. It lets nobody in.
const HALF: &str = "__Host-keyrack_half";
/// How long it lives, in seconds.
const HALF_SECONDS: i64 = 5 * 60;

#[derive(Template)]
#[template(path = "console/login.html")]
struct LoginPage {
    frame: Frame,
    errors: Errors,
    email: String,
    next: String,
    /// Whether the browser would not keep our cookie: no TLS, and not this machine.
    needs_tls: bool,
    /// Whether there is nobody yet who could sign in.
    is_new: bool,
}

#[derive(Template)]
#[template(path = "console/second_factor.html")]
struct SecondFactorPage {
    frame: Frame,
    errors: Errors,
    email: String,
    next: String,
}

/// Where to go afterwards.
#[derive(Deserialize)]
pub(super) struct Next {
    #[serde(default)]
    next: String,
    #[serde(default)]
    #[expect(dead_code, reason = "names what was done; the frame reads it")]
    done: String,
}

/// `GET /login`
pub(super) async fn show(
    State(app): State<App>,
    stranger: Stranger,
    Query(Next { next, .. }): Query<Next>,
    parts: Parts,
) -> Result<Response, ApiError> {
    if caller::session(&app, &parts.headers, &parts.method).await?.is_some() {
        return Ok(redirect(own_page(&next)));
    }
    let needs_tls = needs_tls(&app, &parts);
    let is_new = !app.engine.is_initialized().await?;
    let (frame, cookie) = stranger.parts();
    let page = LoginPage { frame, errors: Errors::default(), email: String::new(), next, needs_tls, is_new };
    Stranger::shown(&page, cookie)
}

/// `POST /login`
pub(super) async fn send(
    State(app): State<App>,
    stranger: Stranger,
    client: Client,
    form: Form,
) -> Result<Response, ApiError> {
    let (email, next) = (form.text("email").unwrap_or_default(), form.raw("next").to_owned());
    let (frame, form_cookie) = stranger.parts();
    match sign_ins::sign_in(&app, (&email, form.raw("password")), &client).await {
        Ok(signed_in) if signed_in.awaits_second_factor => {
            let page = SecondFactorPage { frame, errors: Errors::default(), email, next };
            let half = cookie::set(HALF, signed_in.token.expose(), HALF_SECONDS);
            let mut response = Stranger::shown(&page, form_cookie)?;
            cookie::put(&mut response, half)?;
            Ok(response)
        }
        Ok(signed_in) => signed_in_to(&signed_in, &next),
        Err(error) => {
            let errors = wrong(error, "Wrong e-mail address or password.")?;
            let page = LoginPage { frame, errors, email, next, needs_tls: false, is_new: false };
            Stranger::shown(&page, form_cookie).map(refused)
        }
    }
}

/// `POST /login/code`
pub(super) async fn send_code(
    State(app): State<App>,
    stranger: Stranger,
    client: Client,
    headers: HeaderMap,
    form: Form,
) -> Result<Response, ApiError> {
    let Some(half) = caller::cookie_named(&headers, HALF) else { return Ok(redirect("/login")) };
    let (email, next) = (form.raw("email").to_owned(), form.raw("next").to_owned());
    match sign_ins::enter_second_factor(&app, (&email, &half, form.raw("code")), &client).await {
        Ok(signed_in) => {
            let mut response = signed_in_to(&signed_in, &next)?;
            cookie::put(&mut response, cookie::gone(HALF))?;
            Ok(response)
        }
        Err(error) => {
            let errors = wrong(error, "Not the code that your device shows now. After five minutes, begin again.")?;
            let (frame, form_cookie) = stranger.parts();
            Stranger::shown(&SecondFactorPage { frame, errors, email, next }, form_cookie).map(refused)
        }
    }
}

/// `POST /logout`
pub(super) async fn sign_out(State(app): State<App>, visit: Visit, _: Form) -> Result<Response, ApiError> {
    app.engine.sign_out(&visit.person).await?;
    let mut response = redirect("/login?done=signed-out");
    cookie::put(&mut response, cookie::gone(cookie::SESSION))?;
    Ok(response)
}

/// What is said of a refusal where somebody would sign in.
fn wrong(error: ApiError, message: &str) -> Result<Errors, ApiError> {
    match error.status {
        StatusCode::UNAUTHORIZED => Ok(Errors::in_general(message)),
        _ => Errors::of(error, &[]),
    }
}

/// Sends somebody who has signed in to where they wanted to go.
pub(super) fn signed_in_to(signed_in: &SignedIn, next: &str) -> Result<Response, ApiError> {
    let mut response = redirect(own_page(next));
    cookie::put(&mut response, cookie::of_session(signed_in))?;
    Ok(response)
}

/// A page of ours, or the first one: nobody is sent elsewhere from here.
fn own_page(next: &str) -> &str {
    let path = next.split('?').next().unwrap_or_default();
    let is_ours = ["/organizations", "/profile"]
        .iter()
        .any(|own| path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    let is_plain = keyrack_core::path::check(path.as_bytes()).is_ok() && next.bytes().all(|b| b.is_ascii_graphic());
    if is_ours && is_plain { next } else { "/organizations" }
}

/// Whether the browser would not keep our cookie.
fn needs_tls(app: &App, parts: &Parts) -> bool {
    let host = crate::doors::host::host(&parts.headers, &parts.uri).ok().flatten();
    let name = host.as_ref().map(|host| host.host().trim_matches(['[', ']'])).unwrap_or_default();
    let is_here = name == "localhost"
        || name.ends_with(".localhost")
        || name.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    caller::scheme(app, &parts.headers, &parts.extensions) == "http" && !is_here
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_elsewhere_after_signing_in() {
        for own in ["/organizations", "/organizations/acme/keys?status=active", "/profile"] {
            assert_eq!(own_page(own), own);
        }
        for other in [
            "",
            "/",
            "//evil.test/",
            "/\\evil.test",
            "https://evil.test/organizations",
            "/organizations/../../x",
            "/organizationsx",
            "/organizations//evil.test",
            "/organizations/%2e%2e/x",
            "javascript:alert(1)",
            "/organizations\r\nSet-Cookie: a=b",
            "/api/keys",
            "/organizations\\x",
        ] {
            assert_eq!(own_page(other), "/organizations", "{other}");
        }
    }
}
