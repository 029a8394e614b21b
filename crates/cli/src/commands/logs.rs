//! `keyrack logs`

use std::time::Duration;

use clap::Args;
use keyrack_client::wire::RouteLog;

use super::routes::{Client, find};
use crate::config::Settings;
use crate::connect::{self, Needs};
use crate::{output, serve};

/// How often to look for more: the server writes lines down twice a second.
const LOOK: Duration = Duration::from_millis(500);
/// How many at once.
const MOST: u32 = 200;

#[derive(Args)]
pub(crate) struct Logs {
    /// The route, by name or id
    route: String,
    /// Go on showing what comes, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// How many lines to begin with
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
    last: u32,
}

/// Does it.
pub(crate) async fn run(logs: Logs, json: bool, settings: &Settings) -> anyhow::Result<()> {
    let client = connect::client(settings, Needs::default()).await?;
    let route = find(&client, &logs.route).await?;
    let mut lines = client.route_log(route, None, logs.last).await?.data;
    lines.reverse();
    if !logs.follow {
        if json {
            return output::json(&lines);
        }
        lines.iter().for_each(tell);
        return Ok(());
    }
    let mut seen = uuid::Uuid::nil();
    loop {
        for line in &lines {
            // One object a line, for programs that read as it comes.
            if json {
                serve::announce(&serde_json::to_string(line)?);
            } else {
                tell(line);
            }
            seen = line.id;
        }
        if lines.len() < MOST as usize {
            tokio::time::sleep(LOOK).await;
        }
        lines = later(&client, route, seen).await?;
    }
}

async fn later(client: &Client, route: uuid::Uuid, seen: uuid::Uuid) -> anyhow::Result<Vec<RouteLog>> {
    Ok(client.route_log(route, Some(seen), MOST).await?.data)
}

fn tell(line: &RouteLog) {
    let at = line.at.strftime("%Y-%m-%d %H:%M:%S%.3f");
    let key = line.key.as_ref().map(|key| format!(" {}", key.name)).unwrap_or_default();
    let status = line.status.map(|status| format!(" {status}")).unwrap_or_default();
    let took = line.milliseconds.map(|took| format!(" {took:.1} ms")).unwrap_or_default();
    let what = format!("{:8}", line.kind.as_str());
    let head = format!("{at} {:5} {what} {}{status}{took}{key}", line.level.as_str(), line.method);
    serve::announce(&plain(&format!("{head} {}", line.message)));
}

/// What a script writes is not for the terminal to obey; lines but the first are set in.
fn plain(text: &str) -> String {
    let shown = text.trim_end().chars().flat_map(|character| match character {
        '\n' => vec!['\n', ' ', ' '],
        '\t' => vec![' '],
        _ if character.is_control() => character.escape_default().collect(),
        _ => vec![character],
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn terminals_are_told_nothing_but_text() {
        assert_eq!(plain("a\u{1b}[31mb\nc\td\r\n"), "a\\u{1b}[31mb\n  c d");
    }
}
