//! Who decides.

use std::sync::Arc;

use ipnet::IpNet;

use crate::door::Door;
use crate::layer::KeyLayer;
use crate::require::{RequireKey, SetupError};

/// Decides who is let in: in this process, or by asking a running keyrack. Clones are the same one.
#[derive(Clone)]
pub struct Keyrack {
    pub(crate) decides: Decides,
    pub(crate) any_organization: bool,
    pub(crate) trusted_proxies: Arc<[IpNet]>,
}

#[derive(Clone)]
pub(crate) enum Decides {
    #[cfg(feature = "engine")]
    InProcess(crate::in_process::InProcess),
    #[cfg(feature = "remote")]
    Remote(crate::remote::Remote),
}

impl Keyrack {
    fn new(decides: Decides) -> Self {
        Self { decides, any_organization: false, trusted_proxies: Arc::default() }
    }

    /// One that decides in this process, about keys of one organization. The engine has to be kept running beside it
    /// (`Engine::run`): it learns of changes there, and writes down what was counted.
    #[cfg(feature = "engine")]
    pub fn in_process(engine: Arc<keyrack_engine::Engine>, organization: keyrack_core::OrganizationId) -> Self {
        Self::new(Decides::InProcess(crate::in_process::InProcess { engine, organization }))
    }

    /// One that asks the keyrack at this address, such as `https://keys.example.com`, with a key of its own: one with the
    /// scope `keyrack.verification:read` and no other. Keys of that key's organization are let in.
    ///
    /// Each request is asked about anew. A keyrack that is away, or does not answer within a second
    /// ([`Keyrack::timeout`]), lets nobody in: 503.
    #[cfg(feature = "remote")]
    pub fn remote(url: &str, key: &str) -> Result<Self, SetupError> {
        Ok(Self::new(Decides::Remote(crate::remote::Remote::new(url, key)?)))
    }

    /// How long a keyrack that is asked may take; a second if nothing is said. Deciding in this process waits for nobody, but
    /// for the last units of a quota.
    #[cfg(feature = "remote")]
    #[must_use]
    pub fn timeout(mut self, patience: std::time::Duration) -> Self {
        #[cfg_attr(
            not(feature = "engine"),
            expect(irrefutable_let_patterns, reason = "there is no other without engine")
        )]
        if let Decides::Remote(remote) = &mut self.decides {
            remote.patience = patience;
        }
        self
    }

    /// Lets in keys of every organization: of a service that has customers, and each customer an organization. Who it was
    /// stands in the [`Grant`](crate::Grant). A keyrack that is asked has to be asked with a key of an instance admin then.
    #[must_use]
    pub fn any_organization(self) -> Self {
        Self { any_organization: true, ..self }
    }

    /// Believes `X-Forwarded-For` of requests that come from these networks. If nothing is said, nobody is believed.
    #[must_use]
    pub fn trusted_proxies(self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self { trusted_proxies: networks.into_iter().collect(), ..self }
    }

    /// The layer in front of routes that ask this of their callers. One layer for each route: two would count a request twice.
    ///
    /// Fails if what is asked for cannot be. A keyrack that is asked knows by itself which groups and workspaces there are:
    /// one that it does not know is found when the first request comes, and answered 503 or 401.
    pub fn require(&self, key: RequireKey) -> Result<KeyLayer, SetupError> {
        Ok(KeyLayer::new(Door::new(self, key)?))
    }
}
