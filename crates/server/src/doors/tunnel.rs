//! WebSockets: after the handshake bytes go both ways as they are.
//!
//! Who may open one is decided by its handshake. It is not asked again while it is open.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, Version};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use keyrack_engine::Visit;
use tokio::io::copy_bidirectional;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};
use tokio_util::io::InspectReader;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::carried::Carried;
use super::headers::is_websocket;

/// The place of a connection among those that may be open. What goes on after a request holds on to it.
#[derive(Clone)]
pub(crate) struct Slot(
    #[expect(dead_code, reason = "it is given back when it is dropped")] pub(crate) Arc<OwnedSemaphorePermit>,
);

/// The WebSockets that are open. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Tunnels {
    open: TaskTracker,
    end: CancellationToken,
}

impl Tunnels {
    /// Cuts all of them, and waits until what went through them has been noted.
    pub(crate) async fn end(&self) {
        self.end.cancel();
        self.open.close();
        self.open.wait().await;
    }
}

/// A caller's side of a WebSocket that is to be.
pub(super) struct Handshake {
    caller: OnUpgrade,
    slot: Option<Slot>,
}

impl Handshake {
    /// `None` for any other request, whatever else it wants to become.
    pub(super) fn of(request: &mut Parts) -> Option<Self> {
        let is_get = request.version == Version::HTTP_11 && request.method == http::Method::GET;
        if !is_get || !is_websocket(&request.headers) {
            return None;
        }
        let slot = request.extensions.get::<Slot>().cloned();
        request.extensions.remove::<OnUpgrade>().map(|caller| Self { caller, slot })
    }

    /// Carries bytes between the two until both have ended, or both are silent for so long.
    pub(super) fn go_on(self, tunnels: &Tunnels, service: OnUpgrade, idle: Duration, visit: Visit) {
        let end = tunnels.end.clone();
        tunnels.open.spawn(async move {
            let _slot = self.slot;
            let (Ok(caller), Ok(service)) = tokio::join!(self.caller, service) else { return };
            let (incoming, outgoing) = (Carried::new(), Carried::new());
            let mut caller = noted(caller, &incoming);
            let mut service = noted(service, &outgoing);
            tokio::select! {
                // Whoever ended it, and how, is between the two.
                _ = copy_bidirectional(&mut caller, &mut service) => {}
                () = silence(&incoming, &outgoing, idle) => {}
                () = end.cancelled() => {}
            }
            visit.carried(incoming.bytes(), outgoing.bytes());
        });
    }
}

/// Says in a request or an answer that what goes on after it is a WebSocket.
pub(super) fn announce(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

fn noted(stream: Upgraded, carried: &Arc<Carried>) -> InspectReader<TokioIo<Upgraded>, impl FnMut(&[u8]) + use<>> {
    let carried = Arc::clone(carried);
    InspectReader::new(TokioIo::new(stream), move |bytes: &[u8]| {
        carried.add(bytes.len());
    })
}

/// Waits until neither has moved for so long.
async fn silence(one: &Carried, other: &Carried, idle: Duration) {
    let until = || one.last_moved().max(other.last_moved()) + idle;
    while until() > Instant::now() {
        sleep_until(until()).await;
    }
}
