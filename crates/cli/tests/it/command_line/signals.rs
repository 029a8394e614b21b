//! How it ends: nothing that was begun is cut off, and nothing stays behind.

use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use keyrack_testkit::process::Running;
use keyrack_testkit::{Database, Program, Upstream};
use serde_json::json;
use tokio::sync::Notify;

use crate::support::{KEYRACK, start};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_told_to_end_finishes_what_it_has_begun() {
    for signal in [Running::terminate, Running::interrupt] {
        let mut keyrack = start(Database::Sqlite);
        let (arrived, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (tell, wait) = (Arc::clone(&arrived), Arc::clone(&go_on));
        let upstream = Upstream::answering(move |_| {
            let (tell, wait) = (Arc::clone(&tell), Arc::clone(&wait));
            async move {
                tell.notify_one();
                wait.notified().await;
                http::Response::new(Full::new(Bytes::from("at last")))
            }
        })
        .await;
        let target = json!({"kind": "upstream", "url": upstream.url()});
        let door = json!({"path": "/slow", "guard": {"public": true}, "target": target});
        keyrack.owner().post("/api/routes").json(&door).send().await.expect_status(201);
        let request = keyrack.http().get("/slow");
        let under_way = tokio::spawn(request.send());
        arrived.notified().await;
        let address = keyrack.serving().address();
        signal(&keyrack.serving().program);
        // It takes nobody new in...
        crate::support::wait_for("the end of listening", async || TcpStream::connect(address).is_err().then_some(()))
            .await;
        assert!(!keyrack.serving().program.has_ended());
        // ...and ends when the last one has its answer.
        go_on.notify_one();
        let answer = under_way.await.unwrap().expect_status(200);
        assert_eq!(answer.text(), "at last");
        assert!(keyrack.stop().success(), "{}", keyrack.output());
        keyrack.start_again();
        keyrack.owner().get("/api/session").send().await.expect_status(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn uses_are_written_down_before_the_end() {
    let mut keyrack = start(Database::Sqlite);
    let made = keyrack.owner().post("/api/keys").json(&json!({"name": "used"})).send().await.expect_status(201).json();
    let path = format!("/api/keys/{}", made["key"]["id"].as_str().unwrap());
    keyrack.http().get("/api/session").bearer(made["secret"].as_str().unwrap()).send().await.expect_status(200);
    keyrack.restart();
    let shown = keyrack.owner().get(&path).send().await.expect_status(200).json();
    assert!(shown["last_used_at"].is_string(), "{shown}");
}

#[test]
fn the_demo_ends_at_a_word_and_leaves_nothing_behind() {
    for signal in [Running::interrupt, Running::terminate] {
        let folder = tempfile::tempdir().unwrap();
        let here = tempfile::tempdir().unwrap();
        let demo = Program::new(KEYRACK).args(["demo", "--listen", "127.0.0.1:0"]).directory(here.path());
        let mut demo = demo.env("TMPDIR", folder.path()).start();
        let line = demo.wait_line(|line| line.starts_with("keyrack listens on http://"));
        let address = line.split("http://").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
        TcpStream::connect(&address).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "all it needs is in one folder");
        signal(&demo);
        let status = demo.wait();
        assert!(status.success() && status.signal().is_none(), "{status}");
        assert!(demo.stdout().contains("nothing of it is left"), "{}", demo.stdout());
        assert!(demo.stderr().is_empty(), "{}", demo.stderr());
        assert!(TcpStream::connect(&address).is_err());
        for place in [&folder, &here] {
            assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
        }
    }
}

#[test]
fn a_demo_that_cannot_listen_says_so_and_leaves_nothing_behind() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let demo = Program::new(KEYRACK).args(["demo", "--listen", &address]).env("TMPDIR", folder.path());
    let run = demo.deadline(Duration::from_secs(30)).run().expect_code(1);
    assert!(run.stderr.contains(&address) && run.stderr.contains("--listen"), "{}", run.stderr);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
