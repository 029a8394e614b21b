//! What owners and admins are told.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

/// What owners and admins have been told, the newest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Notifications {
    /// A part of it.
    pub data: Vec<Notification>,
    /// Give this as `cursor` for the next part; null if this was the last.
    #[schema(required)]
    pub next_cursor: Option<String>,
    /// How many whoever asks has not read, up to 100.
    pub unread: u64,
}

/// Something they are told.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Notification {
    /// Its id.
    pub id: Uuid,
    /// What it is about: `API_KEY_CREATED`, `API_KEYS_IMPORTED`, `API_KEY_EXPIRING`, `API_KEY_EXPIRED`, `API_KEY_UNUSED`,
    /// `QUOTA_REACHED`, `OLD_SECRET_SILENT` or `OLD_SECRET_IN_USE`; more may come.
    pub kind: String,
    /// The same for people.
    pub message: String,
    /// What kind of thing it is about: `key` or `organization`.
    pub subject_kind: String,
    /// Which.
    #[schema(required)]
    pub subject_id: Option<Uuid>,
    /// Its name then.
    pub subject_name: String,
    /// The rest, for programs.
    #[schema(value_type = Object)]
    pub data: Map<String, Value>,
    /// When.
    pub created_at: Timestamp,
    /// Whether whoever asks has read it.
    pub read: bool,
}
