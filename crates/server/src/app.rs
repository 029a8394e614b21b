//! What every handler can reach.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keyrack_engine::Engine;

use crate::doors::script::Scripts;
use crate::doors::tunnel::Tunnels;
use crate::doors::upstream::Upstreams;
use crate::failures::Failures;
use crate::load::Load;
use crate::request_id::{RequestId, RequestIds};
use crate::set_up::SetUp;
use crate::settings::ServerSettings;
use crate::sign_ins::SignIns;

/// For how long 401s of an address count together.
const FAILURES_WITHIN: Duration = Duration::from_mins(1);
/// How many addresses can be told apart: four times as many.
const FAILURE_SETS: usize = 1 << 14;

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
    /// What runs scripts behind doors.
    pub(crate) scripts: Scripts,
    /// WebSockets that are open.
    pub(crate) tunnels: Tunnels,
    /// How much is worked on.
    pub(crate) load: Load,
    /// Who was answered 401 how often.
    pub(crate) failures: Failures,
    /// Who guessed at passwords.
    pub(crate) sign_ins: SignIns,
    /// Whether somebody may still begin here.
    pub(crate) set_up: SetUp,
    ids: RequestIds,
    is_leaving: AtomicBool,
}

impl App {
    /// A server's state over an engine.
    pub fn new(engine: Arc<Engine>, settings: ServerSettings) -> Self {
        let upstreams = Upstreams::new(&settings);
        let scripts = Scripts::new(settings.scripts.clone());
        let failures = Failures::new(settings.failure_limit, FAILURES_WITHIN, FAILURE_SETS);
        // Without randomness the server still serves; ids of two runs could then meet.
        let ids = RequestIds::starting_at(engine.random_bits().unwrap_or_default());
        Self(Arc::new(Inner {
            engine,
            settings,
            upstreams,
            scripts,
            tunnels: Tunnels::default(),
            load: Load::default(),
            failures,
            sign_ins: SignIns::default(),
            set_up: SetUp::default(),
            ids,
            is_leaving: AtomicBool::new(false),
        }))
    }

    /// Opens the set-up page for a while to whoever has the token. The page's address, behind that of the server.
    pub fn open_set_up(&self) -> keyrack_engine::Result<String> {
        let token = self.set_up.open(&self.engine.random_128()?);
        Ok(format!("/setup?token={}", *token))
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
