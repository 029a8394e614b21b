//! What belongs to another organization is answered like what is not there at all, wherever its id may stand.

use keyrack_testkit::http::Request;
use keyrack_testkit::{Answer, Database};
use serde_json::{Value, json};

use crate::support::{NOBODY, Person, World, text};

/// An answer without what differs from request to request.
fn told(answer: &Answer) -> (u16, Value) {
    let mut body = if answer.body.is_empty() { Value::Null } else { answer.json() };
    if let Some(members) = body.as_object_mut() {
        members.remove("request_id");
    }
    (answer.status, body)
}

/// Where an id of a kind of thing may stand: method, path and body, with `$` for the id.
fn places(kind: &str) -> Vec<(&'static str, &'static str, &'static str)> {
    match kind {
        "key" => vec![
            ("GET", "/api/keys/$", ""),
            ("PATCH", "/api/keys/$", r#"{"enabled":false}"#),
            ("DELETE", "/api/keys/$", ""),
            ("POST", "/api/keys/$/rotate", "{}"),
            ("POST", "/api/keys/$/revoke", "{}"),
            ("GET", "/api/keys/$/secrets", ""),
            ("DELETE", "/api/keys/$/secrets/1", ""),
            ("GET", "/api/audit?subject=$", ""),
            (
                "POST",
                "/api/routes",
                r#"{"path":"/new","guard":{"keys":["$"]},"target":{"kind":"upstream","url":"http://x"}}"#,
            ),
            ("PATCH", "/api/routes/own", r#"{"guard":{"keys":["$"]}}"#),
        ],
        "group" => vec![
            ("GET", "/api/groups/$", ""),
            ("PATCH", "/api/groups/$", r#"{"name":"taken-over"}"#),
            ("DELETE", "/api/groups/$", ""),
            ("DELETE", "/api/groups/$?revoke_keys=true", ""),
            ("GET", "/api/keys?group=$", ""),
            ("POST", "/api/keys", r#"{"name":"new","group":"$"}"#),
            ("POST", "/api/keys/import", r#"{"keys":[{"name":"new","key":"sixteen-or-more-letters","group":"$"}]}"#),
            ("PATCH", "/api/settings", r#"{"access_groups":["$"]}"#),
            (
                "POST",
                "/api/routes",
                r#"{"path":"/new","guard":{"groups":["$"]},"target":{"kind":"upstream","url":"http://x"}}"#,
            ),
            ("PATCH", "/api/routes/own", r#"{"guard":{"groups":["$"]}}"#),
            ("POST", "/api/verify", r#"{"key":"own","groups":["$"]}"#),
        ],
        "workspace" => vec![
            ("GET", "/api/workspaces/$", ""),
            ("PATCH", "/api/workspaces/$", r#"{"name":"taken over"}"#),
            ("DELETE", "/api/workspaces/$", ""),
            ("DELETE", "/api/workspaces/$?revoke_keys=true", ""),
            ("GET", "/api/keys?workspace=$", ""),
            ("POST", "/api/keys", r#"{"name":"new","workspace":"$"}"#),
            (
                "POST",
                "/api/keys/import",
                r#"{"keys":[{"name":"new","key":"sixteen-or-more-letters","workspace":"$"}]}"#,
            ),
            (
                "POST",
                "/api/routes",
                r#"{"path":"/new","guard":{"workspace":"$"},"target":{"kind":"upstream","url":"http://x"}}"#,
            ),
            ("PATCH", "/api/routes/own", r#"{"guard":{"workspace":"$"}}"#),
            ("POST", "/api/verify", r#"{"key":"own","workspace":"$"}"#),
        ],
        "route" => vec![
            ("GET", "/api/routes/$", ""),
            ("PATCH", "/api/routes/$", r#"{"enabled":false}"#),
            ("DELETE", "/api/routes/$", ""),
        ],
        "member" => vec![
            ("PATCH", "/api/members/$", r#"{"role":"admin"}"#),
            ("DELETE", "/api/members/$", ""),
            ("GET", "/api/audit?actor=$", ""),
        ],
        "organization" => {
            vec![("GET", "/api/organizations/$", ""), ("PATCH", "/api/organizations/$", r#"{"name":"taken over"}"#)]
        }
        other => panic!("{other}?"),
    }
}

#[tokio::test]
async fn an_id_of_another_organization_is_answered_like_one_that_nothing_has() {
    let world = World::start(Database::Sqlite).await;
    let (acme, beta) = (&world.acme, &world.beta);
    let invite = json!({"email": "grace@acme.test", "role": "member", "password": "the password of grace"});
    let grace = acme.manager.post("/api/members").json(&invite).send().await.expect_status(201).json();
    let before = world.state().await;
    for (kind, id) in [
        ("key", &acme.key),
        ("group", &acme.group),
        ("workspace", &acme.workspace),
        ("route", &acme.route),
        ("member", &text(&grace["member"]["user_id"])),
        ("organization", &acme.id),
    ] {
        for (method, path, body) in places(kind) {
            let about = |id: &str| -> Request {
                let request = beta.manager.request(method, &path.replace('$', id).replace("own", &beta.route));
                let body = body.replace('$', id).replace("own", &beta.secret);
                if body.is_empty() { request } else { request.header("content-type", "application/json").body(body) }
            };
            let (foreign, unknown) = (about(id).send().await, about(NOBODY).send().await);
            assert_eq!(told(&foreign), told(&unknown), "{method} {path} {body}");
            let refused = matches!(foreign.status, 400 | 404);
            let is_empty =
                foreign.status == 200 && (foreign.json()["data"] == json!([]) || foreign.json()["valid"] == false);
            assert!(refused || is_empty, "{method} {path} {body}: {} {}", foreign.status, foreign.text());
        }
    }
    assert_eq!(world.state().await, before);
}

#[tokio::test]
async fn a_key_of_another_organization_is_unknown_to_who_asks_about_it() {
    let world = World::start(Database::Sqlite).await;
    let unknown = format!("{}x", &world.acme.secret[..world.acme.secret.len() - 1]);
    let ask = async |key: &str| {
        let verified = world.beta.manager.post("/api/verify").json(&json!({"key": key})).send().await;
        let batch = world.beta.manager.post("/api/verify/batch").json(&json!({"keys": [{"key": key}]})).send().await;
        let form =
            world.beta.manager.post("/api/introspect").header("content-type", "application/x-www-form-urlencoded");
        let introspected = form.body(format!("token={key}")).send().await;
        [told(&verified), told(&batch), told(&introspected)]
    };
    for text in [&world.acme.secret, &world.acme.manager_key] {
        assert_eq!(ask(text).await, ask(&unknown).await);
    }
    assert_eq!(ask(&world.beta.secret).await[0].1["valid"], true);
    // An instance admin may ask about every organization's.
    let asked = world.acme.manager.post("/api/verify").json(&json!({"key": world.beta.secret})).send().await;
    assert_eq!(asked.expect_status(200).json()["organization"]["name"], "beta");
}

#[tokio::test]
async fn cursors_and_idempotency_keys_of_another_organization_open_nothing() {
    let world = World::start(Database::Sqlite).await;
    let (acme, beta) = (&world.acme, &world.beta);
    let own = beta.state().await.to_string();
    for list in ["keys", "members", "audit", "organizations"] {
        let page = acme.manager.get(&format!("/api/{list}?limit=1")).send().await.expect_status(200).json();
        let cursor = text(&page["next_cursor"]);
        let seen = beta.manager.get(&format!("/api/{list}?cursor={cursor}")).send().await.expect_status(200).json();
        for row in seen["data"].as_array().unwrap() {
            let id = if list == "members" { &row["user_id"] } else { &row["id"] };
            assert!(own.contains(&text(id)), "{list}: {row}");
        }
    }
    let make = async |manager: &keyrack_testkit::Http, name: &str| {
        manager.post("/api/keys").header("idempotency-key", "the same").json(&json!({"name": name})).send().await
    };
    let first = make(&acme.manager, "one").await.expect_status(201).json();
    let second = make(&beta.manager, "two").await.expect_status(201).json();
    assert_ne!(first["key"]["id"], second["key"]["id"]);
    assert!(second["secret"].is_string());
}

#[tokio::test]
async fn a_person_who_names_anothers_organization_is_answered_as_if_it_were_none() {
    let world = World::start(Database::Sqlite).await;
    let http = world.keyrack.http();
    let invite = json!({"email": "eve@beta.test", "role": "admin"});
    let invited = world.beta.manager.post("/api/members").json(&invite).send().await.expect_status(201).json();
    let yes = json!({"token": invited["invitation"]["token"], "password": "the password of eve"});
    http.post("/api/members/accept").json(&yes).send().await.expect_status(201);
    let eve = Person::sign_in(&http, "eve@beta.test", "the password of eve").await;
    eve.ask("GET", "/api/keys").send().await.expect_status(200);
    let before = world.state().await;
    for (method, path, status) in [
        ("GET", "/api/keys".to_owned(), 401),
        ("GET", "/api/session".to_owned(), 200),
        ("GET", "/api/organizations".to_owned(), 200),
        ("GET", format!("/api/organizations/{}", world.acme.id), 401),
        ("POST", format!("/api/keys/{}/revoke", world.acme.key), 401),
        ("DELETE", format!("/api/routes/{}", world.acme.route), 401),
    ] {
        let named = async |organization: &str| {
            told(&eve.ask(method, &path).header("keyrack-organization", organization).send().await)
        };
        let unknown = named(NOBODY).await;
        assert_eq!(unknown.0, status, "{method} {path}");
        for organization in [world.acme.id.as_str(), "acme", "nowhere", "", "\u{fc}"] {
            assert_eq!(named(organization).await, unknown, "{method} {path} {organization}");
        }
        // Nor does somebody learn it whose session is dead.
        let nobody = async |organization: &str| {
            let request = http.request(method, &path).header("cookie", "__Host-keyrack_session=nobody");
            told(&request.header("keyrack-organization", organization).send().await)
        };
        assert_eq!(nobody("acme").await, nobody("nowhere").await, "{method} {path}");
    }
    assert_eq!(world.state().await, before);
}
