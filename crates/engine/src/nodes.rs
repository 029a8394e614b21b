//! The processes that serve the same database: as an instance admin sees them, and whether all have what one of them wants to use.

use std::time::Duration;

use keyrack_store::{INSTANCE, NewEvent, Node};

use crate::engine::Engine;
use crate::{Error, Result};

/// How long to wait until all processes that serve have a new key; and until those are forgotten that say nothing any more.
const KNOWN_WITHIN: Duration = Duration::from_secs(5);
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(25);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// A process that serves.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// What it told the others.
    pub node: Node,
    /// How many changes its decisions do not know yet.
    pub lag: i64,
    /// Whether it has renewed within the time a lease runs. Without a lease it answers 503.
    pub is_live: bool,
}

impl Engine {
    /// The processes that serve a PostgreSQL database, the oldest first; none on SQLite.
    pub async fn list_nodes(&self) -> Result<Vec<NodeView>> {
        let mut reader = self.reader().await?;
        let head = reader.feed_head().await?.map_or(0, |head| head.seq);
        let view = |node: Node| {
            let is_live = node.silent_for < crate::lease::DURATION;
            NodeView { lag: (head - node.applied).max(0), is_live, node }
        };
        Ok(reader.list_nodes().await?.into_iter().map(view).collect())
    }

    /// Asks all processes that serve to look into their key file, and waits until all have found there what has this sign.
    pub(crate) async fn wait_until_all_have(&self, what: &str, sign: &str, ask: NewEvent) -> Result<()> {
        let writer = self.store.write(&[INSTANCE]).await?;
        self.commit(writer, ask).await?;
        let begun = tokio::time::Instant::now();
        loop {
            let nodes = self.reader().await?.list_nodes().await?;
            let lacking: Vec<_> =
                nodes.into_iter().filter(|node| !node.key_file.iter().any(|has| has == sign)).collect();
            if lacking.is_empty() {
                return Ok(());
            }
            let is_live = lacking.iter().any(|node| node.silent_for < crate::lease::DURATION);
            if begun.elapsed() >= if is_live { KNOWN_WITHIN } else { FORGOTTEN_WITHIN } {
                let message = format!(
                    "a new {what} is in the key file here, and not on every machine that serves: copy the file to those, and run \
                     this once more"
                );
                let details = lacking.into_iter().map(|node| node.name).collect();
                return Err(Error::Conflict { code: "key_file_differs", message, details });
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
