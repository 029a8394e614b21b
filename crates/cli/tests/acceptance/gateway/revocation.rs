//! A real web server behind a scope, and the moment a key is revoked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use keyrack_testkit::process::{Program, Running};
use keyrack_testkit::{Database, Http};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::{Caller as _, INVALID_API_KEY, busy, expect_refusal, expect_unknown, start};

const REQUESTS: usize = 10_000;
/// Python's server lets no more than five connections wait.
const CONNECTIONS: usize = 4;
const FILE: &str = "/files/report.txt";

/// `python3 -m http.server` with a file to fetch.
struct WebServer {
    url: String,
    _running: Running,
    _directory: TempDir,
}

impl WebServer {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("files")).unwrap();
        std::fs::write(directory.path().join("files/report.txt"), "the report").unwrap();
        let program = Program::new("python3").args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]);
        let running = program.directory(directory.path()).start();
        let line = running.wait_line(|line| line.starts_with("Serving HTTP on"));
        let port = line.split(" port ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a port");
        Self { url: format!("http://127.0.0.1:{port}"), _running: running, _directory: directory }
    }
}

/// When a request was begun and ended, and its answer.
struct Sent {
    began: Instant,
    ended: Instant,
    status: u16,
    body: String,
}

/// Sends requests one after the other, as long as there are some left.
async fn send_many(http: Http, left: Arc<AtomicUsize>, answered: watch::Sender<usize>) -> Vec<Sent> {
    let mut all = Vec::new();
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
        let began = Instant::now();
        let answer = http.get(FILE).send().await;
        all.push(Sent { began, ended: Instant::now(), status: answer.status, body: answer.text() });
        answered.send_modify(|count| *count += 1);
    }
    all
}

keyrack_testkit::both_databases! {
    async fn a_revoked_key_lets_nobody_in_whose_request_began_after_the_answer(database: Database) {
        let (keyrack, server) = (start(database), WebServer::start());
        let owner = keyrack.owner();
        owner.make_route("/files/*path", json!({"scope": "files:read"}), &server.url).await;
        let key = owner.make_key(json!({"name": "fetcher", "scopes": ["files:read"]})).await;
        let other = owner.make_key(json!({"name": "other", "scopes": ["files:write", "pages:read"]})).await;
        let http = keyrack.http();

        assert_eq!(http.get(FILE).bearer(&key.secret).send().await.expect_status(200).text(), "the report");
        expect_refusal(http.get(FILE).bearer(&other.secret).send().await, 403, "insufficient_scope");
        expect_unknown(http.get(FILE).send().await);

        let _turn = busy().await;
        let (left, answered) = (Arc::new(AtomicUsize::new(REQUESTS)), watch::Sender::new(0));
        let mut sending = JoinSet::new();
        for _ in 0..CONNECTIONS {
            // A client of its own has connections of its own.
            let http = keyrack.http().with_bearer(&key.secret);
            sending.spawn(send_many(http, Arc::clone(&left), answered.clone()));
        }
        answered.subscribe().wait_for(|count| *count >= REQUESTS / 4).await.unwrap();
        let asked = Instant::now();
        owner.revoke(&key).await;
        let revoked = Instant::now();
        let all: Vec<Sent> = sending.join_all().await.into_iter().flatten().collect();

        assert_eq!(all.len(), REQUESTS);
        let (mut before, mut after) = (0, 0);
        for sent in all {
            match sent.status {
                200 => assert_eq!(sent.body, "the report"),
                401 => assert_eq!(sent.body, INVALID_API_KEY),
                other => panic!("{other}: {}", sent.body),
            }
            if sent.ended < asked {
                before += 1;
                assert_eq!(sent.status, 200, "refused before the key was revoked");
            } else if sent.began > revoked {
                after += 1;
                assert_eq!(sent.status, 401, "let in after the key was revoked");
            }
        }
        assert!(before >= REQUESTS / 8 && after >= REQUESTS / 4, "the revocation fell in their midst: {before}, {after}");
    }
}
