//! How a request gets to the server.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// The largest answer that is read.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// Turns a request into a response: over HTTP, or by calling a server in the same process.
pub trait Transport: Send + Sync {
    /// Sends a request whose URI is a path and query.
    fn send(&self, request: Request<Bytes>) -> impl Future<Output = Result<Response<Bytes>, TransportError>> + Send;
}

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The server's address is none.
    #[error("{0} is not the address of a server; it looks like https://keys.example.com")]
    Address(String),
    /// The server could not be reached, or hung up.
    #[error("cannot reach {0}")]
    Unreachable(String, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer took longer than a minute.
    #[error("{0} does not answer")]
    Silent(String),
}

/// How long a connection is kept for another request. The server closes it after ten seconds, and who sends one at that moment
/// gets no answer.
const IDLE: Duration = Duration::from_secs(5);

/// HTTP, with TLS for `https` addresses.
pub struct HttpTransport {
    base: String,
    client: HyperClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl HttpTransport {
    /// A transport to the server at this address.
    pub fn new(base: &str) -> Result<Self, TransportError> {
        let base = base.trim_end_matches('/').to_owned();
        let uri: Result<Uri, _> = base.parse();
        let is_server = uri.is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.path() == "/" && uri.query().is_none()
        });
        if !is_server {
            return Err(TransportError::Address(base));
        }
        let connector = hyper_rustls::HttpsConnectorBuilder::new();
        let connector = connector.with_webpki_roots().https_or_http().enable_http1().build();
        let mut client = HyperClient::builder(TokioExecutor::new());
        client.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE);
        Ok(Self { base, client: client.build(connector) })
    }
}

impl Transport for HttpTransport {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, TransportError> {
        let unreachable =
            |e: Box<dyn std::error::Error + Send + Sync>| TransportError::Unreachable(self.base.clone(), e);
        let (mut parts, body) = request.into_parts();
        parts.uri = format!("{}{}", self.base, parts.uri).parse().map_err(|e| unreachable(Box::new(e)))?;
        let exchange = async {
            let request = Request::from_parts(parts, Full::new(body));
            let response = self.client.request(request).await.map_err(|e| unreachable(Box::new(e)))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(unreachable)?;
            Ok(Response::from_parts(parts, body.to_bytes()))
        };
        tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| TransportError::Silent(self.base.clone()))?
    }
}
