//! Values that are kept encrypted: AES-256-GCM (NIST SP 800-38D).
//!
//! A value is sealed with a data key. Data keys are random; the database has them wrapped, that is sealed themselves, with a master key
//! that it does not have. A sealed value says which key opens it, and is bound to its place: moved to another row, it does not open.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::DataKeyId;
use crate::token::MasterKey;

/// Bytes of a nonce. Each is drawn at random; one key must not seal more than 2^32 values.
pub const NONCE: usize = 12;
/// Bytes of a data key.
pub const DATA_KEY: usize = 32;

/// The first byte of what a master key sealed. Then: its number (8 bytes), the nonce, the encrypted bytes with their tag.
const BY_MASTER_KEY: u8 = 1;
/// The first byte of what a data key sealed. Then: its id (16 bytes), the nonce, the encrypted bytes with their tag.
const BY_DATA_KEY: u8 = 2;

/// What opens a sealed value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opener {
    /// The master key of this number.
    MasterKey(i64),
    /// The data key of this id.
    DataKey(DataKeyId),
}

impl Opener {
    /// What opens this value; `None` for bytes that are none.
    pub fn of(sealed: &[u8]) -> Option<Self> {
        match sealed.split_first()? {
            (&BY_MASTER_KEY, rest) => Some(Self::MasterKey(i64::from_be_bytes(*rest.first_chunk()?))),
            (&BY_DATA_KEY, rest) => Some(Self::DataKey(DataKeyId(Uuid::from_bytes(*rest.first_chunk()?)))),
            _ => None,
        }
    }

    fn written(self) -> Vec<u8> {
        match self {
            Self::MasterKey(id) => [&[BY_MASTER_KEY][..], &id.to_be_bytes()].concat(),
            Self::DataKey(id) => [&[BY_DATA_KEY][..], id.0.as_bytes()].concat(),
        }
    }
}

/// Where a sealed value belongs: its table, its organization, its row, and whatever else must be as it was. Each part has its length
/// before it, so that no two places are the same bytes.
pub fn place(parts: &[&[u8]]) -> Vec<u8> {
    let mut place = Vec::with_capacity(parts.iter().map(|part| part.len() + 4).sum());
    for part in parts {
        place.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        place.extend_from_slice(part);
    }
    place
}

/// A key that values are sealed with. It never leaves memory but wrapped.
pub struct DataKey {
    id: DataKeyId,
    key: LessSafeKey,
}

impl DataKey {
    /// The key of these bytes.
    pub fn new(id: DataKeyId, bytes: &[u8; DATA_KEY]) -> Option<Self> {
        Some(Self { id, key: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).ok()?) })
    }

    /// Which one it is.
    pub fn id(&self) -> DataKeyId {
        self.id
    }

    /// Seals a value for a place.
    pub fn seal(&self, place: &[u8], value: &[u8], nonce: [u8; NONCE]) -> Option<Vec<u8>> {
        seal_with(&self.key, Opener::DataKey(self.id), place, value, nonce)
    }

    /// Opens a value that was sealed for this place. `None` if it was changed, moved or sealed with another key.
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        open_with(&self.key, Opener::DataKey(self.id), place, sealed)
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataKey({})", self.id)
    }
}

/// Seals a value for a place with a master key itself.
pub fn seal(master_key: &MasterKey, place: &[u8], value: &[u8], nonce: [u8; NONCE]) -> Option<Vec<u8>> {
    seal_with(&key_of(master_key)?, Opener::MasterKey(master_key.id()), place, value, nonce)
}

/// Opens what [`seal`] sealed for this place. `None` if it was changed, moved or sealed with another key.
pub fn open(master_key: &MasterKey, place: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    open_with(&key_of(master_key)?, Opener::MasterKey(master_key.id()), place, sealed)
}

fn key_of(master_key: &MasterKey) -> Option<LessSafeKey> {
    let bytes = master_key.derive(b"keyrack sealed values");
    Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*bytes).ok()?))
}

fn seal_with(key: &LessSafeKey, by: Opener, place: &[u8], value: &[u8], nonce: [u8; NONCE]) -> Option<Vec<u8>> {
    let mut sealed = by.written();
    sealed.extend(nonce);
    let aad = Aad::from([&sealed, place].concat());
    let head = sealed.len();
    sealed.reserve_exact(value.len() + AES_256_GCM.tag_len());
    sealed.extend_from_slice(value);
    let tag = key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed[head..]).ok()?;
    sealed.extend_from_slice(tag.as_ref());
    Some(sealed)
}

fn open_with(key: &LessSafeKey, by: Opener, place: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    if Opener::of(sealed)? != by {
        return None;
    }
    let (head, bytes) = sealed.split_at_checked(by.written().len() + NONCE)?;
    let nonce = Nonce::try_assume_unique_for_key(&head[head.len() - NONCE..]).ok()?;
    let aad = Aad::from([head, place].concat());
    let mut bytes = Zeroizing::new(bytes.to_vec());
    let length = key.open_in_place(nonce, aad, &mut bytes).ok()?.len();
    bytes.truncate(length);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn master(id: i64) -> MasterKey {
        MasterKey::new(id, &[7; 32])
    }

    fn data_key(id: u128, byte: u8) -> DataKey {
        DataKey::new(DataKeyId(Uuid::from_u128(id)), &[byte; 32]).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_in_its_place() {
        let by_master = seal(&master(3), b"row 1", b"a secret", [9; NONCE]).unwrap();
        assert_eq!(**open(&master(3), b"row 1", &by_master).unwrap(), *b"a secret");
        assert_eq!(Opener::of(&by_master), Some(Opener::MasterKey(3)));
        let key = data_key(5, 7);
        let by_data_key = key.seal(b"row 1", b"a secret", [9; NONCE]).unwrap();
        assert_eq!(**key.open(b"row 1", &by_data_key).unwrap(), *b"a secret");
        assert_eq!(Opener::of(&by_data_key), Some(Opener::DataKey(key.id())));
        for sealed in [by_master, by_data_key] {
            assert!(!sealed.windows(8).any(|bytes| bytes == b"a secret"));
        }
        let empty = seal(&master(3), b"", b"", [0; NONCE]).unwrap();
        assert!(open(&master(3), b"", &empty).unwrap().is_empty());
        assert_eq!(format!("{key:?}"), format!("DataKey({})", key.id()));
    }

    #[test]
    fn elsewhere_changed_or_under_another_key_it_does_not() {
        let by_master = seal(&master(3), b"row 1", b"a secret", [9; NONCE]).unwrap();
        let by_data_key = data_key(5, 7).seal(b"row 1", b"a secret", [9; NONCE]).unwrap();
        let opens = |place: &[u8], sealed: &[u8]| {
            open(&master(3), place, sealed).is_some() || data_key(5, 7).open(place, sealed).is_some()
        };
        for sealed in [&by_master, &by_data_key] {
            assert!(opens(b"row 1", sealed) && !opens(b"row 2", sealed) && !opens(b"", sealed));
            for at in 0..sealed.len() {
                for bit in 0..8 {
                    let mut changed = sealed.clone();
                    changed[at] ^= 1 << bit;
                    assert!(!opens(b"row 1", &changed), "byte {at}");
                }
                assert!(!opens(b"row 1", &sealed[..at]), "cut at {at}");
            }
        }
        assert!(open(&master(4), b"row 1", &by_master).is_none() && open(&master(3), b"row 1", &by_data_key).is_none());
        assert!(open(&MasterKey::new(3, &[8; 32]), b"row 1", &by_master).is_none());
        assert!(data_key(6, 7).open(b"row 1", &by_data_key).is_none());
        assert!(data_key(5, 8).open(b"row 1", &by_data_key).is_none());
    }

    #[test]
    fn no_two_places_are_the_same_bytes() {
        assert_ne!(place(&[b"ab", b"c"]), place(&[b"a", b"bc"]));
        assert_ne!(place(&[b"ab"]), place(&[b"ab", b""]));
        assert_ne!(place(&[b"\0\0\0\0"]), place(&[b"", b""]));
    }
}
