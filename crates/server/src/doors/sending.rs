//! A request that was let in, on its way to the service behind the route.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::header::{FORWARDED, HOST, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, Request, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use keyrack_core::carrier;
use keyrack_engine::{RouteMatch, Target, Upstream};
use tokio::time::sleep_until;

use super::carried::{Carried, TooLarge};
use super::tunnel;
use super::upstream::{Speaking, causes, was_lost};
use crate::app::App;
use crate::caller;
use crate::error::ApiError;
use crate::request_id::RequestId;

/// How long a service may take to begin its answer, unless its route says so.
const ANSWER_WITHIN: Duration = Duration::from_mins(1);
/// How long a service may be silent in the middle of an answer, unless its route says so.
const IDLE: Duration = Duration::from_mins(5);

/// How long the service behind a route may be silent in the middle of an answer.
pub(super) fn idle(upstream: &Upstream) -> Duration {
    upstream.idle_timeout_seconds.map_or(IDLE, |seconds| Duration::from_secs(seconds.into()))
}

/// The service behind a route.
pub(super) fn upstream<'r>(found: &'r RouteMatch<'_>) -> &'r Upstream {
    let Target::Upstream(upstream) = &found.route.target;
    upstream
}

/// What a service is to answer.
pub(super) struct Sending {
    /// With everything on it that the service is told of its caller.
    pub(super) request: Parts,
    pub(super) body: Body,
    /// What has come by of the body.
    pub(super) carried: Arc<Carried>,
    /// It is to become a WebSocket.
    pub(super) is_websocket: bool,
    pub(super) id: RequestId,
}

impl Sending {
    /// Sends it on to the service of the route, and waits for the beginning of its answer.
    pub(super) async fn send(mut self, app: &App, found: &RouteMatch<'_>) -> Result<Response<Incoming>, ApiError> {
        let upstream = upstream(found);
        let query = self.request.uri.query();
        let uri = upstream_uri(upstream, found.path, query, found.route.guard.query_key)?;
        forwarded(app, &mut self.request);
        self.request.uri = uri;
        self.request.version = Version::HTTP_11;
        set_host(&mut self.request)?;
        // What we know of the connection it came over is not for whoever sends it on.
        self.request.extensions.clear();
        own_headers(&mut self.request.headers, upstream);
        if self.is_websocket {
            tunnel::announce(&mut self.request.headers);
        }
        let speaking = match upstream.http2 {
            _ if self.is_websocket => Speaking::Http1,
            true => Speaking::Http2,
            false => Speaking::Agreed,
        };
        let within = upstream.timeout_seconds.map_or(ANSWER_WITHIN, |seconds| Duration::from_secs(seconds.into()));
        let (id, route, carried) = (self.id, found.route.route.id, Arc::clone(&self.carried));
        match in_time(within, &carried, self.send_again_if_lost(app, speaking)).await {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(failure)) if causes(&failure).any(<dyn std::error::Error>::is::<TooLarge>) => Err(too_large()),
            Some(Err(failure)) if is_of_the_body(&failure) => {
                Err(ApiError::bad_request("the body did not arrive whole"))
            }
            Some(Err(failure)) => {
                tracing::warn!(request = %id.0, %route, error = ?failure, "the upstream did not answer");
                let message = "the service behind this door did not answer";
                Err(ApiError::new(StatusCode::BAD_GATEWAY, "bad_gateway", message))
            }
            None => {
                tracing::warn!(request = %id.0, %route, "the upstream took too long");
                let message = "the service behind this door took too long";
                Err(ApiError::new(StatusCode::GATEWAY_TIMEOUT, "gateway_timeout", message))
            }
        }
    }

    /// A service may close a connection at the moment at which it is used again. Such a request is sent a second time, if it may
    /// be (RFC 9110 section 9.2.2) and has no body.
    async fn send_again_if_lost(self, app: &App, speaking: Speaking) -> Result<Response<Incoming>, legacy::Error> {
        let is_repeatable = self.request.method.is_idempotent() && self.body.is_end_stream() && !self.is_websocket;
        let again = is_repeatable.then(|| self.request.clone());
        let sent = app.upstreams.send(speaking, Request::from_parts(self.request, self.body)).await;
        match (sent, again) {
            (Err(error), Some(again)) if was_lost(&error) => {
                app.upstreams.send(speaking, Request::from_parts(again, Body::empty())).await
            }
            (sent, _) => sent,
        }
    }
}

/// 413.
pub(super) fn too_large() -> ApiError {
    let message = "the body is larger than the service behind this door takes";
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", message)
}

/// Waits for an answer so long from when the last of the body went by. `None` if it does not come.
async fn in_time<T>(within: Duration, carried: &Carried, sending: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(sending);
    loop {
        let until = carried.last_moved() + within;
        tokio::select! {
            answer = &mut sending => return Some(answer),
            () = sleep_until(until) => {
                if carried.last_moved() + within <= until {
                    return None;
                }
            }
        }
    }
}

/// Whether it was the caller's body that failed, and not the upstream.
fn is_of_the_body(failure: &legacy::Error) -> bool {
    causes(failure).filter_map(|cause| cause.downcast_ref::<hyper::Error>()).any(hyper::Error::is_user)
}

/// The service's address with the request's path behind it, less what the route cuts off, and the query as it came but for a key
/// in it.
fn upstream_uri(upstream: &Upstream, path: &str, query: Option<&str>, query_key: bool) -> Result<Uri, ApiError> {
    let base: Uri = upstream.url.parse().map_err(|_| ApiError::internal())?;
    let path = upstream.strip_prefix.as_deref().map_or(path, |prefix| path.strip_prefix(prefix).unwrap_or(path));
    let base_path = base.path().trim_end_matches('/');
    let mut target = String::with_capacity(base_path.len() + path.len() + query.map_or(0, |query| query.len() + 1));
    target.push_str(base_path);
    target.push_str(path);
    if target.is_empty() {
        target.push('/');
    }
    let query = query.map(|q| if query_key { carrier::without_query_carriers(q) } else { q.into() });
    if let Some(query) = query.filter(|q| !q.is_empty()) {
        target.push('?');
        target.push_str(&query);
    }
    let mut parts = base.into_parts();
    parts.scheme = parts.scheme.or(Some(Scheme::HTTP));
    let target = PathAndQuery::try_from(target);
    parts.path_and_query = Some(target.map_err(|_| ApiError::bad_request("the path cannot be sent on"))?);
    Uri::from_parts(parts).map_err(|_| ApiError::internal())
}

/// Says whom the request comes from, for which host, and how (RFC 7239, and the names that were usual before). What the caller
/// said of that is not sent on.
fn forwarded(app: &App, request: &mut Parts) {
    const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
    const ASKED: HeaderName = HeaderName::from_static("x-forwarded-host");
    const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
    let address = caller::address(app, &request.headers, &request.extensions);
    let scheme = caller::scheme(app, &request.headers, &request.extensions);
    let headers = &mut request.headers;
    let claimed = headers.keys().filter(|name| name.as_str().starts_with("x-forwarded-")).cloned().collect::<Vec<_>>();
    for name in claimed {
        headers.remove(name);
    }
    let host = headers.get(HOST).cloned().or_else(|| request.uri.authority().and_then(|a| a.as_str().parse().ok()));
    let mut said = Vec::with_capacity(3);
    if let Some(address) = address {
        said.push(if address.is_ipv6() { format!("for=\"[{address}]\"") } else { format!("for={address}") });
        insert(headers, FOR, &address.to_string());
    }
    if let Some(host) = host {
        said.extend(host.to_str().ok().map(|host| format!("host=\"{host}\"")));
        headers.insert(ASKED, host);
    }
    said.push(format!("proto={scheme}"));
    insert(headers, FORWARDED, &said.join(";"));
    headers.insert(PROTO, HeaderValue::from_static(scheme));
}

fn insert(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

/// The service sees its own name as the host.
fn set_host(request: &mut Parts) -> Result<(), ApiError> {
    let host = request.uri.authority().and_then(|a| HeaderValue::from_str(a.as_str()).ok());
    request.headers.insert(HOST, host.ok_or_else(ApiError::internal)?);
    Ok(())
}

/// What the route says that the service is to be sent.
fn own_headers(headers: &mut HeaderMap, upstream: &Upstream) {
    for (name, value) in &upstream.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            headers.insert(name, value);
        }
    }
}
