//! Tokens.

use data_encoding::BASE64URL_NOPAD;
use keyrack_core::token::{MasterKey, SigningKey, TokenError, Unverified, verify};
use keyrack_core::{Timestamp, from_micros};

/// Bytes as a token: nothing that we did not sign is taken, whatever it looks like, and what is written as a token is has one text.
pub fn token(data: &[u8]) {
    let Some(ours) = SigningKey::derive(&MasterKey::new(1, &[1; 32]), 1).and_then(|key| key.public()) else { return };
    let text = BASE64URL_NOPAD.encode(data);
    match Unverified::read(&text) {
        Ok(token) => {
            assert_eq!(data.first(), Some(&0xd2), "a tagged one");
            assert!(token.verify(&ours).is_err(), "nobody else has the key");
            let expected = if token.kid() == ours.kid() { TokenError::Signature } else { TokenError::UnknownKey };
            assert_eq!(verify(&text, &[ours], Timestamp::UNIX_EPOCH), Err(expected));
        }
        Err(error) => assert!(matches!(error, TokenError::Form | TokenError::Algorithm)),
    }
    // The bytes as text, too.
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(verify(text, &[ours], from_micros(0)).is_err());
    }
}
