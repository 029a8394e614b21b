//! What was counted of requests.
//!
//! A process counts in memory and writes down batches of that in a journal, where they survive it. Every while it adds what it
//! has to the counts of minutes, step by step; each step moves its place in the same transaction, so that nothing is added
//! twice, whoever goes on with it. Minutes are added to hours and hours to days in the same manner.

mod read;
mod roll;
mod write;

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use keyrack_core::usage::Label;
use keyrack_core::{KeyId, NodeId, OrganizationId};
use uuid::Uuid;

use crate::dialect::Both;

pub use read::UsageOf;
pub use write::UsageBatch;

/// What kind of thing a count is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum UsageKind {
    /// An organization.
    Organization,
    /// A workspace.
    Workspace,
    /// A group of keys.
    Group,
    /// A key.
    Key,
    /// A network from which texts came that are no key; its id is the [`keyrack_core::usage::Network`].
    Network,
}

impl UsageKind {
    fn number(self) -> i64 {
        self as i64
    }
}

/// What a count is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UsageSubject {
    /// Its organization; nil for the instance.
    pub organization: OrganizationId,
    /// Its kind.
    pub kind: UsageKind,
    /// Its id.
    pub id: Uuid,
}

impl UsageSubject {
    /// An organization as a whole.
    pub fn organization(id: OrganizationId) -> Self {
        Self { organization: id, kind: UsageKind::Organization, id: id.0 }
    }
}

/// How many requests, and what they came to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct UsageCounts {
    /// Requests.
    pub requests: u64,
    /// Units of quota and limits.
    pub units: u64,
    /// Bytes of bodies that came in.
    pub bytes_in: u64,
    /// Bytes of bodies that went out.
    pub bytes_out: u64,
    /// Microseconds they took, as far as that was timed.
    pub micros: u64,
}

impl std::ops::AddAssign for UsageCounts {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.units += other.units;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.micros = self.micros.saturating_add(other.micros);
    }
}

/// What counts are told apart by; in the order in which they stand in the database.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UsageKey {
    /// When the minute began.
    pub start: Timestamp,
    /// What it is about.
    pub subject: UsageSubject,
    /// Which secret of a key; 0 for anything else.
    pub version: i64,
    /// The [`Label::id`].
    pub label: i64,
    /// Of the latency.
    pub bucket: i8,
}

/// A count, read again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageRow {
    /// When the minute, hour or day began.
    pub start: Timestamp,
    /// Which secret.
    pub version: i64,
    /// What kind of requests.
    pub label: Label,
    /// Of the latency.
    pub bucket: i8,
    /// How many.
    pub counts: UsageCounts,
}

/// The last use of a secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecretUse {
    /// The key.
    pub key: KeyId,
    /// Which of its secrets.
    pub version: i64,
    /// When.
    pub at: Timestamp,
    /// From where, if that is known.
    pub address: Option<IpAddr>,
    /// What the client called itself.
    pub user_agent: Option<String>,
    /// Of a secret that another one replaces: from where it was used, and when.
    pub old_from: Vec<(IpAddr, Timestamp)>,
}

/// How far a generation of a writer's counts has been added up, as bytes of whatever order the writer goes by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsagePlace {
    /// Whose.
    pub writer: NodeId,
    /// The oldest generation of which anything is left.
    pub generation: i64,
    /// What of it has been added up; empty for nothing.
    pub place: Vec<u8>,
}

impl UsagePlace {
    /// The beginning of the generation after this one.
    #[must_use]
    pub fn next_generation(&self) -> Self {
        Self { generation: self.generation + 1, place: Vec::new(), ..self.clone() }
    }
}

/// What one step adds up.
#[derive(Clone, Debug, Default)]
pub struct UsageStep {
    /// Kinds of requests that may be new.
    pub labels: Vec<Label>,
    /// What is added to the counts.
    pub counts: BTreeMap<UsageKey, UsageCounts>,
    /// Last uses, each secret once.
    pub uses: Vec<SecretUse>,
}

/// Who has been seen how often.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageTop {
    /// The id of the key or network.
    pub id: Uuid,
    /// How many requests were let in.
    pub granted: u64,
    /// How many were kept out.
    pub denied: u64,
}

/// Every statement of this module that is the same for both databases.
pub(crate) fn statements() -> impl Iterator<Item = &'static str> {
    write::STATEMENTS.iter().chain(roll::STATEMENTS).chain(read::STATEMENTS).copied().chain(write::made_statements())
}

/// Those that are not.
pub(crate) fn both() -> impl Iterator<Item = &'static Both> {
    read::BOTH.iter().chain(roll::BOTH)
}

/// The last of the kinds that are kept by day. Networks are not: whoever attacks can come from any number of them.
const LAST_BY_DAY: UsageKind = UsageKind::Key;
