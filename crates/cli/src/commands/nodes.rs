//! `keyrack nodes`

use keyrack_client::wire::Node;

use crate::config::Settings;
use crate::connect::{self, Needs};
use crate::output;

/// Shows the processes that serve.
pub(crate) async fn run(json: bool, settings: &Settings) -> anyhow::Result<()> {
    let client = connect::client(settings, Needs::default()).await?;
    let nodes = client.list_nodes().await?.data;
    if json {
        return output::json(&nodes);
    }
    let row = |n: Node| {
        let lease = if n.live { "held" } else { "run out" };
        let renewed = format!("{} ms ago", n.silent_for_ms);
        [
            n.id.to_string(),
            n.name,
            n.version,
            output::moment(Some(n.started_at)),
            lease.to_owned(),
            renewed,
            n.lag.to_string(),
        ]
    };
    output::table(["id", "machine", "version", "joined", "lease", "renewed", "lag"], nodes.into_iter().map(row));
    Ok(())
}
