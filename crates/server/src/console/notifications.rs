//! `/organizations/{organization}/notifications`

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use keyrack_core::NotificationId;
use keyrack_engine::Notification;
use serde::Deserialize;
use uuid::Uuid;

use super::entry::redirect;
use super::form::Form;
use super::frame::{Frame, Visit, shown};
use super::show::Moment;
use crate::app::App;
use crate::convert;
use crate::error::ApiError;
use crate::json::Query;

/// How many are on a page.
const LIMIT: i64 = 50;

/// A notification, as a line.
pub(super) struct Line {
    pub(super) words: String,
    pub(super) at: Moment,
    pub(super) is_read: bool,
    /// The address of what it is about, behind that of the organization.
    pub(super) link: Option<String>,
}

impl Line {
    pub(super) fn new(one: Notification, is_read: bool, now: jiff::Timestamp) -> Self {
        let at = Moment::new(one.created_at, now);
        let link = (one.subject_kind.as_str() == "key").then_some(one.subject_id).flatten();
        let link = link.map(|id| format!("/keys/{id}"));
        Self { words: convert::notification(one, is_read).message, at, is_read, link }
    }
}

/// Which part.
#[derive(Deserialize)]
pub(super) struct Part {
    cursor: Option<Uuid>,
    #[serde(default)]
    #[expect(dead_code, reason = "names what was done; the frame reads it")]
    done: String,
}

#[derive(Template)]
#[template(path = "console/notifications.html")]
struct NotificationsPage {
    frame: Frame,
    lines: Vec<Line>,
    newest: Option<String>,
    next: Option<String>,
}

/// `GET`
pub(super) async fn list(
    State(app): State<App>,
    visit: Visit,
    Query(Part { cursor, .. }): Query<Part>,
) -> Result<Response, ApiError> {
    let told = app.engine.list_notifications(&visit.context, cursor.map(NotificationId), LIMIT).await?;
    let now = visit.frame.now;
    let newest = told.page.data.first().filter(|(_, is_read)| !is_read).map(|(one, _)| one.id.to_string());
    let lines = told.page.data.into_iter().map(|(one, is_read)| Line::new(one, is_read, now)).collect();
    shown(&NotificationsPage { frame: visit.frame, lines, newest, next: told.page.next_cursor })
}

/// `POST`: up to the newest that was shown, all are read.
pub(super) async fn read(State(app): State<App>, visit: Visit, form: Form) -> Result<Response, ApiError> {
    let up_to = form.raw("up_to").parse().map_err(|_| ApiError::not_found())?;
    app.engine.read_notifications(&visit.context, up_to).await?;
    Ok(redirect(&format!("{}/notifications?done=read", visit.frame.base())))
}
