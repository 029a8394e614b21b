//! `keyrack pepper`

use anyhow::bail;
use clap::Subcommand;
use keyrack_engine::EngineRole;
use serde_json::json;

use crate::config::Settings;
use crate::{connect, output, serve};

/// What to do with the pepper, by which keys are recognised.
#[derive(Subcommand)]
pub(crate) enum Pepper {
    /// Put a new pepper into use; keys are moved to it as they are used. Beside a running server too
    Rotate,
    /// Show which pepper is in use, since when, and how many keys still need an older one
    Show,
    /// Give up older peppers that no key needs any more
    Retire {
        /// Revoke the keys that nobody has used since the older pepper was replaced
        #[arg(long)]
        revoke_unused: bool,
    },
}

/// Does it. On the host only: no key and no session over HTTP can.
pub(crate) async fn run(command: Pepper, json: bool, settings: &Settings) -> anyhow::Result<()> {
    if settings.get("url").is_some() {
        bail!("the pepper stands in a file on this host; it takes no --url");
    }
    let engine = connect::engine(settings, EngineRole::Guest { keys: false }).await?;
    match command {
        Pepper::Rotate => {
            let pepper = engine.rotate_pepper().await?;
            if json {
                return output::json(&json!({ "pepper": pepper }));
            }
            serve::announce(&format!("pepper {pepper} is in use; keys are moved to it as they are used"));
            serve::announce("Copy the key file to where you keep its copy: it is needed from now on.");
            Ok(())
        }
        Pepper::Show => {
            let state = engine.pepper_state().await?;
            if json {
                let older = state.older.iter().map(|(id, left)| json!({ "pepper": id, "secrets": left }));
                let older: Vec<_> = older.collect();
                return output::json(
                    &json!({ "in_use": state.in_use, "since": state.since, "known": state.known, "older": older }),
                );
            }
            let known: Vec<String> = state.known.iter().map(i64::to_string).collect();
            let needed = state.older.iter().filter(|(_, left)| *left > 0);
            let needed: Vec<_> = needed.map(|(id, left)| format!("pepper {id} by {left} secret(s) of keys")).collect();
            output::facts(&[
                ("in use", state.in_use.to_string()),
                ("since", output::moment(state.since)),
                ("in the key file", known.join(", ")),
                ("still needed", if needed.is_empty() { "no older one".to_owned() } else { needed.join(", ") }),
            ]);
            Ok(())
        }
        Pepper::Retire { revoke_unused } => {
            let mut revoked = Vec::new();
            if revoke_unused {
                engine.revoke_unused_since_pepper(|key| revoked.push(key.clone())).await?;
            }
            let retired = engine.retire_peppers().await?;
            if json {
                let revoked: Vec<_> = revoked.iter().map(|key| key.key.to_string()).collect();
                return output::json(&json!({ "retired": retired, "revoked": revoked }));
            }
            for key in revoked {
                serve::announce(&format!("revoked {} ({})", key.name, key.key));
            }
            for pepper in &retired {
                serve::announce(&format!("pepper {pepper} is gone from the key file"));
            }
            if retired.is_empty() {
                serve::announce("there is no older pepper");
            }
            Ok(())
        }
    }
}
