//! Logs go to stderr; answers go to stdout.

use anyhow::{Context as _, bail};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::config::Settings;

/// What is logged. A word alone is a level: a misspelt one would be taken for the name of a part that logs nothing.
pub(crate) fn filter(settings: &Settings) -> anyhow::Result<EnvFilter> {
    let level = settings.get("log.level").unwrap_or("info");
    let misspelt = level.split(',').any(|part| !part.contains('=') && part.trim().parse::<LevelFilter>().is_err());
    let filter = EnvFilter::try_new(level).ok().filter(|_| !misspelt);
    filter.with_context(|| format!("log.level: {level} is no level and no filter"))
}

/// Whether logs are JSON.
pub(crate) fn is_json(settings: &Settings) -> anyhow::Result<bool> {
    match settings.get("log.format").unwrap_or("pretty") {
        "pretty" => Ok(false),
        "json" => Ok(true),
        other => bail!("log.format must be pretty or json, not {other}"),
    }
}

/// Starts logging as the settings say.
pub(crate) fn start(settings: &Settings) -> anyhow::Result<()> {
    let filter = filter(settings)?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let started = if is_json(settings)? {
        logs.json().flatten_event(true).try_init()
    } else {
        logs.with_ansi(is_terminal).try_init()
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot start: {error}"))
}
