//! What limits and quota cost: the same server with all of them, and with none.

use std::process::{Command, Stdio};

use anyhow::bail;
use keyrack_bench::instance::Server;

use crate::filled::Filled;
use crate::load::{Kind, run, script};
use crate::{Options, inside};

/// More units than any bench asks for.
const PLENTY: &str = "4000000000000000";

/// Prints what requests cost with and without, taken in turn in one process, and decisions inside one process.
pub(crate) fn measure(options: &Options, filled: &Filled) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let kinds = [(Kind::Good, "good"), (Kind::Hot, "one key")];
    {
        let server = filled.instance.serve("0")?;
        let mut ratios = vec![Vec::new(); kinds.len()];
        for _ in 0..options.rounds {
            let mut rates = Vec::new();
            for are_on in [false, true] {
                switch(options, filled, Some(&server), are_on)?;
                for (kind, _) in kinds {
                    let script = script(folder.path(), kind, filled)?;
                    rates.push(run(options, &server, &script, "/api/verify")?);
                }
            }
            let (off, on) = rates.split_at(kinds.len());
            for (at, (off, on)) in off.iter().zip(on).enumerate() {
                ratios[at].push((on.rate / off.rate, off.rate, on.rate, off.cpu, on.cpu));
            }
        }
        println!("limits: {} keys", filled.size);
        println!("{:>10} {:>9} {:>9} {:>7} {:>9} {:>9}", "kind", "off", "on", "ratio", "us off", "us on");
        for ((_, name), mut ratios) in kinds.into_iter().zip(ratios) {
            ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
            let (ratio, off, on, cpu_off, cpu_on) = ratios[ratios.len() / 2];
            println!("{name:>10} {off:>9.0} {on:>9.0} {ratio:>7.2} {cpu_off:>9.2} {cpu_on:>9.2}");
        }
    }
    for are_on in [false, true] {
        switch(options, filled, None, are_on)?;
        println!("with {} limits:", if are_on { "all" } else { "no" });
        inside::measure(options, filled)?;
    }
    switch(options, filled, None, false)
}

/// Gives the organization a quota and rate limits, and its group rate limits, or takes all of it away.
fn switch(options: &Options, filled: &Filled, server: Option<&Server>, are_on: bool) -> anyhow::Result<()> {
    let organization = ["organizations", "update", "bench", "--tier"];
    let windows = ["--rate-limit", "1000000000/1m", "--rate-limit", "1000000000/1h"];
    let group = ["groups", "limit", "default"];
    let commands = if are_on {
        vec![
            vec!["tiers", "set", "pro", PLENTY],
            [&organization[..], &["pro"], &windows].concat(),
            [&group[..], &windows].concat(),
        ]
    } else {
        vec![[&organization[..], &["enterprise", "--no-rate-limits"]].concat(), group.to_vec()]
    };
    for words in commands {
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
