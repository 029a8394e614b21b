//! `/organizations/{organization}`: how things stand, and `/usage`.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use keyrack_core::Month;
use keyrack_core::usage::Span;
use keyrack_engine::{AcrossKeys, AuditFilter, QuotaUse, UsageAbout};
use serde::Deserialize;

use super::audit;
use super::charts::Bars;
use super::frame::{Frame, Visit, shown};
use super::keys::page::{EndpointRow, endpoints};
use super::notifications;
use super::show;
use crate::app::App;
use crate::error::ApiError;
use crate::json::Query;

/// How many lines of the log stand there, and of notifications.
const LINES: i64 = 6;
const SHOWN: usize = 6;
/// Among how many notifications it is looked for those that want something of somebody.
const LOOKED_AT: i64 = 100;
/// Those that do not.
const MADE: [&str; 2] = ["API_KEY_CREATED", "API_KEYS_IMPORTED"];

/// What has been used of a quota.
pub(super) struct Quota {
    pub(super) used: String,
    pub(super) limit: Option<String>,
    /// In hundredths of the limit, for the drawing.
    pub(super) percent: u64,
    pub(super) forecast: Option<String>,
    /// Whether the month will not do.
    pub(super) is_short: bool,
    pub(super) tier: &'static str,
    pub(super) resets: show::Moment,
}

impl Quota {
    pub(super) fn new(quota: &QuotaUse, tier: &'static str, now: Timestamp) -> Self {
        let forecast = forecast(quota, now);
        Self {
            used: show::count(quota.used),
            limit: quota.limit.map(show::count),
            percent: quota.limit.map_or(0, |limit| (quota.used * 100).checked_div(limit).unwrap_or(100).min(100)),
            is_short: quota.limit.zip(forecast).is_some_and(|(limit, forecast)| forecast > limit),
            forecast: forecast.map(show::count),
            tier,
            resets: show::Moment::new(quota.resets_at, now),
        }
    }
}

/// What will have been used at the end of the month, if it goes on as it did. Not told of the first day.
fn forecast(quota: &QuotaUse, now: Timestamp) -> Option<u64> {
    let begun = Month::of(now).start();
    let (gone, whole) = (now.duration_since(begun).as_secs(), quota.resets_at.duration_since(begun).as_secs());
    if gone < 86_400 {
        return None;
    }
    let forecast = i128::from(quota.used) * i128::from(whole) / i128::from(gone);
    u64::try_from(forecast).ok()
}

/// A key with many requests.
pub(super) struct TopKey {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) granted: String,
    pub(super) denied: String,
    pub(super) is_denied_a_lot: bool,
}

fn top_keys(across: &AcrossKeys) -> Vec<TopKey> {
    let row = |key: &keyrack_engine::KeyUsage| TopKey {
        id: key.key.to_string(),
        name: key.name.clone(),
        granted: show::count(key.granted),
        denied: show::count(key.denied),
        is_denied_a_lot: key.denied > 10 && key.denied > key.granted / 10,
    };
    across.top_keys.iter().map(row).collect()
}

/// When keys were last compared, where that was not just now.
fn compared(across: Option<&AcrossKeys>, now: Timestamp) -> Option<show::Moment> {
    let at = across?.at;
    (now.duration_since(at) >= SignedDuration::from_secs(10)).then(|| show::Moment::new(at, now))
}

#[derive(Template)]
#[template(path = "console/overview.html")]
struct OverviewPage {
    frame: Frame,
    quota: Quota,
    /// What only those see who manage the organization.
    managed: Option<Managed>,
}

struct Managed {
    chart: Bars,
    granted: String,
    denied: String,
    unused_keys: u64,
    has_keys: bool,
    top_keys: Vec<TopKey>,
    compared: Option<show::Moment>,
    notices: Vec<notifications::Line>,
    lines: Vec<audit::Line>,
}

/// `GET /organizations/{organization}`
pub(super) async fn show(State(app): State<App>, visit: Visit) -> Result<Response, ApiError> {
    let (engine, ctx, now) = (&app.engine, &visit.context, visit.frame.now);
    let tenant = visit.tenant(&app)?;
    let quota = Quota::new(&engine.quota_use(ctx).await?, tenant.organization.tier.as_str(), now);
    let is_managed = visit.frame.organization.as_ref().is_some_and(|organization| organization.is_managed);
    let managed = if is_managed { Some(managed(&app, &visit).await?) } else { None };
    shown(&OverviewPage { frame: visit.frame, quota, managed })
}

async fn managed(app: &App, visit: &Visit) -> Result<Managed, ApiError> {
    let (engine, ctx, now) = (&app.engine, &visit.context, visit.frame.now);
    let report = engine.usage_lately(ctx, UsageAbout::Everything, Span::Day).await?;
    let across = report.across_keys.as_ref();
    let one = keyrack_engine::KeyQuery { limit: 1, ..Default::default() };
    let told = engine.list_notifications(ctx, None, LOOKED_AT).await?.page.data.into_iter();
    let told = told.filter(|(one, _)| !MADE.contains(&&*one.kind));
    let audit = engine.list_audit(ctx, &AuditFilter::default(), LINES).await?.data.into_iter();
    Ok(Managed {
        chart: Bars::new(&report.times, "%b %-d"),
        granted: show::count(report.totals.granted.requests),
        denied: show::count(report.totals.denied()),
        unused_keys: across.and_then(|across| across.unused_keys).unwrap_or(0),
        has_keys: !engine.list_keys(ctx, one).await?.data.is_empty(),
        top_keys: across.map(top_keys).unwrap_or_default(),
        compared: compared(across, now),
        notices: told.take(SHOWN).map(|(one, is_read)| notifications::Line::new(one, is_read, now)).collect(),
        lines: audit.map(|event| audit::Line::new(event, now)).collect(),
    })
}

/// What the page of usage is about.
#[derive(Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    by: String,
    group: String,
    workspace: String,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { by: "day".to_owned(), group: String::new(), workspace: String::new() }
    }
}

#[derive(Template)]
#[template(path = "console/usage.html")]
struct UsagePage {
    frame: Frame,
    wanted: Wanted,
    quota: Quota,
    chart: Bars,
    granted: String,
    denied: String,
    denials: Vec<(String, String)>,
    mean: Option<String>,
    endpoints: Vec<EndpointRow>,
    top_keys: Vec<TopKey>,
    compared: Option<show::Moment>,
    unknown_from: Vec<(String, String)>,
    groups: Vec<String>,
    workspaces: Vec<(String, String)>,
}

/// `GET /organizations/{organization}/usage`
pub(super) async fn usage(
    State(app): State<App>,
    visit: Visit,
    Query(wanted): Query<Wanted>,
) -> Result<Response, ApiError> {
    let (engine, ctx, now) = (&app.engine, &visit.context, visit.frame.now);
    let tenant = visit.tenant(&app)?;
    let (by, label) = match wanted.by.as_str() {
        "minute" => (Span::Minute, "%H:%M"),
        "hour" => (Span::Hour, "%H:%M"),
        _ => (Span::Day, "%b %-d"),
    };
    let about = match (wanted.group.is_empty(), wanted.workspace.is_empty()) {
        (false, _) => UsageAbout::Group(wanted.group.clone()),
        (_, false) => UsageAbout::Workspace(wanted.workspace.clone()),
        _ => UsageAbout::Everything,
    };
    let report = engine.usage_lately(ctx, about, by).await?;
    let across = report.across_keys.as_ref();
    let quota = Quota::new(&engine.quota_use(ctx).await?, tenant.organization.tier.as_str(), now);
    let denials = report.totals.denials.iter().map(|(code, number)| ((*code).to_owned(), show::count(*number)));
    let unknown = across.and_then(|across| across.unknown_from.as_ref()).into_iter().flatten();
    let (groups, workspaces) = super::keys::create::offered(&tenant);
    shown(&UsagePage {
        quota,
        chart: Bars::new(&report.times, label),
        granted: show::count(report.totals.granted.requests),
        denied: show::count(report.totals.denied()),
        denials: denials.collect(),
        mean: report.totals.latency.map(|latency| show::micros(latency.mean)),
        endpoints: endpoints(&report, None),
        top_keys: across.map(top_keys).unwrap_or_default(),
        compared: compared(across, now),
        unknown_from: unknown.map(|(network, number)| (network.to_string(), show::count(*number))).collect(),
        groups,
        workspaces,
        frame: visit.frame,
        wanted,
    })
}
