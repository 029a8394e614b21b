//! A database with an organization in it, keys put straight into it, and a server of it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use keyrack_core::status::Switch;
use keyrack_core::{
    Environment, GroupId, IpAllowlist, KeyId, OrganizationId, Pepper, PlainKey, RateLimits, ScopeSet, TextHash,
};
use keyrack_store::{ApiKey, NewSecret, Store};
use uuid::Uuid;

/// The e-mail address of the owner.
pub const OWNER: &str = "bench@example.com";
/// Their password.
pub const OWNER_PASSWORD: &str = "a password for benches only";
/// How long a program may take until it listens.
const START_WITHIN: Duration = Duration::from_secs(10);
/// How many keys are written with one statement.
const BATCH: usize = 1000;
/// How many are written in one transaction.
const TRANSACTION: u64 = 50_000;

/// An instance with one organization.
pub struct Instance {
    keyrack: PathBuf,
    /// The file with its pepper.
    pub keyfile: PathBuf,
    /// The URL of its database.
    pub database: String,
    /// A key that may do everything.
    pub management_key: String,
}

impl Instance {
    /// Makes one with this program, on an empty database.
    pub fn make(keyrack: &Path, database: String, keyfile: PathBuf) -> anyhow::Result<Self> {
        let mut init = Command::new(keyrack)
            .args(["init", "--json", "--organization", "bench", "--owner-email", OWNER, "--owner-password-stdin"])
            .args(["--tier", "enterprise"])
            .args(["--database", &database, "--keyfile"])
            .arg(&keyfile)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("build the server first: cargo build --release -p keyrack --features bench")?;
        init.stdin.take().context("no stdin")?.write_all(format!("{OWNER_PASSWORD}\n").as_bytes())?;
        let made: serde_json::Value = serde_json::from_slice(&init.wait_with_output()?.stdout)?;
        let management_key = made["management_key"].as_str().context("init gave no key")?;
        Ok(Self::known(keyrack, database, keyfile, management_key.to_owned()))
    }

    /// One that was made before.
    pub fn known(keyrack: &Path, database: String, keyfile: PathBuf, management_key: String) -> Self {
        Self { keyrack: keyrack.to_owned(), keyfile, database, management_key }
    }

    /// The database, opened.
    pub async fn store(&self) -> anyhow::Result<Store> {
        Ok(Store::open(&self.database, Timestamp::from_second(1_700_000_000)?).await?)
    }

    /// The pepper in its key file.
    pub fn pepper(&self) -> anyhow::Result<Pepper> {
        let text = std::fs::read_to_string(&self.keyfile)?;
        let line = text.lines().find_map(|l| l.strip_prefix("key = \"")).context("the key file has no pepper")?;
        let bytes = data_encoding::BASE64.decode(line.trim_end_matches('"').as_bytes())?;
        let Ok(bytes) = bytes.try_into() else { bail!("the pepper is short") };
        Ok(Pepper::new(1, &bytes))
    }

    /// Starts a server of it, on these processors only.
    pub fn serve(&self, processors: &str) -> anyhow::Result<Server> {
        self.serve_with(processors, &[])
    }

    /// The same, with these settings beside.
    pub fn serve_with(&self, processors: &str, settings: &[&str]) -> anyhow::Result<Server> {
        let begun = Instant::now();
        let mut child = Command::new("taskset")
            .args(["-c", processors])
            .arg(&self.keyrack)
            .args(["serve", "--listen", "127.0.0.1:0", "--log-level", "warn", "--failure-limit", "0"])
            .args(["--database", &self.database])
            .arg("--keyfile")
            .arg(&self.keyfile)
            .args(settings)
            .stdout(Stdio::piped())
            .spawn()
            .context("taskset (util-linux) is needed")?;
        let mut lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        let url = lines.find_map(|line| line.ok()?.strip_prefix("keyrack listens on ").map(str::to_owned));
        Ok(Server { child, url: url.context("the server did not start")?, start: begun.elapsed() })
    }
}

/// A running server. It ends when dropped.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub url: String,
    /// How long it took to start.
    pub start: Duration,
}

impl Server {
    /// Starts a program, and waits until somebody listens on this port of 127.0.0.1.
    pub fn listening(command: &mut Command, port: u16) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let mut server =
            Self { child: command.spawn()?, url: format!("http://127.0.0.1:{port}"), start: Duration::ZERO };
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if begun.elapsed() > START_WITHIN || server.child.try_wait()?.is_some() {
                bail!("it does not listen on port {port}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        server.start = begun.elapsed();
        Ok(server)
    }

    /// User and system time spent so far.
    pub fn processor_time(&self) -> anyhow::Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        // Hundredths of a second.
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Resident memory in megabytes.
    pub fn resident(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kilobytes: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kilobytes / 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // In good order: nobody waits for one that has said goodbye.
        let asked = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        if !asked.is_ok_and(|status| status.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// Puts keys straight into the database: the import over the API checks each of them, which is not what is measured here.
/// `place` gives the text of each number, `None` for no key, and may change what is not to be an ordinary key of the group
/// `default` of the first organization.
pub async fn insert(
    store: &Store,
    pepper: &Pepper,
    numbers: Range<u64>,
    place: impl Fn(u64, &mut ApiKey) -> Option<PlainKey>,
) -> anyhow::Result<()> {
    let mut reader = store.read().await?;
    let organizations = reader.list_organizations(None, 10).await?;
    let first = organizations.first().context("no organization")?.id;
    let group = reader.find_group_by_name(first, "default").await?.context("no group")?.id;
    drop(reader);
    let organizations: Vec<OrganizationId> = organizations.iter().map(|organization| organization.id).collect();
    let mut begin = numbers.start;
    while begin < numbers.end {
        let end = (begin + TRANSACTION).min(numbers.end);
        let mut rows = Vec::new();
        for number in begin..end {
            let mut key = key(number, first, group)?;
            if let Some(plain) = place(number, &mut key) {
                let secret = secret(&plain, pepper, key.created_at);
                rows.push((key, secret));
            }
        }
        let mut writer = store.write(&organizations).await?;
        for batch in rows.chunks(BATCH) {
            writer.insert_keys(&batch.iter().map(|(key, secret)| (key, secret)).collect::<Vec<_>>()).await?;
        }
        writer.commit_quota(None).await?;
        begin = end;
    }
    Ok(())
}

fn secret(plain: &PlainKey, pepper: &Pepper, now: Timestamp) -> NewSecret {
    NewSecret {
        version: 1,
        pepper_id: 1,
        digest: pepper.digest(&TextHash::of(plain.expose())).as_bytes().to_vec(),
        slow_hash: None,
        display_prefix: "sk_live_".to_owned(),
        last4: plain.last4().to_owned(),
        created_at: now,
    }
}

fn key(number: u64, organization: OrganizationId, group: GroupId) -> anyhow::Result<ApiKey> {
    let now = Timestamp::from_second(1_700_000_000)?;
    Ok(ApiKey {
        id: KeyId(Uuid::from_u128(u128::from(number) + (1 << 64))),
        organization,
        group,
        workspace: None,
        name: format!("key {number}"),
        description: String::new(),
        environment: Environment::Live,
        scopes: ScopeSet::parse(&["contacts:read", "contacts:write"]).map_err(|(_, e)| e)?,
        switch: Switch::Active,
        expires_at: None,
        ip_allowlist: IpAllowlist::default(),
        rate_limits: RateLimits::default(),
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
