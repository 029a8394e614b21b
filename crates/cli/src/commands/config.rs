//! `keyrack config`

use std::process::ExitCode;

use crate::config::{InForce, Settings};
use crate::{connect, exit, output};

fn shown(setting: &InForce) -> Option<String> {
    let value = setting.value.as_deref()?;
    Some(match setting.key {
        _ if setting.is_secret => "(set)".to_owned(),
        "database" => connect::shown(value),
        _ => value.to_owned(),
    })
}

/// Shows the settings in force.
pub(crate) fn run(json: bool, settings: &Settings) -> anyhow::Result<ExitCode> {
    if json {
        let all = settings.iter().map(|s| {
            let value = serde_json::json!({ "value": shown(s), "source": s.source.as_str() });
            (s.key.to_owned(), value)
        });
        output::json(&all.collect::<serde_json::Map<_, _>>())?;
    } else {
        let rows = settings
            .iter()
            .map(|s| [s.key.to_owned(), shown(s).unwrap_or_else(|| "-".to_owned()), s.source.as_str().to_owned()]);
        output::table(["setting", "value", "from"], rows);
    }
    Ok(ExitCode::from(exit::DONE))
}
