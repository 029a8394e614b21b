//! Credentials that are none, in every place where one can stand.

use keyrack_testkit::http::Request;
use keyrack_testkit::{Database, Upstream};
use serde_json::json;

use crate::support::{INVALID_API_KEY, World, text};

/// Base64 of `:key`, as curl sends it for `-u :key`.
fn basic(key: &str) -> String {
    format!("Basic {}", data_encoding::BASE64.encode(format!(":{key}").as_bytes()))
}

#[tokio::test]
async fn a_wrong_credential_is_the_same_401_wherever_it_stands() {
    let world = World::start(Database::Sqlite).await;
    let http = world.keyrack.http();
    let good = &world.acme.manager_key;
    let (last, rest) = (good.chars().last().unwrap(), &good[..good.len() - 1]);
    let other = format!("{rest}{}", if last == 'a' { 'b' } else { 'a' });
    let long = "x".repeat(20_000);
    let texts = [
        "x",
        "sk_live_",
        "null",
        "undefined",
        "Bearer",
        ",",
        "\"",
        rest,
        &other,
        &good.to_uppercase(),
        &format!("{good}x"),
        &format!("{good}{good}"),
        &format!("{good},{good}"),
        &format!("{good}, {good}"),
        &format!("{good} {good}"),
        &format!("x{good}"),
        &format!("{good};"),
        &long,
    ];
    let before = world.state().await;
    for text in texts {
        let wrong: Vec<(&str, String)> = vec![
            ("x-api-key", text.to_owned()),
            ("authorization", text.to_owned()),
            ("authorization", format!("Bearer {text}")),
            ("authorization", format!("Bearer {text},Bearer {good}")),
            ("authorization", format!("ApiKey {text}")),
            ("authorization", basic(text)),
            ("authorization", format!("Basic {text}")),
        ];
        for (name, value) in wrong {
            let answer = http.get("/api/keys").header(name, &value).send().await;
            assert_eq!((answer.status, answer.text().as_str()), (401, INVALID_API_KEY), "{name}: {value:.100}");
            // The first carrier that holds something is the only one tried.
            if name == "x-api-key" {
                let both = http.get("/api/keys").header(name, &value).bearer(good).send().await;
                assert_eq!(both.status, 401, "{name}: {value:.100}");
            }
        }
    }
    for bytes in [&b"\xff"[..], b"sk_live_\xc3\xbc", b"\xf0\x9f\x94\x91"] {
        for name in ["x-api-key", "authorization"] {
            assert_eq!(http.get("/api/keys").header(name, bytes).send().await.status, 401);
        }
    }
    let twice: [fn(Request, &str) -> Request; 4] = [
        |request, key| request.header("x-api-key", key).header("x-api-key", key),
        |request, key| request.header("x-api-key", key).header("x-api-key", ""),
        |request, key| request.bearer(key).header("authorization", format!("Bearer {key}")),
        |request, key| request.header("authorization", basic(key)).header("authorization", ""),
    ];
    for twice in twice {
        assert_eq!(twice(http.get("/api/keys"), good).send().await.status, 401);
    }
    // A user name beside the key, another scheme, and the query are no ways to present a key here.
    let named = format!("Basic {}", data_encoding::BASE64.encode(format!("ada:{good}").as_bytes()));
    for value in [named, format!("Digest {good}"), format!("Token {good}")] {
        assert_eq!(http.get("/api/keys").header("authorization", value).send().await.status, 401);
    }
    for name in ["api_key", "apiKey", "access_token", "key"] {
        assert_eq!(http.get(&format!("/api/keys?{name}={good}")).send().await.status, 401, "{name}");
    }
    for cookie in [
        format!("__Host-keyrack_session={good}"),
        format!("__Host-keyrack_session={long}"),
        format!("x-api-key={good}"),
    ] {
        assert_eq!(http.get("/api/keys").header("cookie", cookie).send().await.status, 401);
    }
    // The good one is good in each of its places; an empty header carries nothing.
    for (name, value) in [
        ("x-api-key", good.clone()),
        ("authorization", good.clone()),
        ("authorization", format!("bEARER {good}")),
        ("authorization", basic(good)),
    ] {
        http.get("/api/keys").header(name, &value).send().await.expect_status(200);
    }
    http.get("/api/keys").header("x-api-key", "").bearer(good).send().await.expect_status(200);
    assert_eq!(world.state().await, before);
}

#[tokio::test]
async fn a_key_of_a_hundred_thousand_letters_is_refused_in_every_carrier_and_the_server_goes_on() {
    let world = World::start(Database::Sqlite).await;
    let upstream = Upstream::start().await;
    let (http, manager) = (world.keyrack.http(), &world.acme.manager);
    let target = json!({"kind": "upstream", "url": upstream.url()});
    let guard = json!({"scope": "contacts:read", "query_key": true});
    let door = json!({"path": "/queried", "guard": guard, "target": target});
    manager.post("/api/routes").json(&door).send().await.expect_status(201);
    let before = world.state().await;
    let long = "k".repeat(100_000);
    let encoded = "%6b".repeat(33_333);
    for path in ["/api/keys", "/queried", "/nothing"] {
        for (name, value) in [
            ("x-api-key", long.clone()),
            ("authorization", long.clone()),
            ("authorization", format!("Bearer {long}")),
            ("authorization", basic(&long)),
            ("cookie", format!("__Host-keyrack_session={long}")),
            ("idempotency-key", long.clone()),
            ("keyrack-organization", long.clone()),
        ] {
            let answer = http.get(path).header(name, value).send().await;
            assert_eq!(answer.status, 431, "{path} {name}");
        }
    }
    // As much as fits into a head is refused as a key.
    for length in [129, 2048, 2049, 30_000] {
        for (path, refusal) in [("/api/keys", 401), ("/queried", 401), ("/nothing", 404)] {
            let text = "k".repeat(length);
            assert_eq!(http.get(path).header("x-api-key", &text).send().await.status, refusal, "{path} {length}");
            assert_eq!(http.get(path).bearer(&text).send().await.status, refusal, "{path} {length}");
            assert_eq!(http.get(&format!("{path}?api_key={text}")).send().await.status, refusal, "{path} {length}");
        }
    }
    for query in [&long, &encoded] {
        for name in ["api_key", "apiKey"] {
            let path = format!("/queried?{name}={query}");
            let answer = keyrack_testkit::http::raw(
                world.keyrack.serving().address(),
                format!("GET {path} HTTP/1.1\r\nHost: acme.test\r\nConnection: close\r\n\r\n"),
            )
            .await;
            let status = String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap_or_default().to_owned();
            assert!(matches!(&*status, "431" | "414"), "{name}: {status}");
        }
    }
    for (path, body, status) in [
        ("/api/verify", json!({"key": long}), 200),
        ("/api/verify/batch", json!({"keys": [{"key": long}]}), 200),
        ("/api/keys/import", json!({"keys": [{"key": long, "name": "long"}]}), 400),
        ("/api/session", json!({"email": "owner@acme.test", "password": long}), 401),
        ("/api/session", json!({"email": long, "password": "x"}), 401),
        ("/api/members/accept", json!({"token": long, "password": "fifteen letters"}), 404),
    ] {
        let answer = manager.post(path).json(&body).send().await.expect_status(status);
        assert!(!text(&json!(answer.text())).contains(&long[..1000]), "{path} repeats what was sent");
    }
    assert_eq!(world.state().await, before);
    assert_eq!(upstream.count(), 0);
}
