//! What the configuration says about the server.

use ipnet::IpNet;
use keyrack_script::PoolSettings;

/// How the server behaves, apart from what is in the database.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Peers that are proxies of ours: their `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Private networks that upstreams may be in.
    pub egress_allow: Vec<IpNet>,
    /// The addresses we listen on ourselves; never an upstream.
    pub own_addresses: Vec<std::net::SocketAddr>,
    /// The most connections at once. Over the last twentieth of them only what is vital is answered.
    pub max_connections: usize,
    /// Whether people reach us over TLS, as far as we know: then browsers are told to use nothing else.
    pub is_tls: bool,
    /// Whether the set-up link works from other machines too.
    pub set_up_from_anywhere: bool,
    /// The only host that the console and the API answer on, apart from other content; any if missing.
    pub console_host: Option<String>,
    /// The processes that run scripts; without them none is run.
    pub scripts: Option<PoolSettings>,
    /// How many 401s an address may be answered a minute, before they become 429; 0 for any number.
    pub failure_limit: u16,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            trusted_proxies: Vec::new(),
            egress_allow: Vec::new(),
            own_addresses: Vec::new(),
            is_tls: false,
            set_up_from_anywhere: false,
            console_host: None,
            scripts: None,
            max_connections: 20_000,
            failure_limit: 100,
        }
    }
}
