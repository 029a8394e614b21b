//! `keyrack organizations`, `keyrack workspaces` and `keyrack audit`

use anyhow::Context as _;
use clap::{Args, Subcommand};
use keyrack_client::Client;
use keyrack_client::wire::{
    AuditEvent, CreateOrganization, CreateWorkspace, Organization, OrganizationState, Quota, RateLimit, Tier,
    UpdateOrganization, Workspace,
};

use super::limits::{self, read_rate_limit};
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
        /// How much all its keys together may ask for, such as 100/1s; may be given several times
        #[arg(long = "rate-limit", value_name = "UNITS/WINDOW", value_parser = read_rate_limit)]
        rate_limits: Option<Vec<RateLimit>>,
        /// No such limits any more
        #[arg(long, conflicts_with = "rate_limits")]
        no_rate_limits: bool,
        /// What it is to count as having used of its quota this month
        #[arg(long, value_name = "UNITS")]
        quota_used: Option<u64>,
    },
    /// Show what an organization has used of its quota this month
    Quota {
        /// Its slug or id
        organization: String,
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
        Organizations::Update { organization, name, tier, state, rate_limits, no_rate_limits, quota_used } => {
            let found = find(&client, &organization).await?;
            let rate_limits = (rate_limits.is_some() || no_rate_limits).then_some(rate_limits);
            let patch = UpdateOrganization { name, tier, state, rate_limits, quota_used };
            vec![client.update_organization(found.id, &patch).await?]
        }
        Organizations::Quota { organization } => {
            let found = find(&client, &organization).await?;
            return show_quota(&client.quota(found.id).await?, json);
        }
    };
    if json {
        return output::json(&organizations);
    }
    let row = |o: Organization| {
        let limits = limits::shown(o.rate_limits.as_deref());
        [o.id.to_string(), o.slug, o.name, o.tier.to_string(), o.state.to_string(), limits]
    };
    output::table(["id", "slug", "name", "tier", "state", "rate limits"], organizations.into_iter().map(row));
    Ok(())
}

async fn find(client: &Client<Connection>, slug_or_id: &str) -> anyhow::Result<Organization> {
    let known = all(client).await?;
    let found = known.into_iter().find(|o| o.slug == slug_or_id || o.id.to_string() == slug_or_id);
    found.with_context(|| format!("there is no organization {slug_or_id}"))
}

fn show_quota(quota: &Quota, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(quota);
    }
    let number = |units: Option<u64>| units.map_or_else(|| "none".to_owned(), |units| units.to_string());
    output::facts(&[
        ("month", quota.month.clone()),
        ("tier", quota.tier.to_string()),
        ("monthly limit", number(quota.monthly_limit)),
        ("used", quota.used.to_string()),
        ("remaining", quota.remaining.map_or_else(|| "-".to_owned(), |units| units.to_string())),
        ("resets at", output::moment(Some(quota.resets_at))),
    ]);
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
