//! Another pepper is put into use again and again while keys and tokens are used, and whoever does it is killed at any moment, and the
//! server too: no request fails for it, and every key is recognised afterwards, used or not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;
use keyrack_testkit::server::Serving;
use keyrack_testkit::{Database, Http, Keyrack, both_databases};
use serde_json::{Value, json};

use crate::{crashes, forget_the_dead, number, program, turn};

/// How many keys are used all the time, and how many never are.
const USED: usize = 8;
const UNUSED: usize = 3;
/// Within how many milliseconds of its start the rotation is killed.
const KILLED_WITHIN: u64 = 300;

both_databases! {
    async fn a_rotation_of_the_pepper_is_killed_at_any_moment(database: Database) {
        let _turn = turn().await;
        let seed = number("KEYRACK_TEST_SEED").unwrap_or_else(|| fastrand::u64(..));
        let (mut random, cycles) = (Rng::with_seed(seed), crashes());
        println!("KEYRACK_TEST_SEED={seed} KEYRACK_TEST_CRASHES={cycles}");
        let mut keyrack = Keyrack::setup(program(), database).at_one_address().start();
        // Keys move at either of two, where two can serve.
        let another = |keyrack: &Keyrack| (database == Database::Postgres).then(|| keyrack.another());
        let mut second = another(&keyrack);
        let mut used = keys(&keyrack, "used", USED).await;
        let unused = keys(&keyrack, "unused", UNUSED).await;
        for cycle in 0..cycles {
            used.push(token(&keyrack.http(), &used[cycle % USED]).await);
            let callers = Callers::begin(&doors(&keyrack, second.as_ref()), &used);
            let rotation = keyrack.command("pepper").arg("rotate").start();
            tokio::time::sleep(Duration::from_millis(random.u64(..KILLED_WITHIN))).await;
            rotation.kill();
            drop(rotation);
            callers.answered_by_all().await;
            callers.end().await;
            if random.u8(..4) == 0 {
                tokio::task::block_in_place(|| {
                    keyrack.crash();
                    drop(second.take());
                });
                forget_the_dead(&keyrack).await;
                tokio::task::block_in_place(|| {
                    keyrack.start_again();
                    second = another(&keyrack);
                });
            }
        }
        let callers = Callers::begin(&doors(&keyrack, second.as_ref()), &used);
        let finished = keyrack.command("pepper").args(["rotate", "--json"]).run().success().json();
        callers.answered_by_all().await;
        callers.end().await;
        let state = keyrack.command("pepper").args(["show", "--json"]).run().success().json();
        assert_eq!(state["in_use"], finished["pepper"]);
        let left = state["older"].as_array().unwrap().iter().map(|older| older["secrets"].as_u64().unwrap());
        // The management key is used by those who ask.
        assert!(left.sum::<u64>() >= UNUSED as u64, "{state}");
        keyrack.restart();
        let all: Vec<_> = used.iter().chain(&unused).cloned().collect();
        for door in doors(&keyrack, second.as_ref()) {
            for text in &all {
                assert_eq!(is_valid(&door, text).await, json!(true));
            }
        }
        println!("{cycles} killed rotations; pepper {} is in use", finished["pepper"]);
    }
}

/// Where one can ask.
fn doors(keyrack: &Keyrack, second: Option<&Serving>) -> Vec<Http> {
    let doors = [Some(keyrack.http()), second.map(Serving::http)];
    doors.into_iter().flatten().map(|http| http.with_bearer(&keyrack.management_key)).collect()
}

async fn keys(keyrack: &Keyrack, name: &str, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    for number in 0..count {
        let body = json!({"name": format!("{name} {number}")});
        let made = keyrack.owner().post("/api/keys").json(&body).send().await.expect_status(201).json();
        texts.push(made["secret"].as_str().unwrap().to_owned());
    }
    texts
}

async fn token(http: &Http, key: &str) -> String {
    let made = http.post("/api/tokens").bearer(key).json(&json!({"expires_in": 3600})).send().await;
    made.expect_status(201).json()["token"].as_str().unwrap().to_owned()
}

async fn is_valid(door: &Http, text: &str) -> Value {
    let answer = door.post("/api/verify").json(&json!({"key": text})).send().await;
    answer.expect_status(200).json()["valid"].clone()
}

/// Some who go on asking for all texts until they are told to end. Each must be valid.
struct Callers {
    stop: Arc<AtomicBool>,
    rounds: Vec<Arc<AtomicUsize>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Callers {
    fn begin(doors: &[Http], texts: &[String]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut rounds, mut tasks) = (Vec::new(), Vec::new());
        for door in doors.iter().cycle().take(4) {
            let round = Arc::new(AtomicUsize::new(0));
            rounds.push(Arc::clone(&round));
            let (door, texts, stop) = (door.clone(), texts.to_vec(), Arc::clone(&stop));
            tasks.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    for text in &texts {
                        assert_eq!(is_valid(&door, text).await, json!(true));
                    }
                    round.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        Self { stop, rounds, tasks }
    }

    /// Waits until each of them has asked for all of them.
    async fn answered_by_all(&self) {
        let is_missing = || self.rounds.iter().any(|round| round.load(Ordering::Relaxed) == 0);
        while is_missing() && !self.tasks.iter().any(tokio::task::JoinHandle::is_finished) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}
