//! The schedule of the master key: a rotation that was broken off is finished, and a new one begun in time.

use std::sync::PoisonError;
use std::time::Duration;

use jiff::SignedDuration;

use super::Rotated;
use crate::engine::Engine;
use crate::{Error, Result};

/// How often it is looked at.
const ROUND: Duration = Duration::from_mins(5);

impl Engine {
    /// Keeps the master key as young as it is to be, while this process serves.
    pub(crate) async fn keep_master_key(&self) {
        let mut round = crate::serving::every(ROUND);
        loop {
            round.tick().await;
            if !self.is_serving() {
                continue;
            }
            match self.tend_master_key().await {
                Ok(()) => {}
                Err(Error::Conflict { message, details, .. }) => tracing::warn!(nodes = ?details, "{message}"),
                Err(error) => tracing::warn!(%error, "the master key could not be tended, and will be later"),
            }
        }
    }

    /// Does what is due now.
    pub async fn tend_master_key(&self) -> Result<()> {
        if self.master_keys.known().is_empty() {
            return Ok(());
        }
        let known = self.master_keys.known();
        let current = self.master_keys.current()?.id();
        if self.is_resealing_due().await? || known.iter().any(|key| key.id() < current) {
            let rotated = self.finish_rotation(&mut |_| {}).await?;
            self.report(&rotated);
            if rotated.resealed > 0 {
                return Ok(());
            }
        }
        let Some(days) = self.master_key_days else { return Ok(()) };
        let Some(in_use) = self.master_keys.in_use() else { return Ok(()) };
        let is_due = self.now().duration_since(in_use.since) >= SignedDuration::from_hours(i64::from(days) * 24);
        // One of several, so that not each puts a new key of its own into its file.
        let nodes = self.reader().await?.list_nodes().await?;
        let is_first = nodes.first().is_none_or(|first| first.id == self.node);
        if is_due && is_first {
            let rotated = self.rotate_master_key(|_| {}).await?;
            tracing::info!(master_key = rotated.master_key, "a new master key is in use");
            self.report(&rotated);
        }
        Ok(())
    }

    /// Tells what was done, and once of each value that cannot be opened.
    fn report(&self, rotated: &Rotated) {
        if rotated.resealed > 0 || !rotated.retired.is_empty() {
            tracing::info!(resealed = rotated.resealed, retired = ?rotated.retired, "values were sealed with the new master key");
        }
        let mut reported = self.master_keys.reported.lock().unwrap_or_else(PoisonError::into_inner);
        for value in &rotated.unreadable {
            if reported.insert(value.clone()) {
                tracing::error!(value, "this cannot be opened, and is left as it is under the old key");
            }
        }
    }
}
