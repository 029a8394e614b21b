//! Whether all who read a request see the same: raw bytes straight to the gateway, and by way of nginx and of HAProxy, to a service that
//! takes nothing which could be read in two ways.

mod cases;
mod service;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use keyrack_testkit::process::Running;
use keyrack_testkit::{Database, Http, Keyrack, Program};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use self::cases::{Case, Fate};
use self::service::Service;
use crate::front::{KEYRACK, Kind, free_port, program};

/// How many are sent at once: their requests share connections behind the door, where one could end in the middle of another.
const AT_ONCE: usize = 32;
/// How long somebody may wait for more of a request.
const SILENT: Duration = Duration::from_secs(2);

/// What came back of a case.
struct Outcome {
    number: usize,
    sent: String,
    answers: String,
    is_closed: bool,
}

impl Outcome {
    /// What the caller was told that the service saw, in this order.
    fn told(&self) -> Vec<&str> {
        self.answers.lines().filter_map(|line| line.strip_prefix("x-saw: ")).map(str::trim).collect()
    }

    fn explained(&self) -> String {
        let Self { number, sent, answers, is_closed } = self;
        format!("case {number}: {sent:?}\nanswered {answers:?}, closed: {is_closed}")
    }
}

/// Sends a case and an ordinary request behind it over one connection, and reads until that ends or nothing more comes.
async fn send(address: SocketAddr, number: usize, case: &Case, key: &str) -> Outcome {
    let after = format!("GET /v1/after-{number} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nConnection: close\r\n\r\n");
    let sent = case.written(number, key);
    let mut stream = TcpStream::connect(address).await.unwrap();
    // Whoever refuses it may close at once.
    let _ = stream.write_all(format!("{sent}{after}").as_bytes()).await;
    let mut answers = Vec::new();
    let is_closed = loop {
        match timeout(SILENT, stream.read_buf(&mut answers)).await {
            Ok(Ok(1..)) => {}
            Ok(_) => break true,
            Err(_) => break false,
        }
    };
    Outcome { number, sent, answers: String::from_utf8_lossy(&answers).into_owned(), is_closed }
}

/// A keyrack before the service, and a key of it.
async fn keyrack(service: &Service) -> (Keyrack, String) {
    let keyrack = Keyrack::setup(KEYRACK, Database::Sqlite).args(["--egress-allow", "127.0.0.1/32"]).start();
    let owner = keyrack.owner();
    let target = json!({"kind": "upstream", "url": format!("http://{}", service.address)});
    let route = json!({"path": "/v1/*rest", "guard": {"scope": "a:read"}, "target": target});
    owner.post("/api/routes").json(&route).send().await.expect_status(201);
    let key = json!({"name": "k", "scopes": ["a:read"]});
    let made = owner.post("/api/keys").json(&key).send().await.expect_status(201).json();
    (keyrack, made["secret"].as_str().unwrap().to_owned())
}

/// Sends every case; what came back of each, and what the service saw of it. Fails where the caller was told of other requests than the
/// service saw, and where it saw one that could be read otherwise.
async fn all_see_the_same(address: SocketAddr, service: &Service, key: &str) -> Vec<(Fate, Vec<String>, Outcome)> {
    let cases = cases::all();
    assert!(cases.len() >= 200, "{}", cases.len());
    let mut outcomes = Vec::new();
    for (at, some) in cases.chunks(AT_ONCE).enumerate() {
        let sending = some.iter().enumerate().map(|(number, case)| send(address, at * AT_ONCE + number, case, key));
        outcomes.extend(join_all(sending).await);
    }
    let targets = service.targets();
    let seen_of = |number: usize| {
        let is_of = |target: &&String| {
            let digits = target.split_once('-').map_or("", |(_, rest)| rest);
            digits.split(|char: char| !char.is_ascii_digit()).next() == Some(&number.to_string())
        };
        targets.iter().filter(is_of).cloned().collect::<Vec<_>>()
    };
    none(service.faults().into_iter());
    let with_seen = |(case, outcome): (&Case, Outcome)| (case.fate, seen_of(outcome.number), outcome);
    let outcomes: Vec<_> = cases.iter().zip(outcomes).map(with_seen).collect();
    let differ = outcomes.iter().filter(|(_, seen, outcome)| outcome.told() != *seen);
    none(differ.map(|(_, seen, outcome)| format!("seen {seen:?}, {}", outcome.explained())));
    outcomes
}

/// Fails with all of them, if there are any.
fn none(wrong: impl Iterator<Item = String>) {
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn straight_to_the_gateway() {
    let service = Service::start().await;
    let (keyrack, key) = keyrack(&service).await;
    let outcomes = all_see_the_same(keyrack.serving().address(), &service, &key).await;
    let is_wrong = |(fate, seen, outcome): &(Fate, Vec<String>, Outcome)| {
        let is_refused = outcome.answers.get(9..10) == Some("4") && seen.is_empty() && outcome.is_closed;
        let has_passed = seen.last().is_some_and(|last| last.contains("after"));
        let is_as_meant = match fate {
            Fate::Refused => is_refused,
            Fate::Passed => has_passed,
            Fate::Alone => !seen.iter().any(|target| target.contains("smuggled") || target.contains("after")),
            Fate::Open => true,
        };
        (!is_as_meant).then(|| format!("{fate:?}, seen {seen:?}, {}", outcome.explained()))
    };
    none(outcomes.iter().filter_map(is_wrong));
}

/// A proxy that only sends on what it gets.
fn proxy(kind: Kind, program: &Path, folder: &Path, port: u16, keyrack: &Keyrack) -> Running {
    let (text, keyrack) = (folder.join("proxy.conf"), keyrack.serving().address());
    let place = folder.display();
    let lines = if kind == Kind::Nginx {
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|what| format!("{what}_temp_path {place}/{what};"))
            .join(" ");
        format!(
            "daemon off; master_process off; pid {place}/pid; error_log stderr; events {{}} http {{ access_log off; {temporary} \
             upstream keyrack {{ server {keyrack}; keepalive 4; }} server {{ listen 127.0.0.1:{port}; location / {{ \
             proxy_pass http://keyrack; proxy_http_version 1.1; proxy_set_header Host $http_host; \
             proxy_set_header Connection \"\"; proxy_request_buffering off; }} }} }}"
        )
    } else {
        format!(
            "defaults\n mode http\n timeout connect 1s\n timeout client 10s\n timeout server 10s\n http-reuse always\n\
             frontend a\n bind 127.0.0.1:{port}\n default_backend b\nbackend b\n server keyrack {keyrack}\n"
        )
    };
    std::fs::write(&text, lines).unwrap();
    let (text, place) = (text.to_str().unwrap(), folder.to_str().unwrap());
    match kind {
        Kind::Nginx => Program::new(program).args(["-p", place, "-c", text, "-e", "stderr"]).start(),
        _ => Program::new(program).args(["-db", "-f", text]).start(),
    }
}

async fn by_way_of(kind: Kind) {
    let Some(program) = program(kind) else { return };
    let service = Service::start().await;
    let (keyrack, key) = keyrack(&service).await;
    let (directory, port) = (TempDir::new().unwrap(), free_port());
    let proxy = proxy(kind, &program, directory.path(), port, &keyrack);
    let http = Http::new(format!("http://127.0.0.1:{port}"));
    let until = Instant::now() + Duration::from_secs(30);
    while http.get("/").try_send().await.is_err() {
        assert!(Instant::now() < until, "{kind:?} does not answer\n{}", proxy.stderr());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    all_see_the_same(([127, 0, 0, 1], port).into(), &service, &key).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_way_of_nginx() {
    by_way_of(Kind::Nginx).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_way_of_haproxy() {
    by_way_of(Kind::Haproxy).await;
}
