//! What the configuration says about the server.

use ipnet::IpNet;

/// How the server behaves, apart from what is in the database.
#[derive(Clone, Debug, Default)]
pub struct ServerSettings {
    /// Peers that are proxies of ours: their `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Private networks that upstreams may be in.
    pub egress_allow: Vec<IpNet>,
    /// The addresses we listen on ourselves; never an upstream.
    pub own_addresses: Vec<std::net::SocketAddr>,
}
