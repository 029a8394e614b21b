//! Bodies that are sent as forms.

use keyrack_client::wire::Introspect;

/// Bytes as the form of an introspection: what is read is the same when it is written and read again, and each of its fields was
/// sent, once.
pub fn form(data: &[u8]) {
    let Ok(read) = serde_urlencoded::from_bytes::<Introspect>(data) else { return };
    let written = serde_urlencoded::to_string(&read).unwrap_or_default();
    let again: Introspect = serde_urlencoded::from_str(&written).unwrap_or_else(|error| panic!("{error}: {written}"));
    assert_eq!(again.token, read.token);
    assert_eq!(again.token_type_hint, read.token_type_hint);
    let pairs: Vec<(String, String)> = serde_urlencoded::from_bytes(data).unwrap_or_default();
    let sent = |name: &str| pairs.iter().filter(|(sent, _)| sent == name).map(|(_, value)| value).collect::<Vec<_>>();
    assert_eq!(sent("token"), [&read.token]);
    assert_eq!(sent("token_type_hint"), read.token_type_hint.iter().collect::<Vec<_>>());
}
