//! Writing counts down: batches into the journal, and what they come to into the counts of minutes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use keyrack_core::usage::{Label, Span};
use keyrack_core::{NodeId, Reason};

use super::roll::Rolled;
use super::{SecretUse, UsageCounts, UsageKey, UsagePlace, UsageStep};
use crate::driver::{Arg, FromRow, Row, Tx, args};
use crate::{Reader, Result, Writer, statements};

/// How many rows one statement writes: each statement has a price of its own.
const ROWS: usize = 16;

const COUNT_COLUMNS: &str = "span, start, organization_id, kind, subject, version, label, bucket, requests, units, bytes_in, \
    bytes_out, micros";
const USE_COLUMNS: &str = "key_id, version, last_used_at, address, user_agent";
const KEEP_LATEST: &str = " ON CONFLICT (key_id, version) DO UPDATE SET last_used_at = excluded.last_used_at, \
    address = excluded.address, user_agent = excluded.user_agent WHERE excluded.last_used_at > key_use.last_used_at";

/// What a count that is there already becomes.
macro_rules! add_up {
    () => {
        " ON CONFLICT (span, start, organization_id, kind, subject, version, label, bucket) DO UPDATE SET \
         requests = usage.requests + excluded.requests, units = usage.units + excluded.units, \
         bytes_in = usage.bytes_in + excluded.bytes_in, bytes_out = usage.bytes_out + excluded.bytes_out, \
         micros = usage.micros + excluded.micros"
    };
}
pub(super) use add_up;

/// A statement with so many rows of values, and one with a single row for the rest.
struct Rows {
    many: String,
    one: String,
}

impl Rows {
    fn new(table: &str, columns: &str, conflict: &str) -> Self {
        let width = columns.split(',').count();
        let text = |rows: usize| {
            let mut text = format!("INSERT INTO {table} ({columns}) VALUES ");
            for row in 0..rows {
                text.push_str(if row == 0 { "(" } else { ", (" });
                for column in 1..=width {
                    let comma = if column == 1 { "" } else { ", " };
                    let _ = write!(text, "{comma}${}", row * width + column);
                }
                text.push(')');
            }
            text + conflict
        };
        Self { many: text(ROWS), one: text(1) }
    }

    /// Writes rows, which have to be in one order everywhere, so that two writers cannot wait for each other.
    async fn write<T>(&'static self, tx: &mut Tx, rows: &[T], values: impl Fn(&T) -> Vec<Arg>) -> Result<()> {
        let (batches, rest) = rows.as_chunks::<ROWS>();
        for batch in batches {
            let args: Vec<Arg> = batch.iter().flat_map(&values).collect();
            tx.execute(&self.many, &args).await?;
        }
        for one in rest {
            tx.execute(&self.one, &values(one)).await?;
        }
        Ok(())
    }
}

static COUNTS: LazyLock<Rows> = LazyLock::new(|| Rows::new("usage", COUNT_COLUMNS, add_up!()));
static USES: LazyLock<Rows> = LazyLock::new(|| Rows::new("key_use", USE_COLUMNS, KEEP_LATEST));

/// Statements that are put together when they are first needed.
pub(super) fn made_statements() -> impl Iterator<Item = &'static str> {
    [&COUNTS, &USES].into_iter().flat_map(|rows| [rows.many.as_str(), rows.one.as_str()])
}

statements! {
    NOTE_OLD_USE = "INSERT INTO old_secret_use (key_id, version, address, last_used_at) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (key_id, version, address) DO UPDATE SET last_used_at = excluded.last_used_at \
        WHERE excluded.last_used_at > old_secret_use.last_used_at";
    INSERT_LABEL = "INSERT INTO usage_label (id, endpoint, method, status, denial) VALUES ($1, $2, $3, $4, $5) \
        ON CONFLICT (id) DO NOTHING";
    JOIN = "INSERT INTO usage_writer (writer, generation, place) VALUES ($1, $2, $3)";
    HOLD = "UPDATE usage_writer SET generation = generation WHERE writer = $1";
    LEAVE = "DELETE FROM usage_writer WHERE writer = $1 AND generation = $2 AND place = $3";
    PLACES = "SELECT writer, generation, place FROM usage_writer ORDER BY writer";
    PLACE = "SELECT writer, generation, place FROM usage_writer WHERE writer = $1";
    MOVE = "UPDATE usage_writer SET generation = $4, place = $5 WHERE writer = $1 AND generation = $2 AND place = $3";
    TAKE_OVER = "UPDATE usage_writer SET writer = $2 WHERE writer = $1";
    TAKE_OVER_JOURNAL = "UPDATE usage_journal SET writer = $2 WHERE writer = $1";
    WRITE_JOURNAL = "INSERT INTO usage_journal (writer, generation, number, batch) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (writer, generation, number) DO NOTHING";
    READ_JOURNAL = "SELECT generation, number, batch FROM usage_journal WHERE writer = $1 \
        AND (generation, number) > ($2, $3) ORDER BY generation, number LIMIT 16";
    CLEAR_JOURNAL = "DELETE FROM usage_journal WHERE writer = $1 AND generation < $2";
}

impl FromRow for UsagePlace {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self { writer: row.get("writer")?, generation: row.get("generation")?, place: row.get("place")? })
    }
}

/// A batch of the journal.
pub struct UsageBatch {
    /// The generation it is of.
    pub generation: i64,
    /// Its number in that.
    pub number: i64,
    /// Whatever the writer wrote.
    pub batch: Vec<u8>,
}

impl FromRow for UsageBatch {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self { generation: row.get("generation")?, number: row.get("number")?, batch: row.get("batch")? })
    }
}

impl Reader {
    /// Everybody of whose counts something may be left to add up.
    pub async fn usage_places(&mut self) -> Result<Vec<UsagePlace>> {
        self.tx.fetch_all(PLACES, &[]).await
    }

    /// The next batches of a writer's journal behind this generation and number; none if there are no more.
    pub async fn usage_journal(&mut self, writer: NodeId, generation: i64, number: i64) -> Result<Vec<UsageBatch>> {
        self.tx.fetch_all(READ_JOURNAL, args![writer, generation, number]).await
    }
}

impl Writer {
    /// Makes a writer known, and commits.
    pub async fn commit_usage_writer(mut self, place: &UsagePlace) -> Result<()> {
        self.tx.execute_one(JOIN, args![place.writer, place.generation, place.place.as_slice()]).await?;
        self.reader.tx.commit().await
    }

    /// Forgets a writer of whom nothing is left behind this place, and commits.
    pub async fn commit_usage_end(mut self, place: &UsagePlace) -> Result<()> {
        self.tx.execute(LEAVE, args![place.writer, place.generation, place.place.as_slice()]).await?;
        self.reader.tx.commit().await
    }

    /// Hands what is left of a writer's counts to another one, and commits; false if somebody else was quicker.
    pub async fn commit_usage_taken_over(mut self, from: NodeId, to: NodeId) -> Result<bool> {
        if self.tx.execute(TAKE_OVER, args![from, to]).await? == 0 {
            return Ok(false);
        }
        self.tx.execute(TAKE_OVER_JOURNAL, args![from, to]).await?;
        self.reader.tx.commit().await?;
        Ok(true)
    }

    /// Writes batches into a writer's journal under ascending numbers, and commits; false if somebody else has taken over what
    /// this writer had. The same numbers may be written again by whoever does not know whether they were.
    pub async fn commit_usage_journal(
        mut self,
        writer: NodeId,
        generation: i64,
        first: i64,
        batches: &[Vec<u8>],
    ) -> Result<bool> {
        if self.tx.execute(HOLD, args![writer]).await? == 0 {
            return Ok(false);
        }
        for (number, batch) in (first..).zip(batches) {
            self.tx.execute(WRITE_JOURNAL, args![writer, generation, number, batch.as_slice()]).await?;
        }
        self.reader.tx.commit().await?;
        Ok(true)
    }

    /// Adds a step up and moves from one place to the next, and commits; false if somebody else has taken over what this
    /// writer had. Whoever does not know whether a step was made may make it again. The journal of generations that are done
    /// with is cleared.
    pub async fn commit_usage(mut self, from: &UsagePlace, to: &UsagePlace, step: &UsageStep) -> Result<bool> {
        let (old, new) = (from.place.as_slice(), to.place.as_slice());
        if self.tx.execute(MOVE, args![from.writer, from.generation, old, to.generation, new]).await? == 0 {
            let found: Option<UsagePlace> = self.tx.fetch(PLACE, args![from.writer]).await?;
            return Ok(found.as_ref() == Some(to));
        }
        for label in &step.labels {
            self.tx.execute(INSERT_LABEL, &label_args(label)).await?;
        }
        let counts: Vec<_> = self.with_late(&step.counts).await?.into_iter().collect();
        COUNTS.write(&mut self.reader.tx, &counts, count_args).await?;
        let mut uses: Vec<&SecretUse> = step.uses.iter().collect();
        uses.sort_unstable_by_key(|used| (used.key, used.version));
        USES.write(&mut self.reader.tx, &uses, |used| use_args(used)).await?;
        for used in uses {
            for (address, at) in &used.old_from {
                let args = args![used.key, used.version, address.to_string(), *at];
                self.tx.execute(NOTE_OLD_USE, args).await?;
            }
        }
        if to.generation != from.generation {
            self.tx.execute(CLEAR_JOURNAL, args![to.writer, to.generation]).await?;
        }
        self.reader.tx.commit().await?;
        Ok(true)
    }

    /// Counts of minutes, and what of them comes too late to be added to its hour or day from there.
    async fn with_late(
        &mut self,
        counts: &BTreeMap<UsageKey, UsageCounts>,
    ) -> Result<BTreeMap<(Span, UsageKey), UsageCounts>> {
        let rolled = Rolled::hold(self).await?;
        let mut all = BTreeMap::new();
        let mut add = |span: Span, key: &UsageKey, counts: UsageCounts| {
            let key = UsageKey { start: span.start_of(key.start), ..*key };
            *all.entry((span, key)).or_insert_with(UsageCounts::default) += counts;
        };
        for (key, counts) in counts {
            add(Span::Minute, key, *counts);
            if rolled.has_passed(Span::Minute, key) {
                add(Span::Hour, key, *counts);
                if rolled.has_passed(Span::Hour, key) && key.subject.kind <= super::LAST_BY_DAY {
                    add(Span::Day, key, *counts);
                }
            }
        }
        Ok(all)
    }
}

fn label_args(label: &Label) -> Vec<Arg> {
    vec![
        label.id().into(),
        label.endpoint.as_str().into(),
        label.method.as_str().into(),
        i64::from(label.status.digit()).into(),
        label.denial.map_or("", Reason::code).into(),
    ]
}

fn count_args(((span, key), counts): &((Span, UsageKey), UsageCounts)) -> Vec<Arg> {
    let number = |number: u64| Arg::from(i64::try_from(number).unwrap_or(i64::MAX));
    vec![
        span.seconds().into(),
        key.start.into(),
        key.subject.organization.into(),
        key.subject.kind.number().into(),
        key.subject.id.into(),
        key.version.into(),
        key.label.into(),
        i64::from(key.bucket).into(),
        number(counts.requests),
        number(counts.units),
        number(counts.bytes_in),
        number(counts.bytes_out),
        number(counts.micros),
    ]
}

fn use_args(used: &SecretUse) -> Vec<Arg> {
    vec![
        used.key.into(),
        used.version.into(),
        used.at.into(),
        used.address.map(|address| address.to_string()).into(),
        used.user_agent.as_deref().into(),
    ]
}
