//! Names people give to things, and which of them are taken.

use unicode_normalization::UnicodeNormalization;

/// The longest name, in characters.
pub const MAX_NAME: usize = 100;
/// The longest description, in characters.
pub const MAX_DESCRIPTION: usize = 1000;

/// Why text cannot be a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameError {
    /// Nothing but white space.
    #[error("must not be empty")]
    Empty,
    /// Over the limit.
    #[error("must have at most {0} characters")]
    TooLong(usize),
    /// Control characters, or marks that reorder text on a screen.
    #[error("must not hold control characters or marks that change the direction of text")]
    Invisible,
    /// Something else than the characters a slug is made of.
    #[error("must have 1 to 63 characters of a-z, 0-9 and -, and start with a letter or digit")]
    Slug,
    /// Something else than the characters a group name is made of.
    #[error("must have 1 to 63 characters of a-z, 0-9, - and _")]
    Group,
    /// No e-mail address.
    #[error("must be an e-mail address, such as ada@example.com")]
    Email,
}

/// A name for people to read: NFC, trimmed, 1 to 100 characters, none of them a control or bidi character.
pub fn name(text: &str) -> Result<String, NameError> {
    let name = line(text, MAX_NAME)?;
    if name.is_empty() { Err(NameError::Empty) } else { Ok(name) }
}

/// A description: like a name, but up to 1,000 characters, and it may be empty.
pub fn description(text: &str) -> Result<String, NameError> {
    line(text, MAX_DESCRIPTION)
}

fn line(text: &str, limit: usize) -> Result<String, NameError> {
    // Before normalising, so that no one pays for normalising a megabyte. NFC can at most triple the length.
    if text.len() > limit * 12 {
        return Err(NameError::TooLong(limit));
    }
    let line: String = text.trim().nfc().collect();
    if line.chars().count() > limit {
        return Err(NameError::TooLong(limit));
    }
    if line.chars().any(|c| c.is_control() || is_format_mark(c)) {
        return Err(NameError::Invisible);
    }
    Ok(line)
}

/// Bidi controls (UAX 9), line and paragraph separators, and invisible characters that make two names look alike.
fn is_format_mark(c: char) -> bool {
    matches!(c,
        '\u{00AD}' | '\u{061C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}')
}

/// The slug of an organization or workspace: `[a-z0-9][a-z0-9-]{0,62}`.
pub fn slug(text: &str) -> Result<String, NameError> {
    let ok = (1..=63).contains(&text.len())
        && !text.starts_with('-')
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if ok { Ok(text.to_owned()) } else { Err(NameError::Slug) }
}

/// The name of a group: `[a-z0-9_-]{1,63}`.
pub fn group(text: &str) -> Result<String, NameError> {
    let ok =
        (1..=63).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
    if ok { Ok(text.to_owned()) } else { Err(NameError::Group) }
}

/// What an account is called whose owner gave no name: its address, as far as a name may be long.
pub fn of_address(email: &str) -> String {
    email.chars().take(MAX_NAME).collect()
}

/// An e-mail address, trimmed, its letters lowered so that one person cannot be registered twice. The form is checked only
/// as far as it protects: one `@`, something on both sides, no space or control character, at most 254 bytes (RFC 5321).
pub fn email(text: &str) -> Result<String, NameError> {
    // Lowering can undo the composed form, so that is made once more.
    let address: String = line(text, 254).map_err(|_| NameError::Email)?.to_lowercase().nfc().collect();
    let sides = address.split_once('@');
    let ok = address.len() <= 254
        && !address.contains(char::is_whitespace)
        && sides.is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'));
    if ok { Ok(address) } else { Err(NameError::Email) }
}
