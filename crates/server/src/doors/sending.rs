//! A request that was let in, on its way to the service behind the route.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_LENGTH, FORWARDED, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{Extensions, HeaderMap, Request, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use keyrack_core::carrier;
use keyrack_engine::{RouteMatch, Upstream};
use tokio::time::{Instant, sleep_until};

use super::carried::{Carried, Failure};
use super::headers::{remove_alike, set};
use super::secret_headers::SecretHeaders;
use super::tunnel;
use super::upstream::{Speaking, was_lost};
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

/// Where a request came from, as far as we know it.
pub(super) struct Origin {
    address: Option<IpAddr>,
    scheme: &'static str,
    /// The host it is for.
    host: Option<HeaderValue>,
}

impl Origin {
    /// Scheme and host, as its caller wrote the beginning of its address.
    pub(super) fn base(&self) -> String {
        let host = self.host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or("localhost");
        format!("{}://{host}", self.scheme)
    }

    /// Read before anything of the request is taken off: `Connection` can name any header.
    pub(super) fn of(app: &App, request: &Parts) -> Self {
        let (headers, extensions) = (&request.headers, &request.extensions);
        let authority = || request.uri.authority().and_then(|authority| authority.as_str().parse().ok());
        Self {
            address: caller::address(app, headers, extensions),
            scheme: caller::scheme(app, headers, extensions),
            host: headers.get(HOST).cloned().or_else(authority),
        }
    }
}

/// What a service is to answer.
pub(super) struct Sending {
    pub(super) origin: Origin,
    /// With everything on it that the service is told of its caller.
    pub(super) request: Parts,
    pub(super) body: Body,
    /// What has come by of the body.
    pub(super) carried: Arc<Carried>,
    /// What its headers tell the service that is secret.
    pub(super) secrets: SecretHeaders,
    /// It is to become a WebSocket.
    pub(super) is_websocket: bool,
    pub(super) id: RequestId,
}

impl Sending {
    /// Sends it on to the service of the route, and waits for the beginning of its answer.
    pub(super) async fn send(
        self,
        app: &App,
        found: &RouteMatch<'_>,
        upstream: &Upstream,
    ) -> Result<Response<Incoming>, ApiError> {
        let (id, carried) = (self.id, Arc::clone(&self.carried));
        let within = upstream.timeout_seconds.map_or(ANSWER_WITHIN, |seconds| Duration::from_secs(seconds.into()));
        let route = found.route.route.id;
        // On the heap: with what is sent, and sent again, it would be moved about with all that waits for it.
        let sending = Box::pin(sent(app, self.made_ready(found, upstream)?));
        match in_time(within, &carried, sending).await {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(_)) if carried.failure() == Some(Failure::TooLarge) => Err(too_large()),
            Some(Err(_)) if carried.failure() == Some(Failure::BrokeOff) => {
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

    /// The request as the service is to see it, and how it is spoken to.
    fn made_ready(self, found: &RouteMatch<'_>, upstream: &Upstream) -> Result<(Speaking, Request<Body>), ApiError> {
        let Self { origin, mut request, body, secrets, is_websocket, .. } = self;
        request.uri = upstream_uri(upstream, found.path, request.uri.query(), found.route.guard.query_key)?;
        forwarded(&mut request.headers, origin);
        request.version = Version::HTTP_11;
        set_host(&mut request)?;
        // What we know of the connection it came over is not for whoever sends it on.
        request.extensions = Extensions::new();
        own_headers(&mut request.headers, upstream);
        secrets.write(&mut request.headers);
        let has_length = request.headers.contains_key(CONTENT_LENGTH);
        if !body.is_end_stream() && !has_length && !upstream.http2 {
            // Of GET and its like a body would not be expected.
            request.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        if is_websocket {
            tunnel::announce(&mut request.headers);
        }
        let speaking = match upstream.http2 {
            _ if is_websocket => Speaking::Http1,
            true => Speaking::Http2,
            false => Speaking::Agreed,
        };
        Ok((speaking, Request::from_parts(request, body)))
    }
}

/// A service may close a connection at the moment at which it is used again. Such a request is sent a second time, if it may
/// be (RFC 9110 section 9.2.2) and has no body.
async fn sent(app: &App, (speaking, request): (Speaking, Request<Body>)) -> Result<Response<Incoming>, legacy::Error> {
    let is_repeatable =
        request.method().is_idempotent() && request.body().is_end_stream() && !request.headers().contains_key(UPGRADE);
    let again = is_repeatable.then(|| repeated(&request));
    let sent = app.upstreams.send(speaking, request).await;
    match (sent, again) {
        (Err(error), Some(again)) if was_lost(&error) => app.upstreams.send(speaking, again).await,
        (sent, _) => sent,
    }
}

/// The same request, without a body.
fn repeated(request: &Request<Body>) -> Request<Body> {
    let mut again = Request::new(Body::empty());
    again.method_mut().clone_from(request.method());
    again.uri_mut().clone_from(request.uri());
    again.headers_mut().clone_from(request.headers());
    again
}

/// 413.
pub(super) fn too_large() -> ApiError {
    let message = "the body is larger than the service behind this door takes";
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", message)
}

/// Waits for an answer so long from when the last of the body went by, and not while more of it is waited for. `None` if it does not
/// come.
async fn in_time<T>(within: Duration, carried: &Carried, mut sending: impl Future<Output = T> + Unpin) -> Option<T> {
    let mut until = Instant::now() + within;
    loop {
        tokio::select! {
            answer = &mut sending => return Some(answer),
            () = sleep_until(until) => {
                let since = if carried.is_awaited() { Instant::now() } else { carried.last_moved() };
                if since + within <= until {
                    return None;
                }
                until = since + within;
            }
        }
    }
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
pub(super) fn forwarded(headers: &mut HeaderMap, origin: Origin) {
    const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
    const ASKED: HeaderName = HeaderName::from_static("x-forwarded-host");
    const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
    let Origin { address, scheme, host } = origin;
    remove_alike(headers, |name| {
        name.starts_with("x-forwarded-") || matches!(name, "forwarded" | "x-real-ip" | "true-client-ip")
    });
    let mut said = String::with_capacity(64);
    if let Some(address) = address {
        let address = address.to_string();
        said.push_str(if address.contains(':') { "for=\"[" } else { "for=" });
        said.push_str(&address);
        said.push_str(if address.contains(':') { "]\";" } else { ";" });
        set(headers, FOR, &address);
    }
    if let Some(host) = host {
        for part in host.to_str().ok().into_iter().flat_map(|host| ["host=\"", host, "\";"]) {
            said.push_str(part);
        }
        headers.insert(ASKED, host);
    }
    said.push_str("proto=");
    said.push_str(scheme);
    set(headers, FORWARDED, &said);
    headers.insert(PROTO, HeaderValue::from_static(scheme));
}

/// The service sees its own name as the host.
fn set_host(request: &mut Parts) -> Result<(), ApiError> {
    let host = request.uri.authority().and_then(|a| HeaderValue::from_str(a.as_str()).ok());
    request.headers.insert(HOST, host.ok_or_else(ApiError::internal)?);
    Ok(())
}

/// What the route says that the service is to be sent.
fn own_headers(headers: &mut HeaderMap, upstream: &Upstream) {
    if upstream.headers.is_empty() {
        return;
    }
    remove_alike(headers, |name| name != "host" && upstream.headers.contains_key(name));
    for (name, value) in &upstream.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            headers.insert(name, value);
        }
    }
}
