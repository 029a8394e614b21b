//! The processes that serve the same database, as an instance admin sees them.

use keyrack_store::Node;

use crate::Result;
use crate::engine::Engine;

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
}
