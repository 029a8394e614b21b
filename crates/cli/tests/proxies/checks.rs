//! What each proxy is to be trusted with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::front::{Front, IDENTITY, Kind};

/// Each names `/admin` to somebody, and none of them is `/v1/...` to everybody.
const CROOKED: [&str; 13] = [
    "/v1/%2e%2e/admin",
    "/v1/../admin",
    "/v1//admin",
    "//admin",
    "/v1%2F..%2Fadmin",
    "/v1/..%2fadmin",
    "/v1/%5c..%5cadmin",
    "/v1/..;/admin",
    "/v1/%252e%252e/admin",
    "/v1/%61/../../admin",
    "/v1/./a",
    "/v1/a;/admin",
    "/v1/%00",
];

with_each_proxy! {
    async fn callers_see_what_was_decided_and_the_service_who_calls(front: Front) {
        let (id, secret) = front.key(json!({"name": "reader", "scopes": ["a:read"]})).await;
        let (http, keyrack) = (&front.http, front.keyrack.owner());
        for request in [http.get("/v1/a?x=%20&y=%26").bearer(&secret), http.get("/v1/a?x=%20&y=%26").header("x-api-key", &secret)] {
            let seen = front.expect_let_in(request).await;
            assert_eq!(seen["target"], "/v1/a?x=%20&y=%26", "as it came");
            assert!(seen["headers"].as_array().unwrap().iter().any(|header| header[1] == *id), "{seen}");
        }
        let posted = http.post("/v1/a").bearer(&secret).body("some text").send().await.expect_status(200).json();
        assert_eq!((posted["method"].as_str(), posted["body"].as_str()), (Some("POST"), Some("some text")));

        let unknown = front.expect_kept_out(http.get("/v1/a"), &[401]).await;
        assert_eq!(unknown.header("www-authenticate"), Some(r#"Bearer realm="keyrack""#));
        assert_eq!(unknown.json()["error"], "invalid_api_key");
        front.expect_kept_out(http.post("/v1/a").body("some text").bearer("sk_live_wrong"), &[401]).await;
        front.expect_kept_out(http.get("/admin").bearer(&secret), &[403]).await;
        front.expect_kept_out(http.get("/else").bearer(&secret), &[403, 404]).await;

        let limits = json!([{"limit": 2, "window_seconds": 3600}]);
        let (_, limited) = front.key(json!({"name": "limited", "scopes": ["a:read"], "rate_limits": limits})).await;
        for _ in 0..2 {
            front.expect_let_in(http.get("/v1/a").bearer(&limited)).await;
        }
        let refused = front.expect_kept_out(http.get("/v1/a").bearer(&limited), &[429]).await;
        assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() > 3000);
        assert_eq!(refused.json()["error"], "rate_limit_exceeded");

        keyrack.post(&format!("/api/keys/{id}/revoke")).json(&json!({})).send().await.expect_status(200);
        front.expect_kept_out(http.get("/v1/a").bearer(&secret), &[401]).await;
    }

    async fn nobody_can_say_who_they_are_or_what_they_ask_for(front: Front) {
        let (_, secret) = front.key(json!({"name": "reader", "scopes": ["a:read"]})).await;
        let mut lies = front.http.get("/v1/a").bearer(&secret).header("connection", "close, X-Consumer-ID, x-keyrack-scopes");
        for name in IDENTITY {
            lies = lies.header(name, "forged").header(name.replace('-', "_"), "forged").header(name.replacen('-', "_", 1), "forged");
        }
        let seen = front.expect_let_in(lies).await;
        let connection = seen["headers"].as_array().unwrap().iter().filter(|header| header[0] == "connection");
        assert!(connection.clone().all(|header| !header[1].as_str().unwrap().to_lowercase().contains("x-")), "{seen}");
        // No tunnel but a WebSocket.
        let upgrade = front.http.get("/v1/a").bearer(&secret).header("connection", "Upgrade, HTTP2-Settings");
        let upgrade = upgrade.header("upgrade", "h2c").header("http2-settings", "AAMAAABkAAQCAAAAAAIAAAAA");
        if let Ok(answer) = upgrade.try_send().await && answer.status == 200 {
            let seen = answer.json();
            assert!(seen["headers"].as_array().unwrap().iter().all(|header| header[0] != "upgrade"), "{seen}");
        }
        for family in [["x-original-uri", "x-original-method", "x-original-host"], ["x-forwarded-uri", "x-forwarded-method", "x-forwarded-host"]] {
            let lies = |target: &str, told: &str| {
                let request = front.http.get(target).bearer(&secret).header(family[0], told).header(family[1], "GET");
                request.header(family[2], "elsewhere.example").header(family[0].replace('-', "_"), told).header("x-forwarded-prefix", told)
            };
            front.expect_kept_out(lies("/admin", "/v1/a"), &[403]).await;
            front.expect_let_in(lies("/v1/a", "/admin")).await;
        }
        let query = format!("/admin?x-original-uri=/v1/a&uri=/v1/a&api_key={secret}");
        front.expect_kept_out(front.http.get(&query).bearer(&secret), &[403]).await;
        for twice in [
            front.http.get("/v1/a").header("x-api-key", &secret).header("x-api-key", &secret),
            front.http.get("/v1/a").header("x-api-key", format!("{secret},{secret}")),
            front.http.get("/v1/a").header("authorization", format!("Bearer {secret}")).header("authorization", format!("Bearer {secret}")),
        ] {
            front.expect_kept_out(twice, &[400, 401]).await;
        }
    }

    async fn no_path_leads_around_its_rule(front: Front) {
        let (_, secret) = front.key(json!({"name": "reader", "scopes": ["a:read"]})).await;
        for path in CROOKED {
            front.expect_kept_out(front.http.get(path).bearer(&secret), &[400, 403, 404]).await;
        }
    }

    async fn without_keyrack_nobody_passes(front: Front) {
        let mut front = front;
        let (_, secret) = front.key(json!({"name": "reader", "scopes": ["a:read"]})).await;
        front.expect_let_in(front.http.get("/v1/a").bearer(&secret)).await;
        let expected: &[u16] = if front.kind == Kind::Caddy { &[502, 503, 504] } else { &[503] };
        front.keyrack.serving().program.suspend();
        let begun = Instant::now();
        front.expect_kept_out(front.http.get("/v1/a").bearer(&secret), expected).await;
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        front.keyrack.crash();
        front.expect_kept_out(front.http.get("/v1/a").bearer(&secret), expected).await;
    }

    async fn killed_in_the_middle_of_it_keyrack_lets_nobody_pass(front: Front) {
        let mut front = front;
        let (_, secret) = front.key(json!({"name": "reader", "scopes": ["a:read"]})).await;
        let is_dead = Arc::new(AtomicBool::new(false));
        let ask = |key: Option<String>| {
            let (http, is_dead) = (front.http.clone(), Arc::clone(&is_dead));
            async move {
                let mut after = 0;
                while after < 3 {
                    let time = if is_dead.load(Ordering::SeqCst) { "after" } else { "before" };
                    after += u32::from(time == "after");
                    let (who, key) = key.as_ref().map_or(("bad", "sk_live_wrong"), |key| ("good", key));
                    // Some end without an answer.
                    let _ = http.get(&format!("/v1/{who}/{time}")).bearer(key).try_send().await;
                }
            }
        };
        let asking = (0..8).flat_map(|_| [tokio::spawn(ask(Some(secret.clone()))), tokio::spawn(ask(None))]).collect::<Vec<_>>();
        let until = Instant::now() + Duration::from_secs(30);
        while front.service.count() < 100 {
            assert!(Instant::now() < until, "{:?} lets nobody pass", front.kind);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        front.keyrack.crash();
        is_dead.store(true, Ordering::SeqCst);
        for one in asking {
            one.await.unwrap();
        }
        let seen = front.service.seen();
        assert!(seen.iter().all(|request| request["target"] == "/v1/good/before"), "{:?} let through {:?}", front.kind, seen.last());
    }
}
