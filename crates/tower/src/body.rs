//! Bodies on their way through the layer, and how many bytes they come to.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

/// Where it is told what becomes of a request that was let in: how it was answered, and what its bodies came to.
#[derive(Default)]
pub(crate) struct Note {
    /// Apart in memory: it is handed on often, and larger than all else that is.
    #[cfg(feature = "engine")]
    visit: Option<Box<keyrack_engine::Visit>>,
}

#[cfg_attr(not(feature = "engine"), expect(clippy::unused_self, reason = "another keyrack counts, and is not told"))]
impl Note {
    #[cfg(feature = "engine")]
    pub(crate) fn new(visit: Option<keyrack_engine::Visit>) -> Self {
        Self { visit: visit.map(Box::new) }
    }

    /// Whether anybody listens.
    fn is_heard(&self) -> bool {
        #[cfg(feature = "engine")]
        return self.visit.is_some();
        #[cfg(not(feature = "engine"))]
        false
    }

    pub(crate) fn answered(&mut self, status: u16) {
        #[cfg(feature = "engine")]
        if let Some(visit) = &mut self.visit {
            visit.answered(status);
        }
        #[cfg(not(feature = "engine"))]
        let _ = status;
    }

    fn carried(&mut self, bytes_in: u64, bytes_out: u64) {
        #[cfg(feature = "engine")]
        if let Some(visit) = self.visit.take() {
            visit.carried(bytes_in, bytes_out);
        }
        #[cfg(not(feature = "engine"))]
        let _ = (bytes_in, bytes_out);
    }
}

/// How many bytes have come in.
type Carried = Arc<AtomicU64>;

pin_project! {
    /// The body of a request, as the service behind the layer gets it. It is the caller's; its bytes are counted.
    pub struct CountedBody<B> {
        #[pin]
        body: B,
        bytes: Option<Carried>,
    }
}

impl<B: Body> CountedBody<B> {
    /// A body on its way in, and what counts it if there is anything to count.
    pub(crate) fn new(body: B, note: &Note) -> (Self, BytesIn) {
        let bytes = (note.is_heard() && !body.is_end_stream()).then(Carried::default);
        let bytes_in = BytesIn(bytes.clone());
        (Self { body, bytes }, bytes_in)
    }
}

/// How many bytes of a request came in.
pub(crate) struct BytesIn(Option<Carried>);

impl<B: Body> Body for CountedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let polled = this.body.poll_frame(cx);
        if let (Some(bytes), Poll::Ready(Some(Ok(frame)))) = (this.bytes, &polled) {
            bytes.fetch_add(length(frame), Ordering::Relaxed);
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

fn length<D: bytes::Buf>(frame: &Frame<D>) -> u64 {
    frame.data_ref().map_or(0, |data| data.remaining() as u64)
}

pin_project! {
    /// The body of an answer: the service's, whose bytes are counted, or that of a refusal.
    pub struct GuardedBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<B> {
        Refusal { text: Bytes },
        Answer { #[pin] body: B, tally: Tally },
    }
}

/// What bodies came to; told when the answer's is done with.
struct Tally {
    note: Note,
    bytes_in: BytesIn,
    bytes_out: u64,
}

impl Drop for Tally {
    fn drop(&mut self) {
        let bytes_in = self.bytes_in.0.as_ref().map_or(0, |bytes| bytes.load(Ordering::Relaxed));
        self.note.carried(bytes_in, self.bytes_out);
    }
}

impl<B> GuardedBody<B> {
    pub(crate) fn text(text: Bytes) -> Self {
        Self { kind: Kind::Refusal { text } }
    }

    pub(crate) fn answer(body: B, note: Note, bytes_in: BytesIn) -> Self {
        Self { kind: Kind::Answer { body, tally: Tally { note, bytes_in, bytes_out: 0 } } }
    }
}

impl<B: Body<Data: From<Bytes>>> Body for GuardedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.project().kind.project() {
            KindProjection::Refusal { text } => {
                let text = std::mem::take(text);
                Poll::Ready(text.has_remaining().then(|| Ok(Frame::data(text.into()))))
            }
            KindProjection::Answer { body, tally } => {
                let polled = body.poll_frame(cx);
                if let Poll::Ready(Some(Ok(frame))) = &polled {
                    tally.bytes_out += length(frame);
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Refusal { text } => text.is_empty(),
            Kind::Answer { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Refusal { text } => SizeHint::with_exact(text.len() as u64),
            Kind::Answer { body, .. } => body.size_hint(),
        }
    }
}
