//! Names that are nearly the same: which of them are one name, and which are two.

use keyrack_testkit::{Database, Http, both_databases};
use serde_json::{Value, json};

use crate::support::{World, expect_refusal};

/// Makes a key in the group of readers.
async fn key_named(manager: &Http, name: &str) -> keyrack_testkit::Answer {
    manager.post("/api/keys").json(&json!({"name": name, "group": "readers"})).send().await
}

both_databases! {
    /// What is equal is said by us and not by the database's collation.
    async fn names_that_look_alike_are_one_and_names_that_differ_in_case_are_two(database: Database) {
        let world = World::start(database).await;
        let manager = &world.acme.manager;
        for (first, same) in [
            ("caf\u{e9}", vec!["cafe\u{301}", " caf\u{e9} ", "caf\u{e9}\u{3000}"]),
            ("two words", vec!["\ntwo words", "two words\t"]),
            ("\u{1f511}", vec!["\u{1f511} "]),
        ] {
            let shown = key_named(manager, first).await.expect_status(201).json();
            assert_eq!(shown["key"]["name"], first);
            let before = world.state().await;
            for name in same {
                expect_refusal(&key_named(manager, name).await, 409, "name_taken", None);
            }
            assert_eq!(world.state().await, before);
        }
        for name in ["READER", "Reader", "reader.", "r\u{e9}ader", "\u{457}eader", "rea der", "rea  der", "Caf\u{e9}", "cafe"] {
            let shown = key_named(manager, name).await.expect_status(201).json();
            assert_eq!(shown["key"]["name"], name);
        }
        let found = manager.get("/api/keys?name=READER").send().await.expect_status(200).json();
        let found: Vec<&Value> = found["data"].as_array().unwrap().iter().map(|key| &key["name"]).collect();
        assert_eq!(found.len(), 4, "a search finds names whatever their case: {found:?}");
    }
}

#[tokio::test]
async fn what_is_taken_is_refused_with_a_word_for_it_and_nothing_changes() {
    let world = World::start(Database::Sqlite).await;
    let before = world.state().await;
    let owner = &world.keyrack.owner_email;
    let target = json!({"kind": "upstream", "url": "http://x"});
    let public = json!({"public": true});
    for (path, body, code) in [
        ("/api/keys", json!({"name": "reader", "group": "readers"}), "name_taken"),
        ("/api/groups", json!({"name": "readers"}), "name_taken"),
        ("/api/groups", json!({"name": "default"}), "name_taken"),
        ("/api/workspaces", json!({"slug": "sales"}), "slug_taken"),
        ("/api/organizations", json!({"slug": "beta", "owner_email": owner}), "slug_taken"),
        ("/api/members", json!({"email": "member@acme.test", "role": "member"}), "already_member"),
        ("/api/members", json!({"email": "MEMBER@ACME.test", "role": "admin"}), "already_member"),
        ("/api/members", json!({"email": " \u{4d}ember@Acme.TEST ", "role": "admin"}), "already_member"),
        (
            "/api/members",
            json!({"email": "MEMBER@ACME.TEST", "role": "member", "password": "fifteen letters"}),
            "email_taken",
        ),
        ("/api/routes", json!({"path": "/door", "guard": public, "target": target}), "route_clash"),
    ] {
        let answer = world.acme.manager.post(path).json(&body).send().await;
        expect_refusal(&answer, 409, code, None);
        assert_eq!(world.state().await, before, "{path} {body}");
    }
    for (path, code) in [
        (format!("/api/groups/{}", world.acme.group), "has_live_keys"),
        (format!("/api/keys/{}/secrets/1", world.acme.key), "newest_secret"),
    ] {
        let before = world.state().await;
        let answer = world.acme.manager.request("DELETE", &path).send().await;
        assert_eq!((answer.status, &answer.json()["error"]), (409, &json!(code)), "{}", answer.text());
        assert_eq!(world.state().await, before, "{path}");
    }
}
