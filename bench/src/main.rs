//! The load bench: `/api/verify` beside a constant reply of the same process, over HTTP.
//!
//! The server gets one processor, `wrk` another. Requests per second wander on shared machines; what counts is the
//! processor time per request and the ratio of runs taken in turn.

#![expect(clippy::print_stdout, reason = "this program prints a report")]

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Parser;
use keyrack_store::{ApiKey, NewSecret, Store};

/// Measures a server under load.
#[derive(Parser)]
struct Options {
    /// The server to measure, built with --release --features bench
    #[arg(long, default_value = "target/release/keyrack")]
    keyrack: PathBuf,
    /// Sizes of the keyring, with commas between
    #[arg(long, default_value = "1000,1000000", value_delimiter = ',')]
    keys: Vec<u64>,
    /// Seconds a run takes
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Runs of each kind, taken in turn
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Connections
    #[arg(long, default_value_t = 64)]
    connections: u32,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if !options.keyrack.exists() {
        bail!("build the server first: cargo build --release -p keyrack --features bench");
    }
    println!(
        "{:>10} {:>9} {:>9} {:>9} {:>7} {:>9} {:>9} {:>8} {:>8}",
        "keys", "kind", "req/s", "us cpu", "ratio", "p50", "p99", "RSS MB", "start s"
    );
    for size in &options.keys {
        measure(&options, *size).with_context(|| format!("with {size} keys"))?;
    }
    Ok(())
}

fn measure(options: &Options, size: u64) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let manage = runtime.block_on(fill(folder.path(), &options.keyrack, size))?;
    let started = Instant::now();
    let server = Server::start(&options.keyrack, folder.path())?;
    let start = started.elapsed();
    let resident = server.resident()?;
    let verify = script(folder.path(), "verify", &manage, size)?;
    let constant = script(folder.path(), "constant", &manage, size)?;
    let mut figures: Vec<(Figures, Figures)> = Vec::new();
    for _ in 0..options.rounds {
        let base = server.load(options, &constant, "/-/constant")?;
        let whole = server.load(options, &verify, "/api/verify")?;
        figures.push((base, whole));
    }
    figures.sort_by(|a, b| (a.1.rate / a.0.rate).total_cmp(&(b.1.rate / b.0.rate)));
    let (base, whole) = &figures[figures.len() / 2];
    for (kind, f, ratio) in [("constant", base, 1.0), ("verify", whole, whole.rate / base.rate)] {
        println!(
            "{size:>10} {kind:>9} {:>9.0} {:>9.2} {ratio:>7.2} {:>9} {:>9} {:>8.0} {:>8.2}",
            f.rate,
            f.cpu,
            f.p50,
            f.p99,
            resident,
            start.as_secs_f64()
        );
    }
    Ok(())
}

/// Makes an instance with this many keys; the management key.
async fn fill(folder: &Path, keyrack: &Path, size: u64) -> anyhow::Result<String> {
    let database = format!("sqlite:{}", folder.join("bench.db").display());
    let mut init = Command::new(keyrack)
        .args([
            "init",
            "--json",
            "--organization",
            "bench",
            "--owner-email",
            "bench@example.com",
            "--owner-password-stdin",
        ])
        .args(["--database", &database])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    init.stdin.take().context("no stdin")?.write_all(b"a password for benches only\n")?;
    let made: serde_json::Value = serde_json::from_slice(&init.wait_with_output()?.stdout)?;
    let manage = made["management_key"].as_str().context("init gave no key")?.to_owned();
    insert(&database, &folder.join("bench.db.keyfile"), size).await?;
    Ok(manage)
}

/// Puts keys straight into the database: the import over the API checks each of them, which is not what is measured here.
async fn insert(database: &str, keyfile: &Path, size: u64) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(keyfile)?;
    let line = text.lines().find_map(|l| l.strip_prefix("key = \"")).context("the key file has no pepper")?;
    let bytes = data_encoding::BASE64.decode(line.trim_end_matches('"').as_bytes())?;
    let pepper = keyrack_core::Pepper::new(1, &bytes.try_into().map_err(|_| anyhow::anyhow!("the pepper is short"))?);
    let now = jiff::Timestamp::from_second(1_700_000_000)?;
    let store = Store::open(database, now).await?;
    let mut reader = store.read().await?;
    let organization = reader.list_organizations(None, 1).await?.pop().context("no organization")?;
    let group = reader.find_group_by_name(organization.id, "default").await?.context("no group")?;
    drop(reader);
    let mut number = 0;
    while number < size {
        let mut writer = store.write(&[organization.id]).await?;
        for number in number..(number + 20_000).min(size) {
            let plain = keyrack_bench::text(number);
            let digest = pepper.digest(&keyrack_core::TextHash::of(plain.expose()));
            let secret = NewSecret {
                version: 1,
                pepper_id: 1,
                digest: digest.as_bytes().to_vec(),
                slow_hash: None,
                display_prefix: "sk_live_".to_owned(),
                last4: plain.last4().to_owned(),
                created_at: now,
            };
            writer.insert_key(&key(number, organization.id, group.id, now)?, &secret).await?;
        }
        writer.commit_uses(&[]).await?;
        number += 20_000;
    }
    store.close().await;
    Ok(())
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

/// Writes what `wrk` sends: many different keys in no order.
fn script(folder: &Path, name: &str, manage: &str, size: u64) -> anyhow::Result<PathBuf> {
    let mut lua = String::from("local keys = {\n");
    for number in 0..size.min(100_000) {
        writeln!(lua, "\"{}\",", keyrack_bench::text(number * 7919 % size).expose())?;
    }
    write!(
        lua,
        "}}\nlocal n = #keys\nlocal headers = {{ [\"Content-Type\"] = \"application/json\", [\"X-API-Key\"] = \"{manage}\" }}\n\
         local i = 0\nfunction request()\n  i = (i * 1103515245 + 12345) % 2147483648\n\
         return wrk.format(\"POST\", nil, headers, '{{\"key\":\"' .. keys[i % n + 1] .. '\",\"scope\":\"contacts:read\"}}')\nend\n\
         local bad = 0\nfunction response(status) if status ~= 200 then bad = bad + 1 end end\n"
    )?;
    let path = folder.join(format!("{name}.lua"));
    std::fs::write(&path, lua)?;
    Ok(path)
}

struct Figures {
    rate: f64,
    cpu: f64,
    p50: String,
    p99: String,
}

struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(keyrack: &Path, folder: &Path) -> anyhow::Result<Self> {
        let database = format!("sqlite:{}", folder.join("bench.db").display());
        let mut child = Command::new("taskset")
            .args(["-c", "0"])
            .arg(keyrack)
            .args(["serve", "--listen", "127.0.0.1:0", "--log-level", "warn", "--database", &database])
            .stdout(Stdio::piped())
            .spawn()
            .context("taskset (util-linux) is needed")?;
        let mut lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        let url = lines.find_map(|line| line.ok()?.strip_prefix("keyrack listens on ").map(str::to_owned));
        Ok(Self { child, url: url.context("the server did not start")? })
    }

    fn load(&self, options: &Options, script: &Path, path: &str) -> anyhow::Result<Figures> {
        let before = self.processor_time()?;
        let out = Command::new("taskset")
            .args(["-c", "1", "wrk", "-t1", &format!("-c{}", options.connections), &format!("-d{}s", options.seconds)])
            .args(["--latency", "-s"])
            .arg(script)
            .arg(format!("{}{path}", self.url))
            .output()
            .context("wrk is needed (Debian package wrk)")?;
        let spent = self.processor_time()?.saturating_sub(before);
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        if text.contains("Non-2xx") || !out.status.success() {
            bail!("requests failed:\n{text}");
        }
        let word = |name: &str| {
            let line = text.lines().find(|line| line.trim_start().starts_with(name));
            line.and_then(|line| line.split_whitespace().last()).unwrap_or("-").to_owned()
        };
        let requests: f64 = text
            .lines()
            .find_map(|line| line.trim().split_once(" requests in ").and_then(|(n, _)| n.parse().ok()))
            .context("wrk counted nothing")?;
        let rate = word("Requests/sec:").parse()?;
        let cpu = spent.as_secs_f64() * 1e6 / requests;
        Ok(Figures { rate, cpu, p50: word("50%"), p99: word("99%") })
    }

    /// User and system time of the server, in hundredths of a second.
    fn processor_time(&self) -> anyhow::Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Resident memory in megabytes.
    fn resident(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kilobytes: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kilobytes / 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
