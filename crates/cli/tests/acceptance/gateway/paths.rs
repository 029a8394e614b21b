//! Requests that two parsers could read differently go nowhere.

use keyrack_testkit::{Database, Keyrack, Upstream, http};
use serde_json::{Value, json};

use crate::support::{Caller as _, start};

/// Sends the first line and these headers as they are; the status and the body of the answer.
async fn send(keyrack: &Keyrack, line: &[u8], headers: &str) -> (u16, Value) {
    let head = format!(" HTTP/1.1\r\n{headers}connection: close\r\n\r\n");
    let answer = http::raw(keyrack.serving().address(), [line, head.as_bytes()].concat()).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    (status.unwrap_or_else(|| panic!("{answer}")), serde_json::from_str(body).unwrap_or_default())
}

keyrack_testkit::both_databases! {
    async fn a_path_that_is_not_canonical_is_refused(database: Database) {
        let (keyrack, upstream) = (start(database), Upstream::start().await);
        // Public, so that nothing but the path stands in the way.
        keyrack.owner().make_route("/svc/*rest", json!({"public": true}), &upstream.url()).await;
        for path in [
            &b"/svc//a"[..],
            b"//svc/a",
            b"/svc/a//",
            b"/svc/./a",
            b"/svc/a/.",
            b"/svc/../svc/a",
            b"/svc/a/..",
            b"/svc/%2e/a",
            b"/svc/%2E%2e/a",
            b"/svc/.%2e/a",
            b"/svc/a%2fb",
            b"/svc/a%2Fb",
            b"/svc/a%5cb",
            b"/svc/a%5Cb",
            b"/svc/a\\b",
            b"/svc/a%00b",
            b"/svc/a%0ab",
            b"/svc/a%7fb",
            b"/svc/a%25b",
            b"/svc/a%252fb",
            b"/svc/%61",
            b"/svc/%5A",
            b"/svc/%7e",
            b"/s%76c/a",
            b"/svc/a;b",
            b"/svc;a/b",
            b"/svc/%",
            b"/svc/%4",
            b"/svc/%zz",
            b"/svc/\xc3\xa9",
            b"/svc/\xff",
            b"/api//keys",
            b"/svc/../api/keys",
            b"*",
            b"svc/a",
        ] {
            for method in [&b"GET "[..], b"OPTIONS "] {
                let shown = String::from_utf8_lossy(path);
                let (status, body) = send(&keyrack, &[method, path].concat(), "host: x\r\n").await;
                assert_eq!(status, 400, "{shown}: {body}");
                // What is no request at all is refused before there is anything to say.
                assert!(body["error"] == "non_canonical_path" || body.is_null(), "{shown}: {body}");
            }
        }
        assert_eq!(upstream.count(), 0, "{:?}", upstream.seen());

        // A number sign may be cut off, with all behind it, before anybody looks: then it is cut off for the service too.
        let (status, seen) = send(&keyrack, b"GET /svc/a#/../b", "host: x\r\n").await;
        assert!(status == 400 || seen["target"] == "/svc/a", "{status}: {seen}");

        // Everything else arrives as it was sent.
        for path in ["/svc/a", "/svc/a/", "/svc/%C3%A9", "/svc/a:b@c,d=e+f!$&'()*", "/svc/a%20b%3B%23", "/svc/..a/b.."] {
            let (status, seen) = send(&keyrack, format!("GET {path}").as_bytes(), "host: x\r\n").await;
            assert_eq!((status, &seen["target"]), (200, &json!(path)));
        }
    }

    async fn a_slash_at_the_end_leads_past_no_guard(database: Database) {
        let (keyrack, upstream) = (start(database), Upstream::start().await);
        let owner = keyrack.owner();
        owner.make_route("/svc/*rest", json!({"public": true}), &upstream.url()).await;
        owner.make_route("/svc/a", json!({"scope": "a:read"}), &upstream.url()).await;
        owner.make_route("/svc/b/:id", json!({"scope": "a:read"}), &upstream.url()).await;
        for path in ["/svc/a", "/svc/a/", "/svc/b/1", "/svc/b/1/"] {
            assert_eq!(send(&keyrack, format!("GET {path}").as_bytes(), "host: x\r\n").await.0, 401, "{path}");
        }
        assert_eq!(upstream.count(), 0);
        let key = owner.make_key(json!({"name": "k", "scopes": ["a:read"]})).await;
        let seen = keyrack.http().get("/svc/a/").bearer(&key.secret).send().await.expect_status(200).json();
        assert_eq!(seen["target"], "/svc/a/");
    }

    async fn a_request_names_one_host(database: Database) {
        let (keyrack, upstream) = (start(database), Upstream::start().await);
        let owner = keyrack.owner();
        let target = json!({"kind": "upstream", "url": upstream.url()});
        for host in ["a.test", "b.test"] {
            let route = json!({"path": "/svc/x", "host": host, "guard": {"public": true}, "target": target});
            owner.make("/api/routes", route).await;
        }
        for (line, headers) in [
            ("GET /svc/x", "host: a.test\r\nhost: b.test\r\n"),
            ("GET /svc/x", "host: a.test\r\nhost: a.test\r\n"),
            ("GET /svc/x", "host: a.test, b.test\r\n"),
            ("GET /svc/x", "host: \r\n"),
            ("GET /svc/x", ""),
            ("GET http://a.test/svc/x", "host: b.test\r\n"),
            ("GET http://a.test/svc/x", "host: a.test\r\nhost: b.test\r\n"),
        ] {
            let (status, body) = send(&keyrack, line.as_bytes(), headers).await;
            assert_eq!(status, 400, "{line} {headers:?}: {body}");
        }
        assert_eq!(upstream.count(), 0, "{:?}", upstream.seen());
        for line in ["GET /svc/x", "GET http://a.test/svc/x", "GET http://A.test/svc/x"] {
            assert_eq!(send(&keyrack, line.as_bytes(), "host: a.test\r\n").await.0, 200, "{line}");
        }
    }
}
