//! What stands in front of every page, and what is put around every answer.

use std::sync::Arc;

use axum::RequestExt as _;
use axum::extract::{RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use keyrack_core::Guard;

use super::error_page;
use super::frame::Nonce;
use crate::app::App;
use crate::caller::{self, Caller};
use crate::error::ApiError;
use crate::load::{Crowded, Lane};
use crate::needs::Needs;

/// What stands in front of a page: whom it is for, by the same needs as the endpoints of the API.
#[derive(Clone)]
pub(super) struct Entry {
    app: App,
    path: &'static str,
    needs: Needs,
    guard: Option<Arc<Guard>>,
}

impl Entry {
    /// In front of a page with these needs. Keys are not looked at: pages are for people.
    pub(super) fn new(app: App, path: &'static str, needs: Needs) -> Self {
        let guard = needs.guard().map(|guard| Arc::new(Guard { keys: false, ..guard }));
        Self { app, path, needs, guard }
    }
}

/// Lets in whom the page is for.
pub(super) async fn enter(State(entry): State<Entry>, mut request: Request, next: Next) -> Response {
    let is_crowded = request.extensions().get::<Crowded>().is_some();
    let _room = match entry.app.load.enter(Lane::Database, is_crowded).await {
        Ok(room) => room,
        Err(error) => return error.into_response(),
    };
    let organization = organization_of(&mut request).await;
    let (mut parts, body) = request.into_parts();
    if let Some(guard) = &entry.guard {
        match admitted(&entry, guard, organization.as_deref(), &parts).await {
            Ok(caller) => {
                parts.extensions.insert(caller);
            }
            Err(error) => return error.into_response(),
        }
    }
    next.run(Request::from_parts(parts, body)).await
}

/// The organization that the address of the page names.
async fn organization_of(request: &mut Request) -> Option<String> {
    let parameters = request.extract_parts::<RawPathParams>().await.ok()?;
    parameters.iter().find(|(name, _)| *name == "organization").map(|(_, value)| value.to_owned())
}

async fn admitted(
    entry: &Entry,
    guard: &Guard,
    organization: Option<&str>,
    request: &Parts,
) -> Result<Caller, ApiError> {
    let Entry { app, path, needs, .. } = entry;
    app.engine.require_serving()?;
    let person = caller::session_in(app, &request.headers, &request.method, organization).await?;
    let person = person.ok_or_else(ApiError::unauthorized)?;
    if let Some(unmet) = person.unmet.filter(|_| organization.is_some()) {
        return Err(ApiError::unmet(unmet));
    }
    if organization.is_some() && person.role.is_none() {
        // Whether it exists is not theirs to know.
        return Err(ApiError::not_found());
    }
    caller::visitor(app, (path, *needs), guard, (request, person)).await
}

/// Answers with a page whatever happened, and tells the browser what it may do with it.
pub(super) async fn render(State(app): State<App>, request: Request, next: Next) -> Response {
    if !super::is_page(request.uri().path()) {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let nonce = match Nonce::draw(&app) {
        Ok(nonce) => nonce,
        Err(error) => return error.into_response(),
    };
    parts.extensions.insert(nonce.clone());
    let asked = parts.clone();
    let mut response = next.run(Request::from_parts(parts, body)).await;
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        response = refused(&app, asked, error).await;
    }
    protect(&app, &mut response, &nonce);
    response
}

/// Whoever has to sign in first is sent there; everybody else is told what is wrong.
async fn refused(app: &App, asked: Parts, error: ApiError) -> Response {
    if error.code == ApiError::SECOND_FACTOR_REQUIRED {
        return redirect("/profile?done=second-factor-wanted");
    }
    if error.status != StatusCode::UNAUTHORIZED {
        return error_page::show(app, asked, &error).await;
    }
    let is_page = asked.method == Method::GET;
    let path = asked.uri.path_and_query().map(http::uri::PathAndQuery::as_str).filter(|_| is_page);
    // Whoever comes by a link on another site brings no cookie with them, signed in or not.
    let from_elsewhere = asked.headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site");
    if let Some(path) = path.filter(|_| from_elsewhere) {
        return error_page::continue_from_elsewhere(app, &asked, path);
    }
    let next = path.map(|path| format!("?{}", serde_urlencoded::to_string([("next", path)]).unwrap_or_default()));
    redirect(&format!("/login{}", next.unwrap_or_default()))
}

/// Sends the browser to a page of ours, with GET.
pub(super) fn redirect(to: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    match HeaderValue::try_from(to) {
        Ok(to) => {
            response.headers_mut().insert(LOCATION, to);
            response
        }
        Err(_) => ApiError::internal().into_response(),
    }
}

/// Scripts and styles are ours alone, by a number that nobody can know before: what stands elsewhere on this origin is not.
fn protect(app: &App, response: &mut Response, nonce: &Nonce) {
    const FIXED: [(HeaderName, &str); 4] = [
        // With "no-referrer" browsers would not say of our own forms where they come from.
        (REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "clipboard-write=(self)"),
    ];
    let headers = response.headers_mut();
    for (name, value) in FIXED {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if app.settings.is_tls {
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("text/html; charset=utf-8"));
    let nonce = nonce.as_str();
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self' data:; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
         trusted-types keyrack"
    );
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
}
