//! Who calls the management API: the check in front of every endpoint, and what handlers learn of the caller.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderValue, Method};
use keyrack_core::address::canonical;
use keyrack_core::carrier;
use keyrack_core::decide::Place;
use keyrack_core::{Decision, Guard, OrganizationId, Reason, Scope, UserId};
use keyrack_engine::{Actor, Call, Charge, Context, Engine, KnownKey, Person, Presented};
use uuid::Uuid;

use crate::access::Endpoint;
use crate::app::App;
use crate::cookie::SESSION;
use crate::doors::headers::is_websocket;
use crate::error::ApiError;
use crate::load::{Crowded, Lane};
use crate::metrics::{Door, decided};
use crate::needs::Needs;
use crate::request_id::RequestId;

/// The header in which a person of several organizations names one.
const ORGANIZATION: &str = "keyrack-organization";

/// The address a connection comes from, put into each request by the listener.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub Option<IpAddr>);

/// The connection of a request is encrypted, as the listener says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Secure;

/// A request that is made by the host's own command line, in process: it needs no credential. Only code in this process can
/// put it into a request.
#[derive(Clone, Debug)]
pub struct HostRequest {
    /// The organization it is about.
    pub organization: OrganizationId,
    /// The person in whose name it is made, if the host says so.
    pub user: Option<UserId>,
}

/// The caller of an endpoint, for its handler.
#[derive(Clone)]
pub(crate) struct Caller {
    /// Who asks, for which organization.
    pub context: Context,
    /// The key, if it is one.
    pub key: Option<Arc<KnownKey>>,
    /// The person, if it is one.
    pub person: Option<Person>,
}

impl Caller {
    /// The person, for what is theirs alone.
    pub(crate) fn person(&self) -> Result<&Person, ApiError> {
        self.person.as_ref().ok_or_else(|| ApiError::denied(Reason::KeyNotAccepted))
    }

    /// Whether they may do this too, for the organization as a whole.
    pub(crate) fn may(&self, scope: &Scope) -> bool {
        if self.context.actor.workspace().is_some() {
            return false;
        }
        match (&self.key, &self.person) {
            (Some(key), _) => {
                let facts = key.facts();
                facts.scopes.grants(scope) && facts.narrowed_to.is_none_or(|narrower| narrower.grants(scope))
            }
            (None, Some(person)) => person.role.is_some_and(|role| role.scopes().grants(scope)),
            (None, None) => matches!(self.context.actor, Actor::Host { .. }),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // Taken out and not copied: a handler asks for it once.
        parts.extensions.remove::<Self>().ok_or_else(ApiError::unauthorized)
    }
}

/// What stands in front of an endpoint.
#[derive(Clone)]
pub(crate) struct Entry {
    app: App,
    path: Arc<str>,
    guard: Option<Arc<Guard>>,
    needs: Needs,
    lane: Lane,
}

impl Entry {
    /// In front of an endpoint with these needs, at a path as the document writes it.
    pub(crate) fn new(app: App, path: &str, needs: Needs, lane: Lane) -> Self {
        Self { app, path: path.into(), guard: needs.guard().map(Arc::new), needs, lane }
    }
}

/// Lets in whom the endpoint's guard lets in, if there is room for the request.
pub(crate) async fn enter(State(entry): State<Entry>, request: Request, next: Next) -> Response {
    let Entry { app, path, guard, needs, lane } = entry;
    let (mut parts, body) = request.into_parts();
    let is_crowded = parts.extensions.get::<Crowded>().is_some();
    let _room = match app.load.enter(lane, is_crowded).await {
        Ok(room) => room,
        Err(error) => return error.into_response(),
    };
    let endpoint = Endpoint::own(&path);
    let refusal = match guard {
        None => None,
        Some(guard) => match admitted(&app, (&path, needs), &guard, &parts).await {
            Ok(caller) => {
                parts.extensions.insert(caller);
                None
            }
            Err(error) => Some(error),
        },
    };
    let mut response = match refusal {
        None => next.run(Request::from_parts(parts, body)).await,
        Some(error) => error.into_response(),
    };
    if let Some(endpoint) = endpoint {
        response.extensions_mut().insert(endpoint);
    }
    response
}

/// Who calls, if the endpoint is for them.
async fn admitted(app: &App, (path, needs): (&str, Needs), guard: &Guard, request: &Parts) -> Result<Caller, ApiError> {
    let caller = caller(app, (path, needs), guard, request).await?;
    satisfied(caller, needs)
}

/// The caller, if what the endpoint asks beside the guard holds of them too.
fn satisfied(caller: Caller, needs: Needs) -> Result<Caller, ApiError> {
    if !needs.takes_tokens() && caller.key.as_ref().is_some_and(|key| key.is_token()) {
        let message = "a token changes nothing; use the key itself";
        return Err(ApiError::new(http::StatusCode::FORBIDDEN, "token_not_accepted", message));
    }
    if needs == Needs::Instance {
        Engine::only_instance_admin(&caller.context)?;
    }
    if needs.is_for_whole_organization() && caller.context.actor.workspace().is_some() {
        let message = "a key bound to a workspace cannot do this";
        return Err(ApiError::new(http::StatusCode::FORBIDDEN, "insufficient_scope", message));
    }
    Ok(caller)
}

async fn caller(app: &App, (path, needs): (&str, Needs), guard: &Guard, request: &Parts) -> Result<Caller, ApiError> {
    let request_id = request.extensions.get::<RequestId>().map(|id| id.0);
    let context =
        |actor, organization| Context { actor, organization, required: needs.scope(), request_id, idempotency: None };
    if let Some(host) = request.extensions.get::<HostRequest>() {
        return Ok(Caller {
            context: context(Actor::Host { user: host.user }, host.organization),
            key: None,
            person: None,
        });
    }
    app.engine.require_serving()?;
    let session = if guard.sessions { session(app, &request.headers, &request.method).await? } else { None };
    decided_about(app, (path, needs), guard, (request, session)).await
}

/// The person behind a page, if it is for them.
pub(crate) async fn visitor(
    app: &App,
    (path, needs): (&str, Needs),
    guard: &Guard,
    (request, person): (&Parts, Person),
) -> Result<Caller, ApiError> {
    satisfied(decided_about(app, (path, needs), guard, (request, Some(person))).await?, needs)
}

async fn decided_about(
    app: &App,
    (path, needs): (&str, Needs),
    guard: &Guard,
    (request, session): (&Parts, Option<Person>),
) -> Result<Caller, ApiError> {
    let request_id = request.extensions.get::<RequestId>().map(|id| id.0);
    let context =
        |actor, organization| Context { actor, organization, required: needs.scope(), request_id, idempotency: None };
    let headers = &request.headers;
    if let Some(person) = &session
        && person.role.is_none()
        && needs.takes_strangers()
    {
        // These do not depend on an organization; what does, asks for a membership itself.
        let context = context(actor_of(person), person.organization);
        return Ok(Caller { context, key: None, person: session });
    }
    if let Some(unmet) = session.as_ref().and_then(|person| person.unmet) {
        return Err(ApiError::unmet(unmet));
    }
    if session.as_ref().is_some_and(|person| person.organization.0.is_nil()) {
        let message = "you belong to several organizations; name one by its id in the header Keyrack-Organization";
        return Err(ApiError::bad_request(message));
    }
    let presented = Presented {
        credential: credential(headers, None),
        session,
        method: request.method.as_str(),
        address: address(app, headers, &request.extensions),
        place: Place::Anywhere,
        charge: Charge::Nothing,
        call: Call { endpoint: path, user_agent: user_agent(headers), door: None },
    };
    let verdict = app.engine.verify(guard, &presented).await?;
    decided(Door::Api, verdict.reason());
    match verdict.decision {
        Decision::Deny(reason) => Err(ApiError::denied(reason)),
        Decision::Grant(_) => match (verdict.into_key(), presented.session) {
            (Some(key), _) => {
                let facts = key.facts();
                let actor = Actor::Key {
                    id: facts.key,
                    name: key.record.name.to_string(),
                    organization: facts.organization,
                    workspace: facts.workspace,
                    is_instance_admin: facts.in_access_group
                        && facts.workspace.is_none()
                        && facts.scopes.grants(&keyrack_engine::instance_scope())
                        && facts.narrowed_to.is_none_or(|scopes| scopes.grants(&keyrack_engine::instance_scope())),
                };
                Ok(Caller { context: context(actor, facts.organization), key: Some(Arc::new(key)), person: None })
            }
            (None, Some(person)) => {
                let context = context(actor_of(&person), person.organization);
                Ok(Caller { context, key: None, person: Some(person) })
            }
            (None, None) => Err(ApiError::denied(Reason::Missing)),
        },
    }
}

fn actor_of(person: &Person) -> Actor {
    Actor::User {
        id: person.user,
        name: person.email.clone(),
        session: person.session,
        is_instance_admin: person.is_instance_admin,
        role: person.role,
    }
}

/// The credential of a request.
pub(crate) fn credential<'r>(headers: &'r HeaderMap, query: Option<&'r str>) -> carrier::Carried<'r> {
    let values = |name: &str| headers.get_all(name).iter().map(http::HeaderValue::as_bytes);
    carrier::find(values("x-api-key"), values("authorization"), query)
}

/// What a client calls itself.
pub(crate) fn user_agent(headers: &HeaderMap) -> Option<&str> {
    headers.get(http::header::USER_AGENT)?.to_str().ok()
}

/// The address a request counts as coming from.
pub(crate) fn address(app: &App, headers: &HeaderMap, extensions: &Extensions) -> Option<IpAddr> {
    let peer = extensions.get::<Peer>()?.0?;
    let forwarded = headers.get_all("x-forwarded-for").iter().filter_map(|v| v.to_str().ok());
    let hops: Vec<&str> = forwarded.flat_map(|value| value.split(',')).collect();
    Some(keyrack_core::address::client(peer, &hops, &app.settings.trusted_proxies))
}

/// Whether a request comes from a proxy that the configuration trusts.
pub(crate) fn is_from_trusted_proxy(app: &App, extensions: &Extensions) -> bool {
    extensions.get::<Peer>().and_then(|peer| peer.0).is_some_and(|peer| is_trusted(app, peer))
}

/// Whether an address is that of a proxy which the configuration trusts.
pub(crate) fn is_trusted(app: &App, peer: IpAddr) -> bool {
    let peer = canonical(peer);
    app.settings.trusted_proxies.iter().any(|net| net.contains(&peer))
}

/// How the request came to us, or to the trusted proxy before us.
pub(crate) fn scheme(app: &App, headers: &HeaderMap, extensions: &Extensions) -> &'static str {
    let said = headers.get("x-forwarded-proto").filter(|_| is_from_trusted_proxy(app, extensions));
    match said.map(HeaderValue::as_bytes) {
        Some(b"https") => "https",
        Some(b"http") => "http",
        _ if extensions.get::<Secure>().is_some() => "https",
        _ => "http",
    }
}

/// The live session of a request. A dead cookie counts as none. A request that changes something must not come from another
/// site's page.
pub(crate) async fn session(app: &App, headers: &HeaderMap, method: &Method) -> Result<Option<Person>, ApiError> {
    session_in(app, headers, method, headers.get(ORGANIZATION).map(|value| value.to_str().unwrap_or_default())).await
}

/// The same, seen in the organization of this slug or id.
pub(crate) async fn session_in(
    app: &App,
    headers: &HeaderMap,
    method: &Method,
    named: Option<&str>,
) -> Result<Option<Person>, ApiError> {
    let Some(cookie) = cookie(headers) else { return Ok(None) };
    let known = named.and_then(|name| app.engine.directory().resolve(name));
    // A name of nothing counts as an organization that is not theirs, so that nobody learns which there are.
    let organization = named.map(|_| known.map_or(OrganizationId(Uuid::max()), |tenant| tenant.organization.id));
    // Kept apart, as is all that waits: it would make every request larger.
    let Some(person) = Box::pin(app.engine.person(&cookie, organization)).await? else { return Ok(None) };
    // A WebSocket changes things too, and nothing hides from another site's page what comes back over it.
    if !method.is_safe() || is_websocket(headers) {
        require_same_origin(headers)?;
    }
    Ok(Some(person))
}

/// Refuses what another site's page sends.
pub(crate) fn require_same_origin(headers: &HeaderMap) -> Result<(), ApiError> {
    if is_same_origin(headers) {
        return Ok(());
    }
    let message = "a request with a session must come from this site's own pages";
    Err(ApiError::new(http::StatusCode::FORBIDDEN, "cross_site", message))
}

/// The value of the session cookie.
pub(crate) fn cookie(headers: &HeaderMap) -> Option<String> {
    cookie_named(headers, SESSION)
}

/// The value of one of our cookies.
pub(crate) fn cookie_named(headers: &HeaderMap, name: &str) -> Option<String> {
    let cookies = headers.get_all(http::header::COOKIE).iter().filter_map(|v| v.to_str().ok());
    carrier::cookie(cookies, name).map(str::to_owned)
}

/// Browsers say where a request comes from; what says nothing is no browser, and has no cookie but by its owner's will.
fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let same_site = text("sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"));
    let same_origin = text("origin").is_none_or(|origin| {
        let host = origin.split_once("://").map(|(_, host)| host);
        host.is_some() && host == text("host")
    });
    same_site && same_origin
}
