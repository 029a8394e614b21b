//! What a request says of itself, as far as it is decided by.

use std::net::IpAddr;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;
use keyrack_core::carrier::{self, Carried};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The address a connection comes from: an extension of a request, for services that do not run on axum. It comes before
/// axum's `ConnectInfo<SocketAddr>`. Without either, nobody knows where a request comes from, and keys that are restricted to
/// addresses are refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer(pub IpAddr);

/// A request, as it is asked about.
pub(crate) struct Arrival<'r> {
    /// The HTTP method.
    pub(crate) method: &'r str,
    /// What it carries.
    pub(crate) credential: Carried<'r>,
    /// Where it comes from, if that is known.
    pub(crate) address: Option<IpAddr>,
    /// The template of the route that it goes to; empty if that is not known.
    pub(crate) endpoint: &'r str,
    /// What the client calls itself.
    pub(crate) user_agent: Option<&'r str>,
}

impl<'r> Arrival<'r> {
    /// Reads a request. A key in the query counts only where it is asked for.
    pub(crate) fn of(request: &'r Parts, query_key: bool, trusted_proxies: &[IpNet]) -> Self {
        let values = |name: HeaderName| request.headers.get_all(name).iter().map(HeaderValue::as_bytes);
        let query = request.uri.query().filter(|_| query_key);
        Self {
            method: request.method.as_str(),
            credential: carrier::find(values(X_API_KEY), values(header::AUTHORIZATION), query),
            address: peer(request).map(|peer| source(peer, &request.headers, trusted_proxies)),
            endpoint: template(request),
            user_agent: request.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()),
        }
    }
}

fn source(peer: IpAddr, headers: &HeaderMap, trusted_proxies: &[IpNet]) -> IpAddr {
    let forwarded = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = forwarded.flat_map(|value| value.split(',')).collect();
    keyrack_core::address::client(peer, &hops, trusted_proxies)
}

fn peer(request: &Parts) -> Option<IpAddr> {
    request.extensions.get::<Peer>().map(|peer| peer.0).or_else(|| connected(request))
}

#[cfg(feature = "axum")]
fn connected(request: &Parts) -> Option<IpAddr> {
    let connection = request.extensions.get::<axum::extract::ConnectInfo<std::net::SocketAddr>>();
    connection.map(|connection| connection.0.ip())
}

#[cfg(not(feature = "axum"))]
fn connected(_: &Parts) -> Option<IpAddr> {
    None
}

#[cfg(feature = "axum")]
fn template(request: &Parts) -> &str {
    request.extensions.get::<axum::extract::MatchedPath>().map_or("", axum::extract::MatchedPath::as_str)
}

#[cfg(not(feature = "axum"))]
fn template(_: &Parts) -> &'static str {
    ""
}
