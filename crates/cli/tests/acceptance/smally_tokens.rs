//! Short-lived tokens for a key: what an inference service hands to its workers.

use std::path::{Path, PathBuf};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use keyrack_testkit::{Answer, Database, Http, Keyrack, Program, Upstream, both_databases};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Caller as _, KEYRACK, Key, expect_refusal, expect_unknown, seen_headers, text};

const DOOR: &str = "/v1/embeddings";
const START: &str = "2027-03-01T12:00:00Z";

both_databases! {
    async fn a_token_stands_for_its_key_and_dies_with_it(database: Database) {
        let walk = Walk::begin(database).await;
        let token = walk.a_key_is_exchanged_for_a_token_that_others_can_read().await;
        walk.it_counts_as_the_key(&token).await;
        walk.nothing_else_is_taken(&token).await;
        walk.it_does_no_more_than_it_was_made_for().await;
        walk.it_makes_and_changes_nothing().await;
        walk.it_ends_with_its_time_and_with_its_secret().await;
        walk.it_dies_with_its_key(&token).await;
        walk.a_new_signing_key_takes_over().await;
        walk.a_key_gives_itself_up().await;
    }
}

struct Walk {
    keyrack: Keyrack,
    owner: Http,
    key: Key,
    upstream: Upstream,
    clock: PathBuf,
    _directory: TempDir,
}

impl Walk {
    async fn begin(database: Database) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = directory.path().join("clock");
        std::fs::write(&clock, START).unwrap();
        let keyrack = Keyrack::setup(KEYRACK, database)
            .args(["--egress-allow", "127.0.0.1/32"])
            .env("KEYRACK_TEST_CLOCK", &clock)
            .tier("free")
            .start();
        let (owner, upstream) = (keyrack.owner(), Upstream::start().await);
        owner.make_route(DOOR, json!({"resource": "embeddings"}), &upstream.url()).await;
        let key = owner.make_key(json!({"name": "one", "scopes": ["embeddings:read", "embeddings:write"]})).await;
        Self { keyrack, owner, key, upstream, clock, _directory: directory }
    }

    fn show(&self, time: &str) {
        let new = self.clock.with_extension("new");
        std::fs::write(&new, time).unwrap();
        std::fs::rename(new, &self.clock).unwrap();
    }

    async fn exchange(&self, secret: &str, wish: Value) -> Answer {
        self.keyrack.http().post("/api/tokens").bearer(secret).json(&wish).send().await
    }

    async fn token(&self, secret: &str, wish: Value) -> String {
        text(&self.exchange(secret, wish).await.expect_status(201).json()["token"])
    }

    async fn call(&self, credential: &str) -> Answer {
        self.keyrack.http().get(DOOR).bearer(credential).send().await
    }

    async fn a_key_is_exchanged_for_a_token_that_others_can_read(&self) -> String {
        let made = self.exchange(&self.key.secret, json!({})).await.expect_status(201).json();
        assert_eq!((&made["token_type"], &made["expires_in"]), (&json!("Bearer"), &json!(3600)));
        assert_eq!((&made["expires_at"], &made["scopes"]), (&json!("2027-03-01T13:00:00Z"), &Value::Null));
        let token = text(&made["token"]);
        assert!(token.len() > 128);
        let published = self.keyrack.http().get("/.well-known/keyrack/keys");
        let set = published.header("accept", "application/cose-key-set").send().await.expect_status(200);
        assert_eq!(set.header("content-type"), Some("application/cose-key-set"));
        let web = self.keyrack.http().get("/.well-known/keyrack/keys").send().await.expect_status(200).json();
        let bytes = BASE64URL_NOPAD.decode(token.as_bytes()).unwrap();
        if let Some(read) = read_elsewhere(&bytes, &set.body) {
            assert_eq!((&read["tag"], &read["alg"]), (&json!(18), &json!(-8)), "COSE_Sign1, EdDSA");
            let kid = HEXLOWER.decode(text(&read["kid"]).as_bytes()).unwrap();
            assert_eq!(web["keys"][0]["kid"], BASE64URL_NOPAD.encode(&kid));
            let claims = &read["claims"];
            assert_eq!((&claims["key_id"], &claims["tier"]), (&json!(self.key.id), &json!("free")));
            assert_eq!((&claims["org_id"], &claims["sv"]), (&json!(self.keyrack.organization_id), &json!(1)));
            let (issued, expires) = (claims["6"].as_i64().unwrap(), claims["4"].as_i64().unwrap());
            assert_eq!(expires - issued, 3600);
        }
        let inspected = self.keyrack.command("tokens").args(["inspect", "--json"]).stdin(format!("{token}\n"));
        let inspected = inspected.run().success().json();
        assert_eq!((&inspected["valid"], &inspected["claims"]["key_id"]), (&json!(true), &json!(self.key.id)));
        token
    }

    async fn it_counts_as_the_key(&self, token: &str) {
        let left = |answer: &Answer| answer.header("x-ratelimit-remaining").unwrap().parse::<u64>().unwrap();
        let before = left(&self.call(&self.key.secret).await.expect_status(200));
        for scheme in ["Bearer", "bearer"] {
            let request = self.keyrack.http().get(DOOR).header("authorization", format!("{scheme} {token}"));
            request.send().await.expect_status(200);
        }
        let after = self.keyrack.http().get(DOOR).header("x-api-key", token).send().await.expect_status(200);
        assert_eq!(left(&after), before - 3, "one counter for both");
        let seen = self.upstream.seen().last().unwrap().clone();
        assert_eq!(seen_headers(&seen, "x-credential-identifier"), std::slice::from_ref(&self.key.id));
        assert!(!seen.to_string().contains(&token[..40]), "the service learns who calls, not the token");
        let session = self.keyrack.http().get("/api/session").bearer(token).send().await.expect_status(200).json();
        assert_eq!(session["key"]["id"], json!(self.key.id));
        let verified = self.owner.post("/api/verify").json(&json!({"key": token, "scope": "embeddings:write"}));
        assert_eq!(verified.send().await.expect_status(200).json()["valid"], true);
    }

    async fn nothing_else_is_taken(&self, token: &str) {
        let reached = self.upstream.count();
        let bytes = BASE64URL_NOPAD.decode(token.as_bytes()).unwrap();
        for at in (0..bytes.len()).step_by(7) {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            expect_unknown(self.call(&BASE64URL_NOPAD.encode(&changed)).await);
        }
        // ES256 instead of EdDSA, and no algorithm at all, in the header that is signed.
        for other in [[0x01, 0x26], [0x18, 0x27]] {
            let at = bytes.windows(2).position(|pair| pair == [0x01, 0x27]).unwrap();
            let mut changed = bytes.clone();
            changed[at..at + 2].copy_from_slice(&other);
            expect_unknown(self.call(&BASE64URL_NOPAD.encode(&changed)).await);
        }
        let elsewhere = Keyrack::setup(KEYRACK, Database::Sqlite).start();
        let theirs = elsewhere.http().post("/api/tokens").bearer(&elsewhere.management_key).json(&json!({}));
        let theirs = text(&theirs.send().await.expect_status(201).json()["token"]);
        expect_unknown(self.call(&theirs).await);
        let asked = self.owner.post("/api/verify").json(&json!({"key": theirs})).send().await.expect_status(200);
        assert_eq!(asked.json()["code"], "NOT_FOUND");
        assert_eq!(self.upstream.count(), reached);
    }

    async fn it_does_no_more_than_it_was_made_for(&self) {
        let reader = self.token(&self.key.secret, json!({"scopes": ["embeddings:read"]})).await;
        self.call(&reader).await.expect_status(200);
        let write = self.keyrack.http().post(DOOR).bearer(&reader).json(&json!({})).send().await;
        expect_refusal(write, 403, "insufficient_scope");
        let seen = self.upstream.seen().last().unwrap().clone();
        assert_eq!(seen_headers(&seen, "x-keyrack-scopes"), ["embeddings:read"]);
        for (wish, status) in [
            (json!({"scopes": ["contacts:read"]}), 403),
            (json!({"scopes": ["*:read"]}), 403),
            (json!({"expires_in": 0}), 400),
            (json!({"expires_in": 3601}), 400),
            (json!({"expires_in": -1}), 400),
            (json!({"life": 1}), 400),
        ] {
            self.exchange(&self.key.secret, wish).await.expect_status(status);
        }
        let many: Vec<_> =
            (0..64).map(|at| format!("embeddings-of-customer-{at:02}-{}:read", "x".repeat(30))).collect();
        let wide = self.owner.make_key(json!({"name": "wide", "scopes": many})).await;
        self.exchange(&wide.secret, json!({})).await.expect_status(201);
        self.exchange(&wide.secret, json!({"scopes": many})).await.expect_status(400);

        // What the key loses, its tokens lose, and nobody is told otherwise.
        let path = self.key.path();
        let both = self.token(&self.key.secret, json!({"scopes": ["embeddings:read", "embeddings:write"]})).await;
        self.owner.change(&path, json!({"scopes": ["embeddings:write"]})).await;
        self.call(&reader).await.expect_status(403);
        let scopes = async |token: &str| {
            let asked = self.owner.post("/api/verify").json(&json!({"key": token})).send().await.expect_status(200);
            asked.json()["scopes"].clone()
        };
        assert_eq!((scopes(&reader).await, scopes(&both).await), (json!([]), json!(["embeddings:write"])));
        self.owner.change(&path, json!({"scopes": ["embeddings:read", "embeddings:write"]})).await;
        self.owner.change(&path, json!({"enabled": false})).await;
        expect_unknown(self.call(&reader).await);
        self.owner.change(&path, json!({"enabled": true})).await;
        self.call(&reader).await.expect_status(200);
    }

    async fn it_makes_and_changes_nothing(&self) {
        let token = self.token(&self.keyrack.management_key, json!({})).await;
        let http = self.keyrack.http();
        http.get("/api/keys").bearer(&token).send().await.expect_status(200);
        // Nor does it reach over its organization, unless it was made for that.
        self.owner.make("/api/organizations", json!({"slug": "other", "owner_email": self.keyrack.owner_email})).await;
        let narrow = self.token(&self.keyrack.management_key, json!({"scopes": ["keyrack.*:admin"]})).await;
        let seen = async |token: &str| {
            let listed = http.get("/api/organizations").bearer(token).send().await.expect_status(200).json();
            listed["data"].as_array().unwrap().len()
        };
        assert_eq!((seen(&narrow).await, seen(&token).await), (1, 2));
        let path = self.key.path();
        for (method, path) in [
            ("POST", "/api/tokens"),
            ("POST", "/api/keys"),
            ("PATCH", &path),
            ("DELETE", &path),
            ("POST", "/api/groups"),
        ] {
            let refused = http.request(method, path).bearer(&token).json(&json!({})).send().await;
            expect_refusal(refused, 403, "token_not_accepted");
        }
    }

    async fn it_ends_with_its_time_and_with_its_secret(&self) {
        let brief = self.token(&self.key.secret, json!({"expires_in": 60})).await;
        let ending = json!({"name": "ending", "scopes": ["embeddings:read"], "expires_at": "2027-03-01T12:00:30Z"});
        let ending = self.owner.make_key(ending).await;
        let made = self.exchange(&ending.secret, json!({})).await.expect_status(201).json();
        assert_eq!(made["expires_in"], 30, "no longer than the key");
        self.show("2027-03-01T12:00:59Z");
        self.call(&brief).await.expect_status(200);
        expect_unknown(self.call(&text(&made["token"])).await);
        self.show("2027-03-01T12:01:00Z");
        expect_unknown(self.call(&brief).await);
        let asked = self.owner.post("/api/verify").json(&json!({"key": brief})).send().await.expect_status(200).json();
        assert_eq!(asked["code"], "EXPIRED");

        let rotated = self.owner.make_key(json!({"name": "rotated", "scopes": ["embeddings:read"]})).await;
        let old = self.token(&rotated.secret, json!({})).await;
        let new = self.owner.post(&format!("{}/rotate", rotated.path())).json(&json!({"overlap_seconds": 600}));
        let new = text(&new.send().await.expect_status(200).json()["secret"]);
        let of_new = self.token(&new, json!({})).await;
        self.call(&old).await.expect_status(200);
        self.owner.request("DELETE", &format!("{}/secrets/1", rotated.path())).send().await.expect_status(204);
        expect_unknown(self.call(&old).await);
        self.call(&of_new).await.expect_status(200);
    }

    async fn it_dies_with_its_key(&self, token: &str) {
        self.call(token).await.expect_status(200);
        self.keyrack.command("keys").args(["revoke", &self.key.id]).run().success();
        expect_unknown(self.call(token).await);
        expect_unknown(self.call(&self.key.secret).await);
        expect_unknown(self.exchange(&self.key.secret, json!({})).await);
    }

    async fn a_new_signing_key_takes_over(&self) {
        let key = self.owner.make_key(json!({"name": "two", "scopes": ["embeddings:read"]})).await;
        let old = self.token(&key.secret, json!({})).await;
        let rotated = self.keyrack.command("tokens").args(["rotate-key", "--json"]).run().success().json();
        assert_eq!(rotated["keys"].as_array().unwrap().len(), 2);
        self.show("2027-03-01T12:01:11Z");
        let new = self.token(&key.secret, json!({})).await;
        let kid = |token: &str| {
            let inspected = self.keyrack.command("tokens").args(["inspect", token, "--json"]).run().success().json();
            text(&inspected["kid"])
        };
        assert_ne!(kid(&old), kid(&new));
        for token in [&old, &new] {
            self.call(token).await.expect_status(200);
        }
        self.show("2027-03-01T13:01:11Z");
        let keys = self.keyrack.http().get("/.well-known/keyrack/keys").send().await.expect_status(200).json();
        assert_eq!(keys["keys"].as_array().unwrap().len(), 1, "the old one is gone when its tokens are");
        expect_unknown(self.call(&old).await);
    }

    async fn a_key_gives_itself_up(&self) {
        let found = self.owner.make_key(json!({"name": "found", "ip_allowlist": ["203.0.113.0/24"]})).await;
        let give_up = |token: &str| {
            let request = self.keyrack.http().post("/api/revoke").body(format!("token={token}"));
            request.header("content-type", "application/x-www-form-urlencoded").send()
        };
        for nothing in ["sk_live_nothing", "", "x"] {
            give_up(nothing).await.expect_status(200);
        }
        assert_eq!(self.owner.show(&found.path()).await["status"], "active");
        for _ in 0..2 {
            give_up(&found.secret).await.expect_status(200);
            assert_eq!(self.owner.show(&found.path()).await["status"], "revoked");
        }
        // One that is switched off does not come back, either.
        let off = self.owner.make_key(json!({"name": "off", "enabled": false})).await;
        give_up(&off.secret).await.expect_status(200);
        assert_eq!(self.owner.show(&off.path()).await["status"], "revoked");
        let audit = self.owner.show("/api/audit?limit=1").await;
        let event = &audit["data"][0];
        assert_eq!((&event["kind"], &event["actor"]["name"]), (&json!("key.revoked"), &json!("off")));
    }
}

/// What a library reads that is not ours; `None` where it is not installed.
fn read_elsewhere(token: &[u8], key_set: &[u8]) -> Option<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("../../target/tools/cwt/bin/python3");
    if !python.exists() {
        assert!(std::env::var_os("KEYRACK_TEST_REQUIRE_ALL").is_none(), "cwt is not there; ./test installs it");
        return None;
    }
    let given = json!([HEXLOWER.encode(token), HEXLOWER.encode(key_set)]).to_string();
    let script = root.join("tests/acceptance/check_token.py");
    Some(tokio::task::block_in_place(|| Program::new(python).arg(script).stdin(given).run().success().json()))
}
