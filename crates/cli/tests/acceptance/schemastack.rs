//! Keys bound to one workspace, read-only or read and write: what an API over customers' own entities needs.
//!
//! A route with the organization and the workspace in its path stands where collections will.

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use keyrack_testkit::{Answer, Database, Http, Keyrack, Upstream};
use serde_json::{Value, json};

use crate::support::{
    Caller as _, Key, Person, each, expect_expiry, expect_refusal, expect_unknown, in_seconds, select, start, wait_for,
};

const CUSTOMERS: &str = "/svc/acme/sales/Customer";
const CUSTOMER: &str = "/svc/acme/sales/Customer/1";

keyrack_testkit::both_databases! {
    async fn a_key_is_good_in_its_workspace_and_unknown_everywhere_else(database: Database) {
        let walk = Walk::begin(database).await;
        walk.a_read_only_key_reads_and_changes_nothing().await;
        walk.a_read_and_write_key_does_both().await;
        walk.elsewhere_a_key_is_as_unknown_as_junk().await;
        walk.without_a_good_key_there_is_one_answer().await;
        walk.a_key_ends_when_it_was_said_to().await;
        walk.a_row_holds_no_token_and_not_its_hash().await;
        walk.a_key_shows_when_it_was_last_used().await;
        walk.a_revoked_key_lets_nobody_in_while_its_successor_does().await;
    }
}

struct Walk {
    keyrack: Keyrack,
    upstream: Upstream,
    http: Http,
    owner: Http,
    r: Key,
    w: Key,
}

fn sales(name: &str, level: &str) -> Value {
    json!({"name": name, "workspace": "sales", "level": level})
}

impl Walk {
    /// Two workspaces with an entity each, another organization with one, and keys of both levels.
    async fn begin(database: Database) -> Self {
        let keyrack = start(database);
        let upstream = Upstream::start().await;
        let owner = keyrack.owner();
        for workspace in ["sales", "inventory"] {
            owner.make("/api/workspaces", json!({"slug": workspace})).await;
        }
        let other = json!({"slug": "other-org", "owner_email": keyrack.owner_email});
        owner.make("/api/organizations", other).await;
        let there = Person::owner(&keyrack).await.within("other-org");
        there.make("/api/workspaces", json!({"slug": "sales"})).await;
        for path in ["/svc/:org/:workspace/Customer", "/svc/:org/:workspace/Customer/:id"] {
            let guard = json!({"resource": "Customer"});
            owner.make_route(path, guard.clone(), &upstream.url()).await;
            there.make_route(path, guard, &upstream.url()).await;
        }
        let r = owner.make_key(sales("Dashboard", "read_only")).await;
        let w = owner.make_key(sales("Import", "read_write")).await;
        Self { http: keyrack.http(), owner, upstream, r, w, keyrack }
    }

    async fn send(&self, method: &str, path: &str, key: &Key) -> Answer {
        self.http.request(method, path).bearer(&key.secret).send().await
    }

    /// The method decides.
    async fn a_read_only_key_reads_and_changes_nothing(&self) {
        for (method, path) in [("GET", CUSTOMERS), ("HEAD", CUSTOMERS), ("GET", CUSTOMER)] {
            self.send(method, path, &self.r).await.expect_status(200);
        }
        let reached = self.upstream.count();
        for (method, path) in
            [("POST", CUSTOMERS), ("PUT", CUSTOMER), ("PATCH", CUSTOMER), ("DELETE", CUSTOMER), ("DELETE", CUSTOMERS)]
        {
            expect_refusal(self.send(method, path, &self.r).await, 403, "insufficient_scope");
        }
        assert_eq!(self.upstream.count(), reached, "nothing was changed");
    }

    /// Each method reaches the target.
    async fn a_read_and_write_key_does_both(&self) {
        for (method, path) in [
            ("POST", CUSTOMERS),
            ("PUT", CUSTOMER),
            ("PATCH", CUSTOMER),
            ("GET", CUSTOMER),
            ("DELETE", CUSTOMER),
            ("GET", CUSTOMERS),
        ] {
            self.send(method, path, &self.w).await.expect_status(200);
            assert_eq!(self.upstream.seen().last().unwrap()["method"], method);
        }
    }

    /// Another workspace, another organization and none at all cannot be told apart by body or header, whatever
    /// the key could do at home.
    async fn elsewhere_a_key_is_as_unknown_as_junk(&self) {
        let reached = self.upstream.count();
        let junk = expect_unknown(self.http.get(CUSTOMERS).bearer("nope").send().await);
        let narrow = self.owner.make_key(json!({"name": "Narrow", "scopes": ["Invoice:read"]})).await;
        for path in [
            "/svc/acme/inventory/Customer",
            "/svc/other-org/sales/Customer",
            "/svc/acme/nowhere/Customer",
            "/svc/nobody/sales/Customer",
            "/o/other-org/svc/other-org/sales/Customer",
            "/o/other-org/svc/acme/sales/Customer",
        ] {
            for (method, key) in [("GET", &self.r), ("POST", &self.r), ("GET", &self.w), ("POST", &self.w)] {
                let answer = expect_unknown(self.send(method, path, key).await);
                assert_eq!(shape(&answer), shape(&junk), "{method} {path}");
            }
        }
        // A key of the whole organization is known in each of its workspaces, and where there is none it is not.
        expect_refusal(self.send("GET", "/svc/acme/inventory/Customer", &narrow).await, 403, "insufficient_scope");
        for path in ["/svc/acme/nowhere/Customer", "/svc/other-org/sales/Customer"] {
            expect_unknown(self.send("GET", path, &narrow).await);
        }
        assert_eq!(self.upstream.count(), reached, "nothing reached the target");
    }

    /// None, junk, and one that is wrong in its last character.
    async fn without_a_good_key_there_is_one_answer(&self) {
        expect_unknown(self.http.get(CUSTOMERS).send().await);
        expect_unknown(self.http.get(CUSTOMERS).bearer("nope").send().await);
        let mut almost = self.r.clone();
        let last = if almost.secret.pop() == Some('0') { '1' } else { '0' };
        almost.secret.push(last);
        expect_unknown(self.send("GET", CUSTOMERS, &almost).await);
    }

    /// From that very moment on.
    async fn a_key_ends_when_it_was_said_to(&self) {
        let ends = in_seconds(2);
        let mut wanted = sales("Trial", "read_only");
        wanted["expires_at"] = json!(ends);
        let trial = self.owner.make_key(wanted).await;
        expect_expiry(ends, async || self.send("GET", CUSTOMERS, &trial).await).await;
    }

    /// The digest is of another kind than the SHA-256 that anybody can compute, and the beginning that is shown
    /// tells keys apart.
    async fn a_row_holds_no_token_and_not_its_hash(&self) {
        let is_file = self.keyrack.database_url.starts_with("sqlite:");
        let hex = if is_file { "lower(hex(digest))" } else { "encode(digest, 'hex')" };
        let digests = select(&self.keyrack, &format!("SELECT {hex} FROM key_secret")).await;
        let prefixes = select(&self.keyrack, "SELECT display_prefix FROM key_secret").await;
        assert!(digests.len() > 3 && digests.iter().all(|digest| digest.len() == 64), "{digests:?}");
        for key in [&self.r, &self.w] {
            assert!(!digests.contains(&HEXLOWER.encode(digest(&SHA256, key.secret.as_bytes()).as_ref())));
            assert!(prefixes.contains(&key.secret[..16].to_owned()), "{prefixes:?}");
        }
        for column in ["display_prefix", "last4", "coalesce(slow_hash, '')"] {
            for value in select(&self.keyrack, &format!("SELECT {column} FROM key_secret")).await {
                assert!(![&self.r, &self.w].iter().any(|key| value.contains(&key.secret)), "{value}");
            }
        }
        let different: std::collections::BTreeSet<&String> = prefixes.iter().collect();
        assert_eq!(different.len(), prefixes.len(), "{prefixes:?}");
    }

    async fn last_used(&self, key: &Key) -> Option<Timestamp> {
        let shown = self.owner.show(&key.path()).await["last_used_at"].clone();
        shown.as_str().map(|text| text.parse().unwrap())
    }

    /// What is refused is no use, and those never used come first.
    async fn a_key_shows_when_it_was_last_used(&self) {
        let fresh = self.owner.make_key(sales("Fresh", "read_only")).await;
        let idle = self.owner.make_key(json!({"name": "Idle", "scopes": ["*:read"]})).await;
        assert_eq!(self.last_used(&fresh).await, None);
        expect_unknown(self.send("GET", "/svc/acme/inventory/Customer", &fresh).await);
        expect_unknown(self.send("GET", "/svc/acme/nowhere/Customer", &idle).await);
        expect_refusal(self.send("POST", CUSTOMERS, &fresh).await, 403, "insufficient_scope");

        let before = crate::support::now();
        self.send("GET", CUSTOMERS, &fresh).await.expect_status(200);
        let first = wait_for("the first use", async || self.last_used(&fresh).await).await;
        // Uses are written down together, so the refusals before it would be here by now.
        assert_eq!(self.last_used(&idle).await, None, "a refusal is no use");
        assert!(before.duration_until(first).abs() < jiff::SignedDuration::from_secs(2), "{before} {first}");
        self.send("GET", CUSTOMERS, &fresh).await.expect_status(200);
        let later = wait_for("the second use", async || self.last_used(&fresh).await.filter(|at| *at > first)).await;
        assert!(later > first);

        let names = each(&self.owner.show("/api/keys?sort=last_used_at").await, "name");
        let place = |name: &str| names.iter().position(|known| known == name).unwrap();
        assert!(place("Idle") < place("Import") && place("Import") < place("Fresh"), "{names:?}");
    }

    /// From the next request on, and for good: revoking again changes nothing, and it cannot be switched on.
    async fn a_revoked_key_lets_nobody_in_while_its_successor_does(&self) {
        let w2 = self.owner.make_key(sales("Import 2", "read_write")).await;
        for key in [&self.w, &w2] {
            self.send("POST", CUSTOMERS, key).await.expect_status(200);
        }
        let revoked = self.owner.revoke(&self.w).await;
        expect_unknown(self.send("POST", CUSTOMERS, &self.w).await);
        expect_unknown(self.send("GET", CUSTOMERS, &self.w).await);
        self.send("POST", CUSTOMERS, &w2).await.expect_status(200);

        let again = self.owner.revoke(&self.w).await;
        assert_eq!(again["key"], revoked["key"], "revoking again changes nothing");
        let enable = self.owner.request("PATCH", &self.w.path()).json(&json!({"enabled": true}));
        expect_refusal(enable.send().await, 409, "key_final");
        expect_unknown(self.send("GET", CUSTOMERS, &self.w).await);
    }
}

/// All that a caller learns from a refusal, but for the request's own id and time.
fn shape(answer: &Answer) -> (String, Vec<(String, String)>) {
    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let headers = answer.headers.iter().map(header).filter(|(name, _)| name != "x-request-id" && name != "date");
    (answer.text(), headers.collect())
}
