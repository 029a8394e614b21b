//! How many calls routes let in, and how long they took: counted where they are answered, added up in the database.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use keyrack_core::RouteId;
use keyrack_core::usage::Span;
use keyrack_store::RouteMetric;

use super::LiveRoute;
use crate::actor::Context;
use crate::engine::Engine;
use crate::serving::every;
use crate::usage::bounds;
use crate::{Error, Result};

/// How often what was counted is written down. A call belongs to the minute in which that is done.
const FLUSH: Duration = Duration::from_secs(1);
/// How often what is too old is forgotten.
const TIDY: Duration = Duration::from_mins(10);

/// What is counted of a route between two times that it is written down.
#[derive(Default, Debug)]
pub struct Meter {
    calls: AtomicU64,
    failures: AtomicU64,
    micros: AtomicU64,
    longest: AtomicU64,
}

impl Meter {
    /// Counts a call that was let in: how long it took until its answer began, and whether its status is 500 and more. Waits for
    /// nobody.
    pub fn note(&self, took: Duration, is_failure: bool) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.longest.fetch_max(micros, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        self.failures.fetch_add(is_failure.into(), Ordering::Relaxed);
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Begins anew; what there was, if there was anything. A call that is noted meanwhile may have its parts in both.
    fn take(&self, start: Timestamp) -> Option<RouteMetric> {
        let take = |number: &AtomicU64| i64::try_from(number.swap(0, Ordering::Relaxed)).unwrap_or(i64::MAX);
        let calls = take(&self.calls);
        let taken = || RouteMetric {
            start,
            calls,
            failures: take(&self.failures),
            micros: take(&self.micros),
            longest: take(&self.longest),
        };
        (calls > 0).then(taken)
    }

    /// Takes back what could not be written down.
    fn put_back(&self, of: &RouteMetric) {
        self.longest.fetch_max(of.longest.unsigned_abs(), Ordering::Relaxed);
        self.micros.fetch_add(of.micros.unsigned_abs(), Ordering::Relaxed);
        self.failures.fetch_add(of.failures.unsigned_abs(), Ordering::Relaxed);
        self.calls.fetch_add(of.calls.unsigned_abs(), Ordering::Relaxed);
    }
}

/// What was counted of a route.
#[derive(Clone, Debug)]
pub struct RouteMetrics {
    /// The beginning of the first time.
    pub from: Timestamp,
    /// The end of the last.
    pub to: Timestamp,
    /// What times are told apart.
    pub by: Span,
    /// All of it together; it begins with the first time.
    pub total: RouteMetric,
    /// By time; every time from the first to the last.
    pub times: Vec<RouteMetric>,
}

impl Engine {
    /// What was counted of a route, from the beginning of the time that a moment is in to the end of that of another. If they are
    /// not given, the last 60 minutes, 24 hours or 30 days.
    pub async fn route_metrics(
        &self,
        ctx: &Context,
        id: RouteId,
        by: Span,
        time: (Option<Timestamp>, Option<Timestamp>),
    ) -> Result<RouteMetrics> {
        let (from, to) = bounds(by, time, self.now())?;
        let mut reader = self.reader().await?;
        reader.find_route(ctx.organization, id).await?.ok_or(Error::NotFound("route"))?;
        let counted = reader.route_metrics(id, by, (from, to)).await?;
        drop(reader);
        let total = counted.iter().fold(nothing(from), add);
        let mut counted: BTreeMap<Timestamp, RouteMetric> = counted.into_iter().map(|of| (of.start, of)).collect();
        let starts = std::iter::successors(Some(from), |start| Some(by.next(*start))).take_while(|start| *start < to);
        let times = starts.map(|start| counted.remove(&start).unwrap_or(nothing(start))).collect();
        Ok(RouteMetrics { from, to, by, total, times })
    }

    /// Writes down what is counted and forgets what is old, as long as the process serves.
    pub(crate) async fn keep_route_metrics(&self) {
        let (mut flush, mut tidy) = (every(FLUSH), every(TIDY));
        loop {
            tokio::select! {
                _ = flush.tick() => self.flush_route_metrics().await,
                _ = tidy.tick() => if let Err(error) = self.tidy_route_metrics().await {
                    tracing::warn!(%error, "old counts of routes could not be forgotten");
                },
            }
        }
    }

    /// Writes down what was counted until now.
    pub(crate) async fn flush_route_metrics(&self) {
        let now = self.now();
        let routes = self.routes.all();
        let taken: Vec<_> = routes.iter().filter_map(|route| Some((route, route.meter.take(now)?))).collect();
        if taken.is_empty() {
            return;
        }
        let spans = |(route, of): &(&Arc<LiveRoute>, RouteMetric)| {
            let (id, of) = (route.route.id, *of);
            Span::ALL.map(|span| (id, span, RouteMetric { start: span.start_of(of.start), ..of }))
        };
        let rows: Vec<_> = taken.iter().flat_map(spans).collect();
        let written = async { Ok::<_, Error>(self.store.write(&[]).await?.commit_route_metrics(&rows).await?) };
        if let Err(error) = written.await {
            tracing::warn!(%error, "counts of routes could not be written down and are kept");
            for (route, of) in taken {
                route.meter.put_back(&of);
            }
        }
    }

    async fn tidy_route_metrics(&self) -> Result<()> {
        for span in Span::ALL {
            let before = self.now().saturating_sub(span.kept_for()).unwrap_or(Timestamp::MIN);
            while self.store.write(&[]).await?.commit_old_route_metrics_forgotten(span, before).await? {}
        }
        Ok(())
    }
}

fn nothing(start: Timestamp) -> RouteMetric {
    RouteMetric { start, calls: 0, failures: 0, micros: 0, longest: 0 }
}

fn add(sum: RouteMetric, of: &RouteMetric) -> RouteMetric {
    RouteMetric {
        start: sum.start,
        calls: sum.calls.saturating_add(of.calls),
        failures: sum.failures.saturating_add(of.failures),
        micros: sum.micros.saturating_add(of.micros),
        longest: sum.longest.max(of.longest),
    }
}
