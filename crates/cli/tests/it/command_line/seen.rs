//! What is changed on the database beside a running server, and when that server knows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keyrack_testkit::{Database, Http, Keyrack, both_databases};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{start, text};

/// Runs a command over the database and gives the JSON it prints.
fn run(keyrack: &Keyrack, subcommand: &str, words: &[&str]) -> Value {
    keyrack.command(subcommand).args(words).arg("--json").run().success().json()
}

async fn status(http: &Http, key: &str) -> u16 {
    http.get("/api/session").bearer(key).send().await.status
}

both_databases! {
    /// A command returns when the server has seen its change: the very next request is decided by it.
    async fn what_a_command_has_changed_holds_for_the_next_request(database: Database) {
        let keyrack = start(database);
        let http = keyrack.http();
        for round in 0..3 {
            let made = run(&keyrack, "keys", &["create", "--name", &format!("key {round}")]);
            let (id, key) = (text(&made["key"]["id"]), text(&made["secret"]));
            assert_eq!(status(&http, &key).await, 200);
            run(&keyrack, "keys", &["disable", &id]);
            assert_eq!(status(&http, &key).await, 401);
            run(&keyrack, "keys", &["enable", &id]);
            assert_eq!(status(&http, &key).await, 200);
            let rotated = run(&keyrack, "keys", &["rotate", &id, "--overlap", "0"]);
            assert_eq!((status(&http, &key).await, status(&http, &text(&rotated["secret"])).await), (401, 200));
            run(&keyrack, "keys", &["revoke", &id]);
            assert_eq!(status(&http, &text(&rotated["secret"])).await, 401);
        }
        run(&keyrack, "routes", &["create", "/door", "http://127.0.0.1:9", "--public", "--name", "door"]);
        assert_eq!(http.get("/door").send().await.status, 502);
        run(&keyrack, "routes", &["disable", "door"]);
        assert_eq!(http.get("/door").send().await.status, 404);
        run(&keyrack, "organizations", &["update", "acme", "--state", "suspended"]);
        assert_eq!(status(&http, &keyrack.management_key).await, 401);
        run(&keyrack, "organizations", &["update", "acme", "--state", "active"]);
        assert_eq!(status(&http, &keyrack.management_key).await, 200);
    }
}

both_databases! {
    /// Not one request that begins after the command has returned.
    async fn a_key_that_a_command_has_revoked_lets_nobody_in(database: Database) {
        let keyrack = start(database);
        let made = run(&keyrack, "keys", &["create", "--name", "busy"]);
        let (id, key) = (text(&made["key"]["id"]), text(&made["secret"]));
        let has_returned = Arc::new(AtomicBool::new(false));
        let mut callers = Vec::new();
        for _ in 0..4 {
            let (http, key, has_returned) = (keyrack.http(), key.clone(), Arc::clone(&has_returned));
            callers.push(tokio::spawn(async move {
                let (mut before, mut after) = (0, 0);
                while after < 50 {
                    let is_after = has_returned.load(Ordering::SeqCst);
                    match (status(&http, &key).await, is_after) {
                        (200, false) => before += 1,
                        (401, true) => after += 1,
                        // Revoked, and the command has not returned yet.
                        (401, false) => {}
                        (status, is_after) => panic!("{status}, and the command had returned: {is_after}"),
                    }
                }
                before
            }));
        }
        // The command runs while they call.
        let command = keyrack.command("keys").args(["revoke", &id, "--reason", "too busy"]);
        let revoked = tokio::task::spawn_blocking(move || command.run().success()).await.unwrap();
        has_returned.store(true, Ordering::SeqCst);
        assert!(revoked.stdout.contains("it lets nobody in"), "{}", revoked.stdout);
        for caller in callers {
            assert!(caller.await.unwrap() > 0, "it was let in before");
        }
    }
}

/// Keeps a process from running until dropped.
struct Stopped(Pid);

impl Stopped {
    fn new(keyrack: &Keyrack) -> Self {
        let pid = Pid::from_raw(i32::try_from(keyrack.serving().program.id()).unwrap()).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// A server that is held up cannot say that it has seen a change.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_the_server_was_not_seen_to_apply_is_committed_and_ends_with_4() {
    let keyrack = start(Database::Sqlite);
    let made = run(&keyrack, "keys", &["create", "--name", "held"]);
    let (id, key) = (text(&made["key"]["id"]), text(&made["secret"]));
    assert_eq!(status(&keyrack.http(), &key).await, 200);
    let stopped = Stopped::new(&keyrack);
    let revoke = keyrack.command("keys").args(["revoke", &id]).run().expect_code(4);
    assert!(revoke.stderr.contains("committed") && revoke.stderr.contains("not seen"), "{}", revoke.stderr);
    assert!(revoke.stdout.is_empty(), "{}", revoke.stdout);
    // Reading waits for nobody.
    assert_eq!(run(&keyrack, "keys", &["show", &id])["key"]["status"], "revoked");
    drop(stopped);
    // The same again changes nothing, and returns when the server is as far.
    run(&keyrack, "keys", &["revoke", &id]);
    crate::support::wait_for("the refusal", async || (status(&keyrack.http(), &key).await == 401).then_some(())).await;
}

/// Two would each believe that what they know is all there is.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_a_file_refuses_and_says_why() {
    let mut keyrack = start(Database::Sqlite);
    for _ in 0..2 {
        let second = keyrack.command("serve").args(["--listen", "127.0.0.1:0"]).run().expect_code(1);
        assert!(second.stderr.contains("another keyrack serves"), "{}", second.stderr);
        assert!(second.stdout.is_empty(), "it never said that it listens: {}", second.stdout);
        keyrack.owner().get("/api/session").send().await.expect_status(200);
    }
    // A server that was killed leaves nothing that keeps the next one out.
    keyrack.crash();
    keyrack.start_again();
    keyrack.owner().get("/api/session").send().await.expect_status(200);
    let status = keyrack.stop();
    assert!(status.success(), "{status} {}", keyrack.output());
    // Without a server there is nobody to wait for.
    run(&keyrack, "keys", &["create", "--name", "in the meantime"]);
    keyrack.start_again();
    let keys = keyrack.owner().get("/api/keys?name=meantime").send().await.expect_status(200).json();
    assert_eq!(keys["data"].as_array().unwrap().len(), 1);
}
