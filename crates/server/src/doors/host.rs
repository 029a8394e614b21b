//! The host that a request is for.

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, Uri};

use crate::error::ApiError;

/// The host a request is for, if it names one. Two of them, or one that is none, is a request that two parsers could read
/// differently.
pub(crate) fn host(headers: &HeaderMap, uri: &Uri) -> Result<Option<Authority>, ApiError> {
    let mut values = headers.get_all(HOST).iter();
    let (first, second) = (values.next(), values.next());
    let header = first.map(|value| Authority::try_from(value.as_bytes())).transpose().map_err(|_| one_host())?;
    // An absolute address has a host of its own: the same one.
    let differs = header.as_ref().zip(uri.authority()).is_some_and(|(header, address)| header != address);
    let host = header.or_else(|| uri.authority().cloned());
    if second.is_some() || differs || host.as_ref().is_some_and(|host| host.as_str().contains('@') || !has_port(host)) {
        return Err(one_host());
    }
    Ok(host)
}

/// Whether what stands behind the name, if anything, is a port.
fn has_port(host: &Authority) -> bool {
    let behind = &host.as_str()[host.host().len()..];
    let Some(port) = behind.strip_prefix(':') else { return behind.is_empty() };
    port.is_empty() || (port.bytes().all(|digit| digit.is_ascii_digit()) && port.parse::<u16>().is_ok())
}

/// The name by which routes of a host are found. With a dot at its end it is the same host to whoever resolves it; what is
/// two names to somebody is refused.
pub(crate) fn host_name(host: &Authority) -> Result<String, ApiError> {
    if host.as_str().contains(['@', ',']) {
        return Err(one_host());
    }
    let name = host.host();
    Ok(name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase())
}

/// 400 for a request that names two hosts, or none.
pub(crate) fn one_host() -> ApiError {
    ApiError::bad_request("a request names one host")
}
