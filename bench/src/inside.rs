//! The decision inside one process, as a Rust service would ask for it.

use std::borrow::Cow;
use std::sync::{Arc, Barrier};
use std::time::Instant;

use anyhow::Context as _;
use keyrack_bench::instance::Instance;
use keyrack_core::carrier::Carried;
use keyrack_core::decide::Place;
use keyrack_core::guard::{Audience, Demand};
use keyrack_core::{Guard, PlainKey};
use keyrack_engine::{Call, Charge, Engine, EngineRole, OsRandom, Parts, Presented, SystemClock};

use crate::filled::Filled;
use crate::{Options, tower_layer};

/// How many decisions a run makes.
const DECISIONS: usize = 2_000_000;
/// The most different keys that are asked about: far more than the caches hold.
const ASKED: u64 = 200_000;

/// Prints what a decision costs for many keys in no order, for a few, for one, and for one from two threads.
pub(crate) fn measure(options: &Options, filled: &Filled) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let engine = runtime.block_on(open(&filled.instance))?;
    let organization = runtime.block_on(engine.default_organization())?.context("no organization")?;
    let demand = Some(Demand::Scope("contacts:read".parse()?));
    let guard = Guard { demand, ..Guard::new(Audience::Own(organization)) };
    let asked = filled.size.min(ASKED);
    let many: Vec<PlainKey> = (0..asked).map(|n| keyrack_bench::text(n * 7919 % filled.size)).collect();
    let few = &many[..many.len().min(1000)];
    for (name, keys, threads) in [
        ("in no order", &many[..], 1),
        ("of 1,000", few, 1),
        ("one key", &many[..1], 1),
        ("one key from two threads", &many[..1], 2),
    ] {
        let mut nanoseconds = Vec::new();
        for _ in 0..options.rounds {
            nanoseconds.push(run(&engine, &guard, keys, threads)?);
        }
        nanoseconds.sort_by(f64::total_cmp);
        println!("inside: {:>10} keys, {name:>24}: {:>5.0} ns", filled.size, nanoseconds[nanoseconds.len() / 2]);
    }
    tower_layer::measure(options, filled.size, (&engine, organization), &many)
}

async fn open(instance: &Instance) -> anyhow::Result<Arc<Engine>> {
    let store = instance.store().await?;
    let (clock, random) = (Arc::new(SystemClock), Arc::new(OsRandom::default()));
    let parts = Parts {
        store,
        clock,
        random,
        peppers: vec![instance.pepper()?],
        master_keys: Vec::new(),
        keyfile: None,
        master_key_days: None,
    };
    Ok(Engine::start(parts, EngineRole::Server).await?)
}

/// Nanoseconds that a decision takes each thread.
fn run(engine: &Arc<Engine>, guard: &Guard, keys: &[PlainKey], threads: usize) -> anyhow::Result<f64> {
    let together = Barrier::new(threads);
    let one = |offset: usize| -> anyhow::Result<f64> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        together.wait();
        let begun = Instant::now();
        runtime.block_on(async {
            for at in 0..DECISIONS {
                let text = keys[(at + offset) % keys.len()].expose();
                let presented = Presented {
                    credential: Carried::Key(Cow::Borrowed(text)),
                    session: None,
                    method: "GET",
                    address: None,
                    place: Place::Nowhere,
                    charge: Charge::Units(1),
                    call: Call::default(),
                };
                let verdict = engine.verify(guard, &presented).await?;
                anyhow::ensure!(verdict.reason().is_none(), "a good key is refused");
            }
            anyhow::Ok(())
        })?;
        Ok(begun.elapsed().as_secs_f64() * 1e9 / f64::from(u32::try_from(DECISIONS)?))
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|thread| scope.spawn(move || one(thread * 7))).collect();
        let mut worst: f64 = 0.0;
        for thread in all {
            worst = worst.max(thread.join().map_err(|_| anyhow::anyhow!("a thread failed"))??);
        }
        Ok(worst)
    })
}
