//! Where Keyrack may connect to on somebody's behalf.
//!
//! Every address that a name resolves to is checked, and the connection goes to a checked one: a name that answers
//! differently the second time gains nothing. Private networks are closed unless the configuration opens them, and our own
//! listeners are never reached.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use keyrack_core::address::canonical;
use tokio::net::TcpStream;

use super::upstream::Noted;
use crate::settings::ServerSettings;

/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Which addresses may be connected to.
#[derive(Clone, Debug)]
pub struct Egress(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    allowed: Vec<IpNet>,
    own: Vec<SocketAddr>,
}

/// An address that may not be connected to.
#[derive(Debug, thiserror::Error)]
#[error("connections to {0} are not allowed; see the setting egress.allow")]
pub struct Refused(SocketAddr);

impl Egress {
    /// The rules of these settings.
    pub fn new(settings: &ServerSettings) -> Self {
        Self(Arc::new(Rules { allowed: settings.egress_allow.clone(), own: settings.own_addresses.clone() }))
    }

    /// Whether this address may be connected to.
    pub fn check(&self, address: SocketAddr) -> Result<(), Refused> {
        let ip = canonical(address.ip());
        let is_own = self.0.own.iter().any(|own| {
            // Who connects to the unspecified address connects to this host.
            let same_ip = canonical(own.ip()) == ip
                || ip.is_unspecified()
                || (own.ip().is_unspecified() && (ip.is_loopback() || is_private(ip)));
            own.port() == address.port() && same_ip
        });
        let is_open = !is_private(ip) || self.0.allowed.iter().any(|net| net.contains(&ip));
        if is_open && !is_own { Ok(()) } else { Err(Refused(address)) }
    }

    async fn connect(self, host: String, port: u16) -> io::Result<TcpStream> {
        let addresses = tokio::net::lookup_host((host.trim_matches(['[', ']']), port)).await?;
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            if let Err(refused) = self.check(address) {
                failure = io::Error::new(io::ErrorKind::PermissionDenied, refused);
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

/// Networks that are not the public internet (RFC 6890 and what cloud providers put beside it).
fn is_private(ip: IpAddr) -> bool {
    const CLOSED: [&str; 22] = [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
        "::/127",
        "64:ff9b::/32",
        "100::/64",
        "2001::/23",
        "2002::/16",
        "fc00::/7",
        "fe80::/10",
        "ff00::/8",
    ];
    static NETWORKS: std::sync::LazyLock<Vec<IpNet>> =
        std::sync::LazyLock::new(|| CLOSED.iter().filter_map(|net| net.parse().ok()).collect());
    NETWORKS.iter().any(|net| net.contains(&ip))
}

/// Connects as [`Egress`] allows; the one connector of every outbound client.
#[derive(Clone, Debug)]
pub struct Connector(pub Egress);

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Noted>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let egress = self.0.clone();
        Box::pin(async move {
            let host = uri.host().ok_or_else(|| io::Error::other("the address names no host"))?.to_owned();
            let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
            let connected = tokio::time::timeout(CONNECT_WITHIN, egress.connect(host, port)).await;
            connected
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
                .map(|stream| TokioIo::new(Noted::new(stream)))
        })
    }
}
