//! Headers between a caller and what is behind a door.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use keyrack_core::Role;
use keyrack_engine::{KnownKey, Person, Tenant};

use crate::caller::COOKIE;

/// The names under which a door tells its target who is calling.
const IDENTITY: [&str; 8] = [
    "x-consumer-id",
    "x-consumer-username",
    "x-consumer-groups",
    "x-credential-identifier",
    "x-keyrack-key-name",
    "x-keyrack-workspace",
    "x-keyrack-scopes",
    "x-keyrack-role",
];
/// Headers that are about one connection (RFC 9110 section 7.6.1, and its older relatives).
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "proxy-connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "proxy-authenticate",
    "proxy-authorization",
];

/// Sets a header, if the text can stand in one.
pub fn set(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

/// Removes what is about one connection, and what `Connection` says is.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named = headers.get_all(header::CONNECTION).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
    let named: Vec<HeaderName> = named.filter_map(|name| name.trim().parse().ok()).collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Whether a request with these wants to become a WebSocket (RFC 6455 section 4.1).
pub fn is_websocket(headers: &HeaderMap) -> bool {
    says(headers, &header::CONNECTION, "upgrade") && says(headers, &header::UPGRADE, "websocket")
}

/// Whether a header that is a list holds a word.
fn says(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case(wanted))
}

/// Whether whoever sent these reads what may follow a body, as gRPC needs it. That is about one connection, and true of ours too.
pub fn takes_trailers(headers: &HeaderMap) -> bool {
    says(headers, &header::TE, "trailers")
}

/// Says that what may follow a body is read.
pub fn take_trailers(headers: &mut HeaderMap) {
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
}

/// Removes every header of these names, with dash or underscore: to many services they are one.
pub fn remove_alike(headers: &mut HeaderMap, is_so: impl Fn(&str) -> bool) {
    let alike = |name: &&HeaderName| is_so(&name.as_str().replace('_', "-"));
    let named: Vec<HeaderName> = headers.keys().filter(alike).cloned().collect();
    for name in named {
        headers.remove(name);
    }
}

/// Removes what a caller may not bring along: names of ours, with dash or underscore, and our cookies. The credential goes
/// too, unless it is between the caller and the target.
pub fn remove_claims(headers: &mut HeaderMap, keep_authorization: bool) {
    remove_alike(headers, |name| {
        IDENTITY.contains(&name) || name.starts_with("x-keyrack-") || matches!(name, "x-request-id" | "x-api-key")
    });
    if !keep_authorization {
        headers.remove(header::AUTHORIZATION);
    }
    // Over HTTP/2 each may have a line of its own; elsewhere they share one (RFC 9113 section 8.2.3).
    let cookies: Vec<Vec<u8>> = headers.get_all(header::COOKIE).iter().map(without_our_cookies).collect();
    headers.remove(header::COOKIE);
    let kept = cookies.into_iter().filter(|kept| !kept.is_empty()).collect::<Vec<_>>().join(b"; ".as_slice());
    if let Some(kept) = HeaderValue::from_bytes(&kept).ok().filter(|kept| !kept.is_empty()) {
        headers.insert(header::COOKIE, kept);
    }
}

fn without_our_cookies(value: &HeaderValue) -> Vec<u8> {
    let pairs = value.as_bytes().split(|b| *b == b';').map(<[u8]>::trim_ascii);
    let kept: Vec<&[u8]> = pairs.filter(|pair| !is_ours(pair)).collect();
    kept.join(b"; ".as_slice())
}

fn is_ours(pair: &[u8]) -> bool {
    let name = pair.split(|b| *b == b'=').next().unwrap_or_default();
    name == COOKIE.as_bytes() || name.starts_with(b"__Host-keyrack_")
}

/// Removes cookies of ours that an upstream tries to set.
pub fn remove_our_set_cookies(headers: &mut HeaderMap) {
    let set: Vec<HeaderValue> = headers.get_all(header::SET_COOKIE).iter().cloned().collect();
    if set.iter().any(|cookie| is_ours(cookie.as_bytes().trim_ascii())) {
        headers.remove(header::SET_COOKIE);
        for cookie in set.into_iter().filter(|cookie| !is_ours(cookie.as_bytes().trim_ascii())) {
            headers.append(header::SET_COOKIE, cookie);
        }
    }
}

/// Who is calling, as the target is told.
#[derive(Default)]
pub struct Identity([Option<String>; IDENTITY.len()]);

impl Identity {
    /// A key.
    pub fn of_key(key: &KnownKey) -> Self {
        let facts = key.facts();
        Self([
            Some(facts.organization.to_string()),
            Some(key.tenant.organization.slug.clone()),
            Some(key.group_name().to_owned()),
            Some(facts.key.to_string()),
            Some(key.record.name.to_string()),
            key.workspace_slug().map(str::to_owned),
            Some(key.scope_names().join(" ")),
            Some(Role::of_key(facts.in_access_group).as_str().to_owned()),
        ])
    }

    /// A person who is signed in.
    pub fn of_person(person: &Person, tenant: &Tenant, role: Role) -> Self {
        let organization = &tenant.organization;
        let mut identity = Self([const { None }; IDENTITY.len()]);
        identity.0[0] = Some(organization.id.to_string());
        identity.0[1] = Some(organization.slug.clone());
        identity.0[3] = Some(person.user.to_string());
        identity.0[6] = Some(role.scopes().to_strings().join(" "));
        identity.0[7] = Some(role.as_str().to_owned());
        identity
    }

    /// Writes every name, with `-` where there is nothing: a target never sees a caller's own.
    pub fn write(&self, headers: &mut HeaderMap) {
        for (name, value) in IDENTITY.into_iter().zip(&self.0) {
            let value = value.as_deref().filter(|v| !v.is_empty()).map(printable);
            let value = value.and_then(|v| HeaderValue::try_from(v).ok());
            headers.insert(HeaderName::from_static(name), value.unwrap_or(HeaderValue::from_static("-")));
        }
    }
}

/// Percent-encodes what is not printable ASCII, and the percent sign itself.
fn printable(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut written = String::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            written.push(char::from(byte));
        } else {
            let [high, low] = [byte >> 4, byte & 15].map(|digit| char::from(HEX[usize::from(digit)]));
            written.extend(['%', high, low]);
        }
    }
    written
}
