//! Bodies that are no JSON, too much of it, or not of the kind that is asked for.

use keyrack_testkit::http::Request;
use keyrack_testkit::{Answer, Database};
use serde_json::{Value, json};

use super::schema::{self, Operation};
use crate::support::{World, expect_refusal};

/// A request of this operation, without a body, by the manager of `acme`.
fn ask(world: &World, operation: &Operation) -> Request {
    let acme = &world.acme;
    let id = match operation.path.split('/').nth(2).unwrap() {
        "keys" => &acme.key,
        "groups" => &acme.group,
        "workspaces" => &acme.workspace,
        "routes" => &acme.route,
        "secrets" => &acme.secret_id,
        "organizations" => &acme.id,
        _ => &acme.member,
    };
    let path = operation.path.replace("{id}", id).replace("{user_id}", id);
    assert!(!path.contains('{'), "{path}");
    if path.starts_with("/api/profile") || path == "/api/session/step-up" {
        // People alone may ask for these.
        return world.owner.ask(&operation.method, &path);
    }
    acme.manager.request(&operation.method, &path)
}

/// Fails unless this is 400 about this field.
#[track_caller]
fn expect_field(operation: &Operation, sent: &str, answer: &Answer, field: &str) {
    let got = (answer.status, answer.json()["error"].clone(), answer.json()["details"][0]["field"].clone());
    let wanted = (400, json!("invalid_request"), json!(field));
    assert_eq!(got, wanted, "{}: {sent:.300}: {}", operation.id, answer.text());
    assert_eq!(answer.json()["details"].as_array().unwrap().len(), 1, "{}", answer.text());
    // The names of types in our code tell nobody anything.
    let names_types = ["struct ", "enum "].iter().any(|word| answer.text().contains(word));
    assert!(!names_types, "{}: {sent:.300}: {}", operation.id, answer.text());
}

#[tokio::test]
async fn a_body_of_another_shape_is_refused_by_its_field_and_changes_nothing() {
    let world = World::start(Database::Sqlite).await;
    let before = world.state().await;
    let operations = schema::operations();
    assert!(operations.len() >= 18, "only {} operations take JSON?", operations.len());
    for operation in &operations {
        let wrong = schema::wrong(&operation.schema, "");
        assert!(wrong.len() > 15, "{}: {wrong:?}", operation.id);
        for (body, field) in wrong {
            let answer = ask(&world, operation).json(&body).send().await;
            expect_field(operation, &body.to_string(), &answer, &field);
        }
        assert_eq!(world.state().await, before, "{}", operation.id);
    }
}

#[tokio::test]
async fn null_passes_exactly_where_the_document_says_so() {
    let world = World::start(Database::Sqlite).await;
    let mut cleared = Vec::new();
    for operation in schema::operations() {
        for (name, field) in operation.schema["properties"].as_object().unwrap() {
            let is_nullable = schema::is_nullable(field);
            // Fields are read in their order, so what is named shows how far it was read.
            let body = format!("{{\"{name}\":null,\"zebra\":1}}");
            let answer = ask(&world, &operation).header("content-type", "application/json").body(body).send().await;
            expect_field(&operation, name, &answer, if is_nullable { "zebra" } else { name });
            if operation.method == "PATCH" && is_nullable {
                cleared.push(format!("{} {name}", operation.id));
            }
        }
    }
    // A change takes null only where something is cleared by it.
    cleared.sort();
    let wanted = [
        "updateGroup key_format",
        "updateGroup rate_limits",
        "updateKey expires_at",
        "updateKey ip_allowlist",
        "updateKey metadata",
        "updateKey rate_limits",
        "updateOrganization rate_limits",
        "updateRoute cors",
        "updateSettings session_hours",
    ];
    assert_eq!(cleared, wanted);
}

#[tokio::test]
async fn a_body_that_is_no_json_is_refused_and_changes_nothing() {
    let world = World::start(Database::Sqlite).await;
    let before = world.state().await;
    for operation in schema::operations() {
        let sample = schema::sample(&operation.schema).to_string();
        let fields = operation.schema["properties"].as_object().unwrap();
        let mut cases: Vec<(Vec<u8>, &str)> = Vec::new();
        for tail in ["x", "{}", "null", "}", ",", "\0", "//", "\u{feff}", "\u{a0}"] {
            cases.push((format!("{sample}{tail}").into(), "body"));
            cases.push((format!("{sample}\n {tail}").into(), "body"));
        }
        for head in ["\u{feff}", "\0", "//x\n", "\u{a0}", ","] {
            cases.push((format!("{head}{sample}").into(), "body"));
        }
        for text in
            ["{", "}", "[", "nul", "NaN", "'x'", "{'name': 'x'}", "{name: 1}", "{,}", " ", "\t\r\n", "--", "\"", "0x10"]
        {
            cases.push((text.into(), "body"));
        }
        for bytes in [&b"\xff\xfe{\0}\0"[..], b"\x00{", b"\x80", b"\x1f\x8b\x08\x00"] {
            cases.push((bytes.into(), "body"));
        }
        for (name, field) in fields {
            // Twice is one too many, whatever the values.
            let value = schema::sample(field);
            cases.push((format!("{{\"{name}\":{value},\"{name}\":{value}}}").into(), "body"));
            if field["type"] == "string" || field["type"][0] == "string" {
                for text in
                    [&b"\xff"[..], b"\xc3", b"\xed\xa0\x80", b"\\ud800", b"\\udc00\\ud800", b"\\x41", b"\n", b"\x00"]
                {
                    cases.push(([format!("{{\"{name}\":\"").as_bytes(), text, b"\"}"].concat(), name));
                }
            }
            if field["type"] == "integer" || field["type"][0] == "integer" {
                for number in ["99999999999999999999", "-99999999999999999999", "1e400", "01", "1.", ".5", "+1", "-"] {
                    cases.push((format!("{{\"{name}\":{number}}}").into(), name));
                }
            }
        }
        if !operation.is_optional {
            cases.push((Vec::new(), "body"));
        }
        for (body, field) in cases {
            let answer = ask(&world, &operation).header("content-type", "application/json").body(body.clone());
            let sent = String::from_utf8_lossy(&body).into_owned();
            expect_field(&operation, &sent, &answer.send().await, field);
        }
        assert_eq!(world.state().await, before, "{}", operation.id);
    }
}

#[tokio::test]
async fn a_body_that_is_too_deep_or_too_large_or_of_another_type_is_refused() {
    let world = World::start(Database::Sqlite).await;
    let before = world.state().await;
    let large = vec![b' '; 10 << 20];
    for operation in schema::operations() {
        for (opening, field) in [("[", None), ("{\"a\":", Some("a")), ("{\"metadata\":", None), ("[{\"a\":", None)] {
            let answer =
                ask(&world, &operation).header("content-type", "application/json").body(opening.repeat(10_000));
            let answer = answer.send().await;
            let named = answer.json()["details"][0]["field"].as_str().unwrap_or_default().to_owned();
            expect_field(&operation, opening, &answer, field.unwrap_or(&named));
        }
        let answer =
            ask(&world, &operation).header("content-type", "application/json").body(large.clone()).send().await;
        expect_refusal(&answer, 413, "body_too_large", None);

        let body = schema::sample(&operation.schema).to_string();
        for media in
            ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "json", "application/xml"]
        {
            let request = ask(&world, &operation).body(body.clone());
            let request = if media.is_empty() { request } else { request.header("content-type", media) };
            expect_refusal(&request.send().await, 415, "unsupported_media_type", None);
        }
        assert_eq!(world.state().await, before, "{}", operation.id);
    }
}

#[tokio::test]
async fn metadata_may_be_nested_as_far_as_json_is_read() {
    let world = World::start(Database::Sqlite).await;
    let nested = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    let make = async |levels: usize| {
        let body = format!("{{\"name\":\"deep {levels}\",\"metadata\":{}}}", nested(levels));
        world.acme.manager.post("/api/keys").header("content-type", "application/json").body(body).send().await
    };
    let deep = make(120).await.expect_status(201).json();
    let shown: Value = serde_json::from_str(&nested(120)).unwrap();
    assert_eq!(deep["key"]["metadata"], shown);
    let refused = make(127).await;
    assert_eq!(refused.status, 400);
    assert!(refused.json()["details"][0]["field"].as_str().unwrap().starts_with("metadata.a.a"), "{}", refused.text());
    assert!(refused.json()["details"][0]["message"].as_str().unwrap().contains("recursion"), "{}", refused.text());
    // What was stored is read back by those who ask, and by a server that starts again.
    let asked = json!({"key": deep["secret"]});
    let verified = world.acme.manager.post("/api/verify").json(&asked).send().await.expect_status(200).json();
    assert_eq!(verified["key"]["metadata"], shown);
    let mut keyrack = world.keyrack;
    keyrack.restart();
    let verified = keyrack.owner().post("/api/verify").json(&asked).send().await.expect_status(200).json();
    assert_eq!(verified["key"]["metadata"], shown);
}
