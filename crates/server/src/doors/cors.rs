//! Calls from web pages of other origins (the CORS protocol of the Fetch standard).
//!
//! A browser asks first, without a key (a preflight), and shows a page only the answers that say it may see them. That protects
//! people from pages, and not doors from callers: whoever is not a browser is held by the guard alone.

use std::sync::Arc;

use axum::response::{IntoResponse as _, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderName, HeaderValue, ORIGIN, VARY,
};
use http::{HeaderMap, Method, StatusCode};
use keyrack_engine::{Cors, LiveRoute};

use super::headers::set;
use crate::error::ApiError;

/// How long a browser may remember the answer to a preflight, in seconds, unless the route says so.
const MAX_AGE: u32 = 600;
/// What Keyrack itself says in answers, and pages may read.
const OURS: &str = "ratelimit, ratelimit-policy, retry-after, x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset, \
    x-request-id";
/// What an answer says of the page that asked.
const OF_PAGES: [HeaderName; 3] =
    [ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_EXPOSE_HEADERS];

/// The method that a browser asks about on behalf of a page; `None` if it asks nothing.
pub(super) fn asked_about<'r>(method: &Method, headers: &'r HeaderMap) -> Option<&'r str> {
    let is_preflight = method == Method::OPTIONS && headers.contains_key(ORIGIN);
    headers.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|_| is_preflight)?.to_str().ok()
}

/// Answers a preflight about a route that pages may call.
pub(super) fn preflight(route: &LiveRoute, cors: &Cors, headers: &HeaderMap) -> Result<Response, ApiError> {
    let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
    if !origin.is_some_and(|origin| cors.allows(origin)) {
        let message = "pages of this origin may not call this; see cors.origins of the route";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "origin_not_allowed", message));
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    let answer = response.headers_mut();
    set(answer, ACCESS_CONTROL_ALLOW_METHODS, &route.route.methods.join(", "));
    match &cors.headers {
        Some(names) if !names.is_empty() => set(answer, ACCESS_CONTROL_ALLOW_HEADERS, &names.join(", ")),
        Some(_) => {}
        None => {
            if let Some(asked) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
                answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
            }
        }
    }
    answer.insert(ACCESS_CONTROL_MAX_AGE, cors.max_age_seconds.unwrap_or(MAX_AGE).into());
    answer.append(VARY, HeaderValue::from_static("access-control-request-headers, access-control-request-method"));
    Ok(response)
}

/// Who may see an answer: what the route says, and not what the service behind it does.
pub(super) struct Shown {
    route: Arc<LiveRoute>,
    /// Whose page asks.
    origin: Option<HeaderValue>,
}

impl Shown {
    /// To whoever sent these headers.
    pub(super) fn to(route: &Arc<LiveRoute>, headers: &HeaderMap) -> Self {
        Self { route: Arc::clone(route), origin: headers.get(ORIGIN).cloned() }
    }

    /// Says so in an answer, where the route says anything of pages.
    pub(super) fn write(self, headers: &mut HeaderMap) {
        let Some(cors) = &self.route.cors else { return };
        for name in OF_PAGES {
            headers.remove(name);
        }
        let allowed = if cors.allows("*") {
            HeaderValue::from_static("*")
        } else {
            headers.append(VARY, HeaderValue::from_static("origin"));
            let known = self.origin.filter(|origin| origin.to_str().is_ok_and(|origin| cors.allows(origin)));
            let Some(origin) = known else { return };
            origin
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if cors.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        let exposed = cors.expose.iter().fold(OURS.to_owned(), |names, name| names + ", " + name);
        set(headers, ACCESS_CONTROL_EXPOSE_HEADERS, &exposed);
    }
}
