//! Routes: guarded doors to other services.

mod guard;
mod logs;
mod manage;
mod metrics;
mod table;
mod target;
mod versions;

pub use guard::GuardText;
pub use logs::LogLine;
pub(crate) use logs::RouteLogs;
pub use metrics::{Meter, RouteMetrics};
pub use table::{LiveRoute, RouteMatch, RouteTable};
pub use target::{Cors, MAX_SCRIPT, Script, Target, Upstream};

/// The setting that names the organization which owns the default host.
pub(crate) const DEFAULT_ORGANIZATION: &str = "default_organization";
/// First segments that are Keyrack's own.
pub const RESERVED: [&str; 15] = [
    "api",
    "hooks",
    "forward-auth",
    "extauthz",
    "login",
    "logout",
    "setup",
    "organizations",
    "profile",
    "static",
    "docs",
    "health",
    "metrics",
    "o",
    "-",
];
const RESERVED_WELL_KNOWN: &str = "/.well-known/keyrack";
/// The methods of a route that names none.
const USUAL_METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// What a route is to be.
#[derive(Clone, Debug)]
pub struct NewRoute {
    /// Its name.
    pub name: String,
    /// The host it answers on; only instance admins give one.
    pub host: Option<String>,
    /// Its path pattern.
    pub path: String,
    /// The methods it takes; the usual ones if missing.
    pub methods: Option<Vec<String>>,
    /// Whether it is made closed.
    pub disabled: bool,
    /// What it asks of callers.
    pub guard: GuardText,
    /// What is behind it.
    pub target: Target,
    /// Which web pages of other origins may call it; `None` for none.
    pub cors: Option<Cors>,
}

/// What of a route is to change.
#[derive(Clone, Debug, Default)]
pub struct RoutePatch {
    /// A new name.
    pub name: Option<String>,
    /// A new path pattern.
    pub path: Option<String>,
    /// New methods.
    pub methods: Option<Vec<String>>,
    /// Open or close it.
    pub enabled: Option<bool>,
    /// A new guard, whole.
    pub guard: Option<GuardText>,
    /// A new target, whole.
    pub target: Option<Target>,
    /// Which web pages may call it from now on, whole.
    pub cors: Option<Option<Cors>>,
}
