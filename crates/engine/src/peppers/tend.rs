//! Keys that are used get digests under the pepper in use, behind the requests; and older peppers go when no key needs them.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keyrack_core::EventId;
use keyrack_store::{Reader, Redigest};
use serde_json::json;

use super::REDIGESTED;
use crate::Result;
use crate::engine::Engine;

/// How long uses are gathered, and how many digests are written in one transaction.
const GATHER: Duration = Duration::from_millis(200);
const BATCH: usize = 500;
/// How often it is looked whether an older pepper can go.
const ROUND: Duration = Duration::from_mins(5);
/// How long it is kept where secrets were: much longer than a token lives.
const MOVES_KEPT: SignedDuration = SignedDuration::from_hours(24);

impl Engine {
    /// Gives keys new digests and older peppers up, while this process serves.
    pub(crate) async fn keep_peppers(&self) {
        let Some(mut uses) = self.peppers.listen() else { return std::future::pending().await };
        let mut round = crate::serving::every(ROUND);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                heard = uses.recv_many(&mut batch, BATCH) => {
                    if heard == 0 {
                        return std::future::pending().await;
                    }
                    tokio::time::sleep(GATHER).await;
                    while batch.len() < BATCH && let Ok(of) = uses.try_recv() {
                        batch.push(of);
                    }
                    // What is lost here is noted again when the key is used again.
                    if let Err(error) = self.redigest(std::mem::take(&mut batch)).await {
                        tracing::warn!(%error, "keys could not be given digests under the new pepper, and will be later");
                    }
                }
                _ = round.tick() => if let Err(error) = self.tend_peppers().await {
                    tracing::warn!(%error, "an older pepper could not be given up, and will be later");
                },
            }
        }
    }

    /// Reads which pepper is in use.
    pub(crate) async fn load_peppers(&self, reader: &mut Reader) -> Result<()> {
        self.peppers.load(reader, self.master_keys.keyfile(), self.now()).await
    }

    /// The secrets that were moved with an event are where they are now; nothing of them stays where they were, and tokens that know
    /// the old place find them.
    pub(crate) async fn follow_moved(&self, reader: &mut Reader, event: EventId) -> Result<()> {
        let moved = reader.secrets_moved_by(event).await?;
        self.peppers.keep_moved(&moved, self.now());
        for one in moved {
            self.keyring.leave(one.left, one.key);
        }
        Ok(())
    }

    async fn redigest(&self, uses: Vec<Redigest>) -> Result<()> {
        let in_use = self.peppers.current()?.id();
        let uses = uses.into_iter().filter(|of| of.pepper == in_use);
        let distinct: HashMap<_, _> = uses.map(|of| ((of.key, of.version), of)).collect();
        let mut organizations: Vec<_> = distinct.values().map(|of| of.organization).collect();
        organizations.sort_unstable();
        organizations.dedup();
        let mut writer = self.store.write(&organizations).await?;
        let (event, now) = (self.told(REDIGESTED, json!({}))?, self.now());
        let mut keys = Vec::with_capacity(distinct.len());
        for of in distinct.values() {
            if writer.redigest(of, event.id, now).await? {
                keys.push(of.key);
            }
        }
        if keys.is_empty() {
            return Ok(());
        }
        let data = json!({ "pepper": in_use, "key_ids": keys });
        self.commit(writer, keyrack_store::NewEvent { data, ..event }).await.map(drop)
    }

    /// Does what is due now.
    pub async fn tend_peppers(&self) -> Result<()> {
        if !self.is_serving() {
            return Ok(());
        }
        let retired = self.retire_unneeded_peppers().await?;
        if !retired.is_empty() {
            tracing::info!(?retired, "no key needs these peppers any more; they are gone from the key file");
        }
        let before = self.now().saturating_sub(MOVES_KEPT).unwrap_or(Timestamp::MIN);
        if self.reader().await?.has_moves_before(before).await? {
            self.store.write(&[]).await?.commit_moves_forgotten(before).await?;
        }
        Ok(())
    }
}
