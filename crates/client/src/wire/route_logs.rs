//! Logs of routes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A line of a route's log.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RouteLog {
    /// Its id; later lines have greater ones.
    pub id: Uuid,
    /// When it happened; of a call, when it began.
    pub at: Timestamp,
    /// The request that it belongs to.
    pub request_id: String,
    /// What happened.
    pub kind: RouteLogKind,
    /// How important it is.
    pub level: RouteLogLevel,
    /// What the script wrote, or what went wrong.
    pub message: String,
    /// The method of the request.
    pub method: String,
    /// How it was answered; null for a line that a script wrote.
    #[schema(required)]
    pub status: Option<i64>,
    /// How long that took, in milliseconds; null for a line that a script wrote.
    #[schema(required)]
    pub milliseconds: Option<f64>,
    /// The key that was let in; null where the door asked for none, or let nobody in.
    #[schema(required)]
    pub key: Option<RouteLogKey>,
}

/// A key in the log of a route.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RouteLogKey {
    /// Its id.
    pub id: Uuid,
    /// The name that it had.
    pub name: String,
}

/// What happened at a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RouteLogKind {
    /// The script wrote a line.
    Line,
    /// A call was answered.
    Answered,
    /// The script failed.
    Failed,
    /// Somebody was not let in.
    Rejected,
}

impl RouteLogKind {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
        }
    }
}

/// How important a line is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RouteLogLevel {
    /// `console.debug`.
    Debug,
    /// `console.log`, and calls that went well.
    Info,
    /// `console.warn`, and callers who were not let in.
    Warn,
    /// `console.error`, and scripts that failed.
    Error,
}

impl RouteLogLevel {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}
