//! Secrets: each caller is given its own, nobody else's, and nothing of them stands anywhere in the clear.

use keyrack_testkit::{Answer, Database, Http, Upstream};
use serde_json::{Value, json};

use crate::support::{
    Caller as _, Key, Person, each, everything_stored, expect_refusal, holds, seen_headers, select, start, text,
};

const NAME: &str = "DATABASE_URL";

async fn secret(owner: &Http, scope: &str, of: Option<&str>, value: &str) -> String {
    let mut new = json!({"name": NAME, "value": value, "scope": scope});
    if let Some(of) = of {
        new["owner"] = json!(of);
    }
    text(&owner.make("/api/secrets", new).await["id"])
}

/// A route whose service is told the caller's own `DATABASE_URL`.
async fn door(owner: &Http, path: &str, guard: Value, upstream: &Upstream) -> String {
    let target = json!({"kind": "upstream", "url": upstream.url(), "secret_headers": {"x-database": NAME}});
    let made = owner.make("/api/routes", json!({"path": path, "guard": guard, "target": target})).await;
    assert_eq!(made["target"], target);
    text(&made["id"])
}

/// What the service was told when this key came.
async fn told(http: &Http, path: &str, key: Option<&Key>) -> Vec<String> {
    let request = http.get(path).header("x-database", "mine").header("x_database", "mine");
    let request = if let Some(key) = key { request.header("x-api-key", &key.secret) } else { request };
    let seen = request.send().await.expect_status(200).json();
    assert!(seen_headers(&seen, "x_database").is_empty(), "to many services it is the same name");
    seen_headers(&seen, "x-database")
}

keyrack_testkit::both_databases! {
    async fn each_caller_is_given_its_own(database: Database) {
        let (keyrack, upstream) = (start(database), Upstream::start().await);
        let (owner, http) = (keyrack.owner(), keyrack.http());
        for group in ["analytics", "mobile"] {
            owner.make("/api/groups", json!({"name": group})).await;
        }
        let analyst = owner.make_key(json!({"name": "a", "group": "analytics"})).await;
        let other = owner.make_key(json!({"name": "b", "group": "analytics"})).await;
        let phone = owner.make_key(json!({"name": "c", "group": "mobile"})).await;
        let route = door(&owner, "/run/a", json!({"groups": ["analytics", "mobile"]}), &upstream).await;
        door(&owner, "/run/b", json!({"groups": ["analytics", "mobile"]}), &upstream).await;
        door(&owner, "/run/public", json!({"public": true}), &upstream).await;

        // Without one nobody is let through: the service could take something else in its place.
        let refused = http.get("/run/a").header("x-api-key", &phone.secret).send().await;
        expect_refusal(refused, 502, "secret_missing");
        assert_eq!(upstream.count(), 0);

        let prod = secret(&owner, "global", None, "prod").await;
        secret(&owner, "group", Some("analytics"), "readonly").await;
        let at = async |path, key| told(&http, path, key).await;
        assert_eq!(at("/run/a", Some(&analyst)).await, ["readonly"]);
        assert_eq!(at("/run/a", Some(&phone)).await, ["prod"]);
        let of_route = secret(&owner, "route", Some(&route), "of the route").await;
        assert_eq!(at("/run/a", Some(&phone)).await, ["of the route"]);
        assert_eq!(at("/run/b", Some(&phone)).await, ["prod"]);
        assert_eq!(at("/run/a", Some(&analyst)).await, ["readonly"], "the group's counts before the route's");
        let of_key = secret(&owner, "key", Some(&analyst.id), "my own").await;
        assert_eq!(at("/run/a", Some(&analyst)).await, ["my own"]);
        assert_eq!(at("/run/a", Some(&other)).await, ["readonly"]);
        // A key at a public door brings nothing with it.
        assert_eq!(at("/run/public", Some(&analyst)).await, ["prod"]);
        assert_eq!(at("/run/public", None).await, ["prod"]);

        // What changes is so from the answer on, and what goes takes its secrets along.
        owner.change(&format!("/api/secrets/{prod}"), json!({"value": "prod 2"})).await;
        assert_eq!(at("/run/b", Some(&phone)).await, ["prod 2"]);
        owner.delete(&format!("/api/secrets/{of_key}")).await;
        assert_eq!(at("/run/a", Some(&analyst)).await, ["readonly"]);
        secret(&owner, "key", Some(&other.id), "gone soon").await;
        owner.delete(&other.path()).await;
        owner.delete(&format!("/api/routes/{route}")).await;
        let left = owner.show("/api/secrets").await;
        assert_eq!(each(&left, "scope"), ["global", "group"]);
        owner.ask("GET", &format!("/api/secrets/{of_route}")).send().await.expect_status(404);
        door(&owner, "/run/a", json!({"groups": ["analytics", "mobile"]}), &upstream).await;
        assert_eq!(at("/run/a", Some(&phone)).await, ["prod 2"], "a new route is another one");
    }

    async fn a_key_that_asks_about_another_may_be_given_its_secrets(database: Database) {
        let keyrack = start(database);
        let (owner, http) = (keyrack.owner(), keyrack.http());
        owner.make("/api/groups", json!({"name": "analytics"})).await;
        let key = owner.make_key(json!({"name": "a", "group": "analytics"})).await;
        secret(&owner, "global", None, "prod").await;
        secret(&owner, "group", Some("analytics"), "readonly").await;
        let asker = async |name: &str, scopes: Value| owner.make_key(json!({"name": name, "scopes": scopes})).await;
        let reader = asker("reads", json!(["keyrack.verification:read", "keyrack.secrets:read"])).await;
        let asks = asker("asks", json!(["keyrack.verification:read"])).await;
        let ask = async |with: &Key, body: Value| {
            http.post("/api/verify").header("x-api-key", &with.secret).json(&body).send().await
        };
        let question = json!({"key": key.secret, "secrets": [NAME, "OTHER"]});
        let answer = ask(&reader, question.clone()).await.expect_status(200).json();
        assert_eq!(answer["secrets"], json!({NAME: "readonly", "OTHER": null}));
        expect_refusal(ask(&asks, question.clone()).await, 403, "insufficient_scope");
        ask(&asks, json!({"key": key.secret})).await.expect_status(200);
        let plain = ask(&reader, json!({"key": key.secret})).await.expect_status(200).json();
        assert!(plain.get("secrets").is_none(), "{plain}");
        // Not for one that may not.
        let scoped = json!({"key": key.secret, "secrets": [NAME], "scope": "contacts:admin"});
        let refused = ask(&reader, scoped).await.expect_status(200).json();
        assert!(refused["valid"] == false && refused.get("secrets").is_none(), "{refused}");
        let long: Vec<String> = (0..33).map(|n| format!("S{n}")).collect();
        for (names, field) in [(json!(long), "secrets"), (json!(["ok", "not ok"]), "secrets[1]")] {
            let body = json!({"keys": [{"key": key.secret}, {"key": key.secret, "secrets": names}]});
            let batch = http.post("/api/verify/batch").header("x-api-key", &reader.secret).json(&body).send().await;
            let details = batch.expect_status(400).json();
            assert_eq!(details["details"][0]["field"], format!("keys[1].{field}"));
        }
    }

    async fn a_value_is_shown_to_who_asks_for_it_and_the_audit_log_tells_so(database: Database) {
        let keyrack = start(database);
        let owner = keyrack.owner();
        let value = "postgres://ünter:$ecret@db/prod\n-----\n";
        let id = secret(&owner, "global", None, value).await;
        let listed = owner.show("/api/secrets").await;
        assert_eq!((&listed["data"][0]["name"], &listed["data"][0]["size_bytes"]), (&json!(NAME), &json!(value.len())));
        assert!(!listed.to_string().contains("ecret@"), "{listed}");
        assert_eq!(owner.show(&format!("/api/secrets/{id}?value=true")).await["value"], value);
        assert_eq!(owner.show("/api/secrets?values=true").await["data"][0]["value"], value);
        let audit = owner.show("/api/audit").await;
        let kinds = each(&audit, "kind");
        assert_eq!(kinds.iter().filter(|kind| *kind == "secret.revealed").count(), 2, "{kinds:?}");
        assert!(!audit.to_string().contains("ecret@"), "{audit}");
        // Members use what there is and see none of it.
        let member = Person::owner(&keyrack).await.add("mallory", "member").await;
        for path in ["/api/secrets", &format!("/api/secrets/{id}?value=true")] {
            expect_refusal(member.ask("GET", path).send().await, 403, "insufficient_scope");
        }
        let writer = json!({"name": "w", "group": "management", "scopes": ["keyrack.secrets:write"]});
        let writer = keyrack.http().with_bearer(&owner.make_key(writer).await.secret);
        let other = json!({"name": "B", "value": "b", "scope": "global"});
        let made = writer.make("/api/secrets", other).await;
        assert!(made.get("value").is_none(), "{made}");
        expect_refusal(writer.ask("GET", "/api/secrets").send().await, 403, "insufficient_scope");
    }

    async fn who_says_where_secrets_go_must_be_allowed_to_read_them(database: Database) {
        let (keyrack, upstream) = (start(database), Upstream::start().await);
        let owner = keyrack.owner();
        secret(&owner, "global", None, "prod").await;
        let scopes = ["keyrack.routes:admin", "*:admin"];
        let router = owner.make_key(json!({"name": "r", "group": "management", "scopes": scopes})).await;
        let router = keyrack.http().with_bearer(&router.secret);
        let target = json!({"kind": "upstream", "url": upstream.url(), "secret_headers": {"x-database": NAME}});
        let new = json!({"path": "/run/a", "guard": {"scope": "a:read"}, "target": target});
        expect_refusal(router.ask("POST", "/api/routes").json(&new).send().await, 403, "insufficient_scope");
        let id = door(&owner, "/run/a", json!({"scope": "a:read"}), &upstream).await;
        let path = format!("/api/routes/{id}");
        let elsewhere = json!({"kind": "upstream", "url": "http://127.0.0.1:1", "secret_headers": {"x-database": NAME}});
        for change in [json!({"target": elsewhere}), json!({"guard": {"public": true}}), json!({"path": "/run/b"})] {
            expect_refusal(router.ask("PATCH", &path).json(&change).send().await, 403, "insufficient_scope");
        }
        // Whoever closes a door, or calls it something else, learns nothing.
        router.change(&path, json!({"enabled": false, "name": "closed"})).await;
        expect_refusal(router.ask("PATCH", &path).json(&json!({"enabled": true})).send().await, 403, "insufficient_scope");
        router.change(&path, json!({"target": {"kind": "upstream", "url": upstream.url()}, "enabled": true})).await;
        for (headers, field) in [
            (json!({"host": NAME}), "host"),
            (json!({"X-Upper": NAME}), "X-Upper"),
            (json!({"x-keyrack-role": NAME}), "x-keyrack-role"),
            (json!({"x-ok": "no name"}), "x-ok"),
        ] {
            let target = json!({"kind": "upstream", "url": upstream.url(), "secret_headers": headers});
            let refused = owner.ask("PATCH", &path).json(&json!({"target": target})).send().await.expect_status(400);
            assert_eq!(refused.json()["details"][0]["field"], format!("target.secret_headers.{field}"));
        }
        // What a caller says under these two names ends at the door, so they are the service's own.
        let headers = json!({"authorization": NAME, "x-api-key": NAME});
        let target = json!({"kind": "upstream", "url": upstream.url(), "secret_headers": headers});
        owner.change(&path, json!({"target": target, "guard": {"public": true}, "path": "/run/c"})).await;
        let seen = keyrack.http().get("/run/c").header("authorization", "Digest x").send().await.expect_status(200).json();
        assert_eq!(seen_headers(&seen, "authorization"), ["prod"]);
        assert_eq!(seen_headers(&seen, "x-api-key"), ["prod"]);
    }

    async fn what_was_sealed_opens_in_its_own_row_alone(database: Database) {
        let mut keyrack = start(database);
        let upstream = Upstream::start().await;
        let owner = keyrack.owner();
        let values = ["canary-of-the-organization", "canary-of-the-group", "canary-of-the-other"];
        owner.make("/api/groups", json!({"name": "analytics"})).await;
        let global = secret(&owner, "global", None, values[0]).await;
        let of_group = secret(&owner, "group", Some("analytics"), values[1]).await;
        let key = owner.make_key(json!({"name": "a", "group": "analytics"})).await;
        door(&owner, "/run/a", json!({"groups": ["analytics"]}), &upstream).await;
        let ada = Person::owner(&keyrack).await;
        ada.make("/api/organizations", json!({"slug": "other", "name": "Other", "tier": "free"})).await;
        let elsewhere = json!({"name": NAME, "value": values[2], "scope": "global"});
        ada.within("other").make("/api/secrets", elsewhere).await;
        let stored = everything_stored(&keyrack).await;
        let log = keyrack.output();
        for value in values {
            assert!(!holds(&stored, value) && !log.contains(value), "{value} stands in the clear");
        }
        let sealed = select(&keyrack, "SELECT COUNT(DISTINCT sealed) || ' ' || COUNT(DISTINCT data_key_id) FROM secret").await;
        assert_eq!(sealed, ["3 2"], "one data key for each organization");

        // Somebody who can write to the database moves them about: of each secret the sealed value of every other.
        keyrack.terminate();
        select(&keyrack, "CREATE TABLE copied AS SELECT id, sealed, data_key_id FROM secret").await;
        let other = |column: &str| format!("(SELECT o.{column} FROM copied o WHERE o.id <> secret.id ORDER BY o.id LIMIT 1)");
        let (sealed, data_key) = (other("sealed"), other("data_key_id"));
        let swap = format!("UPDATE secret SET sealed = {sealed}, data_key_id = {data_key} RETURNING name");
        assert_eq!(select(&keyrack, &swap).await.len(), 3);
        keyrack.start_again();
        let owner = keyrack.owner();
        for id in [&global, &of_group] {
            expect_refusal(owner.ask("GET", &format!("/api/secrets/{id}?value=true")).send().await, 500, "internal");
        }
        // The door stays shut rather than giving the secret that would count less.
        owner.change(&format!("/api/secrets/{global}"), json!({"value": "good again"})).await;
        let refused: Answer = keyrack.http().get("/run/a").header("x-api-key", &key.secret).send().await;
        refused.expect_status(500);
        assert_eq!(upstream.count(), 0);
        owner.change(&format!("/api/secrets/{of_group}"), json!({"value": "and this"})).await;
        assert_eq!(told(&keyrack.http(), "/run/a", Some(&key)).await, ["and this"]);
    }
}
