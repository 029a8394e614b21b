//! Reading requests: JSON bodies, queries and path parameters, each with our own words for what is wrong.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::ApiError;

/// The largest body of a management request.
pub(crate) const MAX_BODY: usize = 256 * 1024;
/// The largest body of an import: a thousand keys.
pub(crate) const MAX_IMPORT_BODY: usize = 8 * 1024 * 1024;

/// Room for most answers.
const USUAL_ANSWER: usize = 1024;

/// A JSON body: read strictly, written plainly.
pub(crate) struct Json<T>(pub T);

impl<T: DeserializeOwned + Serialize, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        require_json(request.headers())?;
        parse(&read_body(request, MAX_BODY).await?).map(Self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let mut body = Vec::with_capacity(USUAL_ANSWER);
        match serde_json::to_writer(&mut body, &self.0) {
            Ok(()) => {
                let mut response = Response::new(body.into());
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                response
            }
            Err(error) => {
                tracing::error!(%error, "an answer could not be written");
                ApiError::internal().into_response()
            }
        }
    }
}

/// A JSON body that may be left out.
pub(crate) struct OptionalJson<T>(pub T);

impl<T: DeserializeOwned + Serialize + Default, S: Send + Sync> FromRequest<S> for OptionalJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let has_type = require_json(request.headers());
        let body = read_body(request, MAX_BODY).await?;
        if body.is_empty() {
            return Ok(Self(T::default()));
        }
        has_type?;
        parse(&body).map(Self)
    }
}

/// A JSON body of up to [`MAX_IMPORT_BODY`].
pub(crate) struct LargeJson<T>(pub T);

impl<T: DeserializeOwned + Serialize, S: Send + Sync> FromRequest<S> for LargeJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        require_json(request.headers())?;
        parse(&read_body(request, MAX_IMPORT_BODY).await?).map(Self)
    }
}

/// A body sent as a form, where a standard says so.
pub(crate) struct Form<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Form<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        require_type(request.headers(), "application/x-www-form-urlencoded")?;
        let body = read_body(request, MAX_BODY).await?;
        let read = serde_urlencoded::from_bytes(&body);
        read.map(Self).map_err(|error| ApiError::bad_request(format!("the form cannot be read: {error}")))
    }
}

fn require_json(headers: &HeaderMap) -> Result<(), ApiError> {
    require_type(headers, "application/json")
}

/// A browser sends other types across origins without asking first, so they are never taken for ours.
fn require_type(headers: &HeaderMap, expected: &str) -> Result<(), ApiError> {
    let sent = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if sent.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case(expected)) {
        return Ok(());
    }
    let message = format!("send the body with Content-Type: {expected}");
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message))
}

/// Reads a body whole, up to a limit.
pub(crate) async fn read_body(request: Request, limit: usize) -> Result<Bytes, ApiError> {
    let body = Limited::new(request.into_body(), limit).collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(|error| {
        if error.downcast_ref::<LengthLimitError>().is_some() {
            let message = format!("the body may have at most {limit} bytes");
            return ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message);
        }
        ApiError::bad_request("the body did not arrive whole")
    })
}

/// Reads JSON and names the field that cannot be read.
pub(crate) fn parse<T: DeserializeOwned + Serialize>(body: &[u8]) -> Result<T, ApiError> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        // `?` stands for a name that could not be read, `.` for the whole.
        let path = error.path().to_string();
        let known = path.trim_end_matches('?').trim_end_matches('.');
        ApiError::field(if known.is_empty() { "body" } else { known }, plainly(error.inner()))
    })?;
    reader.end().map_err(|_| ApiError::field("body", "goes on after its JSON value"))?;
    if body.contains(&b'[') {
        refuse_positional(body, &value)?;
    }
    Ok(value)
}

/// Said of an array where an object belongs.
const NO_ARRAY: &str = "must be an object, not an array";

/// Where an object belongs, serde also takes an array of its fields in their order. Nobody promised that order, so what was
/// read as an object must have been sent as one.
fn refuse_positional(body: &[u8], read: &impl Serialize) -> Result<(), ApiError> {
    let sent: Value = serde_json::from_slice(body).map_err(|_| ApiError::internal())?;
    let read = serde_json::to_value(read).map_err(|_| ApiError::internal())?;
    let Some(path) = positional(&sent, &read) else { return Ok(()) };
    let path = if path.is_empty() { "body" } else { path.trim_start_matches('.') };
    Err(ApiError::field(path, NO_ARRAY))
}

/// Where an array was read as an object.
fn positional(sent: &Value, read: &Value) -> Option<String> {
    match (sent, read) {
        (Value::Array(_), Value::Object(_)) => Some(String::new()),
        (Value::Array(sent), Value::Array(read)) => {
            let mut each = sent.iter().zip(read).enumerate();
            each.find_map(|(at, (sent, read))| Some(format!("[{at}]{}", positional(sent, read)?)))
        }
        (Value::Object(sent), Value::Object(read)) => {
            sent.iter().find_map(|(name, sent)| Some(format!(".{name}{}", positional(sent, read.get(name)?)?)))
        }
        _ => None,
    }
}

/// What serde says, without the names of our types, and without the position in the text, which the path replaces.
fn plainly(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = match text.rfind(" at line ") {
        Some(at) if !error.is_syntax() && !error.is_eof() => &text[..at],
        _ => &text,
    };
    match text.split_once(", expected ") {
        Some((found, of)) if OF_OBJECTS.iter().any(|ours| of.starts_with(ours)) => {
            let is_an_array = found.starts_with("invalid length") || found.ends_with("sequence");
            if is_an_array { NO_ARRAY.to_owned() } else { format!("{found}, expected an object") }
        }
        _ => text.to_owned(),
    }
}

/// How serde begins to speak of a type of ours that is read from an object.
const OF_OBJECTS: [&str; 2] = ["struct ", "internally tagged enum "];

/// Query parameters; unknown ones are refused where the type says so.
pub(crate) struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        let read = serde_urlencoded::from_str(query);
        read.map(Self).map_err(|error| ApiError::field("query", error.to_string()))
    }
}

/// A path parameter. One that cannot be read names nothing, so it is 404.
pub(crate) struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|axum::extract::Path(value)| Self(value)).map_err(|_| ApiError::not_found())
    }
}
