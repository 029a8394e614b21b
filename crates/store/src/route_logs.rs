//! What scripts of routes wrote, and how their calls ended.

use jiff::Timestamp;
use keyrack_core::{KeyId, LogId, OrganizationId, RouteId};

use crate::driver::{FromRow, Row, args};
use crate::{Reader, Result, StoreError, Writer, statements};

/// How many are forgotten at once.
const BATCH: i64 = 1000;

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogKind {
    /// A script wrote a line.
    Line,
    /// A call was answered.
    Answered,
    /// A script failed.
    Failed,
    /// Somebody was not let in.
    Rejected,
}

impl LogKind {
    const ALL: [Self; 4] = [Self::Line, Self::Answered, Self::Failed, Self::Rejected];

    /// The word that is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
        }
    }

    /// What a word stands for.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// A line of a route's log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouteLog {
    /// By which it is listed: later ones are greater.
    pub id: LogId,
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
    pub level: i64,
    /// What was written, or what went wrong.
    pub message: String,
    /// The method of the request.
    pub method: String,
    /// How it was answered, if it was.
    pub status: Option<i64>,
    /// How long that took, in microseconds.
    pub micros: Option<i64>,
    /// The key that was let in, with the name it had.
    pub key: Option<(KeyId, String)>,
}

statements! {
    INSERT = "INSERT INTO route_log (id, organization_id, route_id, at, request_id, kind, level, message, method, status, \
        micros, key_id, key_name) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
    NEWEST = "SELECT id, organization_id, route_id, at, request_id, kind, level, message, method, status, micros, key_id, \
        key_name FROM route_log WHERE route_id = $1 AND organization_id = $2 AND (id < $3 OR $3 IS NULL) \
        ORDER BY id DESC LIMIT $4";
    LATER = "SELECT id, organization_id, route_id, at, request_id, kind, level, message, method, status, micros, key_id, \
        key_name FROM route_log WHERE route_id = $1 AND organization_id = $2 AND id > $3 ORDER BY id LIMIT $4";
    FORGET_OLD = "DELETE FROM route_log WHERE id IN (SELECT id FROM route_log WHERE at < $1 ORDER BY at LIMIT $2)";
    FORGET_MANY = "DELETE FROM route_log WHERE id IN (SELECT id FROM route_log WHERE route_id = $1 ORDER BY id DESC \
        LIMIT $3 OFFSET $2)";
    FORGET_ALL = "DELETE FROM route_log WHERE route_id = $1";
}

impl FromRow for RouteLog {
    fn from_row(row: &Row) -> Result<Self> {
        let (key, name): (Option<KeyId>, Option<String>) = (row.get("key_id")?, row.get("key_name")?);
        let kind: String = row.get("kind")?;
        Ok(Self {
            id: row.get("id")?,
            organization: row.get("organization_id")?,
            route: row.get("route_id")?,
            at: row.get("at")?,
            request: row.get("request_id")?,
            kind: LogKind::parse(&kind).ok_or(StoreError::RowsAffected(0))?,
            level: row.get("level")?,
            message: row.get("message")?,
            method: row.get("method")?,
            status: row.get("status")?,
            micros: row.get("micros")?,
            key: key.map(|key| (key, name.unwrap_or_default())),
        })
    }
}

impl Reader {
    /// The log of a route, the newest first, before one of its lines if that is given.
    pub async fn route_log(
        &mut self,
        organization: OrganizationId,
        route: RouteId,
        before: Option<LogId>,
        limit: i64,
    ) -> Result<Vec<RouteLog>> {
        self.tx.fetch_all(NEWEST, args![route, organization, before, limit]).await
    }

    /// What came later than one of its lines, the oldest first.
    pub async fn route_log_after(
        &mut self,
        organization: OrganizationId,
        route: RouteId,
        after: LogId,
        limit: i64,
    ) -> Result<Vec<RouteLog>> {
        self.tx.fetch_all(LATER, args![route, organization, after, limit]).await
    }
}

impl Writer {
    /// Writes lines down and commits.
    pub async fn commit_route_logs(mut self, lines: &[RouteLog]) -> Result<()> {
        for line in lines {
            let args = args![
                line.id,
                line.organization,
                line.route,
                line.at,
                &line.request,
                line.kind.as_str(),
                line.level,
                &line.message,
                &line.method,
                line.status,
                line.micros,
                line.key.as_ref().map(|(key, _)| *key),
                line.key.as_ref().map(|(_, name)| name.as_str()),
            ];
            self.tx.execute_one(INSERT, args).await?;
        }
        self.reader.tx.commit().await
    }

    /// Forgets some of what is older than a moment, and commits; whether there may be more.
    pub async fn commit_old_route_logs_forgotten(mut self, before: Timestamp) -> Result<bool> {
        let forgotten = self.tx.execute(FORGET_OLD, args![before, BATCH]).await?;
        self.reader.tx.commit().await?;
        Ok(forgotten == BATCH.unsigned_abs())
    }

    /// Forgets some of what a route's log has beyond its newest lines, and commits; whether there may be more.
    pub async fn commit_many_route_logs_forgotten(mut self, route: RouteId, kept: i64) -> Result<bool> {
        let forgotten = self.tx.execute(FORGET_MANY, args![route, kept, BATCH]).await?;
        self.reader.tx.commit().await?;
        Ok(forgotten == BATCH.unsigned_abs())
    }

    /// Forgets the log of a route.
    pub async fn delete_route_log(&mut self, route: RouteId) -> Result<()> {
        self.tx.execute(FORGET_ALL, args![route]).await.map(drop)
    }
}
