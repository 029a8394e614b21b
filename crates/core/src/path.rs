//! Which request paths are taken at all.
//!
//! A path that two parsers could read differently is refused, never mended: what the guard was matched against must be what
//! the target sees.

use std::borrow::Cow;

/// Why a path is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the path is not in canonical form: {0}")]
pub struct NonCanonical(pub &'static str);

/// Whether the raw path of a request (up to the first `?`) is canonical.
pub fn check(path: &[u8]) -> Result<(), NonCanonical> {
    if path.first() != Some(&b'/') {
        return Err(NonCanonical("it does not start with a slash"));
    }
    for (at, byte) in path.iter().enumerate() {
        match byte {
            b'\\' => return Err(NonCanonical("it holds a backslash")),
            b';' => return Err(NonCanonical("it holds a semicolon")),
            b'#' => return Err(NonCanonical("it holds a number sign")),
            b'?' => return Err(NonCanonical("it holds a question mark")),
            b'%' => check_escape(path.get(at + 1..at + 3))?,
            0x21..=0x7e => {}
            _ => return Err(NonCanonical("it holds a byte that is not printable ASCII")),
        }
    }
    let mut segments = path[1..].split(|b| *b == b'/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            b"." | b".." => return Err(NonCanonical("it holds a dot segment")),
            b"" if segments.peek().is_some() => return Err(NonCanonical("it holds an empty segment")),
            _ => {}
        }
    }
    Ok(())
}

fn check_escape(digits: Option<&[u8]>) -> Result<(), NonCanonical> {
    let digit = |b: u8| char::from(b).to_digit(16);
    let value = digits.and_then(|d| Some(digit(d[0])? * 16 + digit(d[1])?));
    let Some(value) = value.and_then(|v| u8::try_from(v).ok()) else {
        return Err(NonCanonical("it holds a % that escapes nothing"));
    };
    match value {
        b'/' => Err(NonCanonical("it escapes a slash")),
        b'\\' => Err(NonCanonical("it escapes a backslash")),
        b'%' => Err(NonCanonical("it escapes a percent sign")),
        0x00..=0x1f | 0x7f => Err(NonCanonical("it escapes a control character")),
        b'-' | b'.' | b'_' | b'~' => Err(NonCanonical("it escapes a character that needs no escape")),
        b if b.is_ascii_alphanumeric() => Err(NonCanonical("it escapes a character that needs no escape")),
        _ => Ok(()),
    }
}

/// Undoes the escapes `%XX` and nothing else; `None` where a `%` escapes nothing.
pub fn percent_decode(text: &str) -> Option<Cow<'_, [u8]>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text.as_bytes()));
    }
    let hex = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            decoded.push(hex(bytes.next())? * 16 + hex(bytes.next())?);
        } else {
            decoded.push(byte);
        }
    }
    Some(Cow::Owned(decoded))
}
