//! What a route says of how requests get to its service.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keyrack_testkit::{Database, Http, Upstream};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{behind, read_until};
use crate::support::{Caller as _, expect_refusal, seen_headers, start};

/// Makes a public route with these fields of its target.
async fn route(owner: &Http, path: &str, url: &str, fields: Value) -> String {
    let mut target = fields;
    (target["kind"], target["url"]) = (json!("upstream"), json!(url));
    let made = owner.make("/api/routes", json!({"path": path, "guard": {"public": true}, "target": target})).await;
    assert_eq!(made["target"], target, "it is shown as it was given");
    made["id"].as_str().unwrap().to_owned()
}

keyrack_testkit::both_databases! {
    async fn one_beginning_of_a_path_takes_the_place_of_another(database: Database) {
        let (keyrack, upstream) = (start(database), Upstream::start().await);
        let (owner, http) = (keyrack.owner(), keyrack.http());
        let strip = json!({"strip_prefix": "/v1"});
        let id = route(&owner, "/v1/:a/*rest", &format!("{}/internal/", upstream.url()), strip.clone()).await;
        route(&owner, "/v1", &upstream.url(), strip).await;
        for (sent, arrives) in [
            ("/v1/contacts/7", "/internal/contacts/7"),
            ("/v1/v1/v1/?x=/v1", "/internal/v1/v1/?x=/v1"),
            ("/v1", "/"),
            ("/v1?a=1", "/?a=1"),
            ("/o/acme/v1/contacts/7", "/internal/contacts/7"),
        ] {
            let seen = http.get(sent).send().await.expect_status(200).json();
            assert_eq!(seen["target"], arrives, "{sent}");
        }
        // What is cut off stands in every path of the route, also when only the path is changed.
        for prefix in ["/v2", "/v", "v1", "/v1/", "/", "/v1/:a", "/v1/*rest", ""] {
            let target = json!({"kind": "upstream", "url": upstream.url(), "strip_prefix": prefix});
            let patch = json!({"target": target});
            let answer = owner.ask("PATCH", &format!("/api/routes/{id}")).json(&patch).send().await.expect_status(400);
            assert_eq!(answer.json()["details"][0]["field"], "target.strip_prefix", "{prefix}");
        }
        let patch = json!({"path": "/v2/*rest"});
        let answer = owner.ask("PATCH", &format!("/api/routes/{id}")).json(&patch).send().await.expect_status(400);
        assert_eq!(answer.json()["details"][0]["field"], "target.strip_prefix");
    }

    async fn a_service_is_sent_the_headers_of_its_route(database: Database) {
        let (keyrack, upstream) = (start(database), Upstream::start().await);
        let (owner, http) = (keyrack.owner(), keyrack.http());
        let headers = json!({"x-region": "eu", "host": "inner.example", "accept-encoding": "identity"});
        route(&owner, "/v1/a", &upstream.url(), json!({"headers": headers})).await;
        let request = http.get("/v1/a").header("x-region", "us").header("x-region", "asia").header("x_region", "mars");
        let seen = request.send().await.json();
        assert_eq!(seen_headers(&seen, "x-region"), ["eu"]);
        assert_eq!(seen_headers(&seen, "x_region"), <[&str; 0]>::default(), "to many services it is the same name");
        assert_eq!(seen_headers(&seen, "host"), ["inner.example"]);
        for name in [
            "X-Region", "x region", "", "authorization", "connection", "content-length", "transfer-encoding", "x-api-key",
            "x-consumer-id", "x-keyrack-role", "x-request-id", "x-credential-identifier", "forwarded", "x-forwarded-for",
        ] {
            let target = json!({"kind": "upstream", "url": upstream.url(), "headers": {name: "forged"}});
            let wanted = json!({"path": "/v1/b", "guard": {"public": true}, "target": target});
            let answer = owner.post("/api/routes").json(&wanted).send().await.expect_status(400);
            assert_eq!(answer.json()["details"][0]["field"], format!("target.headers.{name}"));
        }
    }

    async fn the_service_learns_where_a_request_came_from(database: Database) {
        let (keyrack, upstream) = (start(database), Upstream::start().await);
        route(&keyrack.owner(), "/v1/a", &upstream.url(), json!({})).await;
        let request = keyrack.http().get("/v1/a").header("forwarded", "for=203.0.113.9").header("x-forwarded-proto", "https");
        let request = request.header("x-forwarded-prefix", "/admin").header("x-forwarded-for", "203.0.113.9");
        // What Connection names goes, and not what we know.
        let request = request.header("x_forwarded_for", "203.0.113.9").header("x-real-ip", "203.0.113.9");
        let request = request.header("connection", "close, x-forwarded-for, x-forwarded-proto, host");
        let seen = request.send().await.expect_status(200).json();
        assert!(!seen.to_string().contains("203.0.113.9"), "{seen}");
        let address = keyrack.serving().address();
        assert_eq!(seen_headers(&seen, "forwarded"), [format!("for=127.0.0.1;host=\"{address}\";proto=http")]);
        assert_eq!(seen_headers(&seen, "x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(seen_headers(&seen, "x-forwarded-host"), [address.to_string()]);
        assert_eq!(seen_headers(&seen, "x-forwarded-proto"), ["http"]);
        assert_eq!(seen_headers(&seen, "x-forwarded-prefix"), <[&str; 0]>::default());
    }

    async fn a_body_that_is_too_large_is_413_however_it_comes(database: Database) {
        let (keyrack, upstream) = (start(database), Upstream::start().await);
        let http = keyrack.http();
        route(&keyrack.owner(), "/v1/a", &upstream.url(), json!({"max_body_bytes": 1000})).await;
        let seen = http.post("/v1/a").body(vec![b'x'; 1000]).send().await.expect_status(200).json();
        assert_eq!(seen["body_length"], 1000);
        expect_refusal(http.post("/v1/a").body(vec![b'x'; 1001]).send().await, 413, "payload_too_large");
        // One that does not say beforehand how large it is.
        let mut stream = TcpStream::connect(keyrack.serving().address()).await.unwrap();
        let head = b"POST /v1/a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1f4\r\n";
        stream.write_all(head).await.unwrap();
        stream.write_all(&[b'x'; 500]).await.unwrap();
        stream.write_all(b"\r\n1f5\r\n").await.unwrap();
        stream.write_all(&[b'x'; 501]).await.unwrap();
        stream.write_all(b"\r\n0\r\n\r\n").await.unwrap();
        let answer = read_until(&mut stream, b"\r\n\r\n").await;
        assert!(answer.starts_with(b"HTTP/1.1 413 "), "{}", String::from_utf8_lossy(&answer));
        assert_eq!(upstream.count(), 1, "the service never had one whole");
        assert_eq!(http.get("/v1/a").send().await.status, 200);
    }

    async fn a_service_has_as_long_as_its_route_says(database: Database) {
        let keyrack = start(database);
        let (owner, http) = (keyrack.owner(), keyrack.http());
        let mute = behind(|mut stream: TcpStream| async move {
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        })
        .await;
        route(&owner, "/v1/mute", &mute, json!({"timeout_seconds": 1})).await;
        expect_refusal(http.get("/v1/mute").send().await, 504, "gateway_timeout");
        expect_refusal(http.post("/v1/mute").body("some").send().await, 504, "gateway_timeout");

        // A caller who takes longer than that to say all it has to say is not the service's fault.
        let counting = Upstream::start().await;
        route(&owner, "/v1/patient", &counting.url(), json!({"timeout_seconds": 1})).await;
        let mut stream = TcpStream::connect(keyrack.serving().address()).await.unwrap();
        stream.write_all(b"POST /v1/patient HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n").await.unwrap();
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(1300)).await;
            stream.write_all(b"x").await.unwrap();
        }
        let answer = read_until(&mut stream, b"\r\n\r\n").await;
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));

        // It begins, and says no more.
        let halting = behind(|mut stream: TcpStream| async move {
            read_until(&mut stream, b"\r\n\r\n").await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        })
        .await;
        route(&owner, "/v1/halting", &halting, json!({"idle_timeout_seconds": 1})).await;
        let mut stream = TcpStream::connect(keyrack.serving().address()).await.unwrap();
        stream.write_all(b"GET /v1/halting HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        // It ends in the middle, so that nobody takes a half for the whole.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.ends_with(b"\r\n\r\nhalf"), "{}", String::from_utf8_lossy(&answer));
        for seconds in [0, 86_401] {
            for field in ["timeout_seconds", "idle_timeout_seconds"] {
                let target = json!({"kind": "upstream", "url": halting, field: seconds});
                let wanted = json!({"path": "/v1/b", "guard": {"public": true}, "target": target});
                let answer = owner.post("/api/routes").json(&wanted).send().await.expect_status(400);
                assert_eq!(answer.json()["details"][0]["field"], format!("target.{field}"));
            }
        }
    }

    async fn a_service_may_be_spoken_to_in_http_2(database: Database) {
        let (keyrack, upstream) = (start(database), Upstream::start().await);
        let http = keyrack.http();
        route(&keyrack.owner(), "/v1/a", &upstream.url(), json!({"http2": true, "max_body_bytes": 1000})).await;
        let large = "POST /v1/a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\n";
        let mut stream = TcpStream::connect(keyrack.serving().address()).await.unwrap();
        stream.write_all(large.as_bytes()).await.unwrap();
        stream.write_all(&[b'x'; 1001]).await.unwrap();
        let answer = read_until(&mut stream, b"\r\n\r\n").await;
        assert!(answer.starts_with(b"HTTP/1.1 413 "), "{}", String::from_utf8_lossy(&answer));
        let seen = http.post("/v1/a?x=%20").header("x-kept", "kept").body("some").send().await.expect_status(200).json();
        assert_eq!((&seen["version"], &seen["body"]), (&json!("2.0"), &json!("some")));
        assert_eq!(seen["target"], format!("{}/v1/a?x=%20", upstream.url()));
        assert_eq!(seen_headers(&seen, "x-kept"), ["kept"]);
        // One that does not speak it is 502, and no request in another language.
        let old = behind(|mut stream: TcpStream| async move {
            let mut preface = [0; 24];
            stream.read_exact(&mut preface).await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        })
        .await;
        route(&keyrack.owner(), "/v1/old", &old, json!({"http2": true})).await;
        expect_refusal(http.get("/v1/old").send().await, 502, "bad_gateway");
    }

    /// A service closes a connection at the moment at which it is used again. What has no body and may be repeated is sent anew.
    async fn a_request_that_is_lost_with_an_old_connection_is_sent_again_if_it_may_be(database: Database) {
        let keyrack = start(database);
        let seen = Arc::new(AtomicUsize::new(0));
        let closing = {
            let seen = Arc::clone(&seen);
            behind(move |mut stream: TcpStream| {
                let seen = Arc::clone(&seen);
                async move {
                    read_until(&mut stream, b"\r\n\r\n").await;
                    seen.fetch_add(1, Ordering::SeqCst);
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                    // The next one over this connection is read, and never answered.
                    read_until(&mut stream, b"\r\n\r\n").await;
                    seen.fetch_add(1, Ordering::SeqCst);
                }
            })
            .await
        };
        let http = keyrack.http();
        route(&keyrack.owner(), "/v1/a", &closing, json!({})).await;
        http.get("/v1/a").send().await.expect_status(200);
        http.get("/v1/a").send().await.expect_status(200);
        assert_eq!(seen.load(Ordering::SeqCst), 3, "the second was sent twice");
        expect_refusal(http.post("/v1/a").send().await, 502, "bad_gateway");
        http.get("/v1/a").send().await.expect_status(200);
        expect_refusal(http.request("PUT", "/v1/a").body("some").send().await, 502, "bad_gateway");
        assert_eq!(seen.load(Ordering::SeqCst), 6, "neither what may not be repeated nor what has a body");
        // Over a new connection it is not sent again: that the service has not seen it is not known.
        let deaf = behind(|mut stream: TcpStream| async move {
            read_until(&mut stream, b"\r\n\r\n").await;
        })
        .await;
        route(&keyrack.owner(), "/v1/deaf", &deaf, json!({})).await;
        expect_refusal(http.get("/v1/deaf").send().await, 502, "bad_gateway");
    }
}
