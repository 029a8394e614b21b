//! What is known afterwards of calls of scripts.

use keyrack_testkit::Database;
use serde_json::{Value, json};

use super::{put, put_guarded, secret};
use crate::support::{Caller as _, start, wait_for};

/// Writes lines, one of them with a secret, and fails if asked to.
const WRITES: &str = r#"
    export default async function (request, ctx) {
        const url = await ctx.getSecret("DATABASE_URL");
        console.log("opened", { url }, [1, 2]);
        console.debug("in detail"); console.warn("careful"); console.error(new Error("odd").message);
        if (ctx.query.fail) throw new Error("failed at " + url);
        return new Response("done", { status: 201 });
    }"#;

fn of(line: &Value) -> (String, String, String) {
    let text = |field: &str| line[field].as_str().unwrap().to_owned();
    (text("kind"), text("level"), text("message"))
}

keyrack_testkit::both_databases! {
    async fn what_scripts_write_and_how_calls_end_is_kept(database: Database) {
        let keyrack = start(database);
        let (owner, http) = (keyrack.owner(), keyrack.http());
        owner.make("/api/groups", json!({"name": "analytics"})).await;
        let key = owner.make_key(json!({"name": "prod-server-1", "group": "analytics"})).await;
        secret(&owner, "global", None, "postgres://prod:hunter2@db").await;
        let id = put_guarded(&owner, "/run/writes", json!({"groups": ["analytics"], "query_key": true}), WRITES).await;
        let other = put(&owner, "/run/other", "export default () => new Response(1)").await;
        let called = http.get(&format!("/run/writes?api_key={}", key.secret)).send().await.expect_status(201);
        http.get("/run/writes?fail=1").header("x-api-key", &key.secret).send().await.expect_status(500);
        http.get("/run/writes").send().await.expect_status(401);
        http.get("/run/other").send().await.expect_status(200);

        let path = format!("/api/routes/{id}/logs");
        let lines = wait_for("the log", async || {
            let lines = owner.show(&path).await["data"].as_array().unwrap().clone();
            (lines.len() == 11).then_some(lines)
        });
        let mut lines = lines.await;
        lines.reverse();
        let line = |kind: &str, level: &str, message: &str| (kind.to_owned(), level.to_owned(), message.to_owned());
        assert_eq!(of(&lines[0]), line("line", "info", r#"opened {url: "[secret DATABASE_URL]"} [1, 2]"#));
        assert_eq!(of(&lines[1]), line("line", "debug", "in detail"));
        assert_eq!(of(&lines[2]), line("line", "warn", "careful"));
        assert_eq!(of(&lines[3]), line("line", "error", "odd"));
        assert_eq!(of(&lines[4]), line("answered", "info", ""));
        assert_eq!((&lines[4]["status"], &lines[4]["method"], &lines[4]["key"]["name"]), (&json!(201), &json!("GET"), &json!("prod-server-1")));
        assert_eq!(lines[4]["request_id"], called.header("x-request-id").unwrap());
        assert!(lines[4]["milliseconds"].as_f64().unwrap() > 0.0);
        let failed = of(&lines[9]);
        assert!(failed.2.starts_with("line 6, column ") && failed.2.contains("Error: failed at [secret DATABASE_URL]"), "{failed:?}");
        assert_eq!((failed.0.as_str(), failed.1.as_str(), &lines[9]["status"]), ("failed", "error", &json!(500)));
        assert_eq!(of(&lines[10]), line("rejected", "warn", "invalid_api_key"));
        assert_eq!((&lines[10]["status"], &lines[10]["key"]), (&json!(401), &Value::Null));

        // Page by page, and what came later.
        let page = owner.show(&format!("{path}?limit=2")).await;
        assert_eq!(page["data"][0], lines[10]);
        let next = owner.show(&format!("{path}?limit=2&cursor={}", page["next_cursor"].as_str().unwrap())).await;
        assert_eq!(next["data"][0], lines[8]);
        let later = owner.show(&format!("{path}?after={}", lines[8]["id"].as_str().unwrap())).await;
        assert_eq!(later["data"], json!([lines[9], lines[10]]));
        for bad in ["after=x", "cursor=x", "limit=0", "after=01a20ade-0000-7000-8000-000000000000&cursor=01a20ade-0000-7000-8000-000000000000"] {
            owner.ask("GET", &format!("{path}?{bad}")).send().await.expect_status(400);
        }

        // On the command line too, and as it comes.
        let shown = keyrack.command("logs").args([&*id, "--last", "3"]).run().success().stdout;
        assert!(shown.contains("rejected GET 401") && !shown.contains("hunter2") && shown.lines().count() >= 3, "{shown}");
        let follow = keyrack.command("logs").args(["/run/other", "--follow"]).start();
        follow.wait_line(|line| line.contains("answered GET 200"));
        http.post("/run/other").send().await.expect_status(200);
        follow.wait_line(|line| line.contains("answered POST 200"));
        drop(follow);

        // Nothing of it stays when the route goes.
        owner.delete(&format!("/api/routes/{id}")).await;
        owner.ask("GET", &path).send().await.expect_status(404);
        assert_eq!(owner.show(&format!("/api/routes/{other}/logs?limit=1")).await["data"].as_array().unwrap().len(), 1);
    }

    async fn how_many_calls_there_were_and_how_long_they_took_is_told_by_time(database: Database) {
        let mut keyrack = start(database);
        let (owner, http) = (keyrack.owner(), keyrack.http());
        let source = "export default async (request, ctx) => {
            if (ctx.query.fail) throw new Error('no');
            if (ctx.query.slow) await new Promise((done) => setTimeout(done, 40));
            return new Response('done', { status: 404 });
        }";
        let script = put(&owner, "/run/counted", source).await;
        for (query, status) in [("", 404), ("?slow=1", 404), ("?fail=1", 500)] {
            http.get(&format!("/run/counted{query}")).send().await.expect_status(status);
        }
        let target = json!({"kind": "upstream", "url": "http://127.0.0.1:9"});
        let gone = owner.make("/api/routes", json!({"path": "/gone", "guard": {"public": true}, "target": target})).await;
        let gone = gone["id"].as_str().unwrap().to_owned();
        http.get("/gone").send().await.expect_status(502);
        // Who is not let in is no call.
        let closed = json!({"path": "/closed", "guard": {"scope": "a:read"}, "target": {"kind": "script", "source": source}});
        let closed = owner.make("/api/routes", closed).await["id"].as_str().unwrap().to_owned();
        http.get("/closed").send().await.expect_status(401);

        let shown = async |id: &str, by: &str| owner.show(&format!("/api/routes/{id}/metrics?by={by}")).await;
        let has_all = async || (shown(&gone, "hour").await["total"]["calls"] == 1).then_some(());
        wait_for("what was counted", has_all).await;
        for (by, times) in [("minute", 60), ("hour", 24), ("day", 30)] {
            let counted = shown(&script, by).await;
            let total = &counted["total"];
            assert_eq!((&total["calls"], &total["failures"]), (&json!(3), &json!(1)), "{counted}");
            let (mean, most) = (total["mean_ms"].as_f64().unwrap(), total["max_ms"].as_f64().unwrap());
            assert!(most >= 40.0 && mean >= 40.0 / 3.0 && mean < most, "{counted}");
            let each = counted["times"].as_array().unwrap();
            assert_eq!(each.len(), times);
            assert_eq!(each.iter().map(|time| time["calls"].as_u64().unwrap()).sum::<u64>(), 3);
            assert!(each.iter().all(|time| time["calls"] != 0 || time["max_ms"].is_null()), "{counted}");
        }
        assert_eq!(shown(&gone, "day").await["total"]["failures"], 1);
        assert_eq!(shown(&closed, "day").await["total"], json!({"calls": 0, "failures": 0, "mean_ms": null, "max_ms": null}));

        // What was counted goes on where a route is changed, and where the server stops.
        http.get("/run/counted").send().await.expect_status(404);
        owner.change(&format!("/api/routes/{script}"), json!({"name": "counted"})).await;
        http.get("/run/counted").send().await.expect_status(404);
        keyrack.stop();
        keyrack.start_again();
        let counted = keyrack.owner().show(&format!("/api/routes/{script}/metrics")).await;
        assert_eq!((&counted["by"], &counted["total"]["calls"]), (&json!("hour"), &json!(5)));
        let shown = keyrack.command("routes").args(["metrics", "counted", "--by", "day"]).run().success().stdout;
        assert!(shown.lines().last().unwrap().contains('5'), "{shown}");
    }

    async fn what_was_written_outlives_a_stop(database: Database) {
        let mut keyrack = start(database);
        let (owner, http) = (keyrack.owner(), keyrack.http());
        let id = put(&owner, "/run/x", "export default () => { console.log('last words'); return new Response(1) }").await;
        http.get("/run/x").send().await.expect_status(200);
        keyrack.stop();
        keyrack.start_again();
        let lines = keyrack.owner().show(&format!("/api/routes/{id}/logs")).await;
        assert_eq!(lines["data"][1]["message"], "last words");
    }
}
