//! What can be said on the command line.

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::{commands, doctor};

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 verify says the key is not valid, \
    4 committed, but the running server was not seen to apply it within 5 seconds";

/// API keys for people who run APIs.
#[derive(Parser)]
#[command(name = "keyrack", version, after_help = EXIT_CODES, propagate_version = true)]
pub(crate) struct Cli {
    /// Write JSON instead of tables
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serve the API and the doors
    Serve,
    /// Serve a throw-away instance with examples, and print what to try
    Demo,
    /// Make the first organization, its owner and a management key
    Init(commands::init::Init),
    #[command(flatten)]
    Manage(commands::Manage),
    /// Show the settings in force and where they come from
    Config,
    /// Say what is wrong with the installation
    Doctor(doctor::Doctor),
    /// Write the OpenAPI document
    Openapi(commands::openapi::Openapi),
    /// Run scripts that come over standard input; `serve` starts it
    #[command(hide = true)]
    RunScripts,
    /// Write completions for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
}
