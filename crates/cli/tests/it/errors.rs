//! How an error is told: one shape for all, and nothing in it that its reader may not know.

use std::collections::BTreeSet;

use keyrack_testkit::http::Request;
use keyrack_testkit::{Answer, Database, Http, Upstream};
use serde_json::{Value, json};

use crate::support::{INVALID_API_KEY, NOBODY, Person, World, document, in_seconds, text, wait_for};

/// The names of an answer's headers, and the values of those that say something about it.
fn told_by_headers(answer: &Answer) -> Vec<String> {
    let varying = ["x-request-id", "date"];
    let each = answer.headers.iter().map(|(name, value)| {
        if varying.contains(&name.as_str()) { name.to_string() } else { format!("{name}: {}", value.to_str().unwrap()) }
    });
    each.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Keys that are refused as credentials, each for another reason.
async fn refused_keys(world: &World) -> Vec<(&'static str, String)> {
    let (acme, beta) = (&world.acme.manager, &world.beta.manager);
    let make = async |manager: &Http, body: Value| {
        let made = manager.post("/api/keys").json(&body).send().await.expect_status(201).json();
        (format!("/api/keys/{}", text(&made["key"]["id"])), text(&made["secret"]))
    };
    let manager = |name: &str| json!({"name": name, "group": "management"});
    let (revoked_path, revoked) = make(acme, manager("revoked")).await;
    acme.post(&format!("{revoked_path}/revoke")).send().await.expect_status(200);
    let (_, disabled) = make(acme, json!({"name": "disabled", "group": "management", "enabled": false})).await;
    let (deleted_path, deleted) = make(acme, manager("deleted")).await;
    acme.request("DELETE", &deleted_path).send().await.expect_status(204);
    let (rotated_path, rotated) = make(acme, manager("rotated")).await;
    acme.post(&format!("{rotated_path}/rotate")).json(&json!({"overlap_seconds": 0})).send().await.expect_status(200);
    let ending = json!({"name": "expired", "group": "management", "expires_at": in_seconds(1).to_string()});
    let (_, expired) = make(acme, ending).await;
    wait_for("its end", async || (acme_session(world, &expired).await.status == 401).then_some(())).await;
    let suspended = make(beta, manager("suspended")).await.1;
    let beta_path = format!("/api/organizations/{}", world.beta.id);
    acme.request("PATCH", &beta_path).json(&json!({"state": "suspended"})).send().await.expect_status(200);
    let unknown = format!("{}{}", &revoked[..revoked.len() - 6], "000000");
    vec![
        ("no key", "x".to_owned()),
        ("a wrong checksum", unknown),
        ("unknown", "sk_live_0000000000000000000000000000000000000000000abcdef".to_owned()),
        ("too long for a key", "k".repeat(200)),
        ("too long for anything", "k".repeat(3000)),
        ("revoked", revoked),
        ("disabled", disabled),
        ("deleted", deleted),
        ("rotated away", rotated),
        ("expired", expired),
        ("of a suspended organization", suspended),
    ]
}

async fn acme_session(world: &World, key: &str) -> Answer {
    world.keyrack.http().get("/api/session").bearer(key).send().await
}

#[tokio::test]
async fn every_401_is_the_same_to_the_byte_whatever_its_cause() {
    let world = World::start(Database::Sqlite).await;
    let http = world.keyrack.http();
    let upstream = Upstream::start().await;
    let target = json!({"kind": "upstream", "url": upstream.url()});
    for (path, guard) in [
        ("/own", json!({"scope": "contacts:read"})),
        ("/grouped", json!({"groups": ["management"]})),
        ("/sales", json!({"workspace": "sales"})),
    ] {
        let door = json!({"path": path, "guard": guard, "target": target});
        world.acme.manager.post("/api/routes").json(&door).send().await.expect_status(201);
    }
    let other = json!({"slug": "other"});
    world.acme.manager.post("/api/workspaces").json(&other).send().await.expect_status(201);
    let bound = json!({"name": "bound", "workspace": "other", "scopes": ["contacts:read"]});
    let bound = world.acme.manager.post("/api/keys").json(&bound).send().await.expect_status(201).json();
    let refused = refused_keys(&world).await;

    let mut answers: Vec<(String, Request)> = Vec::new();
    for path in ["/api/keys", "/own", "/grouped"] {
        answers.push((format!("nothing at {path}"), http.get(path)));
        for (what, key) in &refused {
            answers.push((format!("{what}, as bearer at {path}"), http.get(path).bearer(key)));
            answers.push((format!("{what}, as X-API-Key at {path}"), http.get(path).header("x-api-key", key)));
        }
    }
    answers.push(("a key that may not manage".to_owned(), http.get("/api/keys").bearer(&world.acme.secret)));
    answers.push(("a key of another group".to_owned(), http.get("/grouped").bearer(&world.acme.secret)));
    answers.push(("a key of another organization".to_owned(), http.get("/own").bearer(&world.beta.secret)));
    answers.push(("a key of another workspace".to_owned(), http.get("/sales").bearer(text(&bound["secret"]))));
    let dead = "__Host-keyrack_session=dead";
    answers.push(("a dead session".to_owned(), http.get("/api/keys").header("cookie", dead)));
    answers.push(("nobody to sign out".to_owned(), http.request("DELETE", "/api/session")));
    for (email, password) in [("owner@acme.test", "wrong"), ("nobody@acme.test", "wrong"), ("", ""), ("@", "\0")] {
        let credentials = json!({"email": email, "password": password});
        answers.push((format!("a sign-in as {email:?}"), http.post("/api/session").json(&credentials)));
    }
    let mut first: Option<Vec<String>> = None;
    for (what, request) in answers {
        let answer = request.send().await;
        assert_eq!((answer.status, answer.text().as_str()), (401, INVALID_API_KEY), "{what}");
        assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer realm="keyrack""#), "{what}");
        let headers = told_by_headers(&answer);
        assert_eq!(&headers, first.get_or_insert_with(|| headers.clone()), "{what}");
    }
    assert_eq!(upstream.count(), 0);
}

/// A request for each kind of error, with its status and code.
fn failing(world: &World, rotated: &str) -> Vec<(Request, u16, &'static str)> {
    let (manager, http) = (&world.acme.manager, world.keyrack.http());
    vec![
        (manager.get("/api/keys?limit=0"), 400, "invalid_request"),
        (manager.get("/api/keys?limit=x"), 400, "invalid_request"),
        (manager.post("/api/keys").json(&json!({"name": "x", "scopes": ["y"]})), 400, "invalid_request"),
        (manager.get("/api/keys/../groups"), 400, "non_canonical_path"),
        (http.get("/a//b"), 400, "non_canonical_path"),
        (http.request("DELETE", "/api/session").bearer(&world.acme.manager_key), 403, "key_not_accepted"),
        (world.beta.manager.post("/api/organizations").json(&json!({"slug": "x"})), 403, "insufficient_scope"),
        (http.post("/api/verify").bearer(&world.acme.secret).json(&json!({"key": "x"})), 403, "insufficient_scope"),
        (http.get("/door").bearer(&world.acme.secret), 502, "bad_gateway"),
        (manager.get(&format!("/api/keys/{NOBODY}")), 404, "not_found"),
        (http.get("/api/nothing"), 404, "not_found"),
        (http.get("/nothing"), 404, "not_found"),
        (manager.request("PUT", "/api/keys"), 405, "method_not_allowed"),
        (manager.post("/api/groups").json(&json!({"name": "readers"})), 409, "name_taken"),
        (manager.request("DELETE", &format!("/api/groups/{}", world.acme.group)), 409, "has_live_keys"),
        (manager.post("/api/groups").json(&json!({"name": "x".repeat(300_000)})), 413, "body_too_large"),
        (manager.post("/api/groups").body("{}"), 415, "unsupported_media_type"),
        (
            manager.post(rotated).header("idempotency-key", "one").json(&json!({"force": true})),
            422,
            "idempotency_mismatch",
        ),
    ]
}

#[tokio::test]
async fn every_other_error_names_its_request_and_says_the_same_as_problem_json() {
    let world = World::start(Database::Sqlite).await;
    let another = json!({"name": "another"});
    let another = world.acme.manager.post("/api/keys").json(&another).send().await.expect_status(201).json();
    let path = format!("/api/keys/{}/rotate", text(&another["key"]["id"]));
    let rotate = world.acme.manager.post(&path).header("idempotency-key", "one");
    rotate.json(&json!({"overlap_seconds": 0})).send().await.expect_status(200);
    let mut ids = BTreeSet::new();
    let problems = failing(&world, &path)
        .into_iter()
        .map(|(request, ..)| request.header("accept", "text/html, application/problem+json;q=0.5"));
    for ((request, status, code), problem) in failing(&world, &path).into_iter().zip(problems) {
        let plain = request.header("accept", "application/json").send().await.expect_status(status);
        let problem = problem.send().await.expect_status(status);
        let body = plain.json();
        assert_eq!(plain.header("content-type"), Some("application/json"), "{code}");
        let fields: BTreeSet<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
        let known = ["details", "error", "message", "request_id"].into();
        assert!(fields.is_subset(&known) && fields.len() >= 3, "{body}");
        assert_eq!(body["error"], code);
        assert_eq!(plain.header("x-request-id"), body["request_id"].as_str(), "{code}");
        assert!(ids.insert(text(&body["request_id"])), "an id is of one request only");

        let told = problem.json();
        assert_eq!(problem.header("content-type"), Some("application/problem+json"), "{code}");
        let id = problem.header("x-request-id").unwrap();
        assert_eq!(told["instance"], format!("urn:uuid:{id}"), "{code}");
        let mut wanted = json!({
            "type": "about:blank",
            "title": http::StatusCode::from_u16(status).unwrap().canonical_reason(),
            "status": status,
            "detail": body["message"],
            "code": code,
            "instance": told["instance"],
        });
        if !body["details"].is_null() {
            wanted["errors"] = body["details"].clone();
        }
        assert_eq!(told, wanted);
        for answer in [&plain, &problem] {
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{code}");
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{code}");
            assert_eq!(answer.header("www-authenticate"), None, "{code}");
        }
    }
    // The 401 says no more in this dress either, and nothing that differs from one to the next.
    let mut seen = BTreeSet::new();
    for key in ["", "x", &world.acme.secret] {
        let request = world.keyrack.http().get("/api/keys").header("x-api-key", key);
        let answer = request.header("accept", "application/problem+json").send().await.expect_status(401);
        assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer realm="keyrack""#));
        seen.insert(answer.text());
    }
    let wanted = json!({
        "type": "about:blank", "title": "Unauthorized", "status": 401, "detail": "Invalid API key", "code": "invalid_api_key",
    });
    assert_eq!(seen.into_iter().map(|body| body.parse().unwrap()).collect::<Vec<Value>>(), [wanted]);
}

#[tokio::test]
async fn nothing_under_api_is_kept_by_a_cache() {
    let world = World::start(Database::Sqlite).await;
    let ids = [&world.acme.key, &world.acme.group, &world.acme.workspace, &world.acme.route, &world.acme.id];
    let mut paths =
        vec!["/api".to_owned(), "/api/".to_owned(), "/api/nothing".to_owned(), "/api/keys?limit=0".to_owned()];
    for path in document()["paths"].as_object().unwrap().keys().filter(|path| path.starts_with("/api")) {
        let each = ids.iter().map(|id| path.replace("{id}", id).replace("{user_id}", id).replace("{version}", "1"));
        paths.extend(each);
    }
    for path in paths {
        for method in ["GET", "HEAD", "OPTIONS", "PUT"] {
            for client in [&world.acme.manager, &world.keyrack.http()] {
                let answer = client.request(method, &path).send().await;
                assert!(answer.status < 500, "{method} {path}: {}", answer.text());
                assert_eq!(answer.header("cache-control"), Some("no-store"), "{method} {path}");
                assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{method} {path}");
                assert_eq!(answer.header("access-control-allow-origin"), None, "{method} {path}");
                assert!(answer.header("x-request-id").is_some(), "{method} {path}");
                assert!(method != "HEAD" || answer.body.is_empty(), "{method} {path}");
            }
        }
    }
    let owner = Person::sign_in(&world.keyrack.http(), &world.keyrack.owner_email, &world.keyrack.owner_password).await;
    let signed_out = owner.ask("DELETE", "/api/session").send().await.expect_status(204);
    assert_eq!(signed_out.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn a_method_that_a_path_does_not_take_is_405_and_says_which_it_takes() {
    let world = World::start(Database::Sqlite).await;
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO"];
    let mut count = 0;
    for (path, item) in document()["paths"].as_object().unwrap() {
        let mut taken: BTreeSet<String> =
            item.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        if taken.contains("GET") {
            taken.insert("HEAD".to_owned());
        }
        let path = path.replace("{id}", NOBODY).replace("{user_id}", NOBODY).replace("{version}", "1");
        for method in methods.into_iter().filter(|method| !taken.contains(*method)) {
            for client in [&world.acme.manager, &world.keyrack.http()] {
                let answer = client.request(method, &path).send().await.expect_status(405);
                assert!(method == "HEAD" || answer.json()["error"] == "method_not_allowed", "{method} {path}");
                let allow = answer.header("allow").unwrap_or_else(|| panic!("{method} {path} says no Allow"));
                let allow: BTreeSet<String> = allow.split(',').map(|method| method.trim().to_owned()).collect();
                assert_eq!(allow, taken, "{method} {path}");
                count += 1;
            }
        }
    }
    assert!(count > 300, "{count}");
}

#[tokio::test]
async fn a_path_that_is_nothing_is_404_with_our_body_to_everybody() {
    let world = World::start(Database::Sqlite).await;
    let key = format!("/api/keys/{}", world.acme.key);
    let paths = [
        "/api",
        "/api/",
        "/api/nothing",
        "/api/Keys",
        "/api/keys/",
        "/API/keys",
        "/api/v1/acme/sales/contacts",
        "/hooks/x",
        "/forward-auth/nginx",
        "/extauthz/x",
        "/metrics",
        "/health",
        "/health/",
        "/-/x",
        "/o/acme/nothing",
        "/o/acme",
        "/o/nobody/door",
        "/.well-known/keyrack/nothing",
        "/docs/",
        "/favicon.ico",
        "/",
        &format!("{key}/"),
        &format!("{key}/nothing"),
        &format!("{key}/secrets/"),
        &format!("{key}/secrets/1/x"),
    ];
    for path in paths {
        for method in ["GET", "POST", "DELETE", "FOO"] {
            for client in [&world.acme.manager, &world.keyrack.http()] {
                let answer = client.request(method, path).send().await;
                assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text());
                let body = answer.json();
                assert_eq!(
                    (&body["error"], body["message"].is_string()),
                    (&json!("not_found"), true),
                    "{method} {path}"
                );
                assert_eq!(body["request_id"].as_str(), answer.header("x-request-id"), "{method} {path}");
            }
        }
    }
}
