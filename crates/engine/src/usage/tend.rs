//! What is done with counts once they are written down: minutes are added to hours, hours to days, and what is too old is
//! forgotten.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keyrack_core::usage::Span;
use keyrack_store::UsagePlace;

use crate::Result;
use crate::engine::Engine;
use crate::serving::every;

/// How often it is done.
const ROUND: Duration = Duration::from_secs(20);
/// How long after its end a minute is added to its hour: by then nearly all of it has been written down. What comes later is
/// added to both.
const LAG: SignedDuration = SignedDuration::from_mins(5);
/// How long to rest after each step, for the others.
const REST: Duration = Duration::from_millis(5);

impl Engine {
    /// Tends to counts as long as the process serves.
    pub(crate) async fn tend_usage(&self) {
        let (mut round, mut seen) = (every(ROUND), Vec::new());
        loop {
            round.tick().await;
            if !self.calendar.look() {
                continue;
            }
            if let Err(error) = self.tend_usage_once(&mut seen).await {
                tracing::warn!(%error, "usage could not be added up and is left for later");
            }
        }
    }

    async fn tend_usage_once(&self, seen: &mut Vec<UsagePlace>) -> Result<()> {
        self.adopt_usage(seen).await?;
        let now = self.now();
        let settled = now.saturating_sub(LAG).unwrap_or(Timestamp::MIN);
        let minutes = Span::Minute.start_of(settled);
        while self.store.write(&[]).await?.commit_usage_rolled(Span::Minute, minutes).await? {
            tokio::time::sleep(REST).await;
        }
        // All minutes of these hours have been added to them.
        let hours = Span::Hour.start_of(minutes);
        while self.store.write(&[]).await?.commit_usage_rolled(Span::Hour, hours).await? {
            tokio::time::sleep(REST).await;
        }
        for span in Span::ALL {
            let expired = now.saturating_sub(span.kept_for()).unwrap_or(Timestamp::MIN);
            while self.store.write(&[]).await?.commit_usage_expired(span, expired).await? {
                tokio::time::sleep(REST).await;
            }
        }
        Ok(())
    }
}
