//! The listener: connections in, answers out.
//!
//! Reserved paths go to the router, every other path to the gateway; a path that is not canonical goes nowhere.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse as _;
use http::{Request, Response};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

use crate::app::App;
use crate::caller::Peer;
use crate::doors::gateway;
use crate::error::{self, ApiError};

/// Bodies of requests, whichever way they came.
pub type Body = axum::body::Body;

/// How long the head of a request may take.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long requests in flight may take once the server is to stop.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);
/// The most connections at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 20_000;
/// The largest head of a request.
const MAX_HEAD: usize = 32 * 1024;

/// What answers requests: the router for Keyrack's own paths, the gateway for the rest.
#[derive(Clone)]
pub struct Front {
    app: App,
    router: Router,
}

impl Front {
    /// A front over a router that has its state.
    pub fn new(app: App, router: Router) -> Self {
        Self { app, router }
    }

    /// Answers one request.
    pub async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path();
        if let Err(refusal) = keyrack_core::path::check(path.as_bytes()) {
            let refusal = ApiError::new(http::StatusCode::BAD_REQUEST, "non_canonical_path", refusal.to_string());
            let mut response = ().into_response();
            let wants_problem = error::wants_problem(request.headers());
            error::write(&mut response, &refusal, &self.app.request_id(), wants_problem);
            return response;
        }
        if is_reserved(path) {
            let answered: Result<_, Infallible> = self.router.clone().oneshot(request).await;
            return answered.unwrap_or_else(|never| match never {});
        }
        gateway::handle(&self.app, request).await
    }
}

/// Whether a path is Keyrack's own. `/o/{slug}/...` leads to an organization's routes.
fn is_reserved(path: &str) -> bool {
    let first = path[1..].split('/').next().unwrap_or_default();
    let own = keyrack_engine::routes::RESERVED.iter().any(|reserved| *reserved == first && first != "o");
    own || path.starts_with("/.well-known/keyrack")
}

/// Serves until `stop`, then lets requests in flight finish.
pub async fn serve(listener: TcpListener, front: Front, stop: impl Future<Output = ()>) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(20))
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .max_concurrent_streams(256);
    let builder = Arc::new(builder);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let Some((stream, peer, slot)) = accepted else { continue };
        let front = front.clone();
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let front = front.clone();
            async move {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(Peer(Some(peer.ip())));
                Ok::<_, Infallible>(front.answer(request).await)
            }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // Whatever ends a connection is the caller's matter; requests have been answered or not.
            let _ = connection.await;
            drop(slot);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_WITHIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests were not finished in time");
    }
}

/// Serves one text at one path, for those who watch over the server. Anything else is 404.
pub async fn serve_text(
    listener: TcpListener,
    path: &'static str,
    text: impl Fn() -> String + Clone + Send + Sync + 'static,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let router = Router::new().route(path, axum::routing::get(async move || text()));
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop).await {
        tracing::error!(%error, path, "cannot serve");
    }
}

type Accepted = (tokio::net::TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> Option<Accepted> {
    let slot = slots.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            let _ = stream.set_nodelay(true);
            Some((stream, peer, slot))
        }
        Err(error) => {
            // Out of file descriptors, most likely: wait for some to come free instead of spinning.
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}
