//! Too much at once: what there is no room for is refused at once, and what must not wait does not.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use keyrack_testkit::{Answer, Database, Http, Keyrack};
use serde_json::json;
use sqlx::{Connection as _, SqliteConnection};
use tempfile::TempDir;

use crate::support::{KEYRACK, free_port, text};

/// How many files the server may open, and how many connections it therefore takes.
const FILES: usize = 528;
const CONNECTIONS: usize = (FILES - 128) / 2;

/// The program, allowed few open files.
fn with_few_files(folder: &TempDir) -> PathBuf {
    let script = folder.path().join("keyrack");
    std::fs::write(&script, format!("#!/bin/sh\nulimit -n {FILES}\nexec '{KEYRACK}' \"$@\"\n")).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    script
}

fn overloaded(answer: &Answer) -> bool {
    answer.status == 503 && answer.json()["error"] == "overloaded" && answer.header("retry-after").is_some()
}

/// Connections that say nothing.
fn silent(address: SocketAddr, how_many: usize) -> Vec<TcpStream> {
    (0..how_many).map(|_| TcpStream::connect(address).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_last_connections_only_what_is_vital_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let keyrack = Keyrack::setup(with_few_files(&folder), Database::Sqlite).start();
    let made = keyrack.owner().post("/api/keys").json(&json!({"name": "leaked"})).send().await.expect_status(201);
    let (key, secret) = (text(&made.json()["key"]["id"]), text(&made.json()["secret"]));
    // A connection of before, which is kept alive.
    let early = keyrack.owner();
    early.get("/api/keys").send().await.expect_status(200);

    let address = keyrack.serving().address();
    let held = silent(address, CONNECTIONS - 6);
    let late = || Http::new(keyrack.url()).with_bearer(&keyrack.management_key);
    for (method, path) in [("GET", "/api/keys"), ("GET", "/api/session"), ("GET", "/somewhere")] {
        let answer = late().request(method, path).send().await;
        assert!(overloaded(&answer), "{method} {path}: {}", answer.text());
        assert_eq!(answer.header("connection"), Some("close"), "{method} {path}");
    }
    late().get("/health/live").send().await.expect_status(200);
    late().get("/health/ready").send().await.expect_status(200);
    late().post(&format!("/api/keys/{key}/revoke")).send().await.expect_status(200);
    let asked = early.post("/api/verify").json(&json!({"key": secret})).send().await.expect_status(200);
    assert_eq!(asked.json()["code"], "REVOKED", "who was there before is answered as ever");

    drop(held);
    crate::support::wait_for("room", async || (late().get("/api/keys").send().await.status == 200).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_database_is_held_up_who_cannot_wait_is_told_so_and_a_revocation_waits() {
    const AT_WORK: usize = 64;
    const ASKING: usize = AT_WORK + 16;
    let metrics = format!("127.0.0.1:{}", free_port());
    let keyrack = Keyrack::setup(KEYRACK, Database::Sqlite).args(["--metrics-listen", &metrics]).start();
    let owner = keyrack.owner();
    let made = owner.post("/api/keys").json(&json!({"name": "leaked"})).send().await.expect_status(201);
    let (key, secret) = (text(&made.json()["key"]["id"]), text(&made.json()["secret"]));
    let mut held = SqliteConnection::connect(&keyrack.database_url).await.unwrap();
    let lock = held.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let (tell, mut answers) = tokio::sync::mpsc::unbounded_channel();
    for number in 0..ASKING {
        let new = owner.post("/api/keys").json(&json!({"name": format!("key {number}")}));
        let tell = tell.clone();
        tokio::spawn(async move { tell.send(new.send().await) });
    }
    let revoking = tokio::spawn(owner.post(&format!("/api/keys/{key}/revoke")).send());
    // Decisions need no database.
    let asked = owner.post("/api/verify").json(&json!({"key": secret})).send().await.expect_status(200);
    assert_eq!(asked.json()["code"], "VALID");
    for _ in 0..ASKING - AT_WORK {
        let answer = answers.recv().await.unwrap();
        assert!(overloaded(&answer), "{}", answer.text());
    }
    lock.rollback().await.unwrap();
    revoking.await.unwrap().expect_status(200);
    for _ in 0..AT_WORK {
        answers.recv().await.unwrap().expect_status(201);
    }
    let asked = owner.post("/api/verify").json(&json!({"key": secret})).send().await.expect_status(200);
    assert_eq!(asked.json()["code"], "REVOKED");
    let counted = Http::new(format!("http://{metrics}")).get("/metrics").send().await.expect_status(200);
    let shed = format!("keyrack_shed_total {}", ASKING - AT_WORK);
    assert!(counted.text().lines().any(|line| line == shed), "{}", counted.text());
}
