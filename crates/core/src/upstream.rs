//! Addresses of services behind doors, and names of hosts in front of them.

use std::net::Ipv6Addr;

/// The longest address of a service.
pub const MAX_URL: usize = 2048;
/// The longest name of a host.
const MAX_HOST: usize = 253;

/// Why an address is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Another scheme, or none.
    #[error("must start with http:// or https://")]
    Scheme,
    /// No host, or more than a host and a port.
    #[error("must name a host, and no user or password")]
    Host,
    /// A query, or a path that two parsers could read differently.
    #[error("must have a plain path, without query")]
    Path,
}

/// Checks the address of a service: `http://` or `https://`, a host, perhaps a port, perhaps a plain path.
pub fn check(url: &str) -> Result<(), UpstreamError> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")).ok_or(UpstreamError::Scheme)?;
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    if !is_authority(authority) || url.len() > MAX_URL || !url.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(UpstreamError::Host);
    }
    // What RFC 3986 (section 3.3) lets a path hold, so that whoever sends requests there can read it.
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@/%".contains(&b);
    if !path.bytes().all(is_plain) || crate::path::check(path.as_bytes()).is_err() {
        return Err(UpstreamError::Path);
    }
    Ok(())
}

/// A host, or an IPv6 address in brackets, and a port if there is one.
fn is_authority(text: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
    };
    let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p > 0);
    match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((address, ""))) => address.parse::<Ipv6Addr>().is_ok(),
        Some(Some((address, port))) => {
            address.parse::<Ipv6Addr>().is_ok() && port.strip_prefix(':').is_some_and(is_port)
        }
        Some(None) => false,
        None => text.split_once(':').map_or_else(|| is_name(text), |(name, port)| is_name(name) && is_port(port)),
    }
}

/// The name of a host without port, in lower case.
pub fn host(text: &str) -> Option<String> {
    let host = text.to_ascii_lowercase();
    let label = |l: &str| !l.is_empty() && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    (host.len() <= MAX_HOST && host.split('.').all(label)).then_some(host)
}
