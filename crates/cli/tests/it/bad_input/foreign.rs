//! An organization that is named in the header `Keyrack-Organization` and is not the caller's: what is there and what is not
//! are answered alike. Ids everywhere else are in the matrix.

use keyrack_testkit::{Answer, Database};
use serde_json::{Value, json};

use crate::support::{NOBODY, Person, World};

/// An answer without what differs from request to request.
fn told(answer: &Answer) -> (u16, Value) {
    let mut body = if answer.body.is_empty() { Value::Null } else { answer.json() };
    if let Some(members) = body.as_object_mut() {
        members.remove("request_id");
    }
    (answer.status, body)
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
