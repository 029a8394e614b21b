//! Bodies on their way, and how many bytes they come to.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use keyrack_engine::Visit;

/// How many bytes of a body have come by.
pub(super) type Carried = Arc<AtomicU64>;

/// A body whose bytes are counted.
struct Counted {
    body: Body,
    bytes: Carried,
    /// Told, with the bytes that came in, when this is dropped.
    visit: Option<(Visit, Carried)>,
}

/// A body that counts what comes by.
pub(super) fn counted(body: Body) -> (Body, Carried) {
    let bytes = Carried::default();
    (Body::new(Counted { body, bytes: Arc::clone(&bytes), visit: None }), bytes)
}

/// The body of an answer: what it and the request's came to is noted of the visit once it is done with.
pub(super) fn noted(body: Body, visit: Visit, bytes_in: Carried) -> Body {
    Body::new(Counted { body, bytes: Carried::default(), visit: Some((visit, bytes_in)) })
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some((visit, bytes_in)) = self.visit.take() {
            visit.carried(bytes_in.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        }
    }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
