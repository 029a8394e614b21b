//! What is measured and logged of every request: how long its answer took, and which one it was.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::response::Response;
use http::Method;
use tracing::Level;

use crate::metrics::{Front, took};
use crate::request_id::X_REQUEST_ID;

/// The part of the logs that tells of every request, at the level `debug`.
macro_rules! requests {
    () => {
        "keyrack::requests"
    };
}

/// Whether somebody reads of every request.
pub(crate) fn is_logged() -> bool {
    tracing::enabled!(target: requests!(), Level::DEBUG)
}

/// By what a request is known in the logs: the pattern of its endpoint or route. A path may hold anything, also a key that
/// somebody put into the wrong place.
#[derive(Clone)]
pub(crate) struct Endpoint(Arc<str>);

impl Endpoint {
    /// One of Keyrack's own, by its path in the document.
    pub(crate) fn own(path: &Arc<str>) -> Option<Self> {
        is_logged().then(|| Self(Arc::clone(path)))
    }

    /// A route's.
    pub(crate) fn of_route(pattern: &str) -> Option<Self> {
        is_logged().then(|| Self(pattern.into()))
    }
}

/// A request that is being answered.
pub(crate) struct Access {
    front: Front,
    method: Option<Method>,
    begun: Instant,
}

impl Access {
    /// One that has just come.
    pub(crate) fn begin(front: Front, method: &Method) -> Self {
        Self { front, method: is_logged().then(|| method.clone()), begun: Instant::now() }
    }

    /// It has its answer.
    pub(crate) fn end(self, response: &mut Response) {
        let elapsed = self.begun.elapsed();
        took(self.front, response.status(), elapsed);
        let endpoint = response.extensions_mut().remove::<Endpoint>();
        let Some(method) = self.method else { return };
        let request = response.headers().get(X_REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
        let endpoint = endpoint.as_ref().map_or("-", |endpoint| &endpoint.0);
        let (status, ms) = (response.status().as_u16(), millis(elapsed));
        tracing::debug!(target: requests!(), request, %method, endpoint, status, ms, "answered");
    }
}

/// To a microsecond.
fn millis(elapsed: Duration) -> f64 {
    (elapsed.as_secs_f64() * 1e6).round() / 1e3
}
