//! Headers between a caller and what is behind a door.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use keyrack_core::Role;
use keyrack_engine::{KnownKey, Person, Tenant};
use uuid::Uuid;

/// The names under which a door tells its target who is calling.
static IDENTITY: [HeaderName; 8] = [
    HeaderName::from_static("x-consumer-id"),
    HeaderName::from_static("x-consumer-username"),
    HeaderName::from_static("x-consumer-groups"),
    HeaderName::from_static("x-credential-identifier"),
    HeaderName::from_static("x-keyrack-key-name"),
    HeaderName::from_static("x-keyrack-workspace"),
    HeaderName::from_static("x-keyrack-scopes"),
    HeaderName::from_static("x-keyrack-role"),
];
/// Headers that are about one connection (RFC 9110 section 7.6.1, and its older relatives).
static HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
];

/// Sets a header, if the text can stand in one.
pub fn set(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

/// Removes what is about one connection, and what `Connection` says is. With underscores in their names, that and a length would be the
/// same to many services: one of them could see a body end where it does not.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named = headers.get_all(header::CONNECTION).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
    let named: Vec<HeaderName> = named.filter_map(|name| name.trim().parse().ok()).collect();
    for name in named {
        headers.remove(name);
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    let is_framing = |name: &str| name == "content-length" || HOP_BY_HOP.iter().any(|known| known == name);
    let is_alias = |name: &&HeaderName| name.as_str().contains('_') && is_framing(&name.as_str().replace('_', "-"));
    let aliases: Vec<HeaderName> = headers.keys().filter(is_alias).cloned().collect();
    for name in aliases {
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
    let alike = |name: &&HeaderName| match name.as_str() {
        name if name.contains('_') => is_so(&name.replace('_', "-")),
        name => is_so(name),
    };
    let named: Vec<HeaderName> = headers.keys().filter(alike).cloned().collect();
    for name in named {
        headers.remove(name);
    }
}

/// Removes what a caller may not bring along: names of ours, with dash or underscore, and our cookies. The credential goes
/// too, unless it is between the caller and the target.
pub fn remove_claims(headers: &mut HeaderMap, keep_authorization: bool) {
    remove_alike(headers, |name| {
        let is_identity = || IDENTITY.iter().any(|identity| identity == name);
        name.starts_with("x-keyrack-") || matches!(name, "x-request-id" | "x-api-key") || is_identity()
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
    name.starts_with(crate::cookie::PREFIX.as_bytes())
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
pub struct Identity([Option<HeaderValue>; IDENTITY.len()]);

impl Identity {
    /// A key.
    pub fn of_key(key: &KnownKey) -> Self {
        let facts = key.facts();
        Self([
            id(facts.organization.0),
            said(&key.tenant.organization.slug),
            said(key.group_name()),
            id(facts.key.0),
            said(&key.record.name),
            key.workspace_slug().and_then(said),
            said(&key.scope_names().join(" ")),
            said(Role::of_key(facts.in_access_group).as_str()),
        ])
    }

    /// A person who is signed in.
    pub fn of_person(person: &Person, tenant: &Tenant, role: Role) -> Self {
        let organization = &tenant.organization;
        let mut identity = Self([const { None }; IDENTITY.len()]);
        identity.0[0] = id(organization.id.0);
        identity.0[1] = said(&organization.slug);
        identity.0[3] = id(person.user.0);
        identity.0[6] = said(&role.scopes().to_strings().join(" "));
        identity.0[7] = said(role.as_str());
        identity
    }

    /// Writes every name, with `-` where there is nothing: a target never sees a caller's own.
    pub fn write(self, headers: &mut HeaderMap) {
        for (name, value) in IDENTITY.iter().zip(self.0) {
            headers.insert(name, value.unwrap_or(HeaderValue::from_static("-")));
        }
    }
}

fn id(id: Uuid) -> Option<HeaderValue> {
    HeaderValue::from_str(id.hyphenated().encode_lower(&mut Uuid::encode_buffer())).ok()
}

/// A text; `None` for an empty one. What is not printable ASCII is percent-encoded, and the percent sign itself.
fn said(text: &str) -> Option<HeaderValue> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'%';
    if text.bytes().all(is_plain) {
        return HeaderValue::from_str(text).ok().filter(|value| !value.is_empty());
    }
    let mut written = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if is_plain(byte) {
            written.push(char::from(byte));
        } else {
            let [high, low] = [byte >> 4, byte & 15].map(|digit| char::from(HEX[usize::from(digit)]));
            written.extend(['%', high, low]);
        }
    }
    HeaderValue::try_from(written).ok()
}
