//! Bodies on their way between callers and services: how many bytes they come to, how large they may be, and how long they may be
//! silent.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use keyrack_engine::Visit;
use tokio::time::{Instant, Sleep, sleep};

/// What has come by of a body, and when some of it did last.
#[derive(Debug)]
pub(super) struct Carried {
    bytes: AtomicU64,
    begun: Instant,
    /// In milliseconds after that.
    moved: AtomicU64,
}

impl Carried {
    /// Nothing yet.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { bytes: AtomicU64::new(0), begun: Instant::now(), moved: AtomicU64::new(0) })
    }

    /// So many bytes more have come by; how many that makes.
    pub(super) fn add(&self, bytes: usize) -> u64 {
        let since = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(since, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64
    }

    /// How many bytes have come by.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// When something came by last, or the beginning.
    pub(super) fn last_moved(&self) -> Instant {
        self.begun + Duration::from_millis(self.moved.load(Ordering::Relaxed))
    }
}

/// More came than the route takes.
#[derive(Debug, thiserror::Error)]
#[error("the body is too large")]
pub(super) struct TooLarge;

/// The body of a request on its way to a service.
struct Sent {
    body: Body,
    carried: Arc<Carried>,
    at_most: u64,
}

/// A body of which is counted what comes by, and that fails with [`TooLarge`] where it would come to more than so many bytes.
pub(super) fn sent(body: Body, at_most: Option<u64>) -> (Body, Arc<Carried>) {
    let carried = Carried::new();
    let sent = Sent { body, carried: Arc::clone(&carried), at_most: at_most.unwrap_or(u64::MAX) };
    (Body::new(sent), carried)
}

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref())
            && self.carried.add(data.len()) > self.at_most
        {
            return Poll::Ready(Some(Err(TooLarge.into())));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer on its way to a caller.
struct Answered {
    body: Body,
    carried: Arc<Carried>,
    idle: Duration,
    /// Begun while the service says nothing, and not while the caller does not read.
    silence: Option<Pin<Box<Sleep>>>,
    /// Told, with what the request came to, when this is dropped.
    visit: Option<(Visit, Arc<Carried>)>,
}

/// The body of an answer, that fails where the service is silent for so long: what it and the request's came to is noted of the
/// visit once it is done with.
pub(super) fn answered(body: Body, idle: Duration, visit: Visit, request: Arc<Carried>) -> Body {
    let visit = Some((visit, request));
    Body::new(Answered { body, carried: Carried::new(), idle, silence: None, visit })
}

impl Drop for Answered {
    fn drop(&mut self) {
        if let Some((visit, request)) = self.visit.take() {
            visit.carried(request.bytes(), self.carried.bytes());
        }
    }
}

impl http_body::Body for Answered {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.silence = None;
            if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
                self.carried.add(data.len());
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let idle = self.idle;
        let silence = self.silence.get_or_insert_with(|| Box::pin(sleep(idle)));
        ready!(silence.as_mut().poll(context));
        Poll::Ready(Some(Err("the service has fallen silent".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
