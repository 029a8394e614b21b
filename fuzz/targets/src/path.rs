//! Paths of requests.

use keyrack_core::path::check;

/// Bytes as a raw path: what is taken has the same segments for whoever reads it, be he strict or lenient, and however
/// often he undoes its escapes.
pub fn path(data: &[u8]) {
    if check(data).is_err() {
        return;
    }
    assert!(data.starts_with(b"/"));
    assert!(data.iter().all(|b| b.is_ascii_graphic() && !b";#?\\".contains(b)));
    let decoded = lenient(data);
    assert_eq!(lenient(&decoded), decoded);
    assert!(!decoded.iter().any(u8::is_ascii_control));
    let (raw, decoded) = (segments(data), segments(&decoded));
    assert_eq!(raw.len(), decoded.len());
    for segments in [raw, decoded] {
        assert!(!segments.iter().any(|s| *s == b"." || *s == b".."));
        assert!(segments.iter().rev().skip(1).all(|s| !s.is_empty()));
    }
}

fn segments(path: &[u8]) -> Vec<&[u8]> {
    path[1..].split(|b| *b == b'/').collect()
}

/// As a lenient server might read it: escapes undone, backslashes taken for slashes.
fn lenient(path: &[u8]) -> Vec<u8> {
    let digit = |at: usize| path.get(at).and_then(|b| char::from(*b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
    let mut read = Vec::with_capacity(path.len());
    let mut at = 0;
    while let Some(byte) = path.get(at) {
        let escaped = if *byte == b'%' { digit(at + 1).zip(digit(at + 2)) } else { None };
        let byte = escaped.map_or(*byte, |(high, low)| high * 16 + low);
        read.push(if byte == b'\\' { b'/' } else { byte });
        at += if escaped.is_some() { 3 } else { 1 };
    }
    read
}
