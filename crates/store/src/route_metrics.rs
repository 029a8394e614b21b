//! How many calls routes let in, and how long they took.

use jiff::Timestamp;
use keyrack_core::RouteId;
use keyrack_core::usage::Span;

use crate::driver::{FromRow, Row, args};
use crate::{Reader, Result, Writer, statements};

/// How many are forgotten at once.
const BATCH: i64 = 1000;

/// The calls of a minute, an hour or a day.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouteMetric {
    /// When it began.
    pub start: Timestamp,
    /// How many there were.
    pub calls: i64,
    /// How many of them ended with a status of 500 and more.
    pub failures: i64,
    /// How long they took together, in microseconds.
    pub micros: i64,
    /// How long the longest took, in microseconds.
    pub longest: i64,
}

impl RouteMetric {
    /// How long a call took on average, in microseconds; `None` if there was none.
    pub fn mean(&self) -> Option<i64> {
        self.micros.checked_div(self.calls)
    }
}

statements! {
    ADD = "INSERT INTO route_metric (route_id, span, start, calls, failures, micros, longest) \
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (route_id, span, start) DO UPDATE SET \
        calls = route_metric.calls + excluded.calls, failures = route_metric.failures + excluded.failures, \
        micros = route_metric.micros + excluded.micros, \
        longest = CASE WHEN excluded.longest > route_metric.longest THEN excluded.longest ELSE route_metric.longest END";
    LIST = "SELECT start, calls, failures, micros, longest FROM route_metric \
        WHERE route_id = $1 AND span = $2 AND start >= $3 AND start < $4 ORDER BY start";
    FORGET_OLD = "DELETE FROM route_metric WHERE (route_id, span, start) IN (SELECT route_id, span, start FROM route_metric \
        WHERE span = $1 AND start < $2 ORDER BY start LIMIT $3)";
    FORGET_ALL = "DELETE FROM route_metric WHERE route_id = $1";
}

impl FromRow for RouteMetric {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            start: row.get("start")?,
            calls: row.get("calls")?,
            failures: row.get("failures")?,
            micros: row.get("micros")?,
            longest: row.get("longest")?,
        })
    }
}

impl Reader {
    /// The calls of a route by time, from a moment up to another; times without any are left out.
    pub async fn route_metrics(
        &mut self,
        route: RouteId,
        by: Span,
        (from, to): (Timestamp, Timestamp),
    ) -> Result<Vec<RouteMetric>> {
        self.tx.fetch_all(LIST, args![route, by.seconds(), from, to]).await
    }
}

impl Writer {
    /// Adds calls to those of the times that they were in, and commits.
    pub async fn commit_route_metrics(mut self, added: &[(RouteId, Span, RouteMetric)]) -> Result<()> {
        for (route, span, of) in added {
            let args = args![*route, span.seconds(), of.start, of.calls, of.failures, of.micros, of.longest];
            self.tx.execute_one(ADD, args).await?;
        }
        self.reader.tx.commit().await
    }

    /// Forgets some of what is older than a moment, and commits; whether there may be more.
    pub async fn commit_old_route_metrics_forgotten(mut self, span: Span, before: Timestamp) -> Result<bool> {
        let forgotten = self.tx.execute(FORGET_OLD, args![span.seconds(), before, BATCH]).await?;
        self.reader.tx.commit().await?;
        Ok(forgotten == BATCH.unsigned_abs())
    }

    /// Forgets the calls of a route.
    pub async fn delete_route_metrics(&mut self, route: RouteId) -> Result<()> {
        self.tx.execute(FORGET_ALL, args![route]).await.map(drop)
    }
}
