//! Sealing and opening, and what it takes to give a caller its secret.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use keyrack_core::seal::{DataKey, NONCE, place};
use keyrack_core::{DataKeyId, GroupId, KeyId};
use keyrack_engine::{
    Context, Engine, EngineRole, Keyfile, NewInstance, NewSecret, OsRandom, Parts, Random, Seeker, Store, SystemClock,
};
use uuid::Uuid;

/// How many values are sealed, each under a nonce of its own.
const SEALINGS: usize = 10_000_000;
/// How many secrets there are to choose from, and how often one is asked for.
const SECRETS: usize = 1000;
const ASKED: usize = 2_000_000;
/// As long as the address of a database.
const VALUE: &[u8] = b"postgres://reporting:a-password-of-some-length@db.internal/prod";

/// Prints what a sealing, an opening and a look at a caller's secret take, and fails if a nonce came twice.
pub(crate) fn measure() -> anyhow::Result<()> {
    seal_and_open()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let directory = tempfile::tempdir()?;
    let (engine, ctx) = runtime.block_on(furnished(directory.path()))?;
    let nobody = Seeker { organization: ctx.organization, route: None, group: None, key: None };
    let somebody = Seeker { group: Some(GroupId(Uuid::from_u128(1))), key: Some(KeyId(Uuid::from_u128(2))), ..nobody };
    let names: Vec<String> = (0..SECRETS).map(name).collect();
    for (who, seeker) in [("without a key", nobody), ("with a key that has none of its own", somebody)] {
        let begun = Instant::now();
        for at in 0..ASKED {
            let secret = engine.secret_for(&seeker, &names[at * 7919 % SECRETS])?;
            ensure!(secret.is_some_and(|secret| secret.expose().len() == VALUE.len()), "a secret is missing");
        }
        println!("secrets: of {SECRETS}, {who:>36}: {:>5.0} ns", nanoseconds(begun, ASKED));
    }
    Ok(())
}

fn nanoseconds(begun: Instant, times: usize) -> f64 {
    begun.elapsed().as_secs_f64() * 1e9 / f64::from(u32::try_from(times).unwrap_or(u32::MAX))
}

fn name(number: usize) -> String {
    format!("SECRET_{number}")
}

fn seal_and_open() -> anyhow::Result<()> {
    let random: &dyn Random = &OsRandom::default();
    let key = DataKey::new(DataKeyId(Uuid::from_u128(7)), &random.bytes()?).context("a data key")?;
    let place = place(&[b"secret", &[7; 16], &[8; 16], b"global", b"DATABASE_URL"]);
    let mut nonces: Vec<[u8; NONCE]> = Vec::with_capacity(SEALINGS);
    let begun = Instant::now();
    let mut last = Vec::new();
    for _ in 0..SEALINGS {
        let nonce = random.bytes()?;
        last = key.seal(&place, VALUE, nonce).context("a value could not be sealed")?;
        nonces.push(nonce);
    }
    println!(
        "sealing: {:>10} values of {} bytes: {:>5.0} ns each",
        SEALINGS,
        VALUE.len(),
        nanoseconds(begun, SEALINGS)
    );
    let begun = Instant::now();
    for _ in 0..SEALINGS / 10 {
        ensure!(key.open(&place, &last).is_some_and(|value| value.len() == VALUE.len()), "a value does not open");
    }
    println!(
        "opening: {:>10} values of {} bytes: {:>5.0} ns each",
        SEALINGS / 10,
        VALUE.len(),
        nanoseconds(begun, SEALINGS / 10)
    );
    nonces.sort_unstable();
    ensure!(nonces.windows(2).all(|pair| pair[0] != pair[1]), "a nonce came twice");
    println!("nonces:  {:>10} drawn, none twice", nonces.len());
    Ok(())
}

async fn furnished(directory: &std::path::Path) -> anyhow::Result<(Arc<Engine>, Context)> {
    let keyfile = Keyfile::create(&directory.join("keys"), &OsRandom::default())?;
    let clock = Arc::new(SystemClock);
    let store =
        Store::open(&format!("sqlite:{}", directory.join("k.db").display()), keyrack_engine::Clock::now(&*clock))
            .await?;
    let parts = Parts {
        store,
        clock,
        random: Arc::new(OsRandom::default()),
        peppers: keyfile.peppers(),
        master_keys: keyfile.master_keys(),
        keyfile: None,
        master_key_days: None,
    };
    let engine = Engine::start(parts, EngineRole::Server).await?;
    let new = NewInstance {
        slug: "bench".to_owned(),
        name: None,
        tier: None,
        owner_email: "owner@example.com".to_owned(),
        owner_password: "a password of the bench".to_owned(),
        with_management_key: false,
    };
    let made = engine.initialize(new).await?.context("it is there already")?;
    let ctx = Context::host(made.organization);
    for number in 0..SECRETS {
        let value = std::str::from_utf8(VALUE)?.to_owned().into();
        let new = NewSecret { name: name(number), value, scope: "global".to_owned(), owner: None, comment: None };
        engine.create_secret(&ctx, new).await?;
    }
    Ok((engine, ctx))
}
