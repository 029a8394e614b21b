//! The `OpenAPI` document: that it is current, and that what it says of credentials is true.

use std::collections::BTreeSet;

use keyrack_testkit::http::Request;
use keyrack_testkit::{Database, Http, Keyrack, Program};
use serde_json::{Value, json};

use crate::support::{INVALID_API_KEY, KEYRACK, NOBODY, Person, document, start, text};

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");

#[test]
fn the_committed_document_is_what_the_program_writes_each_time() {
    let openapi = |words: &[&str]| Program::new(KEYRACK).arg("openapi").args(words);
    openapi(&["--check", COMMITTED]).run().success();
    let committed = std::fs::read_to_string(COMMITTED).unwrap();
    for _ in 0..3 {
        assert_eq!(openapi(&[]).run().success().stdout, committed);
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("openapi.json").display().to_string();
    let missing = openapi(&["--check", &file]).run().expect_code(1);
    assert!(missing.stderr.contains("cannot read"), "{}", missing.stderr);
    std::fs::write(&file, committed.replacen("Keyrack", "Keyrock", 1)).unwrap();
    let old = openapi(&["--check", &file]).run().expect_code(1);
    assert!(old.stderr.contains(&format!("keyrack openapi --output {file}")), "{}", old.stderr);
    openapi(&["--output", &file]).run().success();
    openapi(&["--check", &file]).run().success();
    openapi(&["--check", &file, "--output", &file]).run().expect_code(2);
}

/// What the document says of an operation's callers.
struct Operation {
    method: String,
    path: String,
    has_form: bool,
    /// Whether only an instance admin is let in.
    is_for_instance_admins: bool,
    /// The ways to present a credential, each with the scope that is asked for.
    security: Vec<(String, Option<String>)>,
}

fn operations() -> Vec<Operation> {
    let mut found = Vec::new();
    for (path, item) in document()["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let ways = operation["security"].as_array().unwrap().iter().flat_map(|way| way.as_object().unwrap());
            let security = ways.map(|(way, scopes)| (way.clone(), scopes[0].as_str().map(str::to_owned)));
            found.push(Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                has_form: operation["requestBody"]["content"]["application/x-www-form-urlencoded"].is_object(),
                is_for_instance_admins: text(&operation["x-keyrack-needs"]).contains("instance admin"),
                security: security.collect(),
            });
        }
    }
    found
}

impl Operation {
    fn scope(&self) -> Option<&str> {
        self.security.first()?.1.as_deref()
    }

    /// A request that does nothing, whoever is let in: about an id that nothing has, with a body that says nothing.
    fn ask(&self, http: &Http) -> Request {
        let path = self.path.replace("{id}", NOBODY).replace("{user_id}", NOBODY).replace("{version}", "1");
        let request = http.request(&self.method, &path);
        if self.has_form {
            return request.header("content-type", "application/x-www-form-urlencoded");
        }
        if self.method == "GET" || self.method == "DELETE" { request } else { request.json(&json!({"zebra": 1})) }
    }
}

/// A key with these scopes, in a group.
async fn key(keyrack: &Keyrack, group: &str, scopes: &[&str]) -> Http {
    let made = json!({"description": format!("{group} {}", scopes.join(" ")), "group": group, "scopes": scopes});
    let made = keyrack.owner().post("/api/keys").json(&made).send().await.expect_status(201).json();
    keyrack.http().with_bearer(text(&made["secret"]))
}

#[tokio::test]
async fn what_the_document_says_of_credentials_and_scopes_is_true() {
    let keyrack = start(Database::Sqlite);
    let http = keyrack.http();
    let operations = operations();
    let scopes: BTreeSet<&str> = operations.iter().filter_map(Operation::scope).collect();
    assert!(scopes.len() >= 15, "{scopes:?}");
    let powerless = key(&keyrack, "management", &[]).await;
    for operation in &operations {
        let what = format!("{} {}", operation.method, operation.path);
        if operation.security.is_empty() {
            let answer = operation.ask(&http).send().await;
            assert!(!matches!(answer.status, 401 | 403), "{what} asks for a credential: {}", answer.text());
            continue;
        }
        let bare = operation.ask(&http).send().await;
        assert_eq!((bare.status, bare.text().as_str()), (401, INVALID_API_KEY), "{what}");
        let ways: Vec<&str> = operation.security.iter().map(|(way, _)| way.as_str()).collect();
        if ways == ["session"] {
            let answer = operation.ask(&keyrack.owner()).send().await;
            assert_eq!((answer.status, &answer.json()["error"]), (403, &json!("key_not_accepted")), "{what}");
            continue;
        }
        assert_eq!(ways, ["api_key", "bearer", "session"], "{what}");
        let as_header = operation.ask(&http).header("x-api-key", &keyrack.management_key).send().await;
        assert!(!matches!(as_header.status, 401 | 403), "{what}: {}", as_header.text());
        let Some(scope) = operation.scope() else {
            // Nothing is asked for at the door; what is done may still ask.
            let answer = operation.ask(&powerless).send().await;
            if operation.is_for_instance_admins {
                assert_eq!((answer.status, &answer.json()["error"]), (403, &json!("insufficient_scope")), "{what}");
                continue;
            }
            assert!(!matches!(answer.status, 401 | 403), "{what}: {}", answer.text());
            continue;
        };
        let others: Vec<&str> = scopes.iter().copied().filter(|other| *other != scope).collect();
        let refused = operation.ask(&key(&keyrack, "management", &others).await).send().await;
        assert_eq!((refused.status, &refused.json()["error"]), (403, &json!("insufficient_scope")), "{what}");
        let granted = operation.ask(&key(&keyrack, "management", &[scope]).await).send().await;
        assert!(!matches!(granted.status, 401 | 403), "{what} with {scope}: {}", granted.text());
        let outside = operation.ask(&key(&keyrack, "default", &[scope]).await).send().await;
        let is_for_any_key = scope == "keyrack.verification:read";
        assert_eq!(
            outside.status == 401,
            !is_for_any_key,
            "{what} with {scope}, of no access group: {}",
            outside.text()
        );
        // So that the next round's names are free.
        forget_keys(&keyrack).await;
    }
}

async fn forget_keys(keyrack: &Keyrack) {
    let keys = keyrack.owner().get("/api/keys?limit=200&name=keyrack.").send().await.expect_status(200).json();
    for key in keys["data"].as_array().unwrap() {
        let path = format!("/api/keys/{}", text(&key["id"]));
        keyrack.owner().request("DELETE", &path).send().await.expect_status(204);
    }
}

#[tokio::test]
async fn a_session_is_taken_wherever_the_document_says_so() {
    let keyrack = start(Database::Sqlite);
    let owner = Person::sign_in(&keyrack.http(), &keyrack.owner_email, &keyrack.owner_password).await;
    let mut taken = 0;
    for operation in operations() {
        let is_taken = operation.security.iter().any(|(way, _)| way == "session");
        if !is_taken || operation.path == "/api/session" {
            continue;
        }
        let answer = operation.ask(&keyrack.http()).header("cookie", &owner.cookie).send().await;
        assert!(!matches!(answer.status, 401 | 403), "{} {}: {}", operation.method, operation.path, answer.text());
        // Another site's page may not use it to change anything.
        let foreign =
            operation.ask(&keyrack.http()).header("cookie", &owner.cookie).header("sec-fetch-site", "cross-site");
        let foreign = foreign.send().await;
        let told = if foreign.body.is_empty() { Value::Null } else { foreign.json()["error"].clone() };
        assert_eq!(told == "cross_site", operation.method != "GET", "{} {}", operation.method, operation.path);
        taken += 1;
    }
    assert!(taken > 30, "{taken}");
}
