//! A machine's clock that is set wrong: what has expired stays so, and nothing is decided or written down by a time that
//! cannot be.

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use keyrack_testkit::{Database, Keyrack, both_databases};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{KEYRACK, text, wait_for};

/// When the tests begin.
const START: Timestamp = Timestamp::constant(1_800_000_000, 0);

/// What the clock shows, and until when time has passed in truth.
struct Clock {
    directory: TempDir,
}

impl Clock {
    fn new() -> Self {
        let clock = Self { directory: tempfile::tempdir().unwrap() };
        clock.show(0, 0);
        clock
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("clock")
    }

    /// Both in minutes from the start.
    fn show(&self, wall: i64, passed: i64) {
        let new = self.directory.path().join("new");
        std::fs::write(&new, format!("{} {}", minute(wall), minute(passed))).unwrap();
        // At once, so that nobody reads half of it.
        std::fs::rename(new, self.file()).unwrap();
    }

    fn start(&self, database: Database) -> Keyrack {
        Keyrack::setup(KEYRACK, database).env("KEYRACK_TEST_CLOCK", self.file()).start()
    }
}

fn minute(minutes: i64) -> Timestamp {
    START + SignedDuration::from_mins(minutes)
}

async fn until(keyrack: &Keyrack, status: u16) {
    let ready = async || (keyrack.http().get("/health/ready").send().await.status == status).then_some(());
    wait_for(&format!("{status} of /health/ready"), ready).await;
}

async fn create(keyrack: &Keyrack, name: &str, more: serde_json::Value) -> serde_json::Value {
    let mut body = json!({"name": name});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    keyrack.owner().post("/api/keys").json(&body).send().await.expect_status(201).json()
}

async fn code(keyrack: &Keyrack, secret: &str) -> String {
    let asked = keyrack.owner().post("/api/verify").json(&json!({"key": secret})).send().await;
    text(&asked.expect_status(200).json()["code"])
}

both_databases! {
    async fn a_jump_ahead_is_not_believed_and_leaves_no_trace(database: Database) {
        let clock = Clock::new();
        let keyrack = clock.start(database);
        let secret = text(&create(&keyrack, "billing", json!({"expires_at": minute(30)})).await["secret"]);
        clock.show(4, 0);
        assert_eq!(code(&keyrack, &secret).await, "VALID", "a clock may be a little ahead");

        clock.show(60 * 24 * 365, 0);
        until(&keyrack, 503).await;
        let refused = keyrack.owner().post("/api/verify").json(&json!({"key": secret})).send().await.expect_status(503);
        assert!(text(&refused.json()["message"]).contains("keyrack doctor"), "{}", refused.text());
        keyrack.owner().post("/api/keys").json(&json!({"name": "lost"})).send().await.expect_status(503);
        keyrack.http().get("/health/live").send().await.expect_status(200);

        clock.show(1, 1);
        until(&keyrack, 200).await;
        assert_eq!(code(&keyrack, &secret).await, "VALID", "it has not expired");
        let made = create(&keyrack, "lost", json!({})).await;
        assert_eq!(text(&made["key"]["created_at"]), minute(1).to_string(), "nothing of next year was written down");
    }

    async fn a_jump_that_is_accepted_is_the_time_it_is(database: Database) {
        let clock = Clock::new();
        let keyrack = clock.start(database);
        let secret = text(&create(&keyrack, "billing", json!({"expires_at": minute(30)})).await["secret"]);
        clock.show(20, 0);
        until(&keyrack, 503).await;
        let doctor = keyrack.command("doctor").arg("--accept-clock").run().success().stdout;
        assert!(doctor.contains(&minute(20).to_string()), "{doctor}");
        until(&keyrack, 200).await;
        assert_eq!(code(&keyrack, &secret).await, "VALID");
        let audit = keyrack.owner().get("/api/audit?limit=5").send().await.expect_status(200);
        assert!(!audit.text().contains("clock_accepted"), "a matter of the instance, not of an organization");
        clock.show(29, 8);
        assert_eq!(code(&keyrack, &secret).await, "VALID", "from there it goes on");
        clock.show(31, 11);
        assert_eq!(code(&keyrack, &secret).await, "EXPIRED");
    }

    async fn a_clock_that_is_set_back_brings_nothing_back(database: Database) {
        let clock = Clock::new();
        let mut keyrack = clock.start(database);
        let secret = text(&create(&keyrack, "billing", json!({"expires_at": minute(30)})).await["secret"]);
        clock.show(31, 31);
        create(&keyrack, "later", json!({})).await;
        for is_restarted in [false, true] {
            if is_restarted {
                keyrack.restart();
            }
            clock.show(10, 31);
            assert_eq!(code(&keyrack, &secret).await, "EXPIRED");
            let made = create(&keyrack, &format!("restarted: {is_restarted}"), json!({})).await;
            assert_eq!(text(&made["key"]["created_at"]), minute(31).to_string());
        }
    }

    async fn after_a_month_without_a_word_somebody_has_to_say_that_the_clock_is_right(database: Database) {
        const MONTH: i64 = 30 * 24 * 60;
        let clock = Clock::new();
        let mut keyrack = clock.start(database);
        let secret = text(&create(&keyrack, "billing", json!({})).await["secret"]);
        assert!(keyrack.stop().success());
        clock.show(MONTH + 10, 0);
        keyrack.start_again();
        until(&keyrack, 503).await;
        let doctor = keyrack.command("doctor").run().expect_code(1);
        assert!(doctor.stdout.contains("--accept-clock"), "{}", doctor.stdout);
        let refused = keyrack.command("keys").args(["create", "--name", "lost"]).run().expect_code(1);
        assert!(refused.stderr.contains("keyrack doctor"), "{}", refused.stderr);

        keyrack.command("doctor").arg("--accept-clock").run().success();
        until(&keyrack, 200).await;
        keyrack.command("doctor").run().success();
        assert_eq!(code(&keyrack, &secret).await, "VALID");
        let names = keyrack.owner().get("/api/keys?name=lost").send().await.expect_status(200).json();
        assert_eq!(names["data"], json!([]));
    }
}
