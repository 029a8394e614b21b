//! What the database holds encrypted, under a master key that it does not hold.

use keyrack_core::seal::{self, NONCE};
use zeroize::Zeroizing;

use crate::engine::Engine;
use crate::{Error, Result};

impl Engine {
    /// Seals a value for its place, such as a table and the id of a row.
    pub(crate) fn seal(&self, place: &[u8], value: &[u8]) -> Result<Vec<u8>> {
        let nonce: [u8; NONCE] = self.random.bytes()?;
        let master_key = self.tokens.master_keys.first().ok_or(Error::internal("there is no master key"))?;
        seal::seal(master_key, place, value, nonce).ok_or(Error::internal("a value could not be sealed"))
    }

    /// Opens it again. `None` if it was changed or moved, or if the key file lacks its master key.
    pub(crate) fn unseal(&self, place: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let id = seal::master_key_of(sealed)?;
        let master_key = self.tokens.master_keys.iter().find(|key| key.id() == id)?;
        seal::open(master_key, place, sealed)
    }
}
