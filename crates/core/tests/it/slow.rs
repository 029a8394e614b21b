//! The hash profile `bcrypt`. Everything here hashes at cost 4, the lowest there is.

use keyrack_core::TextHash;
use keyrack_core::slow::{hash, verify};

const KEY: &str = "sk_live_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf2L6EQX";
/// Of [`KEY`], made by another program with the salt 0, 1, 2, ... 15.
const COST_4: &str = "$2b$04$..CA.uOD/eaGAOmJB.yMBuwZ9XIhYStHODM2/AJT9ijvt1Gl..z2W";
const COST_15: &str = "$2b$15$..CA.uOD/eaGAOmJB.yMBu5mXCwIgTbzD0ihgCixiNIpwzcHLdw7O";

#[test]
fn hash_is_bcrypt_over_base64_of_sha256_as_other_programs_make_it() {
    let salt = std::array::from_fn(|i| u8::try_from(i).unwrap());
    assert_eq!(hash(&TextHash::of(KEY), 4, salt).as_deref(), Some(COST_4));
    assert!(verify(&TextHash::of(KEY), COST_4));
    assert!(verify(&TextHash::of(KEY), &COST_4.replace("$2b$", "$2y$")), "PHP writes 2y for the same hash");
}

#[test]
fn long_texts_that_differ_only_at_the_end_do_not_cross_verify() {
    // bcrypt itself reads 72 bytes and no further, and stops at NUL.
    for (stem, one, other) in [("x".repeat(73), "a", "b"), ("x".repeat(127), "a", "b"), ("k\0".repeat(8), "a", "b")] {
        let (one, other) = (TextHash::of(&format!("{stem}{one}")), TextHash::of(&format!("{stem}{other}")));
        let hashed = hash(&one, 4, [9; 16]).unwrap();
        assert!(verify(&one, &hashed));
        assert!(!verify(&other, &hashed));
    }
}

#[test]
fn same_text_with_another_salt_hashes_differently() {
    let text = TextHash::of(KEY);
    assert_ne!(hash(&text, 4, [0; 16]), hash(&text, 4, [1; 16]));
}

#[test]
fn costs_out_of_bounds_are_not_hashed() {
    for cost in [0, 3, 15, 31, 32, u32::MAX] {
        assert_eq!(hash(&TextHash::of(KEY), cost, [0; 16]), None, "{cost}");
    }
}

/// At cost 31 a single verification runs for days: if it were not refused, this test would not end.
#[test]
fn stored_hash_that_asks_for_too_much_is_refused_at_once_even_if_it_is_right() {
    assert!(!verify(&TextHash::of(KEY), COST_15), "right, but too costly");
    for cost in ["15", "16", "20", "31", "99"] {
        assert!(!verify(&TextHash::of(KEY), &COST_4.replace("$04$", &format!("${cost}$"))), "{cost}");
    }
}

#[test]
fn what_is_no_bcrypt_hash_matches_nothing() {
    let cut = &COST_4[..59];
    let changed = format!("{cut}X");
    let longer = format!("{COST_4}W");
    let umlauts = "ä".repeat(30);
    let split_letter = format!("$2b$0ä{}", "a".repeat(53));
    let garbage = [
        "",
        "$",
        "$$$",
        "$$$$",
        "$2b$",
        "$2b$04",
        "$2b$04$",
        KEY,
        cut,
        &changed,
        &longer,
        &umlauts,
        &split_letter,
        &COST_4.replace("2b", "2c"),
        &COST_4.replace("2b", "1"),
        &COST_4.replace("04", "4"),
        &COST_4.replace("04", "-4"),
        &COST_4.replace("04", "xx"),
        &COST_4.replace("04", "00"),
        &COST_4.replace("04", "03"),
        &COST_4.replace('$', "#"),
        &COST_4.replace('.', "!"),
        &COST_4.replace('.', "\0"),
        "2b$04$..CA.uOD/eaGAOmJB.yMBuwZ9XIhYStHODM2/AJT9ijvt1Gl..z2W",
        "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ];
    for hash in garbage {
        assert!(!verify(&TextHash::of(KEY), hash), "{hash}");
    }
}
