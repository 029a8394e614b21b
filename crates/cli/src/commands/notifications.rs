//! `keyrack notifications`

use clap::Args;

use crate::config::Settings;
use crate::connect::{self, Needs};
use crate::output;

/// What owners and admins are told.
#[derive(Args)]
pub(crate) struct List {
    /// How many at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
}

/// Shows it, newest first.
pub(crate) async fn run(list: List, json: bool, settings: &Settings) -> anyhow::Result<()> {
    let client = connect::client(settings, Needs::default()).await?;
    let told = client.list_notifications(list.limit).await?.data;
    if json {
        return output::json(&told);
    }
    let row = |one: keyrack_client::wire::Notification| [output::moment(Some(one.created_at)), one.kind, one.message];
    output::table(["time", "kind", "what"], told.into_iter().map(row));
    Ok(())
}
