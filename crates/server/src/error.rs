//! Errors as callers see them: one shape, one place that writes it.

use std::net::IpAddr;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use keyrack_client::wire::{ErrorBody, ErrorDetail};
use keyrack_core::path::NonCanonical;
use keyrack_core::{Reason, Refusal, refusal};
use keyrack_engine::{Error, Standing, Unmet};

use crate::app::App;
use crate::caller;
use crate::doors::limits;
use crate::failures::network_of;
use crate::request_id::{RequestId, X_REQUEST_ID};

/// A refusal, before it is written down for the one who asked.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    /// The status.
    pub status: StatusCode,
    /// A stable word.
    pub code: &'static str,
    /// The same for people.
    pub message: String,
    /// Fields or things it is about.
    pub details: Vec<ErrorDetail>,
    /// Whether the body has code and message only, whatever the cause.
    pub is_bare: bool,
    /// How limits stand, if they were looked at.
    pub standing: Option<Box<Standing>>,
    /// In how many seconds it is worth trying again, if that is known.
    pub retry_after: Option<u64>,
}

impl ApiError {
    /// An error with this status, code and message.
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            details: Vec::new(),
            is_bare: false,
            standing: None,
            retry_after: None,
        }
    }

    /// 400 about a field.
    pub(crate) fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        let (field, message) = (field.into(), message.into());
        let detail = ErrorDetail { field: Some(field.clone()), message: message.clone() };
        let message = format!("{field}: {message}");
        Self { details: vec![detail], ..Self::new(StatusCode::BAD_REQUEST, "invalid_request", message) }
    }

    /// 400 about the request as a whole.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    /// 400 about a path that two parsers could read differently.
    pub(crate) fn non_canonical(refusal: NonCanonical) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "non_canonical_path", refusal.to_string())
    }

    /// 404.
    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here")
    }

    /// That a second factor is missing.
    pub(crate) const SECOND_FACTOR_REQUIRED: &'static str = "second_factor_required";

    /// 403: the session does not meet a rule of the organization.
    pub(crate) fn unmet(unmet: Unmet) -> Self {
        let (code, message) = match unmet {
            Unmet::SecondFactor => {
                let message = "this organization lets in people with a second factor only; set one up in your profile";
                (Self::SECOND_FACTOR_REQUIRED, message)
            }
            Unmet::SignInAgain => {
                ("sign_in_again", "this organization wants people to sign in again: sign out, and in again")
            }
        };
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    /// What an outsider is told of a denial.
    pub(crate) fn denied(reason: Reason) -> Self {
        Self::refused(reason.refusal())
    }

    /// The one 401, whatever the cause.
    pub(crate) fn unauthorized() -> Self {
        Self::refused(Refusal::UNAUTHORIZED)
    }

    fn refused(Refusal { status, code, message, is_bare }: Refusal) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
        Self { is_bare, ..Self::new(status, code, message) }
    }

    /// The same, unless it is one 401 too many for where the request came from.
    pub(crate) fn weighed(self, app: &App, from: Option<IpAddr>) -> Self {
        let is_counted = self.status == StatusCode::UNAUTHORIZED;
        let Some(retry_after) = from.filter(|_| is_counted).and_then(|from| app.failures.note(network_of(from))) else {
            return self;
        };
        let message = "too many requests from this address were refused; try again later";
        let retry_after = Some(retry_after);
        Self { retry_after, ..Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_failures", message) }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound(what) => Self::new(StatusCode::NOT_FOUND, "not_found", format!("{what} not found")),
            Error::Invalid(field) => Self::field(field.field, field.message),
            Error::Conflict { code, message, details } => {
                let details = details.into_iter().map(|message| ErrorDetail { field: None, message }).collect();
                Self { details, ..Self::new(StatusCode::CONFLICT, code, message) }
            }
            Error::Forbidden { code, message } => Self::new(StatusCode::FORBIDDEN, code, message),
            Error::Unauthorized => Self::unauthorized(),
            Error::IdempotencyMismatch => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_mismatch", error.to_string())
            }
            // Counted, and not logged: whoever has us refuse much must not fill the log with it.
            Error::Overloaded => crate::load::overloaded(),
            Error::Unavailable(what, source) => {
                tracing::warn!(error = ?source, "{what}");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", what)
            }
            Error::NotYetSeen => Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_yet_seen", error.to_string()),
            Error::Internal(what, source) => {
                tracing::error!(error = ?source, "{what}");
                Self::internal()
            }
            Error::Refused(what) => {
                tracing::error!("{what}");
                Self::internal()
            }
        }
    }
}

impl ApiError {
    /// 500: what happened stands in the log, under the request's id.
    pub(crate) fn internal() -> Self {
        let message = "something went wrong here; the log knows more under this request id";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }
}

impl IntoResponse for ApiError {
    /// Leaves the writing to [`render`], which knows the request.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Gives a request its id, has it answered, and writes down the error if that is the answer.
pub(crate) async fn render(app: &App, mut request: Request, answer: impl AsyncFnOnce(Request) -> Response) -> Response {
    let id = app.request_id();
    request.extensions_mut().insert(id);
    let wants_problem = wants_problem(request.headers());
    // Whoever asks about keys for others is refused for nobody's guesses but their own.
    let is_question = request.uri().path().starts_with("/api/verify") || request.uri().path() == "/api/introspect";
    let from = caller::address(app, request.headers(), request.extensions()).filter(|_| !is_question);
    let mut response = answer(request).await;
    let error = response.extensions_mut().remove::<ApiError>().or_else(|| bare_error(&response));
    if let Some(error) = error {
        write(&mut response, &error.weighed(app, from), id, wants_problem);
    }
    let headers = response.headers_mut();
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_REQUEST_ID, id.header());
    response
}

/// Whether the caller asks for RFC 9457.
pub(crate) fn wants_problem(headers: &HeaderMap) -> bool {
    refusal::wants_problem(headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()))
}

/// The router's own refusals (405) come without a body.
fn bare_error(response: &Response) -> Option<ApiError> {
    (response.status() == StatusCode::METHOD_NOT_ALLOWED && !response.headers().contains_key(CONTENT_TYPE)).then(|| {
        ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "the path does not take this method")
    })
}

/// Writes an error into a response.
pub(crate) fn write(response: &mut Response, error: &ApiError, id: RequestId, wants_problem: bool) {
    let media = if wants_problem { "application/problem+json" } else { "application/json" };
    let body = if wants_problem {
        problem(error, id).to_string()
    } else {
        let request_id = (!error.is_bare).then(|| id.0.to_string());
        let details = error.details.clone();
        let body = ErrorBody { error: error.code.to_owned(), message: error.message.clone(), request_id, details };
        serde_json::to_string(&body).unwrap_or_default()
    };
    *response.status_mut() = error.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(CONTENT_LENGTH, body.len().into());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_REQUEST_ID, id.header());
    if error.status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(Refusal::CHALLENGE));
    }
    if let Some(standing) = &error.standing {
        limits::write(headers, standing);
    }
    if let Some(seconds) = error.retry_after.or((error.status == StatusCode::SERVICE_UNAVAILABLE).then_some(1)) {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    *response.body_mut() = Body::from(body);
}

/// RFC 9457. What is bare says no more here than elsewhere.
fn problem(error: &ApiError, id: RequestId) -> serde_json::Value {
    let mut problem = serde_json::json!({
        "type": "about:blank",
        "title": error.status.canonical_reason().unwrap_or("Error"),
        "status": error.status.as_u16(),
        "detail": error.message,
        "code": error.code,
    });
    if !error.is_bare {
        problem["instance"] = format!("urn:uuid:{}", id.0).into();
        if !error.details.is_empty() {
            problem["errors"] = serde_json::json!(error.details);
        }
    }
    problem
}
