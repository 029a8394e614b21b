//! Our script, style and sign, under addresses that change with what they hold.

use std::io::Write as _;
use std::sync::{LazyLock, OnceLock};

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue};

use crate::error::ApiError;

const STYLE: &str = include_str!("../../static/console.css");
const SCRIPT: &str = include_str!("../../static/console.js");
const SIGN: &str = include_str!("../../static/favicon.svg");

/// Where they stand.
pub(super) struct Addresses {
    pub(super) style: String,
    pub(super) script: String,
    pub(super) sign: String,
}

/// Where they stand.
pub(super) fn addresses() -> &'static Addresses {
    static ADDRESSES: OnceLock<Addresses> = OnceLock::new();
    ADDRESSES.get_or_init(|| {
        let address = |name: &str, text: &str, ending: &str| {
            let hash = HEXLOWER.encode(&digest(&SHA256, text.as_bytes()).as_ref()[..6]);
            format!("/static/{name}-{hash}.{ending}")
        };
        Addresses {
            style: address("console", STYLE, "css"),
            script: address("console", SCRIPT, "js"),
            sign: address("favicon", SIGN, "svg"),
        }
    })
}

/// A text, compressed once for all who ask. Pages are not: what is secret in one must not be measured by its length (BREACH).
fn compressed(text: &str) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // A vector takes all that is written.
    let _ = encoder.write_all(text.as_bytes());
    encoder.finish().unwrap_or_default().into()
}

static FILES: LazyLock<[(&str, &str, &str, Bytes); 3]> = LazyLock::new(|| {
    let Addresses { style, script, sign } = addresses();
    [
        (style, "text/css; charset=utf-8", STYLE),
        (script, "text/javascript; charset=utf-8", SCRIPT),
        (sign, "image/svg+xml", SIGN),
    ]
    .map(|(address, kind, text)| (address.trim_start_matches("/static/"), kind, text, compressed(text)))
});

/// Whether a client takes gzip (RFC 9110, 12.5.3).
fn takes_gzip(headers: &HeaderMap) -> bool {
    let all = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(',')).any(|one| {
        let (coding, weight) = one.split_once(';').unwrap_or((one, ""));
        let weight = weight.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse);
        coding.trim().eq_ignore_ascii_case("gzip") && weight.is_ok_and(|weight: f32| weight > 0.0)
    })
}

/// `/static/{file}`
pub(super) async fn get(Path(file): Path<String>, asked: HeaderMap) -> Result<Response, ApiError> {
    let found = FILES.iter().find(|(name, ..)| *name == file);
    let (_, kind, text, compressed) = found.ok_or_else(ApiError::not_found)?;
    let is_compressed = takes_gzip(&asked);
    let mut response = if is_compressed {
        compressed.clone().into_response()
    } else {
        Bytes::from_static(text.as_bytes()).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if is_compressed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_to_who_takes_it() {
        let takes = |value: &'static str| {
            takes_gzip(&HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(value))]))
        };
        for value in ["gzip", "gzip, deflate, br, zstd", "br;q=1.0, GZIP ; q=0.1"] {
            assert!(takes(value), "{value}");
        }
        for value in ["", "br", "identity", "gzip;q=0", "gzip; q=0.000, br", "x-gzips", "gzip;q=none"] {
            assert!(!takes(value), "{value}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
