//! The processes that serve one PostgreSQL database together.
//!
//! Each has a row that tells how far it has applied the log of changes, and renews it a few times a second. The answer to a
//! renewal carries the head of the log: who has applied that much may decide from memory for a while, counted from before
//! the renewal was sent. Who makes a change therefore waits until every row has come far enough, or until whatever was
//! granted before the change has run out.

use std::time::Duration;

use jiff::Timestamp;
use keyrack_core::{NodeId, micros};
use sqlx::postgres::{PgArguments, PgConnectOptions, PgListener, PgRow};
use sqlx::query::Query;
use sqlx::{ConnectOptions as _, PgConnection, Postgres, Row as _};

use crate::driver::{FromRow, Row, Tx};
use crate::{FeedHead, Reader, Result, Store, dialect, statements};

/// How long a renewal may take. A later answer would be worth nothing.
const RENEWAL_WITHIN: Duration = Duration::from_secs(1);

/// A process that serves, as the others see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Drawn at its start.
    pub id: NodeId,
    /// The machine it runs on.
    pub name: String,
    /// The version of its program.
    pub version: String,
    /// When it joined, by the database's clock.
    pub started_at: Timestamp,
    /// When it last renewed, by the database's clock. That it did does not say that it could apply what the answer told.
    pub seen_at: Timestamp,
    /// How long ago that is.
    pub silent_for: Duration,
    /// The newest change that its decisions know.
    pub applied: i64,
    /// The peppers and master keys that its key file has, each by its number and what tells it from another one of that number.
    pub key_file: Vec<String>,
}

statements! {
    SLOWEST = "SELECT min(applied) AS value FROM node";
    COUNT = "SELECT count(*) AS value FROM node";
}

impl FromRow for Node {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            name: row.get("name")?,
            version: row.get("version")?,
            started_at: row.get("started_at")?,
            seen_at: row.get("seen_at")?,
            silent_for: Duration::from_micros(u64::try_from(row.get::<i64>("silent_for")?).unwrap_or(0)),
            applied: row.get("applied")?,
            // The column is older than that peppers stand in it too.
            key_file: row.get::<String>("master_keys")?.split_ascii_whitespace().map(str::to_owned).collect(),
        })
    }
}

impl Reader {
    /// The processes that serve, the oldest first. None on SQLite, where a lock tells of the one there may be.
    pub async fn list_nodes(&mut self) -> Result<Vec<Node>> {
        if matches!(self.tx, Tx::Sqlite(_)) {
            return Ok(Vec::new());
        }
        self.tx.fetch_all(dialect::POSTGRES_NODES, &[]).await
    }

    /// How many processes serve: at least one.
    pub async fn count_nodes(&mut self) -> Result<u64> {
        let counted: i64 = self.tx.value(COUNT, &[]).await?.unwrap_or(0);
        Ok(u64::try_from(counted).unwrap_or(0).max(1))
    }

    pub(crate) async fn slowest_node(&mut self) -> Result<Option<i64>> {
        Ok(self.tx.value::<Option<i64>>(SLOWEST, &[]).await?.flatten())
    }
}

/// This process's row among the nodes, on a connection of its own that is made anew whenever it breaks.
pub struct Membership {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
    id: NodeId,
    name: String,
    version: String,
}

impl Membership {
    pub(crate) fn new(options: PgConnectOptions, id: NodeId, name: String, version: String) -> Self {
        Self { options, connection: None, id, name, version }
    }

    /// Makes the row, or makes it anew. It has to be there before the first renewal is sent.
    pub async fn join(&mut self, applied: i64, key_file: &[String]) -> Result<()> {
        let (id, name, version) = (self.id.0, self.name.clone(), self.version.clone());
        let join = sqlx::query(dialect::POSTGRES_JOIN).bind(id).bind(name).bind(version).bind(applied);
        self.run(join.bind(key_file.join(" "))).await.map(drop)
    }

    /// Tells how far the log has been applied, and asks how far it goes. `None` if the row is gone: the others have long
    /// stopped waiting for this process.
    pub async fn renew(&mut self, applied: i64, key_file: &[String]) -> Result<Option<FeedHead>> {
        let renewal = sqlx::query(dialect::POSTGRES_RENEW).bind(self.id.0).bind(applied).bind(key_file.join(" "));
        let renewed = self.run(renewal).await?;
        let Some(row) = renewed else { return Ok(None) };
        Ok(Some(FeedHead { seq: row.try_get("seq")?, epoch: row.try_get("epoch")? }))
    }

    /// Takes away the row of a process that has not renewed since that moment: nobody waits for it any more, and when it comes
    /// back it has to join anew.
    pub async fn forget(&mut self, silent: &Node) -> Result<()> {
        let (id, seen_at) = (silent.id.0, micros(silent.seen_at));
        self.run(sqlx::query(dialect::POSTGRES_FORGET).bind(id).bind(seen_at)).await.map(drop)
    }

    /// Takes the row away: nobody needs to wait for this process any more.
    pub async fn leave(mut self) -> Result<()> {
        self.run(sqlx::query(dialect::POSTGRES_LEAVE).bind(self.id.0)).await.map(drop)
    }

    async fn run(&mut self, query: Query<'static, Postgres, PgArguments>) -> Result<Option<PgRow>> {
        let (options, held) = (&self.options, self.connection.take());
        let call = async {
            let mut connection = if let Some(held) = held {
                held
            } else {
                let mut new = options.connect().await?;
                sqlx::query(dialect::POSTGRES_UNHURRIED).execute(&mut new).await?;
                new
            };
            let row = query.fetch_optional(&mut connection).await?;
            Ok::<_, sqlx::Error>((row, connection))
        };
        let (row, connection) =
            tokio::time::timeout(RENEWAL_WITHIN, call).await.map_err(|_| sqlx::Error::PoolTimedOut)??;
        self.connection = Some(connection);
        Ok(row)
    }
}

/// Hears when something has been committed. That saves waiting; nothing relies on it.
pub struct Calls(PgListener);

impl Calls {
    /// Returns at the next commit, whoever makes it.
    pub async fn next(&mut self) -> Result<()> {
        self.0.recv().await?;
        Ok(())
    }
}

impl Store {
    /// Listens for commits; `None` on SQLite, which calls nobody.
    pub async fn calls(&self) -> Result<Option<Calls>> {
        let Some(pool) = self.apart() else { return Ok(None) };
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(dialect::POSTGRES_CHANNEL).await?;
        Ok(Some(Calls(listener)))
    }
}
