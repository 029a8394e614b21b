//! What processes that serve one database have been granted of rate limits that they count together.
//!
//! As with quotas, units are granted before they are let in, and what is not needed goes back. A window that nothing counts in
//! any more has no row.

use keyrack_core::RateLimit;
use keyrack_core::rate::Counts;
use uuid::Uuid;

use crate::driver::{FromRow, Row, args};
use crate::{Result, StoreError, Writer, dialect, statements};

/// A window that nobody else changes, and what is to be known beside to take some of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LockedWindow {
    /// What has been granted.
    pub counts: Counts,
    /// What the database's clock shows, in microseconds since 1970.
    pub at: i64,
    /// How many processes serve: at least one.
    pub nodes: u64,
}

statements! {
    LOCK = "INSERT INTO rate_window (owner_id, seconds, part, granted, over_at) VALUES ($1, $2, $3, $4, $5) \
        ON CONFLICT (owner_id, seconds) DO UPDATE SET part = rate_window.part RETURNING part, granted";
    SAVE = "UPDATE rate_window SET part = $3, granted = $4, over_at = $5 WHERE owner_id = $1 AND seconds = $2";
    FORGET = "DELETE FROM rate_window WHERE over_at < $1";
}

struct Granted(Counts);

impl FromRow for Granted {
    fn from_row(row: &Row) -> Result<Self> {
        let part = u64::try_from(row.get::<i64>("part")?).ok();
        let text = row.get::<String>("granted")?;
        let counts = part.and_then(|part| Counts::parse(part, &text));
        counts.map(Self).ok_or(StoreError::Corrupt { column: "granted" })
    }
}

struct Surroundings {
    at: i64,
    nodes: u64,
}

impl FromRow for Surroundings {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self { at: row.get("at")?, nodes: u64::try_from(row.get::<i64>("nodes")?).unwrap_or(0).max(1) })
    }
}

impl Writer {
    /// The window of this length of a key, a group or an organization, which nobody else changes until this transaction ends.
    pub async fn lock_window(&mut self, owner: Uuid, limit: RateLimit) -> Result<LockedWindow> {
        let window = window(owner, limit, &Counts::default());
        let Granted(counts) = self.tx.fetch(LOCK, &window).await?.ok_or(StoreError::RowsAffected(0))?;
        let Surroundings { at, nodes } = self.surroundings().await?;
        Ok(LockedWindow { counts, at, nodes })
    }

    /// What the database's clock shows, in microseconds since 1970.
    pub async fn database_time(&mut self) -> Result<i64> {
        Ok(self.surroundings().await?.at)
    }

    /// Writes down what of a locked window is granted now, and commits. This is bookkeeping, no change: it has no event.
    pub async fn commit_window(mut self, owner: Uuid, limit: RateLimit, counts: &Counts) -> Result<()> {
        self.tx.execute(SAVE, &window(owner, limit, counts)).await?;
        self.reader.tx.commit().await
    }

    /// Forgets the windows in which nothing counts any more at a moment of the database's clock, and commits; how many.
    pub async fn commit_forgotten_windows(mut self, at: i64) -> Result<u64> {
        let forgotten = self.tx.execute(FORGET, args![at]).await?;
        self.reader.tx.commit().await?;
        Ok(forgotten)
    }

    async fn surroundings(&mut self) -> Result<Surroundings> {
        let statement = dialect::NODES_AND_TIME.of(&self.tx);
        self.tx.fetch(statement, &[]).await?.ok_or(StoreError::RowsAffected(0))
    }
}

fn window(owner: Uuid, limit: RateLimit, counts: &Counts) -> [crate::driver::Arg; 5] {
    let part = i64::try_from(counts.part()).unwrap_or(i64::MAX);
    args![owner, i64::from(limit.seconds()), part, counts.to_text(), counts.over_at(limit)].clone()
}
