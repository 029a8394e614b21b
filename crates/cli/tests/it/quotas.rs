//! Monthly quotas under all that can go wrong: asked by a thousand at once, killed, shared by several processes. Never is one
//! unit granted too many, and never one twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keyrack_testkit::postgres::PrivateCluster;
use keyrack_testkit::{Database, Keyrack, both_databases};
use serde_json::{Value, json};

use crate::asker::Asker;
use crate::support::KEYRACK;

/// How often the server is killed while it is asked.
const KILLS: u32 = 100;
/// How many ask at once while it is.
const CALLERS: usize = 8;

async fn set_limit(keyrack: &Keyrack, limit: u64) {
    let change = async |path: &str, body: Value| {
        keyrack.owner().request("PATCH", path).json(&body).send().await.expect_status(200);
    };
    change("/api/tiers", json!({"free": {"monthly_limit": limit}})).await;
    change(&format!("/api/organizations/{}", keyrack.organization_id), json!({"quota_used": 0})).await;
}

async fn quota(keyrack: &Keyrack) -> Value {
    let path = format!("/api/organizations/{}/quota", keyrack.organization_id);
    keyrack.owner().get(&path).send().await.expect_status(200).json()
}

fn start(database: Database) -> Keyrack {
    Keyrack::setup(KEYRACK, database).tier("free").start()
}

both_databases! {
    async fn a_thousand_at_once_get_exactly_what_there_is(database: Database) {
        let keyrack = start(database);
        let asker = Asker::new(&keyrack, &json!({"name": "asked"})).await;
        for limit in [1, 2, 3, 10, 99, 100, 101, 333, 1000] {
            set_limit(&keyrack, limit).await;
            assert_eq!(asker.drain(1000, "QUOTA_EXCEEDED").await, limit);
            assert_eq!(quota(&keyrack).await["used"], limit);
        }
    }

    async fn a_server_that_is_killed_grants_nothing_twice(database: Database) {
        const LIMIT: u64 = 100_000;
        let mut keyrack = Keyrack::setup(KEYRACK, database).tier("pro").at_one_address().start();
        let asker = Asker::new(&keyrack, &json!({"name": "asked"})).await;
        let granted = Arc::new(AtomicU64::new(0));
        let callers: Vec<_> = (0..CALLERS).map(|_| tokio::spawn(call(asker.clone(), Arc::clone(&granted)))).collect();
        for kill in 0..KILLS {
            let before = granted.load(Ordering::SeqCst);
            // In the middle of granting, each time after some more.
            let begun = Instant::now();
            while granted.load(Ordering::SeqCst) < before + u64::from(kill % 10) * 20 + 1 && begun.elapsed() < Duration::from_secs(5) {
                tokio::task::yield_now().await;
            }
            tokio::task::block_in_place(|| {
                keyrack.crash();
                keyrack.start_again();
            });
        }
        for caller in callers {
            caller.abort();
            let _ = caller.await;
        }
        let rest = asker.drain(64, "QUOTA_EXCEEDED").await;
        let told = granted.load(Ordering::SeqCst) + rest;
        assert!(told <= LIMIT, "{told} were granted");
        assert!(granted.load(Ordering::SeqCst) >= KILLS.into(), "it was killed while it granted");
        assert_eq!(quota(&keyrack).await["used"], LIMIT, "what was held at a kill is lost, and nothing else is left");
        // A block is a thousand at most, and the next one may have been fetched ahead.
        assert!(LIMIT - told <= u64::from(KILLS) * 2_000, "{told} of {LIMIT}");
    }
}

/// Asks until it is stopped; a server that is away is asked again.
async fn call(asker: Asker, granted: Arc<AtomicU64>) {
    loop {
        let request = asker.http.post("/api/verify").json(&json!({"key": asker.secret}));
        match request.try_send().await {
            Ok(answer) if answer.status == 200 && answer.json()["valid"] == true => {
                granted.fetch_add(1, Ordering::SeqCst);
            }
            _ => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_processes_share_a_quota_and_what_one_does_not_spend_another_gets() {
    const LIMIT: u64 = 600;
    let Some(cluster) = tokio::task::block_in_place(PrivateCluster::start) else { return };
    let keyrack =
        Keyrack::setup(KEYRACK, Database::Postgres).database_url(cluster.fresh_database()).tier("free").start();
    let (second, third) = (keyrack.another(), keyrack.another());
    let first = Asker::new(&keyrack, &json!({"name": "asked"})).await;
    let all = [first.clone(), first.at(&second.http(), &keyrack), first.at(&third.http(), &keyrack)];
    for round in 0..2 {
        set_limit(&keyrack, LIMIT).await;
        for one in &all {
            assert_eq!(one.ask().await, "VALID", "each holds some");
        }
        let begun = Instant::now();
        let mut granted = 3 + if round == 0 {
            // All of them together, as hard as they can.
            let [one, two, three] = &all;
            let (one, two, three) = tokio::join!(
                one.drain(50, "QUOTA_EXCEEDED"),
                two.drain(50, "QUOTA_EXCEEDED"),
                three.drain(50, "QUOTA_EXCEEDED")
            );
            one + two + three
        } else {
            // One of them gets all of it, since the others have stopped asking.
            0
        };
        while granted < LIMIT && begun.elapsed() < Duration::from_secs(20) {
            granted += first.drain(10, "QUOTA_EXCEEDED").await;
        }
        assert_eq!(granted, LIMIT);
        assert!(begun.elapsed() < Duration::from_secs(8), "units came back after {:?}", begun.elapsed());
        for one in &all {
            assert_eq!(one.ask().await, "QUOTA_EXCEEDED");
        }
        assert_eq!(quota(&keyrack).await["used"], LIMIT);
    }
}
