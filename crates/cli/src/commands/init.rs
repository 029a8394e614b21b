//! `keyrack init`

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use keyrack_client::wire;
use keyrack_core::Tier;
use keyrack_engine::{EngineRole, NewInstance};

use crate::config::Settings;
use crate::{connect, exit, output, serve};

/// The first organization of an instance.
#[derive(Args)]
pub(crate) struct Init {
    /// The name of the organization; its slug if missing
    #[arg(long)]
    name: Option<String>,
    /// free, pro or enterprise; free if missing: 10,000 requests a month
    #[arg(long)]
    tier: Option<wire::Tier>,
    /// E-mail address of the owner, the first instance admin
    #[arg(long)]
    owner_email: String,
    /// Read the owner's password from standard input
    #[arg(long, required = true)]
    owner_password_stdin: bool,
}

/// Makes the first organization. A second run changes nothing and says so.
pub(crate) async fn run(init: Init, json: bool, settings: &Settings) -> anyhow::Result<ExitCode> {
    let Some(slug) = settings.get("organization") else { bail!("name the organization with --organization SLUG") };
    if settings.get("url").is_some() {
        bail!("init works on the database itself; it takes no --url");
    }
    let owner_password = super::read_secret("the password")?.to_string();
    let engine = connect::engine(settings, EngineRole::Guest { keys: false }).await?;
    let tier = init.tier.and_then(|tier| Tier::parse(tier.as_str()));
    let owner_email = init.owner_email;
    let new = NewInstance {
        slug: slug.to_owned(),
        name: init.name,
        tier,
        owner_email,
        owner_password,
        with_management_key: true,
    };
    let Some(made) = engine.initialize(new).await? else {
        if json {
            output::json(&serde_json::json!({ "initialized": false, "message": "there is an organization already" }))?;
        } else {
            serve::announce("there is an organization already; nothing was changed");
        }
        return Ok(ExitCode::from(exit::DONE));
    };
    let key = made.management_key.context("there is no management key")?;
    let key = key.expose();
    if json {
        output::json(&serde_json::json!({
            "organization_id": made.organization,
            "user_id": made.user,
            "management_key": key,
        }))?;
    } else {
        output::facts(&[
            ("organization", format!("{slug} ({})", made.organization)),
            ("owner", made.user.to_string()),
            ("management key", key.to_owned()),
        ]);
        serve::announce(
            "\nThe key is shown this once. Keep it, and keep the key file apart from the database's copies.",
        );
    }
    Ok(ExitCode::from(exit::DONE))
}
