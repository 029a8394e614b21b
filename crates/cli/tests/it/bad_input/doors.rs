//! Routes and questions about keys with values that cannot be taken.

use keyrack_testkit::Database;
use serde_json::{Value, json};

use crate::support::{NOBODY, World};

fn expect_field(answer: &keyrack_testkit::Answer, sent: &Value, field: &str) {
    let got = (answer.status, answer.json()["error"].clone(), answer.json()["details"][0]["field"].clone());
    assert_eq!(got, (400, json!("invalid_request"), json!(field)), "{sent:.300}: {}", answer.text());
}

fn wrong_routes() -> Vec<(Value, &'static str)> {
    let mut cases = Vec::new();
    for path in [
        "",
        "x",
        "/x/",
        "//",
        "/a//b",
        "/a/../b",
        "/./a",
        "/a%2fb",
        "/a b",
        "/a?b",
        "/a#b",
        "/a;b",
        "/a\\b",
        "/é",
        "/\0",
        "/:",
        "/:a/:a",
        "/*rest/more",
        "/:a-b",
        "/api",
        "/api/more",
        "/health/x",
        "/o/beta/x",
        "/-/x",
        "/.well-known/keyrack/x",
        "http://x/y",
        &format!("/{}", "x".repeat(1024)),
        &format!("/{}", "x".repeat(100_000)),
    ] {
        cases.push((json!({"name": "new", "path": path}), "path"));
    }
    cases.push((json!({"methods": []}), "methods"));
    for method in ["get", "TRACE", "CONNECT", "*", "", "GET ", "G\0T"] {
        cases.push((json!({"methods": ["GET", method]}), "methods[1]"));
    }
    for (guard, field) in [
        (json!({}), "guard"),
        (json!({"public": false}), "guard"),
        (json!({"sessions": true}), "guard"),
        (json!({"query_key": true}), "guard"),
        (json!({"organizations": "own"}), "guard"),
        (json!({"organizations": "all"}), "guard.organizations"),
        (json!({"organizations": "any", "groups": ["readers"]}), "guard.organizations"),
        (json!({"public": true, "scope": "x:read"}), "guard.public"),
        (json!({"public": true, "groups": []}), "guard.public"),
        (json!({"public": true, "sessions": true}), "guard.public"),
        (json!({"groups": ["readers", "nobody"]}), "guard.groups[1]"),
        (json!({"groups": [NOBODY]}), "guard.groups[0]"),
        (json!({"groups": ["\0"]}), "guard.groups[0]"),
        (json!({"keys": [NOBODY]}), "guard.keys[0]"),
        (json!({"keys": ["reader"]}), "guard.keys"),
        (json!({"keys": [""]}), "guard.keys"),
        (json!({"workspace": "nowhere"}), "guard.workspace"),
        (json!({"workspace": ""}), "guard.workspace"),
        (json!({"scope": "x"}), "guard.scope"),
        (json!({"scope": ""}), "guard.scope"),
        (json!({"resource": "x:read"}), "guard.resource"),
        (json!({"resource": "\0"}), "guard.resource"),
        (json!({"scope": "x:read", "resource": "x"}), "guard.resource"),
    ] {
        cases.push((json!({"guard": guard}), field));
    }
    for url in [
        "",
        "x",
        "127.0.0.1:80",
        "ftp://x",
        "http://",
        "http:///x",
        "HTTP://x",
        "http://a@b/",
        "http://a:b@c",
        "http://x/?q",
        "http://x/#f",
        "http://x//y",
        "http://x/../y",
        "http://x y",
        "http://é",
        "http://x/\0",
        "file:///etc/passwd",
        "http://x:port/",
        "http://x:99999/",
        "http://[::1/",
        "http://[x]/",
        "http://x:/",
        "https://:443/",
        "http://%41/",
        &format!("http://x/{}", "y".repeat(2048)),
    ] {
        cases.push((json!({"target": {"kind": "upstream", "url": url}}), "target.url"));
    }
    for host in
        ["", "a b", "a..b", ".a", "a:80", "é.test", "\0", "*.acme.test", &"a.".repeat(127), &"x".repeat(100_000)]
    {
        cases.push((json!({"host": host}), "host"));
    }
    for name in ["", " ", "a\0b", "a\u{202e}b", &"x".repeat(101)] {
        cases.push((json!({"name": name}), "name"));
    }
    cases
}

#[tokio::test]
async fn a_route_is_not_made_or_changed_with_values_that_cannot_be_taken() {
    let world = World::start(Database::Sqlite).await;
    let before = world.state().await;
    let target = json!({"kind": "upstream", "url": "http://127.0.0.1:9"});
    let good = json!({"path": "/new", "guard": {"scope": "x:read"}, "target": target});
    for (wrong, field) in wrong_routes() {
        let mut body = good.clone();
        body.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        let answer = world.acme.manager.post("/api/routes").json(&body).send().await;
        expect_field(&answer, &body, field);
        if field != "host" {
            let path = format!("/api/routes/{}", world.acme.route);
            let answer = world.acme.manager.request("PATCH", &path).json(&wrong).send().await;
            expect_field(&answer, &wrong, field);
        }
    }
    assert_eq!(world.state().await, before);
}

#[tokio::test]
async fn a_question_with_values_that_cannot_be_taken_is_no_answer_about_the_key() {
    let world = World::start(Database::Sqlite).await;
    let ask = async |path: &str, body: &Value| world.acme.manager.post(path).json(body).send().await;
    let about = |more: Value| {
        let mut body = json!({"key": world.acme.secret});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (body, field) in [
        (about(json!({"scope": "contacts"})), "scope"),
        (about(json!({"scope": ""})), "scope"),
        (about(json!({"scope": "a:read b:read"})), "scope"),
        (about(json!({"ip": "localhost"})), "ip"),
        (about(json!({"ip": ""})), "ip"),
        (about(json!({"ip": "10.0.0.1:80"})), "ip"),
        (about(json!({"ip": "10.0.0.0/8"})), "ip"),
        (about(json!({"path": ""})), "path"),
        (about(json!({"path": "contacts"})), "path"),
        (about(json!({"path": "/a/../b"})), "path"),
        (about(json!({"path": "/a%2fb"})), "path"),
        (about(json!({"groups": ["readers", "nobody"]})), "groups[1]"),
    ] {
        let answer = ask("/api/verify", &body).await;
        expect_field(&answer, &body, field);
        let batch = json!({"keys": [about(json!({})), body]});
        expect_field(&ask("/api/verify/batch", &batch).await, &batch, &format!("keys[1].{field}"));
    }
    let batch = json!({"keys": vec![about(json!({})); 101]});
    expect_field(&ask("/api/verify/batch", &batch).await, &batch, "keys");

    // A key that is none is no mistake of the one who asks.
    let long = "x".repeat(100_000);
    for key in ["", " ", "x", "\0", "é", "\u{202e}", "a,b", "Bearer x", &long, &format!("{} ", world.acme.secret)] {
        let verified = ask("/api/verify", &json!({"key": key})).await.expect_status(200).json();
        assert_eq!((&verified["valid"], &verified["code"]), (&json!(false), &json!("NOT_FOUND")), "{key:.100}");
        assert_eq!(verified["key"], Value::Null);
    }
    for (more, code) in [
        (json!({"workspace": "nowhere"}), "WRONG_WORKSPACE"),
        (json!({"workspace": ""}), "WRONG_WORKSPACE"),
        (json!({"groups": []}), "WRONG_GROUP"),
        (json!({"roles": []}), "INSUFFICIENT_ROLE"),
    ] {
        let verified = ask("/api/verify", &about(more.clone())).await.expect_status(200).json();
        assert_eq!((&verified["valid"], &verified["code"]), (&json!(false), &json!(code)), "{more}");
    }
}

#[tokio::test]
async fn introspection_reads_a_form_and_nothing_else() {
    let world = World::start(Database::Sqlite).await;
    let ask = async |body: &str| {
        let media = "application/x-www-form-urlencoded";
        world.acme.manager.post("/api/introspect").header("content-type", media).body(body.to_owned()).send().await
    };
    assert_eq!(ask(&format!("token={}", world.acme.secret)).await.expect_status(200).json()["active"], true);
    for form in ["", "token", "tokens=x", "token=a&token=b", "token_type_hint=x"] {
        let answer = ask(form).await;
        if form == "token" {
            assert_eq!(answer.expect_status(200).json(), json!({"active": false}));
        } else {
            assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("invalid_request")), "{form}");
        }
    }
    for token in ["", "%00", "%ff", "%", "%zz", "x y", "+", &"x".repeat(100_000)] {
        assert_eq!(
            ask(&format!("token={token}")).await.expect_status(200).json(),
            json!({"active": false}),
            "{token:.50}"
        );
    }
    let answer = world.acme.manager.post("/api/introspect").json(&json!({"token": world.acme.secret})).send().await;
    assert_eq!((answer.status, &answer.json()["error"]), (415, &json!("unsupported_media_type")));
    let large = world.acme.manager.post("/api/introspect").header("content-type", "application/x-www-form-urlencoded");
    let answer = large.body(vec![b'x'; 10 << 20]).send().await;
    assert_eq!((answer.status, &answer.json()["error"]), (413, &json!("body_too_large")));
}
