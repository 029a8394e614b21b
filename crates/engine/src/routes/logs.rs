//! What scripts wrote and how their calls ended: noted where they are answered, written down a moment later, kept for some days.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keyrack_core::{KeyId, LogId, OrganizationId, RouteId};
use keyrack_store::{LogKind, RouteLog};
use uuid::Uuid;

use super::Target;
use crate::actor::Context;
use crate::engine::Engine;
use crate::keys::Page;
use crate::serving::every;
use crate::{Error, Result};

/// How often lines are written down.
const FLUSH: Duration = Duration::from_millis(500);
/// How many may wait for that; what comes beyond it is left out.
const WAITING: usize = 4000;
/// How often what is too old or too much is forgotten.
const TIDY: Duration = Duration::from_mins(5);
/// How long a line is kept.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How many lines of a route are kept.
const KEPT: i64 = 10_000;

/// A line for the log of a route.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// Whose route it is.
    pub organization: OrganizationId,
    /// Which.
    pub route: RouteId,
    /// When it happened; of a call, when it began.
    pub at: Timestamp,
    /// The request that it belongs to.
    pub request: String,
    /// What happened.
    pub kind: LogKind,
    /// How important it is: 0 debug, 1 info, 2 warning, 3 error.
    pub level: u8,
    /// What was written, or what went wrong.
    pub message: String,
    /// The method of the request.
    pub method: String,
    /// How it was answered, if it was.
    pub status: Option<u16>,
    /// How long that took.
    pub took: Option<Duration>,
    /// The key that was let in.
    pub key: Option<(KeyId, String)>,
}

/// Lines that wait to be written down.
#[derive(Default)]
pub(crate) struct RouteLogs(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    lines: Vec<LogLine>,
    left_out: u64,
}

impl RouteLogs {
    fn take(&self) -> Waiting {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts back what could not be written, before what came since.
    fn put_back(&self, mut lines: Vec<LogLine>) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = WAITING.saturating_sub(waiting.lines.len());
        waiting.left_out += lines.len().saturating_sub(room) as u64;
        lines.truncate(room);
        lines.append(&mut waiting.lines);
        waiting.lines = lines;
    }
}

impl Engine {
    /// Notes lines for logs of routes. Where more come than can be written, the last are left out.
    pub fn note_route_lines(&self, lines: Vec<LogLine>) {
        let mut waiting = self.route_logs.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = WAITING.saturating_sub(waiting.lines.len());
        waiting.left_out += lines.len().saturating_sub(room) as u64;
        waiting.lines.extend(lines.into_iter().take(room));
    }

    /// The log of a route, the newest first.
    pub async fn route_log(
        &self,
        ctx: &Context,
        id: RouteId,
        before: Option<LogId>,
        limit: i64,
    ) -> Result<Page<RouteLog>> {
        let mut reader = self.reader().await?;
        reader.find_route(ctx.organization, id).await?.ok_or(Error::NotFound("route"))?;
        let mut lines = reader.route_log(ctx.organization, id, before, limit + 1).await?;
        let limit = usize::try_from(limit).unwrap_or(0);
        let has_more = lines.len() > limit;
        lines.truncate(limit);
        let next_cursor = lines.last().filter(|_| has_more).map(|line| line.id.to_string());
        Ok(Page { data: lines, next_cursor })
    }

    /// What came into the log of a route after one of its lines, the oldest first.
    pub async fn route_log_after(&self, ctx: &Context, id: RouteId, after: LogId, limit: i64) -> Result<Vec<RouteLog>> {
        let mut reader = self.reader().await?;
        reader.find_route(ctx.organization, id).await?.ok_or(Error::NotFound("route"))?;
        Ok(reader.route_log_after(ctx.organization, id, after, limit).await?)
    }

    /// Writes lines down and forgets old ones, as long as the process serves.
    pub(crate) async fn keep_route_logs(&self) {
        let (mut flush, mut tidy) = (every(FLUSH), every(TIDY));
        loop {
            tokio::select! {
                _ = flush.tick() => self.flush_route_logs().await,
                _ = tidy.tick() => if let Err(error) = self.tidy_route_logs().await {
                    tracing::warn!(%error, "old lines of logs of routes could not be forgotten");
                },
            }
        }
    }

    /// Writes down what waits.
    pub(crate) async fn flush_route_logs(&self) {
        let Waiting { lines, left_out } = self.route_logs.take();
        if left_out > 0 {
            tracing::warn!(left_out, "lines of logs of routes came faster than they could be written down");
        }
        if lines.is_empty() {
            return;
        }
        let written = async {
            let rows = self.numbered(&lines)?;
            Ok::<_, Error>(self.store.write(&[]).await?.commit_route_logs(&rows).await?)
        };
        if let Err(error) = written.await {
            tracing::warn!(%error, "lines of logs of routes could not be written down and are kept");
            self.route_logs.put_back(lines);
        }
    }

    /// Lines with ids in their order: whoever follows a log asks for what is greater than the last one seen.
    fn numbered(&self, lines: &[LogLine]) -> Result<Vec<RouteLog>> {
        let first = LogId::new(self.now(), self.random_id()?).0.as_u128();
        let ids = (first..).map(|id| LogId(Uuid::from_u128(id)));
        Ok(ids.zip(lines).map(|(id, line)| row(id, line)).collect())
    }

    async fn tidy_route_logs(&self) -> Result<()> {
        let before = self.now().saturating_sub(KEPT_FOR).unwrap_or(Timestamp::MIN);
        while self.store.write(&[]).await?.commit_old_route_logs_forgotten(before).await? {}
        for live in self.routes.all().iter().filter(|live| matches!(live.target, Target::Script(_))) {
            let route = live.route.id;
            while self.store.write(&[]).await?.commit_many_route_logs_forgotten(route, KEPT).await? {}
        }
        Ok(())
    }
}

fn row(id: LogId, line: &LogLine) -> RouteLog {
    RouteLog {
        id,
        organization: line.organization,
        route: line.route,
        at: line.at,
        request: line.request.clone(),
        kind: line.kind,
        level: line.level.into(),
        // PostgreSQL keeps no NUL.
        message: line.message.replace('\0', "\u{fffd}"),
        method: line.method.clone(),
        status: line.status.map(Into::into),
        micros: line.took.map(|took| i64::try_from(took.as_micros()).unwrap_or(i64::MAX)),
        key: line.key.clone(),
    }
}
