//! The only crate with SQL.
//!
//! One SQL text serves SQLite and PostgreSQL; what differs stands in `driver.rs`, in `dialect.rs` and in the two migration
//! trees. A [`Reader`] sees one consistent snapshot; a [`Writer`] is a transaction whose only way to commit takes the
//! events that tell what it changed, so no change goes unlogged.

mod batches;
mod claim;
mod copying;
mod data_keys;
mod dialect;
mod driver;
mod error;
mod event;
mod groups;
mod idempotency;
mod key_texts;
mod keys;
mod letters;
mod migrate;
mod nodes;
mod notices;
mod organizations;
mod people;
mod peppers;
mod quotas;
mod route_logs;
mod route_metrics;
mod routes;
mod script_versions;
mod second_factors;
mod secrets;
mod sessions;
mod settings;
mod store;
mod time;
mod usage;
mod verification;
mod windows;

pub use claim::Claim;
pub use data_keys::{Sealed, WrappedKey};
pub use error::{Conflict, StoreError};
pub use event::{ActorKind, AuditFilter, Event, FeedHead, NewEvent, SubjectKind};
pub use groups::{HashProfile, KeyGroup};
pub use idempotency::Replay;
pub use key_texts::KeyText;
pub use keys::{ApiKey, KeyFilter, KeyPosition, KeySecret, KeySort, NewSecret, parse_allowlist};
pub use letters::{Letter, Unmailed};
pub use migrate::Migration;
pub use nodes::{Calls, Membership, Node};
pub use notices::{DueKey, Notification, OldSecret};
pub use organizations::{Organization, Workspace};
pub use people::{Invitation, Member, UserAccount};
pub use peppers::{LeftKey, MovedSecret, Redigest};
pub use quotas::QuotaCount;
pub use route_logs::{LogKind, RouteLog};
pub use route_metrics::RouteMetric;
pub use routes::Route;
pub use script_versions::ScriptVersion;
pub use second_factors::SecondFactor;
pub use secrets::{Secret, SecretFilter};
pub use sessions::Session;
pub use settings::INSTANCE;
pub use store::{PoolUse, Reader, Store, Writer};
pub use usage::{
    SecretUse, UsageBatch, UsageCounts, UsageKey, UsageKind, UsageOf, UsagePlace, UsageRow, UsageStep, UsageSubject,
    UsageTop,
};
pub use verification::{Rare, VerificationRow};
pub use windows::LockedWindow;

/// The result of every call into the database.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Every SQL text of this crate, so that a test can have both databases prepare each of them.
pub fn all_statements() -> impl Iterator<Item = &'static str> {
    [
        data_keys::STATEMENTS,
        event::STATEMENTS,
        groups::STATEMENTS,
        idempotency::STATEMENTS,
        key_texts::STATEMENTS,
        keys::STATEMENTS,
        letters::STATEMENTS,
        nodes::STATEMENTS,
        notices::STATEMENTS,
        organizations::STATEMENTS,
        people::STATEMENTS,
        peppers::STATEMENTS,
        second_factors::STATEMENTS,
        secrets::STATEMENTS,
        sessions::STATEMENTS,
        quotas::STATEMENTS,
        route_logs::STATEMENTS,
        route_metrics::STATEMENTS,
        routes::STATEMENTS,
        script_versions::STATEMENTS,
        settings::STATEMENTS,
        time::STATEMENTS,
        windows::STATEMENTS,
    ]
    .into_iter()
    .flatten()
    .copied()
    .chain(usage::statements())
}

/// Defines SQL texts as constants and lists them for [`all_statements`].
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)*) => {
        $($(#[$doc])* const $name: &str = $sql;)*
        pub(crate) const STATEMENTS: &[&str] = &[$($name),*];
    };
}
use statements;
