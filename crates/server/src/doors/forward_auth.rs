//! `/forward-auth` and `/extauthz`: a proxy asks whether it may let a request through, and sends it on itself.
//!
//! Only proxies that the configuration trusts are answered; to everybody else there is nothing here. What they ask about stands in
//! headers of the one family that the profile in the path names, or, for Envoy, in the request itself. Nothing of the question
//! is ever read from a query that the caller of the proxy could have written, nor from a body.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body::Body as _;
use keyrack_core::decide::Place;
use keyrack_core::path::percent_decode;
use keyrack_engine::{LiveRoute, RouteMatch, Standing};

use super::cors;
use super::decide::{Asked, Decided, decide, identity};
use super::headers::Identity;
use super::host::{host, host_name, one_host};
use super::limits;
use crate::access::Endpoint;
use crate::app::App;
use crate::caller;
use crate::error::{self, ApiError};
use crate::load::{Crowded, Lane};
use crate::metrics::Door;
use crate::request_id::{RequestId, X_REQUEST_ID};

/// The first segment of the paths that proxies ask at.
const FORWARD_AUTH: &str = "/forward-auth/";
/// What Envoy puts before the path that it asks about.
const EXT_AUTHZ: &str = "/extauthz";
/// What names a route in the path, and is followed by its organization's slug and its name or id.
const NAMED: &str = "guard/";

/// Headers in which a proxy says what it asks about.
struct Family {
    uri: HeaderName,
    method: HeaderName,
    host: HeaderName,
}

static X_FORWARDED: Family = Family {
    uri: HeaderName::from_static("x-forwarded-uri"),
    method: HeaderName::from_static("x-forwarded-method"),
    host: HeaderName::from_static("x-forwarded-host"),
};
static X_ORIGINAL: Family = Family {
    uri: HeaderName::from_static("x-original-uri"),
    method: HeaderName::from_static("x-original-method"),
    host: HeaderName::from_static("x-original-host"),
};

/// The proxies, by what they send and what they make of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Profile {
    Nginx,
    Caddy,
    Traefik,
    Haproxy,
    Apisix,
    Envoy,
}

impl Profile {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "nginx" => Self::Nginx,
            "caddy" => Self::Caddy,
            "traefik" => Self::Traefik,
            "haproxy" => Self::Haproxy,
            "apisix" => Self::Apisix,
            _ => return None,
        })
    }

    fn door(self) -> Door {
        if self == Self::Envoy { Door::ExtAuthz } else { Door::ForwardAuth }
    }

    /// The headers it speaks in; `None` if it sends the request as it is.
    fn family(self) -> Option<&'static Family> {
        match self {
            Self::Nginx | Self::Haproxy => Some(&X_ORIGINAL),
            Self::Caddy | Self::Traefik | Self::Apisix => Some(&X_FORWARDED),
            Self::Envoy => None,
        }
    }

    /// The status it is told. nginx makes 500 of whatever is neither 2xx, 401 nor 403, so it is told 403 where nothing would
    /// change if it asked again; of 429 and 503 its configuration makes what they are.
    fn status(self, status: StatusCode) -> StatusCode {
        let is_known = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS);
        if self == Self::Nginx && status.is_client_error() && !is_known { StatusCode::FORBIDDEN } else { status }
    }
}

/// What a proxy asks.
struct Question<'r> {
    profile: Profile,
    /// The slug of an organization and the name or id of its route, if the path names one.
    named: Option<(&'r str, Cow<'r, str>)>,
    /// The request target, where it stands in the path.
    target: Option<&'r str>,
}

/// Whether a path is one of those that proxies ask at.
pub(crate) fn is_asked(path: &str) -> bool {
    path.starts_with(FORWARD_AUTH)
        || path.strip_prefix(EXT_AUTHZ).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Answers a proxy.
pub(crate) async fn handle(app: &App, request: Request<Body>) -> Response {
    let id = app.request_id();
    // Nobody reads it: what a proxy announces may never come, and what comes instead may be its next question.
    let (request, body) = request.into_parts();
    let has_body = !body.is_end_stream();
    drop(body);
    let wants_problem = error::wants_problem(&request.headers);
    let (mut profile, mut endpoint) = (None, None);
    let mut response = match answer(app, &request, &mut profile, &mut endpoint).await {
        Ok(allowed) => allowed.into_response(),
        Err(refusal) => refused(app, &request, refusal, profile, id, wants_problem),
    };
    if let Some(endpoint) = endpoint {
        response.extensions_mut().insert(endpoint);
    }
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_REQUEST_ID, id.header());
    if has_body {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// What a proxy is told of a request that it may let through. The body is empty: nginx and Caddy throw a connection away that
/// brings one.
pub(super) struct Allowed {
    pub(super) identity: Identity,
    pub(super) standing: Option<Box<Standing>>,
    /// The `Authorization` is between the caller and the target.
    pub(super) keeps_authorization: bool,
    /// A key may stand in the query.
    pub(super) query_key: bool,
}

impl Allowed {
    /// What needs no key and tells of nobody.
    fn unasked(query_key: bool) -> Self {
        Self { identity: Identity::default(), standing: None, keeps_authorization: false, query_key }
    }

    fn into_response(self) -> Response {
        let mut response = StatusCode::OK.into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, 0.into());
        self.identity.write(headers);
        if let Some(standing) = &self.standing {
            limits::write(headers, standing);
        }
        response
    }
}

/// No answer but a grant tells who it is about: some proxies show their callers all that a refusal bears.
fn refused(
    app: &App,
    request: &Parts,
    refusal: ApiError,
    profile: Option<Profile>,
    id: RequestId,
    wants_problem: bool,
) -> Response {
    let from = profile.and_then(|_| caller::address(app, &request.headers, &request.extensions));
    let refusal = refusal.weighed(app, from);
    let mut response = ().into_response();
    error::write(&mut response, &refusal, id, wants_problem);
    if let Some(profile) = profile {
        *response.status_mut() = profile.status(refusal.status);
    }
    if profile == Some(Profile::Nginx) {
        // It shows nobody the body, and would have to throw the connection away.
        response.headers_mut().insert(CONTENT_LENGTH, 0.into());
        *response.body_mut() = Body::empty();
    }
    response
}

async fn answer(
    app: &App,
    request: &Parts,
    profile: &mut Option<Profile>,
    endpoint: &mut Option<Endpoint>,
) -> Result<Allowed, ApiError> {
    let question =
        Some(request).filter(|request| caller::is_from_trusted_proxy(app, &request.extensions)).and_then(question);
    let question = question.ok_or_else(ApiError::not_found)?;
    *profile = Some(question.profile);
    ask(app, &question, request, endpoint).await
}

/// Decides about what Envoy asks over gRPC: a request with this target, or, if its configuration names one, by this route of this
/// organization. The peer is trusted.
pub(super) async fn ask_envoy(
    app: &App,
    request: &Parts,
    target: &str,
    named: Option<(&str, &str)>,
) -> Result<Allowed, ApiError> {
    let named = named.map(|(organization, route)| (organization, Cow::Borrowed(route)));
    ask(app, &Question { profile: Profile::Envoy, named, target: Some(target) }, request, &mut None).await
}

async fn ask(
    app: &App,
    question: &Question<'_>,
    request: &Parts,
    endpoint: &mut Option<Endpoint>,
) -> Result<Allowed, ApiError> {
    let is_crowded = request.extensions.get::<Crowded>().is_some();
    let _room = app.load.enter(Lane::Memory, is_crowded).await?;
    app.engine.require_serving()?;
    let original = Original::read(question, request)?;
    if let Some(route) = original.preflighted(app, question, &request.headers)? {
        *endpoint = Endpoint::of_route(&route.route.path);
        return Ok(Allowed::unasked(route.guard.query_key));
    }
    let (route, place) = original.route(app, question)?;
    *endpoint = Endpoint::of_route(&route.route.path);
    let asked = Asked {
        method: &original.method,
        query: original.query,
        headers: &request.headers,
        extensions: &request.extensions,
        place,
    };
    let decided = decide(app, question.profile.door(), &route, &asked).await?;
    let Decided { mut verdict, mut visit, session, keeps_authorization } = decided;
    visit.answered(StatusCode::OK.as_u16());
    let identity = identity(app, &verdict, session.as_ref())?;
    let query_key = route.guard.query_key;
    Ok(Allowed { identity, standing: verdict.standing.take(), keeps_authorization, query_key })
}

fn question(request: &Parts) -> Option<Question<'_>> {
    let path = request.uri.path();
    if let Some(rest) = path.strip_prefix(FORWARD_AUTH) {
        let (name, rest) = rest.split_once('/').unwrap_or((rest, ""));
        let profile = Profile::named(name)?;
        // What stands behind the profile and names no route is a slip, and no question.
        let named = if rest.is_empty() { None } else { Some(named(rest)?) };
        return Some(Question { profile, named, target: None });
    }
    let target = request.uri.path_and_query()?.as_str().strip_prefix(EXT_AUTHZ)?;
    Some(Question { profile: Profile::Envoy, named: None, target: Some(target) })
}

/// The organization and the route that a path names.
fn named(path: &str) -> Option<(&str, Cow<'_, str>)> {
    let (organization, route) = path.strip_prefix(NAMED)?.split_once('/')?;
    let route = match percent_decode(route).filter(|_| !route.contains('/'))? {
        Cow::Borrowed(_) => Cow::Borrowed(route),
        Cow::Owned(decoded) => Cow::Owned(String::from_utf8(decoded).ok()?),
    };
    Some((organization, route))
}

/// The request that is asked about.
struct Original<'r> {
    method: Method,
    host: Option<String>,
    path: Option<&'r str>,
    query: Option<&'r str>,
}

impl<'r> Original<'r> {
    fn read(question: &Question<'r>, request: &'r Parts) -> Result<Self, ApiError> {
        let headers = &request.headers;
        let Some(family) = question.profile.family() else {
            let named = host(headers, &request.uri)?;
            let (path, query) = split(question.target.unwrap_or_default())?;
            let host = named.as_ref().map(host_name).transpose()?;
            return Ok(Self { method: request.method.clone(), host, path: Some(path), query });
        };
        let method = only(headers, &family.method)?.map(|method| Method::from_bytes(method.as_bytes()));
        let method = method.transpose().map_err(|_| untold(&family.method))?;
        let target = only(headers, &family.uri)?.map(split).transpose()?;
        let host = only(headers, &family.host)?.map(|host| {
            let host: http::uri::Authority = host.parse().map_err(|_| untold(&family.host))?;
            host_name(&host)
        });
        let method = method.ok_or_else(|| untold(&family.method))?;
        let (path, query) = target.map_or((None, None), |(path, query)| (Some(path), query));
        Ok(Self { method, host: host.transpose()?, path, query })
    }

    /// The route that a browser asks about without a key, if its pages may call it: the service answers that. `None` if it is no such
    /// question, or the route says nothing of pages.
    fn preflighted(
        &self,
        app: &App,
        question: &Question<'_>,
        headers: &HeaderMap,
    ) -> Result<Option<Arc<LiveRoute>>, ApiError> {
        let Some(method) = cors::asked_about(&self.method, headers) else { return Ok(None) };
        let route = match (&question.named, self.host.as_deref(), self.path) {
            (Some((organization, route)), ..) => app.engine.find_named_route(organization, route, method),
            (None, Some(host), Some(path)) => app.engine.find_route(host, path, method).map(|found| found.route),
            _ => None,
        };
        let Some(route) = route else { return Ok(None) };
        let Some(cors) = &route.cors else { return Ok(None) };
        cors::preflight(&route, cors, headers)?;
        Ok(Some(route))
    }

    /// The route that decides about it, and where it is.
    fn route(&self, app: &App, question: &Question<'_>) -> Result<(Arc<LiveRoute>, Place), ApiError> {
        let directory = app.engine.directory();
        let family = question.profile.family();
        if let Some((organization, route)) = &question.named {
            let route = app.engine.find_named_route(organization, route, self.method.as_str());
            let route = route.ok_or_else(ApiError::not_found)?;
            let place = route.place_if_matched(self.path, directory).unwrap_or(Place::Elsewhere);
            return Ok((route, place));
        }
        let missing = |name: Option<&HeaderName>| name.map_or_else(one_host, untold);
        let host = self.host.as_deref().ok_or_else(|| missing(family.map(|family| &family.host)))?;
        let path = self.path.ok_or_else(|| missing(family.map(|family| &family.uri)))?;
        let found = app.engine.find_route(host, path, self.method.as_str()).ok_or_else(ApiError::not_found)?;
        let RouteMatch { route, path } = found;
        let place = route.place(path, directory).unwrap_or(Place::Elsewhere);
        Ok((route, place))
    }
}

/// The one value of a header; `None` if it is not there. Of two, one may be the caller's.
fn only<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Result<Option<&'r str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| untold(name)),
        (Some(_), Some(_)) => Err(ApiError::bad_request(format!("{name} is there twice"))),
    }
}

fn untold(name: &HeaderName) -> ApiError {
    ApiError::bad_request(format!("the proxy has to say in {name} what it asks about"))
}

/// The path and the query of a request target. A path that its target might read otherwise is refused and never mended.
fn split(target: &str) -> Result<(&str, Option<&str>), ApiError> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    keyrack_core::path::check(path.as_bytes()).map_err(ApiError::non_canonical)?;
    Ok((path, query))
}
