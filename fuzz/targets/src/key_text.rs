//! The text of keys.

use keyrack_core::carrier::{Carried, find};
use keyrack_core::format::{MAX_KEY_LENGTH, imported_display_prefix, is_importable, readings};
use keyrack_core::{Body, Environment, KeyFormat, PlainKey};

/// Text as a key: what reads as one has a format that can be had and passes every carrier, and the checksum stands for
/// each character. The first 32 bytes are written as a key of every kind, too, and read again.
pub fn key_text(data: &[u8]) {
    if let Some(random) = data.first_chunk() {
        for body in Body::ALL {
            let key = format(None, body).write(Environment::Test, random);
            assert!(readings(key.expose()).any(|r| r == ("sk_test_", body)));
        }
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let key = PlainKey::new(text.to_owned());
    for (prefix, body) in readings(text) {
        let format = format(Some(prefix), body);
        assert_eq!(format.prefixes(), [prefix]);
        assert_eq!(prefix.len() + body.length(), text.len());
        assert_eq!(format.display_prefix(&key), &text[..prefix.len() + 8]);
        assert!(is_carried_as_key(text));
        match body {
            Body::Base62 => assert_every_character_counts(text),
            // Without a checksum every text of the form is some key.
            Body::Hex => {
                let random = data_encoding::HEXLOWER.decode(&data[prefix.len()..]).unwrap_or_default();
                let random = random.try_into().unwrap_or_default();
                assert_eq!(format.write(Environment::Live, &random).expose(), text);
            }
            Body::Base64url => assert_eq!(text.len() - prefix.len(), 43),
        }
    }
    // What may be imported is exactly what a caller can present.
    assert_eq!(is_importable(text), is_carried_as_key(text) && text.len() >= 16);
    if is_importable(text) {
        let shown = imported_display_prefix(&key).len();
        assert!(shown <= 8 && shown <= text.len() / 4);
    }
}

fn format(prefix: Option<&str>, body: Body) -> KeyFormat {
    match KeyFormat::new(prefix.map(str::to_owned), body) {
        Ok(format) => format,
        Err(error) => panic!("{prefix:?} was read as a prefix: {error}"),
    }
}

fn is_carried_as_key(text: &str) -> bool {
    match find([text.as_bytes()].into_iter(), [].into_iter(), None) {
        Carried::Key(carried) => {
            assert!(carried.len() <= MAX_KEY_LENGTH);
            // White space around a header's value is no part of it, so such text is carried as another.
            carried == text
        }
        _ => false,
    }
}

fn assert_every_character_counts(text: &str) {
    for (at, byte) in text.bytes().enumerate() {
        let mut changed = text.as_bytes().to_vec();
        changed[at] = if byte == b'z' { b'0' } else { byte + 1 };
        let changed = String::from_utf8_lossy(&changed);
        assert!(!readings(&changed).any(|(_, body)| body == Body::Base62), "{text} {changed}");
    }
}
