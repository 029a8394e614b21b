//! Queries, ids in paths, and headers that hold what cannot be read.

use keyrack_testkit::{Answer, Database, both_databases};
use serde_json::json;

use crate::support::{INVALID_API_KEY, NOBODY, Person, World, document, expect_refusal, text, wait_for};

/// What a list finds.
fn count(answer: Answer) -> usize {
    answer.expect_status(200).json()["data"].as_array().unwrap().len()
}

both_databases! {
    /// On both databases, since what they make of a NUL or of a far day is their own.
    async fn a_query_that_cannot_be_read_is_refused_and_one_that_finds_nothing_is_empty(database: Database) {
        let world = World::start(database).await;
        let get = async |path: &str| world.acme.manager.get(path).send().await;
        let document = document();
        let script = json!({"kind": "script", "source": "export default () => new Response()"});
        let script = json!({"path": "/script", "guard": {"public": true}, "target": script});
        let script = text(&world.acme.manager.post("/api/routes").json(&script).send().await.expect_status(201).json()["id"]);
        world.keyrack.http().get("/script").send().await.expect_status(200);
        wait_for("the log", async || (count(get(&format!("/api/routes/{script}/logs")).await) == 1).then_some(())).await;
        let mut lists = 0;
        for (path, item) in document["paths"].as_object().unwrap() {
            let parameters = item["get"]["parameters"].as_array().into_iter().flatten();
            let names: Vec<&str> = parameters.filter(|p| p["in"] == "query").map(|p| p["name"].as_str().unwrap()).collect();
            if !names.contains(&"limit") {
                continue;
            }
            lists += 1;
            let path = path.replace("{id}", &script);
            for limit in ["0", "-1", "201", "9223372036854775807", "-9223372036854775808"] {
                expect_refusal(&get(&format!("{path}?limit={limit}")).await, 400, "invalid_request", Some("limit"));
            }
            for limit in ["abc", "", "1.5", "1e2", "0x10", "%20", "1%00", "99999999999999999999", "%ff", "null", "1&limit=2"] {
                expect_refusal(&get(&format!("{path}?limit={limit}")).await, 400, "invalid_request", Some("query"));
            }
            for query in ["zebra=1", "Limit=1", "limit[]=1", "%00=1", "api_key=x", "limit=1&zebra"] {
                expect_refusal(&get(&format!("{path}?{query}")).await, 400, "invalid_request", Some("query"));
            }
            for cursor in ["", "x", "%00", "%ff", "zzz", "1.5", "AAAA", "-", "99999999999999999999", "....", &"A".repeat(20_000)] {
                expect_refusal(&get(&format!("{path}?cursor={cursor}")).await, 400, "invalid_request", Some("cursor"));
            }
            assert_eq!(count(get(&format!("{path}?limit=1")).await), 1);
            count(get(&format!("{path}?limit=200")).await);
            count(get(&format!("{path}?")).await);
        }
        assert_eq!(lists, 7, "keys, organizations, members, notifications, secrets, the log of a script and the audit log");

        for (query, status, field) in [
            ("status=zebra", 400, Some("query")),
            ("status=", 400, Some("query")),
            ("status=Active", 400, Some("query")),
            ("sort=name", 400, Some("sort")),
            ("sort=created_at%20desc", 400, Some("sort")),
            ("unused_for=30", 400, Some("unused_for")),
            ("unused_for=d", 400, Some("unused_for")),
            ("unused_for=-1d", 400, Some("unused_for")),
            ("unused_for=1.5d", 400, Some("unused_for")),
            ("unused_for=30w", 400, Some("unused_for")),
            ("unused_for=4294967296d", 400, Some("unused_for")),
            ("group=nobody", 404, None),
            ("group=", 404, None),
            ("group=%00", 404, None),
            ("workspace=nowhere", 404, None),
            ("workspace=%ff", 404, None),
        ] {
            let code = if status == 404 { "not_found" } else { "invalid_request" };
            expect_refusal(&get(&format!("/api/keys?{query}")).await, status, code, field);
        }
        for (query, status, field) in [
            ("by=week", 400, Some("query")),
            ("by=", 400, Some("query")),
            ("format=xml", 400, Some("query")),
            ("instance=1", 400, Some("query")),
            ("from=yesterday", 400, Some("query")),
            ("from=2026-11-22", 400, Some("query")),
            ("from=9999-12-30T22:00:00Z", 400, Some("from")),
            ("by=minute&from=2020-01-01T00:00:00Z", 400, Some("from")),
            ("from=-009999-01-02T01:59:59Z&until=9999-12-30T22:00:00Z", 400, Some("from")),
            ("group=default&workspace=sales", 400, None),
            ("group=%00", 404, None),
            ("workspace=nowhere", 404, None),
        ] {
            let code = if status == 404 { "not_found" } else { "invalid_request" };
            expect_refusal(&get(&format!("/api/usage?{query}")).await, status, code, field);
        }
        let metrics = format!("/api/routes/{script}/metrics");
        for (query, field) in [
            ("by=week", "query"),
            ("from=yesterday", "query"),
            ("zebra=1", "query"),
            ("from=9999-12-30T22:00:00Z", "from"),
            ("by=minute&from=2020-01-01T00:00:00Z", "from"),
            ("from=2026-11-20T00:00:00Z&until=2026-11-19T00:00:00Z", "from"),
        ] {
            expect_refusal(&get(&format!("{metrics}?{query}")).await, 400, "invalid_request", Some(field));
        }
        expect_refusal(&get(&format!("/api/routes/{NOBODY}/metrics")).await, 404, "not_found", None);
        for version in ["0", "-1", "x", "2", "99999999999999999999"] {
            expect_refusal(&get(&format!("/api/routes/{script}/versions/{version}")).await, 404, "not_found", None);
        }
        // What a database's pattern or text cannot hold is no name of anything.
        for name in ["%00", "a%00b", "%25", "_", "%5C", "'", "%22;--", "%ff", "%ED%A0%80", &"x".repeat(20_000)] {
            assert_eq!(count(get(&format!("/api/keys?name={name}")).await), 0, "{name:.20}");
        }
        assert_eq!(count(get("/api/keys?name=ead").await), 1);
        assert_eq!(count(get("/api/keys?unused_for=4294967295d").await), 0);
        // A key must have been seen once before it can be said how long it was not.
        assert_eq!(count(get("/api/keys?unused_for=0h&name=reader").await), 1);

        for query in [
            "from=yesterday", "from=", "from=2026-01-01", "until=2026-13-01T00:00:00Z", "until=1700000000", "actor=x", "actor=",
            "subject=%00", "actor=01890a5d-ac96-774b-bcce-b302099a805", "from=9999-12-31T23:59:59Z",
        ] {
            expect_refusal(&get(&format!("/api/audit?{query}")).await, 400, "invalid_request", Some("query"));
        }
        for query in [
            "kind=%00", "kind=nothing", "kind=", "until=-009998-01-01T00:00:00Z", "from=9999-12-30T00:00:00Z", "cursor=-1",
            "cursor=0", "from=2100-01-01T00:00:00Z&until=2000-01-01T00:00:00Z", &format!("actor={NOBODY}"),
        ] {
            assert_eq!(count(get(&format!("/api/audit?{query}")).await), 0, "{query}");
        }
        let all = count(get("/api/audit?limit=200").await);
        for query in ["from=-009998-01-01T00:00:00Z", "until=9999-12-30T00:00:00Z", "cursor=9223372036854775807"] {
            assert_eq!(count(get(&format!("/api/audit?limit=200&{query}")).await), all, "{query}");
        }
    }
}

#[tokio::test]
async fn an_id_that_cannot_be_read_names_nothing() {
    let world = World::start(Database::Sqlite).await;
    let before = world.state().await;
    let (acme, long) = (&world.acme, "x".repeat(20_000));
    for things in ["keys", "groups", "workspaces", "routes", "organizations", "members"] {
        for id in ["0", "x", "-", "null", NOBODY, "*", "%20", "%C3%BC", "%F0%9F%94%91", "'", &acme.key[1..], &long] {
            for method in ["GET", "PATCH", "DELETE"] {
                if things == "members" && method == "GET" || things == "organizations" && method == "DELETE" {
                    continue;
                }
                let path = format!("/api/{things}/{id}");
                let request = acme.manager.request(method, &path);
                let body = if things == "members" { json!({"role": "admin"}) } else { json!({"name": "new"}) };
                let request = if method == "PATCH" { request.json(&body) } else { request };
                let answer = request.send().await;
                assert_eq!(answer.status, 404, "{method} {path:.60}: {}", answer.text());
                assert_eq!(answer.json()["error"], "not_found", "{method} {path:.60}");
            }
        }
        // These are no names at all; a path that holds them is not looked at.
        for id in ["%00", "a%00", "%2e%2e", "..", "a%2fb", "%5c", "%25", "%7f", "a;b", "%", "%zz", "%41"] {
            let answer = acme.manager.get(&format!("/api/{things}/{id}")).send().await;
            expect_refusal(&answer, 400, "non_canonical_path", None);
        }
    }
    for version in ["0", "-1", "x", "1.0", "2", "99999999999999999999", "%20"] {
        let path = format!("/api/keys/{}/secrets/{version}", acme.key);
        expect_refusal(&acme.manager.request("DELETE", &path).send().await, 404, "not_found", None);
    }
    for flag in ["maybe", "", "1", "True", "%00"] {
        for path in [format!("/api/groups/{}", acme.group), format!("/api/workspaces/{}", acme.workspace)] {
            let answer = acme.manager.request("DELETE", &format!("{path}?revoke_keys={flag}")).send().await;
            expect_refusal(&answer, 400, "invalid_request", Some("query"));
        }
    }
    assert_eq!(world.state().await, before);
}

#[tokio::test]
async fn headers_that_cannot_be_read_are_refused_or_count_for_nothing() {
    let world = World::start(Database::Sqlite).await;
    let before = world.state().await;
    let (acme, http) = (&world.acme, world.keyrack.http());
    let long = "x".repeat(256);
    for name in [&b""[..], b"\xff", b"k\xc3\xa9y", long.as_bytes()] {
        for (path, body) in
            [("/api/keys".to_owned(), json!({"name": "new"})), (format!("/api/keys/{}/rotate", acme.key), json!({}))]
        {
            let answer = acme.manager.post(&path).header("idempotency-key", name).json(&body).send().await;
            expect_refusal(&answer, 400, "invalid_request", Some("Idempotency-Key"));
        }
    }
    let owner = Person::sign_in(&http, &world.keyrack.owner_email, &world.keyrack.owner_password).await;
    for organization in [&b""[..], b"\xff", b"nowhere", NOBODY.as_bytes(), b"ACME", b"acme,beta", long.as_bytes()] {
        let answer = owner.ask("GET", "/api/keys").header("keyrack-organization", organization).send().await;
        assert_eq!((answer.status, answer.text().as_str()), (401, INVALID_API_KEY));
    }
    owner.ask("GET", "/api/keys").header("keyrack-organization", "acme").send().await.expect_status(200);
    // Owner of two, and named none of them.
    expect_refusal(&owner.ask("GET", "/api/keys").send().await, 400, "invalid_request", None);

    for (name, value) in [
        ("accept", &b"\xff"[..]),
        ("accept", b"application/problem+json;q=x,,;"),
        ("user-agent", b"\xff\xfe"),
        ("x-forwarded-for", b"\xff, not an address, 10.0.0.0/8"),
        ("cookie", b"__Host-keyrack_session=\xff"),
        ("cookie", b";;; =; __Host-keyrack_session"),
        ("cookie", b"__Host-keyrack_session=nobody's"),
        ("origin", b"null"),
        ("content-type", b"\xff"),
        ("keyrack-organization", b"\xff"),
        ("x-request-id", b"\xff"),
        ("range", b"bytes=0-0"),
        ("if-none-match", b"*"),
    ] {
        acme.manager.get("/api/keys").header(name, value).send().await.expect_status(200);
    }
    assert_eq!(world.state().await, before);
}
