//! `create_api_key`: short for `keyrack keys create` and `keyrack keys revoke`.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand};
use keyrack_client::wire::{CreateKey, Environment, RevokeKey, Role};
use uuid::Uuid;

use crate::config::Settings;
use crate::connect::{self, Needs};
use crate::{commands, exit, serve};

/// Makes an API key for an organization and prints it once.
#[derive(Parser)]
#[command(name = "create_api_key", version, subcommand_negates_reqs = true)]
pub(crate) struct Alias {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    create: Option<Create>,
}

#[derive(Args)]
struct Create {
    /// The person who makes the key: an owner or admin of the organization
    #[arg(long)]
    user_id: Uuid,
    /// The organization, by id
    #[arg(long)]
    org_id: Uuid,
    /// The name of the key
    #[arg(long)]
    name: String,
    /// live or test
    #[arg(long, default_value = "live")]
    environment: Environment,
}

#[derive(Subcommand)]
enum Command {
    /// Revoke a key
    Revoke {
        /// The key, by id
        #[arg(long)]
        key_id: Uuid,
    },
}

/// Does it.
pub(crate) async fn run(alias: Alias, settings: &Settings) -> anyhow::Result<ExitCode> {
    match (alias.command, alias.create) {
        (Some(_), Some(_)) => bail!("either make a key or revoke one"),
        (Some(Command::Revoke { key_id }), None) => {
            let client = commands::keys::client_for(key_id, settings).await?;
            let revoked = client.revoke_key(key_id, &RevokeKey::default()).await?;
            serve::announce(&format!("revoked {} ({})", revoked.key.name, revoked.key.id));
        }
        (None, Some(create)) => create_key(create, settings.clone()).await?,
        (None, None) => bail!("say what to do: --user-id, --org-id and --name, or revoke --key-id"),
    }
    Ok(ExitCode::from(exit::DONE))
}

async fn create_key(create: Create, settings: Settings) -> anyhow::Result<()> {
    let settings = settings.with("organization", &create.org_id.to_string());
    let needs = Needs { user: Some(keyrack_core::UserId(create.user_id)), ..Needs::default() };
    let client = connect::client(&settings, needs).await?;
    let member = commands::users::find(&client, create.user_id).await?;
    let member = member.context("this user is no member of the organization")?;
    if member.role == Role::Member {
        bail!("{} is neither owner nor admin of the organization", member.email);
    }
    let key = CreateKey { name: Some(create.name), environment: Some(create.environment), ..CreateKey::default() };
    let created = client.create_key(&key).await?;
    serve::announce(&created.secret.context("the server gave no key")?);
    Ok(())
}
