//! Answers to Envoy. An empty answer lets a request through, and so does one whose status is 0, whatever else it says: so each is
//! made here, and a refusal is never without a status that says so.

use http::{HeaderMap, StatusCode};
use tonic::Code;

use super::messages::{
    AppendAction, CheckResponse, DeniedHttpResponse, HeaderValue, HeaderValueOption, HttpResponse, HttpStatus,
    OkHttpResponse, Status,
};

/// What is to become of a request that may go on.
#[derive(Default)]
pub(super) struct Changes {
    /// What the service is told, in the place of what the caller said under the same names.
    pub(super) headers: HeaderMap,
    /// What the service is not told.
    pub(super) removed: Vec<String>,
    /// What the caller is told.
    pub(super) answered: HeaderMap,
    /// What of the query the service is not told.
    pub(super) removed_from_query: Vec<String>,
}

/// The request may go on.
pub(super) fn allowed(changes: Changes) -> CheckResponse {
    let response = OkHttpResponse {
        headers: options(&changes.headers),
        headers_to_remove: changes.removed,
        response_headers_to_add: options(&changes.answered),
        query_parameters_to_remove: changes.removed_from_query,
    };
    let status = Status { code: Code::Ok as i32, message: String::new() };
    CheckResponse { status: Some(status), http_response: Some(HttpResponse::Ok(response)) }
}

/// The request may not, and its caller is answered this.
pub(super) fn denied(status: StatusCode, headers: &HeaderMap, body: String) -> CheckResponse {
    let code = match status {
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::BAD_REQUEST => Code::InvalidArgument,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        _ => Code::PermissionDenied,
    };
    // A status that would be taken for a success is none of ours.
    let shown = if status.is_client_error() || status.is_server_error() { status } else { StatusCode::FORBIDDEN };
    let response = DeniedHttpResponse {
        status: Some(HttpStatus { code: shown.as_u16().into() }),
        headers: options(headers),
        body,
    };
    let status = Status { code: code as i32, message: String::new() };
    CheckResponse { status: Some(status), http_response: Some(HttpResponse::Denied(response)) }
}

/// What is no text Envoy would not write; nothing of ours is.
fn options(headers: &HeaderMap) -> Vec<HeaderValueOption> {
    let option = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        let value = str::from_utf8(value.as_bytes()).ok()?.to_owned();
        Some(HeaderValueOption {
            header: Some(HeaderValue { key: name.as_str().to_owned(), value, raw_value: Vec::new() }),
            append_action: AppendAction::OverwriteIfExistsOrAdd as i32,
        })
    };
    headers.iter().filter_map(option).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_refusal_is_an_answer_that_lets_through() {
        for status in 100..1000 {
            let status = StatusCode::from_u16(status).unwrap();
            let answer = denied(status, &HeaderMap::new(), String::new());
            assert_ne!(answer.status.unwrap().code, 0, "{status}");
            let Some(HttpResponse::Denied(denied)) = answer.http_response else { panic!("{status}") };
            assert!((400..600).contains(&denied.status.unwrap().code) || status.as_u16() >= 600, "{status}");
        }
    }
}
