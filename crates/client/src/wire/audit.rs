//! The audit log.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

/// Something that happened, who did it and to what. Names are those of the time, readable after the thing is gone.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditEvent {
    /// Its place in the order of changes.
    pub sequence: i64,
    /// Its id.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// What happened: `key.created`, `key.revoked`, `group.changed`...
    pub kind: String,
    /// Who did it.
    pub actor: AuditParty,
    /// To what it was done.
    pub subject: AuditParty,
    /// Details.
    #[schema(value_type = Object)]
    pub data: Value,
    /// The request it came with.
    #[schema(required)]
    pub request_id: Option<String>,
}

/// Somebody or something.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditParty {
    /// Of what kind: `api_key`, `user`, `system`; or `key`, `group`, `route`...
    pub kind: String,
    /// Its id.
    #[schema(required)]
    pub id: Option<Uuid>,
    /// Its name.
    pub name: String,
}
