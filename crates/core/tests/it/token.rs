use data_encoding::BASE64URL_NOPAD;
use keyrack_core::token::{Claims, MasterKey, PublicKey, SigningKey, TokenError, Unverified, cose_key_set, verify};
use keyrack_core::{KeyId, OrganizationId, ScopeSet, Tier, Timestamp, from_micros};
use proptest::prelude::*;
use uuid::Uuid;

fn at(second: i64) -> Timestamp {
    from_micros(1_800_000_000_000_000 + second * 1_000_000)
}

fn signing(master: u8, number: u32) -> SigningKey {
    SigningKey::derive(&MasterKey::new(1, &[master; 32]), number).unwrap()
}

fn public(key: &SigningKey) -> PublicKey {
    key.public().unwrap()
}

fn claims() -> Claims {
    Claims {
        key: KeyId(Uuid::from_u128(7)),
        secret_version: 2,
        locator: u64::MAX - 3,
        organization: OrganizationId(Uuid::from_u128(8)),
        tier: Tier::Pro,
        scopes: Some(ScopeSet::parse(&["contacts:read", "*:write"]).unwrap()),
        issued_at: at(0),
        expires_at: at(3600),
    }
}

#[test]
fn what_is_signed_is_read_back_until_it_expires() {
    let key = signing(1, 1);
    for claims in
        [claims(), Claims { scopes: None, ..claims() }, Claims { scopes: Some(ScopeSet::default()), ..claims() }]
    {
        let text = key.sign(&claims).unwrap();
        assert!(text.len() > 128 && text.len() <= 2048, "{}", text.len());
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert_eq!(verify(&text, &[public(&signing(1, 2)), public(&key)], at(3599)), Ok(claims));
        assert_eq!(verify(&text, &[public(&key)], at(3600)), Err(TokenError::Expired));
    }
}

#[test]
fn keys_follow_from_master_key_and_number() {
    assert_eq!(public(&signing(1, 1)), public(&signing(1, 1)));
    for other in [signing(1, 2), signing(2, 1)] {
        assert_ne!(public(&signing(1, 1)).kid(), public(&other).kid());
    }
    assert_eq!(format!("{:?}", MasterKey::new(1, &[1; 32])), "MasterKey(1)");
}

#[test]
fn the_key_of_another_is_not_taken() {
    let text = signing(1, 1).sign(&claims()).unwrap();
    assert_eq!(verify(&text, &[public(&signing(2, 1))], at(0)), Err(TokenError::UnknownKey));
    assert_eq!(verify(&text, &[], at(0)), Err(TokenError::UnknownKey));
    let token = Unverified::read(&text).unwrap();
    assert_eq!(token.verify(&public(&signing(2, 1))), Err(TokenError::Signature));
}

/// A `COSE_Sign1` with this protected header, unprotected header, payload and signature, as CBOR by hand.
fn sign1(protected: &[u8], unprotected: &[u8], payload: &[u8], signature: &[u8]) -> String {
    let bytes = |bytes: &[u8]| match u8::try_from(bytes.len()).unwrap() {
        length @ 0..24 => [&[0x40 | length], bytes].concat(),
        length => [&[0x58, length], bytes].concat(),
    };
    let all = [&[0xd2, 0x84], &*bytes(protected), unprotected, &bytes(payload), &bytes(signature)].concat();
    BASE64URL_NOPAD.encode(&all)
}

#[test]
fn other_algorithms_and_headers_are_refused() {
    let kid = public(&signing(1, 1)).kid();
    let with_kid = |alg: &[u8]| [&[0xa2, 0x01], alg, &[0x04, 0x48], &kid].concat();
    let refused = |protected: &[u8], unprotected: &[u8]| {
        let text = sign1(protected, unprotected, &[0xa0; 60], &[0; 64]);
        Unverified::read(&text).map(|_| ())
    };
    assert_eq!(refused(&with_kid(&[0x27]), &[0xa0]), Ok(()), "EdDSA");
    // ES256, HS256, RS256, none that there is, a text, and nothing at all.
    for alg in [&[0x26][..], &[0x05], &[0x39, 0x01, 0x00], &[0x00], &[0x64, b'n', b'o', b'n', b'e']] {
        assert!(matches!(refused(&with_kid(alg), &[0xa0]), Err(TokenError::Algorithm | TokenError::Form)), "{alg:?}");
    }
    assert_eq!(refused(&[], &[0xa0]), Err(TokenError::Algorithm));
    // The algorithm, or anything else, where nobody has signed it.
    assert_eq!(refused(&with_kid(&[0x27]), &[0xa1, 0x01, 0x27]), Err(TokenError::Form));
    // A critical header that nobody knows.
    let critical = [&[0xa3, 0x01, 0x27, 0x02, 0x81, 0x18, 0x63, 0x04, 0x48], &kid[..]].concat();
    assert_eq!(refused(&critical, &[0xa0]), Err(TokenError::Form));
}

#[test]
fn a_token_has_one_text() {
    let key = signing(1, 1);
    let text = key.sign(&claims()).unwrap();
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).unwrap();
    let untagged = BASE64URL_NOPAD.encode(&bytes[1..]);
    let longer = BASE64URL_NOPAD.encode(&[&bytes[..], &[0]].concat());
    let padded = format!("{text}=");
    let nested = BASE64URL_NOPAD.encode(&[0x81; 1400]);
    let huge = "A".repeat(2052);
    for wrong in
        [&untagged, &longer, &padded, &nested, &huge, &text[..128], "", &text.replace('-', "+").replace('_', "/")]
    {
        if wrong != text {
            assert_eq!(verify(wrong, &[public(&key)], at(0)), Err(TokenError::Form), "{wrong}");
        }
    }
}

#[test]
fn published_keys_are_a_cose_key_set() {
    let key = public(&signing(1, 1));
    let set = cose_key_set(&[key]).unwrap();
    assert!(set.windows(32).any(|window| window == key.as_bytes()));
    assert!(set.windows(8).any(|window| window == key.kid()));
}

proptest! {
    #[test]
    fn no_changed_byte_is_taken(place in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let key = signing(1, 1);
        let mut bytes = BASE64URL_NOPAD.decode(key.sign(&claims()).unwrap().as_bytes()).unwrap();
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        prop_assert!(verify(&BASE64URL_NOPAD.encode(&bytes), &[public(&key)], at(0)).is_err(), "byte {} of {}", place, bytes.len());
    }

    #[test]
    fn no_text_is_too_strange(text in "[A-Za-z0-9_-]{100,2100}") {
        prop_assert!(verify(&text, &[public(&signing(1, 1))], at(0)).is_err());
    }
}
