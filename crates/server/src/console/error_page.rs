//! What a person is told when a page cannot be shown.

use askama::Template;
use axum::extract::FromRequestParts as _;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};

use super::frame::{Frame, shown};
use crate::app::App;
use crate::caller::{self, Caller};
use crate::error::ApiError;
use crate::request_id::RequestId;

#[derive(Template)]
#[template(path = "console/error.html")]
struct ErrorPage {
    frame: Frame,
    title: &'static str,
    message: String,
    request_id: String,
}

#[derive(Template)]
#[template(path = "console/elsewhere.html")]
struct ElsewherePage<'p> {
    frame: Frame,
    path: &'p str,
}

/// Tells of an error, within the frame of whoever is signed in.
pub(super) async fn show(app: &App, mut parts: Parts, error: &ApiError) -> Response {
    let request_id = parts.extensions.get::<RequestId>().map(|id| id.0.to_string()).unwrap_or_default();
    let frame = match signed_in(app, &mut parts).await {
        Some(frame) => Ok(frame),
        None => Frame::bare(app, &parts),
    };
    let (title, message) = words(error);
    let page = frame.and_then(|frame| shown(&ErrorPage { frame, title, message, request_id }));
    let mut response = page.unwrap_or_else(|_| title.into_response());
    *response.status_mut() = error.status;
    if error.status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(http::header::RETRY_AFTER, 1.into());
    }
    if let Some(seconds) = error.retry_after {
        response.headers_mut().insert(http::header::RETRY_AFTER, seconds.into());
    }
    response.headers_mut().remove(CONTENT_LENGTH);
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

/// The frame of whoever is signed in, wherever they are.
async fn signed_in(app: &App, parts: &mut Parts) -> Option<Frame> {
    if let Ok(caller) = Caller::from_request_parts(parts, app).await {
        return Frame::of(app, parts, &caller).await.ok();
    }
    let organization = parts.uri.path().strip_prefix("/organizations/").and_then(|rest| rest.split('/').next());
    let organization = organization.map(str::to_owned);
    let method = http::Method::GET;
    let person = caller::session_in(app, &parts.headers, &method, organization.as_deref()).await.ok()??;
    Frame::of_person(app, parts, &person).await.ok()
}

fn words(error: &ApiError) -> (&'static str, String) {
    let own = || error.message.clone();
    match error.status {
        StatusCode::NOT_FOUND => {
            ("There is nothing here", "It may have been deleted, or it is not yours to see.".to_owned())
        }
        StatusCode::FORBIDDEN if error.code == "insufficient_scope" => {
            ("This is not yours to see", "Only owners and admins of the organization may do this.".to_owned())
        }
        StatusCode::FORBIDDEN if error.code == "cross_site" => (
            "This came from another site",
            "Nothing was done. Open the page here and send the form from there.".to_owned(),
        ),
        StatusCode::FORBIDDEN => ("This cannot be done", own()),
        StatusCode::TOO_MANY_REQUESTS => ("Not so fast", own()),
        StatusCode::SERVICE_UNAVAILABLE => {
            ("Not just now", "The database cannot be reached, or there is too much to do. Nothing was done.".to_owned())
        }
        status if status.is_server_error() => {
            ("Something went wrong here", "It stands in the server's log, under the number below.".to_owned())
        }
        StatusCode::METHOD_NOT_ALLOWED => ("There is nothing here", "This page is not opened like that.".to_owned()),
        _ => ("This cannot be done", own()),
    }
}

/// Asks whoever came by a link on another site to go on by themselves: only then does the browser send their cookie.
pub(super) fn continue_from_elsewhere(app: &App, parts: &Parts, path: &str) -> Response {
    let page = Frame::bare(app, parts).and_then(|frame| shown(&ElsewherePage { frame, path }));
    page.unwrap_or_else(IntoResponse::into_response)
}
