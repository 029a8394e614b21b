//! Our cookies: for this host alone, out of reach of scripts and of other sites' pages. Browsers take them over TLS, and from
//! localhost.

use axum::response::Response;
use http::HeaderValue;
use http::header::SET_COOKIE;
use keyrack_engine::{SESSION_LENGTH, SignedIn};

use crate::error::ApiError;

/// How the names of all of them begin.
pub(crate) const PREFIX: &str = "__Host-keyrack_";
/// The name of the session cookie.
pub(crate) const SESSION: &str = "__Host-keyrack_session";

/// Sets a cookie for so many seconds.
pub(crate) fn set(name: &str, value: &str, seconds: i64) -> Option<HeaderValue> {
    let text = format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={seconds}");
    let mut cookie = HeaderValue::try_from(text).ok()?;
    cookie.set_sensitive(true);
    Some(cookie)
}

/// The cookie of a session that has begun.
pub(crate) fn of_session(signed_in: &SignedIn) -> Option<HeaderValue> {
    set(SESSION, signed_in.token.expose(), SESSION_LENGTH.as_secs())
}

/// Takes a cookie away.
pub(crate) fn gone(name: &str) -> Option<HeaderValue> {
    set(name, "", 0)
}

/// Puts a cookie into a response, beside others.
pub(crate) fn put(response: &mut Response, cookie: Option<HeaderValue>) -> Result<(), ApiError> {
    response.headers_mut().append(SET_COOKIE, cookie.ok_or_else(ApiError::internal)?);
    Ok(())
}
