//! Counts of requests while there are many, and when the server is killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keyrack_testkit::{Database, Http, Keyrack, both_databases};
use serde_json::{Value, json};

use crate::support::{KEYRACK, text};

/// How many connections ask at once.
const CONNECTIONS: u64 = 64;
/// How many keys they ask about.
const KEYS: u64 = 10_000;
/// How many keys are looked at one by one afterwards.
const LOOKED_AT: u64 = 100;
/// How often the server is killed.
const KILLS: u32 = 8;
/// What a kill may lose.
const LOST: Duration = Duration::from_secs(1);
/// After how many kills it may have been more.
const LATE: usize = 2;

/// How many requests are sent: fewer than the million that can be asked for with `KEYRACK_TEST_REQUESTS`.
fn requests() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a setting of the tests")]
    let asked = std::env::var("KEYRACK_TEST_REQUESTS").ok().and_then(|number| number.parse().ok());
    asked.unwrap_or(20_000)
}

/// A key that is made elsewhere.
fn secret(number: u64) -> String {
    format!("a-key-made-elsewhere-{number:09}")
}

/// The ids of so many keys.
async fn import(keyrack: &Keyrack, keys: u64) -> Vec<String> {
    let mut ids = Vec::new();
    for first in (0..keys).step_by(1000) {
        let keys: Vec<Value> = (first..keys.min(first + 1000))
            .map(|number| json!({"name": format!("key {number}"), "key": secret(number)}))
            .collect();
        let made = keyrack.owner().post("/api/keys/import").json(&json!({"keys": keys})).send().await;
        let made = made.expect_status(201).json();
        ids.extend(made["data"].as_array().unwrap().iter().map(|key| text(&key["id"])));
    }
    ids
}

async fn granted(http: &Http, path: &str) -> u64 {
    http.get(path).send().await.expect_status(200).json()["total"]["granted"].as_u64().unwrap()
}

/// Which key the request with this number is about: in no order, and some more often than others.
fn drawn(number: u64) -> u64 {
    let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (((mixed >> 40) * ((mixed >> 16) & 0xff_ffff)) * KEYS) >> 48
}

both_databases! {
    async fn totals_are_the_requests_sent_however_many_come_at_once(database: Database) {
        let keyrack = Arc::new(Keyrack::start(KEYRACK, database));
        let ids = import(&keyrack, KEYS).await;
        let (all, next) = (requests(), Arc::new(AtomicU64::new(0)));
        let callers: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let (keyrack, next) = (Arc::clone(&keyrack), Arc::clone(&next));
                tokio::spawn(async move {
                    let http = keyrack.owner();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= all {
                            return;
                        }
                        let question = json!({"key": secret(drawn(number)), "method": "GET", "path": "/things"});
                        let answer = http.post("/api/verify").json(&question).send().await.expect_status(200);
                        assert_eq!(answer.json()["valid"], true);
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
        let owner = keyrack.owner();
        let until = Instant::now() + Duration::from_mins(2);
        while granted(&owner, "/api/usage").await < all && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(granted(&owner, "/api/usage?by=minute").await, all);
        assert_eq!(granted(&owner, "/api/usage?by=day&group=default").await, all);
        let mut expected = vec![0; ids.len()];
        for number in 0..all {
            expected[usize::try_from(drawn(number)).unwrap()] += 1;
        }
        for (id, expected) in ids.iter().zip(expected).step_by(usize::try_from(KEYS / LOOKED_AT).unwrap()) {
            assert_eq!(granted(&owner, &format!("/api/keys/{id}/usage")).await, expected);
        }
    }

    async fn a_kill_loses_at_most_the_last_second(database: Database) {
        let mut keyrack = Keyrack::setup(KEYRACK, database).at_one_address().start();
        import(&keyrack, 100).await;
        let owner = keyrack.owner();
        let (mut before, mut late) = (0, Vec::new());
        for kill in 0..KILLS {
            let begun = Instant::now();
            let mut answered = Vec::new();
            // Killed at another moment between two flushes each time.
            while begun.elapsed() < LOST + Duration::from_millis(500 + 70 * u64::from(kill)) {
                let question = json!({"key": secret(answered.len() as u64 % 100)});
                let answer = owner.post("/api/verify").json(&question).send().await;
                // On a machine that is busy with other tests a node may renew its lease too late, and counts nothing.
                if answer.status != 503 {
                    answer.expect_status(200);
                    answered.push(Instant::now());
                }
            }
            let killed = Instant::now();
            keyrack.crash();
            keyrack.start_again();
            let counted = granted(&owner, "/api/usage").await - before;
            let safe = answered.iter().filter(|at| **at + LOST < killed).count() as u64;
            assert!(safe > 0, "nothing was answered a second before");
            if safe > counted {
                late.push((counted, safe));
            }
            assert!(counted <= answered.len() as u64, "{counted} of {} that were sent", answered.len());
            before += counted;
        }
        // Beside other tests a commit may take the database longer than that, now and then.
        assert!(late.len() <= LATE, "so many of those that were answered a second before: {late:?}");
    }
}
