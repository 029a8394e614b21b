//! The gateway: any path that is not Keyrack's own.
//!
//! A request's path is canonical or refused, its route is found, its caller is decided about, and it is sent on with its
//! credential taken off and the caller's identity put on.

use std::time::Instant;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_LENGTH, CONTENT_SECURITY_POLICY, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Request, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use keyrack_core::decide::Place;
use keyrack_engine::{RouteMatch, Script, Standing, Target, Upstream, Visit};

use super::cors::{self, Shown};
use super::decide::{Asked, Decided, decide, identity};
use super::headers::Identity;
use super::script::{self, Calling, Record, ScriptHost};
use super::secret_headers::SecretHeaders;
use super::sending::{self, Origin, Sending};
use super::tunnel::{self, Handshake};
use super::{carried, headers, limits};
use crate::access::Endpoint;
use crate::app::App;
use crate::caller;
use crate::error::{self, ApiError};
use crate::load::Crowded;
use crate::metrics::Door;
use crate::request_id::{RequestId, X_REQUEST_ID};

/// Content of customers on a host that also serves the console must not act as the console.
const SANDBOX: &str = "sandbox allow-scripts allow-forms";

/// What is known of a request's way, whatever becomes of it then.
#[derive(Default)]
struct Passage {
    /// How limits stand once it was counted.
    counted: Option<Box<Standing>>,
    /// Where it went.
    endpoint: Option<Endpoint>,
    /// Which pages may see the answer, if the route says that.
    shown: Option<Shown>,
}

/// Answers a request to a path that is not Keyrack's own, on this host.
pub async fn handle(app: &App, host: &str, request: Request<Body>) -> Response {
    let id = app.request_id();
    let wants_problem = error::wants_problem(request.headers());
    let from = caller::address(app, request.headers(), request.extensions());
    let mut passage = Passage::default();
    let mut response = match forward(app, host, request, id, &mut passage).await {
        Ok(response) => response,
        Err(refusal) => {
            let mut response = ().into_response();
            error::write(&mut response, &refusal.weighed(app, from), id, wants_problem);
            response
        }
    };
    if let Some(standing) = passage.counted {
        limits::write(response.headers_mut(), &standing);
    }
    if let Some(endpoint) = passage.endpoint {
        response.extensions_mut().insert(endpoint);
    }
    if let Some(shown) = passage.shown {
        shown.write(response.headers_mut());
    }
    response.headers_mut().insert(X_REQUEST_ID, id.header());
    response
}

async fn forward(
    app: &App,
    host: &str,
    request: Request<Body>,
    id: RequestId,
    passage: &mut Passage,
) -> Result<Response, ApiError> {
    let _room = app.load.forward(request.extensions().get::<Crowded>().is_some())?;
    app.engine.require_serving()?;
    let (mut request, body) = request.into_parts();
    let path = request.uri.path().to_owned();
    if let Some(answer) = preflight(app, host, &path, &request, passage) {
        return answer;
    }
    let found = app.engine.find_route(host, &path, request.method.as_str()).ok_or_else(ApiError::not_found)?;
    passage.endpoint = Endpoint::of_route(&found.route.route.path);
    passage.shown = Some(Shown::to(&found.route, &request.headers));
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
    let decided = match decide(app, Door::Gateway, &found.route, &asked).await {
        Ok(decided) => decided,
        Err(refusal) => {
            if matches!(found.route.target, Target::Script(_)) {
                script::rejected(app, &found.route, request.method, id, &refusal);
            }
            return Err(refusal);
        }
    };
    let Decided { mut verdict, visit, session, keeps_authorization } = decided;
    passage.counted = verdict.standing.take();
    let origin = Origin::of(app, &request);
    let handshake = Handshake::of(&mut request);
    let identity = identity(app, &verdict, session.as_ref())?;
    let begun = Instant::now();
    // What it was decided by is not held on to while the target takes its time.
    let answered = match &found.route.target {
        Target::Upstream(upstream) => {
            let secrets = SecretHeaders::of(app, &found.route, upstream, &verdict, id);
            drop(verdict);
            hand_over(&mut request, identity, keeps_authorization, id);
            let let_in = LetIn { request, body, origin, visit, id };
            to_upstream(app, &found, upstream, let_in, handshake, secrets).await
        }
        Target::Script(script) => {
            let calling = Calling::of(&verdict);
            let record = Record::begin(app, &verdict, request.method.clone(), id);
            let host = ScriptHost::of(app, &found.route, &verdict);
            drop(verdict);
            hand_over(&mut request, identity, keeps_authorization, id);
            let let_in = LetIn { request, body, origin, visit, id };
            // On the heap: requests to upstreams need not be as large as these.
            Box::pin(to_script(app, &found, script, let_in, calling, record, host)).await
        }
    };
    let status = answered.as_ref().map_or_else(|refusal| refusal.status, Response::status);
    found.route.meter.note(begun.elapsed(), status.is_server_error());
    answered
}

/// A request that was let in, less what is between its caller and us.
struct LetIn {
    request: Parts,
    body: Body,
    origin: Origin,
    visit: Visit,
    id: RequestId,
}

/// Sends it on to the service behind the route.
async fn to_upstream(
    app: &App,
    found: &RouteMatch<'_>,
    upstream: &Upstream,
    let_in: LetIn,
    handshake: Option<Handshake>,
    secrets: Result<SecretHeaders, ApiError>,
) -> Result<Response, ApiError> {
    let LetIn { request, body, origin, mut visit, id } = let_in;
    let answered = match (secrets, upstream.max_body_bytes) {
        (Err(refusal), _) => Err(refusal),
        (_, Some(most)) if body.size_hint().lower() > most => Err(sending::too_large()),
        (Ok(secrets), most) => {
            let (body, carried) = carried::sent(body, most);
            let sent = carried.clone();
            let is_websocket = handshake.is_some();
            let sending = Sending { origin, request, body, carried, secrets, is_websocket, id };
            sending.send(app, found, upstream).await.map(|answer| (answer, sent))
        }
    };
    visit.answered(match &answered {
        Ok((response, _)) => response.status().as_u16(),
        Err(refusal) => refusal.status.as_u16(),
    });
    let (answer, sent) = answered?;
    let idle = sending::idle(upstream);
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return switched(app, answer, handshake, idle, visit);
    }
    Ok(returned(answer.map(|body| carried::answered(body, idle, visit, sent))))
}

/// Has the script behind the route answer it.
async fn to_script(
    app: &App,
    found: &RouteMatch<'_>,
    script: &Script,
    let_in: LetIn,
    calling: Calling,
    record: Record,
    host: ScriptHost<'_>,
) -> Result<Response, ApiError> {
    let LetIn { request, body, origin, mut visit, id } = let_in;
    let answered = match script::read_body(body).await {
        Ok(body) => {
            let came = body.len();
            let call = calling.call(script, found, request, origin, &body, id);
            let outcome = app.scripts.run(found.route.route.id, call, body, &host).await;
            match outcome {
                Ok((answer, body)) => {
                    record.answered(app, &found.route, &host, answer.status);
                    Ok(((answer, body), came))
                }
                Err(fault) => Err(record.failed(app, &found.route, &host, &fault)),
            }
        }
        Err(refusal) => {
            record.refused(app, &found.route, &refusal);
            Err(refusal)
        }
    };
    visit.answered(match &answered {
        Ok(((answer, _), _)) => answer.status,
        Err(refusal) => refusal.status.as_u16(),
    });
    let ((answer, body), came) = answered?;
    visit.carried(came as u64, body.len() as u64);
    Ok(returned(script::response(&answer, body)))
}

/// Takes off a request what is between its caller and us, and puts on who calls.
fn hand_over(request: &mut Parts, identity: Identity, keeps_authorization: bool, id: RequestId) {
    // In HTTP/2 that is no word about one connection.
    let takes_trailers = request.version == Version::HTTP_2 && headers::takes_trailers(&request.headers);
    headers::remove_hop_by_hop(&mut request.headers);
    if takes_trailers {
        headers::take_trailers(&mut request.headers);
    }
    headers::remove_claims(&mut request.headers, keeps_authorization);
    identity.write(&mut request.headers);
    request.headers.insert(X_REQUEST_ID, id.header());
}

/// Answers a browser that asks, without a key, whether a page may call a route; `None` if it does not ask, or the route leaves the
/// answer to its service.
fn preflight(
    app: &App,
    host: &str,
    path: &str,
    request: &Parts,
    passage: &mut Passage,
) -> Option<Result<Response, ApiError>> {
    let method = cors::asked_about(&request.method, &request.headers)?;
    let route = app.engine.find_route(host, path, method)?.route;
    let cors = route.cors.as_ref()?;
    passage.endpoint = Endpoint::of_route(&route.route.path);
    passage.shown = Some(Shown::to(&route, &request.headers));
    Some(cors::preflight(&route, cors, &request.headers))
}

/// From here on bytes go both ways as they are.
fn switched(
    app: &App,
    mut answer: Response<Incoming>,
    handshake: Option<Handshake>,
    idle: std::time::Duration,
    visit: Visit,
) -> Result<Response, ApiError> {
    let service = answer.extensions_mut().remove::<OnUpgrade>();
    let (Some(handshake), Some(service)) = (handshake, service) else {
        let message = "the service behind this door answered something that was not asked for";
        return Err(ApiError::new(StatusCode::BAD_GATEWAY, "bad_gateway", message));
    };
    handshake.go_on(&app.tunnels, service, idle, visit);
    let mut response = returned(answer.map(|_| Body::empty()));
    response.headers_mut().remove(CONTENT_LENGTH);
    tunnel::announce(response.headers_mut());
    Ok(response)
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
