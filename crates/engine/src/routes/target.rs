//! What is behind a route, and which web pages may call it.

use std::collections::BTreeMap;

use keyrack_core::secret::secret_name;
use keyrack_core::upstream;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How many headers a route may add.
const MAX_HEADERS: usize = 32;
/// The longest value of one of them.
const MAX_HEADER_VALUE: usize = 1024;
/// The longest a service may be given to answer, or to be silent: a day.
const MAX_SECONDS: u32 = 24 * 60 * 60;
/// The longest script, in bytes.
pub const MAX_SCRIPT: usize = 128 * 1024;
/// How many origins may call a route, and how many names of headers it may list.
const MAX_LISTED: usize = 64;

/// What is behind a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Target {
    /// Another HTTP service.
    Upstream(Upstream),
    /// A small function in JavaScript.
    Script(Script),
}

impl Target {
    /// A service at an address, and nothing said beside.
    pub fn upstream(url: impl Into<String>) -> Self {
        Self::Upstream(Upstream { url: url.into(), ..Upstream::default() })
    }

    /// Whether what is behind the route learns secrets: then whoever says where it is must be allowed to read them.
    pub(super) fn learns_secrets(&self) -> bool {
        match self {
            Self::Upstream(upstream) => !upstream.secret_headers.is_empty(),
            Self::Script(_) => true,
        }
    }
}

/// A small function in JavaScript: an ES module whose default export answers requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// The module.
    pub source: String,
}

/// Another HTTP service, and how requests get there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// Its address; the path of a request is appended.
    pub url: String,
    /// What is cut off the beginning of a request's path before that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strip_prefix: Option<String>,
    /// Headers that it is sent, whatever the caller sent under their names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The same with secrets of these names: each caller's own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_headers: BTreeMap<String, String>,
    /// The largest body of a request, in bytes; `None` for any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_body_bytes: Option<u64>,
    /// How long it may take to begin its answer once it has the request; a minute if missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// How long it may be silent in the middle of its answer; five minutes if missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout_seconds: Option<u32>,
    /// It is spoken to in HTTP/2 without asking first. Over TLS that is agreed on in any case.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub http2: bool,
}

/// Which web pages of other origins may call a route (the CORS protocol of the Fetch standard).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cors {
    /// Where they come from, such as `https://app.example.com`; `*` alone for anywhere.
    pub origins: Vec<String>,
    /// Which headers they may send; any if missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<Vec<String>>,
    /// Which headers of the service's answers they may read, beside those that Keyrack writes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expose: Vec<String>,
    /// How long a browser may remember that, in seconds; ten minutes if missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age_seconds: Option<u32>,
    /// Cookies of the service go along.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub credentials: bool,
}

impl Cors {
    /// Whether a page of this origin may call.
    pub fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|known| known == "*" || known == origin)
    }
}

/// Refuses a target that no request could be sent to, or that would let a request through as what it is not.
pub(super) fn check_target(target: &Target, path: &str) -> Result<()> {
    let upstream = match target {
        Target::Upstream(upstream) => upstream,
        Target::Script(script) => return check_script(script),
    };
    upstream::check(&upstream.url).map_err(|error| Error::invalid("target.url", error))?;
    if let Some(prefix) = &upstream.strip_prefix {
        check_prefix(prefix, path)?;
    }
    if upstream.headers.len() > MAX_HEADERS {
        return Err(Error::invalid("target.headers", "must not be more than 32"));
    }
    for (name, value) in &upstream.headers {
        check_header(name, value).map_err(|message| Error::invalid(format!("target.headers.{name}"), message))?;
    }
    check_secret_headers(upstream)?;
    if upstream.max_body_bytes.is_some_and(|bytes| i64::try_from(bytes).is_err()) {
        return Err(Error::invalid("target.max_body_bytes", "must be at most 9223372036854775807"));
    }
    if upstream.http2 && upstream.headers.contains_key("host") {
        return Err(Error::invalid("target.headers.host", "is not sent in HTTP/2; the address names the host"));
    }
    let seconds = [
        ("target.timeout_seconds", upstream.timeout_seconds),
        ("target.idle_timeout_seconds", upstream.idle_timeout_seconds),
    ];
    for (field, seconds) in seconds {
        if seconds.is_some_and(|seconds| !(1..=MAX_SECONDS).contains(&seconds)) {
            return Err(Error::invalid(field, "must be 1 to 86400"));
        }
    }
    Ok(())
}

/// Whether it can be read as JavaScript is for whoever runs it to say.
fn check_script(script: &Script) -> Result<()> {
    let refused = |message: String| Err(Error::invalid("target.source", message));
    match script.source.len() {
        0 => refused("must not be empty".to_owned()),
        length if length > MAX_SCRIPT => refused(format!("must have at most {MAX_SCRIPT} bytes")),
        _ if script.source.contains('\0') => refused("must not contain the character U+0000".to_owned()),
        _ => Ok(()),
    }
}

/// What is cut off is there in every path that the route takes.
fn check_prefix(prefix: &str, path: &str) -> Result<()> {
    let refused = |message| Err(Error::invalid("target.strip_prefix", message));
    if !prefix.starts_with('/') || prefix.ends_with('/') || prefix.contains([':', '*']) {
        return refused("must be a path such as /v1, without parameters and without / at its end");
    }
    match path.strip_prefix(prefix) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => Ok(()),
        _ => refused("must be the beginning of the route's path"),
    }
}

fn check_secret_headers(upstream: &Upstream) -> Result<()> {
    let field = |name: &str| format!("target.secret_headers.{name}");
    if upstream.secret_headers.len() > MAX_HEADERS {
        return Err(Error::invalid("target.secret_headers", "must not be more than 32"));
    }
    for (header, secret) in &upstream.secret_headers {
        // What a caller sends under these two names ends at the door: they are free for what the service itself wants to see.
        if !["authorization", "x-api-key"].contains(&&**header) {
            check_header(header, "").map_err(|message| Error::invalid(field(header), message))?;
        }
        if header == "host" || upstream.headers.contains_key(header) {
            return Err(Error::invalid(field(header), "is said by the address, or among the headers already"));
        }
        secret_name(secret).map_err(|error| Error::invalid(field(header), error))?;
    }
    Ok(())
}

fn check_header(name: &str, value: &str) -> std::result::Result<(), &'static str> {
    /// What is about one connection or one body, and what tells who calls.
    const OURS: [&str; 17] = [
        "authorization",
        "connection",
        "content-length",
        "expect",
        "forwarded",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-api-key",
        "x-credential-identifier",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
    ];
    const FAMILIES: [&str; 3] = ["x-keyrack-", "x-consumer-", "x-request-"];
    if !is_header_name(name) {
        return Err("the name must be lower-case letters, digits and dashes");
    }
    if OURS.contains(&name) || FAMILIES.iter().any(|family| name.starts_with(family)) {
        return Err("is written by Keyrack or left out by it");
    }
    if value.len() > MAX_HEADER_VALUE || !value.bytes().all(|b| matches!(b, b' '..=b'~')) || value.trim() != value {
        return Err("must be printable ASCII, at most 1024 characters, without spaces around it");
    }
    Ok(())
}

fn is_header_name(name: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !name.is_empty() && name.len() <= 100 && name.bytes().all(is_plain)
}

/// What is to be stored of it: origins as browsers write them, and names of headers in lower case.
pub(super) fn read_cors(cors: Cors, sessions: bool) -> Result<Cors> {
    if cors.origins.is_empty() || cors.origins.len() > MAX_LISTED {
        return Err(Error::invalid("cors.origins", "must be 1 to 64 origins"));
    }
    let is_any = cors.origins.iter().any(|origin| origin == "*");
    if is_any && (cors.origins.len() > 1 || cors.credentials) {
        return Err(Error::invalid("cors.origins", "must be * alone, and without credentials, or a list of origins"));
    }
    if cors.credentials && sessions {
        let message =
            "cannot be where people who are signed in are let in: their sessions are for pages of Keyrack's own";
        return Err(Error::invalid("cors.credentials", message));
    }
    let origins = cors.origins.iter().enumerate().map(|(at, origin)| {
        let message = "must be an origin such as https://app.example.com, or *";
        read_origin(origin).ok_or_else(|| Error::invalid(format!("cors.origins[{at}]"), message))
    });
    let names = |field: &'static str, names: Vec<String>| -> Result<Vec<String>> {
        if names.len() > MAX_LISTED {
            return Err(Error::invalid(format!("cors.{field}"), "must not be more than 64"));
        }
        let read = names.into_iter().enumerate().map(|(at, name)| {
            let name = name.to_ascii_lowercase();
            let message = "must be the name of a header";
            is_header_name(&name).then_some(name).ok_or_else(|| Error::invalid(format!("cors.{field}[{at}]"), message))
        });
        read.collect()
    };
    if cors.max_age_seconds.is_some_and(|seconds| seconds > MAX_SECONDS) {
        return Err(Error::invalid("cors.max_age_seconds", "must be at most 86400"));
    }
    Ok(Cors {
        origins: origins.collect::<Result<_>>()?,
        headers: cors.headers.map(|headers| names("headers", headers)).transpose()?,
        expose: names("expose", cors.expose)?,
        ..cors
    })
}

/// An origin as browsers write it (RFC 6454 section 6.2): scheme, host and a port that is not the scheme's own.
fn read_origin(text: &str) -> Option<String> {
    if text == "*" {
        return Some(text.to_owned());
    }
    let text = text.to_ascii_lowercase();
    let (scheme, authority) = text.split_once("://")?;
    let own_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return None,
    };
    upstream::check(&text).ok().filter(|()| !authority.contains('/'))?;
    Some(text.strip_suffix(own_port).unwrap_or(&text).to_owned())
}
