//! The timing test: whether an outsider can tell by the clock for which reason a credential is refused with 401.
//!
//! In the manner of dudect (Reparaz, Balasch, Verbauwhede 2017): many measurements of each class of keys, the class of each
//! drawn at random, and Welch's t-test between any two. A |t| below 4.5 means that so many measurements do not tell the two
//! apart. Junk is no class: what has no key's form or a wrong checksum is refused before the look-up, on purpose, and tells
//! nobody anything but what they sent.

#![expect(clippy::print_stdout, reason = "this program prints a report")]

mod classes;
mod loopback;
mod process;
mod welch;

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Parser;
use keyrack_bench::instance::Instance;

use classes::{Class, Order};
use welch::Classes;

/// Tests whether refusals can be told apart by how long they take.
#[derive(Parser)]
struct Options {
    /// The server to measure, built with --release
    #[arg(long, default_value = "target/release/keyrack")]
    keyrack: PathBuf,
    /// Sizes of the keyring, with commas between: one that the caches hold, and one that they do not
    #[arg(long, default_value = "10000,1000000", value_delimiter = ',')]
    keys: Vec<u64>,
    /// Measurements of each class in process; 0 for none
    #[arg(long, default_value_t = 1_000_000)]
    in_process: u32,
    /// Measurements of each class over loopback, for each door; 0 for none
    #[arg(long, default_value_t = 100_000)]
    loopback: u32,
    /// Where the drawing of classes starts
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// About so many different keys are measured, with small keyrings in several rounds: where in memory one of them lies is worth
/// more nanoseconds than what is sought.
const DIFFERENT: u64 = 500_000;
/// What is called a difference.
const TELLABLE: f64 = 4.5;

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let mut greatest = 0.0_f64;
    for size in &options.keys {
        greatest = greatest.max(measure(&options, *size).with_context(|| format!("with {size} keys"))?);
    }
    if greatest >= TELLABLE {
        bail!("refusals can be told apart: |t| = {greatest:.2}");
    }
    println!("no two refusals can be told apart: |t| < {TELLABLE} throughout");
    Ok(())
}

/// The greatest |t| with a keyring of this size.
fn measure(options: &Options, size: u64) -> anyhow::Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let rounds = u32::try_from(DIFFERENT / size)?.clamp(1, 50);
    let mut greatest = 0.0_f64;
    let mut measured = None;
    for round in 0..rounds {
        let numbers = u64::from(round) * size..u64::from(round + 1) * size;
        let folder = tempfile::tempdir()?;
        let database = format!("sqlite:{}", folder.path().join("timing.db").display());
        let instance = Instance::make(&options.keyrack, database, folder.path().join("keyfile"))?;
        let (doors, engine) = runtime.block_on(async {
            let doors = classes::prepare(&instance).await?;
            classes::fill(&instance, doors, numbers.clone()).await?;
            anyhow::Ok((doors, process::engine(&instance).await?))
        })?;
        if options.in_process > 0 {
            let samples = f64::from(options.in_process) * f64::from(round + 1) / f64::from(rounds);
            let mut order = Order::new(numbers.clone(), &instance.pepper()?, options.seed);
            process::measure(&engine, doors, &mut order, samples, &mut measured)?;
        }
        runtime.block_on(engine.close());
        if round + 1 < rounds {
            continue;
        }
        if let Some(measured) = &measured {
            greatest = greatest.max(report(&format!("in process, {size} keys"), measured));
        }
        if options.loopback > 0 {
            let server = instance.serve("0")?;
            // The gateway's door is the first organization's; /api is everybody's.
            let pepper = instance.pepper()?;
            let all = || Order::new(numbers.clone(), &pepper, options.seed);
            for (door, path, mut order) in
                [("the gateway", classes::DOOR, all().at_door(0)), ("/api", "/api/keys", all())]
            {
                let measured = loopback::measure(&server.url, path, &mut order, options.loopback)?;
                greatest = greatest.max(report(&format!("over loopback at {door}, {size} keys"), &measured));
            }
        }
    }
    Ok(greatest)
}

/// Prints each pair of classes, and returns the greatest |t|.
fn report(title: &str, measured: &Classes) -> f64 {
    println!("\n{title}: of each class {} measurements of {} texts", measured.fewest(), measured.fewest_texts());
    for class in Class::ALL {
        let (mean, cropped) = measured.means(class as usize);
        println!("  {:>12}: mean {mean:>9.1} ns, without the slowest tenth {cropped:>9.1} ns", class.name());
    }
    println!("  {:>12}   {:<12} {:>8} {:>12}", "", "", "t of all", "greatest |t|");
    let mut greatest = 0.0_f64;
    for (at, one) in Class::ALL.iter().enumerate() {
        for other in &Class::ALL[at + 1..] {
            let (whole, worst) = measured.compare(*one as usize, *other as usize);
            let mark = if worst >= TELLABLE { "  TELLABLE" } else { "" };
            println!("  {:>12} - {:<12} {whole:>8.2} {worst:>12.2}{mark}", one.name(), other.name());
            greatest = greatest.max(worst);
        }
    }
    greatest
}
