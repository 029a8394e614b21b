//! How keys are remembered and compared.

use keyrack_core::{KeyDigest, Pepper, TextHash};
use proptest::prelude::*;

fn pepper() -> Pepper {
    Pepper::new(7, &std::array::from_fn(|i| u8::try_from(i).unwrap()))
}

fn hex(text: &str) -> [u8; 32] {
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap().try_into().unwrap()
}

const KEY: &str = "sk_live_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf2L6EQX";

#[test]
fn digest_is_hmac_sha256_under_the_pepper_of_sha256_of_the_text() {
    let other = Pepper::new(8, &[0xa5; 32]);
    let table = [
        (pepper(), KEY, "f8627a2100a31b8a98e79521536fa19c583df93c683688d9957ce85060f0b26d"),
        (pepper(), "abc", "910ec338f64892dfc0288e343162e996b71c39c67dd1cad13923f2d67a79cff6"),
        (pepper(), "", "d43ab268ace84897c7c38db898ceba8460c30c061f52a2ea4c514367ed85f6fa"),
        (other, "abc", "cbe5303ada46e333d6abcc354c647da207aace5c467a88af7ae4ff438b2f6c2a"),
    ];
    for (pepper, text, expected) in table {
        assert_eq!(pepper.digest(&TextHash::of(text)).as_bytes(), &hex(expected), "{text}");
    }
}

#[test]
fn imported_sha256_gives_the_digest_of_the_text() {
    let imported = TextHash::imported(hex("0a667d1dbc48302b8dfcadffec9cd83b47bffe4ff6e4028d38675ce0caf3bc38"));
    assert!(pepper().digest(&imported).matches(&pepper().digest(&TextHash::of(KEY))));
}

#[test]
fn fingerprint_tells_peppers_apart_and_is_no_digest() {
    assert_eq!(pepper().fingerprint(), "bf2410651b24a771bdcd220c494bda50");
    assert_eq!(Pepper::new(7, &[0xa5; 32]).fingerprint(), "00f81103433a8a0c1bb8a4dd2bd6b91f");
    assert_eq!(pepper().id(), 7);
}

#[test]
fn locator_is_the_first_eight_bytes_in_order() {
    let digest = KeyDigest::from_bytes(std::array::from_fn(|i| u8::try_from(i + 1).unwrap()));
    assert_eq!(digest.locator(), 0x0102_0304_0506_0708);
}

#[test]
fn debug_prints_no_bytes() {
    let digest = pepper().digest(&TextHash::of(KEY));
    assert_eq!(format!("{digest:?} {digest:#?}"), "KeyDigest(..) KeyDigest(..)");
    assert_eq!(format!("{:?} {:#?}", pepper(), pepper()), "Pepper(7) Pepper(7)");
}

proptest! {
    #[test]
    fn texts_that_differ_in_one_character_never_match(text in "[!-~]{1,128}", at: prop::sample::Index, shift in 1..94_u8) {
        // The last position besides the random one: a comparison that stopped early would miss it.
        for at in [at.index(text.len()), text.len() - 1] {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = (bytes[at] - b'!' + shift) % 94 + b'!';
            let changed = String::from_utf8(bytes).unwrap();
            let digest = pepper().digest(&TextHash::of(&text));
            prop_assert!(!digest.matches(&pepper().digest(&TextHash::of(&changed))));
            prop_assert!(digest.matches(&pepper().digest(&TextHash::of(&text))));
        }
    }

    #[test]
    fn stored_digest_with_one_flipped_bit_never_matches(bytes: [u8; 32], bit in 0..256_usize) {
        let mut flipped = bytes;
        flipped[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(!KeyDigest::from_bytes(bytes).matches(&KeyDigest::from_bytes(flipped)));
        prop_assert!(KeyDigest::from_bytes(bytes).matches(&KeyDigest::from_bytes(bytes)));
    }
}
