//! Changes: verifying while keys are made and revoked all the time, and how long a revocation takes until it holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use keyrack_bench::instance::Server;
use keyrack_client::wire::{CreateKey, RevokeKey, VerifyKey};
use keyrack_client::{Client, HttpTransport};

use crate::Options;
use crate::filled::Filled;
use crate::load::{self, Kind};

/// How many changes there are to be in a second.
const WANTED: u64 = 1000;
/// How many make them.
const HANDS: u64 = 16;
/// How many keys are revoked to see how long that takes.
const REVOCATIONS: usize = 1000;
/// Nodes on PostgreSQL.
const NODES: usize = 3;

type Http = Client<HttpTransport>;

/// Prints both.
pub(crate) fn measure(options: &Options, filled: &Filled) -> anyhow::Result<()> {
    let nodes = if filled.kind == "postgres" { NODES } else { 1 };
    let servers: anyhow::Result<Vec<Server>> =
        (0..nodes).map(|node| filled.instance.serve(if node == 0 { "0" } else { "0-1023" })).collect();
    let servers = servers?;
    let clients: anyhow::Result<Vec<Arc<Http>>> = servers.iter().map(|server| client(server, filled)).collect();
    let clients = clients?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let revocations = runtime.block_on(revoke(&clients))?;
    println!(
        "changes: {} keys, {}, {nodes} node(s): a revocation is answered in {:.1} ms, 99 of 100 in {:.1} ms; {} of {} \
         requests after the answer were let in",
        filled.size,
        filled.kind,
        revocations.took[REVOCATIONS / 2].as_secs_f64() * 1e3,
        revocations.took[REVOCATIONS * 99 / 100].as_secs_f64() * 1e3,
        revocations.let_in,
        REVOCATIONS * nodes,
    );
    let folder = tempfile::tempdir()?;
    let script = load::script(folder.path(), Kind::Good, filled)?;
    let url = format!("{}/api/verify", servers[0].url);
    let quiet = load::run(options, options.connections, &[&servers[0]], &url, &script)?;
    let (over, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    for hand in 0..HANDS {
        runtime.spawn(change(clients[0].clone(), hand, Arc::clone(&over), Arc::clone(&done)));
    }
    let ((), alone) = changes_during(&done, || {
        std::thread::sleep(Duration::from_secs(options.seconds));
        Ok(())
    })?;
    let (busy, beside) =
        changes_during(&done, || load::run(options, options.connections, &[&servers[0]], &url, &script))?;
    over.store(true, Ordering::Relaxed);
    println!(
        "changes: {} keys, {}: {:.0} verified a second (p99 {}) alone, {:.0} (p99 {}) during {beside:.0} changes a second; \
         {alone:.0} changes alone, of {WANTED} wanted",
        filled.size, filled.kind, quiet.rate, quiet.p99, busy.rate, busy.p99,
    );
    Ok(())
}

/// What something came to, and how many changes were made in a second meanwhile.
fn changes_during<T>(done: &AtomicU64, run: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(T, f64)> {
    let (begun, before) = (Instant::now(), done.load(Ordering::Relaxed));
    let result = run()?;
    let changes = done.load(Ordering::Relaxed) - before;
    Ok((result, f64::from(u32::try_from(changes)?) / begun.elapsed().as_secs_f64()))
}

fn client(server: &Server, filled: &Filled) -> anyhow::Result<Arc<Http>> {
    Ok(Arc::new(Client::new(HttpTransport::new(&server.url)?, Some(&filled.instance.management_key))?))
}

struct Revocations {
    /// In order.
    took: Vec<Duration>,
    let_in: usize,
}

/// Makes a key at one node, revokes it at the next, and asks all of them afterwards.
async fn revoke(nodes: &[Arc<Http>]) -> anyhow::Result<Revocations> {
    let (mut took, mut let_in) = (Vec::with_capacity(REVOCATIONS), 0);
    let run = std::process::id();
    for round in 0..REVOCATIONS {
        let name = Some(format!("{run} {round}"));
        let made = nodes[round % nodes.len()].create_key(&CreateKey { name, ..CreateKey::default() }).await?;
        let key = made.secret.context("a new key has no text")?;
        let begun = Instant::now();
        nodes[(round + 1) % nodes.len()].revoke_key(made.key.id, &RevokeKey::default()).await?;
        took.push(begun.elapsed());
        for node in nodes {
            let question = VerifyKey { key: key.clone(), ..VerifyKey::default() };
            let_in += usize::from(node.verify_key(&question).await?.valid);
        }
    }
    took.sort_unstable();
    Ok(Revocations { took, let_in })
}

/// Makes keys and revokes them, as often as its share of the changes wants.
async fn change(node: Arc<Http>, hand: u64, over: Arc<AtomicBool>, done: Arc<AtomicU64>) {
    let mut turn = tokio::time::interval(Duration::from_micros(2 * HANDS * 1_000_000 / WANTED));
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let run = std::process::id();
    for round in 0_u64.. {
        turn.tick().await;
        if over.load(Ordering::Relaxed) {
            return;
        }
        let name = Some(format!("{run} {hand} {round}"));
        let Ok(made) = node.create_key(&CreateKey { name, ..CreateKey::default() }).await else { continue };
        done.fetch_add(1, Ordering::Relaxed);
        if node.revoke_key(made.key.id, &RevokeKey::default()).await.is_ok() {
            done.fetch_add(1, Ordering::Relaxed);
        }
    }
}
