//! From a file to a route, and back to what it said before.

use keyrack_testkit::{Database, Keyrack};
use serde_json::{Value, json};

use super::put;
use crate::support::{Caller as _, expect_refusal, start};

fn says(text: &str) -> String {
    format!("export default () => new Response({text:?});")
}

/// What `keyrack routes` prints as JSON.
fn routes(keyrack: &Keyrack, arguments: &[&str]) -> Value {
    keyrack.command("routes").arg("--json").args(arguments).run().success().json()
}

keyrack_testkit::both_databases! {
    async fn a_file_is_put_behind_a_route_and_what_it_said_before_is_kept(database: Database) {
        let keyrack = start(database);
        let (owner, http) = (keyrack.owner(), keyrack.http());
        let file = keyrack.directory().join("greet.js");
        let path = file.to_str().unwrap();
        std::fs::write(&file, says("one")).unwrap();
        let made = routes(&keyrack, &["deploy", path, "--path", "/run/greet", "--public"]);
        assert_eq!((&made[0]["name"], &made[0]["target"]["kind"]), (&json!("greet"), &json!("script")));
        assert_eq!(http.get("/run/greet").send().await.expect_status(200).text(), "one");
        std::fs::write(&file, says("two")).unwrap();
        routes(&keyrack, &["deploy", path]);
        routes(&keyrack, &["deploy", path]);
        assert_eq!(http.get("/run/greet").send().await.expect_status(200).text(), "two");

        // What cannot be read is said with its place, and changes nothing.
        std::fs::write(&file, "export default () => {\n  return new Response(\"three\" ;\n};").unwrap();
        let refused = keyrack.command("routes").args(["deploy", path]).run().expect_code(1).stderr;
        assert!(refused.contains("line 2, column") && refused.contains("SyntaxError"), "{refused}");
        let target = json!({"kind": "script", "source": "let = 3"});
        let new = json!({"path": "/x", "guard": {"public": true}, "target": target});
        let refused = owner.ask("POST", "/api/routes").json(&new).send().await.expect_status(400).json();
        assert_eq!(refused["details"][0]["field"], "target.source");
        assert!(refused["message"].as_str().unwrap().contains("line 1, column"), "{refused}");
        assert_eq!(http.get("/run/greet").send().await.expect_status(200).text(), "two");

        let versions = routes(&keyrack, &["versions", "greet"]);
        let numbers: Vec<i64> = versions.as_array().unwrap().iter().map(|v| v["version"].as_i64().unwrap()).collect();
        assert_eq!(numbers, [2, 1], "the same once more is no version");
        routes(&keyrack, &["rollback", "greet", "1"]);
        assert_eq!(http.get("/run/greet").send().await.expect_status(200).text(), "one");
        let id = made[0]["id"].as_str().unwrap();
        let shown = owner.show(&format!("/api/routes/{id}/versions/2")).await;
        assert_eq!(shown["source"], says("two"));
        owner.ask("GET", &format!("/api/routes/{id}/versions/9")).send().await.expect_status(404);

        // The audit log tells that it changed, and not all that it says.
        let events = owner.show("/api/audit?limit=200").await.to_string();
        assert!(events.contains("route.changed") && !events.contains("export default"), "{events}");
    }

    async fn who_saves_a_script_may_read_secrets(database: Database) {
        let keyrack = start(database);
        let (owner, http) = (keyrack.owner(), keyrack.http());
        let scopes = json!(["keyrack.routes:write"]);
        let weak = owner.make_key(json!({"name": "weak", "group": "management", "scopes": scopes})).await;
        let target = json!({"kind": "script", "source": says("x")});
        let new = json!({"path": "/run/x", "guard": {"public": true}, "target": target});
        let refused = http.post("/api/routes").header("x-api-key", &weak.secret).json(&new).send().await;
        expect_refusal(refused, 403, "insufficient_scope");
        let id = put(&owner, "/run/x", &says("x")).await;
        let patch = json!({"target": target});
        let asked = http.request("PATCH", &format!("/api/routes/{id}")).header("x-api-key", &weak.secret);
        // The same once more changes nothing, and needs nothing.
        asked.json(&patch).send().await.expect_status(200);
        let patch = json!({"target": {"kind": "script", "source": says("y")}});
        let asked = http.request("PATCH", &format!("/api/routes/{id}")).header("x-api-key", &weak.secret);
        expect_refusal(asked.json(&patch).send().await, 403, "insufficient_scope");
        for (source, message) in [("", "must not be empty"), (&*"/".repeat(131_073), "at most"), ("a\0", "U+0000")] {
            let new = json!({"path": "/run/y", "guard": {"public": true}, "target": {"kind": "script", "source": source}});
            let refused = owner.ask("POST", "/api/routes").json(&new).send().await.expect_status(400).json();
            assert!(refused["message"].as_str().unwrap().contains(message), "{refused}");
        }
    }
}
