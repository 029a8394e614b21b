//! Writing keys, and telling keys from junk.

use keyrack_core::format::{FormatError, imported_display_prefix, is_importable, readings};
use keyrack_core::{Body, Environment, KeyFormat, PlainKey};
use proptest::prelude::*;

const PREFIXES: [Option<&str>; 6] = [None, Some(""), Some("a"), Some("acme_"), Some("0_9"), Some("abcdefghijklmno_")];

fn format(prefix: Option<&str>, body: Body) -> KeyFormat {
    KeyFormat::new(prefix.map(str::to_owned), body).unwrap()
}

/// The numbers 0, 1, 2, ... 31.
fn counting() -> [u8; 32] {
    std::array::from_fn(|i| u8::try_from(i).unwrap())
}

#[test]
fn known_keys_are_written_as_other_programs_write_them() {
    let mut one = [0; 32];
    one[31] = 1;
    let table = [
        (None, Environment::Live, [0; 32], "sk_live_00000000000000000000000000000000000000000001Vxh1Z"),
        (None, Environment::Test, [0; 32], "sk_test_00000000000000000000000000000000000000000001NyHUD"),
        (Some(""), Environment::Live, [0; 32], "00000000000000000000000000000000000000000002CZclj"),
        (Some("acme_"), Environment::Test, [0; 32], "acme_00000000000000000000000000000000000000000002X8XW8"),
        (None, Environment::Live, one, "sk_live_00000000000000000000000000000000000000000010gtDhD"),
        (None, Environment::Live, [0xff; 32], "sk_live_yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp14Z47sr"),
        (Some(""), Environment::Live, [0xff; 32], "yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp13sRzl1"),
        (None, Environment::Live, counting(), "sk_live_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf2L6EQX"),
        (Some("acme_"), Environment::Live, counting(), "acme_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf346kWq"),
    ];
    for (prefix, environment, random, text) in table {
        assert_eq!(format(prefix, Body::Base62).write(environment, &random).expose(), text);
        assert!(readings(text).any(|(p, body)| body == Body::Base62 && text.starts_with(p)), "{text}");
    }
    let hex = "sk_live_000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    assert_eq!(format(None, Body::Hex).write(Environment::Live, &counting()).expose(), hex);
    let base64url = "sk_test_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    assert_eq!(format(None, Body::Base64url).write(Environment::Test, &counting()).expose(), base64url);
    let all_ones = "__________________________________________8";
    assert_eq!(format(Some(""), Body::Base64url).write(Environment::Live, &[0xff; 32]).expose(), all_ones);
}

/// The published check value of CRC-32 is 0xcbf43926 for `123456789`, in base 62 `3jZRME`. With 43 characters and the
/// prefix free to choose, the same sum is reached by the key whose text ends in it.
#[test]
fn checksum_is_the_ieee_crc32_over_prefix_and_secret() {
    let secret = "0000000000000000000000000000000000000000000";
    for (prefix, checksum) in [("", "2CZclj"), ("acme_", "2X8XW8"), ("sk_live_", "1Vxh1Z"), ("sk_test_", "1NyHUD")] {
        let text = format!("{prefix}{secret}{checksum}");
        assert!(readings(&text).any(|r| r == (prefix, Body::Base62)), "{text}");
        // The sum of another prefix will not do: a key cannot change its environment or group by its text.
        for other in ["sk_live_", "sk_test_", "acme_", ""].into_iter().filter(|o| *o != prefix) {
            let text = format!("{other}{secret}{checksum}");
            assert!(!readings(&text).any(|(_, body)| body == Body::Base62), "{text}");
        }
    }
}

#[test]
fn what_is_written_is_read_again_in_every_format() {
    let randoms = [[0; 32], [0xff; 32], [0x80; 32], counting()];
    for body in Body::ALL {
        for environment in [Environment::Live, Environment::Test] {
            for prefix in PREFIXES {
                for random in &randoms {
                    let format = format(prefix, body);
                    let key = format.write(environment, random);
                    let expected = prefix.unwrap_or(match environment {
                        Environment::Live => "sk_live_",
                        Environment::Test => "sk_test_",
                    });
                    assert!(readings(key.expose()).any(|r| r == (expected, body)), "{body:?} {prefix:?}");
                    assert!(format.prefixes().contains(&expected));
                    assert_eq!(key.expose().len(), expected.len() + body.length());
                    assert_eq!(format.display_prefix(&key), &key.expose()[..expected.len() + 8]);
                }
            }
        }
    }
}

#[test]
fn prefix_is_up_to_16_characters_of_a_to_z_0_to_9_and_underscore() {
    for good in PREFIXES {
        assert_eq!(format(good, Body::Hex).prefix(), good);
        assert_eq!(format(good, Body::Hex).body(), Body::Hex);
    }
    for bad in ["A", "a-", "a b", "é", "a.b", "%", "\0", "abcdefghijklmnop_", "ſk_"] {
        assert_eq!(KeyFormat::new(Some(bad.to_owned()), Body::Hex), Err(FormatError::Prefix), "{bad}");
    }
}

#[test]
fn stored_format_is_read_back_and_a_bad_prefix_is_refused_there_too() {
    for prefix in PREFIXES {
        for body in Body::ALL {
            let format = format(prefix, body);
            let json = serde_json::to_string(&format).unwrap();
            assert_eq!(serde_json::from_str::<KeyFormat>(&json).unwrap(), format, "{json}");
        }
    }
    for bad in [r#"{"prefix":"../","body":"hex"}"#, r#"{"prefix":"abcdefghijklmnopq","body":"hex"}"#] {
        assert!(serde_json::from_str::<KeyFormat>(bad).is_err(), "{bad}");
    }
}

#[test]
fn words_of_bodies_and_environments_are_read_back() {
    for body in Body::ALL {
        assert_eq!(Body::parse(body.as_str()), Some(body));
        assert_eq!(serde_json::to_value(body).unwrap(), body.as_str());
    }
    for environment in [Environment::Live, Environment::Test] {
        assert_eq!(Environment::parse(environment.as_str()), Some(environment));
        assert_eq!(serde_json::to_value(environment).unwrap(), environment.as_str());
    }
    assert_eq!((Body::parse("HEX"), Environment::parse("prod")), (None, None));
}

#[test]
fn key_of_another_length_or_alphabet_is_not_read() {
    let hex = "a".repeat(64);
    assert!(readings(&format!("p_{hex}")).any(|r| r == ("p_", Body::Hex)));
    for text in [
        "",
        "x",
        "sk_live_",
        &hex[1..],
        &"A".repeat(64),
        &format!("{}g", &hex[1..]),         // a body that is not lower-case hexadecimal
        &format!("abcdefghijklmnopq{hex}"), // a prefix of 17 characters
        &format!("P_{hex}"),
        &format!("é{hex}"), // a prefix that no format can have
        &"é".repeat(32),
    ] {
        assert!(!readings(text).any(|(_, body)| body == Body::Hex), "{text}");
    }
    for bad in ["+", "/", "=", " ", "."] {
        let text = format!("sk_live_{}{bad}", "A".repeat(42));
        assert_eq!(readings(&text).next(), None, "{text}");
    }
}

#[test]
fn importable_is_16_to_128_printable_ascii_characters_without_comma_or_space() {
    for good in ["0123456789abcdef", "!\"#$%&'()*+-./:;<=>?@[]^_`{|}~", &"x".repeat(128)] {
        assert!(is_importable(good), "{good}");
    }
    for bad in [
        "",
        "0123456789abcde",
        &"x".repeat(129),
        "0123456789abcdef,",
        "0123456789 abcdef",
        "0123456789abcdef\n",
        "0123456789abcdef\0",
        "0123456789abcdef\x7f",
        "0123456789abcdéf",
    ] {
        assert!(!is_importable(bad), "{bad}");
    }
}

#[test]
fn imported_key_shows_at_most_a_quarter_and_at_most_8_characters() {
    for (length, shown) in [(16, 4), (20, 5), (31, 7), (32, 8), (128, 8)] {
        let key = PlainKey::new("k".repeat(length));
        assert_eq!(imported_display_prefix(&key).len(), shown, "{length}");
    }
}

proptest! {
    #[test]
    fn default_live_text_is_sk_live_and_49_letters_and_digits(random: [u8; 32]) {
        let key = KeyFormat::default().write(Environment::Live, &random);
        let body = key.expose().strip_prefix("sk_live_").unwrap();
        prop_assert_eq!(body.len(), 49);
        prop_assert!(body.bytes().all(|b| b.is_ascii_alphanumeric()));
    }

    #[test]
    fn written_key_is_read_with_its_prefix(random: [u8; 32], prefix in "[a-z0-9_]{0,16}", body in 0..3_usize) {
        let body = Body::ALL[body];
        let key = format(Some(&prefix), body).write(Environment::Live, &random);
        prop_assert!(readings(key.expose()).any(|r| r == (prefix.as_str(), body)));
    }

    #[test]
    fn different_random_bytes_make_different_keys(a: [u8; 32], byte in 0..32_usize, flip in 1..=255_u8) {
        let mut b = a;
        b[byte] ^= flip;
        for body in Body::ALL {
            let write = |random| format(None, body).write(Environment::Live, random).expose().to_owned();
            prop_assert_ne!(write(&a), write(&b));
        }
    }

    /// Each position in turn, each with one other character.
    #[test]
    fn base62_key_with_one_changed_character_is_never_read_again(
        random: [u8; 32],
        prefix in prop::option::of("[a-z0-9_]{0,16}"),
        shift in 1..94_u8,
        other in any::<char>(),
    ) {
        let key = format(prefix.as_deref(), Body::Base62).write(Environment::Live, &random);
        let text = key.expose();
        for at in 0..text.len() {
            let (before, after) = (&text[..at], &text[at + 1..]);
            let graphic = char::from((text.as_bytes()[at] - b'!' + shift) % 94 + b'!');
            for replacement in [graphic, other] {
                let changed = format!("{before}{replacement}{after}");
                if changed != text {
                    prop_assert!(!readings(&changed).any(|(_, body)| body == Body::Base62), "{}", changed);
                }
            }
        }
    }

    #[test]
    fn shortened_lengthened_or_swapped_base62_key_is_not_read_again(random: [u8; 32], at in 0..56_usize) {
        let key = KeyFormat::default().write(Environment::Live, &random);
        let mut swapped = key.expose().as_bytes().to_vec();
        swapped.swap(at, at + 1);
        let swapped = String::from_utf8(swapped).unwrap();
        let (mut shorter, mut longer) = (key.expose().to_owned(), key.expose().to_owned());
        shorter.remove(at);
        longer.insert(at, 'x');
        for changed in [swapped, shorter, longer].iter().filter(|c| *c != key.expose()) {
            prop_assert!(!readings(changed).any(|(_, body)| body == Body::Base62), "{}", changed);
        }
    }

    #[test]
    fn junk_of_a_keys_length_does_not_read_as_a_base62_key(junk in "[0-9A-Za-z_]{49,65}") {
        prop_assert!(!readings(&junk).any(|(_, body)| body == Body::Base62));
    }

    #[test]
    fn every_reading_is_a_format_that_can_be_had(junk in prop_oneof![any::<String>(), "[ -~é]{0,140}", "[0-9a-f_P]{43,80}"]) {
        for (prefix, body) in readings(&junk) {
            prop_assert!(KeyFormat::new(Some(prefix.to_owned()), body).is_ok(), "{}", prefix);
            prop_assert_eq!(prefix.len() + body.length(), junk.len());
            prop_assert!(junk.is_ascii());
        }
        prop_assert!(readings(&junk).count() <= 3);
    }
}
