//! Scripts behind routes: what they are told, what they may ask for, and what they cannot do.

mod deployed;
mod fetching;
mod hostile;
mod logged;

use keyrack_testkit::{Answer, Database, Http};
use serde_json::{Value, json};

use crate::support::{Caller as _, Key, expect_refusal, expect_unknown, start, text};

/// Puts a script behind a public route.
async fn put(owner: &Http, path: &str, source: &str) -> String {
    put_guarded(owner, path, json!({"public": true}), source).await
}

async fn put_guarded(owner: &Http, path: &str, guard: Value, source: &str) -> String {
    let target = json!({"kind": "script", "source": source});
    text(&owner.make("/api/routes", json!({"path": path, "guard": guard, "target": target})).await["id"])
}

async fn secret(owner: &Http, scope: &str, of: Option<&str>, value: &str) {
    let mut new = json!({"name": "DATABASE_URL", "value": value, "scope": scope});
    if let Some(of) = of {
        new["owner"] = json!(of);
    }
    owner.make("/api/secrets", new).await;
}

const TELLS_ALL: &str = r#"
    export default async function (request, ctx) {
        return Response.json({
            group: ctx.authenticatedKeyGroup, key: ctx.authenticatedKey, id: ctx.requestId, params: ctx.params, query: ctx.query,
            method: request.method, url: request.url, body: await request.text(), headers: Object.fromEntries(request.headers),
            secret: await ctx.getSecret("DATABASE_URL"), global: await ctx.getSecret("DATABASE_URL", "global"),
            complete: await ctx.getCompleteSecret("DATABASE_URL"), none: await ctx.getSecret("NONE"),
        });
    }"#;

keyrack_testkit::both_databases! {
    async fn a_key_and_an_address_are_enough(database: Database) {
        let keyrack = start(database);
        let (owner, http) = (keyrack.owner(), keyrack.http());
        for group in ["analytics", "mobile", "others"] {
            let format = json!({"prefix": "", "body": "base64url"});
            owner.make("/api/groups", json!({"name": group, "key_format": format})).await;
        }
        let analyst = owner.make_key(json!({"name": "prod-server-1", "group": "analytics"})).await;
        let phone = owner.make_key(json!({"name": "prod-server-1", "group": "mobile"})).await;
        let stranger = owner.make_key(json!({"name": "c", "group": "others"})).await;
        let guard = json!({"groups": ["analytics", "mobile"], "query_key": true});
        let route = put_guarded(&owner, "/run/api/:what", guard, TELLS_ALL).await;
        let at = async |key: &Key| {
            http.get("/run/api/data").header("x-api-key", &key.secret).send().await.expect_status(200).json()
        };

        // Each carrier, and nothing of the key goes on.
        let basic = format!("Basic {}", data_encoding::BASE64.encode(format!(":{}", analyst.secret).as_bytes()));
        for request in [
            http.get("/run/api/data").header("x-api-key", &analyst.secret),
            http.get("/run/api/data").bearer(&analyst.secret),
            http.get("/run/api/data").header("authorization", &analyst.secret),
            http.get("/run/api/data").header("authorization", &basic),
            http.get(&format!("/run/api/data?api_key={}", analyst.secret)),
            http.get(&format!("/run/api/data?apiKey={}", analyst.secret)),
        ] {
            let answer = request.send().await.expect_status(200);
            assert!(!answer.text().contains(&analyst.secret), "{}", answer.text());
            let told = answer.json();
            assert_eq!((&told["group"], &told["key"]["name"]), (&json!("analytics"), &json!("prod-server-1")));
            assert_eq!((&told["key"]["id"], &told["params"]), (&json!(analyst.id), &json!({"what": "data"})));
            assert_eq!(text(&told["id"]), answer.header("x-request-id").unwrap());
        }
        expect_unknown(http.get("/run/api/data").header("x-api-key", &stranger.secret).send().await);
        expect_unknown(http.get("/run/api/data").send().await);

        // The secret that says most of the caller.
        secret(&owner, "global", None, "prod").await;
        secret(&owner, "group", Some("analytics"), "readonly").await;
        assert_eq!((&at(&analyst).await["secret"], &at(&phone).await["secret"]), (&json!("readonly"), &json!("prod")));
        secret(&owner, "route", Some(&route), "of the route").await;
        assert_eq!(
            (&at(&analyst).await["secret"], &at(&phone).await["secret"]),
            (&json!("readonly"), &json!("of the route"))
        );
        secret(&owner, "key", Some(&analyst.id), "its own").await;
        let told = at(&analyst).await;
        assert_eq!((&told["secret"], &told["global"], &told["none"]), (&json!("its own"), &json!("prod"), &Value::Null));
        let complete = json!({
            "global": {"name": "acme", "value": "prod"},
            "route": {"name": "/run/api/:what", "value": "of the route"},
            "group": {"name": "analytics", "value": "readonly"},
            "key": {"name": "prod-server-1", "value": "its own"},
        });
        assert_eq!(told["complete"], complete);

        // A public door tells nothing of a key.
        put(&owner, "/run/public", TELLS_ALL).await;
        let told = http.get("/run/public").header("x-api-key", &analyst.secret).send().await.expect_status(200).json();
        assert_eq!((told.get("group"), told.get("key"), &told["secret"]), (None, None, &json!("prod")));

        // The request as it came, but for who claims to be whom.
        let body = "{\"a\": [1, 2],\n \"\u{e4}\": \"\u{1f511}\" }";
        let request = http.post("/run/api/us%20ers?x=1&y=%26").header("x-api-key", &phone.secret);
        let request = request.header("x-consumer-id", "me").header("content-type", "application/json").body(body);
        let told = request.send().await.expect_status(200).json();
        assert_eq!((&told["method"], &told["body"], &told["query"]), (&json!("POST"), &json!(body), &json!({"x": "1", "y": "&"})));
        assert_eq!((&told["params"]["what"], &told["headers"]["content-type"]), (&json!("us ers"), &json!("application/json")));
        assert_eq!(told["url"], format!("{}/run/api/us%20ers?x=1&y=%26", keyrack.url()));
        assert_eq!(told["headers"]["x-keyrack-key-name"], "prod-server-1");
        assert_ne!(told["headers"]["x-consumer-id"], "me");
        assert!(told["headers"].get("x-api-key").is_none());

        // Closed, it is not there; deleted, its secrets are gone too.
        owner.change(&format!("/api/routes/{route}"), json!({"enabled": false})).await;
        http.get("/run/api/data").header("x-api-key", &phone.secret).send().await.expect_status(404);
        owner.change(&format!("/api/routes/{route}"), json!({"enabled": true})).await;
        owner.delete(&format!("/api/routes/{route}")).await;
        let left = owner.show("/api/secrets?scope=route").await;
        assert_eq!(left["data"], json!([]));
    }

    async fn answers_of_scripts_are_not_pages_of_the_console(database: Database) {
        let keyrack = start(database);
        let (owner, http) = (keyrack.owner(), keyrack.http());
        let source = r#"export default () => new Response("<script>1</script>", {status: 203, headers: [
            ["content-type", "text/html"], ["set-cookie", "__Host-keyrack_session=x"], ["set-cookie", "mine=1"],
            ["connection", "close"], ["content-length", "3"], ["x-own", "yes"], ["content-security-policy", "default-src *"]]})"#;
        put(&owner, "/run/page", source).await;
        let answer = http.get("/run/page").send().await.expect_status(203);
        assert_eq!((answer.text().as_str(), answer.header("x-own")), ("<script>1</script>", Some("yes")));
        assert!(answer.headers_named("content-security-policy").contains(&"sandbox allow-scripts allow-forms"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.headers_named("set-cookie"), ["mine=1"]);
        let refused = http.get("/run/page").header("service-worker", "script").send().await;
        expect_refusal(refused, 403, "service_worker");
        let head = http.request("HEAD", "/run/page").send().await.expect_status(203);
        assert_eq!((head.text().as_str(), head.header("content-length")), ("", Some("18")));
    }
}

#[tokio::test]
async fn what_scripts_rely_on_of_the_web_platform_is_there() {
    let keyrack = start(Database::Sqlite);
    put(&keyrack.owner(), "/run/platform", include_str!("platform.js")).await;
    let answer: Answer = keyrack.http().get("/run/platform").send().await.expect_status(200);
    assert_eq!(answer.json(), json!([]), "each is a behaviour that is not as the standards have it");
}

#[tokio::test]
async fn texts_that_say_the_same_are_embedded_close_together() {
    let keyrack = start(Database::Sqlite);
    let (owner, http) = (keyrack.owner(), keyrack.http());
    let source = include_str!("../../../src/demo/embeddings.js");
    put_guarded(&owner, "/v1/embeddings", json!({"organizations": "any"}), source).await;
    let key = owner.make_key(json!({"name": "k", "scopes": ["embeddings:write"]})).await;
    http.get("/v1/embeddings").bearer(&key.secret).send().await.expect_status(200);
    let body = json!({"input": ["API keys for people", "people who want API keys", "Regen am Abend"]});
    let answer = http.post("/v1/embeddings").bearer(&key.secret).json(&body).send().await.expect_status(200).json();
    let vectors: Vec<Vec<f64>> = (0..3)
        .map(|at| serde_json::from_value(answer["data"][at]["embedding"].clone()).unwrap())
        .inspect(|vector: &Vec<f64>| assert_eq!(vector.len(), 384))
        .collect();
    let alike = |a: usize, b: usize| vectors[a].iter().zip(&vectors[b]).map(|(x, y)| x * y).sum::<f64>();
    assert!(
        (alike(0, 0) - 1.0).abs() < 1e-9 && alike(0, 1) > 0.4 && alike(0, 2) < 0.2,
        "{} {}",
        alike(0, 1),
        alike(0, 2)
    );
    let refused =
        http.post("/v1/embeddings").bearer(&key.secret).body("no JSON").send().await.expect_status(400).json();
    assert!(refused["error"].as_str().unwrap().contains("input"));
}
