//! What every handler can reach.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keyrack_engine::Engine;

use crate::doors::tunnel::Tunnels;
use crate::doors::upstream::Upstreams;
use crate::failures::Failures;
use crate::load::Load;
use crate::request_id::{RequestId, RequestIds};
use crate::settings::ServerSettings;

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
    /// WebSockets that are open.
    pub(crate) tunnels: Tunnels,
    /// How much is worked on.
    pub(crate) load: Load,
    /// Who was answered 401 how often.
    pub(crate) failures: Failures,
    ids: RequestIds,
    is_leaving: AtomicBool,
}

impl App {
    /// A server's state over an engine.
    pub fn new(engine: Arc<Engine>, settings: ServerSettings) -> Self {
        let upstreams = Upstreams::new(&settings);
        let failures = Failures::new(settings.failure_limit);
        // Without randomness the server still serves; ids of two runs could then meet.
        let ids = RequestIds::starting_at(engine.random_bits().unwrap_or_default());
        Self(Arc::new(Inner {
            engine,
            settings,
            upstreams,
            tunnels: Tunnels::default(),
            load: Load::default(),
            failures,
            ids,
            is_leaving: AtomicBool::new(false),
        }))
    }

    /// From now on it says that it is not ready, and asks whoever comes to go elsewhere the next time: it is about to stop.
    pub fn leave(&self) {
        self.is_leaving.store(true, Ordering::Release);
    }

    /// Whether it is about to stop.
    pub(crate) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Acquire)
    }

    /// A fresh id for a request.
    pub fn request_id(&self) -> RequestId {
        self.ids.next(self.engine.now())
    }
}

impl std::ops::Deref for App {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}
