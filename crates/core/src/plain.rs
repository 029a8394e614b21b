//! The text of a key, for the short time it exists in the clear.

use zeroize::Zeroizing;

/// A key's text. It is wiped when dropped and has no way out but [`PlainKey::expose`].
///
/// It cannot be printed:
/// ```compile_fail
/// let key = keyrack_core::PlainKey::new("sk_live_x".to_owned());
/// println!("{key}");
/// ```
/// nor compared loosely:
/// ```compile_fail
/// let key = keyrack_core::PlainKey::new("sk_live_x".to_owned());
/// let _ = key == keyrack_core::PlainKey::new("sk_live_x".to_owned());
/// ```
/// nor serialized:
/// ```compile_fail
/// let key = keyrack_core::PlainKey::new("sk_live_x".to_owned());
/// serde_json::to_string(&key).unwrap();
/// ```
pub struct PlainKey(Zeroizing<String>);

impl PlainKey {
    /// Takes the text over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself. Whoever calls this answers for where it goes: only into the one answer that shows a new
    /// secret, or into a digest.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The last four characters, which may be shown.
    pub fn last4(&self) -> &str {
        let text = self.expose();
        text.char_indices().rev().nth(3).map_or(text, |(at, _)| &text[at..])
    }
}

impl std::fmt::Debug for PlainKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PlainKey(..)")
    }
}
