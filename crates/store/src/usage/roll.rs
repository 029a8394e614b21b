//! Adding minutes up to hours and hours to days, and forgetting what is too old: some subjects at a time, for whoever else
//! wants to write waits so long.

use jiff::Timestamp;
use keyrack_core::from_micros;
use keyrack_core::usage::Span;
use uuid::Uuid;

use super::write::add_up;
use super::{LAST_BY_DAY, UsageKey, UsageKind};
use crate::dialect::Both;
use crate::driver::{FromRow, Row, args};
use crate::{Reader, Result, StoreError, Writer, statements};

/// How many subjects are added up, or forgotten, in one transaction.
const SUBJECTS_AT_ONCE: i64 = 1000;

statements! {
    ROLLED = "SELECT span, start, organization_id, kind, subject FROM usage_rolled WHERE span = $1";
    LOCK_ROLLED = "UPDATE usage_rolled SET span = span WHERE span = $1 \
        RETURNING span, start, organization_id, kind, subject";
    MOVE_ROLLED = "UPDATE usage_rolled SET start = $2, organization_id = $3, kind = $4, subject = $5 WHERE span = $1";
    NEXT_START = "SELECT MIN(start) AS value FROM usage WHERE span = $1 AND start > $2";
    STEP_END = "SELECT span, start, organization_id, kind, subject FROM usage WHERE span = $1 AND start = $2 \
        AND (organization_id, kind, subject) > ($3, $4, $5) ORDER BY organization_id, kind, subject LIMIT 1 OFFSET $6";
    ROLL = concat!("INSERT INTO usage (span, start, organization_id, kind, subject, version, label, bucket, requests, units, \
        bytes_in, bytes_out, micros) SELECT CAST($9 AS BIGINT), CAST($10 AS BIGINT), organization_id, kind, subject, version, \
        label, bucket, requests, units, bytes_in, bytes_out, micros FROM usage WHERE span = $1 AND start = $2 \
        AND (organization_id, kind, subject) > ($3, $4, $5) AND (organization_id, kind, subject) <= ($6, $7, $8) \
        AND kind <= $11", add_up!());
    EXPIRE = "DELETE FROM usage WHERE span = $1 AND start = $2 AND (organization_id, kind, subject) <= ($3, $4, $5)";
}

/// A place among the subjects of a minute, hour or day: everything up to it has been added up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Place {
    pub(super) start: Timestamp,
    pub(super) organization: Uuid,
    pub(super) kind: i64,
    pub(super) subject: Uuid,
}

impl Place {
    /// Before every subject.
    pub(super) fn before(start: Timestamp) -> Self {
        Self { start, organization: Uuid::nil(), kind: -1, subject: Uuid::nil() }
    }

    /// Behind every subject.
    pub(super) fn behind(start: Timestamp) -> Self {
        Self { start, organization: Uuid::max(), kind: 0, subject: Uuid::max() }
    }

    fn of(key: &UsageKey) -> Self {
        let subject = key.subject;
        Self {
            start: key.start,
            organization: subject.organization.0,
            kind: subject.kind.number(),
            subject: subject.id,
        }
    }
}

impl FromRow for Place {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            start: row.get("start")?,
            organization: row.get("organization_id")?,
            kind: row.get("kind")?,
            subject: row.get("subject")?,
        })
    }
}

/// How far minutes and hours have been added up.
pub(super) struct Rolled {
    minute: Place,
    hour: Place,
}

/// The same for whoever adds counts: on PostgreSQL nobody adds up further until they have committed. On SQLite one writes at a
/// time.
const HOLD_ROLLED: Both = Both {
    sqlite: ROLLED,
    postgres: "SELECT span, start, organization_id, kind, subject FROM usage_rolled WHERE span = $1 FOR SHARE",
};

pub(super) const BOTH: &[Both] = &[HOLD_ROLLED];

impl Rolled {
    pub(super) async fn read(reader: &mut Reader) -> Result<Self> {
        Self::by(reader, ROLLED).await
    }

    pub(super) async fn hold(writer: &mut Writer) -> Result<Self> {
        let sql = HOLD_ROLLED.of(&writer.tx);
        Self::by(writer, sql).await
    }

    async fn by(reader: &mut Reader, sql: &'static str) -> Result<Self> {
        let minute = reader.tx.fetch(sql, args![Span::Minute.seconds()]).await?;
        let hour = reader.tx.fetch(sql, args![Span::Hour.seconds()]).await?;
        minute.zip(hour).map(|(minute, hour)| Self { minute, hour }).ok_or(StoreError::RowsAffected(0))
    }

    /// Up to where spans of this length have been added up; days never are.
    pub(super) fn place(&self, span: Span) -> Option<Place> {
        match span {
            Span::Minute => Some(self.minute),
            Span::Hour => Some(self.hour),
            Span::Day => None,
        }
    }

    /// Whether what is now added to the span of this length that a minute is in will be added up no more.
    pub(super) fn has_passed(&self, span: Span, key: &UsageKey) -> bool {
        let key = UsageKey { start: span.start_of(key.start), ..*key };
        self.place(span).is_some_and(|place| Place::of(&key) <= place)
    }
}

/// What the next longer span is.
fn longer(span: Span) -> Option<Span> {
    match span {
        Span::Minute => Some(Span::Hour),
        Span::Hour => Some(Span::Day),
        Span::Day => None,
    }
}

impl Writer {
    /// Adds some of the minutes to their hours, or hours to their days, those that began before a moment; and commits. False if
    /// there was nothing left.
    pub async fn commit_usage_rolled(mut self, span: Span, before: Timestamp) -> Result<bool> {
        let Some(longer) = longer(span) else { return Ok(false) };
        let locked: Option<Place> = self.tx.fetch(LOCK_ROLLED, args![span.seconds()]).await?;
        let mut from = locked.ok_or(StoreError::RowsAffected(0))?;
        if from == Place::behind(from.start) {
            let next = self.next_start(span, from.start).await?.filter(|start| *start < before);
            let Some(start) = next else {
                // So much is known to be done: whoever reads need not look for it.
                let done = Place::behind(from_micros(keyrack_core::micros(before) - span.seconds() * 1_000_000));
                if done > from {
                    self.move_rolled(span, done).await?;
                    self.reader.tx.commit().await?;
                }
                return Ok(false);
            };
            from = Place::before(start);
        }
        let to = self.step_end(span, from).await?;
        let most = if longer == Span::Day { LAST_BY_DAY } else { UsageKind::Network };
        let args = args![
            span.seconds(),
            from.start,
            from.organization,
            from.kind,
            from.subject,
            to.organization,
            to.kind,
            to.subject,
            longer.seconds(),
            longer.start_of(from.start),
            most.number()
        ];
        self.tx.execute(ROLL, args).await?;
        self.move_rolled(span, to).await?;
        self.reader.tx.commit().await?;
        Ok(true)
    }

    /// Forgets some of the counts of spans that began before a moment, and commits. False if there was nothing left.
    pub async fn commit_usage_expired(mut self, span: Span, before: Timestamp) -> Result<bool> {
        let Some(start) = self.next_start(span, Timestamp::MIN).await?.filter(|start| *start < before) else {
            return Ok(false);
        };
        let to = self.step_end(span, Place::before(start)).await?;
        self.tx.execute(EXPIRE, args![span.seconds(), start, to.organization, to.kind, to.subject]).await?;
        self.reader.tx.commit().await?;
        Ok(true)
    }

    async fn next_start(&mut self, span: Span, after: Timestamp) -> Result<Option<Timestamp>> {
        let next = self.tx.value::<Option<i64>>(NEXT_START, args![span.seconds(), after]).await?;
        Ok(next.flatten().map(from_micros))
    }

    /// So many subjects further, or behind all of them.
    async fn step_end(&mut self, span: Span, from: Place) -> Result<Place> {
        let args = args![span.seconds(), from.start, from.organization, from.kind, from.subject, SUBJECTS_AT_ONCE];
        let end: Option<Place> = self.tx.fetch(STEP_END, args).await?;
        Ok(end.unwrap_or(Place::behind(from.start)))
    }

    async fn move_rolled(&mut self, span: Span, to: Place) -> Result<()> {
        let args = args![span.seconds(), to.start, to.organization, to.kind, to.subject];
        self.tx.execute_one(MOVE_ROLLED, args).await
    }
}
