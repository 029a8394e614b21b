//! Several processes that serve one PostgreSQL database, asked over HTTP: what one has answered holds at all of them, also
//! when one is suspended, cut off or killed, or the database is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use keyrack_testkit::postgres::PrivateCluster;
use keyrack_testkit::server::Serving;
use keyrack_testkit::{Database, Http, Keyrack, Link};
use serde_json::{Value, json};

use crate::support::{KEYRACK, text, wait_for};

/// How many keys are revoked while every node is asked for them.
const ROUNDS: usize = 1000;
/// How long a change takes at least that waits for a lease to run out: one may have run for a renewal's time already.
const FENCED: Duration = Duration::from_millis(900);

/// Three processes on one database, the last of them over a line that can be cut.
struct Nodes {
    link: Link,
    cut_off: Serving,
    second: Serving,
    keyrack: Keyrack,
    cluster: PrivateCluster,
}

impl Nodes {
    /// `None` where there is no PostgreSQL.
    async fn start() -> Option<Self> {
        let cluster = tokio::task::block_in_place(PrivateCluster::start)?;
        let url = cluster.fresh_database();
        let keyrack = Keyrack::setup(KEYRACK, Database::Postgres).database_url(&url).start();
        let link = Link::to(([127, 0, 0, 1], cluster.port()).into()).await;
        let over = url.replace(&format!(":{}/", cluster.port()), &format!(":{}/", link.address().port()));
        assert_ne!(over, url);
        let (second, cut_off) = (keyrack.another(), keyrack.another_over(&over));
        Some(Self { link, cut_off, second, keyrack, cluster })
    }

    /// Each as the instance's admin sees it.
    fn all(&self) -> [Http; 3] {
        [self.keyrack.http(), self.second.http(), self.cut_off.http()]
            .map(|http| http.with_bearer(&self.keyrack.management_key))
    }

    async fn key(&self, name: &str) -> Key {
        let made = self.keyrack.owner().post("/api/keys").json(&json!({"name": name})).send().await.expect_status(201);
        Key { path: format!("/api/keys/{}", text(&made.json()["key"]["id"])), secret: text(&made.json()["secret"]) }
    }

    async fn until_ready(&self) {
        for node in self.all() {
            wait_for("readiness", async || (node.get("/health/ready").send().await.status == 200).then_some(())).await;
        }
    }
}

#[derive(Clone)]
struct Key {
    path: String,
    secret: String,
}

impl Key {
    /// What a node decides from memory about who presents it.
    async fn status_at(&self, node: &Http) -> u16 {
        let answer = node.post("/api/verify").json(&json!({"key": self.secret})).send().await;
        match answer.status {
            200 if answer.json()["valid"] == true => 200,
            200 => 401,
            other => other,
        }
    }

    /// The same, once it decides: on a busy machine a lease may run out before it is renewed.
    async fn decided_at(&self, node: &Http) -> u16 {
        let begun = Instant::now();
        loop {
            match self.status_at(node).await {
                503 => assert!(begun.elapsed() < Duration::from_secs(20), "there is still no decision"),
                status => return status,
            }
        }
    }

    async fn revoke_at(&self, node: &Http) -> Duration {
        let begun = Instant::now();
        self.revoked_at(node).await;
        begun.elapsed()
    }

    /// How many nodes have applied the revocation, and how many have not said so, by the receipt.
    async fn revoked_at(&self, node: &Http) -> (usize, usize) {
        let answer = node.post(&format!("{}/revoke", self.path)).send().await.expect_status(200).json();
        let nodes = answer["receipt"]["nodes"].as_array().unwrap();
        let applied = nodes.iter().filter(|node| node["applied"] == true).count();
        (applied, nodes.len() - applied)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_revocations_hold_everywhere_from_the_moment_they_are_answered() {
    let Some(nodes) = Nodes::start().await else { return };
    let all = nodes.all();
    let accepted = Arc::new(AtomicUsize::new(0));
    for round in 0..ROUNDS {
        let key = nodes.key(&format!("round {round}")).await;
        for node in &all {
            assert_eq!(key.decided_at(node).await, 200, "made at one node, it works at every node");
        }
        let revoked = Arc::new(AtomicBool::new(false));
        let asking: Vec<_> = all
            .iter()
            .map(|node| {
                let (node, key, revoked) = (node.clone(), key.clone(), Arc::clone(&revoked));
                let accepted = Arc::clone(&accepted);
                tokio::spawn(async move {
                    loop {
                        let is_over = revoked.load(Ordering::SeqCst);
                        let status = key.decided_at(&node).await;
                        accepted.fetch_add(usize::from(status == 200), Ordering::SeqCst);
                        assert!(status == 401 || (status == 200 && !is_over), "{status} after {is_over}");
                        if is_over {
                            return;
                        }
                    }
                })
            })
            .collect();
        let witnesses = key.revoked_at(&all[(round * 7 + round / 3) % 3]).await;
        assert!(witnesses.0 > 0 && witnesses.0 + witnesses.1 == 3, "{witnesses:?}");
        revoked.store(true, Ordering::SeqCst);
        for asking in asking {
            asking.await.unwrap();
        }
    }
    assert!(accepted.load(Ordering::SeqCst) >= ROUNDS, "they were asked while the key still worked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_suspended_decides_nothing_by_what_it_knew() {
    let Some(nodes) = Nodes::start().await else { return };
    let [first, second, _] = nodes.all();
    for round in 0..5 {
        let key = nodes.key(&format!("round {round}")).await;
        assert_eq!(key.status_at(&second).await, 200);
        nodes.second.program.suspend();
        let took = key.revoke_at(&first).await;
        assert!(took >= FENCED, "{took:?}: it cannot have asked the suspended one");
        // Sent after the answer, received when it wakes up.
        let asked: Vec<_> = (0..20)
            .map(|_| {
                let (key, second) = (key.clone(), second.clone());
                tokio::spawn(async move { key.status_at(&second).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
        nodes.second.program.resume();
        for asked in asked {
            let status = asked.await.unwrap();
            assert!(status == 503 || status == 401, "{status}");
        }
        nodes.until_ready().await;
        assert_eq!(key.status_at(&second).await, 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_refuses_everybody_until_it_knows_again() {
    let Some(nodes) = Nodes::start().await else { return };
    let [first, _, third] = nodes.all();
    for round in 0..3 {
        let key = nodes.key(&format!("round {round}")).await;
        assert_eq!(key.status_at(&third).await, 200);
        nodes.link.cut();
        let cut = Instant::now();
        let took = key.revoke_at(&first).await;
        assert!((FENCED..Duration::from_secs(3)).contains(&took), "{took:?}");
        assert_eq!(key.status_at(&third).await, 503);
        third.get("/health/ready").send().await.expect_status(503);
        third.get("/health/live").send().await.expect_status(200);
        let (changing, name) = (third.clone(), format!("lost {round}"));
        let change =
            tokio::spawn(async move { changing.post("/api/keys").json(&json!({"name": name})).send().await.status });
        while cut.elapsed() < Duration::from_secs(3) {
            assert_eq!(key.status_at(&third).await, 503);
        }
        nodes.link.mend();
        assert_eq!(change.await.unwrap(), 503);
        nodes.until_ready().await;
        assert_eq!(key.status_at(&third).await, 401);
        let lost = first.get("/api/keys?name=lost").send().await.expect_status(200).json();
        assert_eq!(lost["data"], json!([]), "what was refused is not there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_slow_line_a_node_answers_late_or_not_at_all_and_never_wrong() {
    let Some(nodes) = Nodes::start().await else { return };
    let [first, _, third] = nodes.all();
    for (round, delay) in (0..).zip([50, 200, 450, 450, 450, 450, 450, 700]) {
        let key = nodes.key(&format!("{round}: {delay} ms")).await;
        nodes.link.slow_down(Duration::from_millis(delay));
        // Long enough for renewals that take as long; each time the revocation meets them at another point.
        let (begun, before) = (Instant::now(), Duration::from_millis(1500 + 220 * round));
        while begun.elapsed() < before {
            let status = key.status_at(&third).await;
            assert!(status == 200 || status == 503, "{status}");
        }
        let took = key.revoke_at(&first).await;
        assert!(took < Duration::from_secs(3), "{took:?}");
        let revoked = Instant::now();
        while revoked.elapsed() < Duration::from_millis(600) {
            let status = key.status_at(&third).await;
            assert!(status == 401 || status == 503, "{status} at {delay} ms");
        }
        nodes.link.mend();
        nodes.until_ready().await;
        assert_eq!(key.status_at(&third).await, 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_holds_nobody_up_for_longer_than_its_lease() {
    let Some(nodes) = Nodes::start().await else { return };
    let [first, second, _] = nodes.all();
    let key = nodes.key("billing").await;
    nodes.cut_off.program.kill();
    let begun = Instant::now();
    assert_eq!(key.revoked_at(&second).await, (2, 1), "the receipt says who has not answered");
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert_eq!([key.decided_at(&first).await, key.decided_at(&second).await], [401, 401]);
    let key = nodes.key("later").await;
    let process = nodes.keyrack.another();
    let successor = process.http().with_bearer(&nodes.keyrack.management_key);
    assert_eq!(key.decided_at(&successor).await, 200);
    key.revoke_at(&first).await;
    assert_eq!(key.decided_at(&successor).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_database_stops_no_node_decides_and_all_go_on_when_it_is_back() {
    let Some(mut nodes) = Nodes::start().await else { return };
    let (kept, revoked) = (nodes.key("kept").await, nodes.key("revoked").await);
    for round in 0..2 {
        let all = nodes.all();
        if round == 0 {
            revoked.revoke_at(&all[1]).await;
        }
        tokio::task::block_in_place(|| nodes.cluster.stop());
        for node in &all {
            wait_for("the refusal", async || (kept.status_at(node).await == 503).then_some(())).await;
            assert_eq!(revoked.status_at(node).await, 503);
        }
        tokio::task::block_in_place(|| nodes.cluster.start_again());
        nodes.until_ready().await;
        for node in &nodes.all() {
            assert_eq!((kept.status_at(node).await, revoked.status_at(node).await), (200, 401));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nodes_are_listed_for_who_may_see_them() {
    let Some(mut nodes) = Nodes::start().await else { return };
    let listed = async |nodes: &Nodes| -> Vec<Value> {
        let answer = nodes.keyrack.owner().get("/api/nodes").send().await.expect_status(200).json();
        answer["data"].as_array().unwrap().clone()
    };
    let three = listed(&nodes).await;
    assert_eq!(three.len(), 3);
    for node in &three {
        assert_eq!((&node["live"], &node["lag"]), (&json!(true), &json!(0)), "{node}");
        assert_eq!(node["version"], env!("CARGO_PKG_VERSION"));
        assert!(node["silent_for_ms"].as_i64().unwrap() < 1000, "{node}");
    }
    nodes.link.cut();
    wait_for("the end of a lease", async || {
        let silent: Vec<_> = listed(&nodes).await.into_iter().filter(|node| node["live"] == false).collect();
        (silent.len() == 1).then_some(())
    })
    .await;
    let shown = nodes.keyrack.command("nodes").run().success().stdout;
    assert_eq!((shown.matches("held").count(), shown.matches("run out").count()), (2, 1), "{shown}");
    nodes.link.mend();

    // One that ends in good order says so.
    nodes.second.program.terminate();
    assert!(nodes.second.program.wait().success());
    assert_eq!(listed(&nodes).await.len(), 2);
    let json = nodes.keyrack.command("nodes").arg("--json").run().success().json();
    assert_eq!(json.as_array().unwrap().len(), 2);

    let new = json!({"name": "no admin of the instance", "group": "management", "scopes": ["keyrack.*:admin"]});
    let made = nodes.keyrack.owner().post("/api/keys").json(&new).send().await.expect_status(201).json();
    let refused = nodes.keyrack.http().get("/api/nodes").bearer(text(&made["secret"])).send().await.expect_status(403);
    assert_eq!(refused.json()["error"], "insufficient_scope");
    nodes.keyrack.http().get("/api/nodes").send().await.expect_status(401);
}
