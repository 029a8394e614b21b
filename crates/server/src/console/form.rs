//! Forms: read whole, known to be from a page of ours, and shown again with what is wrong with them.

use std::borrow::Cow;

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::{FromRequest, Request};
use data_encoding::BASE64URL_NOPAD;
use http::{HeaderMap, StatusCode};
use subtle::ConstantTimeEq as _;

use crate::app::App;
use crate::caller;
use crate::cookie::SESSION;
use crate::error::ApiError;
use crate::json;

/// By which forms of people are known who are not signed in.
pub(super) const COOKIE: &str = "__Host-keyrack_form";
/// How long it lives.
pub(super) const COOKIE_SECONDS: i64 = 60 * 60;
/// The field of the token.
const TOKEN: &str = "form_token";

/// What shows that a form is from a page that we gave to whoever sends it: it follows from a cookie that no other site knows.
pub(super) fn token(headers: &HeaderMap) -> Option<String> {
    let of = |name| caller::cookie_named(headers, name);
    of(SESSION).or_else(|| of(COOKIE)).map(|value| token_of(&value))
}

/// The same of a cookie's value.
pub(super) fn token_of(cookie: &str) -> String {
    BASE64URL_NOPAD.encode(digest(&SHA256, format!("keyrack form {cookie}").as_bytes()).as_ref())
}

/// The fields of a form that is known to be from a page of ours.
pub(super) struct Form(Vec<(String, String)>);

impl FromRequest<App> for Form {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        caller::require_same_origin(request.headers())?;
        let expected = token(request.headers()).unwrap_or_default();
        let json::Form(fields) = json::Form::<Vec<(String, String)>>::from_request(request, app).await?;
        let form = Self(fields);
        if expected.is_empty() || !bool::from(form.raw(TOKEN).as_bytes().ct_eq(expected.as_bytes())) {
            let message = "this form is out of date; go back, load the page again and send it once more";
            return Err(ApiError::new(StatusCode::FORBIDDEN, "form_out_of_date", message));
        }
        Ok(form)
    }
}

impl Form {
    /// The text of a field as it was typed; empty if there is none.
    pub(super) fn raw(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// The text of a field without space around it; `None` if nothing else is in it.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let text = self.raw(name).trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// Every value of a field, and every word in them: for check boxes, and for lists that are typed.
    pub(super) fn words(&self, name: &str) -> Vec<String> {
        let values = self.0.iter().filter(|(known, _)| known == name);
        let separators = |c: char| c.is_whitespace() || c == ',';
        values
            .flat_map(|(_, value)| value.split(separators))
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// All of it in one text, by which two forms that say the same are known.
    pub(super) fn all(&self) -> String {
        let fields = self.0.iter().filter(|(name, _)| name != TOKEN);
        let written = |(name, value): &(String, String)| format!("{}:{name}={}:{value};", name.len(), value.len());
        fields.map(written).collect::<Vec<_>>().concat()
    }

    /// Whether a box is ticked.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// A whole number.
    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let read = self.text(name).map(|text| text.parse());
        read.transpose().map_err(|_| ApiError::field(name.to_owned(), "must be a whole number"))
    }
}

/// What is wrong with a form that is shown again.
#[derive(Default)]
pub(super) struct Errors {
    fields: Vec<(String, String)>,
    /// What is wrong with none of its fields.
    pub(super) general: Option<String>,
}

impl Errors {
    /// What an error says about a form with these fields. Errors that the form cannot help are passed on.
    pub(super) fn of(error: ApiError, known: &[&str]) -> Result<Self, ApiError> {
        let helps = matches!(
            error.status,
            StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS
        );
        if !helps || error.code == "cross_site" || error.code == "form_out_of_date" {
            return Err(error);
        }
        let mut errors = Self::default();
        for detail in &error.details {
            // Of a list the page has one field.
            let field = detail.field.as_deref().map(|field| field.split(['[', '.']).next().unwrap_or(field));
            match field.filter(|field| known.contains(field)) {
                Some(field) => errors.fields.push((field.to_owned(), sentence(&detail.message))),
                None => errors.general = Some(sentence(&error.message)),
            }
        }
        if error.details.is_empty() {
            errors.general = Some(sentence(&error.message));
        }
        Ok(errors)
    }

    /// Something about a field.
    pub(super) fn on(field: &str, message: &str) -> Self {
        Self { fields: vec![(field.to_owned(), sentence(message))], general: None }
    }

    /// Something about the whole.
    pub(super) fn in_general(message: &str) -> Self {
        Self { fields: Vec::new(), general: Some(message.to_owned()) }
    }

    /// What is wrong with a field.
    pub(super) fn about(&self, field: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == field).map(|(_, message)| message.as_str())
    }

    /// Whether anything is.
    pub(super) fn any(&self) -> bool {
        self.general.is_some() || !self.fields.is_empty()
    }
}

/// A message as people read it.
fn sentence(message: &str) -> String {
    let mut characters = message.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    let end = if message.ends_with(['.', '?']) { "" } else { "." };
    Cow::from(first + characters.as_str()).into_owned() + end
}
