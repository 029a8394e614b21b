//! The load bench: a whole server beside a constant reply of the same process, the decision inside one process, how a server
//! starts with many keys, what doors cost, and what changes cost, here and among several nodes.
//!
//! The server gets one processor, `wrk` another. Requests per second wander on shared machines; what counts is the
//! processor time per request and the ratio of runs taken in turn.

#![expect(clippy::print_stdout, reason = "this program prints a report")]

mod changes;
mod doors;
mod filled;
mod inside;
mod limits;
mod load;
mod pages;
mod scripts;
mod sealing;
mod sign_ins;
mod start;
mod tower_layer;

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Parser, ValueEnum};
use keyrack_testkit::postgres::PrivateCluster;

use crate::filled::Filled;

/// As the server has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures a server under load.
#[derive(Parser)]
struct Options {
    /// What to measure; all of it if nothing is named
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// The server to measure, built with --release --features bench
    #[arg(long, default_value = "target/release/keyrack")]
    keyrack: PathBuf,
    /// Where filled databases are kept for the next time
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
    /// Sizes of the keyring, with commas between
    #[arg(long, default_value = "1000,1000000", value_delimiter = ',')]
    keys: Vec<u64>,
    /// On a private PostgreSQL server too, which is started for the purpose
    #[arg(long)]
    postgres: bool,
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

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Requests over HTTP, of good, unknown and malformed keys, beside a constant reply
    Load,
    /// The decision inside one process
    Inside,
    /// The same with limits and quota, and without
    Limits,
    /// The gateway and /forward-auth, beside nginx
    Doors,
    /// How long a server takes to start, and its memory
    Start,
    /// Verifying while keys are made and revoked, and how long a revocation takes
    Changes,
    /// Pages of the console
    Pages,
    /// Verifying while somebody guesses passwords
    SignIns,
    /// Scripts behind routes, and verifying beside scripts that never end
    Scripts,
    /// Sealing and opening, and giving a caller its secret
    Sealing,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if !options.keyrack.exists() {
        bail!("build the server first: cargo build --release -p keyrack --features bench");
    }
    let cluster = if options.postgres { Some(PrivateCluster::start().context("no PostgreSQL is here")?) } else { None };
    let wants = |part| options.parts.is_empty() || options.parts.contains(&part);
    if wants(Part::Sealing) {
        sealing::measure()?;
    }
    if options.parts == [Part::Sealing] {
        return Ok(());
    }
    for size in &options.keys {
        let sqlite = Filled::on_sqlite(&options, *size).with_context(|| format!("filling SQLite with {size} keys"))?;
        if wants(Part::Load) {
            load::measure(&options, &sqlite)?;
        }
        if wants(Part::Inside) {
            inside::measure(&options, &sqlite)?;
        }
        if wants(Part::Limits) {
            limits::measure(&options, &sqlite)?;
        }
        if wants(Part::Doors) {
            doors::measure(&options, &sqlite)?;
        }
        if wants(Part::Scripts) {
            scripts::measure(&options, &sqlite)?;
        }
        if wants(Part::SignIns) {
            sign_ins::measure(&options, &sqlite)?;
        }
        let postgres = match &cluster {
            Some(cluster) if wants(Part::Start) || wants(Part::Changes) || wants(Part::Pages) => {
                Some(Filled::on_postgres(&options, cluster, *size).context("filling PostgreSQL")?)
            }
            _ => None,
        };
        for filled in [Some(&sqlite), postgres.as_ref()].into_iter().flatten() {
            if wants(Part::Start) {
                start::measure(&options, filled)?;
            }
            if wants(Part::Changes) {
                changes::measure(&options, filled)?;
            }
            if wants(Part::Pages) {
                pages::measure(&options, filled)?;
            }
        }
    }
    Ok(())
}
