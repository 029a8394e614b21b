//! How a key is remembered: never as text, always as HMAC-SHA-256(pepper, SHA-256(text)).
//!
//! A key holds 256 random bits, so a slow hash would add nothing (NIST SP 800-63B asks for one below 112 bits only). The
//! pepper lives outside the database: who steals the database alone cannot even confirm a leaked key.

use aws_lc_rs::{digest as sha, hmac};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// SHA-256 of a key's text. For a key with 256 random bits it is as good as the key to whoever holds the pepper, so it is
/// treated as a secret.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct TextHash([u8; 32]);

impl TextHash {
    /// Hashes a key's text.
    pub fn of(text: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(sha::digest(&sha::SHA256, text.as_bytes()).as_ref());
        Self(hash)
    }

    /// A hash that somebody else made: how keys are imported without their text.
    pub fn imported(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// The hash in standard base64 (44 characters): what the slow profile hashes again, so that bcrypt sees neither a NUL
    /// nor more than 72 bytes.
    pub(crate) fn base64(&self) -> Zeroizing<String> {
        Zeroizing::new(data_encoding::BASE64.encode(&self.0))
    }
}

/// What the database and the keyring hold of a key. Compared in constant time only.
#[derive(Clone, Copy)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// The bytes, for storing and for finding.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A digest read back from where it was stored.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The first 8 bytes: what keys are sorted and found by. Whoever presents a key cannot choose them without the pepper.
    pub fn locator(&self) -> u64 {
        let (words, _) = self.0.as_chunks::<8>();
        u64::from_be_bytes(words[0])
    }

    /// Equality in constant time, in four steps of eight bytes.
    pub fn matches(&self, other: &Self) -> bool {
        self.words().as_slice().ct_eq(other.words().as_slice()).into()
    }

    fn words(&self) -> [u64; 4] {
        let (words, _) = self.0.as_chunks::<8>();
        std::array::from_fn(|at| u64::from_ne_bytes(words[at]))
    }
}

impl std::fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyDigest(..)")
    }
}

/// The key of the HMAC, kept outside the database, with a number that is kept beside each digest.
#[derive(Clone)]
pub struct Pepper {
    id: i64,
    key: hmac::Key,
}

impl Pepper {
    /// A pepper of 32 random bytes with its number.
    pub fn new(id: i64, bytes: &[u8; 32]) -> Self {
        Self { id, key: hmac::Key::new(hmac::HMAC_SHA256, bytes) }
    }

    /// The number kept beside each digest.
    pub fn id(&self) -> i64 {
        self.id
    }

    /// The digest of a key's hash under this pepper.
    pub fn digest(&self, hash: &TextHash) -> KeyDigest {
        let tag = hmac::sign(&self.key, &hash.0);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(tag.as_ref());
        KeyDigest(bytes)
    }

    /// A value that tells this pepper from another without betraying it: stored beside the data, so that a wrong pepper
    /// file is noticed at start and not by every key failing.
    pub fn fingerprint(&self) -> String {
        let tag = hmac::sign(&self.key, b"keyrack pepper fingerprint");
        data_encoding::HEXLOWER.encode(&tag.as_ref()[..16])
    }
}

impl std::fmt::Debug for Pepper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pepper({})", self.id)
    }
}
