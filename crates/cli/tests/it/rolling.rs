//! Processes that are replaced one after the other while they are asked: whoever goes where a process says that it is ready
//! notices nothing.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyrack_testkit::server::Serving;
use keyrack_testkit::{Database, Http, Keyrack};
use serde_json::json;

use crate::support::{KEYRACK, text, wait_for};

/// How many ask at the same time.
const CLIENTS: usize = 8;
/// How often each process is asked whether it is ready.
const LOOK: Duration = Duration::from_millis(20);

/// Knows where to send requests, as a balancer does: to those that said a moment ago that they are ready.
#[derive(Default)]
struct Balancer {
    known: Mutex<Vec<Http>>,
    ready: Mutex<Vec<Http>>,
    turn: AtomicUsize,
}

impl Balancer {
    fn add(&self, node: Http) {
        self.known.lock().unwrap().push(node);
    }

    /// Looks who is ready. Who does not answer is gone for good.
    async fn look(&self) {
        let (mut known, mut ready) = (Vec::new(), Vec::new());
        let asked = self.known.lock().unwrap().clone();
        for node in &asked {
            if let Ok(answer) = node.get("/health/ready").try_send().await {
                known.push(node.clone());
                ready.extend((answer.status == 200).then(|| node.clone()));
            }
        }
        let mut all = self.known.lock().unwrap();
        let new = all.split_off(asked.len());
        *all = known.into_iter().chain(new).collect();
        *self.ready.lock().unwrap() = ready;
    }

    fn next(&self) -> Http {
        let ready = self.ready.lock().unwrap();
        ready[self.turn.fetch_add(1, Ordering::Relaxed) % ready.len()].clone()
    }
}

async fn replace(keyrack: &Keyrack, balancer: &Balancer, old: Serving) -> Serving {
    let Serving { mut program, .. } = old;
    program.terminate();
    let status = tokio::task::spawn_blocking(move || program.wait()).await.unwrap();
    assert!(status.success(), "{status}");
    let new = tokio::task::block_in_place(|| keyrack.another());
    balancer.add(new.http().with_bearer(&keyrack.management_key));
    let is_ready = async || balancer.ready.lock().unwrap().iter().any(|node| node.base() == new.url).then_some(());
    wait_for("the new process", is_ready).await;
    new
}

#[tokio::test(flavor = "multi_thread")]
async fn replacing_every_process_fails_no_request() {
    if !Database::Postgres.is_available() {
        return;
    }
    let keyrack = Keyrack::setup(KEYRACK, Database::Postgres).env("KEYRACK_DRAIN", "400ms").start();
    let new = json!({"name": "billing"});
    let made = keyrack.owner().post("/api/keys").json(&new).send().await.expect_status(201).json();
    let secret = text(&made["secret"]);
    let balancer = Arc::new(Balancer::default());
    // The first process belongs to the harness; it is asked by nobody.
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let node = keyrack.another();
        balancer.add(node.http().with_bearer(&keyrack.management_key));
        nodes.push(node);
    }
    balancer.look().await;
    let over = Arc::new(AtomicBool::new(false));
    let looking = tokio::spawn({
        let (balancer, over) = (Arc::clone(&balancer), Arc::clone(&over));
        async move {
            while !over.load(Ordering::SeqCst) {
                balancer.look().await;
                tokio::time::sleep(LOOK).await;
            }
        }
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (balancer, over, secret) = (Arc::clone(&balancer), Arc::clone(&over), secret.clone());
            tokio::spawn(async move {
                let mut asked = 0;
                while !over.load(Ordering::SeqCst) {
                    let node = balancer.next();
                    if asked % 10 == 0 {
                        let new = json!({"name": format!("of {client}: {asked}")});
                        node.post("/api/keys").json(&new).send().await.expect_status(201);
                    } else {
                        let answer = node.post("/api/verify").json(&json!({"key": secret})).send().await;
                        assert_eq!(answer.expect_status(200).json()["valid"], true);
                    }
                    asked += 1;
                }
                asked
            })
        })
        .collect();
    for _ in 0..2 {
        for _ in 0..nodes.len() {
            let old = nodes.remove(0);
            nodes.push(replace(&keyrack, &balancer, old).await);
        }
    }
    over.store(true, Ordering::SeqCst);
    looking.await.unwrap();
    let mut asked = 0;
    for client in clients {
        asked += client.await.unwrap();
    }
    assert!(asked > 1000, "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn about_to_stop_it_still_answers_and_says_that_others_should_be_asked() {
    let mut keyrack = Keyrack::setup(KEYRACK, Database::Sqlite).env("KEYRACK_DRAIN", "1h").start();
    let http = keyrack.owner();
    assert_eq!(http.get("/api/session").send().await.expect_status(200).header("connection"), None);
    keyrack.serving().program.terminate();
    wait_for("the word that it is not ready", async || {
        (http.get("/health/ready").send().await.status == 503).then_some(())
    })
    .await;
    let answer = http.get("/api/session").send().await.expect_status(200);
    assert_eq!(answer.header("connection"), Some("close"));
    http.get("/health/live").send().await.expect_status(200);
    // Whoever does not want to wait says it once more.
    assert!(keyrack.stop().success());
}
