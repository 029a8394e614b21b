//! `/api/audit`

use axum::extract::State;
use jiff::Timestamp;
use keyrack_client::wire::text;
use keyrack_client::wire::{AuditEvent, Page};
use keyrack_engine::AuditFilter;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::{cursor, limit};
use crate::app::App;
use crate::caller::Caller;
use crate::convert;
use crate::error::ApiError;
use crate::json::{Json, Query};

/// Which events are wanted.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListAudit {
    /// What happened, such as `key.revoked`.
    kind: Option<String>,
    /// Who did it.
    #[param(value_type = Option<text::ActorId>)]
    actor: Option<Uuid>,
    /// To what it was done.
    #[param(value_type = Option<text::SubjectId>)]
    subject: Option<Uuid>,
    /// Not before this moment.
    from: Option<Timestamp>,
    /// Before this moment.
    until: Option<Timestamp>,
    /// How many: 1 to 200, 50 if missing.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
    /// Where the part before ended.
    #[param(value_type = Option<text::Cursor>)]
    cursor: Option<String>,
}

/// List what happened
///
/// Newest first.
#[utoipa::path(get, path = "/api/audit", tag = "audit", operation_id = "listAudit", params(ListAudit),
    responses((status = 200, body = Page<AuditEvent>)))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(q): Query<ListAudit>,
) -> Result<Json<Page<AuditEvent>>, ApiError> {
    let before = cursor(q.cursor.as_deref())?;
    let filter = AuditFilter { kind: q.kind, actor: q.actor, subject: q.subject, before, from: q.from, until: q.until };
    let page = app.engine.list_audit(&caller.context, &filter, limit(q.limit)?).await?;
    let data = page.data.into_iter().map(convert::event).collect();
    Ok(Json(Page { data, next_cursor: page.next_cursor }))
}
