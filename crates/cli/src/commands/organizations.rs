//! `keyrack organizations`, `keyrack workspaces` and `keyrack audit`

use anyhow::Context as _;
use clap::{Args, Subcommand};
use keyrack_client::Client;
use keyrack_client::wire::{
    AuditEvent, CreateOrganization, CreateWorkspace, Organization, OrganizationState, Tier, UpdateOrganization,
    Workspace,
};

use crate::config::Settings;
use crate::connect::{self, Connection, Needs};
use crate::{output, serve};

/// What to do with organizations.
#[derive(Subcommand)]
pub(crate) enum Organizations {
    /// Make an organization
    Create {
        /// Its slug
        slug: String,
        /// Its name; the slug if missing
        #[arg(long)]
        name: Option<String>,
        /// free, pro or enterprise
        #[arg(long)]
        tier: Option<Tier>,
        /// E-mail address of the user who is to own it
        #[arg(long)]
        owner_email: String,
    },
    /// List organizations
    List,
    /// Change an organization
    Update {
        /// Its slug or id
        organization: String,
        /// A new name
        #[arg(long)]
        name: Option<String>,
        /// A new tier
        #[arg(long)]
        tier: Option<Tier>,
        /// active, suspended or deleted; none of its keys works unless it is active
        #[arg(long)]
        state: Option<OrganizationState>,
    },
}

/// Does it.
pub(crate) async fn run(command: Organizations, json: bool, settings: &Settings) -> anyhow::Result<()> {
    let client = connect::client(settings, Needs::default()).await?;
    let organizations = match command {
        Organizations::Create { slug, name, tier, owner_email } => {
            let new = CreateOrganization { slug, name, tier, owner_email: Some(owner_email) };
            vec![client.create_organization(&new).await?]
        }
        Organizations::List => all(&client).await?,
        Organizations::Update { organization, name, tier, state } => {
            let known = all(&client).await?;
            let found = known.into_iter().find(|o| o.slug == organization || o.id.to_string() == organization);
            let found = found.with_context(|| format!("there is no organization {organization}"))?;
            vec![client.update_organization(found.id, &UpdateOrganization { name, tier, state }).await?]
        }
    };
    if json {
        return output::json(&organizations);
    }
    let row = |o: Organization| [o.id.to_string(), o.slug, o.name, o.tier.to_string(), o.state.to_string()];
    output::table(["id", "slug", "name", "tier", "state"], organizations.into_iter().map(row));
    Ok(())
}

async fn all(client: &Client<Connection>) -> anyhow::Result<Vec<Organization>> {
    let mut all = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let page = client.list_organizations(cursor.as_deref()).await?;
        all.extend(page.data);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(all);
        }
    }
}

/// What to do with workspaces.
#[derive(Subcommand)]
pub(crate) enum Workspaces {
    /// Make a workspace
    Create {
        /// Its slug
        slug: String,
        /// Its name; the slug if missing
        #[arg(long)]
        name: Option<String>,
    },
    /// List workspaces
    List,
    /// Delete a workspace
    Delete {
        /// Its slug or id
        workspace: String,
        /// Revoke and delete live keys that are bound to it along with it
        #[arg(long)]
        revoke_keys: bool,
    },
}

/// Does it.
pub(crate) async fn workspaces(command: Workspaces, json: bool, settings: &Settings) -> anyhow::Result<()> {
    let client = connect::client(settings, Needs::default()).await?;
    let workspaces = match command {
        Workspaces::Create { slug, name } => vec![client.create_workspace(&CreateWorkspace { slug, name }).await?],
        Workspaces::List => client.list_workspaces().await?.data,
        Workspaces::Delete { workspace, revoke_keys } => {
            let known = client.list_workspaces().await?.data;
            let found = known.into_iter().find(|w| w.slug == workspace || w.id.to_string() == workspace);
            let found = found.with_context(|| format!("there is no workspace {workspace}"))?;
            client.delete_workspace(found.id, revoke_keys).await?;
            if json {
                return output::json(&serde_json::json!({ "deleted": found.id }));
            }
            serve::announce(&format!("deleted {}", found.slug));
            return Ok(());
        }
    };
    if json {
        return output::json(&workspaces);
    }
    output::table(
        ["id", "slug", "name"],
        workspaces.into_iter().map(|w: Workspace| [w.id.to_string(), w.slug, w.name]),
    );
    Ok(())
}

/// What happened.
#[derive(Args)]
pub(crate) struct Audit {
    /// How many events
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
}

/// Shows it.
pub(crate) async fn audit(audit: Audit, json: bool, settings: &Settings) -> anyhow::Result<()> {
    let client = connect::client(settings, Needs::default()).await?;
    let events = client.list_audit(audit.limit, None).await?.data;
    if json {
        return output::json(&events);
    }
    let row = |e: AuditEvent| {
        let actor = format!("{} {}", e.actor.kind, e.actor.name);
        let subject = format!("{} {}", e.subject.kind, e.subject.name);
        [output::moment(Some(e.at)), e.kind, subject, actor]
    };
    output::table(["when", "what", "to", "by"], events.into_iter().map(row));
    Ok(())
}
