//! What a key did: how often, where, with what answer, and where those came from who have none.

use keyrack_testkit::{Answer, Database, Keyrack, Upstream, both_databases};
use serde_json::{Value, json};

use crate::support::{Caller as _, Key, now, start, wait_for};

/// How often a key is used, and refused.
const READS: u64 = 7;
const WRITES: u64 = 5;

/// Those, and a question of somebody else's door.
const GRANTED: u64 = READS + WRITES + 1;

struct Walk {
    keyrack: Keyrack,
    upstream: Upstream,
    sales: String,
    key: Key,
}

both_databases! {
    async fn what_a_key_did_is_told_to_the_last_request(database: Database) {
        let mut walk = Walk::begin(database).await;
        walk.go_about().await;
        let key = walk.key_usage("", GRANTED).await;
        Walk::the_whole_is_what_was_sent(&key);
        Walk::it_is_told_by_endpoint(&key);
        walk.it_is_told_by_secret().await;
        walk.groups_workspaces_and_the_organization_are_told_of().await;
        walk.there_is_a_table(&key).await;
        walk.the_command_line_draws_it();
        // Nothing of it is lost, or counted again.
        let before = walk.key_usage("", GRANTED + 2).await;
        walk.keyrack.restart();
        let after = walk.key_usage("", GRANTED + 2).await;
        assert_eq!((&after["total"], &after["endpoints"]), (&before["total"], &before["endpoints"]));
        for by in ["minute", "day"] {
            let same = walk.key_usage(&format!("?by={by}"), GRANTED + 2).await;
            assert_eq!((&same["total"], &same["endpoints"]), (&before["total"], &before["endpoints"]), "by {by}");
        }
    }
}

impl Walk {
    async fn begin(database: Database) -> Self {
        let keyrack = start(database);
        let (upstream, owner) = (Upstream::start().await, keyrack.owner());
        let sales = owner.make("/api/workspaces", json!({"slug": "sales"})).await["id"].as_str().unwrap().to_owned();
        owner.make_route("/contacts/:id", json!({"resource": "contacts"}), &upstream.url()).await;
        let new = json!({"name": "K3", "scopes": ["contacts:read", "contacts:write"]});
        let key = owner.make_key(new).await;
        Self { keyrack, upstream, sales, key }
    }

    async fn send(&self, method: &str, path: &str, key: &str) -> Answer {
        let request = self.keyrack.http().request(method, path).bearer(key).header("user-agent", "cron/1.0");
        let request = if method == "POST" { request.body("0123456789") } else { request };
        request.send().await
    }

    /// Reads, writes, a refusal of each kind, and questions of somebody else's door.
    async fn go_about(&self) {
        let owner = self.keyrack.owner();
        for number in 0..READS {
            self.send("GET", &format!("/contacts/{number}"), &self.key.secret).await.expect_status(200);
        }
        for number in 0..WRITES {
            self.send("POST", &format!("/contacts/{number}"), &self.key.secret).await.expect_status(200);
        }
        owner.change(&self.key.path(), json!({"scopes": ["contacts:read"]})).await;
        self.send("POST", "/contacts/1", &self.key.secret).await.expect_status(403);
        owner.change(&self.key.path(), json!({"enabled": false})).await;
        self.send("GET", "/contacts/1", &self.key.secret).await.expect_status(401);
        self.send("GET", "/contacts/1", &self.key.secret).await.expect_status(401);
        owner.change(&self.key.path(), json!({"enabled": true})).await;
        // No such route, and no such key: neither is this key's.
        self.send("GET", "/nothing", &self.key.secret).await.expect_status(404);
        let unknown = format!("{}x", &self.key.secret[..self.key.secret.len() - 1]);
        self.send("GET", "/contacts/1", &unknown).await.expect_status(401);
        self.send("GET", "/contacts/1", "junk").await.expect_status(401);
        let question = json!({
            "key": self.key.secret, "method": "GET", "path": "/invoices/4711/lines", "cost": 3, "ip": "198.51.100.7",
            "user_agent": "in\u{0}voices\u{1b}[31m",
        });
        let valid = owner.post("/api/verify").json(&question).send().await.expect_status(200).json();
        assert_eq!(valid["valid"], true);
        let mut peek = question;
        peek["peek"] = json!(true);
        owner.post("/api/verify").json(&peek).send().await.expect_status(200);
        assert_eq!(self.upstream.count(), usize::try_from(READS + WRITES).unwrap());
    }

    /// The usage of the key once all of it is written down.
    async fn key_usage(&self, query: &str, granted: u64) -> Value {
        let path = format!("{}/usage{query}", self.key.path());
        wait_for("all that was sent", async || {
            let usage = self.keyrack.owner().show(&path).await;
            let total = &usage["total"];
            // How much went through is noted when the last of it has gone: after the answer is here.
            let has_bytes = total["bytes_in"] == 10 * WRITES && total["bytes_out"] != 0;
            (total["granted"] == granted && total["denied"] == 3 && has_bytes).then_some(usage)
        })
        .await
    }

    fn the_whole_is_what_was_sent(usage: &Value) {
        let total = &usage["total"];
        assert_eq!(total["denials"], json!({"INSUFFICIENT_SCOPE": 1, "DISABLED": 2}));
        assert_eq!(total["units"], READS + WRITES + 3);
        assert_eq!(total["bytes_in"], 10 * WRITES);
        let latency = |name: &str| total["latency"][name].as_f64().unwrap();
        assert!(
            latency("p50_ms") > 0.0 && latency("p99_ms") >= latency("p50_ms") && latency("mean_ms") > 0.0,
            "{total}"
        );
        let times = usage["times"].as_array().unwrap();
        assert_eq!(times.len(), 24);
        let sum: u64 = times.iter().map(|time| time["total"]["granted"].as_u64().unwrap()).sum();
        assert_eq!(sum, GRANTED);
        let until: jiff::Timestamp = usage["until"].as_str().unwrap().parse().unwrap();
        assert!(until > now() && until.duration_since(now()) <= jiff::SignedDuration::from_hours(1));
    }

    fn it_is_told_by_endpoint(usage: &Value) {
        let told: Vec<Value> = usage["endpoints"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| json!([e["endpoint"], e["method"], e["status"], e["denial"], e["requests"]]))
            .collect();
        let mut expected = [
            json!(["/contacts/:id", "GET", "2xx", null, READS]),
            json!(["/contacts/:id", "POST", "2xx", null, WRITES]),
            json!(["/contacts/:id", "GET", "4xx", "DISABLED", 2]),
            json!(["/contacts/:id", "POST", "4xx", "INSUFFICIENT_SCOPE", 1]),
            json!(["/invoices/:id/lines", "GET", null, null, 1]),
        ];
        assert_eq!(told[..3], expected[..3]);
        let mut rest = told[3..].to_vec();
        rest.sort_by_key(ToString::to_string);
        expected[3..].sort_by_key(ToString::to_string);
        assert_eq!(rest, expected[3..]);
    }

    /// While two secrets live, each has counts and a last use of its own.
    async fn it_is_told_by_secret(&self) {
        let owner = self.keyrack.owner();
        let path = format!("{}/rotate", self.key.path());
        let rotated = owner.post(&path).json(&json!({})).send().await.expect_status(200).json();
        let new = rotated["secret"].as_str().unwrap();
        self.send("GET", "/contacts/1", new).await.expect_status(200);
        let usage = wait_for("the use of the new secret", async || {
            let usage = owner.show(&format!("{}/usage", self.key.path())).await;
            (usage["secrets"][1]["total"]["bytes_out"].as_u64()? > 0).then_some(usage)
        })
        .await;
        let [old, new] = usage["secrets"].as_array().unwrap().as_slice() else { panic!("{usage}") };
        assert_eq!((&old["version"], &old["total"]["granted"]), (&json!(1), &json!(GRANTED)));
        assert_eq!((&old["last_address"], &old["last_user_agent"]), (&json!("198.51.100.7"), &json!("in voices [31m")));
        assert_eq!((&new["version"], &new["total"]["granted"]), (&json!(2), &json!(1)));
        assert_eq!((&new["last_address"], &new["last_user_agent"]), (&json!("127.0.0.1"), &json!("cron/1.0")));
        let secrets = owner.show(&format!("{}/secrets", self.key.path())).await;
        assert_eq!(secrets["data"][1]["last_used_at"], new["last_used_at"]);
        assert_eq!((&old["used_from"], &new["used_from"]), (&json!([]), &json!([])), "only once it is replaced");
        self.send("GET", "/contacts/1", &self.key.secret).await.expect_status(200);
        let from = wait_for("the use of the old secret", async || {
            let usage = owner.show(&format!("{}/usage", self.key.path())).await;
            usage["secrets"][0]["used_from"][0]["address"].as_str().map(str::to_owned)
        })
        .await;
        assert_eq!(from, "127.0.0.1");
        // What was counted of the key before is counted of it still; the walk goes on with the old one.
        owner.ask("DELETE", &format!("{}/secrets/2", self.key.path())).send().await.expect_status(409);
    }

    async fn groups_workspaces_and_the_organization_are_told_of(&self) {
        let owner = self.keyrack.owner();
        let bound = owner.make_key(json!({"name": "bound", "workspace": "sales", "scopes": ["contacts:read"]})).await;
        let question = json!({"key": bound.secret, "workspace": "sales"});
        for _ in 0..4 {
            owner.post("/api/verify").json(&question).send().await.expect_status(200);
        }
        let of_sales = wait_for("the workspace's", async || {
            let usage = owner.show("/api/usage?workspace=sales").await;
            (usage["total"]["granted"] == 4).then_some(usage)
        })
        .await;
        assert_eq!(of_sales["top_keys"].as_array().unwrap().len(), 1);
        assert_eq!(of_sales["top_keys"][0]["name"], "bound");
        assert_eq!(owner.show(&format!("/api/usage?workspace={}", self.sales)).await["total"], of_sales["total"]);

        let all = owner.show("/api/usage").await;
        let granted = GRANTED + 2 + 4;
        assert_eq!(all["total"]["granted"], granted);
        assert_eq!(all["total"]["denials"], json!({"INSUFFICIENT_SCOPE": 1, "DISABLED": 2, "NOT_FOUND": 2}));
        assert_eq!(all["unknown_from"], json!([{"network": "127.0.0.0/24", "requests": 2}]));
        assert_eq!(all["unused_keys"], 0, "none is that old");
        let top: Vec<&Value> = all["top_keys"].as_array().unwrap().iter().map(|key| &key["name"]).collect();
        assert_eq!(top, ["K3", "bound"]);
        let group = owner.show(&self.key.path()).await["group"].as_str().unwrap().to_owned();
        assert_eq!(owner.show(&format!("/api/usage?group={group}")).await["total"]["granted"], granted);

        // A key of the workspace that may look sees that one's, and nothing else.
        let access = owner.show("/api/settings").await["access_groups"][0].clone();
        let reader = json!({"name": "reader", "group": access, "workspace": "sales", "scopes": ["keyrack.usage:read"]});
        let reader = owner.make_key(reader).await;
        let look = async |path: &str| self.keyrack.http().get(path).bearer(&reader.secret).send().await;
        assert_eq!(look("/api/usage").await.expect_status(200).json()["total"]["granted"], 4);
        look("/api/usage?workspace=nothing").await.expect_status(404);
        look(&format!("/api/usage?group={group}")).await.expect_status(403);
        look("/api/usage?instance=true").await.expect_status(403);
        look(&format!("{}/usage", bound.path())).await.expect_status(403);
        let instance = owner.show("/api/usage?instance=true").await;
        assert_eq!(instance["total"]["granted"], 0);
    }

    async fn there_is_a_table(&self, usage: &Value) {
        let path = format!("{}/usage?format=csv&by=day", self.key.path());
        let table = self.keyrack.owner().get(&path).send().await.expect_status(200);
        assert_eq!(table.header("content-type"), Some("text/csv"));
        let text = table.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1 + usage["endpoints"].as_array().unwrap().len(), "{text}");
        let start = usage["from"].as_str().unwrap();
        let row = format!("/contacts/:id,POST,2xx,,{WRITES},{WRITES},{},", 10 * WRITES);
        assert!(lines.iter().any(|line| line.contains(&row)), "{start} {text}");
    }

    fn the_command_line_draws_it(&self) {
        let shown = self.keyrack.command("usage").arg(&self.key.id).run().success().stdout;
        assert!(shown.contains("█") && shown.contains("/contacts/:id") && shown.contains("and 3 denied"), "{shown}");
        let shown = self.keyrack.command("usage").run().success().stdout;
        assert!(shown.contains("127.0.0.0/24") && shown.contains("bound"), "{shown}");
        let none = ["--from", "2020-01-01T00:00:00Z", "--until", "2020-01-01T00:00:00Z"];
        let shown = self.keyrack.command("usage").args(none).run().success().stdout;
        assert!(shown.contains("no requests"), "{shown}");
        let table = self.keyrack.command("usage").arg("--csv").run().success().stdout;
        assert!(table.starts_with("start,endpoint,method"), "{table}");
    }
}
