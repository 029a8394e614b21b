//! `keyrack keys`

use std::io::BufRead as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use keyrack_client::wire::{
    ApiKey, CreateKey, Environment, ImportKey, ImportKeys, KeyStatus, Level, RateLimit, RevokeKey, RotateKey, UpdateKey,
};
use keyrack_client::{Client, ListKeys};
use uuid::Uuid;

use super::limits::{self, read_rate_limit};
use crate::config::Settings;
use crate::connect::{self, Connection, Needs};
use crate::{output, serve};

/// What to do with keys.
#[derive(Subcommand)]
pub(crate) enum Keys {
    /// Make a key and show its text once
    Create(Create),
    /// List keys
    List(List),
    /// Show a key and its secrets
    Show {
        /// Its id
        id: Uuid,
    },
    /// Give a key a new secret; the old one works on for a while
    Rotate(Rotate),
    /// Withdraw a key for good; returns when it lets nobody in
    Revoke {
        /// Its id
        id: Uuid,
        /// Why
        #[arg(long)]
        reason: Option<String>,
    },
    /// Switch a key on
    Enable {
        /// Its id
        id: Uuid,
    },
    /// Switch a key off
    Disable {
        /// Its id
        id: Uuid,
    },
    /// Set how much a key may ask for
    Limit {
        /// Its id
        id: Uuid,
        /// A limit, such as 10/1s; may be given several times. Without any there is none
        #[arg(long = "rate-limit", value_name = "UNITS/WINDOW", value_parser = read_rate_limit)]
        rate_limits: Option<Vec<RateLimit>>,
    },
    /// Delete a key; a tombstone stays
    Delete {
        /// Its id
        id: Uuid,
    },
    /// Import keys from a file of JSON lines, each with "key" or "sha256", "name", and what `create` takes
    Import {
        /// The file; - for standard input
        file: PathBuf,
    },
}

#[derive(Args)]
pub(crate) struct Create {
    /// Its name; taken from the description if missing
    #[arg(long)]
    name: Option<String>,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
    /// live or test
    #[arg(long)]
    environment: Option<Environment>,
    /// The group, by name or id
    #[arg(long)]
    group: Option<String>,
    /// The workspace to bind it to, by slug or id
    #[arg(long)]
    workspace: Option<String>,
    /// What it may do, such as contacts:read; may be given several times
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Option<Vec<String>>,
    /// read_only or read_write, instead of scopes
    #[arg(long, conflicts_with = "scopes")]
    level: Option<Level>,
    /// Until when it works, such as 2027-01-31T00:00:00Z
    #[arg(long)]
    expires_at: Option<Timestamp>,
    /// Make it switched off
    #[arg(long)]
    disabled: bool,
    /// A network it works from, such as 203.0.113.0/24; may be given several times
    #[arg(long = "allow-ip", value_name = "NETWORK")]
    ip_allowlist: Option<Vec<String>>,
    /// How much it may ask for, such as 10/1s or 1000/1h; may be given several times
    #[arg(long = "rate-limit", value_name = "UNITS/WINDOW", value_parser = read_rate_limit)]
    rate_limits: Option<Vec<RateLimit>>,
    /// A JSON object to keep with it
    #[arg(long, value_parser = read_object)]
    metadata: Option<Object>,
}

/// A JSON object. (An alias, so that clap takes it for one value.)
type Object = serde_json::Map<String, serde_json::Value>;

fn read_object(text: &str) -> Result<Object, String> {
    serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))
}

#[derive(Args)]
pub(crate) struct List {
    /// Only of this group
    #[arg(long)]
    group: Option<String>,
    /// Only of this workspace
    #[arg(long)]
    workspace: Option<String>,
    /// Only in this state: active, disabled, revoked or expired
    #[arg(long)]
    status: Option<KeyStatus>,
    /// Only with this in the name
    #[arg(long)]
    name: Option<String>,
    /// Only not used for this long, such as 30d
    #[arg(long)]
    unused_for: Option<String>,
    /// created_at or last_used_at
    #[arg(long)]
    sort: Option<String>,
}

#[derive(Args)]
pub(crate) struct Rotate {
    /// Its id
    id: Uuid,
    /// How long the old secret works on: 30s, 15m, 24h or 30d; a day if missing, 0 for not at all
    #[arg(long, value_parser = read_duration)]
    overlap: Option<i64>,
    /// Rotate although two secrets are in use: the older one ends at once
    #[arg(long)]
    force: bool,
}

fn read_duration(text: &str) -> Result<i64, String> {
    if text == "0" {
        return Ok(0);
    }
    let wrong = || "must be a number with s, m, h or d behind it, such as 24h".to_owned();
    keyrack_core::duration::seconds(text, &["s", "m", "h", "d"]).ok_or_else(wrong)
}

/// A client for the organization a key belongs to: on the database the host need not name it.
pub(crate) async fn client_for(id: Uuid, settings: &Settings) -> anyhow::Result<Client<Connection>> {
    if settings.get("url").is_some() || settings.get("organization").is_some() {
        return connect::client(settings, Needs::default()).await;
    }
    let organization = connect::organization_of_key(settings, keyrack_core::KeyId(id)).await?;
    match organization {
        Some(id) => connect::client(&settings.clone().with("organization", &id.to_string()), Needs::default()).await,
        None => bail!("there is no key {id}"),
    }
}

/// Does it.
pub(crate) async fn run(command: Keys, json: bool, settings: &Settings) -> anyhow::Result<()> {
    match command {
        Keys::Create(create) => make(create, json, settings).await,
        Keys::List(list) => show_all(list, json, settings).await,
        Keys::Show { id } => show(id, json, settings).await,
        Keys::Rotate(rotate) => give_new_secret(rotate, json, settings).await,
        Keys::Revoke { id, reason } => {
            let revoked = client_for(id, settings).await?.revoke_key(id, &RevokeKey { reason }).await?;
            if json {
                return output::json(&revoked);
            }
            let at = output::moment(Some(revoked.receipt.effective_at));
            serve::announce(&format!("revoked {}; it lets nobody in since {at}", revoked.key.name));
            for node in revoked.receipt.nodes.iter().filter(|node| !node.applied) {
                let why = "did not answer; it decides nothing before it has applied this";
                serve::announce(&format!("the node {} on {} {why}", node.id, node.name));
            }
            Ok(())
        }
        Keys::Enable { id } => switch(id, true, json, settings).await,
        Keys::Disable { id } => switch(id, false, json, settings).await,
        Keys::Limit { id, rate_limits } => {
            let patch = UpdateKey { rate_limits: Some(rate_limits), ..UpdateKey::default() };
            let key = client_for(id, settings).await?.update_key(id, &patch).await?;
            if json {
                return output::json(&key);
            }
            describe(&key);
            Ok(())
        }
        Keys::Delete { id } => {
            client_for(id, settings).await?.delete_key(id).await?;
            if json {
                return output::json(&serde_json::json!({ "deleted": id }));
            }
            serve::announce(&format!("deleted {id}"));
            Ok(())
        }
        Keys::Import { file } => import(&file, json, settings).await,
    }
}

async fn make(c: Create, json: bool, settings: &Settings) -> anyhow::Result<()> {
    let client = connect::client(settings, Needs::default()).await?;
    let key = CreateKey {
        name: c.name,
        description: c.description,
        environment: c.environment,
        group: c.group,
        workspace: c.workspace,
        scopes: c.scopes,
        level: c.level,
        expires_at: c.expires_at,
        never_expires: None,
        enabled: c.disabled.then_some(false),
        ip_allowlist: c.ip_allowlist,
        rate_limits: c.rate_limits,
        metadata: c.metadata,
    };
    let created = client.create_key(&key).await?;
    if json {
        return output::json(&created);
    }
    describe(&created.key);
    serve::announce(&format!("\n{}\n", created.secret.context("the server gave no key")?));
    serve::announce("This is the key. It is shown this once and cannot be recovered.");
    Ok(())
}

async fn show_all(list: List, json: bool, settings: &Settings) -> anyhow::Result<()> {
    let client = connect::client(settings, Needs::default()).await?;
    let mut query = ListKeys {
        group: list.group,
        workspace: list.workspace,
        status: list.status,
        name: list.name,
        unused_for: list.unused_for,
        sort: list.sort,
        limit: Some(200),
        cursor: None,
    };
    let mut keys = Vec::new();
    loop {
        let page = client.list_keys(&query).await?;
        keys.extend(page.data);
        match page.next_cursor {
            Some(next) => query.cursor = Some(next),
            None => break,
        }
    }
    if json {
        return output::json(&keys);
    }
    let row = |k: ApiKey| {
        let looks = if k.last4.is_empty() { "-".to_owned() } else { format!("{}…{}", k.display_prefix, k.last4) };
        let bound = output::or_dash(k.workspace.as_deref());
        let used = output::moment(k.last_used_at);
        [k.id.to_string(), k.name, k.group, bound, k.status.to_string(), k.scopes.join(" "), looks, used]
    };
    let headings = ["id", "name", "group", "workspace", "status", "scopes", "key", "last used"];
    output::table(headings, keys.into_iter().map(row));
    Ok(())
}

async fn show(id: Uuid, json: bool, settings: &Settings) -> anyhow::Result<()> {
    let client = client_for(id, settings).await?;
    let key = client.get_key(id).await?;
    let secrets = client.list_key_secrets(id).await?.data;
    if json {
        return output::json(&serde_json::json!({ "key": key, "secrets": secrets }));
    }
    describe(&key);
    serve::announce("");
    let row = |s: keyrack_client::wire::KeySecret| {
        let looks = format!("{}…{}", s.display_prefix, s.last4);
        let moments = [Some(s.created_at), s.expires_at, s.last_used_at].map(output::moment);
        let [made, ends, used] = moments;
        [s.version.to_string(), looks, made, ends, used]
    };
    output::table(["secret", "key", "made", "ends", "last used"], secrets.into_iter().map(row));
    Ok(())
}

fn describe(key: &ApiKey) {
    output::facts(&[
        ("id", key.id.to_string()),
        ("name", key.name.clone()),
        ("description", output::or_dash(Some(&key.description))),
        ("environment", key.environment.to_string()),
        ("group", key.group.clone()),
        ("workspace", output::or_dash(key.workspace.as_deref())),
        ("scopes", output::or_dash(Some(&key.scopes.join(" ")))),
        ("status", key.status.to_string()),
        ("expires", output::moment(key.expires_at)),
        ("addresses", key.ip_allowlist.as_ref().map_or_else(|| "any".to_owned(), |list| list.join(" "))),
        ("rate limits", limits::shown(key.rate_limits.as_deref())),
        ("made", output::moment(Some(key.created_at))),
        ("last used", output::moment(key.last_used_at)),
    ]);
}

async fn give_new_secret(rotate: Rotate, json: bool, settings: &Settings) -> anyhow::Result<()> {
    let client = client_for(rotate.id, settings).await?;
    let how = RotateKey { overlap_seconds: rotate.overlap, force: rotate.force.then_some(true) };
    let rotated = client.rotate_key(rotate.id, &how).await?;
    if json {
        return output::json(&rotated);
    }
    serve::announce(&format!("{}\n", rotated.secret.context("the server gave no key")?));
    let until = output::moment(rotated.previous_secret_expires_at);
    serve::announce(&format!("This is the new key, shown this once. The old one works until {until} UTC."));
    Ok(())
}

async fn switch(id: Uuid, enabled: bool, json: bool, settings: &Settings) -> anyhow::Result<()> {
    let patch = UpdateKey { enabled: Some(enabled), ..UpdateKey::default() };
    let key = client_for(id, settings).await?.update_key(id, &patch).await?;
    if json {
        return output::json(&key);
    }
    serve::announce(&format!("{} is {}", key.name, key.status));
    Ok(())
}

/// How many keys go into one request.
const BATCH: usize = 1000;

async fn import(file: &PathBuf, json: bool, settings: &Settings) -> anyhow::Result<()> {
    let client = connect::client(settings, Needs::default()).await?;
    let reader: Box<dyn std::io::BufRead> = if file.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        let opened = std::fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
        Box::new(std::io::BufReader::new(opened))
    };
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{spinner} {pos} keys, {per_sec}")?);
    let mut lines = reader.lines().enumerate().peekable();
    let mut done_before = 0_usize;
    while lines.peek().is_some() {
        let mut batch = Vec::with_capacity(BATCH);
        for (at, line) in lines.by_ref().take(BATCH) {
            let line = zeroize::Zeroizing::new(line?);
            if line.trim().is_empty() {
                continue;
            }
            // serde's words may quote the line, which holds a key: only the place is told. An array it would take for the
            // fields in their order.
            let read = if line.trim_start().starts_with('[') { Err(1) } else { Ok(()) };
            let read = read.and_then(|()| serde_json::from_str(&line).map_err(|e| e.column()));
            let key: ImportKey = read
                .map_err(|column| anyhow::anyhow!("line {}, column {column} is no key to import", at + 1))
                .with_context(|| imported(done_before))?;
            batch.push(key);
        }
        if batch.is_empty() {
            continue;
        }
        let count = batch.len();
        let first = done_before + 1;
        let sent = client.import_keys(&ImportKeys { keys: batch }).await;
        sent.with_context(|| format!("the batch that starts with key {first} was refused; {}", imported(done_before)))?;
        done_before += count;
        bar.inc(count as u64);
    }
    bar.finish_and_clear();
    if json {
        return output::json(&serde_json::json!({ "imported": done_before }));
    }
    serve::announce(&imported(done_before));
    Ok(())
}

fn imported(count: usize) -> String {
    format!("{count} keys are imported")
}
