//! `/api/notifications`

use axum::extract::State;
use http::StatusCode;
use keyrack_client::wire::{Notifications, text};
use keyrack_core::NotificationId;
use uuid::Uuid;

use super::organizations::Paging;
use super::{cursor, limit};
use crate::app::App;
use crate::caller::Caller;
use crate::convert;
use crate::error::ApiError;
use crate::json::{Json, Path, Query};

/// List notifications
///
/// What owners and admins of the organization are told: keys made, keys that expire or that nobody uses, quotas that run out, old
/// secrets that can be ended. Kept for a year.
#[utoipa::path(get, path = "/api/notifications", tag = "notifications", operation_id = "listNotifications", params(Paging),
    responses((status = 200, body = Notifications)))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(q): Query<Paging>,
) -> Result<Json<Notifications>, ApiError> {
    let before = cursor(q.cursor.as_deref())?.map(NotificationId);
    let told = app.engine.list_notifications(&caller.context, before, limit(q.limit)?).await?;
    let data = told.page.data.into_iter().map(|(one, read)| convert::notification(one, read)).collect();
    Ok(Json(Notifications { data, next_cursor: told.page.next_cursor, unread: told.unread }))
}

/// Say what has been read
///
/// This one and all before it count as read, for whoever asks, a person or a key; others have their own.
#[utoipa::path(post, path = "/api/notifications/{id}/read", tag = "notifications", operation_id = "readNotification",
    params(("id" = text::NotificationId, Path)),
    responses((status = 204, description = "Noted"), (status = 404, description = "No such notification")))]
pub(super) async fn read(State(app): State<App>, caller: Caller, Path(id): Path<Uuid>) -> Result<StatusCode, ApiError> {
    app.engine.read_notifications(&caller.context, NotificationId(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
