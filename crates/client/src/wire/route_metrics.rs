//! What is counted of routes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::UsageBy;

/// How many calls a route let in, and how long they took.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RouteMetrics {
    /// The beginning of the first time that is told of.
    pub from: Timestamp,
    /// The end of the last.
    pub until: Timestamp,
    /// What times are told apart.
    pub by: UsageBy,
    /// All of it together.
    pub total: RouteCalls,
    /// By time: every one from the first to the last.
    pub times: Vec<RouteTime>,
}

/// Calls that were let in.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
pub struct RouteCalls {
    /// How many.
    pub calls: u64,
    /// How many of them were answered with a status of 500 and more.
    pub failures: u64,
    /// How long it took on average until their answers began, in milliseconds; null if there were none.
    #[schema(required)]
    pub mean_ms: Option<f64>,
    /// How long it took at most; null if there were none.
    #[schema(required)]
    pub max_ms: Option<f64>,
}

/// The calls of a minute, an hour or a day.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RouteTime {
    /// When it began.
    pub start: Timestamp,
    /// What there was.
    #[serde(flatten)]
    pub calls: RouteCalls,
}
