//! Rate limits as they are written on the command line, and `keyrack tiers`

use clap::Subcommand;
use keyrack_client::wire::{RateLimit, Tier, TierLimits, UpdateTier, UpdateTiers};

use crate::config::Settings;
use crate::connect::{self, Needs};
use crate::output;

/// Reads `10/1s`, `1000/1h`.
pub(crate) fn read_rate_limit(text: &str) -> Result<RateLimit, String> {
    let wrong = || "must be units and a window, such as 10/1s or 1000/1h".to_owned();
    let (limit, window) = text.split_once('/').ok_or_else(wrong)?;
    let window_seconds = keyrack_core::duration::seconds(window, &["s", "m", "h", "d"]).ok_or_else(wrong)?;
    let limit = keyrack_core::RateLimit::new(limit.parse().map_err(|_| wrong())?, window_seconds);
    let limit = limit.map_err(|error| error.to_string())?;
    Ok(RateLimit { limit: limit.limit().into(), window_seconds: limit.seconds().into() })
}

/// Rate limits as a cell of a table.
pub(crate) fn shown(limits: Option<&[RateLimit]>) -> String {
    let one = |limit: &RateLimit| format!("{}/{}s", limit.limit, limit.window_seconds);
    let all = limits.map(|limits| limits.iter().map(one).collect::<Vec<_>>().join(" "));
    output::or_dash(all.as_deref())
}

/// What to do with tiers.
#[derive(Subcommand)]
pub(crate) enum Tiers {
    /// List tiers with what they may use in a month
    List,
    /// Set what organizations of a tier may use in a month
    Set {
        /// free, pro or enterprise
        tier: Tier,
        /// Units of a month, or none for no limit
        #[arg(value_parser = read_monthly_limit)]
        monthly_limit: MonthlyLimit,
    },
}

/// Units of a month; `None` for no limit. (A type of its own, so that clap takes it for one value.)
#[derive(Clone, Copy)]
pub(crate) struct MonthlyLimit(Option<u64>);

fn read_monthly_limit(text: &str) -> Result<MonthlyLimit, String> {
    if text == "none" {
        return Ok(MonthlyLimit(None));
    }
    text.parse().map(|units| MonthlyLimit(Some(units))).map_err(|_| "must be a number of units, or none".to_owned())
}

/// Does it.
pub(crate) async fn tiers(command: Tiers, json: bool, settings: &Settings) -> anyhow::Result<()> {
    let client = connect::client(settings, Needs::default()).await?;
    let tiers = match command {
        Tiers::List => client.tiers().await?,
        Tiers::Set { tier, monthly_limit } => {
            let patch = Some(UpdateTier { monthly_limit: Some(monthly_limit.0) });
            let patch = match tier {
                Tier::Free => UpdateTiers { free: patch, ..UpdateTiers::default() },
                Tier::Pro => UpdateTiers { pro: patch, ..UpdateTiers::default() },
                Tier::Enterprise => UpdateTiers { enterprise: patch, ..UpdateTiers::default() },
            };
            client.update_tiers(&patch).await?
        }
    };
    if json {
        return output::json(&tiers);
    }
    let row = |(tier, limits): (Tier, TierLimits)| {
        let limit = limits.monthly_limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string());
        [tier.to_string(), limit]
    };
    let all = [(Tier::Free, tiers.free), (Tier::Pro, tiers.pro), (Tier::Enterprise, tiers.enterprise)];
    output::table(["tier", "monthly limit"], all.into_iter().map(row));
    Ok(())
}
