//! Our script, style and sign, under addresses that change with what they hold.

use std::sync::OnceLock;

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

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

/// `/static/{file}`
pub(super) async fn get(Path(file): Path<String>) -> Result<Response, ApiError> {
    let Addresses { style, script, sign } = addresses();
    let known = [
        (style, "text/css; charset=utf-8", STYLE),
        (script, "text/javascript; charset=utf-8", SCRIPT),
        (sign, "image/svg+xml", SIGN),
    ];
    let found = known.into_iter().find(|(address, ..)| address.strip_prefix("/static/") == Some(&file));
    let (_, kind, text) = found.ok_or_else(ApiError::not_found)?;
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    Ok(response)
}
