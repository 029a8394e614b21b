//! What a serving process does beside answering: holds the claim on the database, follows the log, writes uses down.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;

use crate::engine::Engine;

/// How often the log is looked at for changes made by another process.
const POLL: Duration = Duration::from_millis(50);
/// How often uses are written down.
const FLUSH: Duration = Duration::from_millis(500);
/// How often a claim on the database is looked at.
const CLAIM_CHECK: Duration = Duration::from_millis(250);

impl Engine {
    /// Serves until `stop`: holds the claim, follows the log, writes uses down.
    pub async fn run(self: Arc<Self>, claim: keyrack_store::Claim, stop: impl Future<Output = ()>) {
        let held = AsyncMutex::new(Held { claim, published: 0 });
        // Beside each other: following the log waits long for a database that is away, and meanwhile the claim is lost.
        tokio::select! {
            () = self.follow(&held, stop) => {}
            () = self.watch(&held) => {}
        }
        self.flush_uses().await;
    }

    /// Follows the log and writes uses down, until `stop`.
    async fn follow(&self, held: &AsyncMutex<Held>, stop: impl Future<Output = ()>) {
        let (mut poll, mut flush) = (every(POLL), every(FLUSH));
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return,
                _ = poll.tick() => match self.catch_up().await {
                    Ok(seq) => held.lock().await.publish(seq).await,
                    Err(error) => tracing::warn!(%error, "cannot follow the log of changes"),
                },
                _ = flush.tick() => self.flush_uses().await,
            }
        }
    }

    /// Looks whether the claim is still held.
    async fn watch(&self, held: &AsyncMutex<Held>) {
        let mut check = every(CLAIM_CHECK);
        loop {
            check.tick().await;
            let is_held = held.lock().await.claim.check().await.is_ok();
            if !is_held {
                self.regain(held).await;
            } else if !self.has_claim.swap(true, Ordering::AcqRel) {
                // Only a session that ends gives its claim up: nobody else can have served meanwhile.
                tracing::info!("the database answers again; the claim on it was never lost");
            }
        }
    }

    /// The claim is lost, so another process may serve and change things: decide nothing until it is regained and
    /// everything has been read anew.
    async fn regain(&self, held: &AsyncMutex<Held>) {
        if self.has_claim.swap(false, Ordering::AcqRel) {
            tracing::error!("the claim on the database is lost or in doubt; answering 503 until it is back");
        }
        let Ok(claim) = self.store.claim().await else { return };
        let mut feed = self.feed.lock().await;
        match self.reload(&mut feed).await {
            Ok(()) => {
                *held.lock().await = Held { claim, published: 0 };
                self.has_claim.store(true, Ordering::Release);
                tracing::info!("the claim on the database is regained");
            }
            Err(error) => tracing::warn!(%error, "cannot load the keys"),
        }
    }

    pub(crate) async fn flush_uses(&self) {
        let uses = self.meter.take();
        if uses.is_empty() {
            return;
        }
        let written = async { self.store.write(&[]).await?.commit_uses(&uses).await };
        if let Err(error) = written.await {
            tracing::warn!(%error, "uses could not be written down and are kept");
            self.meter.give_back(uses);
        }
    }
}

/// A claim, and what has been published under it.
struct Held {
    claim: keyrack_store::Claim,
    published: i64,
}

impl Held {
    async fn publish(&mut self, seq: i64) {
        if seq != self.published && self.claim.publish(seq).await.is_ok() {
            self.published = seq;
        }
    }
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut timer = tokio::time::interval(period);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    timer
}
