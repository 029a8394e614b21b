//! Subcommands that manage, each written once against the typed client.

pub(crate) mod config;
pub(crate) mod groups;
pub(crate) mod init;
pub(crate) mod keys;
pub(crate) mod limits;
pub(crate) mod logs;
pub(crate) mod master_key;
pub(crate) mod nodes;
pub(crate) mod notifications;
pub(crate) mod openapi;
pub(crate) mod organizations;
pub(crate) mod pepper;
pub(crate) mod routes;
pub(crate) mod secrets;
pub(crate) mod tokens;
pub(crate) mod usage;
pub(crate) mod users;
pub(crate) mod verify;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;

use crate::config::Settings;
use crate::exit;

/// Everything that manages.
#[derive(Subcommand)]
pub(crate) enum Manage {
    /// Make, list, rotate, revoke and delete keys
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Ask about a key
    Verify(verify::Verify),
    /// Make, list and delete groups of keys
    #[command(subcommand)]
    Groups(groups::Groups),
    /// Make, list and delete workspaces
    #[command(subcommand)]
    Workspaces(organizations::Workspaces),
    /// Make, list and change organizations
    #[command(subcommand)]
    Organizations(organizations::Organizations),
    /// Exchange a key for a token, and look at tokens
    #[command(subcommand)]
    Tokens(tokens::Tokens),
    /// Show what was counted of requests: of a key, a group, a workspace or all
    Usage(usage::Of),
    /// List tiers, and set what organizations may use for them
    #[command(subcommand)]
    Tiers(limits::Tiers),
    /// List, add and remove the people of an organization
    #[command(subcommand)]
    Users(users::Users),
    /// Make, list and delete routes
    #[command(subcommand)]
    Routes(routes::Routes),
    /// Show what the script behind a route wrote, and how its calls ended
    Logs(logs::Logs),
    /// Set, show, list and delete secrets: values that callers are given
    #[command(subcommand)]
    Secrets(secrets::Secrets),
    /// Rotate the master key that secrets are sealed with, and look at it
    #[command(subcommand)]
    MasterKey(master_key::MasterKey),
    /// Rotate the pepper that keys are recognised by, and look at it
    #[command(subcommand)]
    Pepper(pepper::Pepper),
    /// List the processes that serve one PostgreSQL database together
    Nodes,
    /// Show what owners and admins are told: keys that expire or that nobody uses, quotas that run out
    Notifications(notifications::List),
    /// Show what happened, newest first
    Audit(organizations::Audit),
}

/// Runs a subcommand that manages.
pub(crate) async fn manage(command: Manage, json: bool, settings: &Settings) -> anyhow::Result<ExitCode> {
    match command {
        Manage::Keys(keys) => keys::run(keys, json, settings).await?,
        Manage::Verify(verify) => return verify::run(verify, json, settings).await,
        Manage::Groups(groups) => groups::run(groups, json, settings).await?,
        Manage::Workspaces(workspaces) => organizations::workspaces(workspaces, json, settings).await?,
        Manage::Organizations(organizations) => organizations::run(organizations, json, settings).await?,
        Manage::Tokens(tokens) => return tokens::run(tokens, json, settings).await,
        Manage::Usage(of) => usage::run(of, json, settings).await?,
        Manage::Tiers(tiers) => limits::tiers(tiers, json, settings).await?,
        Manage::Users(users) => users::run(users, json, settings).await?,
        Manage::Routes(routes) => routes::run(routes, json, settings).await?,
        Manage::Logs(logs) => logs::run(logs, json, settings).await?,
        Manage::Secrets(secrets) => secrets::run(secrets, json, settings).await?,
        Manage::MasterKey(master_key) => master_key::run(master_key, json, settings).await?,
        Manage::Pepper(pepper) => pepper::run(pepper, json, settings).await?,
        Manage::Nodes => nodes::run(json, settings).await?,
        Manage::Notifications(list) => notifications::run(list, json, settings).await?,
        Manage::Audit(audit) => organizations::audit(audit, json, settings).await?,
    }
    Ok(ExitCode::from(exit::DONE))
}

/// Reads one line from standard input: secrets do not belong among the arguments, where every user of the host sees them.
pub(crate) fn read_secret(what: &str) -> anyhow::Result<zeroize::Zeroizing<String>> {
    let mut line = zeroize::Zeroizing::new(String::new());
    std::io::stdin().read_line(&mut line).with_context(|| format!("cannot read {what} from standard input"))?;
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    Ok(line)
}
