//! The latest moment that is known to have been.

use jiff::Timestamp;
use keyrack_core::from_micros;

use crate::driver::args;
use crate::{Reader, Result, StoreError, Writer, statements};

statements! {
    LATEST = "SELECT MAX(at) AS value FROM (SELECT MAX(at) AS at FROM event UNION ALL SELECT at FROM latest_time) AS known";
    NOTE = "INSERT INTO latest_time (id, at) VALUES (1, $1) ON CONFLICT (id) DO UPDATE \
        SET at = CASE WHEN excluded.at > latest_time.at THEN excluded.at ELSE latest_time.at END RETURNING at AS value";
}

impl Reader {
    /// The latest moment that any event bears, or that was noted without one.
    pub async fn latest_time(&mut self) -> Result<Option<Timestamp>> {
        Ok(self.tx.value::<Option<i64>>(LATEST, &[]).await?.flatten().map(from_micros))
    }
}

impl Writer {
    /// Notes what time it is, and commits; the latest moment that was ever noted. This is bookkeeping, no change: it has no
    /// event.
    pub async fn commit_time(mut self, now: Timestamp) -> Result<Timestamp> {
        let latest = self.note_time(now).await?;
        self.reader.tx.commit().await?;
        Ok(latest)
    }

    pub(crate) async fn note_time(&mut self, now: Timestamp) -> Result<Timestamp> {
        let latest: i64 = self.tx.value(NOTE, args![now]).await?.ok_or(StoreError::RowsAffected(0))?;
        Ok(from_micros(latest))
    }
}
