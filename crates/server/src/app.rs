//! What every handler can reach.

use std::sync::Arc;

use ipnet::IpNet;
use keyrack_engine::Engine;

use crate::doors::upstream::Upstreams;
use crate::error::RequestId;

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

/// The server's state, shared by all requests.
#[derive(Clone)]
pub struct App(Arc<Inner>);

/// See [`App`].
pub struct Inner {
    /// The product.
    pub engine: Arc<Engine>,
    /// How the server behaves.
    pub settings: ServerSettings,
    /// Connections to what is behind doors.
    pub upstreams: Upstreams,
}

impl App {
    /// A server's state over an engine.
    pub fn new(engine: Arc<Engine>, settings: ServerSettings) -> Self {
        let upstreams = Upstreams::new(&settings);
        Self(Arc::new(Inner { engine, settings, upstreams }))
    }

    /// A fresh id for a request.
    pub fn request_id(&self) -> RequestId {
        RequestId(self.engine.fresh_uuid().to_string())
    }
}

impl std::ops::Deref for App {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}
