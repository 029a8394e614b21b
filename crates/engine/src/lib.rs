//! The product without HTTP.
//!
//! An [`Engine`] holds the database, what of it decisions need in memory, a clock and randomness. It has one function for
//! each use case; one that changes something is one transaction that ends in its event, and returns when decisions know
//! the change.

mod actor;
mod ask;
mod calendar;
mod charge;
mod clock;
pub mod directory;
mod engine;
mod error;
mod explain;
mod feed;
mod groups;
mod idempotency;
mod init;
mod keyfile;
pub mod keyring;
mod keys;
mod lease;
mod letters;
mod limits;
mod master_keys;
mod members;
mod nodes;
mod notices;
mod organizations;
pub mod passwords;
mod patience;
mod peppers;
mod profile;
mod quota;
pub mod routes;
mod sealing;
mod secrets;
mod serving;
pub mod sessions;
mod settings;
mod settle;
mod tiers;
mod tokens;
mod usage;
mod verify;
mod vitals;
mod workspaces;

pub use actor::{Actor, Context, Idempotency};
pub use ask::Question;
pub use charge::Charge;
#[cfg(feature = "test-clock")]
pub use clock::FileClock;
pub use clock::{Clock, NoRandomness, OsRandom, Random, Reading, SystemClock};
pub use directory::{Directory, Tenant};
pub use engine::{Engine, Parts, Role as EngineRole};
pub use error::{Error, FieldError};
pub use explain::{Explain, Explanation, Step, Which};
pub use groups::{GroupPatch, NewGroup};
pub use init::{Initialized, NewInstance};
pub use keyfile::{Keyfile, KeyfileError};
pub use keys::{
    CreatedKey, DEFAULT_OVERLAP, ImportKey, KeyPatch, KeyQuery, KeyView, MAX_IMPORT, MAX_METADATA, MAX_OVERLAP, NewKey,
    Page, RotateKey, RotatedKey,
};
pub use letters::{Letter, MailError, Mailer, Post};
pub use master_keys::{MasterKeyState, Progress, Rotated, Stage};
pub use members::{Invited, NewMember};
pub use nodes::NodeView;
pub use notices::{Notifications, told};
pub use organizations::{NewOrganization, OrganizationPatch};
pub use passwords::{MAX_PASSWORD, MIN_PASSWORD};
pub use peppers::{LeftKey, PepperState};
pub use profile::{NewSecondFactor, Protection, RecoveryCodes};
pub use quota::QuotaUse;
pub use routes::{
    Cors, GuardText, LiveRoute, LogLine, MAX_SCRIPT, Meter, NewRoute, RouteMatch, RouteMetrics, RoutePatch, Script,
    Target, Upstream,
};
pub use secrets::{NewSecret, SecretPatch, SecretQuery};
pub use serving::Seat;
pub use sessions::{SESSION_LENGTH, STEP_UP_LENGTH, SignedIn};
pub use settings::{SettingsPatch, SignInRules, Unmet};
pub use settle::{Receipt, Witness};
pub use tiers::Tiers;
pub use tokens::MadeToken;
pub use usage::{
    AcrossKeys, Call, EndpointUse, KeyUsage, SecretUsage, TimeUse, UsageAbout, UsageQuery, UsageReport, UsageTotals,
    Visit, WEEK,
};
pub use verify::{KnownKey, Person, Presented, Verdict};
pub use vitals::Vitals;

pub use keyrack_core::secret::Seeker;
pub use keyrack_core::standing::{Owner, QuotaStanding, Standing, WindowStanding};
pub use keyrack_store::{
    ActorKind, ApiKey, AuditFilter, Event, HashProfile, Invitation, KeyGroup, KeySecret, KeySort, LogKind, Member,
    Notification, Organization, Route, RouteLog, RouteMetric, ScriptVersion, Secret, Session, Store, SubjectKind,
    UsageCounts, UserAccount, Workspace,
};

/// The result of a use case.
pub type Result<T> = std::result::Result<T, Error>;

/// The scope that reaches the instance as a whole.
pub fn instance_scope() -> keyrack_core::Scope {
    keyrack_core::Scope::keyrack(keyrack_core::scope::Resource::INSTANCE, keyrack_core::Action::Admin)
}
