//! The master key is changed while callers are given secrets, and whoever changes it is killed at any moment, and the server too: no
//! request fails for it, everything can be opened afterwards, and nothing is left under the old key.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;
use keyrack_testkit::{Database, Http, Keyrack, Upstream, both_databases};
use serde_json::{Value, json};

use crate::{crashes, forget_the_dead, number, program, turn};

/// How many secrets there are: several batches of them.
const SECRETS: usize = 350;
/// Within how many milliseconds of its start the rotation is killed.
const KILLED_WITHIN: u64 = 600;

both_databases! {
    async fn a_rotation_of_the_master_key_is_killed_at_any_moment(database: Database) {
        let _turn = turn().await;
        let seed = number("KEYRACK_TEST_SEED").unwrap_or_else(|| fastrand::u64(..));
        let (mut random, cycles) = (Rng::with_seed(seed), crashes());
        println!("KEYRACK_TEST_SEED={seed} KEYRACK_TEST_CRASHES={cycles}");
        let setup = Keyrack::setup(program(), database).args(["--egress-allow", "127.0.0.1/32", "--master-key-days", "0"]);
        let mut keyrack = setup.at_one_address().start();
        let upstream = Upstream::start().await;
        let key = furnish(&keyrack, &upstream).await;
        for cycle in 0..cycles {
            let callers = Callers::begin(&keyrack.http(), &key);
            let rotation = keyrack.command("master-key").arg("rotate").start();
            tokio::time::sleep(Duration::from_millis(random.u64(..KILLED_WITHIN))).await;
            rotation.kill();
            drop(rotation);
            let answered = callers.end().await;
            assert!(answered > 0, "cycle {cycle}: nobody asked");
            if random.u8(..4) == 0 {
                tokio::task::block_in_place(|| keyrack.crash());
                forget_the_dead(&keyrack).await;
                tokio::task::block_in_place(|| keyrack.start_again());
            }
        }
        let callers = Callers::begin(&keyrack.http(), &key);
        let finished = keyrack.command("master-key").args(["rotate", "--json"]).run().success().json();
        assert_eq!(finished["unreadable"], json!([]));
        callers.end().await;
        let state = keyrack.command("master-key").args(["show", "--json"]).run().success().json();
        assert_eq!((&state["in_use"], &state["secrets_left"]), (&finished["master_key"], &json!(0)), "{state}");
        all_can_be_read(&keyrack).await;
        keyrack.restart();
        all_can_be_read(&keyrack).await;
        println!("{cycles} killed rotations; master key {} is in use", finished["master_key"]);
    }
}

fn value(number: usize) -> String {
    format!("value of S{number}")
}

async fn furnish(keyrack: &Keyrack, upstream: &Upstream) -> String {
    let owner = keyrack.owner();
    let make = async |path: &str, body: Value| owner.post(path).json(&body).send().await.expect_status(201).json();
    for number in 0..SECRETS {
        make("/api/secrets", json!({"name": format!("S{number}"), "value": value(number), "scope": "global"})).await;
    }
    let headers = json!({"x-first": "S0", "x-last": format!("S{}", SECRETS - 1)});
    let target = json!({"kind": "upstream", "url": upstream.url(), "secret_headers": headers});
    make("/api/routes", json!({"path": "/run", "guard": {"scope": "run:read"}, "target": target})).await;
    let key = make("/api/keys", json!({"name": "caller", "scopes": ["run:read"]})).await;
    key["secret"].as_str().unwrap().to_owned()
}

async fn all_can_be_read(keyrack: &Keyrack) {
    let (owner, mut cursor, mut seen) = (keyrack.owner(), String::new(), 0);
    loop {
        let page = owner.get(&format!("/api/secrets?values=true&limit=200{cursor}")).send().await;
        let page = page.expect_status(200).json();
        for secret in page["data"].as_array().unwrap() {
            assert_eq!(secret["value"], format!("value of {}", secret["name"].as_str().unwrap()));
            seen += 1;
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break assert_eq!(seen, SECRETS),
        }
    }
}

/// Some who go on asking until they are told to end. Each answer must be 200, with both secrets.
struct Callers {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Callers {
    fn begin(http: &Http, key: &str) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let one = || {
            let (http, key, stop, answered) = (http.clone(), key.to_owned(), Arc::clone(&stop), Arc::clone(&answered));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let seen = http.get("/run").bearer(&key).send().await.expect_status(200).json();
                    let told = |name: &str| {
                        let headers = seen["headers"].as_array().unwrap();
                        headers.iter().find(|header| header[0] == name).map(|header| header[1].clone())
                    };
                    assert_eq!(
                        (told("x-first"), told("x-last")),
                        (Some(json!(value(0))), Some(json!(value(SECRETS - 1))))
                    );
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let tasks = (0..4).map(|_| one()).collect();
        Self { stop, answered, tasks }
    }

    async fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.answered.load(Ordering::Relaxed)
    }
}
