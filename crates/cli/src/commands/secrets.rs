//! `keyrack secrets`

use std::io::Read as _;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use keyrack_client::ListSecrets;
use keyrack_client::wire::{CreateSecret, Secret, SecretScope, UpdateSecret};
use zeroize::Zeroizing;

use crate::config::Settings;
use crate::connect::{self, Needs};
use crate::{output, serve};

/// What to do with secrets.
#[derive(Subcommand)]
pub(crate) enum Secrets {
    /// Make or change a secret, with the value on standard input (a newline at its end is left out)
    Set {
        /// Its name
        name: String,
        #[command(flatten)]
        of: Of,
        /// What it is for
        #[arg(long)]
        comment: Option<String>,
    },
    /// Print the value of a secret; the audit log tells of it
    Get {
        /// Its name
        name: String,
        #[command(flatten)]
        of: Of,
    },
    /// List secrets, without their values
    List {
        /// Only those of this name
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        of: Of,
    },
    /// Delete a secret
    Delete {
        /// Its name
        name: String,
        #[command(flatten)]
        of: Of,
    },
}

/// Whose secret: one of these, or the organization's.
#[derive(Args)]
#[group(multiple = false)]
pub(crate) struct Of {
    /// Of a route, by name or id
    #[arg(long)]
    route: Option<String>,
    /// Of a group, by name or id
    #[arg(long)]
    group: Option<String>,
    /// Of a key, by id
    #[arg(long = "for-key", value_name = "ID")]
    api_key: Option<String>,
}

impl Of {
    fn scope(self) -> Option<(SecretScope, String)> {
        let Self { route, group, api_key } = self;
        let owned = [(SecretScope::Route, route), (SecretScope::Group, group), (SecretScope::Key, api_key)];
        owned.into_iter().find_map(|(scope, owner)| Some((scope, owner?)))
    }
}

type Client = keyrack_client::Client<connect::Connection>;

/// Does it.
pub(crate) async fn run(command: Secrets, json: bool, settings: &Settings) -> anyhow::Result<()> {
    let value = match &command {
        Secrets::Set { .. } => Some(read_value()?),
        _ => None,
    };
    let client = connect::client(settings, Needs::default()).await?;
    match command {
        Secrets::Set { name, of, comment } => {
            let value = value.context("there is no value")?;
            let secret = set(&client, name, of.scope(), (value, comment)).await?;
            if json {
                return output::json(&secret);
            }
            serve::announce(&format!("set {} for {}", secret.name, whose(&secret)));
            Ok(())
        }
        Secrets::Get { name, of } => {
            let secret = find(&client, &name, of.scope(), true).await?;
            let secret = secret.with_context(|| format!("there is no secret {name} there"))?;
            if json {
                return output::json(&secret);
            }
            serve::announce(secret.value.as_deref().unwrap_or_default());
            Ok(())
        }
        Secrets::List { name, of } => show(all(&client, name, of.scope()).await?, json),
        Secrets::Delete { name, of } => {
            let secret = find(&client, &name, of.scope(), false).await?;
            let secret = secret.with_context(|| format!("there is no secret {name} there"))?;
            client.delete_secret(secret.id).await?;
            if json {
                return output::json(&serde_json::json!({ "deleted": secret.id }));
            }
            serve::announce(&format!("deleted {} for {}", secret.name, whose(&secret)));
            Ok(())
        }
    }
}

fn read_value() -> anyhow::Result<Zeroizing<String>> {
    let mut value = Zeroizing::new(String::new());
    std::io::stdin().read_to_string(&mut value).context("cannot read the value from standard input")?;
    let line = value.strip_suffix('\n').map_or(value.len(), |line| line.strip_suffix('\r').unwrap_or(line).len());
    value.truncate(line);
    if value.is_empty() {
        bail!("the value of a secret comes on standard input, and there is none: keyrack secrets set NAME < file");
    }
    Ok(value)
}

async fn set(
    client: &Client,
    name: String,
    scope: Option<(SecretScope, String)>,
    (value, comment): (Zeroizing<String>, Option<String>),
) -> anyhow::Result<Secret> {
    let value = value.to_string();
    if let Some(known) = find(client, &name, scope.clone(), false).await? {
        return Ok(client.update_secret(known.id, &UpdateSecret { value: Some(value), comment }).await?);
    }
    let (scope, owner) = scope.map_or((SecretScope::Global, None), |(scope, owner)| (scope, Some(owner)));
    Ok(client.create_secret(&CreateSecret { name, value, scope, owner, comment }).await?)
}

async fn find(
    client: &Client,
    name: &str,
    scope: Option<(SecretScope, String)>,
    values: bool,
) -> anyhow::Result<Option<Secret>> {
    let (scope, owner) = scope.map_or((SecretScope::Global, None), |(scope, owner)| (scope, Some(owner)));
    let wanted = ListSecrets { name: Some(name.to_owned()), scope: Some(scope), owner, values, cursor: None };
    Ok(client.list_secrets(&wanted).await?.data.into_iter().next())
}

async fn all(
    client: &Client,
    name: Option<String>,
    scope: Option<(SecretScope, String)>,
) -> anyhow::Result<Vec<Secret>> {
    let (scope, owner) = scope.unzip();
    let mut wanted = ListSecrets { name, scope, owner, ..ListSecrets::default() };
    let mut all = Vec::new();
    loop {
        let page = client.list_secrets(&wanted).await?;
        all.extend(page.data);
        match page.next_cursor {
            Some(cursor) => wanted.cursor = Some(cursor),
            None => return Ok(all),
        }
    }
}

fn whose(secret: &Secret) -> String {
    match (secret.scope, &secret.owner_name) {
        (SecretScope::Global, _) | (_, None) => "everybody".to_owned(),
        (scope, Some(owner)) => format!("{scope} {owner}"),
    }
}

fn show(secrets: Vec<Secret>, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(&secrets);
    }
    let row = |s: Secret| {
        let (whose, changed) = (whose(&s), output::moment(Some(s.updated_at)));
        [s.id.to_string(), s.name, whose, s.size_bytes.to_string(), changed, s.comment]
    };
    output::table(["id", "name", "for", "bytes", "changed", "comment"], secrets.into_iter().map(row));
    Ok(())
}
