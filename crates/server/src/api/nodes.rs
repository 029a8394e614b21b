//! `/api/nodes`

use axum::extract::State;
use keyrack_client::wire::{Node, Page};

use crate::app::App;
use crate::caller::Caller;
use crate::convert;
use crate::error::ApiError;
use crate::json::Json;

/// List the processes that serve
///
/// Those that serve one PostgreSQL database together, the oldest first; none on SQLite, which one process serves.
#[utoipa::path(get, path = "/api/nodes", tag = "nodes", operation_id = "listNodes",
    responses((status = 200, body = Page<Node>)))]
pub(super) async fn list(State(app): State<App>, _: Caller) -> Result<Json<Page<Node>>, ApiError> {
    let nodes = app.engine.list_nodes().await?;
    Ok(Json(Page { data: nodes.into_iter().map(convert::node).collect(), next_cursor: None }))
}
