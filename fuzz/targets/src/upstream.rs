//! Addresses of services behind doors.

use http::Uri;
use keyrack_core::upstream::{MAX_URL, check, host};

/// Text as the address of a service and as the name of a host. An address that is taken is the same to the parser that requests
/// are sent by: one host, as it was written, no user, no query; and what is appended to it stays behind its path.
pub fn upstream(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(name) = host(text) {
        assert_eq!(host(&name).as_ref(), Some(&name));
        assert!(name.eq_ignore_ascii_case(text));
        assert_eq!(check(&format!("http://{name}/")), Ok(()));
    }
    if check(text).is_err() {
        return;
    }
    assert!(text.len() <= MAX_URL && !text.contains(['?', '#', '\\']));
    let uri: Uri = text.parse().unwrap_or_else(|error| panic!("{error}: {text}"));
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    assert_eq!(uri.scheme_str(), Some(scheme));
    assert_eq!(uri.authority().map(http::uri::Authority::as_str), Some(authority));
    assert!(!authority.contains('@'));
    assert_eq!(uri.query(), None);
    assert_eq!(uri.path(), if path.is_empty() { "/" } else { path });
    let (name, port) = match (uri.host(), uri.port_u16()) {
        (Some(name), Some(port)) => (name, format!(":{port}")),
        (Some(name), None) => (name, String::new()),
        (None, _) => panic!("no host: {text}"),
    };
    let written = authority.strip_prefix(name).unwrap_or_else(|| panic!("another host: {name} in {text}"));
    assert_eq!(written.trim_start_matches(':').trim_start_matches('0'), port.trim_start_matches(':'));
    assert_eq!(check(&format!("{scheme}://{name}{port}{path}")), Ok(()));
}
