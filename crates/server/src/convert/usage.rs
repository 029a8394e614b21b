//! What was counted.

use keyrack_client::wire;
use keyrack_core::usage::{Latency, Network};
use keyrack_engine::{AcrossKeys, KeyUsage, UsageReport, UsageTotals};

use super::Wire as _;

/// What was counted, for the wire.
pub(crate) fn usage(report: UsageReport, is_key: bool) -> wire::Usage {
    let secrets = report.secrets.into_iter().map(|of| wire::UsageSecret {
        version: of.secret.version,
        last4: of.secret.last4,
        total: usage_total(&of.totals),
        last_used_at: of.secret.last_used_at,
        last_address: of.secret.last_address,
        last_user_agent: of.secret.last_user_agent,
        used_from: of.used_from.into_iter().map(|(address, at)| wire::UsedFrom { address, last_used_at: at }).collect(),
    });
    let key =
        |key: KeyUsage| wire::UsageKey { id: key.key.0, name: key.name, granted: key.granted, denied: key.denied };
    let network = |(network, requests): (Network, u64)| wire::UsageNetwork { network: network.to_string(), requests };
    let (top_keys, unknown_from, unused_keys) = match report.across_keys {
        None => (None, None, None),
        Some(AcrossKeys { top_keys, unknown_from, unused_keys, .. }) => (
            Some(top_keys.into_iter().map(key).collect()),
            unknown_from.map(|networks| networks.into_iter().map(network).collect()),
            unused_keys,
        ),
    };
    let endpoints = report.endpoints.into_iter().map(|of| wire::UsageEndpoint {
        endpoint: some_text(&of.endpoint),
        method: some_text(of.method.as_str()),
        status: of.status.name().map(str::to_owned),
        denial: of.denial.map(|reason| reason.code().to_owned()),
        requests: of.counts.requests,
        units: of.counts.units,
        bytes_in: of.counts.bytes_in,
        bytes_out: of.counts.bytes_out,
        latency: of.latency.map(usage_latency),
    });
    wire::Usage {
        from: report.from,
        until: report.to,
        by: report.by.wire(),
        total: usage_total(&report.totals),
        times: report.times.iter().map(|t| wire::UsageTime { start: t.start, total: usage_total(&t.totals) }).collect(),
        endpoints: endpoints.collect(),
        secrets: is_key.then(|| secrets.collect()),
        top_keys,
        unknown_from,
        unused_keys,
    }
}

fn some_text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn usage_total(totals: &UsageTotals) -> wire::UsageTotal {
    let counts = &totals.granted;
    wire::UsageTotal {
        granted: counts.requests,
        denied: totals.denied(),
        denials: totals.denials.iter().map(|(code, requests)| ((*code).to_owned(), *requests)).collect(),
        units: counts.units,
        bytes_in: counts.bytes_in,
        bytes_out: counts.bytes_out,
        latency: totals.latency.map(usage_latency),
    }
}

/// How long answers took, in milliseconds.
pub(crate) fn usage_latency(latency: Latency) -> wire::UsageLatency {
    #[expect(clippy::cast_precision_loss, reason = "no request takes centuries")]
    let millis = |micros: u64| micros as f64 / 1000.0;
    wire::UsageLatency { mean_ms: millis(latency.mean), p50_ms: millis(latency.p50), p99_ms: millis(latency.p99) }
}
