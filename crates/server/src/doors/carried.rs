//! Bodies on their way between callers and services: how many bytes they come to, how large they may be, and how long they may be
//! silent.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use keyrack_engine::Visit;
use tokio::time::{Instant, Sleep, sleep};

/// What has come by of a body, and when some of it did last.
#[derive(Debug)]
pub(super) struct Carried {
    bytes: AtomicU64,
    begun: Instant,
    /// In milliseconds after that.
    moved: AtomicU64,
    /// More of it is waited for.
    is_awaited: AtomicBool,
    failure: AtomicU8,
}

/// Why a body did not come whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Failure {
    /// More came than the route takes.
    TooLarge,
    /// It broke off.
    BrokeOff,
}

impl Carried {
    /// Nothing yet.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            bytes: AtomicU64::new(0),
            begun: Instant::now(),
            moved: AtomicU64::new(0),
            is_awaited: AtomicBool::new(false),
            failure: AtomicU8::new(0),
        })
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

impl Carried {
    /// Whether it is whoever sends it that is waited for.
    pub(super) fn is_awaited(&self) -> bool {
        self.is_awaited.load(Ordering::Relaxed)
    }

    /// Why it did not come whole, if it is known by now that it does not.
    pub(super) fn failure(&self) -> Option<Failure> {
        match self.failure.load(Ordering::Acquire) {
            1 => Some(Failure::TooLarge),
            2 => Some(Failure::BrokeOff),
            _ => None,
        }
    }

    fn fail(&self, failure: Failure) {
        self.failure.store(if failure == Failure::TooLarge { 1 } else { 2 }, Ordering::Release);
    }
}

/// More came than the route takes.
#[derive(Debug, thiserror::Error)]
#[error("the body is too large")]
struct TooLarge;

/// The body of a request on its way to a service.
struct Sent {
    body: Body,
    carried: Arc<Carried>,
    at_most: u64,
}

/// A body of which is counted what comes by, and that fails where it would come to more than so many bytes.
pub(super) fn sent(body: Body, at_most: Option<u64>) -> (Body, Arc<Carried>) {
    let carried = Carried::new();
    if body.is_end_stream() {
        return (body, carried);
    }
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
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.carried.is_awaited.store(polled.is_pending(), Ordering::Relaxed);
        let frame = ready!(polled);
        if let Some(Err(_)) = &frame {
            self.carried.fail(Failure::BrokeOff);
        }
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref())
            && self.carried.add(data.len()) > self.at_most
        {
            self.carried.fail(Failure::TooLarge);
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
    body: Incoming,
    carried: Arc<Carried>,
    idle: Duration,
    /// Begun while the service says nothing, and not while the caller does not read.
    silence: Option<Pin<Box<Sleep>>>,
    /// Told, with what the request came to, when this is dropped.
    visit: Option<(Visit, Arc<Carried>)>,
}

/// The body of an answer, that fails where the service is silent for so long: what it and the request's came to is noted of the
/// visit once it is done with.
pub(super) fn answered(body: Incoming, idle: Duration, visit: Visit, request: Arc<Carried>) -> Body {
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
