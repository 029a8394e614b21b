//! Envoy's `ext_authz` over gRPC: one answer takes the credential off, puts the identity on and tells the caller of its limits.

mod answers;
mod messages;
mod wire;

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::to_bytes;
use axum::response::IntoResponse as _;
use futures_util::{StreamExt as _, future};
use http::header::{AUTHORIZATION, COOKIE, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use keyrack_core::carrier;
use tokio::net::{TcpListener, TcpStream};
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_prost::ProstCodec;

use self::answers::{Changes, allowed, denied};
use self::messages::{CheckRequest, CheckResponse, HttpRequest};
use self::wire::{From, Wire};
use super::forward_auth::{self, Allowed};
use super::{headers, limits};
use crate::app::App;
use crate::caller::{self, Peer};
use crate::error::{self, ApiError};
use crate::request_id::{RequestId, X_REQUEST_ID};
use crate::tls::Tls;

const X_API_KEY: &str = "x-api-key";
/// The largest question: Envoy sends all headers of a request, and nothing of its body.
const MAX_QUESTION: usize = 256 * 1024;
/// How many connections may be on the way to speaking TLS.
const GREETED_AT_ONCE: usize = 256;
/// How often a connection is asked whether it is still there.
const PING: Duration = Duration::from_secs(20);
/// How long questions that were asked may take once the server is to stop.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);
/// In what Envoy's configuration says beside: the slug of an organization, and the name or id of its route that decides.
const ORGANIZATION: &str = "keyrack.organization";
const ROUTE: &str = "keyrack.route";

/// Serves until `stop`. With `tls` nothing is understood but that; its files are followed where it serves HTTP.
pub async fn serve(listener: TcpListener, app: App, tls: Option<Tls>, stop: impl Future<Output = ()> + Send + 'static) {
    let answering = app.clone();
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<Authorization>().await;
    let (stopping, stopped) = tokio::sync::oneshot::channel();
    let stop = async move {
        stop.await;
        reporter.set_not_serving::<Authorization>().await;
        let _ = stopping.send(());
    };
    // Whoever is no trusted proxy is not even listened to.
    let trusted = move |stream: &io::Result<TcpStream>| {
        let peer = stream.as_ref().ok().and_then(|stream| stream.peer_addr().ok());
        future::ready(peer.is_none_or(|peer| caller::is_trusted(&app, peer.ip())))
    };
    let tls = tls.as_ref().map(Tls::acceptor);
    let greeted = move |stream: io::Result<TcpStream>| {
        let tls = tls.clone();
        async move { Wire::greeted(stream?, tls).await }
    };
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true)).filter(trusted);
    let incoming = incoming.map(greeted).buffer_unordered(GREETED_AT_ONCE);
    let services = Server::builder().http2_keepalive_interval(Some(PING)).add_service(health);
    let serving = services.add_service(Authorization(answering)).serve_with_incoming_shutdown(incoming, stop);
    let drained = async {
        let _ = stopped.await;
        tokio::time::sleep(DRAIN_WITHIN).await;
    };
    tokio::select! {
        ended = serving => {
            if let Err(error) = ended {
                tracing::error!(%error, "questions of Envoy over gRPC cannot be answered");
            }
        }
        // Envoy keeps its connections open for as long as it lives.
        () = drained => {}
    }
}

/// `envoy.service.auth.v3.Authorization`.
#[derive(Clone)]
struct Authorization(App);

impl NamedService for Authorization {
    const NAME: &'static str = "envoy.service.auth.v3.Authorization";
}

impl tower::Service<Request<Body>> for Authorization {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let app = self.0.clone();
        Box::pin(async move {
            if request.uri().path() != "/envoy.service.auth.v3.Authorization/Check" {
                return Ok(tonic::Status::unimplemented("").into_http());
            }
            let codec = ProstCodec::<CheckResponse, CheckRequest>::default();
            let mut grpc = Grpc::new(codec).max_decoding_message_size(MAX_QUESTION);
            Ok(grpc.unary(Check(app), request).await)
        })
    }
}

/// The one method.
struct Check(App);

impl UnaryService<CheckRequest> for Check {
    type Response = CheckResponse;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<CheckResponse>, tonic::Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<CheckRequest>) -> Self::Future {
        let app = self.0.clone();
        Box::pin(async move {
            let peer = request.extensions().get::<From>().and_then(|from| from.0);
            let mut extensions = http::Extensions::new();
            extensions.insert(Peer(peer.map(|peer| peer.ip())));
            if !caller::is_from_trusted_proxy(&app, &extensions) {
                return Err(tonic::Status::permission_denied("not a trusted proxy"));
            }
            Ok(tonic::Response::new(check(&app, request.into_inner()).await))
        })
    }
}

async fn check(app: &App, question: CheckRequest) -> CheckResponse {
    let id = app.request_id();
    let asked = Question::read(question);
    let wants_problem = asked.as_ref().is_ok_and(|asked| error::wants_problem(&asked.request.headers));
    let from =
        asked.as_ref().ok().and_then(|asked| caller::address(app, &asked.request.headers, &asked.request.extensions));
    let answer = match &asked {
        Ok(asked) => match forward_auth::ask_envoy(app, &asked.request, &asked.target, asked.named()).await {
            Ok(allowed) => changes(asked, allowed, id),
            Err(refusal) => Err(refusal),
        },
        Err(refusal) => Err(refusal.clone()),
    };
    match answer {
        Ok(changes) => allowed(changes),
        Err(refusal) => {
            let refusal = refusal.weighed(app, from);
            let mut response = ().into_response();
            error::write(&mut response, &refusal, id, wants_problem);
            let (parts, body) = response.into_parts();
            let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
            denied(parts.status, &parts.headers, String::from_utf8_lossy(&body).into_owned())
        }
    }
}

/// The request that Envoy asks about.
struct Question {
    request: Parts,
    /// Its path and query.
    target: String,
    organization: Option<String>,
    route: Option<String>,
}

impl Question {
    fn read(question: CheckRequest) -> Result<Self, ApiError> {
        let untold = || ApiError::bad_request("Envoy has to say what it asks about");
        let mut attributes = question.attributes.ok_or_else(untold)?;
        let http = attributes.request.and_then(|request| request.http).ok_or_else(untold)?;
        let address = attributes.source.and_then(|source| source.address?.socket_address);
        let (mut request, ()) = Request::new(()).into_parts();
        request.method = Method::from_bytes(http.method.as_bytes()).map_err(|_| untold())?;
        request.headers = headers_of(&http).ok_or_else(untold)?;
        request.extensions.insert(Peer(address.and_then(|address| address.address.parse().ok())));
        let mut said = |name| attributes.context_extensions.remove(name);
        let (organization, route) = (said(ORGANIZATION), said(ROUTE));
        if organization.is_some() != route.is_some() {
            return Err(ApiError::bad_request(format!("{ORGANIZATION} and {ROUTE} are said together")));
        }
        Ok(Self { request, target: http.path, organization, route })
    }

    fn named(&self) -> Option<(&str, &str)> {
        self.organization.as_deref().zip(self.route.as_deref())
    }

    fn query(&self) -> Option<&str> {
        self.target.split_once('?').map(|(_, query)| query)
    }
}

fn headers_of(http: &HttpRequest) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    let joined = http.headers.iter().map(|(name, value)| (name, value.as_bytes()));
    let single = http.header_map.iter().flat_map(|map| &map.headers).map(|header| {
        let value = if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value };
        (&header.key, value)
    });
    for (name, value) in joined.chain(single).filter(|(name, _)| !name.starts_with(':')) {
        headers.append(HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_bytes(value).ok()?);
    }
    headers.insert(HOST, HeaderValue::from_str(&http.host).ok()?);
    Some(headers)
}

/// What becomes of a request that was let in: the credential and all that claims an identity are taken off, ours is put on.
fn changes(asked: &Question, allowed: Allowed, id: RequestId) -> Result<Changes, ApiError> {
    let Allowed { identity, standing, keeps_authorization, query_key } = allowed;
    let before = &asked.request.headers;
    let mut after = before.clone();
    headers::remove_claims(&mut after, keeps_authorization);
    let removed = before.keys().filter(|name| !after.contains_key(*name)).map(ToString::to_string).collect();
    let mut changes = Changes { removed, ..Changes::default() };
    match after.remove(COOKIE) {
        Some(cookies) if str::from_utf8(cookies.as_bytes()).is_ok() => {
            changes.headers.insert(COOKIE, cookies);
        }
        Some(_) => changes.removed.push(COOKIE.to_string()),
        None => {}
    }
    identity.write(&mut changes.headers);
    changes.headers.insert(X_REQUEST_ID, id.header());
    // Envoy may have been told not to show us everything that it sends on.
    changes.removed.extend([X_API_KEY.to_owned()]);
    if !keeps_authorization {
        changes.removed.push(AUTHORIZATION.to_string());
    }
    // What is set must not be removed too.
    changes.removed.retain(|name| !changes.headers.contains_key(name.as_str()));
    if let Some(standing) = &standing {
        limits::write(&mut changes.answered, standing);
    }
    changes.answered.insert(X_REQUEST_ID, id.header());
    if let Some(query) = asked.query().filter(|_| query_key) {
        let names = carrier::query_carrier_names(query);
        let message = "a key in the query stands under a name that is written plainly";
        changes.removed_from_query = names.ok_or_else(|| ApiError::bad_request(message))?;
    }
    Ok(changes)
}
