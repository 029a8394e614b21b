//! Decisions in this process: nothing but the engine.

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use anyhow::{Context as _, bail};
use keyrack_bench::instance::Instance;
use keyrack_core::carrier::Carried;
use keyrack_core::decide::{Outward, Place};
use keyrack_core::guard::{Audience, Demand};
use keyrack_core::{Guard, Reason};
use keyrack_engine::{Call, Charge, Engine, EngineRole, OsRandom, Parts, Presented, SystemClock};

use crate::classes::{Class, Doors, Drawn, Order};
use crate::welch::Classes;

/// Measurements that set the thresholds, and are not counted.
const TRIAL: usize = 20_000;
/// Texts that are laid out beforehand, one behind the other whatever their class.
const BATCH: usize = 4096;

/// An engine on the instance, with all keys in memory.
pub(crate) async fn engine(instance: &Instance) -> anyhow::Result<Arc<Engine>> {
    let parts = Parts {
        store: instance.store().await?,
        clock: Arc::new(SystemClock),
        random: Arc::new(OsRandom::default()),
        peppers: vec![instance.pepper()?],
        master_keys: Vec::new(),
        keyfile: None,
        master_key_days: None,
    };
    Ok(Engine::start(parts, EngineRole::Guest { keys: true }).await?)
}

/// Measures until there are so many decisions of each class. The first round sets the thresholds.
pub(crate) fn measure(
    engine: &Engine,
    doors: Doors,
    order: &mut Order,
    samples: f64,
    measured: &mut Option<Classes>,
) -> anyhow::Result<()> {
    let demand = Demand::Scope("contacts:read".parse()?);
    let guards = doors.map(|door| Guard { demand: Some(demand.clone()), ..Guard::new(Audience::Own(door)) });
    // Also warms up.
    let mut trial = Vec::with_capacity(TRIAL);
    while trial.len() < TRIAL {
        batch(engine, &guards, order, |_, _, nanoseconds| trial.push(nanoseconds))?;
    }
    let measured = measured.get_or_insert_with(|| Classes::new(Class::ALL.len(), trial));
    while measured.fewest() < samples {
        batch(engine, &guards, order, |class, text, nanoseconds| measured.take(class as usize, text, nanoseconds))?;
    }
    measured.end_round();
    Ok(())
}

fn batch(
    engine: &Engine,
    guards: &[Guard; 2],
    order: &mut Order,
    mut take: impl FnMut(Class, usize, f64),
) -> anyhow::Result<()> {
    let batch: Vec<_> = std::iter::repeat_with(|| order.draw()).take(BATCH).collect();
    for (at, Drawn { door, class, text }) in batch {
        let presented = Presented {
            credential: Carried::Key(Cow::Borrowed(std::str::from_utf8(&text)?)),
            session: None,
            method: "GET",
            address: Some([127, 0, 0, 1].into()),
            place: Place::Nowhere,
            charge: Charge::Units(1),
            call: Call::default(),
        };
        let guard = &guards[door];
        let start = Instant::now();
        let reason = refusal(engine, guard, &presented);
        let nanoseconds = start.elapsed().as_secs_f64() * 1e9;
        let reason = reason?;
        if reason != expected(class) || reason.outward() != Outward::Unauthorized {
            bail!("a key of the class {} was refused as {}", class.name(), reason.code());
        }
        take(class, at, nanoseconds);
    }
    Ok(())
}

/// Never inlined, so that what is done with the answer is no part of what is measured.
#[inline(never)]
fn refusal(engine: &Engine, guard: &Guard, presented: &Presented<'_>) -> anyhow::Result<Reason> {
    // A decision about a key whose digest is in memory waits for nothing.
    let Poll::Ready(verdict) = pin!(engine.verify(guard, presented)).poll(&mut Context::from_waker(Waker::noop()))
    else {
        bail!("a decision waited");
    };
    verdict?.reason().context("a key was let in")
}

fn expected(class: Class) -> Reason {
    match class {
        Class::Unknown | Class::Wrong => Reason::NotFound,
        Class::Revoked => Reason::Revoked,
        Class::Expired => Reason::Expired,
        Class::Disabled => Reason::Disabled,
        Class::Foreign => Reason::WrongOrganization,
    }
}
