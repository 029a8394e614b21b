//! When a change is answered: once every decision that begins from then on knows it, wherever it is made.

use std::time::Duration;

use jiff::Timestamp;
use keyrack_core::NodeId;
use keyrack_store::{Node, Store};
use tokio::time::Instant;

use crate::engine::{Engine, Role};
use crate::{Error, Result};

/// How long a change waits to be seen by the process that serves a SQLite file.
const SEEN_WITHIN: Duration = Duration::from_secs(5);
/// How long after a commit no lease from before it can still run.
const FENCED_AFTER: Duration = Duration::from_millis(1100);

/// Says since when a change holds, and who knows it.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// The number of the change in the log.
    pub sequence: i64,
    /// From this moment on nothing is decided by the old state.
    pub effective_at: Timestamp,
    /// The processes that serve a PostgreSQL database; none on SQLite.
    pub nodes: Vec<Witness>,
}

/// A process that serves, and whether it has said that it knows a change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Witness {
    /// Drawn at its start.
    pub id: NodeId,
    /// The machine it runs on.
    pub name: String,
    /// False if it said nothing in time: then what it was granted before the change has run out, and it decides nothing
    /// before it has applied the change.
    pub has_applied: bool,
}

impl Engine {
    /// Waits until every decision that begins from now on knows a committed change.
    pub(crate) async fn settle(&self, sequence: i64) -> Result<Receipt> {
        if self.store.sqlite_file().is_none() {
            let nodes = self.settle_among_nodes(sequence).await;
            return Ok(Receipt { sequence, effective_at: self.now(), nodes });
        }
        // What is committed is committed, whatever happens now.
        while self.catch_up().await.map_err(|_| Error::NotYetSeen)? < sequence {}
        if self.role != Role::Server && !seen_by_server(&self.store, sequence).await? {
            return Err(Error::NotYetSeen);
        }
        Ok(Receipt { sequence, effective_at: self.now(), nodes: Vec::new() })
    }

    /// For a change that finds everything as it is to be: whoever brought that about may still be waiting until it is known
    /// everywhere, and so must we. The receipt is of the newest change.
    pub(crate) async fn settle_unchanged(&self) -> Result<Receipt> {
        let newest = self.catch_up().await?;
        self.settle(newest).await
    }

    /// Every process that serves has either applied the change and said so, or holds a lease from before the change, if any.
    /// That has run out when we have waited for longer than a lease runs: then there is nothing left to wait for.
    async fn settle_among_nodes(&self, sequence: i64) -> Vec<Witness> {
        let mut seen = Vec::new();
        let patience = async {
            let (mut is_seen_here, mut pause) = (false, Duration::from_millis(1));
            loop {
                is_seen_here = is_seen_here || self.catch_up().await.is_ok_and(|applied| applied >= sequence);
                if let Ok(nodes) = self.witnesses(sequence, is_seen_here).await {
                    seen = nodes;
                    if is_seen_here && seen.iter().all(|node| node.has_applied) {
                        return;
                    }
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(20));
            }
        };
        if tokio::time::timeout(FENCED_AFTER, patience).await.is_err() {
            tracing::warn!(sequence, "a change was not seen by every node in time; their leases have run out instead");
        }
        seen
    }

    async fn witnesses(&self, sequence: i64, is_seen_here: bool) -> Result<Vec<Witness>> {
        let nodes = self.store.read_apart().await?.list_nodes().await?.into_iter();
        let witness = |node: Node| {
            let has_applied = if node.id == self.node { is_seen_here } else { node.applied >= sequence };
            Witness { id: node.id, name: node.name, has_applied }
        };
        Ok(nodes.map(witness).collect())
    }
}

/// Waits until the process that serves this database, if one does, has applied a change.
async fn seen_by_server(store: &Store, sequence: i64) -> Result<bool> {
    let deadline = Instant::now() + SEEN_WITHIN;
    loop {
        match store.served_up_to().await? {
            None => return Ok(true),
            Some(applied) if applied >= sequence => return Ok(true),
            Some(_) if Instant::now() >= deadline => return Ok(false),
            Some(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}
