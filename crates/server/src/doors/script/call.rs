//! A request on its way to a script.

use std::time::Duration;

use axum::body::Body;
use http::StatusCode;
use http::request::Parts;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use keyrack_core::{carrier, path};
use keyrack_engine::{RouteMatch, Script, Verdict};
use keyrack_script::wire::Call;

use super::super::sending::{Origin, forwarded};
use super::{MEMORY, MILLISECONDS, pairs};
use crate::error::ApiError;
use crate::request_id::RequestId;

/// The largest body of a request to a script.
const MAX_BODY: usize = 4 << 20;
/// How long it may take to arrive.
const BODY_WITHIN: Duration = Duration::from_mins(1);

/// Reads the body of a request whole: a script sees all of it or nothing.
pub(in crate::doors) async fn read_body(body: Body) -> Result<Vec<u8>, ApiError> {
    let reading = tokio::time::timeout(BODY_WITHIN, Limited::new(body, MAX_BODY).collect());
    match reading.await {
        Ok(Ok(body)) => Ok(body.to_bytes().into()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let message = format!("a body for this door may have at most {MAX_BODY} bytes");
            Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message))
        }
        Ok(Err(_)) => Err(ApiError::bad_request("the body did not arrive whole")),
        Err(_) => Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", "the body did not arrive in time")),
    }
}

/// Who was let in, as far as the script is told.
pub(in crate::doors) struct Calling {
    group: Option<String>,
    key: Option<(String, String)>,
}

impl Calling {
    /// Whom a decision let in.
    pub(in crate::doors) fn of(verdict: &Verdict) -> Self {
        let admitted = verdict.admitted();
        Self {
            group: admitted.map(|key| key.group_name().to_owned()),
            key: admitted.map(|key| (key.facts().key.to_string(), key.record.name.to_string())),
        }
    }

    /// What the script is told of a request, which has lost what is between its caller and us.
    pub(in crate::doors) fn call(
        self,
        script: &Script,
        found: &RouteMatch<'_>,
        mut request: Parts,
        origin: Origin,
        body: &[u8],
        id: RequestId,
    ) -> Call {
        let query = request.uri.query().unwrap_or_default();
        let has_key = found.route.guard.query_key;
        let query = if has_key { carrier::without_query_carriers(query) } else { query.into() };
        let mark = if query.is_empty() { "" } else { "?" };
        let url = format!("{}{}{mark}{query}", origin.base(), found.path);
        forwarded(&mut request.headers, origin);
        Call {
            source: script.source.clone(),
            milliseconds: MILLISECONDS,
            memory: MEMORY,
            method: request.method.to_string(),
            url,
            headers: pairs(&request.headers),
            has_body: !body.is_empty(),
            group: self.group,
            key: self.key,
            request_id: id.0.to_string(),
            params: found.route.params(found.path).into_iter().map(decoded).collect(),
            query: serde_urlencoded::from_str(&query).unwrap_or_default(),
        }
    }
}

/// A parameter as it is meant: without escapes.
pub(super) fn decoded((name, value): (&str, &str)) -> (String, String) {
    let plain = path::percent_decode(value).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (name.to_owned(), plain.unwrap_or_else(|| value.to_owned()))
}
