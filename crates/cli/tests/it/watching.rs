//! What whoever runs a server can see of it: measures and logs.

use keyrack_testkit::{Database, Http, Keyrack, both_databases};
use serde_json::{Value, json};

use crate::support::{KEYRACK, free_port, text};

/// The value of a measure, by its name and labels as they are written.
fn value(measures: &str, name: &str) -> Option<f64> {
    let line = measures.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn series(measures: &str) -> usize {
    measures.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).count()
}

both_databases! {
    async fn a_server_is_measured_and_no_caller_makes_a_measure_of_its_own(database: Database) {
        let address = format!("127.0.0.1:{}", free_port());
        let keyrack = Keyrack::setup(KEYRACK, database).args(["--metrics-listen", &address]).start();
        let watcher = Http::new(format!("http://{address}"));
        let look = async || watcher.get("/metrics").send().await.expect_status(200).text();
        let made = keyrack.owner().post("/api/keys").json(&json!({"name": "one"})).send().await.expect_status(201).json();
        let ask = async |key: &str| keyrack.owner().post("/api/verify").json(&json!({"key": key})).send().await;
        for _ in 0..3 {
            ask(made["secret"].as_str().unwrap()).await.expect_status(200);
        }
        ask("nothing").await.expect_status(200);
        keyrack.http().get("/no/such/door").send().await.expect_status(404);

        let measures = look().await;
        for (name, expected) in [
            (r#"keyrack_decisions_total{door="verify",code="VALID"}"#, 3.0),
            (r#"keyrack_decisions_total{door="verify",code="NOT_FOUND"}"#, 1.0),
            (r#"keyrack_request_duration_seconds_count{front="verify",status="2xx"}"#, 4.0),
            (r#"keyrack_request_duration_seconds_bucket{front="verify",status="2xx",le="+Inf"}"#, 4.0),
            (r#"keyrack_request_duration_seconds_count{front="gateway",status="4xx"}"#, 1.0),
            ("keyrack_serving", 1.0),
            ("keyrack_keyring_secrets", 2.0),
            ("keyrack_usage_lost_total", 0.0),
            (r#"keyrack_letters_total{outcome="failed"}"#, 0.0),
        ] {
            assert_eq!(value(&measures, name), Some(expected), "{name} in\n{measures}");
        }
        assert!(value(&measures, "keyrack_feed_applied").unwrap() >= 2.0);
        assert!(value(&measures, "keyrack_feed_age_seconds").unwrap() < 1.5);
        assert!(value(&measures, "keyrack_usage_flush_age_seconds").unwrap() < 2.0);
        let pool = if database == Database::Sqlite { "writer" } else { "all" };
        let idle = format!(r#"keyrack_pool_connections{{pool="{pool}",state="idle"}}"#);
        assert!(value(&measures, &idle).is_some(), "{measures}");
        let version = format!(r#"keyrack_build_info{{version="{}"}}"#, env!("CARGO_PKG_VERSION"));
        assert_eq!(value(&measures, &version), Some(1.0));
        for line in measures.lines().filter(|line| line.starts_with("# TYPE keyrack_")) {
            let name = line.split(' ').nth(2).unwrap();
            assert!(measures.contains(&format!("# HELP {name} ")), "nothing says what {name} is");
        }

        let before = series(&measures);
        for number in 0..200 {
            let path = format!("/no/such/door/{number}");
            let request = keyrack.http().request("GET", &path).header("user-agent", format!("agent {number}"));
            request.bearer(format!("sk_live_{number}")).send().await.expect_status(404);
            ask(&format!("sk_live_{number}")).await.expect_status(200);
        }
        assert_eq!(series(&look().await), before);
    }
}

#[test]
fn a_log_tells_of_every_request_by_the_id_its_caller_has() {
    keyrack_testkit::database::run(async {
        let level = "info,keyrack::requests=debug";
        let keyrack = Keyrack::setup(KEYRACK, Database::Sqlite).args(["--log-format", "json", "--log-level", level]);
        let keyrack = keyrack.start();
        let made = keyrack.owner().post("/api/keys").json(&json!({"name": "one"})).send().await.expect_status(201);
        let shown = keyrack.owner().get(&format!("/api/keys/{}", text(&made.json()["key"]["id"]))).send().await;
        let secret = text(&made.json()["secret"]);
        let refused = keyrack.http().get(&format!("/lost/{secret}?api_key={secret}")).send().await.expect_status(404);
        let answers = [
            (made, json!(["POST", "/api/keys", 201])),
            (shown, json!(["GET", "/api/keys/{id}", 200])),
            (refused, json!(["GET", "-", 404])),
        ];
        for (answer, expected) in answers {
            let id = answer.header("x-request-id").unwrap().to_owned();
            let line = keyrack.serving().program.wait_error_line(|line| line.contains(&id));
            let line: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(json!([line["method"], line["endpoint"], line["status"]]), expected, "{line}");
            assert!(line["ms"].as_f64().unwrap() > 0.0 && line["level"] == "DEBUG" && line["timestamp"].is_string());
            assert!(!line.to_string().contains(&secret), "{line}");
        }
    });
}
