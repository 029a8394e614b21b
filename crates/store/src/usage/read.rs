//! Reading counts: those of a span, and of shorter ones what has not been added to it yet.

use jiff::Timestamp;
use keyrack_core::usage::{Label, Method, Span, StatusClass};
use keyrack_core::{GroupId, OrganizationId, Reason, WorkspaceId};
use serde_json::{Value, json};
use uuid::Uuid;

use super::roll::{Place, Rolled};
use super::{UsageCounts, UsageKind, UsageRow, UsageSubject, UsageTop};
use crate::dialect::Both;
use crate::driver::{FromRow, Row, args};
use crate::{Reader, Result, StoreError, statements};

statements! {
    UNUSED = "SELECT COUNT(*) AS value FROM api_key k WHERE k.organization_id = $1 AND k.switch = 'active' \
        AND (k.expires_at IS NULL OR k.expires_at > $2) AND k.created_at < $3 \
        AND NOT EXISTS (SELECT 1 FROM key_use u WHERE u.key_id = k.id AND u.last_used_at >= $3) \
        AND (k.group_id = $4 OR $4 IS NULL) AND (k.workspace_id = $5 OR $5 IS NULL)";
}

/// Where to look, as rows of a JSON text: a span, when it began, and the subject behind which to look there.
macro_rules! sources {
    ($rows:literal, $id:literal, $end:literal) => {
        concat!(
            "(SELECT CAST(value->>0 AS BIGINT) AS span, CAST(value->>1 AS BIGINT) AS start, ",
            $id,
            "value->>2",
            $end,
            " AS organization_id, CAST(value->>3 AS BIGINT) AS kind, ",
            $id,
            "value->>4",
            $end,
            " AS subject FROM ",
            $rows,
            ") AS s "
        )
    };
}

/// The counts of a subject. Each source is sought by itself: neither database is left to find that out.
macro_rules! of_subject {
    ($sources:expr, $seek:literal, $end:literal) => {
        concat!(
            "SELECT u.start, u.version, u.bucket, u.requests, u.units, u.bytes_in, u.bytes_out, u.micros, l.endpoint, \
             l.method, l.status, l.denial FROM ",
            $sources,
            $seek,
            "u.span = s.span AND u.start = s.start AND u.organization_id = $2 AND u.kind = $3 AND u.subject = $4 \
             AND (u.organization_id, u.kind, u.subject) > (s.organization_id, s.kind, s.subject)",
            $end
        )
    };
}

macro_rules! top {
    ($sources:expr, $seek:literal, $end:literal) => {
        concat!(
            "SELECT c.subject AS id, CAST(SUM(CASE WHEN l.denial = '' THEN c.requests ELSE 0 END) AS BIGINT) AS granted, \
             CAST(SUM(CASE WHEN l.denial = '' THEN 0 ELSE c.requests END) AS BIGINT) AS denied \
             FROM (SELECT u.subject, u.label, SUM(u.requests) AS requests FROM ",
            $sources,
            $seek,
            "u.span = s.span AND u.start = s.start AND u.organization_id = $2 AND u.kind = $3 \
             AND (u.organization_id, u.kind, u.subject) > (s.organization_id, s.kind, s.subject)",
            $end,
            " GROUP BY u.subject, u.label) AS c JOIN usage_label AS l ON l.id = c.label \
             LEFT JOIN api_key AS k ON k.id = c.subject \
             WHERE (k.group_id = $4 OR $4 IS NULL) AND (k.workspace_id = $5 OR $5 IS NULL) \
             GROUP BY c.subject ORDER BY SUM(c.requests) DESC, c.subject LIMIT $6"
        )
    };
}

/// How many requests there were of each of some subjects.
macro_rules! of_many {
    ($sources:expr, $seek:literal, $end:literal) => {
        concat!(
            "SELECT u.subject AS id, u.start, CAST(SUM(u.requests) AS BIGINT) AS requests FROM ",
            $sources,
            $seek,
            "u.span = s.span AND u.start = s.start AND u.organization_id = $2 AND u.kind = $3 AND u.subject = k.id \
             AND (u.organization_id, u.kind, u.subject) > (s.organization_id, s.kind, s.subject)",
            $end,
            " GROUP BY u.subject, u.start"
        )
    };
}

macro_rules! both {
    ($statement:ident, $sqlite:literal, $postgres:literal, $end:literal) => {
        Both {
            sqlite: $statement!(sources!("json_each($1)", "unhex(", ")"), $sqlite, ""),
            postgres: $statement!(
                sources!("json_array_elements(CAST($1 AS JSON))", "CAST(", " AS UUID)"),
                $postgres,
                $end
            ),
        }
    };
}

const OF_SUBJECT: Both = both!(
    of_subject,
    "CROSS JOIN usage AS u CROSS JOIN usage_label AS l WHERE l.id = u.label AND ",
    "CROSS JOIN LATERAL (SELECT * FROM usage AS u WHERE ",
    " OFFSET 0) AS u JOIN usage_label AS l ON l.id = u.label"
);
const TOP: Both = both!(
    top,
    "CROSS JOIN usage AS u WHERE ",
    "CROSS JOIN LATERAL (SELECT * FROM usage AS u WHERE ",
    " OFFSET 0) AS u"
);

const OF_MANY: Both = both!(
    of_many,
    "CROSS JOIN (SELECT unhex(value) AS id FROM json_each($4)) AS k CROSS JOIN usage AS u WHERE ",
    "CROSS JOIN (SELECT CAST(value AS UUID) AS id FROM json_array_elements_text(CAST($4 AS JSON))) AS k \
     CROSS JOIN LATERAL (SELECT * FROM usage AS u WHERE ",
    " OFFSET 0) AS u"
);

pub(super) const BOTH: &[Both] = &[OF_SUBJECT, TOP, OF_MANY];

/// Requests of a subject in a time.
struct Requests(Uuid, Timestamp, u64);

impl FromRow for Requests {
    fn from_row(row: &Row) -> Result<Self> {
        let requests = u64::try_from(row.get::<i64>("requests")?);
        Ok(Self(row.get("id")?, row.get("start")?, requests.map_err(|_| StoreError::Corrupt { column: "requests" })?))
    }
}

impl FromRow for UsageRow {
    fn from_row(row: &Row) -> Result<Self> {
        let corrupt = |column| StoreError::Corrupt { column };
        let denial: String = row.get("denial")?;
        let denial = if denial.is_empty() { None } else { Some(Reason::parse(&denial).ok_or(corrupt("denial"))?) };
        let number = |column| -> Result<u64> { u64::try_from(row.get::<i64>(column)?).map_err(|_| corrupt(column)) };
        Ok(Self {
            start: row.get("start")?,
            version: row.get("version")?,
            label: Label {
                endpoint: row.get::<String>("endpoint")?.into(),
                method: Method::of(&row.get::<String>("method")?),
                status: StatusClass::of(u16::try_from(row.get::<i64>("status")? * 100).map_err(|_| corrupt("status"))?),
                denial,
            },
            bucket: i8::try_from(row.get::<i64>("bucket")?).map_err(|_| corrupt("bucket"))?,
            counts: UsageCounts {
                requests: number("requests")?,
                units: number("units")?,
                bytes_in: number("bytes_in")?,
                bytes_out: number("bytes_out")?,
                micros: number("micros")?,
            },
        })
    }
}

impl FromRow for UsageTop {
    fn from_row(row: &Row) -> Result<Self> {
        let number = |column| -> Result<u64> {
            u64::try_from(row.get::<i64>(column)?).map_err(|_| StoreError::Corrupt { column })
        };
        Ok(Self { id: row.get("id")?, granted: number("granted")?, denied: number("denied")? })
    }
}

/// Of whose keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UsageOf {
    /// The organization; nil for the instance.
    pub organization: OrganizationId,
    /// Only keys of this group.
    pub group: Option<GroupId>,
    /// Only keys of this workspace.
    pub workspace: Option<WorkspaceId>,
}

impl Reader {
    /// What was counted of a subject in each span from one moment up to another, both beginnings of one. Shorter spans that have
    /// not been added up yet are among it, with beginnings of their own.
    pub async fn usage(
        &mut self,
        subject: &UsageSubject,
        span: Span,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<UsageRow>> {
        let sources = self.sources(span, from, to).await?;
        let sql = OF_SUBJECT.of(&self.tx);
        let args = args![sources, subject.organization, subject.kind.number(), subject.id];
        self.tx.fetch_all(sql, args).await
    }

    /// How many requests there were of each of these subjects of one kind, with those that were kept out: by subject and by the
    /// beginning of the span, or of a shorter one that has not been added to it yet.
    pub async fn requests_of(
        &mut self,
        (organization, kind, subjects): (OrganizationId, UsageKind, &[Uuid]),
        span: Span,
        (from, to): (Timestamp, Timestamp),
    ) -> Result<Vec<(Uuid, Timestamp, u64)>> {
        let sources = self.sources(span, from, to).await?;
        let subjects: Vec<String> = subjects.iter().map(|id| id.as_simple().to_string()).collect();
        let sql = OF_MANY.of(&self.tx);
        let args = args![sources, organization, kind.number(), json!(subjects).to_string()];
        let rows = self.tx.fetch_all::<Requests>(sql, args).await?;
        Ok(rows.into_iter().map(|Requests(id, start, requests)| (id, start, requests)).collect())
    }

    /// The keys, or networks, of which there were the most requests in that time.
    pub async fn usage_top(
        &mut self,
        of: &UsageOf,
        kind: UsageKind,
        span: Span,
        (from, to): (Timestamp, Timestamp),
        limit: i64,
    ) -> Result<Vec<UsageTop>> {
        let sources = self.sources(span, from, to).await?;
        let sql = TOP.of(&self.tx);
        let args = args![sources, of.organization, kind.number(), of.group, of.workspace, limit];
        self.tx.fetch_all(sql, args).await
    }

    /// How many live keys have not been used since a moment, and were made before it.
    pub async fn count_unused_keys(&mut self, of: &UsageOf, now: Timestamp, since: Timestamp) -> Result<u64> {
        let args = args![of.organization, now, since, of.group, of.workspace];
        let counted: i64 = self.tx.value(UNUSED, args).await?.unwrap_or(0);
        Ok(u64::try_from(counted).unwrap_or(0))
    }

    async fn sources(&mut self, span: Span, from: Timestamp, to: Timestamp) -> Result<String> {
        let rolled = Rolled::read(self).await?;
        let mut sources = Vec::new();
        for source in Span::ALL.into_iter().filter(|source| *source <= span) {
            // Of the span itself all of it; of shorter ones what is not in there yet.
            let place = rolled.place(source).filter(|_| source != span).unwrap_or(Place::before(from));
            let mut start = if place.start < from { from } else { place.start };
            while start < to {
                let after = if start == place.start { place } else { Place::before(start) };
                sources.push(source_row(source, &after));
                start = source.next(start);
            }
        }
        Ok(Value::from(sources).to_string())
    }
}

fn source_row(span: Span, after: &Place) -> Value {
    let organization = after.organization.as_simple().to_string();
    json!([
        span.seconds(),
        keyrack_core::micros(after.start),
        organization,
        after.kind,
        after.subject.as_simple().to_string()
    ])
}
