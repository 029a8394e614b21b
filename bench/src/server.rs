//! The server that is measured: how it starts, and what it takes.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::Options;
use crate::instance::Instance;

/// A running server. Killed on drop.
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) url: String,
    /// How long it took to start.
    pub(crate) start: Duration,
}

impl Server {
    /// Starts one, on these processors only.
    pub(crate) fn start(options: &Options, instance: &Instance, processors: &str) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let mut child = Command::new("taskset")
            .args(["-c", processors])
            .arg(&options.keyrack)
            .args(["serve", "--listen", "127.0.0.1:0", "--log-level", "warn", "--database", &instance.database])
            .arg("--keyfile")
            .arg(&instance.keyfile)
            .stdout(Stdio::piped())
            .spawn()
            .context("taskset (util-linux) is needed")?;
        let mut lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        let url = lines.find_map(|line| line.ok()?.strip_prefix("keyrack listens on ").map(str::to_owned));
        Ok(Self { child, url: url.context("the server did not start")?, start: begun.elapsed() })
    }

    /// User and system time spent so far.
    pub(crate) fn processor_time(&self) -> anyhow::Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        // Hundredths of a second.
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Resident memory in megabytes.
    pub(crate) fn resident(&self) -> anyhow::Result<f64> {
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

/// Prints how long it takes to start, on one processor and on all, and its memory then.
pub(crate) fn measure(options: &Options, instance: &Instance) -> anyhow::Result<()> {
    let binary = std::fs::metadata(&options.keyrack)?.len();
    for processors in ["0", "0-1023"] {
        let mut starts = Vec::new();
        let mut resident = 0.0;
        for _ in 0..options.rounds {
            let server = Server::start(options, instance, processors)?;
            resident = server.resident()?;
            starts.push(server.start);
        }
        starts.sort_unstable();
        println!(
            "start: {:>10} keys, {:>8}, processors {processors:>6}: {:.3} s, {resident:.0} MB resident; the program has {} MB",
            instance.size,
            instance.kind,
            starts[starts.len() / 2].as_secs_f64(),
            binary / 1_000_000,
        );
    }
    Ok(())
}
