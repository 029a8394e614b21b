//! What was counted, read again: of a key, a group, a workspace, an organization or the instance.

use std::collections::{BTreeMap, HashMap};

use compact_str::CompactString;
use jiff::{SignedDuration, Timestamp};
use keyrack_core::usage::{Latency, Method, Span, StatusClass, UNTIMED};
use keyrack_core::{KeyId, Reason};
use keyrack_store::{KeySecret, Reader, UsageCounts, UsageKind, UsageOf, UsageRow, UsageSubject};

use super::INSTANCE;
use super::across::{AcrossKeys, Look};
use crate::actor::Context;
use crate::engine::Engine;
use crate::{Error, Result};

/// How many minutes, hours or days one report tells apart at most.
const MAX_TIMES: i64 = 3000;
/// Days of a week.
pub const WEEK: usize = 7;
/// How many addresses it names from which an old secret was used.
const ADDRESSES: i64 = 20;

/// What a report is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UsageAbout {
    /// The organization of the context, or the workspace its actor is bound to.
    Everything,
    /// A key.
    Key(KeyId),
    /// A group, by name or id.
    Group(String),
    /// A workspace, by slug or id.
    Workspace(String),
    /// What belongs to no organization: callers of Keyrack's own API whom nobody knows. For instance admins.
    Instance,
}

/// What a report is to tell.
#[derive(Clone, Debug)]
pub struct UsageQuery {
    /// About what.
    pub about: UsageAbout,
    /// Since when: from the beginning of the span that this moment is in.
    pub from: Option<Timestamp>,
    /// Up to when: to the end of the span that this moment is in. Now, if it is not said.
    pub to: Option<Timestamp>,
    /// What times it tells apart.
    pub by: Span,
}

/// What requests came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UsageTotals {
    /// Those that were let in, with their units and bytes.
    pub granted: UsageCounts,
    /// Those that were kept out, by why.
    pub denials: BTreeMap<&'static str, u64>,
    /// How long those took that were let in, as far as that was timed.
    pub latency: Option<Latency>,
}

impl UsageTotals {
    /// How many were kept out.
    pub fn denied(&self) -> u64 {
        self.denials.values().sum()
    }
}

/// Requests to one endpoint that went alike.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointUse {
    /// The pattern of the route, or what a path was taken for; empty if it is not known.
    pub endpoint: CompactString,
    /// The method.
    pub method: Method,
    /// The class of the status.
    pub status: StatusClass,
    /// Why they were kept out; `None` if they were let in.
    pub denial: Option<Reason>,
    /// How many.
    pub counts: UsageCounts,
    /// How long they took.
    pub latency: Option<Latency>,
}

/// A minute, an hour or a day.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TimeUse {
    /// When it began.
    pub start: Timestamp,
    /// What there was.
    pub totals: UsageTotals,
}

/// A secret of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecretUsage {
    /// The secret, with its last use.
    pub secret: KeySecret,
    /// What there was.
    pub totals: UsageTotals,
    /// Of one that another replaces: from where it was used while it was taken, the latest first.
    pub used_from: Vec<(String, Timestamp)>,
}

/// How often a key was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyUsage {
    /// The key.
    pub key: KeyId,
    /// Its name; `None` once it is deleted.
    pub name: Option<String>,
    /// How many requests were let in.
    pub granted: u64,
    /// How many were kept out.
    pub denied: u64,
}

/// What was counted.
#[derive(Clone, Debug)]
pub struct UsageReport {
    /// The beginning of the first time.
    pub from: Timestamp,
    /// The end of the last.
    pub to: Timestamp,
    /// What times are told apart.
    pub by: Span,
    /// All of it together.
    pub totals: UsageTotals,
    /// By time; every time from the first to the last.
    pub times: Vec<TimeUse>,
    /// By endpoint, method, status and reason; the most first.
    pub endpoints: Vec<EndpointUse>,
    /// Of a key, its secrets.
    pub secrets: Vec<SecretUsage>,
    /// Of anything else, what a look at every key has found.
    pub across_keys: Option<AcrossKeys>,
}

impl Engine {
    /// What was counted of something.
    pub async fn usage(&self, ctx: &Context, query: &UsageQuery) -> Result<UsageReport> {
        let (mut report, look) = self.usage_but_across_keys(ctx, query).await?;
        if let Some(look) = look {
            report.across_keys = Some(self.look_across_keys(look).await?);
        }
        Ok(report)
    }

    /// The same of the last minutes, hours or days, for people: where it takes long to look at every key, that may have been
    /// done some minutes ago.
    pub async fn usage_lately(&self, ctx: &Context, about: UsageAbout, by: Span) -> Result<UsageReport> {
        let query = UsageQuery { about, from: None, to: None, by };
        let (mut report, look) = self.usage_but_across_keys(ctx, &query).await?;
        if let Some(look) = look {
            report.across_keys = Some(self.seen_across_keys(look).await?);
        }
        Ok(report)
    }

    async fn usage_but_across_keys(&self, ctx: &Context, query: &UsageQuery) -> Result<(UsageReport, Option<Look>)> {
        let (from, to) = bounds(query.by, (query.from, query.to), self.now())?;
        let mut reader = self.reader().await?;
        let (subject, of) = self.usage_subject(&mut reader, ctx, &query.about).await?;
        let rows = reader.usage(&subject, query.by, from, to).await?;
        let mut report = UsageReport {
            from,
            to,
            by: query.by,
            totals: totals(rows.iter()),
            times: times(&rows, query.by, from, to),
            endpoints: endpoints(rows.iter()),
            secrets: Vec::new(),
            across_keys: None,
        };
        let UsageAbout::Key(key) = query.about else {
            return Ok((report, Some(Look { subject, of, by: query.by, time: (from, to) })));
        };
        for secret in reader.list_key_secrets(key).await? {
            let version = secret.version;
            let used_from = reader.old_secret_uses(key, version, ADDRESSES).await?;
            let totals = totals(rows.iter().filter(|row| row.version == version));
            report.secrets.push(SecretUsage { secret, totals, used_from });
        }
        Ok((report, None))
    }

    /// How many requests there were of each of these keys, kept out or not, in each of the last seven days, the oldest first.
    pub async fn usage_of_keys(&self, ctx: &Context, keys: &[KeyId]) -> Result<HashMap<KeyId, [u64; WEEK]>> {
        let to = Span::Day.next(Span::Day.start_of(self.now()));
        let from = to.saturating_sub(SignedDuration::from_hours(7 * 24)).unwrap_or(to);
        let ids: Vec<_> = keys.iter().map(|key| key.0).collect();
        let of = (ctx.organization, UsageKind::Key, &ids[..]);
        let rows = self.reader().await?.requests_of(of, Span::Day, (from, to)).await?;
        let mut weeks: HashMap<KeyId, [u64; WEEK]> = HashMap::new();
        for (id, start, requests) in rows {
            let day = start.duration_since(from).as_secs() / Span::Day.seconds();
            let day = usize::try_from(day).ok().and_then(|day| weeks.entry(KeyId(id)).or_default().get_mut(day));
            if let Some(day) = day {
                *day += requests;
            }
        }
        Ok(weeks)
    }

    /// The same as rows: for each time what there was at each endpoint.
    pub async fn usage_rows(&self, ctx: &Context, query: &UsageQuery) -> Result<Vec<(Timestamp, EndpointUse)>> {
        let (from, to) = bounds(query.by, (query.from, query.to), self.now())?;
        let mut reader = self.reader().await?;
        let (subject, _) = self.usage_subject(&mut reader, ctx, &query.about).await?;
        let rows = reader.usage(&subject, query.by, from, to).await?;
        let times = by(rows.iter(), |row| query.by.start_of(row.start)).into_iter();
        Ok(times.flat_map(|(start, rows)| endpoints(rows).into_iter().map(move |one| (start, one))).collect())
    }

    async fn usage_subject(
        &self,
        reader: &mut Reader,
        ctx: &Context,
        about: &UsageAbout,
    ) -> Result<(UsageSubject, UsageOf)> {
        let organization = ctx.organization;
        let tenant = || self.tenant(ctx);
        let of = UsageOf { organization, group: None, workspace: ctx.actor.workspace() };
        let subject = |kind, id| UsageSubject { organization, kind, id };
        Ok(match (about, ctx.actor.workspace()) {
            (UsageAbout::Key(id), _) => {
                let key = self.visible_key(reader, ctx, *id).await?;
                (subject(UsageKind::Key, key.id.0), of)
            }
            (UsageAbout::Everything, None) => (UsageSubject::organization(organization), of),
            (UsageAbout::Everything, Some(own)) => (subject(UsageKind::Workspace, own.0), of),
            (UsageAbout::Workspace(name), own) => {
                let workspace = tenant()?.workspace(name).map(|workspace| workspace.id);
                let workspace = workspace.filter(|id| own.is_none_or(|own| own == *id));
                let workspace = workspace.ok_or(Error::NotFound("workspace"))?;
                (subject(UsageKind::Workspace, workspace.0), UsageOf { workspace: Some(workspace), ..of })
            }
            (UsageAbout::Group(name), None) => {
                let group = tenant()?.group(name).map(|group| group.id).ok_or(Error::NotFound("group"))?;
                (subject(UsageKind::Group, group.0), UsageOf { group: Some(group), ..of })
            }
            (UsageAbout::Group(_), Some(_)) => {
                let message = "a key bound to a workspace is shown that workspace, not groups";
                return Err(Error::forbidden("insufficient_scope", message));
            }
            (UsageAbout::Instance, _) => {
                Self::only_instance_admin(ctx)?;
                (UsageSubject::organization(INSTANCE), UsageOf { organization: INSTANCE, ..of })
            }
        })
    }
}

/// The beginning of the first and the end of the last of the times that are asked for, as far as they have begun.
pub(crate) fn bounds(
    by: Span,
    (from, to): (Option<Timestamp>, Option<Timestamp>),
    now: Timestamp,
) -> Result<(Timestamp, Timestamp)> {
    let end = |at| by.next(by.start_of(at));
    let to = end(to.map_or(now, |to| to.min(now)));
    let usual = SignedDuration::from_secs(by.seconds().saturating_mul(match by {
        Span::Minute => 60,
        Span::Hour => 24,
        Span::Day => 30,
    }));
    let from = from.map(|from| by.start_of(from));
    let from = from.unwrap_or_else(|| to.saturating_sub(usual).unwrap_or(Timestamp::MIN));
    let times = to.duration_since(from).as_secs() / by.seconds();
    match times {
        ..=0 => Err(Error::invalid("from", "must be before until, and not in the future")),
        1..=MAX_TIMES => Ok((from, to)),
        _ => {
            let message = format!("at most {MAX_TIMES} {}s in one answer; ask for a shorter time", by.as_str());
            Err(Error::invalid("from", message))
        }
    }
}

/// The span in which keys are compared: there are fewer of those in the same time.
pub(super) fn longer(span: Span) -> Span {
    match span {
        Span::Minute => Span::Hour,
        Span::Hour | Span::Day => Span::Day,
    }
}

/// What of a time is kept by such spans.
pub(super) fn kept((from, to): (Timestamp, Timestamp), span: Span, now: Timestamp) -> (Timestamp, Timestamp) {
    let kept = now.saturating_sub(span.kept_for()).unwrap_or(Timestamp::MIN);
    (from.max(span.start_of(kept)), to)
}

/// Adds rows up by something that they have.
fn by<'r, K: Ord>(
    rows: impl Iterator<Item = &'r UsageRow>,
    key: impl Fn(&UsageRow) -> K,
) -> BTreeMap<K, Vec<&'r UsageRow>> {
    let mut groups: BTreeMap<K, Vec<&UsageRow>> = BTreeMap::new();
    for row in rows {
        groups.entry(key(row)).or_default().push(row);
    }
    groups
}

fn totals<'r>(rows: impl Iterator<Item = &'r UsageRow>) -> UsageTotals {
    let rows: Vec<&UsageRow> = rows.collect();
    let mut totals = UsageTotals { latency: latency(&rows), ..UsageTotals::default() };
    for row in rows {
        match row.label.denial {
            None => totals.granted += row.counts,
            Some(reason) => *totals.denials.entry(reason.code()).or_default() += row.counts.requests,
        }
    }
    totals.denials.retain(|_, requests| *requests > 0);
    totals
}

fn latency(rows: &[&UsageRow]) -> Option<Latency> {
    let timed = rows.iter().filter(|row| row.label.denial.is_none() && row.bucket != UNTIMED);
    let mut buckets: BTreeMap<i8, (u64, u64)> = BTreeMap::new();
    for row in timed {
        let (requests, took) = buckets.entry(row.bucket).or_default();
        *requests += row.counts.requests;
        *took += row.counts.micros;
    }
    let buckets: Vec<_> = buckets.into_iter().map(|(bucket, (requests, took))| (bucket, requests, took)).collect();
    Latency::of(&buckets)
}

fn times(rows: &[UsageRow], span: Span, from: Timestamp, to: Timestamp) -> Vec<TimeUse> {
    // Shorter spans are among them, until they have been added up.
    let mut groups = by(rows.iter(), |row| span.start_of(row.start));
    let starts = std::iter::successors(Some(from), |start| Some(span.next(*start)));
    let of = |start| TimeUse { start, totals: totals(groups.remove(&start).unwrap_or_default().into_iter()) };
    starts.take_while(|start| *start < to).map(of).collect()
}

fn endpoints<'r>(rows: impl IntoIterator<Item = &'r UsageRow>) -> Vec<EndpointUse> {
    let key = |row: &UsageRow| {
        let label = &row.label;
        (label.endpoint.clone(), label.method, label.status, label.denial.map(Reason::code))
    };
    let groups = by(rows.into_iter(), key);
    let mut endpoints: Vec<EndpointUse> = groups
        .into_iter()
        .map(|((endpoint, method, status, denial), rows)| {
            let mut counts = UsageCounts::default();
            for row in &rows {
                counts += row.counts;
            }
            let denial = denial.and_then(Reason::parse);
            EndpointUse { endpoint, method, status, denial, counts, latency: latency(&rows) }
        })
        .filter(|endpoint| endpoint.counts.requests > 0)
        .collect();
    endpoints.sort_by_key(|endpoint| std::cmp::Reverse(endpoint.counts.requests));
    endpoints
}
