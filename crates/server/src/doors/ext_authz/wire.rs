//! Connections of Envoy, in the clear or over TLS.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tonic::transport::server::Connected;

/// How long it may take until TLS is spoken.
const GREETED_WITHIN: Duration = Duration::from_secs(10);

/// A connection over which questions come.
pub(super) struct Wire {
    stream: Pin<Box<dyn Stream>>,
    peer: Option<SocketAddr>,
}

trait Stream: AsyncRead + AsyncWrite + Send {}
impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

/// Whose questions come over a connection.
#[derive(Clone, Copy)]
pub(super) struct From(pub(super) Option<SocketAddr>);

impl Wire {
    /// One that has just come: with `tls` nothing is understood but that.
    pub(super) async fn greeted(stream: TcpStream, tls: Option<TlsAcceptor>) -> io::Result<Self> {
        let peer = stream.peer_addr().ok();
        let stream: Pin<Box<dyn Stream>> = match tls {
            Some(tls) => Box::pin(timeout(GREETED_WITHIN, tls.accept(stream)).await??),
            None => Box::pin(stream),
        };
        Ok(Self { stream, peer })
    }
}

impl Connected for Wire {
    type ConnectInfo = From;

    fn connect_info(&self) -> From {
        From(self.peer)
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_read(context, into)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(context)
    }
}
