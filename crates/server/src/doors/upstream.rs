//! Connections to the services behind routes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use http::{Extensions, Request, Response};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::egress::{Connector, Egress};
use crate::settings::ServerSettings;

/// How long a connection is kept that nobody uses: less than most services do, so that they seldom close one that is just being used.
const IDLE: Duration = Duration::from_secs(30);
/// How often a connection of HTTP/2 is asked whether it is still there.
const PING: Duration = Duration::from_secs(20);

/// How much of all answers over one connection of HTTP/2 may wait to be read: as much as there can be.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;
/// How much of one answer may.
const STREAM_WINDOW: u32 = 256 * 1024;
/// A connection that was closed later than so after it was written to was not just being closed.
const JUST: Duration = Duration::from_secs(1);

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
        // Answers that one caller does not read must not use up what all answers over the connection share.
        client.http2_initial_connection_window_size(CONNECTION_WINDOW).http2_initial_stream_window_size(STREAM_WINDOW);
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
        if let Some(marks) = response.extensions_mut().remove::<Marks>() {
            marks.0.is_used.store(true, Ordering::Release);
        }
        Ok(response)
    }
}

/// Whether a request was lost with a connection that had been used before and that the service was just closing: nothing at all
/// came back, and the end of the connection came at once. The service has hardly seen it.
pub(super) fn was_lost(error: &Error) -> bool {
    let mut extras = Extensions::new();
    if let Some(connection) = error.connect_info() {
        connection.get_extras(&mut extras);
    }
    extras.get::<Marks>().is_some_and(|marks| marks.0.was_just_closing()) && causes(error).any(is_closed)
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

/// What is known of a connection.
#[derive(Clone, Debug)]
struct Marks(Arc<Marked>);

#[derive(Debug)]
struct Marked {
    /// Something was answered over it before.
    is_used: AtomicBool,
    /// Nothing was read since it was written to.
    is_quiet: AtomicBool,
    begun: Instant,
    /// When it was written to, in milliseconds after that.
    written: AtomicU64,
}

impl Marked {
    fn was_just_closing(&self) -> bool {
        let written = self.begun + Duration::from_millis(self.written.load(Ordering::Acquire));
        self.is_used.load(Ordering::Acquire) && self.is_quiet.load(Ordering::Acquire) && written.elapsed() < JUST
    }

    fn note_write(&self) {
        let since = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.written.store(since, Ordering::Release);
        self.is_quiet.store(true, Ordering::Release);
    }
}

/// A connection of which that is noted.
pub struct Noted {
    stream: TcpStream,
    marks: Marks,
}

impl Noted {
    /// A new one.
    pub(super) fn new(stream: TcpStream) -> Self {
        let marked = Marked {
            is_used: AtomicBool::new(false),
            is_quiet: AtomicBool::new(false),
            begun: Instant::now(),
            written: AtomicU64::new(0),
        };
        Self { stream, marks: Marks(Arc::new(marked)) }
    }
}

impl Connection for Noted {
    fn connected(&self) -> Connected {
        Connected::new().extra(self.marks.clone())
    }
}

impl AsyncRead for Noted {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, into);
        if into.filled().len() > before {
            self.marks.0.is_quiet.store(false, Ordering::Release);
        }
        polled
    }
}

impl AsyncWrite for Noted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.marks.0.note_write();
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
        self.marks.0.note_write();
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }
}
