//! The listener: connections in, answers out.
//!
//! Reserved paths are answered here, every other path goes to the gateway; a request that two parsers could read differently goes
//! nowhere.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::response::IntoResponse as _;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue};
use http::{HeaderMap, Request, Response, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;

use crate::access::Access;
use crate::app::App;
use crate::arriving::Arriving;
use crate::caller::{Peer, Secure};
use crate::console;
use crate::doors::tunnel::Slot;
use crate::doors::{forward_auth, gateway, host};
use crate::error::{self, ApiError};
use crate::load::Crowded;
use crate::metrics;
use crate::own::OwnPaths;
use crate::tls::Tls;
use crate::unheard::{Silent, Unheard};

/// Bodies of requests, whichever way they came.
pub type Body = axum::body::Body;

/// How long the head of a request may take.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long a client may read nothing of its answer.
const READ_WITHIN: Duration = Duration::from_mins(1);
/// How long those who have just come have to say what they want, once the server is to stop.
const SAY_WITHIN: Duration = Duration::from_millis(50);
/// How long requests in flight may take once the server is to stop.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);
/// How long it may take until what went through open WebSockets has been noted.
const CUT_WITHIN: Duration = Duration::from_secs(1);
/// Over one connection in so many only what is vital is answered, so that there is always room for that.
const KEPT_FREE: usize = 20;
/// Below one in so many free connections, those make room over which nothing was asked yet,
const SCARCE: usize = 4;
/// if they are more than one in so many of all.
const SILENT_AT_MOST: usize = 8;
/// The largest head of a request.
const MAX_HEAD: usize = 32 * 1024;

/// What answers requests: Keyrack itself on its own paths, the gateway on the rest.
#[derive(Clone)]
pub struct Front {
    app: App,
    own: OwnPaths,
}

impl Front {
    /// A front with everything behind it.
    pub fn new(app: App) -> Self {
        Self { own: OwnPaths::new(app.clone()), app }
    }

    /// Answers one request. Once the server is about to stop, and where connections are few, it asks the client to come back
    /// on another one.
    pub async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let has_connection_header = request.version() <= Version::HTTP_11;
        let is_crowded = request.extensions().get::<Crowded>().is_some();
        let access = Access::begin(answered_by(request.uri().path()), request.method());
        let mut response = self.answer_as_ever(request).await;
        access.end(&mut response);
        if has_connection_header && (is_crowded || self.app.is_leaving()) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn answer_as_ever(&self, request: Request<Body>) -> Response<Body> {
        match way(&self.app, &request) {
            Ok(Way::Own) => self.own.answer(request).await,
            Ok(Way::Asked) => forward_auth::handle(&self.app, request).await,
            Ok(Way::Through(host)) => gateway::handle(&self.app, &host, request).await,
            Err(refusal) => {
                let mut response = ().into_response();
                let wants_problem = error::wants_problem(request.headers());
                error::write(&mut response, &refusal, self.app.request_id(), wants_problem);
                if request.version() <= Version::HTTP_11 {
                    // Whoever sent it may mean something else by what comes behind it, too.
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                response
            }
        }
    }
}

/// Who answers a request.
enum Way {
    /// Keyrack itself.
    Own,
    /// The same, about a request that a proxy has.
    Asked,
    /// The service behind a route of this host.
    Through(String),
}

/// Refuses what two parsers could read differently.
fn way(app: &App, request: &Request<Body>) -> Result<Way, ApiError> {
    let path = request.uri().path();
    keyrack_core::path::check(path.as_bytes()).map_err(ApiError::non_canonical)?;
    if !has_one_length(request.headers()) {
        return Err(ApiError::bad_request("a request says its length once, in digits"));
    }
    let is_asked = forward_auth::is_asked(path);
    let host = host::host(request.headers(), request.uri())?;
    if let Some(own) = &app.settings.console_host {
        // Pages stand there and nowhere else, and nothing that is not ours stands beside them.
        let is_there = host.as_ref().is_some_and(|host| host::host_name(host).is_ok_and(|name| name == *own));
        if if is_there { !is_reserved(path) } else { console::is_page(path) } {
            return Err(ApiError::not_found());
        }
    }
    match host {
        Some(host) if !is_asked && !is_reserved(path) => Ok(Way::Through(host::host_name(&host)?)),
        // Before 1.1 a request need not name its host.
        None if request.version() > Version::HTTP_10 || !is_reserved(path) => Err(host::one_host()),
        _ => Ok(if is_asked { Way::Asked } else { Way::Own }),
    }
}

/// Whether a request says one length or none (RFC 9110, 8.6). HTTP/2 tells by itself where a body ends, and passes on whatever
/// the header says: to a service in HTTP/1.1 that is the length.
fn has_one_length(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let is_number = |value: &HeaderValue| !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_digit);
    lengths.next().is_none_or(is_number) && lengths.next().is_none()
}

fn answered_by(path: &str) -> metrics::Front {
    match path {
        "/api/verify" | "/api/verify/batch" | "/api/introspect" => metrics::Front::Verify,
        path if forward_auth::is_asked(path) => metrics::Front::ForwardAuth,
        path if path.starts_with('/') && is_reserved(path) => metrics::Front::Own,
        _ => metrics::Front::Gateway,
    }
}

/// Whether a path is Keyrack's own. `/o/{slug}/...` leads to an organization's routes.
fn is_reserved(path: &str) -> bool {
    let first = path[1..].split('/').next().unwrap_or_default();
    let own = keyrack_engine::routes::RESERVED.iter().any(|reserved| *reserved == first && first != "o");
    own || path.starts_with("/.well-known/keyrack")
}

/// Serves until `stop`, then lets requests in flight finish. With `tls` nothing is understood but that.
pub async fn serve(listener: TcpListener, front: Front, tls: Option<Tls>, stop: impl Future<Output = ()>) {
    let following = tls.clone().map(|tls| tokio::spawn(tls.follow()));
    serve_connections(listener, Connections::new(front, tls.as_ref()), stop).await;
    if let Some(following) = following {
        following.abort();
    }
}

async fn serve_connections(listener: TcpListener, connections: Connections, stop: impl Future<Output = ()>) {
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = connections.accept(&listener) => {
                if let Some((stream, peer, slot)) = accepted {
                    connections.take(stream, peer, slot);
                }
            }
        }
    }
    connections.close(listener).await;
}

/// The connections that are open.
struct Connections {
    front: Front,
    tls: Option<TlsAcceptor>,
    builder: Arc<Builder<TokioExecutor>>,
    /// Those that are free; whoever comes when there is none waits to be accepted.
    slots: Arc<Semaphore>,
    unheard: Unheard,
    graceful: GracefulShutdown,
}

impl Connections {
    fn new(front: Front, tls: Option<&Tls>) -> Self {
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_buf_size(MAX_HEAD);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(20))
            .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
            .max_concurrent_streams(256);
        let slots = Arc::new(Semaphore::new(front.app.settings.max_connections));
        let tls = tls.map(Tls::acceptor);
        let (unheard, graceful) = (Unheard::default(), GracefulShutdown::new());
        Self { front, tls, builder: Arc::new(builder), slots, unheard, graceful }
    }

    /// Waits for somebody to come, once there is room for them.
    async fn accept(&self, listener: &TcpListener) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let slot = self.slots.clone().acquire_owned().await.ok()?;
        match listener.accept().await {
            Ok((stream, peer)) => Some((stream, peer, slot)),
            Err(error) => {
                // Out of file descriptors, most likely: wait for some to come free instead of spinning.
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(Duration::from_millis(50)).await;
                None
            }
        }
    }

    /// Answers what comes over a connection.
    fn take(&self, stream: TcpStream, peer: SocketAddr, slot: OwnedSemaphorePermit) {
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(READ_WITHIN));
        let stream = Box::pin(stream);
        let (free, most) = (self.slots.available_permits(), self.front.app.settings.max_connections);
        if free < most / SCARCE {
            self.unheard.send_one_away(most / SILENT_AT_MOST);
        }
        let caller = Caller {
            front: self.front.clone(),
            builder: Arc::clone(&self.builder),
            watcher: self.graceful.watcher(),
            peer,
            slot: Slot(Arc::new(slot)),
            silent: self.unheard.enter(),
            is_crowded: free < most / KEPT_FREE,
        };
        match self.tls.clone() {
            None => tokio::spawn(caller.answer(stream, false)),
            Some(tls) => tokio::spawn(async move {
                // Who does not get through it is nobody yet.
                let greeted = tokio::select! {
                    greeted = timeout(HEAD_WITHIN, tls.accept(stream)) => greeted,
                    () = caller.silent.is_sent_away() => return,
                };
                if let Ok(Ok(stream)) = greeted {
                    caller.answer(stream, true).await;
                }
            }),
        };
    }

    /// Takes those who have come already, nobody else, and lets all of them finish.
    async fn close(self, listener: TcpListener) {
        if let Ok(listener) = listener.into_std() {
            // The kernel has let them in; with the listener it would throw them out unheard.
            while let Ok((stream, peer)) = listener.accept() {
                let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
                if let (Ok(stream), Ok(slot)) = (stream, self.slots.clone().try_acquire_owned()) {
                    self.take(stream, peer, slot);
                }
            }
        }
        sleep(SAY_WITHIN).await;
        if timeout(DRAIN_WITHIN, self.graceful.shutdown()).await.is_err() {
            tracing::warn!("some requests were not finished in time");
        }
        // One whose handshake its caller does not take up has nothing to tell.
        let _ = timeout(CUT_WITHIN, self.front.app.tunnels.end()).await;
    }
}

/// Whoever is at the other end of a connection.
struct Caller {
    front: Front,
    builder: Arc<Builder<TokioExecutor>>,
    watcher: Watcher,
    peer: SocketAddr,
    slot: Slot,
    silent: Silent,
    is_crowded: bool,
}

impl Caller {
    async fn answer(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, is_secure: bool) {
        let Self { front, builder, watcher, peer, slot, silent, is_crowded } = self;
        let begun = Arc::new(Notify::new());
        let begins = begun.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            begins.notify_one();
            let (front, slot) = (front.clone(), slot.clone());
            async move {
                // A body that a proxy announces to who asks for none is never read, and nothing that comes in its place.
                let is_asked = forward_auth::is_asked(request.uri().path());
                let mut request = request.map(|body| match body {
                    body if body.is_end_stream() => Body::empty(),
                    body if is_asked => Body::new(body),
                    body => Body::new(Arriving::new(body)),
                });
                let extensions = request.extensions_mut();
                extensions.insert(Peer(Some(peer.ip())));
                extensions.insert(slot);
                if is_secure {
                    extensions.insert(Secure);
                }
                if is_crowded {
                    extensions.insert(Crowded);
                }
                Ok::<_, Infallible>(front.answer(request).await)
            }
        });
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        let connection = watcher.watch(connection);
        tokio::pin!(connection);
        tokio::select! {
            // In this order: what has begun is not cut off by being sent away at the same moment.
            biased;
            _ = &mut connection => {}
            // Whatever ends a connection is the caller's matter; requests have been answered or not.
            () = begun.notified() => {
                drop(silent);
                drop(connection.await);
            }
            () = silent.is_sent_away() => {}
            // Until it is known which HTTP is spoken, nobody else looks at the time.
            () = sleep(HEAD_WITHIN) => {}
        }
    }
}

/// Serves one text at one path, for those who watch over the server. Anything else is 404.
pub async fn serve_text(
    listener: TcpListener,
    path: &'static str,
    text: impl Fn() -> String + Clone + Send + Sync + 'static,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let router = axum::Router::new().route(path, axum::routing::get(async move || text()));
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop).await {
        tracing::error!(%error, path, "cannot serve");
    }
}
