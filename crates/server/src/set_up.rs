//! The one-time link with which the first organization and its owner are made.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use data_encoding::BASE64URL_NOPAD;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// How long the link is good.
pub(crate) const GOOD_FOR: Duration = Duration::from_mins(30);
/// Random bytes of its token.
const TOKEN: usize = 16;

/// Whether somebody may still begin here: with the token that the server has printed. It is kept in memory only, so that no
/// restart and no restored database opens it again; and whether there is an organization is looked at besides.
#[derive(Default)]
pub(crate) struct SetUp(Mutex<Option<(Zeroizing<String>, Instant)>>);

impl SetUp {
    /// Opens it, for a while. The token.
    pub(crate) fn open(&self, random: &[u8; TOKEN]) -> Zeroizing<String> {
        let token = Zeroizing::new(BASE64URL_NOPAD.encode(random));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((token.clone(), Instant::now()));
        token
    }

    /// Whether this is the token.
    pub(crate) fn takes(&self, token: &str) -> bool {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.as_ref().is_some_and(|(known, since)| {
            since.elapsed() < GOOD_FOR && bool::from(known.as_bytes().ct_eq(token.as_bytes()))
        })
    }

    /// Closes it for good.
    pub(crate) fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
