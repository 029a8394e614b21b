//! Bodies of requests, as they arrive.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};

/// How long a body may be silent between two parts of it.
const BODY_PART_WITHIN: Duration = Duration::from_secs(20);
/// How long a body that nobody wants is read on.
const LINGER: Duration = Duration::from_secs(10);

/// The body of a request. It fails when nothing more of it arrives, so that who sends half of one does not keep us waiting.
/// When it is dropped before its end, the rest is read and thrown away: a client that is still sending when the connection
/// closes never reads why it was refused.
pub(crate) struct Arriving {
    /// `None` once all of it is here.
    body: Option<Incoming>,
    silence: Option<Pin<Box<Sleep>>>,
}

impl Arriving {
    /// A body of which nothing has been read yet.
    pub(crate) fn new(body: Incoming) -> Self {
        Self { body: Some(body), silence: None }
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if let Some(mut rest) = self.body.take().filter(|body| !body.is_end_stream()) {
            tokio::spawn(tokio::time::timeout(LINGER, async move { while let Some(Ok(_)) = rest.frame().await {} }));
        }
    }
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
            self.silence = None;
            if !matches!(frame, Some(Ok(_))) {
                self.body = None;
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let silence = self.silence.get_or_insert_with(|| Box::pin(sleep(BODY_PART_WITHIN)));
        ready!(silence.as_mut().poll(context));
        self.body = None;
        Poll::Ready(Some(Err("the body goes on too slowly".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.as_ref().map_or_else(|| http_body::SizeHint::with_exact(0), Incoming::size_hint)
    }
}
