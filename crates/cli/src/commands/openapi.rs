//! `keyrack openapi`

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;
use keyrack_core::Pepper;
use keyrack_core::token::MasterKey;
use keyrack_engine::{Engine, EngineRole, OsRandom, Parts, Store};
use keyrack_server::{App, ServerSettings};

use crate::{connect, exit, serve};

/// The `OpenAPI` document.
#[derive(Args)]
pub(crate) struct Openapi {
    /// Compare with this file instead of writing; fails if they differ
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "docs/openapi.json")]
    check: Option<PathBuf>,
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    output: Option<PathBuf>,
}

/// Writes the document, or checks that the committed one is current.
pub(crate) async fn run(openapi: Openapi) -> anyhow::Result<ExitCode> {
    let text = document().await?;
    if let Some(file) = openapi.check {
        let known = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        if known != text {
            bail!("{0} is not current; write it anew with: keyrack openapi --output {0}", file.display());
        }
    } else if let Some(file) = openapi.output {
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    } else {
        serve::announce(text.trim_end());
    }
    Ok(ExitCode::from(exit::DONE))
}

/// The document comes from the router itself, which wants an engine: one over a database that is thrown away.
async fn document() -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    let clock = connect::clock();
    let url = format!("sqlite:{}", folder.path().join("openapi.db").display());
    let store = Store::open(&url, clock.now()).await?;
    let peppers = vec![Pepper::new(1, &[0; 32])];
    let master_keys = vec![MasterKey::new(1, &[0; 32])];
    let parts = Parts {
        store,
        clock,
        random: Arc::new(OsRandom::default()),
        peppers,
        master_keys,
        keyfile: None,
        master_key_days: None,
    };
    let engine = Engine::start(parts, EngineRole::Guest { keys: false }).await?;
    Ok(keyrack_server::openapi_document(App::new(engine, ServerSettings::default()))?)
}
