//! What was acknowledged stays: over a second `keyrack init`, a restart and a crash.

use keyrack_testkit::postgres::PrivateCluster;
use keyrack_testkit::{Database, Http, Keyrack, Program, Upstream};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::{Caller as _, KEYRACK, Key, Person, expect_unknown, start, wait_for};

const LISTS: [&str; 8] = [
    "/api/organizations",
    "/api/groups",
    "/api/keys?limit=200",
    "/api/members",
    "/api/workspaces",
    "/api/routes",
    "/api/settings",
    "/api/audit?limit=200",
];

/// All that can be listed, but for when keys were used.
async fn state(owner: &Http) -> Vec<Value> {
    let mut state = Vec::new();
    for path in LISTS {
        let mut list = owner.show(path).await;
        for entry in list["data"].as_array_mut().into_iter().flatten() {
            entry.as_object_mut().unwrap().remove("last_used_at");
        }
        state.push(list);
    }
    state
}

/// An instance with something of every kind, and a key for the route in it.
async fn furnish(keyrack: &Keyrack, upstream: &Upstream) -> Key {
    let owner = keyrack.owner();
    owner.make("/api/workspaces", json!({"slug": "web"})).await;
    owner.make("/api/groups", json!({"name": "hooks", "key_format": {"prefix": "hk_", "body": "hex"}})).await;
    owner.make("/api/organizations", json!({"slug": "beta", "owner_email": keyrack.owner_email})).await;
    owner.make_route("/svc/:workspace/jobs", json!({"resource": "jobs"}), &upstream.url()).await;
    owner.change("/api/settings", json!({"access_groups": ["management", "hooks"]})).await;
    let wanted = json!({"name": "worker", "group": "hooks", "workspace": "web", "level": "read_write"});
    let worker = owner.make_key(wanted).await;
    owner.change(&worker.path(), json!({"metadata": {"team": "ops"}, "ip_allowlist": ["127.0.0.0/8"]})).await;
    worker
}

keyrack_testkit::both_databases! {
    async fn a_second_init_changes_nothing(database: Database) {
        let (keyrack, upstream) = (start(database), Upstream::start().await);
        let worker = furnish(&keyrack, &upstream).await;
        let owner = keyrack.owner();
        let before = state(&owner).await;
        let keyfile = std::fs::read(&keyrack.keyfile).unwrap();

        // With other names, and with the same.
        for (organization, email) in [("second", "eve@second.test"), ("acme", keyrack.owner_email.as_str())] {
            let init = keyrack.command("init").args(["--organization", organization, "--owner-email", email]);
            let said = init.args(["--owner-password-stdin", "--json"]).stdin("another password of theirs\n");
            let said = said.run().success().json();
            assert_eq!((&said["initialized"], said.get("management_key")), (&json!(false), None));
        }

        assert_eq!(state(&owner).await, before);
        assert_eq!(std::fs::read(&keyrack.keyfile).unwrap(), keyfile);
        keyrack.http().get("/svc/web/jobs").bearer(&worker.secret).send().await.expect_status(200);
        for email in ["eve@second.test", &keyrack.owner_email] {
            let credentials = json!({"email": email, "password": "another password of theirs"});
            expect_unknown(keyrack.http().post("/api/session").json(&credentials).send().await);
        }
        Person::owner(&keyrack).await;
    }

    async fn a_restart_keeps_everything(database: Database) {
        let (mut keyrack, upstream) = (start(database), Upstream::start().await);
        let worker = furnish(&keyrack, &upstream).await;
        let revoked = keyrack.owner().make_key(json!({"name": "revoked", "level": "read_write"})).await;
        keyrack.owner().revoke(&revoked).await;
        let ada = Person::owner(&keyrack).await;
        let before = state(&keyrack.owner()).await;

        keyrack.restart();

        assert_eq!(state(&keyrack.owner()).await, before);
        let http = keyrack.http();
        let answer = http.post("/svc/web/jobs").bearer(&worker.secret).send().await.expect_status(200);
        assert_eq!(upstream.seen().len(), 1, "{}", answer.text());
        expect_unknown(http.post("/svc/web/jobs").bearer(&revoked.secret).send().await);
        // Who was signed in still is.
        http.get("/api/session").header("cookie", &ada.cookie).send().await.expect_status(200);
    }

    /// Keys are made one after the other until the process dies in the midst of it.
    async fn a_crash_loses_no_acknowledged_key(database: Database) {
        const WANTED: usize = 20;
        let (mut keyrack, upstream) = (start(database), Upstream::start().await);
        let worker = furnish(&keyrack, &upstream).await;
        keyrack.owner().revoke(&worker).await;
        let made = watch::Sender::new(Vec::<Key>::new());
        let (owner, acknowledged) = (keyrack.owner(), made.clone());
        let making = tokio::spawn(async move {
            for number in 0.. {
                let wanted = json!({"name": format!("key {number}"), "workspace": "web", "level": "read_only"});
                let Ok(answer) = owner.post("/api/keys").json(&wanted).try_send().await else { return };
                let key = Key::of(&answer.expect_status(201).json());
                acknowledged.send_modify(|made| made.push(key));
            }
        });
        made.subscribe().wait_for(|made| made.len() >= WANTED).await.unwrap();
        keyrack.crash();
        making.await.unwrap();
        keyrack.start_again();

        let made = made.borrow().clone();
        assert!(made.len() >= WANTED);
        for key in made {
            keyrack.http().get("/svc/web/jobs").bearer(&key.secret).send().await.expect_status(200);
            assert_eq!(keyrack.owner().show(&key.path()).await["status"], "active");
        }
        expect_unknown(keyrack.http().get("/svc/web/jobs").bearer(&worker.secret).send().await);
    }
}

/// The part of PostgreSQL that renews our lease is stopped for longer than anybody waits for it. Nobody is let in on old
/// knowledge meanwhile, and nothing has to be restarted afterwards.
#[test]
fn a_database_that_falls_silent_for_a_while_is_served_again() {
    let Some(cluster) = PrivateCluster::start() else { return };
    let url = cluster.fresh_database();
    let keyrack = Keyrack::setup(KEYRACK, Database::Postgres).database_url(&url).start();
    let database = url.rsplit('/').next().unwrap();
    let renewing = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'UPDATE node%'";
    let renewing = cluster.sql(database, renewing);
    let signal = |name: &str| Program::new("kill").args([name, renewing.trim()]).run().success();
    keyrack_testkit::database::run(async {
        let status = async || keyrack.http().get("/api/session").bearer(&keyrack.management_key).send().await.status;
        assert_eq!(status().await, 200);
        signal("-STOP");
        wait_for("the refusal", async || (status().await == 503).then_some(())).await;
        signal("-CONT");
        wait_for("the way back", async || (status().await == 200).then_some(())).await;
    });
}
