//! Limits and quota as headers of an answer.

use http::header::{HeaderMap, HeaderValue};
use keyrack_engine::Standing;

/// Says in an answer how limits stand. What the service behind the door said under these names was about limits of its own;
/// where we have something to say, ours count.
pub(crate) fn write(headers: &mut HeaderMap, standing: &Standing) {
    for (name, value) in standing.headers() {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}
