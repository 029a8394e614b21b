//! Values that are kept encrypted: AES-256-GCM under a key that follows from a master key (NIST SP 800-38D).
//!
//! A sealed value says which master key opens it, and is bound to its place: moved to another row, it does not open.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::token::MasterKey;

/// Bytes of a nonce. Each is drawn at random; one master key must not seal more than 2^32 values.
pub const NONCE: usize = 12;
/// The first byte of what is written here.
const VERSION: u8 = 1;
/// Before the encrypted bytes: the version, the number of the master key, the nonce.
const HEAD: usize = 1 + 8 + NONCE;

/// Seals a value for a place, such as a column with the id of its row.
pub fn seal(master_key: &MasterKey, place: &[u8], value: &[u8], nonce: [u8; NONCE]) -> Option<Vec<u8>> {
    let mut sealed = Vec::with_capacity(HEAD + value.len() + AES_256_GCM.tag_len());
    sealed.push(VERSION);
    sealed.extend(master_key.id().to_be_bytes());
    sealed.extend(nonce);
    let mut bytes = value.to_vec();
    let aad = Aad::from([&sealed, place].concat());
    key(master_key)?.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut bytes).ok()?;
    sealed.extend(bytes);
    Some(sealed)
}

/// The number of the master key that opens a sealed value.
pub fn master_key_of(sealed: &[u8]) -> Option<i64> {
    let id = sealed.get(1..9).filter(|_| sealed.first() == Some(&VERSION))?;
    Some(i64::from_be_bytes(id.try_into().ok()?))
}

/// Opens a value that was sealed for this place. `None` if it was changed, moved or sealed with another key.
pub fn open(master_key: &MasterKey, place: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    if master_key_of(sealed)? != master_key.id() {
        return None;
    }
    let (head, bytes) = sealed.split_at_checked(HEAD)?;
    let nonce = Nonce::try_assume_unique_for_key(&head[HEAD - NONCE..]).ok()?;
    let aad = Aad::from([head, place].concat());
    let mut bytes = Zeroizing::new(bytes.to_vec());
    let length = key(master_key)?.open_in_place(nonce, aad, &mut bytes).ok()?.len();
    bytes.truncate(length);
    Some(bytes)
}

fn key(master_key: &MasterKey) -> Option<LessSafeKey> {
    let bytes = master_key.derive(b"keyrack sealed values");
    Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*bytes).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn master(id: i64) -> MasterKey {
        MasterKey::new(id, &[7; 32])
    }

    fn sealed() -> Vec<u8> {
        seal(&master(3), b"row 1", b"a secret", [9; NONCE]).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_in_its_place() {
        assert_eq!(**open(&master(3), b"row 1", &sealed()).unwrap(), *b"a secret");
        assert_eq!(master_key_of(&sealed()), Some(3));
        assert!(!sealed().windows(8).any(|bytes| bytes == b"a secret"));
        let empty = seal(&master(3), b"", b"", [0; NONCE]).unwrap();
        assert!(open(&master(3), b"", &empty).unwrap().is_empty());
    }

    #[test]
    fn elsewhere_changed_or_under_another_key_it_does_not() {
        assert!(open(&master(3), b"row 2", &sealed()).is_none());
        assert!(open(&master(4), b"row 1", &sealed()).is_none());
        assert!(open(&MasterKey::new(3, &[8; 32]), b"row 1", &sealed()).is_none());
        for at in 0..sealed().len() {
            let mut changed = sealed();
            changed[at] ^= 1;
            assert!(open(&master(3), b"row 1", &changed).is_none(), "byte {at}");
            assert!(open(&master(3), b"row 1", &sealed()[..at]).is_none(), "cut at {at}");
        }
    }
}
