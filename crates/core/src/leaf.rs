//! The leaf of the audit tree that every event carries.

use aws_lc_rs::digest::{Context, SHA256};

/// The leaf hash of an event (RFC 6962 section 2.1: SHA-256 over 0x00 and the entry). The entry is its fields in a fixed
/// order, each behind its length, so that no two events can share one.
pub fn leaf_hash<'f>(fields: impl IntoIterator<Item = Option<&'f [u8]>>) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(&[0]);
    for field in fields {
        match field {
            None => context.update(&u64::MAX.to_be_bytes()),
            Some(bytes) => {
                context.update(&(bytes.len() as u64).to_be_bytes());
                context.update(bytes);
            }
        }
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}
