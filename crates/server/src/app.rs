//! What every handler can reach.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ipnet::IpNet;
use jiff::Timestamp;
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
    ids: RequestIds,
}

/// Names requests: version 7 UUIDs whose last part is counted on from a random start. They need to be unique, not secret,
/// and drawing randomness for each request would cost more than deciding about it.
struct RequestIds {
    start: [u8; 10],
    count: AtomicU64,
}

impl RequestIds {
    fn next(&self, now: Timestamp) -> uuid::Uuid {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let mut bits = self.start;
        for (byte, counted) in bits[2..].iter_mut().zip(count.to_be_bytes()) {
            *byte ^= counted;
        }
        keyrack_core::id::uuid_v7(now, bits)
    }
}

impl App {
    /// A server's state over an engine.
    pub fn new(engine: Arc<Engine>, settings: ServerSettings) -> Self {
        let upstreams = Upstreams::new(&settings);
        // Without randomness the server still serves; ids of two runs could then meet.
        let ids = RequestIds { start: engine.random_bits().unwrap_or_default(), count: AtomicU64::new(0) };
        Self(Arc::new(Inner { engine, settings, upstreams, ids }))
    }

    /// A fresh id for a request.
    pub fn request_id(&self) -> RequestId {
        RequestId(self.ids.next(self.engine.now()).to_string())
    }
}

impl std::ops::Deref for App {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}
