//! How the text of a key looks, how a new one is made, and how junk is told from keys without a look-up.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::PlainKey;

/// Bytes of randomness in every key Keyrack makes.
pub const SECRET_BYTES: usize = 32;
/// The longest text that is taken for a key; longer text can only be a token.
pub const MAX_KEY_LENGTH: usize = 128;
/// The shortest text that may be imported.
pub const MIN_IMPORT_LENGTH: usize = 16;
const MAX_PREFIX_LENGTH: usize = 16;
/// Characters of the body that stay visible in `display_prefix`.
const DISPLAYED_BODY: usize = 8;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BASE62_SECRET: usize = 43;
const BASE62_CHECKSUM: usize = 6;

/// What a key is for. It shows in the default prefix: `sk_live_` or `sk_test_`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// Real use.
    #[default]
    Live,
    /// Trying things out.
    Test,
}

impl Environment {
    /// The word used in JSON, on the command line and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }

    /// The environment of that word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Live, Self::Test].into_iter().find(|e| e.as_str() == text)
    }

    fn default_prefix(self) -> &'static str {
        match self {
            Self::Live => "sk_live_",
            Self::Test => "sk_test_",
        }
    }
}

/// How the random part of a key is written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Body {
    /// 43 characters of 0-9 A-Z a-z, then 6 that carry a CRC-32 of all before them.
    #[default]
    Base62,
    /// 64 lower-case hexadecimal digits, no checksum.
    Hex,
    /// 43 characters of base64url (RFC 4648 section 5) without padding, no checksum.
    Base64url,
}

impl Body {
    /// Every way of writing.
    pub const ALL: [Self; 3] = [Self::Base62, Self::Hex, Self::Base64url];

    /// The word used in JSON and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Base62 => "base62",
            Self::Hex => "hex",
            Self::Base64url => "base64url",
        }
    }

    /// The body of that word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|b| b.as_str() == text)
    }

    /// Length in characters, checksum included.
    pub fn length(self) -> usize {
        match self {
            Self::Base62 => BASE62_SECRET + BASE62_CHECKSUM,
            Self::Hex => 2 * SECRET_BYTES,
            Self::Base64url => 43,
        }
    }

    fn accepts(self, prefix: &str, body: &str) -> bool {
        match self {
            Self::Base62 => {
                all(body, |b| b.is_ascii_alphanumeric()) && {
                    let (secret, checksum) = body.split_at(BASE62_SECRET);
                    checksum.as_bytes() == checksum_of(prefix, secret)
                }
            }
            Self::Hex => all(body, |b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
            Self::Base64url => all(body, |b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')),
        }
    }
}

/// Why a key format cannot be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FormatError {
    /// The prefix holds something else than `[a-z0-9_]` or is too long.
    #[error("a key prefix is up to 16 characters of a-z, 0-9 and _")]
    Prefix,
}

/// The format of a group's keys. Read from JSON it is checked like any other.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct KeyFormat {
    /// `None` is the default, which follows the environment: `sk_live_`, `sk_test_`.
    prefix: Option<String>,
    body: Body,
}

#[derive(Deserialize)]
struct Unchecked {
    prefix: Option<String>,
    body: Body,
}

impl TryFrom<Unchecked> for KeyFormat {
    type Error = FormatError;

    fn try_from(format: Unchecked) -> Result<Self, FormatError> {
        Self::new(format.prefix, format.body)
    }
}

impl KeyFormat {
    /// A format with a prefix of its own (`[a-z0-9_]{0,16}`), or with the default one for `None`.
    pub fn new(prefix: Option<String>, body: Body) -> Result<Self, FormatError> {
        if prefix.as_deref().is_none_or(is_prefix) { Ok(Self { prefix, body }) } else { Err(FormatError::Prefix) }
    }

    /// The group's own prefix, `None` where the environment gives it.
    pub fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref()
    }

    /// How the random part is written.
    pub fn body(&self) -> Body {
        self.body
    }

    /// The prefixes that keys of this format may bear.
    pub fn prefixes(&self) -> Vec<&str> {
        match &self.prefix {
            Some(own) => vec![own],
            None => vec![Environment::Live.default_prefix(), Environment::Test.default_prefix()],
        }
    }

    /// Writes 32 random bytes as a key of this format.
    pub fn write(&self, environment: Environment, random: &[u8; SECRET_BYTES]) -> PlainKey {
        let prefix = self.prefix.as_deref().unwrap_or(environment.default_prefix());
        let mut text = String::with_capacity(prefix.len() + self.body.length());
        text.push_str(prefix);
        match self.body {
            Body::Base62 => {
                let secret = base62(random);
                let secret = std::str::from_utf8(&*secret).unwrap_or_default();
                text.push_str(secret);
                text.push_str(std::str::from_utf8(&checksum_of(prefix, secret)).unwrap_or_default());
            }
            Body::Hex => data_encoding::HEXLOWER.encode_append(random, &mut text),
            Body::Base64url => data_encoding::BASE64URL_NOPAD.encode_append(random, &mut text),
        }
        PlainKey::new(text)
    }

    /// The part of a key of this format that may be shown: its prefix and 8 characters of the body.
    pub fn display_prefix<'k>(&self, key: &'k PlainKey) -> &'k str {
        let text = key.expose();
        &text[..text.len().saturating_sub(self.body.length() - DISPLAYED_BODY)]
    }
}

/// Splits text into every (prefix, body) that some format could have, checksum verified. At most three.
pub fn readings(text: &str) -> impl Iterator<Item = (&str, Body)> {
    Body::ALL.into_iter().filter_map(move |body| {
        let (prefix, rest) = text.split_at_checked(text.len().checked_sub(body.length())?)?;
        (is_prefix(prefix) && body.accepts(prefix, rest)).then_some((prefix, body))
    })
}

fn is_prefix(text: &str) -> bool {
    text.len() <= MAX_PREFIX_LENGTH && all(text, |b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

/// Whether every byte is of some kind. All are looked at, many at once, which is quicker than to stop at the first that is not.
fn all(text: &str, is_fine: impl Fn(u8) -> bool) -> bool {
    text.bytes().fold(true, |all, byte| all & is_fine(byte))
}

/// What may be imported as a key: 16 to 128 printable ASCII characters without comma or space.
pub fn is_importable(text: &str) -> bool {
    (MIN_IMPORT_LENGTH..=MAX_KEY_LENGTH).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b',')
}

/// The part of an imported key that may be shown: 8 characters, or a quarter of a short one.
pub fn imported_display_prefix(key: &PlainKey) -> &str {
    let text = key.expose();
    &text[..(text.len() / 4).min(DISPLAYED_BODY)]
}

/// Writes a 256-bit number in 43 digits of base 62, most significant first.
fn base62(random: &[u8; SECRET_BYTES]) -> Zeroizing<[u8; BASE62_SECRET]> {
    let mut number = Zeroizing::new(*random);
    let mut digits = Zeroizing::new([b'0'; BASE62_SECRET]);
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0_u32;
        for byte in number.iter_mut() {
            let value = remainder * 256 + u32::from(*byte);
            *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
            remainder = value % 62;
        }
        *digit = BASE62[remainder as usize];
    }
    digits
}

/// CRC-32 (IEEE) over prefix and secret, in 6 digits of base 62. It tells typing errors and junk from keys and lets leak
/// scanners recognise them; it protects nothing.
fn checksum_of(prefix: &str, secret: &str) -> [u8; BASE62_CHECKSUM] {
    let mut crc = crc32fast::Hasher::new();
    crc.update(prefix.as_bytes());
    crc.update(secret.as_bytes());
    let mut rest = crc.finalize();
    let mut digits = [b'0'; BASE62_CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}
