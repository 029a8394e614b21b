//! The listener: connections in, answers out.
//!
//! Reserved paths go to the router, every other path to the gateway; a request that two parsers could read differently goes
//! nowhere.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse as _;
use bytes::Bytes;
use http::{Request, Response, Version};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Sleep, sleep};
use tower::ServiceExt as _;

use crate::app::App;
use crate::caller::Peer;
use crate::doors::gateway;
use crate::error::{self, ApiError};

/// Bodies of requests, whichever way they came.
pub type Body = axum::body::Body;

/// How long the head of a request may take.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long a body may be silent between two parts of it.
const BODY_PART_WITHIN: Duration = Duration::from_secs(20);
/// How long a body that nobody wants is read on.
const LINGER: Duration = Duration::from_secs(10);
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
        if let Err(refusal) = check(&request) {
            let mut response = ().into_response();
            let wants_problem = error::wants_problem(request.headers());
            error::write(&mut response, &refusal, &self.app.request_id(), wants_problem);
            return response;
        }
        if is_reserved(request.uri().path()) {
            let answered: Result<_, Infallible> = self.router.clone().oneshot(request).await;
            return answered.unwrap_or_else(|never| match never {});
        }
        gateway::handle(&self.app, request).await
    }
}

/// Refuses what two parsers could read differently. The gateway looks at the host itself.
fn check(request: &Request<Body>) -> Result<(), ApiError> {
    let path = request.uri().path();
    keyrack_core::path::check(path.as_bytes())
        .map_err(|refusal| ApiError::new(http::StatusCode::BAD_REQUEST, "non_canonical_path", refusal.to_string()))?;
    if !is_reserved(path) {
        return Ok(());
    }
    match gateway::host(request.headers(), request.uri())? {
        // Before 1.1 a request need not name its host.
        None if request.version() > Version::HTTP_10 => Err(gateway::one_host()),
        _ => Ok(()),
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
        let begun = Arc::new(Notify::new());
        let begins = begun.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            begins.notify_one();
            let front = front.clone();
            async move {
                let mut request = request.map(|body| Body::new(Arriving { body: Some(body), silence: None }));
                request.extensions_mut().insert(Peer(Some(peer.ip())));
                Ok::<_, Infallible>(front.answer(request).await)
            }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            tokio::pin!(connection);
            tokio::select! {
                _ = &mut connection => {}
                // Whatever ends a connection is the caller's matter; requests have been answered or not.
                () = begun.notified() => drop(connection.await),
                // Until it is known which HTTP is spoken, nobody else looks at the time.
                () = sleep(HEAD_WITHIN) => {}
            }
            drop(slot);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_WITHIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests were not finished in time");
    }
}

/// The body of a request. It fails when nothing more of it arrives, so that who sends half of one does not keep us waiting.
/// When it is dropped before its end, the rest is read and thrown away: a client that is still sending when the connection
/// closes never reads why it was refused.
struct Arriving {
    /// `None` once all of it is here.
    body: Option<Incoming>,
    silence: Option<Pin<Box<Sleep>>>,
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if let Some(mut rest) = self.body.take().filter(|body| !body.is_end_stream()) {
            tokio::spawn(tokio::time::timeout(LINGER, async move { while let Some(Ok(_)) = rest.frame().await {} }));
        }
    }
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
            self.silence = None;
            if !matches!(frame, Some(Ok(_))) {
                self.body = None;
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let silence = self.silence.get_or_insert_with(|| Box::pin(sleep(BODY_PART_WITHIN)));
        ready!(silence.as_mut().poll(context));
        self.body = None;
        Poll::Ready(Some(Err("the body goes on too slowly".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.as_ref().map_or_else(|| http_body::SizeHint::with_exact(0), Incoming::size_hint)
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
            sleep(Duration::from_millis(50)).await;
            None
        }
    }
}
