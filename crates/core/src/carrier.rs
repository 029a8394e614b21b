//! Where in a request a credential may stand, and which one of several is taken.
//!
//! The order is `X-API-Key`, then `Authorization`, then the query where the door allows it. The first carrier that holds
//! something is the only one tried: a wrong key there is not saved by a right one elsewhere.

use std::borrow::Cow;
use std::ops::Range;

use crate::format::MAX_KEY_LENGTH;
use crate::path::percent_decode;

/// The longest credential of all: a token.
pub const MAX_TOKEN_LENGTH: usize = 2048;
/// Names under which a query may carry a key. `api_ley` is a misprint that has been published and is in use.
const QUERY_NAMES: [&[u8]; 3] = [b"api_key", b"apiKey", b"api_ley"];

/// What a request carries.
#[derive(Debug, PartialEq, Eq)]
pub enum Carried<'r> {
    /// No credential at all.
    Nothing,
    /// Text that may be a key.
    Key(Cow<'r, str>),
    /// Text too long for a key, that may be a token.
    Token(Cow<'r, str>),
    /// `Authorization` of a scheme that is not ours: Basic with a user name, Digest. At a public door it belongs to the
    /// target; everywhere else it is a wrong credential.
    Foreign,
    /// Something that cannot be a credential: repeated, comma-joined, too long, not ASCII.
    Malformed,
}

/// Finds the credential among the values of `X-API-Key`, those of `Authorization`, and the raw query where the door takes
/// keys from it (else pass `None`).
pub fn find<'r>(
    mut x_api_key: impl Iterator<Item = &'r [u8]>,
    mut authorization: impl Iterator<Item = &'r [u8]>,
    query: Option<&'r str>,
) -> Carried<'r> {
    match only(&mut x_api_key) {
        Held::Nothing => {}
        Held::Repeated => return Carried::Malformed,
        Held::One(value) => return text(Cow::Borrowed(value)),
    }
    match only(&mut authorization) {
        Held::Nothing => {}
        Held::Repeated => return Carried::Malformed,
        Held::One(value) => return from_authorization(value),
    }
    query.map_or(Carried::Nothing, from_query)
}

enum Held<'r> {
    Nothing,
    One(&'r [u8]),
    Repeated,
}

/// The one value of a header. An empty one counts as absent: `-H "X-API-Key: $UNSET"` carries nothing.
fn only<'r>(values: &mut impl Iterator<Item = &'r [u8]>) -> Held<'r> {
    match (values.next().map(<[u8]>::trim_ascii), values.next()) {
        (None | Some(b""), None) => Held::Nothing,
        (Some(value), None) => Held::One(value),
        (_, Some(_)) => Held::Repeated,
    }
}

/// Accepts printable ASCII without comma or space. `Authorization: Bearer a,Bearer b` is what a proxy makes of two headers.
fn text(value: Cow<'_, [u8]>) -> Carried<'_> {
    if value.is_empty() || !value.iter().all(|b| b.is_ascii_graphic() && *b != b',') {
        return Carried::Malformed;
    }
    let value = match value {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| ()),
        Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|_| ()),
    };
    match value {
        Ok(value) if value.len() <= MAX_KEY_LENGTH => Carried::Key(value),
        Ok(value) if value.len() <= MAX_TOKEN_LENGTH => Carried::Token(value),
        _ => Carried::Malformed,
    }
}

fn from_authorization(value: &[u8]) -> Carried<'_> {
    let Some(space) = value.iter().position(|b| *b == b' ') else { return text(Cow::Borrowed(value)) };
    let (scheme, rest) = (&value[..space], value[space..].trim_ascii());
    if scheme.eq_ignore_ascii_case(b"bearer") {
        text(Cow::Borrowed(rest))
    } else if scheme.eq_ignore_ascii_case(b"basic") {
        from_basic(rest)
    } else if scheme.iter().all(|b| is_token_byte(*b)) {
        Carried::Foreign
    } else {
        // `key, Bearer key`: two headers joined by a proxy, and no scheme that a target could know.
        Carried::Malformed
    }
}

/// RFC 9110 section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// RFC 7617 with an empty user name: base64 of `:key`.
fn from_basic(encoded: &[u8]) -> Carried<'_> {
    if encoded.len() > 2 * MAX_TOKEN_LENGTH {
        return Carried::Malformed;
    }
    match data_encoding::BASE64.decode(encoded) {
        Ok(pair) if pair.first() == Some(&b':') => text(Cow::Owned(pair[1..].to_vec())),
        Ok(pair) if pair.contains(&b':') => Carried::Foreign,
        _ => Carried::Malformed,
    }
}

/// The value of a cookie among those of `Cookie`: the first of that name.
pub fn cookie<'r>(values: impl Iterator<Item = &'r str>, name: &str) -> Option<&'r str> {
    values.flat_map(|value| value.split(';')).find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

fn from_query(query: &str) -> Carried<'_> {
    let mut carriers = query_carriers(query).map(|range| &query[range]).filter(|pair| !value_of(pair).is_empty());
    match (carriers.next(), carriers.next()) {
        (None, _) => Carried::Nothing,
        (Some(_), Some(_)) => Carried::Malformed,
        // `+` stays `+`: a key can hold one and can hold no space.
        (Some(pair), None) => percent_decode(value_of(pair)).map_or(Carried::Malformed, text),
    }
}

fn value_of(pair: &str) -> &str {
    pair.split_once('=').map_or("", |(_, value)| value)
}

/// The pairs of a raw query that carry a key, as ranges of it.
fn query_carriers(query: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut start = 0;
    query.split('&').filter_map(move |pair| {
        let range = start..start + pair.len();
        start = range.end + 1;
        let name = pair.split('=').next().unwrap_or_default();
        let name = percent_decode(name)?;
        QUERY_NAMES.contains(&&*name).then_some(range)
    })
}

/// The names in a raw query under which keys stand, for whoever removes them by name. `None` if one of them is not written as it
/// is: somebody else might not take it for that name.
pub fn query_carrier_names(query: &str) -> Option<Vec<String>> {
    let pairs = query_carriers(query).map(|range| &query[range]);
    let names = pairs.map(|pair| pair.split('=').next().unwrap_or_default());
    names.map(|name| QUERY_NAMES.contains(&name.as_bytes()).then(|| name.to_owned())).collect()
}

/// The raw query without the pairs that carry a key. The other bytes are left as they are: nothing is parsed and written
/// anew, so `%26` stays `%26`.
pub fn without_query_carriers(query: &str) -> Cow<'_, str> {
    let carriers: Vec<_> = query_carriers(query).collect();
    if carriers.is_empty() {
        return Cow::Borrowed(query);
    }
    let mut kept = Vec::new();
    let mut start = 0;
    for pair in query.split('&') {
        if !carriers.iter().any(|c| c.start == start && c.end == start + pair.len()) {
            kept.push(pair);
        }
        start += pair.len() + 1;
    }
    Cow::Owned(kept.join("&"))
}
