//! What an inference service sells: so many calls a month for each organization, whatever keys it uses.

use std::path::PathBuf;

use jiff::Timestamp;
use keyrack_testkit::{Answer, Database, Http, Keyrack, Upstream, both_databases};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Caller as _, KEYRACK, Person, expect_unknown};

const EMBEDDINGS: &str = "/v1/embeddings";

/// When the month of the walk ends.
const NEW_YEAR: &str = "2027-01-01T00:00:00Z";

both_databases! {
    async fn an_organization_gets_what_its_tier_has_and_not_one_call_more(database: Database) {
        let walk = Walk::begin(database).await;
        walk.each_call_lowers_what_remains_by_one().await;
        walk.refusals_and_questions_about_oneself_lower_nothing().await;
        walk.all_keys_of_an_organization_share_and_no_others().await;
        walk.of_twenty_at_once_one_gets_the_last_unit().await;
        walk.another_tier_counts_from_the_next_call_on().await;
        walk.a_new_month_begins_at_nothing().await;
    }
}

struct Walk {
    keyrack: Keyrack,
    upstream: Upstream,
    owner: Http,
    clock: PathBuf,
    key: String,
    other_key: String,
    other_organization: Person,
    _directory: TempDir,
}

impl Walk {
    async fn begin(database: Database) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = directory.path().join("clock");
        std::fs::write(&clock, "2026-12-31T23:00:00Z").unwrap();
        let keyrack = Keyrack::setup(KEYRACK, database)
            .args(["--egress-allow", "127.0.0.1/32"])
            .env("KEYRACK_TEST_CLOCK", &clock)
            .tier("free")
            .start();
        let upstream = Upstream::start().await;
        let owner = keyrack.owner();
        owner.make_route(EMBEDDINGS, json!({"organizations": "any"}), &upstream.url()).await;
        let key = owner.make_key(json!({"name": "one"})).await.secret;
        let other_key = owner.make_key(json!({"name": "two"})).await.secret;
        owner.make("/api/organizations", json!({"slug": "other", "owner_email": keyrack.owner_email})).await;
        let other_organization = Person::owner(&keyrack).await.within("other");
        Self { keyrack, upstream, owner, clock, key, other_key, other_organization, _directory: directory }
    }

    async fn call(&self, key: &str) -> Answer {
        self.keyrack.http().get(EMBEDDINGS).bearer(key).send().await
    }

    async fn change(&self, change: Value) {
        self.owner.change(&format!("/api/organizations/{}", self.keyrack.organization_id), change).await;
    }

    async fn quota(&self) -> Value {
        self.owner.show(&format!("/api/organizations/{}/quota", self.keyrack.organization_id)).await
    }

    async fn each_call_lowers_what_remains_by_one(&self) {
        for remaining in (9_700..10_000).rev() {
            let answer = self.call(&self.key).await.expect_status(200);
            expect_quota(&answer, "10000", &remaining.to_string());
        }
        let quota = self.quota().await;
        let wanted = json!({"month": "2026-12", "tier": "free", "monthly_limit": 10_000, "used": 300, "remaining": 9_700,
            "resets_at": NEW_YEAR});
        assert_eq!(quota, wanted);
        let billing = self.keyrack.http().get("/api/session").bearer(&self.key).send().await.expect_status(200).json();
        let wanted = json!({"tier": "free", "monthly_limit": 10_000, "used": 300, "resets_at": NEW_YEAR});
        assert_eq!(billing["organization"]["billing"], wanted);
    }

    async fn refusals_and_questions_about_oneself_lower_nothing(&self) {
        let reached = self.upstream.count();
        for wrong in ["sk_live_wrong", ""] {
            let refused = expect_unknown(self.call(wrong).await);
            assert_eq!(refused.header("x-ratelimit-limit"), None);
        }
        self.owner.make_route("/admins", json!({"roles": ["admin"]}), &self.upstream.url()).await;
        for (path, status) in [("/admins", 403), ("/nowhere", 404), ("/api/session", 200)] {
            let answer = self.keyrack.http().get(path).bearer(&self.key).send().await.expect_status(status);
            assert_eq!(answer.header("x-ratelimit-limit"), None, "{path}");
        }
        assert_eq!((self.quota().await["used"].clone(), self.upstream.count()), (json!(300), reached));
    }

    async fn all_keys_of_an_organization_share_and_no_others(&self) {
        expect_quota(&self.call(&self.other_key).await, "10000", "9699");
        expect_quota(&self.call(&self.key).await, "10000", "9698");
        let theirs = self.other_organization.make_key(json!({"name": "Theirs"})).await;
        expect_quota(&self.call(&theirs.secret).await, "10000", "9999");
        expect_quota(&self.call(&self.key).await, "10000", "9697");
    }

    async fn of_twenty_at_once_one_gets_the_last_unit(&self) {
        self.change(json!({"quota_used": 9_999})).await;
        let reached = self.upstream.count();
        let calls: Vec<_> = (0..20)
            .map(|at| {
                let key = if at % 2 == 0 { &self.key } else { &self.other_key };
                tokio::spawn(self.keyrack.http().get(EMBEDDINGS).bearer(key).send())
            })
            .collect();
        let mut granted = 0;
        for call in calls {
            let answer = call.await.unwrap();
            expect_quota(&answer, "10000", "0");
            if answer.status == 200 {
                granted += 1;
                continue;
            }
            assert_eq!(answer.status, 429);
            let body = json!({"error": "rate_limit_exceeded", "message": "Monthly quota exhausted"});
            assert_eq!(answer.json(), body);
            assert_eq!(answer.header("retry-after"), Some("3600"));
        }
        assert_eq!((granted, self.upstream.count() - reached), (1, 1));
        let question = json!({"key": self.key});
        let verified = self.owner.post("/api/verify").json(&question).send().await.expect_status(200).json();
        assert_eq!((&verified["valid"], &verified["code"]), (&json!(false), &json!("QUOTA_EXCEEDED")));
        let limits =
            json!({"quota": {"limit": 10_000, "remaining": 0, "resets_at": NEW_YEAR}, "retry_after_seconds": 3600});
        assert_eq!(verified["limits"], limits);
    }

    async fn another_tier_counts_from_the_next_call_on(&self) {
        self.change(json!({"tier": "pro"})).await;
        expect_quota(&self.call(&self.key).await.expect_status(200), "100000", "89999");
        self.change(json!({"tier": "enterprise", "quota_used": 1_000_000})).await;
        let answer = self.call(&self.key).await.expect_status(200);
        assert_eq!(answer.header("x-ratelimit-limit"), None, "an unlimited tier has none");
        assert_eq!(self.quota().await["remaining"], Value::Null);
        self.change(json!({"tier": "free"})).await;
        expect_quota(&self.call(&self.key).await.expect_status(429), "10000", "0");
        self.owner.change("/api/tiers", json!({"free": {"monthly_limit": 2_000_000}})).await;
        self.call(&self.key).await.expect_status(200);
        self.owner.change("/api/tiers", json!({"free": {"monthly_limit": 10_000}})).await;
        self.call(&self.key).await.expect_status(429);
    }

    async fn a_new_month_begins_at_nothing(&self) {
        self.show("2026-12-31T23:59:59Z");
        let refused = self.call(&self.key).await.expect_status(429);
        assert_eq!(refused.header("retry-after"), Some("1"));
        self.show(NEW_YEAR);
        let answer = self.call(&self.key).await.expect_status(200);
        assert_eq!(answer.header("x-ratelimit-remaining"), Some("9999"));
        assert_eq!(answer.header("x-ratelimit-reset"), Some("2027-02-01T00:00:00Z"));
        let quota = self.quota().await;
        assert_eq!((&quota["month"], &quota["used"]), (&json!("2027-01"), &json!(1)));
    }

    fn show(&self, time: &str) {
        let _: Timestamp = time.parse().unwrap();
        let new = self.clock.with_extension("new");
        std::fs::write(&new, time).unwrap();
        std::fs::rename(new, &self.clock).unwrap();
    }
}

/// Fails unless the headers say this of the quota of December.
#[track_caller]
fn expect_quota(answer: &Answer, limit: &str, remaining: &str) {
    let told = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"].map(|name| answer.header(name));
    assert_eq!(told, [Some(limit), Some(remaining), Some(NEW_YEAR)], "{}", answer.text());
}
