//! `keyrack master-key`

use anyhow::bail;
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use keyrack_engine::{EngineRole, Progress, Rotated, Stage};
use serde_json::json;

use crate::config::Settings;
use crate::{connect, output, serve};

/// What to do with the master key, by which secrets are opened.
#[derive(Subcommand)]
pub(crate) enum MasterKey {
    /// Put a new master key into use and seal everything anew; what was broken off goes on. Beside a running server too
    Rotate,
    /// Show which master key is in use, since when, and what is left under an older one
    Show,
}

/// Does it. On the host only: no key and no session over HTTP can.
pub(crate) async fn run(command: MasterKey, json: bool, settings: &Settings) -> anyhow::Result<()> {
    if settings.get("url").is_some() {
        bail!("the master key stands in a file on this host; it takes no --url");
    }
    let engine = connect::engine(settings, EngineRole::Guest { keys: false }).await?;
    match command {
        MasterKey::Rotate => {
            let bar = ProgressBar::new(0);
            if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}") {
                bar.set_style(style);
            }
            let rotated = engine.rotate_master_key(|progress| tell(&bar, progress)).await;
            bar.finish_and_clear();
            show(&rotated?, json)
        }
        MasterKey::Show => {
            let state = engine.master_key_state().await?;
            if json {
                return output::json(&json!({
                    "in_use": state.in_use,
                    "since": state.since,
                    "known": state.known,
                    "secrets_left": state.secrets_left,
                }));
            }
            let known: Vec<String> = state.known.iter().map(i64::to_string).collect();
            output::facts(&[
                ("in use", state.in_use.to_string()),
                ("since", output::moment(state.since)),
                ("in the key file", known.join(", ")),
                ("secrets under an older one", state.secrets_left.to_string()),
            ]);
            Ok(())
        }
    }
}

fn tell(bar: &ProgressBar, progress: Progress) {
    bar.set_message(match progress.stage {
        Stage::DataKeys => "data keys",
        Stage::Secrets => "secrets",
        Stage::KeyTexts => "texts of keys",
        Stage::Rest => "letters and second factors",
    });
    bar.set_length(progress.total);
    bar.set_position(progress.done);
}

fn show(rotated: &Rotated, json: bool) -> anyhow::Result<()> {
    let Rotated { master_key, resealed, unreadable, retired, kept_until } = rotated;
    if json {
        output::json(&json!({
            "master_key": master_key,
            "resealed": resealed,
            "unreadable": unreadable,
            "retired": retired,
            "kept_until": kept_until,
        }))?;
    } else {
        serve::announce(&format!("master key {master_key} is in use; {resealed} value(s) were sealed anew"));
        serve::announce(
            "Copy the key file to where you keep its copy. Backups of the database from before need the copy you have.",
        );
        for retired in retired {
            serve::announce(&format!("master key {retired} opens nothing any more and is gone from the key file"));
        }
        if let Some(until) = kept_until {
            let until = output::moment(Some(*until));
            serve::announce(&format!(
                "tokens that the old key signed are taken until {until} UTC; after that the server gives it up, or this command run again"
            ));
        }
    }
    if unreadable.is_empty() {
        return Ok(());
    }
    bail!(
        "{} value(s) could not be opened and were left as they are; the key that sealed them stays: {}",
        unreadable.len(),
        unreadable.join(", ")
    )
}
