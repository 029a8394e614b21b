//! Requests over HTTP: good keys, unknown ones and junk, beside a constant reply of the same process.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use keyrack_bench::instance::Server;

use crate::Options;
use crate::filled::Filled;

/// The most different keys that are asked about.
const ASKED: u64 = 100_000;

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing: the reply is constant.
    Constant,
    /// Good keys, in no order.
    Good,
    /// One good key.
    Hot,
    /// Keys that nobody has, well formed.
    Unknown,
    /// What is no key.
    Junk,
}

impl Kind {
    const ALL: [(Self, &str); 5] = [
        (Self::Constant, "constant"),
        (Self::Good, "good"),
        (Self::Hot, "one key"),
        (Self::Unknown, "unknown"),
        (Self::Junk, "junk"),
    ];

    fn path(self) -> &'static str {
        if self == Self::Constant { "/-/constant" } else { "/api/verify" }
    }

    fn key(self, number: u64, size: u64) -> String {
        match self {
            Self::Hot => keyrack_bench::text(0).expose().to_owned(),
            Self::Unknown => keyrack_bench::text(number + (1 << 40)).expose().to_owned(),
            Self::Junk => format!("sk_live_{number:049}"),
            Self::Constant | Self::Good => keyrack_bench::text(number * 7919 % size).expose().to_owned(),
        }
    }
}

/// What a run shows.
pub(crate) struct Figures {
    /// Requests per second.
    pub(crate) rate: f64,
    /// Microseconds of the server's processor time for each request.
    pub(crate) cpu: f64,
    /// How long half of the answers took at most, and 99 of a hundred.
    pub(crate) p50: String,
    pub(crate) p99: String,
}

/// Prints a line for each kind. The ratio is to the constant reply of the same round, the median of the rounds.
pub(crate) fn measure(options: &Options, filled: &Filled) -> anyhow::Result<()> {
    let server = filled.instance.serve("0")?;
    let (resident, start) = (server.resident()?, server.start.as_secs_f64());
    let folder = tempfile::tempdir()?;
    let mut scripts = Vec::new();
    for (kind, _) in Kind::ALL {
        scripts.push(script(folder.path(), kind, filled)?);
    }
    let mut rounds = Vec::new();
    for _ in 0..options.rounds {
        let mut round = Vec::new();
        for ((kind, _), script) in Kind::ALL.iter().zip(&scripts) {
            let url = format!("{}{}", server.url, kind.path());
            round.push(run(options, options.connections, &[&server], &url, script)?);
        }
        rounds.push(round);
    }
    println!("load: {} keys, {resident:.0} MB resident, started on one processor in {start:.2} s", filled.size);
    println!("{:>10} {:>9} {:>9} {:>7} {:>9} {:>9}", "kind", "req/s", "us cpu", "ratio", "p50", "p99");
    for (at, (_, name)) in Kind::ALL.iter().enumerate() {
        rounds.sort_by(|a, b| (a[at].rate / a[0].rate).total_cmp(&(b[at].rate / b[0].rate)));
        let round = &rounds[rounds.len() / 2];
        let Figures { rate, cpu, p50, p99 } = &round[at];
        println!("{name:>10} {rate:>9.0} {cpu:>9.2} {:>7.2} {p50:>9} {p99:>9}", rate / round[0].rate);
    }
    Ok(())
}

/// Writes what `wrk` sends.
pub(crate) fn script(folder: &Path, kind: Kind, filled: &Filled) -> anyhow::Result<PathBuf> {
    let mut lua = String::from("local keys = {\n");
    for number in 0..filled.size.min(ASKED) {
        writeln!(lua, "\"{}\",", kind.key(number, filled.size))?;
    }
    write!(
        lua,
        "}}\nlocal n = #keys\nlocal headers = {{ [\"Content-Type\"] = \"application/json\", [\"X-API-Key\"] = \"{}\" }}\n\
         function request()\n\
         return wrk.format(\"POST\", nil, headers, '{{\"key\":\"' .. keys[math.random(n)] .. '\",\"scope\":\"contacts:read\"}}')\nend\n",
        filled.instance.management_key
    )?;
    let path = folder.join(format!("{}.lua", Kind::ALL.iter().position(|(other, _)| *other == kind).unwrap_or(0)));
    std::fs::write(&path, lua)?;
    Ok(path)
}

/// Sends requests for a while from one processor. All of them must be answered with 200; the time of all these servers counts.
pub(crate) fn run(
    options: &Options,
    connections: u32,
    servers: &[&Server],
    url: &str,
    script: &Path,
) -> anyhow::Result<Figures> {
    let time = || servers.iter().map(|server| server.processor_time()).sum::<anyhow::Result<Duration>>();
    let before = time()?;
    let out = Command::new("taskset")
        .args(["-c", "1", "wrk", "-t1", &format!("-c{connections}"), &format!("-d{}s", options.seconds)])
        .args(["--latency", "-s"])
        .arg(script)
        .arg(url)
        .output()
        .context("wrk is needed (Debian package wrk)")?;
    let spent = time()?.saturating_sub(before);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    if text.contains("Non-2xx") || !out.status.success() {
        bail!("requests failed:\n{text}");
    }
    let word = |name: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(name));
        line.and_then(|line| line.split_whitespace().last()).unwrap_or("-").to_owned()
    };
    let counted = |line: &str| line.trim().split_once(" requests in ").and_then(|(n, _)| n.parse::<f64>().ok());
    let requests = text.lines().find_map(counted).context("wrk counted nothing")?;
    let cpu = spent.as_secs_f64() * 1e6 / requests;
    Ok(Figures { rate: word("Requests/sec:").parse()?, cpu, p50: word("50%"), p99: word("99%") })
}
