//! What limits and quota cost: the same server with all of them, and with none.

use std::process::{Command, Stdio};

use anyhow::bail;
use keyrack_bench::instance::Server;

use crate::filled::Filled;
use crate::load::{Kind, run, script};
use crate::{Options, inside};

/// More units than any bench asks for.
const PLENTY: &str = "4000000000000000";

/// How much is limited.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Limits {
    Nothing,
    /// A quota, and two windows of the key's group.
    Usual,
    /// Two windows of its organization beside.
    All,
}

const ALL: [(Limits, &str); 3] =
    [(Limits::Nothing, "nothing"), (Limits::Usual, "quota, 2 windows"), (Limits::All, "quota, 4 windows")];

/// Prints what requests cost with and without, taken in turn in one process, and decisions inside one process.
pub(crate) fn measure(options: &Options, filled: &Filled) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let kinds = [(Kind::Good, "good"), (Kind::Hot, "one key")];
    println!("limits: {} keys", filled.size);
    {
        let server = filled.instance.serve("0")?;
        let mut runs = vec![Vec::new(); ALL.len() * kinds.len()];
        for _ in 0..options.rounds {
            let mut unlimited = Vec::new();
            for (at, (limits, _)) in ALL.into_iter().enumerate() {
                switch(options, filled, Some(&server), limits)?;
                for (kind_at, (kind, _)) in kinds.into_iter().enumerate() {
                    let script = script(folder.path(), kind, filled)?;
                    let url = format!("{}/api/verify", server.url);
                    let run = run(options, options.connections, &[&server], &url, &script)?;
                    if limits == Limits::Nothing {
                        unlimited.push(run.rate);
                    }
                    runs[at * kinds.len() + kind_at].push((run.rate / unlimited[kind_at], run.rate, run.cpu));
                }
            }
        }
        println!("{:>10} {:>18} {:>9} {:>7} {:>9}", "kind", "limited by", "a second", "ratio", "us");
        for (at, mut runs) in runs.into_iter().enumerate() {
            let ((_, limits), (_, kind)) = (ALL[at / kinds.len()], kinds[at % kinds.len()]);
            runs.sort_by(|a, b| a.0.total_cmp(&b.0));
            let (ratio, rate, cpu) = runs[runs.len() / 2];
            println!("{kind:>10} {limits:>18} {rate:>9.0} {ratio:>7.2} {cpu:>9.2}");
        }
    }
    for (limits, name) in ALL {
        switch(options, filled, None, limits)?;
        println!("limited by {name}:");
        inside::measure(options, filled)?;
    }
    switch(options, filled, None, Limits::Nothing)
}

/// Gives the organization and its group what is limited, and takes away what is not.
fn switch(options: &Options, filled: &Filled, server: Option<&Server>, limits: Limits) -> anyhow::Result<()> {
    let organization = |rest: &[&'static str]| [&["organizations", "update", "bench", "--tier"], rest].concat();
    let windows = ["--rate-limit", "1000000000/1s", "--rate-limit", "1000000000/1h"];
    let group = ["groups", "limit", "default"];
    let commands = match limits {
        Limits::Nothing => vec![organization(&["enterprise", "--no-rate-limits"]), group.to_vec()],
        Limits::Usual => vec![organization(&["pro", "--no-rate-limits"]), [&group[..], &windows].concat()],
        Limits::All => vec![organization(&[&["pro"], &windows[..]].concat()), [&group[..], &windows].concat()],
    };
    for words in [vec!["tiers", "set", "pro", PLENTY]].into_iter().chain(commands) {
        let mut command = Command::new(&options.keyrack);
        command.args(&words).stdout(Stdio::null());
        match server {
            Some(server) => command.args(["--url", &server.url]).env("KEYRACK_KEY", &filled.instance.management_key),
            None => command.args(["--database", &filled.instance.database, "--keyfile"]).arg(&filled.instance.keyfile),
        };
        if !command.status()?.success() {
            bail!("keyrack {} failed", words.join(" "));
        }
    }
    Ok(())
}
