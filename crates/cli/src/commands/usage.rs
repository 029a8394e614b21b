//! `keyrack usage`

use clap::Args;
use jiff::Timestamp;
use keyrack_client::UsageOf;
use keyrack_client::wire::{Usage, UsageBy, UsageLatency, UsageTime, UsageTotal};
use uuid::Uuid;

use crate::config::Settings;
use crate::connect::{self, Needs};
use crate::output;
use crate::serve::announce;

/// How many characters the longest bar has.
const WIDTH: usize = 40;

/// What was counted of requests?
#[derive(Args)]
pub(crate) struct Of {
    /// Of a key; without it, all of the organization
    #[arg(conflicts_with_all = ["group", "workspace", "instance"])]
    id: Option<Uuid>,
    /// Only keys of this group, by name or id
    #[arg(long, conflicts_with_all = ["workspace", "instance"])]
    group: Option<String>,
    /// Only keys of this workspace, by slug or id
    #[arg(long, conflicts_with = "instance")]
    workspace: Option<String>,
    /// What belongs to no organization: callers of Keyrack's own API whom nobody knows
    #[arg(long)]
    instance: bool,
    /// minute, hour or day
    #[arg(long, default_value = "hour")]
    by: UsageBy,
    /// Since when, such as 2026-12-01T00:00:00Z; an hour, a day or 30 days back if missing
    #[arg(long)]
    from: Option<Timestamp>,
    /// Up to when; now if missing
    #[arg(long)]
    until: Option<Timestamp>,
    /// Print a table of comma-separated values instead
    #[arg(long)]
    csv: bool,
}

/// Shows it.
pub(crate) async fn run(of: Of, json: bool, settings: &Settings) -> anyhow::Result<()> {
    let client = connect::client(settings, Needs::default()).await?;
    let query = UsageOf {
        key: of.id,
        group: of.group,
        workspace: of.workspace,
        instance: of.instance,
        by: Some(of.by),
        from: of.from,
        until: of.until,
    };
    if of.csv {
        announce(client.usage_table(&query).await?.trim_end());
        return Ok(());
    }
    let usage = client.usage(&query).await?;
    if json {
        return output::json(&usage);
    }
    show_total(&usage);
    show_times(&usage);
    show_endpoints(&usage);
    show_keys(&usage);
    Ok(())
}

fn show_total(usage: &Usage) {
    let total = &usage.total;
    let mut facts = vec![
        ("from", output::moment(Some(usage.from))),
        ("until", output::moment(Some(usage.until))),
        ("granted", total.granted.to_string()),
        ("denied", total.denied.to_string()),
        ("units", total.units.to_string()),
        ("bytes in", total.bytes_in.to_string()),
        ("bytes out", total.bytes_out.to_string()),
    ];
    if let Some(latency) = &total.latency {
        let UsageLatency { mean_ms, p50_ms, p99_ms } = latency;
        facts.push(("latency", format!("{mean_ms:.1} ms on average, p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms")));
    }
    if let Some(unused) = usage.unused_keys {
        facts.push(("unused keys", format!("{unused} (for 90 days)")));
    }
    output::facts(&facts);
}

fn show_times(usage: &Usage) {
    let most = usage.times.iter().map(|time| all(&time.total)).max().unwrap_or(0);
    announce("");
    if most == 0 {
        announce("no requests");
        return;
    }
    let format = match usage.by {
        UsageBy::Minute | UsageBy::Hour => "%m-%d %H:%M",
        UsageBy::Day => "%Y-%m-%d",
    };
    for UsageTime { start, total } in &usage.times {
        let bar = bar(all(total), most);
        let denied = if total.denied > 0 { format!(" and {} denied", total.denied) } else { String::new() };
        announce(&format!("{}  {bar:WIDTH$}  {}{denied}", start.strftime(format), total.granted));
    }
}

fn all(total: &UsageTotal) -> u64 {
    total.granted + total.denied
}

/// A bar in eighths of a character; whatever is not nothing can be seen.
fn bar(value: u64, most: u64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let scaled = u128::from(value) * (8 * WIDTH as u128) / u128::from(most.max(1));
    let eighths = usize::try_from(scaled).unwrap_or(0).max(usize::from(value > 0));
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

fn show_endpoints(usage: &Usage) {
    if usage.endpoints.is_empty() {
        return;
    }
    announce("");
    let rows = usage.endpoints.iter().map(|of| {
        [
            output::or_dash(of.endpoint.as_deref()),
            output::or_dash(of.method.as_deref()),
            output::or_dash(of.status.as_deref()),
            output::or_dash(of.denial.as_deref()),
            of.requests.to_string(),
            of.latency.map_or_else(|| "-".to_owned(), |latency| format!("{:.1}", latency.p50_ms)),
            of.latency.map_or_else(|| "-".to_owned(), |latency| format!("{:.1}", latency.p99_ms)),
        ]
    });
    output::table(["endpoint", "method", "status", "denied as", "requests", "p50 ms", "p99 ms"], rows);
}

fn show_keys(usage: &Usage) {
    if let Some(secrets) = &usage.secrets {
        announce("");
        let rows = secrets.iter().map(|secret| {
            [
                secret.version.to_string(),
                format!("…{}", secret.last4),
                secret.total.granted.to_string(),
                secret.total.denied.to_string(),
                output::moment(secret.last_used_at),
                output::or_dash(secret.last_address.as_deref()),
                output::or_dash(secret.last_user_agent.as_deref()),
            ]
        });
        output::table(["secret", "ends in", "granted", "denied", "last used", "from", "by"], rows);
    }
    for keys in usage.top_keys.iter().filter(|keys| !keys.is_empty()) {
        announce("");
        let rows = keys.iter().map(|key| {
            let name = key.name.clone().unwrap_or_else(|| "(deleted)".to_owned());
            [name, key.id.to_string(), key.granted.to_string(), key.denied.to_string()]
        });
        output::table(["top keys", "id", "granted", "denied"], rows);
    }
    for networks in usage.unknown_from.iter().filter(|networks| !networks.is_empty()) {
        announce("");
        let rows = networks.iter().map(|network| [network.network.clone(), network.requests.to_string()]);
        output::table(["no key, from", "requests"], rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_what_they_stand_for() {
        assert_eq!(bar(0, 100), "");
        assert_eq!(bar(1, 1_000_000), "▏");
        assert_eq!(bar(50, 100).chars().count(), 20);
        assert_eq!(bar(100, 100), "█".repeat(40));
        assert_eq!(bar(u64::MAX, u64::MAX), "█".repeat(40));
        assert_eq!(bar(1, 80), "▌");
    }
}
