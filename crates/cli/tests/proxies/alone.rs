//! What one of the proxies does otherwise than the rest.

use std::time::{Duration, Instant};

use keyrack_testkit::{Database, Http, Keyrack, Upstream};
use serde_json::json;
use tempfile::TempDir;

use crate::front::{Front, KEYRACK, Kind, configured, free_port, program};

/// HAProxy goes on with a request whose script fails; the configuration must not.
#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_fails_lets_nobody_pass() {
    let Some(program) = program(Kind::Haproxy) else { return };
    let keyrack = Keyrack::start(KEYRACK, Database::Sqlite);
    let (service, directory, port) = (Upstream::start().await, TempDir::new().unwrap(), free_port());
    let proxy = configured(Kind::Haproxy, program, directory.path(), &keyrack, &service, (port, 9));
    let proxy = proxy.env("KEYRACK_URL", "no address").start();
    let http = Http::new(format!("http://127.0.0.1:{port}"));
    let until = Instant::now() + Duration::from_secs(30);
    while http.get("/").try_send().await.is_err() {
        assert!(Instant::now() < until, "{}", proxy.stderr());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    http.get("/v1/a").header("x-consumer-id", "forged").send().await.expect_status(503);
    // A question with so many lines would be more than it can hold.
    let many = (0..98).fold(http.get("/v1/a"), |request, _| request.header("accept", "a"));
    many.send().await.expect_status(503);
    http.get("/v1/a").send().await.expect_status(503);
    assert_eq!(service.count(), 0);
}

/// What Envoy does over gRPC alone: the credential is taken off wherever it stood, and callers see how limits stand.
#[tokio::test(flavor = "multi_thread")]
async fn over_grpc_one_answer_says_all() {
    let Some(front) = Front::start(Kind::EnvoyGrpc).await else { return };
    front.route("/query/*rest", json!({"scope": "a:read", "query_key": true})).await;
    front.route("/open", json!({"public": true})).await;
    let limits = json!([{"limit": 100, "window_seconds": 60}]);
    let (_, secret) = front.key(json!({"name": "k", "scopes": ["a:read"], "rate_limits": limits})).await;
    for (sent, arrives) in [
        (format!("?a=%26&api_key={secret}&b=%20"), "?a=%26&b=%20"),
        (format!("?apiKey={secret}"), ""),
        (format!("?x=%23z&api_key={secret}"), "?x=%23z"),
    ] {
        let seen = front.expect_let_in(front.http.get(&format!("/query/a{sent}"))).await;
        assert_eq!(seen["target"], format!("/query/a{arrives}"), "{sent}");
    }
    // Under a name that Envoy would not know for it, a key would go on to the service.
    front.expect_kept_out(front.http.get(&format!("/query/a?%61pi_key={secret}")), &[400]).await;
    let cookies = "a=1; __Host-keyrack_session=stolen; b=2";
    let seen = front.expect_let_in(front.http.get("/v1/a").bearer(&secret).header("cookie", cookies)).await;
    let headers = seen["headers"].as_array().unwrap();
    assert!(headers.contains(&json!(["cookie", "a=1; b=2"])), "{seen}");
    assert!(headers.iter().all(|header| header[0] != "x-api-key" && header[0] != "authorization"), "{seen}");
    let answer = front.http.get("/v1/a").bearer(&secret).send().await.expect_status(200);
    assert_eq!(answer.header("ratelimit-policy"), Some(r#""key-60s";q=100;w=60"#));
    // What is between a caller and a public service stays there.
    let foreign = front.http.get("/open").header("authorization", "Digest x").send().await.expect_status(200).json();
    assert!(foreign["headers"].as_array().unwrap().contains(&json!(["authorization", "Digest x"])), "{foreign}");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_grpc_the_configuration_may_name_the_route_that_decides() {
    let Some(front) = Front::start(Kind::EnvoyNamed).await else { return };
    let (_, reader) = front.key(json!({"name": "reader", "scopes": ["a:read"]})).await;
    let (_, named) = front.key(json!({"name": "named", "scopes": ["named:read"]})).await;
    front.expect_kept_out(front.http.get("/v1/a").bearer(&reader), &[404]).await;
    let target = json!({"kind": "upstream", "url": "http://127.0.0.1:9"});
    let route = json!({"name": "the one", "path": "/nowhere", "guard": {"scope": "named:read"}, "target": target});
    front.keyrack.owner().post("/api/routes").json(&route).send().await.expect_status(201);
    // Whatever the path, and whatever a route says that matches it.
    for path in ["/v1/a", "/else"] {
        front.expect_let_in(front.http.get(path).bearer(&named)).await;
        front.expect_kept_out(front.http.get(path).bearer(&reader), &[403]).await;
    }
}
