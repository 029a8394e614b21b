//! Names of requests.

use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use uuid::Uuid;

/// The header that carries it.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request, as logs and answers bear it.
#[derive(Clone, Copy, Debug)]
pub struct RequestId(pub Uuid);

impl RequestId {
    /// As a header carries it.
    pub(crate) fn header(self) -> HeaderValue {
        let mut text = Uuid::encode_buffer();
        HeaderValue::from_str(self.0.hyphenated().encode_lower(&mut text)).unwrap_or(HeaderValue::from_static(""))
    }
}

/// Names requests: version 7 UUIDs whose last part is counted on from a random start. They need to be unique, not secret,
/// and drawing randomness for each request would cost more than deciding about it.
pub(crate) struct RequestIds {
    start: [u8; 10],
    count: AtomicU64,
}

impl RequestIds {
    /// Counts on from these random bits.
    pub(crate) fn starting_at(start: [u8; 10]) -> Self {
        Self { start, count: AtomicU64::new(0) }
    }

    /// The next id.
    pub(crate) fn next(&self, now: Timestamp) -> RequestId {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let mut bits = self.start;
        for (byte, counted) in bits[2..].iter_mut().zip(count.to_be_bytes()) {
            *byte ^= counted;
        }
        RequestId(keyrack_core::id::uuid_v7(now, bits))
    }
}
