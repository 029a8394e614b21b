//! Logs go to stderr; answers go to stdout.

use anyhow::{Context as _, bail};
use tracing_subscriber::EnvFilter;

use crate::config::Settings;

/// Starts logging as the settings say.
pub(crate) fn start(settings: &Settings) -> anyhow::Result<()> {
    let level = settings.get("log.level").unwrap_or("info");
    let filter = EnvFilter::try_new(level).with_context(|| format!("log.level: {level} is no level and no filter"))?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let started = match settings.get("log.format").unwrap_or("pretty") {
        "pretty" => logs.with_ansi(is_terminal).try_init(),
        "json" => logs.json().flatten_event(true).try_init(),
        other => bail!("log.format must be pretty or json, not {other}"),
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot start: {error}"))
}
