//! What an API's operator sets, and its callers see: so many requests in so much time.

use std::time::{Duration, Instant};

use keyrack_testkit::{Database, Upstream, both_databases};
use serde_json::{Value, json};

use crate::support::{Caller as _, start, text};

both_databases! {
    async fn a_caller_is_told_what_is_left_and_when_to_come_again(database: Database) {
        let keyrack = start(database);
        let (upstream, owner) = (Upstream::start().await, keyrack.owner());
        owner.make_route("/door", json!({"scope": "contacts:read"}), &upstream.url()).await;
        let limits = json!([{"limit": 3, "window_seconds": 1}, {"limit": 1000, "window_seconds": 3600}]);
        let key = owner.make_key(json!({"name": "limited", "rate_limits": limits})).await;
        assert_eq!(owner.show(&key.path()).await["rate_limits"], limits);
        let call = async || keyrack.http().get("/door").bearer(&key.secret).send().await;

        let begun = Instant::now();
        let (mut let_in, mut refused) = (0, None);
        while refused.is_none() {
            let answer = call().await;
            assert_eq!(answer.header("ratelimit-policy"), Some(r#""key-1s";q=3;w=1, "key-3600s";q=1000;w=3600"#));
            match answer.status {
                200 => let_in += 1,
                _ => refused = Some(answer.expect_status(429)),
            }
        }
        let refused = refused.unwrap();
        assert!(let_in >= 3 && let_in <= 3 + 3 * begun.elapsed().as_secs());
        let body = refused.json();
        assert_eq!(body["error"], "rate_limit_exceeded");
        assert!(body["request_id"].is_string());
        let left = refused.header("ratelimit").unwrap();
        assert!(left.starts_with(r#""key-1s";r=0;t="#), "{left}");
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=2).contains(&wait), "{wait}");
        tokio::time::sleep(Duration::from_secs(wait)).await;
        call().await.expect_status(200);

        let reached = upstream.count();
        let ask = async |more: Value| {
            let mut question = json!({"key": key.secret});
            question.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            owner.post("/api/verify").json(&question).send().await
        };
        for cost in [json!(0), json!(-1), json!(1_000_000_001), json!(i64::MAX), json!(1.5), json!("1")] {
            ask(json!({"cost": cost})).await.expect_status(400);
        }
        let verified = ask(json!({"cost": 4})).await.expect_status(200).json();
        assert_eq!((&verified["valid"], &verified["code"]), (&json!(false), &json!("RATE_LIMITED")));
        assert_eq!(verified["limits"]["rate_limits"][0]["limit"], 3);
        assert!(verified["limits"]["retry_after_seconds"].as_u64().unwrap() >= 1);
        let before = ask(json!({"peek": true})).await.expect_status(200).json()["limits"]["rate_limits"][1]["remaining"].clone();
        ask(json!({"peek": true, "cost": 3})).await.expect_status(200);
        let after = ask(json!({"peek": true})).await.expect_status(200).json()["limits"]["rate_limits"][1]["remaining"].clone();
        assert_eq!((before, upstream.count()), (after.clone(), reached), "a look costs nothing");

        // In a batch, one question that cannot be asked costs the others nothing.
        let sound = json!({"key": key.secret});
        for broken in [json!({"ip": "nowhere"}), json!({"cost": 0}), json!({"groups": ["none of ours"]}), json!({"path": "/a/../b"})] {
            let mut unsound = broken.clone();
            unsound["key"] = json!(key.secret);
            let asked = owner.post("/api/verify/batch").json(&json!({"keys": [sound, unsound]})).send().await;
            let field = text(&asked.expect_status(400).json()["details"][0]["field"]);
            assert!(field.starts_with("keys[1]."), "{field}");
        }
        let untouched = ask(json!({"peek": true})).await.expect_status(200).json()["limits"]["rate_limits"][1]["remaining"].clone();
        assert_eq!(untouched, after);

        owner.change(&key.path(), json!({"rate_limits": null})).await;
        let answer = call().await.expect_status(200);
        assert_eq!((answer.header("ratelimit"), answer.header("ratelimit-policy")), (None, None));
    }
}
