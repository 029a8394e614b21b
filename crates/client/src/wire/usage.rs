//! What was counted of requests.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::UsageBy;

/// What was counted of a key, a group, a workspace, an organization or the instance.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// The beginning of the first time that is told of.
    pub from: Timestamp,
    /// The end of the last.
    pub until: Timestamp,
    /// What times are told apart.
    pub by: UsageBy,
    /// All of it together.
    pub total: UsageTotal,
    /// By time: every one from the first to the last.
    pub times: Vec<UsageTime>,
    /// By endpoint, method, status and reason; the most first.
    pub endpoints: Vec<UsageEndpoint>,
    /// Of a key: by secret, the oldest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Vec<UsageSecret>>,
    /// Of anything else: the ten keys with the most requests on these days (by minute: in these hours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_keys: Option<Vec<UsageKey>>,
    /// Of an organization or the instance: the ten networks from which the most texts came that are no key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_from: Option<Vec<UsageNetwork>>,
    /// Of anything but a key: how many live keys have not been used for 90 days, and are older than that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unused_keys: Option<u64>,
}

/// What requests came to.
#[derive(Clone, Default, Debug, Serialize, Deserialize, ToSchema)]
pub struct UsageTotal {
    /// How many were let in.
    pub granted: u64,
    /// How many were kept out.
    pub denied: u64,
    /// Those by the code of the reason.
    #[schema(value_type = Object, example = json!({"INSUFFICIENT_SCOPE": 3}))]
    pub denials: BTreeMap<String, u64>,
    /// Units that those cost which were let in.
    pub units: u64,
    /// Bytes of their bodies.
    pub bytes_in: u64,
    /// Bytes of the answers' bodies.
    pub bytes_out: u64,
    /// How long the answers to those took that were let in; null if that was not timed, as for what is only verified here.
    #[schema(required)]
    pub latency: Option<UsageLatency>,
}

/// How long answers took to begin, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
pub struct UsageLatency {
    /// On average.
    pub mean_ms: f64,
    /// Half of them took no longer (within a factor of the root of 2).
    pub p50_ms: f64,
    /// 99 of 100 took no longer (the same).
    pub p99_ms: f64,
}

/// A minute, an hour or a day.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct UsageTime {
    /// When it began.
    pub start: Timestamp,
    /// What there was.
    pub total: UsageTotal,
}

/// Requests to one endpoint that went alike.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct UsageEndpoint {
    /// The pattern of the route, or the path of a question with ids taken out; `other` behind the first 64 of a key and day;
    /// null if nobody said.
    #[schema(required)]
    pub endpoint: Option<String>,
    /// The method; null if nobody said.
    #[schema(required)]
    pub method: Option<String>,
    /// The class of the answer's status, such as `2xx`; null where somebody else answered, or nobody.
    #[schema(required)]
    pub status: Option<String>,
    /// The code of the reason why they were kept out; null if they were let in.
    #[schema(required)]
    pub denial: Option<String>,
    /// How many.
    pub requests: u64,
    /// Units they cost.
    pub units: u64,
    /// Bytes of their bodies.
    pub bytes_in: u64,
    /// Bytes of the answers' bodies.
    pub bytes_out: u64,
    /// How long the answers took.
    #[schema(required)]
    pub latency: Option<UsageLatency>,
}

/// A secret of a key.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct UsageSecret {
    /// Which one, from 1.
    pub version: i64,
    /// Its visible end.
    pub last4: String,
    /// What there was.
    pub total: UsageTotal,
    /// When it last let somebody in.
    #[schema(required)]
    pub last_used_at: Option<Timestamp>,
    /// From which address.
    #[schema(required)]
    pub last_address: Option<String>,
    /// What the client called itself.
    #[schema(required)]
    pub last_user_agent: Option<String>,
    /// Of a secret that another one replaces: the addresses from which it was used since then, the latest first, up to 20.
    pub used_from: Vec<UsedFrom>,
}

/// From where a secret was used.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct UsedFrom {
    /// The address.
    pub address: String,
    /// When it was last used from there.
    pub last_used_at: Timestamp,
}

/// How often a key was seen.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct UsageKey {
    /// Its id.
    pub id: Uuid,
    /// Its name; null once it is deleted.
    #[schema(required)]
    pub name: Option<String>,
    /// How many requests were let in.
    pub granted: u64,
    /// How many were kept out.
    pub denied: u64,
}

/// How often texts that are no key came from a network.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct UsageNetwork {
    /// The network, `203.0.113.0/24`; `unknown` if nobody said, `other` once there are too many to be told apart.
    pub network: String,
    /// How many requests.
    pub requests: u64,
}
