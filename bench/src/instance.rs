//! A database with an organization and any number of keys in it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};
use keyrack_core::Pepper;
use keyrack_store::{ApiKey, NewSecret, Store};
use keyrack_testkit::postgres::PrivateCluster;

use crate::Options;

/// How many keys are written with one statement, and how many in one transaction.
const BATCH: u64 = 1000;
const TRANSACTION: u64 = 50_000;

/// A database that a server can be started on.
pub(crate) struct Instance {
    /// How many keys are in it, beside the one that manages.
    pub(crate) size: u64,
    /// The name of its kind.
    pub(crate) kind: &'static str,
    /// Its URL.
    pub(crate) database: String,
    /// The file with its pepper.
    pub(crate) keyfile: PathBuf,
    /// A key that may do everything.
    pub(crate) manage: String,
}

impl Instance {
    /// One on SQLite. It is kept, and found again the next time.
    pub(crate) fn on_sqlite(options: &Options, size: u64) -> anyhow::Result<Self> {
        let folder = options.folder.join(size.to_string());
        let (database, keyfile) = (format!("sqlite:{}", folder.join("bench.db").display()), folder.join("keyfile"));
        let remembered = folder.join("manage");
        if let Ok(manage) = std::fs::read_to_string(&remembered) {
            return Ok(Self { size, kind: "sqlite", database, keyfile, manage });
        }
        // What was begun and not finished is worth nothing.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        let made = Self::make(options, "sqlite", database, keyfile, size)?;
        std::fs::write(remembered, &made.manage)?;
        Ok(made)
    }

    /// One on PostgreSQL, gone when its server is.
    pub(crate) fn on_postgres(options: &Options, cluster: &PrivateCluster, size: u64) -> anyhow::Result<Self> {
        let keyfile = cluster.directory().join(format!("{size}.keyfile"));
        Self::make(options, "postgres", cluster.fresh_database(), keyfile, size)
    }

    fn make(
        options: &Options,
        kind: &'static str,
        database: String,
        keyfile: PathBuf,
        size: u64,
    ) -> anyhow::Result<Self> {
        let mut init = Command::new(&options.keyrack)
            .args(["init", "--json", "--organization", "bench", "--owner-email", "bench@example.com"])
            .args(["--owner-password-stdin", "--database", &database, "--keyfile"])
            .arg(&keyfile)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        init.stdin.take().context("no stdin")?.write_all(b"a password for benches only\n")?;
        let made: serde_json::Value = serde_json::from_slice(&init.wait_with_output()?.stdout)?;
        let manage = made["management_key"].as_str().context("init gave no key")?.to_owned();
        let instance = Self { size, kind, database, keyfile, manage };
        let begun = Instant::now();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(instance.fill())?;
        println!("{size} keys written to {kind} in {:.0} s", begun.elapsed().as_secs_f64());
        Ok(instance)
    }

    /// Puts keys straight into the database: the import over the API checks each of them, which is not what is measured.
    async fn fill(&self) -> anyhow::Result<()> {
        let pepper = self.pepper()?;
        let now = jiff::Timestamp::from_second(1_700_000_000)?;
        let store = Store::open(&self.database, now).await?;
        let mut reader = store.read().await?;
        let organization = reader.list_organizations(None, 1).await?.pop().context("no organization")?;
        let group = reader.find_group_by_name(organization.id, "default").await?.context("no group")?;
        drop(reader);
        let numbers: Vec<u64> = (0..self.size).collect();
        for part in numbers.chunks(usize::try_from(TRANSACTION)?) {
            let mut writer = store.write(&[organization.id]).await?;
            for batch in part.chunks(usize::try_from(BATCH)?) {
                let rows: anyhow::Result<Vec<_>> = batch
                    .iter()
                    .map(|number| Ok((key(*number, organization.id, group.id, now)?, secret(*number, &pepper, now))))
                    .collect();
                let rows = rows?;
                writer.insert_keys(&rows.iter().map(|(key, secret)| (key, secret)).collect::<Vec<_>>()).await?;
            }
            writer.commit_uses(&[]).await?;
        }
        store.close().await;
        Ok(())
    }

    /// The pepper of its key file.
    pub(crate) fn pepper(&self) -> anyhow::Result<Pepper> {
        pepper_of(&self.keyfile)
    }
}

fn pepper_of(keyfile: &Path) -> anyhow::Result<Pepper> {
    let text = std::fs::read_to_string(keyfile)?;
    let line = text.lines().find_map(|l| l.strip_prefix("key = \"")).context("the key file has no pepper")?;
    let bytes = data_encoding::BASE64.decode(line.trim_end_matches('"').as_bytes())?;
    let Ok(bytes) = bytes.try_into() else { bail!("the pepper is short") };
    Ok(Pepper::new(1, &bytes))
}

fn secret(number: u64, pepper: &Pepper, now: jiff::Timestamp) -> NewSecret {
    let plain = keyrack_bench::text(number);
    NewSecret {
        version: 1,
        pepper_id: 1,
        digest: pepper.digest(&keyrack_core::TextHash::of(plain.expose())).as_bytes().to_vec(),
        slow_hash: None,
        display_prefix: "sk_live_".to_owned(),
        last4: plain.last4().to_owned(),
        created_at: now,
    }
}

fn key(
    number: u64,
    organization: keyrack_core::OrganizationId,
    group: keyrack_core::GroupId,
    now: jiff::Timestamp,
) -> anyhow::Result<ApiKey> {
    Ok(ApiKey {
        id: keyrack_core::KeyId(uuid::Uuid::from_u128(u128::from(number) + (1 << 64))),
        organization,
        group,
        workspace: None,
        name: format!("key {number}"),
        description: String::new(),
        environment: keyrack_core::Environment::Live,
        scopes: keyrack_core::ScopeSet::parse(&["contacts:read", "contacts:write"]).map_err(|(_, e)| e)?,
        switch: keyrack_core::status::Switch::Active,
        expires_at: None,
        ip_allowlist: keyrack_core::IpAllowlist::default(),
        metadata: None,
        imported: false,
        created_at: now,
        created_by: None,
        updated_at: now,
        revoked_at: None,
        revoke_reason: None,
        last_used_at: None,
        display_prefix: String::new(),
        last4: String::new(),
    })
}
