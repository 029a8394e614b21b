//! The answer to whoever is kept out: the same as at every other door.

use bytes::Bytes;
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Response, StatusCode};
use keyrack_core::{Refusal, Standing, refusal};
use serde_json::json;
use uuid::Uuid;

use crate::body::GuardedBody;

/// The header that names a request.
const X_REQUEST_ID: &str = "x-request-id";

/// A refusal, with what an answer says beside it.
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    pub(crate) standing: Option<Box<Standing>>,
}

impl Refused {
    /// 503: it cannot be decided now.
    pub(crate) fn undecided(why: &'static str) -> Self {
        let refusal = Refusal { status: 503, code: "unavailable", message: why, is_bare: false };
        Self { refusal, standing: None }
    }

    /// The answer to a request with these headers. It bears the id of the request if that has one.
    pub(crate) fn response<B>(&self, asked: &HeaderMap) -> Response<GuardedBody<B>> {
        let status = StatusCode::from_u16(self.refusal.status).unwrap_or(StatusCode::FORBIDDEN);
        let id = asked.get(X_REQUEST_ID);
        let accepted = asked.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let (media, body) = if refusal::wants_problem(accepted) {
            ("application/problem+json", self.problem(status, id))
        } else {
            ("application/json", self.body(id))
        };
        let length = body.len();
        let mut response = Response::new(GuardedBody::text(Bytes::from(body)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
        headers.insert(CONTENT_LENGTH, length.into());
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(id) = id {
            headers.insert(X_REQUEST_ID, id.clone());
        }
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(Refusal::CHALLENGE));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        if let Some(standing) = &self.standing {
            write_limits(headers, standing);
        }
        response
    }

    fn body(&self, id: Option<&HeaderValue>) -> String {
        let Refusal { code, message, is_bare, .. } = self.refusal;
        let (code, message) = (json!(code), json!(message));
        match id.filter(|_| !is_bare).and_then(|id| id.to_str().ok()) {
            Some(id) => format!(r#"{{"error":{code},"message":{message},"request_id":{}}}"#, json!(id)),
            None => format!(r#"{{"error":{code},"message":{message}}}"#),
        }
    }

    /// RFC 9457. What is bare says no more here than elsewhere.
    fn problem(&self, status: StatusCode, id: Option<&HeaderValue>) -> String {
        let mut problem = json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or("Error"),
            "status": status.as_u16(),
            "detail": self.refusal.message,
            "code": self.refusal.code,
        });
        let id = id.filter(|_| !self.refusal.is_bare).and_then(|id| Uuid::try_parse_ascii(id.as_bytes()).ok());
        if let Some(id) = id {
            problem["instance"] = format!("urn:uuid:{id}").into();
        }
        problem.to_string()
    }
}

/// Says in an answer how limits stand. What the service said under these names was about limits of its own; where we have
/// something to say, ours count.
pub(crate) fn write_limits(headers: &mut HeaderMap, standing: &Standing) {
    for (name, value) in standing.headers() {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}
