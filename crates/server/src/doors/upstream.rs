//! Connections to the services behind routes.

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::egress::{Connector, Egress};
use crate::settings::ServerSettings;
use axum::body::Body;

/// Pooled connections to upstreams, HTTP and HTTPS.
pub struct Upstreams(Client<HttpsConnector<Connector>, Body>);

impl Upstreams {
    /// A pool that connects as the settings allow.
    pub fn new(settings: &ServerSettings) -> Self {
        let connector = hyper_rustls::HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1();
        let connector = connector.wrap_connector(Connector(Egress::new(settings)));
        let mut client = Client::builder(TokioExecutor::new());
        client.pool_timer(TokioTimer::new()).pool_idle_timeout(std::time::Duration::from_secs(30));
        // The path and the headers are ours to say: nothing is added or rewritten.
        client.set_host(false);
        Self(client.build(connector))
    }

    /// Sends a request on.
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, Error> {
        self.0.request(request).await
    }
}
