//! What organizations have used of their monthly quotas.
//!
//! Units are granted to a process before it spends them. What it does not spend it gives back; what it takes with it when it
//! dies is lost, and never granted twice.

use keyrack_core::{Month, OrganizationId, Timestamp};

use crate::driver::{FromRow, Row, args};
use crate::{Reader, Result, StoreError, Writer, statements};

/// The counter of a month.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct QuotaCount {
    /// How many units have been granted to processes, spent or not.
    pub granted: u64,
    /// Grows when somebody sets the counter: what was granted before is void.
    pub epoch: i64,
}

statements! {
    FIND = "SELECT granted, epoch FROM quota WHERE organization_id = $1 AND month = $2";
    OPEN = "INSERT INTO quota (organization_id, month, epoch, granted) VALUES ($1, $2, 0, 0) \
        ON CONFLICT (organization_id, month) DO NOTHING";
    LOCK = "UPDATE quota SET granted = granted WHERE organization_id = $1 AND month = $2 RETURNING granted, epoch";
    ADD = "UPDATE quota SET granted = granted + $4 WHERE organization_id = $1 AND month = $2 AND epoch = $3";
    TAKE_AWAY = "UPDATE quota SET granted = granted - $4 \
        WHERE organization_id = $1 AND month = $2 AND epoch = $3 AND granted >= $4";
    SET = "UPDATE quota SET granted = $3, epoch = epoch + 1 WHERE organization_id = $1 AND month = $2 \
        RETURNING granted, epoch";
}

impl FromRow for QuotaCount {
    fn from_row(row: &Row) -> Result<Self> {
        let granted = u64::try_from(row.get::<i64>("granted")?);
        Ok(Self { granted: granted.map_err(|_| StoreError::Corrupt { column: "granted" })?, epoch: row.get("epoch")? })
    }
}

impl Reader {
    /// The counter of an organization's month; zero if nothing was ever granted of it.
    pub async fn find_quota(&mut self, organization: OrganizationId, month: Month) -> Result<QuotaCount> {
        Ok(self.tx.fetch(FIND, args![organization, month.number()]).await?.unwrap_or_default())
    }
}

impl Writer {
    /// The counter of an organization's month, which nobody else changes until this transaction ends; and whether nothing
    /// was ever granted of it.
    pub async fn lock_quota(&mut self, organization: OrganizationId, month: Month) -> Result<(QuotaCount, bool)> {
        let is_new = self.tx.execute(OPEN, args![organization, month.number()]).await? == 1;
        let count = self.tx.fetch(LOCK, args![organization, month.number()]).await?;
        Ok((count.ok_or(StoreError::RowsAffected(0))?, is_new))
    }

    /// Grants units of a counter that is locked. Does nothing if it has been set since that epoch.
    pub async fn grant_units(
        &mut self,
        organization: OrganizationId,
        month: Month,
        epoch: i64,
        units: u64,
    ) -> Result<()> {
        self.tx.execute(ADD, args![organization, month.number(), epoch, as_int(units)]).await.map(drop)
    }

    /// Takes units back that were granted and not spent. Does nothing if the counter has been set since that epoch.
    pub async fn return_units(
        &mut self,
        organization: OrganizationId,
        month: Month,
        epoch: i64,
        units: u64,
    ) -> Result<()> {
        self.tx.execute(TAKE_AWAY, args![organization, month.number(), epoch, as_int(units)]).await.map(drop)
    }

    /// Sets a counter that is locked; what was granted before is void.
    pub async fn set_quota(&mut self, organization: OrganizationId, month: Month, granted: u64) -> Result<QuotaCount> {
        let set = self.tx.fetch(SET, args![organization, month.number(), as_int(granted)]).await?;
        set.ok_or(StoreError::RowsAffected(0))
    }

    /// Makes grants and returns permanent. This is bookkeeping, no change: it has no event. With the first grant of a month it
    /// is noted that this has begun, so that no clock leads back to the month before.
    pub async fn commit_quota(mut self, begun: Option<Timestamp>) -> Result<()> {
        if let Some(begun) = begun {
            self.note_time(begun).await?;
        }
        self.reader.tx.commit().await
    }
}

fn as_int(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}
