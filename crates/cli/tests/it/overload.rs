//! Too much at once: what there is no room for is refused at once, and what must not wait does not.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use keyrack_testkit::{Answer, Database, Http, Keyrack, Upstream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use sqlx::{Connection as _, SqliteConnection};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::support::{KEYRACK, free_port, text};

/// How many files the server may open, and how many connections it therefore takes.
const FILES: usize = 528;
const CONNECTIONS: usize = (FILES - 128) / 2;

/// The program, allowed so few open files.
fn with_files(folder: &TempDir, files: usize) -> PathBuf {
    let script = folder.path().join("keyrack");
    std::fs::write(&script, format!("#!/bin/sh\nulimit -n {files}\nexec '{KEYRACK}' \"$@\"\n")).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    script
}

fn overloaded(answer: &Answer) -> bool {
    answer.status == 503 && answer.json()["error"] == "overloaded" && answer.header("retry-after").is_some()
}

/// Connections that asked something once, and keep their place.
fn held_open(address: SocketAddr, how_many: usize) -> Vec<TcpStream> {
    let asked = |_| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        assert!(stream.read(&mut [0; 64]).unwrap() > 0);
        stream
    };
    (0..how_many).map(asked).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_last_connections_only_what_is_vital_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let keyrack = Keyrack::setup(with_files(&folder, FILES), Database::Sqlite).start();
    let made = keyrack.owner().post("/api/keys").json(&json!({"name": "leaked"})).send().await.expect_status(201);
    let (key, secret) = (text(&made.json()["key"]["id"]), text(&made.json()["secret"]));
    // A connection of before, which is kept alive.
    let early = keyrack.owner();
    early.get("/api/keys").send().await.expect_status(200);

    let address = keyrack.serving().address();
    let held = held_open(address, CONNECTIONS - 6);
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

/// Ten thousand connections that say nothing, or begin and do not go on, where there is room for a thousand.
#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_takes_the_room_of_nobody() {
    const IDLE: usize = 10_000;
    allow_files(IDLE);
    let folder = tempfile::tempdir().unwrap();
    let program = with_files(&folder, 2128);
    let keyrack = Keyrack::setup(program, Database::Sqlite).args(["--egress-allow", "127.0.0.1/32"]).start();
    let service = Upstream::start().await;
    let target = json!({"kind": "upstream", "url": service.url()});
    let route = json!({"path": "/svc/*rest", "guard": {"scope": "a:read"}, "target": target});
    keyrack.owner().post("/api/routes").json(&route).send().await.expect_status(201);
    let key = json!({"name": "k", "scopes": ["a:read"]});
    let made = keyrack.owner().post("/api/keys").json(&key).send().await.expect_status(201).json();
    let early = keyrack.http().with_bearer(text(&made["secret"]));
    let mut held = Vec::with_capacity(IDLE);
    for at in 0..IDLE {
        let connecting = tokio::net::TcpStream::connect(keyrack.serving().address());
        let mut stream = timeout(Duration::from_secs(5), connecting).await.expect("there is room").unwrap();
        if at % 2 == 0 {
            stream.write_all(b"GET /svc/x HTTP/1.1\r\nhost: x\r\nx-a: ").await.unwrap();
        }
        held.push(stream);
        if at % 100 == 0 {
            // By turns over a connection that is always the same, and over one of its own.
            let late = Http::new(keyrack.url()).with_bearer(text(&made["secret"]));
            let http = if at % 200 == 0 { &early } else { &late };
            let answered = timeout(Duration::from_secs(5), http.get("/svc/a").send()).await;
            answered.expect("an answer").expect_status(200);
        }
    }
    assert_eq!(service.count(), IDLE / 100);
}

/// As many open files as a test needs, beside what all others need.
fn allow_files(many: usize) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let needed = many as u64 + 2000;
    assert!(maximum.is_none_or(|most| most >= needed), "this test needs {needed} open files: ulimit -Hn");
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}
