//! A disk that is full or read-only, and a PostgreSQL that goes away: what can go on goes on, what cannot is refused, and
//! afterwards everything is as it was, without a restart.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use keyrack_testkit::postgres::PrivateCluster;
use keyrack_testkit::{Answer, Database, Http, Keyrack, Program, Upstream};
use serde_json::{Value, json};

use crate::support::{KEYRACK, text, wait_for};

/// Set in the process that has been given a disk of its own: where that is.
const DISK: &str = "KEYRACK_IT_DISK";

/// Runs one test of this binary again, in a process that has a disk of a few megabytes which only it sees.
fn on_a_small_disk(test: &str) {
    let directory = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size=3m,mode=700 tmpfs '{}'", directory.path().display());
    let starters: [&[&str]; 2] = [&["unshare", "--mount"], &["unshare", "--map-root-user", "--mount"]];
    let is_permitted = |starter: &&&[&str]| {
        let tried = Command::new(starter[0]).args(&starter[1..]).args(["sh", "-c", &mount]).output();
        tried.is_ok_and(|output| output.status.success())
    };
    let Some(starter) = starters.iter().find(is_permitted) else {
        // Not by eprintln, which the test harness would swallow.
        drop(writeln!(std::io::stderr(), "left out: {test}: this system lets us mount no disk"));
        return;
    };
    let script = format!("{mount}; exec \"$0\" --exact {test} --nocapture --test-threads=1");
    let program = Program::new(starter[0]).args(&starter[1..]).args(["sh", "-ec", &script]);
    let run = program.arg(std::env::current_exe().unwrap()).env(DISK, directory.path()).run().success();
    assert!(run.stdout.contains("1 passed"), "{}", run.stdout);
}

fn disk() -> Option<PathBuf> {
    std::env::var_os(DISK).map(PathBuf::from)
}

/// Takes all the room that is left.
fn fill(file: &Path) {
    let mut ballast = fs::File::create(file).unwrap();
    for size in [65_536, 4096, 1] {
        while ballast.write_all(&vec![0; size]).is_ok() {}
    }
}

/// A key, a door it opens, and the one who asks.
struct Scene {
    keyrack: Keyrack,
    key: String,
    path: String,
    _upstream: Upstream,
}

impl Scene {
    async fn set(keyrack: Keyrack) -> Self {
        let upstream = Upstream::start().await;
        let owner = keyrack.owner();
        let target = json!({"kind": "upstream", "url": upstream.url()});
        let door = json!({"path": "/door", "guard": {"resource": "contacts"}, "target": target});
        owner.post("/api/routes").json(&door).send().await.expect_status(201);
        let made = owner.post("/api/keys").json(&json!({"name": "caller"})).send().await.expect_status(201).json();
        let (key, path) = (text(&made["secret"]), format!("/api/keys/{}", text(&made["key"]["id"])));
        Self { keyrack, key, path, _upstream: upstream }
    }

    fn owner(&self) -> Http {
        self.keyrack.owner()
    }

    /// The statuses of a question about the key, and of a call with it.
    async fn decisions(&self) -> [u16; 2] {
        let question = json!({"key": self.key, "scope": "contacts:read"});
        let verified = self.owner().post("/api/verify").json(&question).send().await;
        assert!(verified.status != 200 || verified.json()["valid"] == true, "{}", verified.text());
        [verified.status, self.keyrack.http().get("/door").bearer(&self.key).send().await.status]
    }

    async fn make_key(&self, name: &str) -> Answer {
        self.owner().post("/api/keys").json(&json!({"name": name, "description": "x".repeat(900)})).send().await
    }

    /// Every change there is a button for; nothing of it is to happen.
    async fn changes(&self) -> Vec<Answer> {
        let owner = self.owner();
        let import = json!({"keys": [{"name": "late", "key": "imported-when-it-was-too-late"}]});
        let person = json!({"email": "late@acme.test", "role": "member"});
        let sign_in = json!({"email": self.keyrack.owner_email, "password": self.keyrack.owner_password});
        let requests = vec![
            owner.post("/api/keys").json(&json!({"name": "late"})),
            owner.post("/api/keys/import").json(&import),
            owner.request("PATCH", &self.path).json(&json!({"enabled": false})),
            owner.post(&format!("{}/rotate", self.path)).json(&json!({"overlap_seconds": 0})),
            owner.post(&format!("{}/revoke", self.path)),
            owner.request("DELETE", &self.path),
            owner.post("/api/groups").json(&json!({"name": "late"})),
            owner.post("/api/workspaces").json(&json!({"slug": "late"})),
            owner.post("/api/members").json(&person),
            owner.request("PATCH", "/api/settings").json(&json!({"access_groups": []})),
            self.keyrack.http().post("/api/session").json(&sign_in),
        ];
        // Side by side: each may wait for its database as long as that has patience.
        let each: Vec<_> = requests.into_iter().map(|request| tokio::spawn(request.send())).collect();
        let mut answers = Vec::new();
        for answer in each {
            answers.push(answer.await.unwrap());
        }
        answers
    }

    /// What is shown, but for when keys were last used.
    async fn state(&self) -> Value {
        let mut state = Vec::new();
        for path in [
            "/api/keys?limit=200",
            "/api/groups",
            "/api/workspaces",
            "/api/members",
            "/api/settings",
            "/api/audit?limit=200",
        ] {
            let mut page = self.owner().get(path).send().await.expect_status(200).json();
            for row in page["data"].as_array_mut().into_iter().flatten() {
                row.as_object_mut().unwrap().remove("last_used_at");
            }
            state.push(page);
        }
        json!(state)
    }
}

#[track_caller]
fn expect_unavailable(answer: &Answer) {
    assert_eq!((answer.status, &answer.json()["error"]), (503, &json!("unavailable")), "{}", answer.text());
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(!answer.text().contains("sql") && !answer.text().contains("disk"), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_decisions_go_on_and_changes_are_refused_until_there_is_room() {
    let Some(disk) = disk() else {
        return on_a_small_disk("outages::on_a_full_disk_decisions_go_on_and_changes_are_refused_until_there_is_room");
    };
    let url = format!("sqlite:{}", disk.join("k.db").display());
    let keyrack =
        Keyrack::setup(KEYRACK, Database::Sqlite).database_url(url).args(["--egress-allow", "127.0.0.1/32"]).start();
    let mut scene = Scene::set(keyrack).await;
    let ballast = disk.join("ballast");
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        fill(&ballast);
        // What the database has room for in its own files is taken; then no more is.
        let refused = loop {
            let answer = scene.make_key(&format!("key {}", acknowledged.len())).await;
            if answer.status != 201 {
                break answer;
            }
            acknowledged.push(text(&answer.json()["secret"]));
            assert!(acknowledged.len() < 2000, "the disk does not fill up");
        };
        expect_unavailable(&refused);
        let before = scene.state().await;
        for answer in scene.changes().await {
            expect_unavailable(&answer);
            assert_eq!(scene.decisions().await, [200, 200], "round {round}");
        }
        assert_eq!(scene.state().await, before, "round {round}");
        scene.keyrack.http().get("/health/ready").send().await.expect_status(200);

        fs::remove_file(&ballast).unwrap();
        let made = scene.make_key(&format!("key {}", acknowledged.len())).await.expect_status(201);
        acknowledged.push(text(&made.json()["secret"]));
        assert_eq!(scene.decisions().await, [200, 200], "round {round}");
    }
    // Uses that could not be written down are written now.
    wait_for("the last use", async || {
        let shown = scene.owner().get(&scene.path).send().await.expect_status(200).json();
        shown["last_used_at"].is_string().then_some(())
    })
    .await;
    // Nothing that was acknowledged is lost, and nothing that was refused is there.
    for restarted in [false, true] {
        if restarted {
            scene.keyrack.restart();
        }
        for key in &acknowledged {
            scene.keyrack.http().get("/api/session").bearer(key).send().await.expect_status(200);
        }
        let late = scene.owner().get("/api/keys?name=late").send().await.expect_status(200).json();
        assert_eq!(late["data"], json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_read_only_disk_it_says_so_and_serves_once_it_can_write() {
    let Some(disk) = disk() else {
        return on_a_small_disk("outages::on_a_read_only_disk_it_says_so_and_serves_once_it_can_write");
    };
    let url = format!("sqlite:{}", disk.join("k.db").display());
    let keyrack =
        Keyrack::setup(KEYRACK, Database::Sqlite).database_url(url).args(["--egress-allow", "127.0.0.1/32"]).start();
    let mut scene = Scene::set(keyrack).await;
    let before = scene.state().await;
    scene.keyrack.stop();
    let remount = |how: &str| {
        let options = format!("remount,{how}");
        assert!(Command::new("mount").args(["-o", &options]).arg(&disk).status().unwrap().success(), "{how}");
    };
    remount("ro");
    for words in [&["serve", "--listen", "127.0.0.1:0"][..], &["keys", "list"], &["keys", "create", "--name", "late"]] {
        let run = scene.keyrack.command(words[0]).args(&words[1..]).run().expect_code(1);
        // Whichever file it comes to first: that of the database, or the lock beside it.
        let told = run.stderr.to_lowercase();
        let says_why = ["read-only", "readonly", "not available"].iter().any(|words| told.contains(words));
        assert!(says_why, "{words:?}: {}", run.stderr);
        assert!(run.stdout.is_empty(), "{words:?}: {}", run.stdout);
    }
    remount("rw");
    scene.keyrack.start_again();
    assert_eq!(scene.state().await, before);
    assert_eq!(scene.decisions().await, [200, 200]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_postgresql_it_decides_nothing_and_then_goes_on_where_it_was() {
    let Some(mut cluster) = PrivateCluster::start() else { return };
    let url = cluster.fresh_database();
    let setup = Keyrack::setup(KEYRACK, Database::Postgres).database_url(url);
    let scene = Scene::set(setup.args(["--egress-allow", "127.0.0.1/32"]).start()).await;
    let mut acknowledged = Vec::new();
    for round in 0..2 {
        acknowledged.push(text(&scene.make_key(&format!("before {round}")).await.expect_status(201).json()["secret"]));
        assert_eq!(scene.decisions().await, [200, 200]);
        let before = scene.state().await;

        tokio::task::block_in_place(|| cluster.stop());
        // Another node might be let in by now, so it must not rely on what it knows.
        let stopped = Instant::now();
        wait_for("the first refusal", async || (scene.decisions().await == [503, 503]).then_some(())).await;
        let took = stopped.elapsed();
        assert!(took < Duration::from_secs(2), "it went on deciding for {took:?}");
        let begun = Instant::now();
        for answer in scene.changes().await {
            expect_unavailable(&answer);
        }
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        for _ in 0..20 {
            assert_eq!(scene.decisions().await, [503, 503]);
        }
        let asked = scene.owner().post("/api/verify").json(&json!({"key": scene.key})).send().await;
        expect_unavailable(&asked);
        scene.keyrack.http().get("/health/ready").send().await.expect_status(503);
        scene.keyrack.http().get("/health/live").send().await.expect_status(200);

        tokio::task::block_in_place(|| cluster.start_again());
        wait_for("readiness", async || {
            (scene.keyrack.http().get("/health/ready").send().await.status == 200).then_some(())
        })
        .await;
        assert_eq!(scene.decisions().await, [200, 200]);
        assert_eq!(scene.state().await, before, "nothing is lost, and nothing that was refused is there");
        for key in &acknowledged {
            scene.keyrack.http().get("/api/session").bearer(key).send().await.expect_status(200);
        }
        scene.make_key(&format!("after {round}")).await.expect_status(201);
    }
}
