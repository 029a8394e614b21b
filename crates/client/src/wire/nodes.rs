//! Processes that serve the same database.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A process that serves a PostgreSQL database beside others.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Node {
    /// Drawn at its start.
    pub id: Uuid,
    /// The machine it runs on.
    pub name: String,
    /// The version of its program.
    pub version: String,
    /// When it joined.
    pub started_at: Timestamp,
    /// How long ago it last renewed its lease, in milliseconds.
    pub silent_for_ms: i64,
    /// How many changes its decisions do not know yet.
    pub lag: i64,
    /// Whether it renewed within the second that a lease runs. One that did not answers 503; one that did may still be
    /// catching up.
    pub live: bool,
}
