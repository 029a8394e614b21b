//! Key formats as they are stored.

use keyrack_core::KeyFormat;

/// JSON as a key format: what is taken has a prefix that may be had, and is read back as it was written.
pub fn key_format(data: &[u8]) {
    let Ok(format) = serde_json::from_slice::<KeyFormat>(data) else { return };
    assert_eq!(KeyFormat::new(format.prefix().map(str::to_owned), format.body()), Ok(format.clone()));
    let written = serde_json::to_string(&format).unwrap_or_default();
    assert_eq!(serde_json::from_str::<KeyFormat>(&written).ok(), Some(format));
}
