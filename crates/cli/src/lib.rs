//! The `keyrack` binary: wiring, configuration and subcommands.
//!
//! Subcommands that manage are written once, against the typed client: its requests go to a running server (`--url`), or to
//! the same router in this process, over the database itself (`--database`).

mod alias;
mod args;
#[expect(clippy::doc_markdown, reason = "these comments are the help that people read")]
mod commands;
mod config;
mod connect;
mod demo;
mod doctor;
mod exit;
mod logging;
mod mail;
mod output;
mod scripts;
mod serve;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::args::{Cli, Command};
use crate::config::Settings;

/// Runs `keyrack` with these arguments.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = Settings::add_flags(Cli::command());
    let matches = command.get_matches_from(arguments);
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    // It needs none of what the others do, and is to have none of it.
    if matches!(cli.command, Command::RunScripts) {
        return if keyrack_script::child::run().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    start(|| {
        let settings = Settings::load(&matches)?;
        Ok(async move { dispatch(cli.command, cli.json, settings).await })
    })
}

/// Runs `create_api_key` with these arguments.
pub fn run_create_api_key(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = Settings::add_flags(alias::Alias::command());
    let matches = command.get_matches_from(arguments);
    let alias = match alias::Alias::from_arg_matches(&matches) {
        Ok(alias) => alias,
        Err(error) => error.exit(),
    };
    start(|| {
        let settings = Settings::load(&matches)?;
        Ok(async move { alias::run(alias, &settings).await })
    })
}

fn start<F>(prepare: impl FnOnce() -> anyhow::Result<F>) -> ExitCode
where
    F: Future<Output = anyhow::Result<ExitCode>>,
{
    // One crypto provider for every TLS connection; refused only if it is set already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let run = || {
        let work = prepare()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(work)
    };
    match run() {
        Ok(code) => code,
        Err(error) => exit::report(&error),
    }
}

async fn dispatch(command: Command, json: bool, settings: Settings) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve => serve::run(&settings).await,
        Command::Demo => demo::run(&settings).await,
        Command::Init(init) => commands::init::run(init, json, &settings).await,
        Command::Config => commands::config::run(json, &settings),
        Command::Doctor(doctor) => doctor::run(&doctor, json, &settings).await,
        Command::Openapi(openapi) => commands::openapi::run(openapi).await,
        // Done before there were settings.
        Command::RunScripts => Ok(ExitCode::SUCCESS),
        Command::Completions { shell } => completions(shell),
        Command::Manage(manage) => commands::manage(manage, json, &settings).await,
    }
}

/// `keyrack completions`.
fn completions(shell: clap_complete::Shell) -> anyhow::Result<ExitCode> {
    let mut command = Settings::add_flags(Cli::command());
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "keyrack", &mut script);
    serve::announce(String::from_utf8(script)?.trim_end());
    Ok(ExitCode::from(exit::DONE))
}
