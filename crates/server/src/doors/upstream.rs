//! Connections to the services behind routes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use http::{Extensions, Request, Response};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::egress::{Connector, Egress};
use crate::settings::ServerSettings;

/// How long a connection is kept that nobody uses: less than most services do, so that they seldom close one that is just being used.
const IDLE: Duration = Duration::from_secs(30);
/// How often a connection of HTTP/2 is asked whether it is still there.
const PING: Duration = Duration::from_secs(20);

type Pool = Client<HttpsConnector<Connector>, Body>;

/// Pooled connections to services, HTTP and HTTPS.
pub struct Upstreams {
    /// HTTP/1.1, or over TLS what is agreed on.
    agreed: Pool,
    /// HTTP/1.1 in any case: a WebSocket begins with it.
    http1: Pool,
    /// HTTP/2 in any case.
    http2: Pool,
}

/// How a service is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Speaking {
    /// HTTP/1.1, or over TLS what is agreed on.
    Agreed,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, also without TLS.
    Http2,
}

impl Upstreams {
    /// Pools that connect as the settings allow.
    pub fn new(settings: &ServerSettings) -> Self {
        let connector = || Connector(Egress::new(settings));
        let tls = || HttpsConnectorBuilder::new().with_webpki_roots().https_or_http();
        let mut client = Client::builder(TokioExecutor::new());
        client.timer(TokioTimer::new()).pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE);
        client.http2_keep_alive_interval(PING);
        // The path and the headers are ours to say: nothing is added or rewritten.
        client.set_host(false);
        Self {
            agreed: client.build(tls().enable_all_versions().wrap_connector(connector())),
            http1: client.build(tls().enable_http1().wrap_connector(connector())),
            http2: client.http2_only(true).build(tls().enable_http2().wrap_connector(connector())),
        }
    }

    /// Sends a request on.
    pub(super) async fn send(&self, speaking: Speaking, request: Request<Body>) -> Result<Response<Incoming>, Error> {
        let pool = match speaking {
            Speaking::Agreed => &self.agreed,
            Speaking::Http1 => &self.http1,
            Speaking::Http2 => &self.http2,
        };
        let mut response = pool.request(request).await?;
        if let Some(used) = response.extensions_mut().remove::<Used>() {
            used.0.store(true, Ordering::Release);
        }
        Ok(response)
    }
}

/// Whether a request was lost with a connection that had been used before and that the service was just closing: it has never seen
/// the request.
pub(super) fn was_lost(error: &Error) -> bool {
    let mut extras = Extensions::new();
    if let Some(connection) = error.connect_info() {
        connection.get_extras(&mut extras);
    }
    let was_used = extras.get::<Used>().is_some_and(|used| used.0.load(Ordering::Acquire));
    was_used && causes(error).any(is_closed)
}

fn is_closed(cause: &(dyn std::error::Error + 'static)) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let of_http = cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message);
    let closed = [BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof];
    of_http || cause.downcast_ref::<io::Error>().is_some_and(|error| closed.contains(&error.kind()))
}

/// What an error comes from, and what that comes from.
pub(super) fn causes<'e>(
    error: &'e (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'e (dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |cause| cause.source())
}

/// Whether something was answered over a connection before.
#[derive(Clone, Default, Debug)]
struct Used(Arc<AtomicBool>);

/// A connection of which is noted whether it has been of use.
pub struct Noted {
    stream: TokioIo<TcpStream>,
    used: Used,
}

impl Noted {
    /// A new one.
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream: TokioIo::new(stream), used: Used::default() }
    }
}

impl Connection for Noted {
    fn connected(&self) -> Connected {
        Connected::new().extra(self.used.clone())
    }
}

impl Read for Noted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Noted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }
}
