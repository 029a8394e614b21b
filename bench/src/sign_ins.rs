//! Signing in: verifying while somebody guesses passwords, of ever other accounts and from ever other addresses, so that nothing but
//! the room for slow hashes limits them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use keyrack_testkit::Http;
use serde_json::json;

use crate::Options;
use crate::filled::Filled;
use crate::load::{self, Kind};

/// How many guess at the same time.
const HANDS: u64 = 64;

/// Prints what verifying takes alone and beside guesses, in turn.
pub(crate) fn measure(options: &Options, filled: &Filled) -> anyhow::Result<()> {
    let server = filled.instance.serve_with("0", &["--trusted-proxies", "127.0.0.1"])?;
    let folder = tempfile::tempdir()?;
    let script = load::script(folder.path(), Kind::Good, filled)?;
    let url = format!("{}/api/verify", server.url);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    for _ in 0..options.rounds {
        let quiet = load::run(options, options.connections, &[&server], &url, &script)?;
        let over = Arc::new(AtomicBool::new(false));
        let counted: Arc<[AtomicU64; 2]> = Arc::default();
        for hand in 0..HANDS {
            runtime.spawn(guess(Http::new(&server.url), hand, Arc::clone(&over), Arc::clone(&counted)));
        }
        let busy = load::run(options, options.connections, &[&server], &url, &script)?;
        over.store(true, Ordering::Relaxed);
        let [hashed, refused] = [0, 1].map(|at: usize| counted[at].load(Ordering::Relaxed));
        println!(
            "sign-ins: {} keys, {}: {:.0} verified a second (p50 {}, p99 {}) alone, {:.0} (p50 {}, p99 {}) beside {} guesses, \
             of which {hashed} were hashed",
            filled.size,
            filled.kind,
            quiet.rate,
            quiet.p50,
            quiet.p99,
            busy.rate,
            busy.p50,
            busy.p99,
            hashed + refused,
        );
    }
    Ok(())
}

/// Guesses until it is over. A guess that was hashed is answered with 401, one that had no room with something else.
async fn guess(server: Http, hand: u64, over: Arc<AtomicBool>, counted: Arc<[AtomicU64; 2]>) {
    for round in 0_u64.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let who = json!({"email": format!("{hand}.{round}@example.com"), "password": "a guess of somebody's password"});
        let from = format!("2001:db8:{hand:x}:{:x}::1", round % 0xffff);
        let answer = server.post("/api/session").header("x-forwarded-for", &from).json(&who).send().await;
        counted[usize::from(answer.status != 401)].fetch_add(1, Ordering::Relaxed);
    }
}
