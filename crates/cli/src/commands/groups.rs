//! `keyrack groups`

use anyhow::Context as _;
use clap::Subcommand;
use keyrack_client::Client;
use keyrack_client::wire::{CreateGroup, Group, HashProfile, KeyBody, KeyFormat, RateLimit, UpdateGroup};

use super::limits::{self, read_rate_limit};
use crate::config::Settings;
use crate::connect::{self, Connection, Needs};
use crate::{output, serve};

/// What to do with groups.
#[derive(Subcommand)]
pub(crate) enum Groups {
    /// Make a group
    Create {
        /// Its name
        name: String,
        /// What it is for
        #[arg(long)]
        description: Option<String>,
        /// Prefix of its keys; sk_live_ and sk_test_ if missing
        #[arg(long)]
        prefix: Option<String>,
        /// base62, hex or base64url
        #[arg(long)]
        body: Option<KeyBody>,
        /// hmac-sha256 or bcrypt
        #[arg(long)]
        hash_profile: Option<HashProfile>,
        /// A scope of keys made without any; may be given several times
        #[arg(long = "default-scope", value_name = "SCOPE")]
        default_scopes: Option<Vec<String>>,
        /// How much all its keys together may ask for, such as 10/1s; may be given several times
        #[arg(long = "rate-limit", value_name = "UNITS/WINDOW", value_parser = read_rate_limit)]
        rate_limits: Option<Vec<RateLimit>>,
        /// Keep the texts of its keys, encrypted, so that an owner can look at them again
        #[arg(long)]
        recoverable: bool,
    },
    /// List groups
    List,
    /// Rename a group
    Rename {
        /// Its name or id
        group: String,
        /// Its new name
        name: String,
    },
    /// Set how much all keys of a group together may ask for
    Limit {
        /// Its name or id
        group: String,
        /// A limit, such as 10/1s; may be given several times. Without any there is none
        #[arg(long = "rate-limit", value_name = "UNITS/WINDOW", value_parser = read_rate_limit)]
        rate_limits: Option<Vec<RateLimit>>,
    },
    /// Delete a group
    Delete {
        /// Its name or id
        group: String,
        /// Revoke and delete its live keys along with it
        #[arg(long)]
        revoke_keys: bool,
    },
}

/// Does it.
pub(crate) async fn run(command: Groups, json: bool, settings: &Settings) -> anyhow::Result<()> {
    let client = connect::client(settings, Needs::default()).await?;
    match command {
        Groups::Create { name, description, prefix, body, hash_profile, default_scopes, rate_limits, recoverable } => {
            let key_format = (prefix.is_some() || body.is_some())
                .then(|| KeyFormat { prefix, body: body.unwrap_or(KeyBody::Base62) });
            let recoverable = recoverable.then_some(true);
            let new =
                CreateGroup { name, description, key_format, hash_profile, default_scopes, rate_limits, recoverable };
            show(vec![client.create_group(&new).await?], json)
        }
        Groups::List => show(client.list_groups().await?.data, json),
        Groups::Rename { group, name } => {
            let group = find(&client, &group).await?;
            let patch = UpdateGroup { name: Some(name), ..UpdateGroup::default() };
            show(vec![client.update_group(group.id, &patch).await?], json)
        }
        Groups::Limit { group, rate_limits } => {
            let group = find(&client, &group).await?;
            let patch = UpdateGroup { rate_limits: Some(rate_limits), ..UpdateGroup::default() };
            show(vec![client.update_group(group.id, &patch).await?], json)
        }
        Groups::Delete { group, revoke_keys } => {
            let group = find(&client, &group).await?;
            client.delete_group(group.id, revoke_keys).await?;
            if json {
                return output::json(&serde_json::json!({ "deleted": group.id }));
            }
            serve::announce(&format!("deleted {}", group.name));
            Ok(())
        }
    }
}

async fn find(client: &Client<Connection>, name_or_id: &str) -> anyhow::Result<Group> {
    let groups = client.list_groups().await?.data;
    let found = groups.into_iter().find(|g| g.name == name_or_id || g.id.to_string() == name_or_id);
    found.with_context(|| format!("there is no group {name_or_id}"))
}

fn show(groups: Vec<Group>, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(&groups);
    }
    let row = |g: Group| {
        let prefix = g.key_format.prefix.unwrap_or_else(|| "sk_live_".to_owned());
        let format = format!("{prefix}… {}", g.key_format.body);
        let access = if g.is_access_group { "yes" } else { "no" }.to_owned();
        let scopes = output::or_dash(Some(&g.default_scopes.join(" ")));
        let limits = limits::shown(g.rate_limits.as_deref());
        [g.id.to_string(), g.name, format, g.hash_profile.to_string(), access, scopes, limits]
    };
    let names = ["id", "name", "format", "hash", "may manage", "default scopes", "rate limits"];
    output::table(names, groups.into_iter().map(row));
    Ok(())
}
