//! The gateway: any path that is not Keyrack's own.
//!
//! A request's path is canonical or refused, its route is found, its caller is decided about, and it is sent on with its
//! credential taken off and the caller's identity put on.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_SECURITY_POLICY, HOST, HeaderValue};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Request, StatusCode, Uri, Version};
use keyrack_core::carrier;
use keyrack_core::decide::Place;
use keyrack_engine::{RouteMatch, Standing, Target};

use super::decide::{Asked, Decided, decide, identity};
use super::{carried, headers, limits};
use crate::access::Endpoint;
use crate::app::App;
use crate::caller;
use crate::error::{self, ApiError};
use crate::load::Crowded;
use crate::metrics::Door;
use crate::request_id::{RequestId, X_REQUEST_ID};
use axum::body::Body;

/// How long a service may take to begin its answer.
const ANSWER_WITHIN: Duration = Duration::from_mins(1);
/// Content of customers on a host that also serves the console must not act as the console.
const SANDBOX: &str = "sandbox allow-scripts allow-forms";

/// Answers a request to a path that is not Keyrack's own.
pub async fn handle(app: &App, request: Request<Body>) -> Response {
    let id = app.request_id();
    let wants_problem = error::wants_problem(request.headers());
    let from = caller::address(app, request.headers(), request.extensions());
    let (mut counted, mut endpoint) = (None, None);
    let mut response = match forward(app, request, id, &mut counted, &mut endpoint).await {
        Ok(response) => response,
        Err(refusal) => {
            let mut response = ().into_response();
            error::write(&mut response, &refusal.weighed(app, from), id, wants_problem);
            response
        }
    };
    if let Some(standing) = counted {
        limits::write(response.headers_mut(), &standing);
    }
    if let Some(endpoint) = endpoint {
        response.extensions_mut().insert(endpoint);
    }
    response.headers_mut().insert(X_REQUEST_ID, id.header());
    response
}

/// Leaves in `counted` how limits stand once the request was counted, whatever becomes of it then, and in `endpoint` where it went.
async fn forward(
    app: &App,
    request: Request<Body>,
    id: RequestId,
    counted: &mut Option<Box<Standing>>,
    endpoint: &mut Option<Endpoint>,
) -> Result<Response, ApiError> {
    let _room = app.load.forward(request.extensions().get::<Crowded>().is_some())?;
    app.engine.require_serving()?;
    let (mut request, body) = request.into_parts();
    let host = host_name(&host(&request.headers, &request.uri)?.ok_or_else(one_host)?)?;
    let path = request.uri.path().to_owned();
    let found = app.engine.find_route(&host, &path, request.method.as_str()).ok_or_else(ApiError::not_found)?;
    *endpoint = Endpoint::of_route(&found.route.route.path);
    if request.headers.get("service-worker").is_some() {
        return Err(ApiError::new(StatusCode::FORBIDDEN, "service_worker", "service workers are not served here"));
    }
    let asked = Asked {
        method: &request.method,
        query: request.uri.query(),
        headers: &request.headers,
        extensions: &request.extensions,
        place: found.route.place(found.path, app.engine.directory()).unwrap_or(Place::Elsewhere),
    };
    let decided = decide(app, Door::Gateway, &found.route, &asked).await?;
    let Decided { mut verdict, mut visit, session, keeps_authorization } = decided;
    *counted = verdict.standing.take();
    headers::remove_hop_by_hop(&mut request.headers);
    headers::remove_claims(&mut request.headers, keeps_authorization);
    let identity = identity(app, &verdict, session.as_ref())?;
    // What it was decided by is not held on to while the upstream takes its time.
    drop(verdict);
    identity.write(&mut request.headers);
    request.headers.insert(X_REQUEST_ID, id.header());
    let (body, bytes_in) = carried::counted(body);
    let answered = send_on(app, &found, request, body, id).await;
    visit.answered(match &answered {
        Ok(response) => response.status().as_u16(),
        Err(refusal) => refusal.status.as_u16(),
    });
    Ok(answered?.map(|body| carried::noted(body, visit, bytes_in)))
}

/// Sends a request that was let in on to the route's upstream.
async fn send_on(
    app: &App,
    found: &RouteMatch<'_>,
    mut request: Parts,
    body: Body,
    id: RequestId,
) -> Result<Response, ApiError> {
    let Target::Upstream { url } = &found.route.target;
    request.uri = upstream_uri(url, found.path, request.uri.query(), found.route.guard.query_key)?;
    request.version = Version::HTTP_11;
    set_host(&mut request)?;
    let sent = tokio::time::timeout(ANSWER_WITHIN, app.upstreams.send(Request::from_parts(request, body)));
    match sent.await {
        Ok(Ok(answer)) => Ok(returned(answer.map(Body::new))),
        Ok(Err(failure)) if is_of_the_body(&failure) => Err(ApiError::bad_request("the body did not arrive whole")),
        Ok(Err(failure)) => {
            tracing::warn!(request = %id.0, route = %found.route.route.id, error = ?failure, "the upstream did not answer");
            Err(ApiError::new(StatusCode::BAD_GATEWAY, "bad_gateway", "the service behind this door did not answer"))
        }
        Err(_) => {
            tracing::warn!(request = %id.0, route = %found.route.route.id, "the upstream took too long");
            Err(ApiError::new(
                StatusCode::GATEWAY_TIMEOUT,
                "gateway_timeout",
                "the service behind this door took too long",
            ))
        }
    }
}

/// Whether it was the caller's body that failed, and not the upstream.
fn is_of_the_body(failure: &dyn std::error::Error) -> bool {
    let causes = std::iter::successors(failure.source(), |cause| cause.source());
    causes.filter_map(|cause| cause.downcast_ref::<hyper::Error>()).any(hyper::Error::is_user)
}

/// The host a request is for, if it names one. Two of them, or one that is none, is a request that two parsers could read
/// differently.
pub(crate) fn host(headers: &HeaderMap, uri: &Uri) -> Result<Option<Authority>, ApiError> {
    let mut values = headers.get_all(HOST).iter();
    let (first, second) = (values.next(), values.next());
    let header = first.map(|value| Authority::try_from(value.as_bytes())).transpose().map_err(|_| one_host())?;
    // An absolute address has a host of its own: the same one.
    let differs = header.as_ref().zip(uri.authority()).is_some_and(|(header, address)| header != address);
    let host = header.or_else(|| uri.authority().cloned());
    if second.is_some() || differs || host.as_ref().is_some_and(|host| host.as_str().contains('@')) {
        return Err(one_host());
    }
    Ok(host)
}

/// The name by which routes of a host are found. With a dot at its end it is the same host to whoever resolves it; what is
/// two names to somebody is refused.
pub(crate) fn host_name(host: &Authority) -> Result<String, ApiError> {
    if host.as_str().contains(['@', ',']) {
        return Err(one_host());
    }
    let name = host.host();
    Ok(name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase())
}

/// 400 for a request that names two hosts, or none.
pub(crate) fn one_host() -> ApiError {
    ApiError::bad_request("a request names one host")
}

/// The upstream's address with the request's path behind it, and the query as it came but for a key in it.
fn upstream_uri(base: &str, path: &str, query: Option<&str>, query_key: bool) -> Result<Uri, ApiError> {
    let base: Uri = base.parse().map_err(|_| ApiError::internal())?;
    let mut target = format!("{}{path}", base.path().trim_end_matches('/'));
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

/// The upstream sees its own name as the host, and the one that was asked for beside it.
fn set_host(request: &mut Parts) -> Result<(), ApiError> {
    let peer = request.extensions.get::<caller::Peer>().and_then(|peer| peer.0);
    let host = request.uri.authority().and_then(|a| HeaderValue::from_str(a.as_str()).ok());
    let headers = &mut request.headers;
    for name in ["x-forwarded-host", "x-forwarded-for", "x-forwarded-proto", "forwarded"] {
        headers.remove(name);
    }
    if let Some(asked) = headers.insert(HOST, host.ok_or_else(ApiError::internal)?) {
        headers.insert("x-forwarded-host", asked);
    }
    if let Some(value) = peer.and_then(|ip| HeaderValue::from_str(&ip.to_string()).ok()) {
        headers.insert("x-forwarded-for", value);
    }
    Ok(())
}

fn returned(mut response: Response) -> Response {
    headers::remove_hop_by_hop(response.headers_mut());
    headers::remove_our_set_cookies(response.headers_mut());
    shield(response.headers_mut());
    response
}

fn shield(headers: &mut HeaderMap) {
    headers.append(CONTENT_SECURITY_POLICY, HeaderValue::from_static(SANDBOX));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
}
