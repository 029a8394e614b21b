//! `/organizations/{organization}/keys/{id}`: everything about one key.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use keyrack_core::usage::Span;
use keyrack_core::{KeyId, KeyStatus, Role};
use keyrack_engine::{AuditFilter, KeyView, SecretUsage, UsageAbout, UsageQuery, UsageReport};
use uuid::Uuid;

use crate::app::App;
use crate::console::audit::Line;
use crate::console::charts::Bars;
use crate::console::frame::{Frame, Visit, shown};
use crate::console::show::{self, Moment, Status};
use crate::error::ApiError;
use crate::json::Path;

/// How many lines of the audit log stand on the page.
const LINES: i64 = 8;
/// For how many minutes the live view tells of secrets.
const LIVE: i64 = 15;

/// What is known of a key, as the page shows it.
pub(in crate::console) struct Facts {
    pub(in crate::console) id: String,
    pub(in crate::console) name: String,
    pub(in crate::console) description: String,
    pub(in crate::console) display_prefix: String,
    pub(in crate::console) last4: String,
    pub(in crate::console) status: Status,
    pub(in crate::console) is_disabled: bool,
    pub(in crate::console) is_final: bool,
    pub(in crate::console) environment: &'static str,
    pub(in crate::console) group: String,
    pub(in crate::console) workspace: Option<String>,
    pub(in crate::console) scopes: Vec<String>,
    pub(in crate::console) may: String,
    pub(in crate::console) role: &'static str,
    pub(in crate::console) addresses: Option<Vec<String>>,
    pub(in crate::console) limits: Vec<String>,
    pub(in crate::console) metadata: Option<String>,
    pub(in crate::console) created: Moment,
    pub(in crate::console) expiry: Option<(Moment, bool)>,
    pub(in crate::console) last_used: Option<Moment>,
    pub(in crate::console) revoked: Option<(Moment, Option<String>)>,
    pub(in crate::console) is_imported: bool,
}

impl Facts {
    pub(in crate::console) fn new(view: KeyView, now: Timestamp) -> Self {
        let moment = |at| Moment::new(at, now);
        let key = &view.key;
        Self {
            expiry: show::expiry(&view, now),
            id: key.id.to_string(),
            display_prefix: key.display_prefix.clone(),
            last4: key.last4.clone(),
            status: Status::of(view.status),
            is_disabled: view.status == KeyStatus::Disabled,
            is_final: matches!(view.status, KeyStatus::Revoked | KeyStatus::Expired),
            environment: key.environment.as_str(),
            scopes: key.scopes.to_strings(),
            may: show::may(&key.scopes),
            role: view.role.as_str(),
            addresses: key.ip_allowlist.to_strings(),
            limits: show::limits(&key.rate_limits),
            metadata: key.metadata.as_ref().map(|metadata| format!("{metadata:#}")),
            created: moment(key.created_at),
            last_used: key.last_used_at.map(moment),
            revoked: key.revoked_at.map(|at| (moment(at), key.revoke_reason.clone())),
            is_imported: key.imported,
            group: view.group,
            workspace: view.workspace,
            name: view.key.name,
            description: view.key.description,
        }
    }
}

/// A secret of a key, with who uses it.
pub(in crate::console) struct SecretRow {
    pub(in crate::console) version: i64,
    pub(in crate::console) display_prefix: String,
    pub(in crate::console) last4: String,
    pub(in crate::console) created: Moment,
    pub(in crate::console) ends: Option<Moment>,
    pub(in crate::console) last_used: Option<Moment>,
    pub(in crate::console) last_address: Option<String>,
    pub(in crate::console) last_agent: Option<String>,
    pub(in crate::console) requests: String,
    pub(in crate::console) is_newest: bool,
    /// Whether nobody used it while the live view looks back.
    pub(in crate::console) is_silent: bool,
    pub(in crate::console) used_from: Vec<(String, Moment)>,
}

/// The secrets of a report that are still taken, the newest first.
pub(in crate::console) fn secrets(report: UsageReport, now: Timestamp) -> Vec<SecretRow> {
    let newest = report.secrets.iter().map(|one| one.secret.version).max();
    let is_live = |one: &SecretUsage| one.secret.expires_at.is_none_or(|at| at > now);
    let row = |one: SecretUsage| {
        let secret = one.secret;
        let moment = |at| Moment::new(at, now);
        let since = now.saturating_sub(SignedDuration::from_mins(LIVE)).unwrap_or(now);
        SecretRow {
            version: secret.version,
            is_newest: Some(secret.version) == newest,
            is_silent: secret.last_used_at.is_none_or(|at| at < since),
            display_prefix: secret.display_prefix,
            last4: secret.last4,
            created: moment(secret.created_at),
            ends: secret.expires_at.map(moment),
            last_used: secret.last_used_at.map(moment),
            last_address: secret.last_address,
            last_agent: secret.last_user_agent,
            requests: show::count(one.totals.granted.requests),
            used_from: one.used_from.into_iter().map(|(address, at)| (address, moment(at))).collect(),
        }
    };
    let mut secrets: Vec<_> = report.secrets.into_iter().filter(is_live).map(row).collect();
    secrets.reverse();
    secrets
}

/// An endpoint that the key was used at.
pub(in crate::console) struct EndpointRow {
    pub(in crate::console) method: String,
    pub(in crate::console) endpoint: String,
    pub(in crate::console) outcome: String,
    pub(in crate::console) is_denied: bool,
    /// Whether the service did not answer as it should.
    pub(in crate::console) is_failure: bool,
    pub(in crate::console) requests: String,
    pub(in crate::console) mean: Option<String>,
    /// What to ask the page that explains a decision, where a key was kept out.
    pub(in crate::console) question: Option<String>,
}

/// The endpoints of a report, which may be one of a key.
pub(in crate::console) fn endpoints(report: &UsageReport, key: Option<KeyId>) -> Vec<EndpointRow> {
    let question = |one: &keyrack_engine::EndpointUse| {
        let asked =
            [("key", key?.to_string()), ("method", one.method.as_str().to_owned()), ("path", one.endpoint.to_string())];
        one.denial.and_then(|_| serde_urlencoded::to_string(asked).ok())
    };
    let row = |one: &keyrack_engine::EndpointUse| EndpointRow {
        method: one.method.as_str().to_owned(),
        endpoint: one.endpoint.to_string(),
        outcome: one
            .denial
            .map_or_else(|| one.status.name().unwrap_or("no answer").to_owned(), |reason| reason.code().to_owned()),
        is_denied: one.denial.is_some(),
        is_failure: matches!(one.status.digit(), 0 | 5),
        requests: show::count(one.counts.requests),
        mean: one.latency.map(|latency| show::micros(latency.mean)),
        question: question(one),
    };
    report.endpoints.iter().map(row).collect()
}

#[derive(Template)]
#[template(path = "console/keys/page.html")]
struct KeyPage {
    frame: Frame,
    facts: Facts,
    chart: Bars,
    granted: String,
    denied: String,
    denials: Vec<(String, String)>,
    endpoints: Vec<EndpointRow>,
    secrets: Vec<SecretRow>,
    lines: Vec<Line>,
    /// Whether its text is kept, for whoever looks.
    may_reveal: bool,
}

/// The page.
pub(in crate::console) async fn show(
    State(app): State<App>,
    visit: Visit,
    Path((_, id)): Path<(String, Uuid)>,
) -> Result<Response, ApiError> {
    let (engine, ctx, now) = (&app.engine, &visit.context, visit.frame.now);
    let view = engine.get_key(ctx, KeyId(id)).await?;
    let query = UsageQuery { about: UsageAbout::Key(KeyId(id)), from: None, to: None, by: Span::Day };
    let report = engine.usage(ctx, &query).await?;
    let filter = AuditFilter { subject: Some(id), ..AuditFilter::default() };
    let audit = engine.list_audit(ctx, &filter, LINES).await?;
    let group = visit.tenant(&app)?.groups.get(&view.key.group).is_some_and(|group| group.recoverable);
    let may_reveal = group && visit.person.role == Some(Role::Owner) && view.status != KeyStatus::Revoked;
    let denials = report.totals.denials.iter().map(|(code, number)| ((*code).to_owned(), show::count(*number)));
    shown(&KeyPage {
        facts: Facts::new(view, now),
        chart: Bars::new(&report.times, "%b %-d"),
        granted: show::count(report.totals.granted.requests),
        denied: show::count(report.totals.denied()),
        denials: denials.collect(),
        endpoints: endpoints(&report, Some(KeyId(id))),
        secrets: secrets(report, now),
        lines: audit.data.into_iter().map(|event| Line::new(event, now)).collect(),
        may_reveal,
        frame: visit.frame,
    })
}

#[derive(Template)]
#[template(path = "console/keys/secrets.html")]
struct SecretsFragment {
    frame: Frame,
    id: Uuid,
    secrets: Vec<SecretRow>,
    minutes: i64,
}

/// `/organizations/{organization}/keys/{id}/secrets`: who uses which secret now, for the live view.
pub(in crate::console) async fn secrets_in_use(
    State(app): State<App>,
    visit: Visit,
    Path((_, id)): Path<(String, Uuid)>,
) -> Result<Response, ApiError> {
    let now = visit.frame.now;
    let from = now.saturating_sub(SignedDuration::from_mins(LIVE)).ok();
    let query = UsageQuery { about: UsageAbout::Key(KeyId(id)), from, to: None, by: Span::Minute };
    let report = app.engine.usage(&visit.context, &query).await?;
    shown(&SecretsFragment { secrets: secrets(report, now), frame: visit.frame, id, minutes: LIVE })
}
