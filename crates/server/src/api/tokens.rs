//! `/api/tokens`, `/api/revoke` and the keys that tokens are checked with.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64URL_NOPAD;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use keyrack_client::wire::{CreateToken, CreatedToken, GiveUp, TokenKey, TokenKeys};
use keyrack_core::token::{PublicKey, cose_key_set};

use crate::app::App;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::json::{Form, Json, OptionalJson};
use crate::request_id::RequestId;

/// The media type of a COSE key set (RFC 9052).
const COSE_KEY_SET: &str = "application/cose-key-set";

/// Exchange a key for a token
///
/// The token stands for the key at every door, for an hour at most, and dies with it. It makes no key and no token, and changes
/// nothing.
#[utoipa::path(post, path = "/api/tokens", tag = "tokens", operation_id = "createToken", request_body = Option<CreateToken>,
    responses((status = 201, body = CreatedToken)))]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    OptionalJson(body): OptionalJson<CreateToken>,
) -> Result<(StatusCode, Json<CreatedToken>), ApiError> {
    let key = caller.key.as_ref().ok_or_else(ApiError::unauthorized)?;
    let made = app.engine.make_token(key, body.scopes.as_deref(), body.expires_in)?;
    let expires_in = made.expires_at.as_second() - app.engine.now().as_second();
    let created = CreatedToken {
        token: made.text,
        token_type: "Bearer".to_owned(),
        expires_in,
        expires_at: made.expires_at,
        scopes: made.scopes.map(|scopes| scopes.to_strings()),
    };
    Ok((StatusCode::CREATED, Json(created)))
}

/// Make a new signing key
///
/// It signs ten seconds later; tokens of the one before are taken until they have expired.
#[utoipa::path(post, path = "/api/tokens/signing-keys", tag = "tokens", operation_id = "createSigningKey",
    responses((status = 201, body = TokenKeys)))]
pub(super) async fn rotate(State(app): State<App>, caller: Caller) -> Result<(StatusCode, Json<TokenKeys>), ApiError> {
    app.engine.rotate_signing_key(&caller.context).await?;
    Ok((StatusCode::CREATED, Json(web_keys(&app.engine.token_keys()))))
}

/// Show the keys that tokens are checked with
///
/// As a JSON Web Key Set, or as a COSE key set for `Accept: application/cose-key-set`.
#[utoipa::path(get, path = "/.well-known/keyrack/keys", tag = "tokens", operation_id = "getTokenKeys",
    responses((status = 200, body = TokenKeys)))]
pub(super) async fn keys(State(app): State<App>, headers: HeaderMap) -> Result<Response, ApiError> {
    let keys = app.engine.token_keys();
    let accepts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let wants_cose = accepts.flat_map(|value| value.split(',')).any(|media| media.trim().starts_with(COSE_KEY_SET));
    let mut response = if wants_cose {
        let set = cose_key_set(&keys).ok_or_else(ApiError::internal)?;
        ([(CONTENT_TYPE, HeaderValue::from_static(COSE_KEY_SET))], set).into_response()
    } else {
        Json(web_keys(&keys)).into_response()
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=5"));
    Ok(response)
}

fn web_keys(keys: &[PublicKey]) -> TokenKeys {
    let key = |key: &PublicKey| TokenKey {
        kty: "OKP".to_owned(),
        crv: "Ed25519".to_owned(),
        x: BASE64URL_NOPAD.encode(key.as_bytes()),
        kid: BASE64URL_NOPAD.encode(&key.kid()),
        alg: "EdDSA".to_owned(),
        usage: "sig".to_owned(),
    };
    TokenKeys { keys: keys.iter().map(key).collect() }
}

/// Give a key up (RFC 7009)
///
/// Whoever has the text of a key may revoke it, from wherever, so that one that is found can be made harmless. When this has answered,
/// no request is let in with it. Always 200: nobody learns whether the text was a key.
#[utoipa::path(post, path = "/api/revoke", tag = "tokens", operation_id = "giveUpKey",
    request_body(content = GiveUp, content_type = "application/x-www-form-urlencoded"), responses((status = 200)))]
pub(super) async fn give_up(
    State(app): State<App>,
    request_id: Option<axum::Extension<RequestId>>,
    Form(body): Form<GiveUp>,
) -> Result<StatusCode, ApiError> {
    app.engine.give_up(&body.token, request_id.map(|id| id.0.0)).await?;
    Ok(StatusCode::OK)
}
