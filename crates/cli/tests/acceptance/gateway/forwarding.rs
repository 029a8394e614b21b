//! What reaches the service, and what comes back.

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use keyrack_testkit::{Database, Upstream};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::read_until;
use crate::support::{Caller as _, IDENTITY, expect_refusal, expect_unknown, seen_headers, start};

/// Every value under a name of ours, however it is written.
fn told(seen: &Value, name: &str) -> Vec<String> {
    let headers = seen["headers"].as_array().unwrap();
    let is_so = |header: &&Value| header[0].as_str().unwrap().replace('_', "-") == name;
    headers.iter().filter(is_so).map(|header| header[1].as_str().unwrap().to_owned()).collect()
}

keyrack_testkit::both_databases! {
    async fn the_service_is_told_who_calls_and_nobody_can_lie_about_it(database: Database) {
        let (keyrack, upstream) = (start(database), Upstream::start().await);
        let (owner, http) = (keyrack.owner(), keyrack.http());
        owner.make("/api/workspaces", json!({"slug": "web"})).await;
        owner.make_route("/svc/who", json!({"scope": "who:read", "workspace": "web"}), &upstream.url()).await;
        let wanted = json!({"name": "Größe 100%", "workspace": "web", "scopes": ["who:read", "b:write"]});
        let key = owner.make_key(wanted).await;

        let mut request = http.get("/svc/who").bearer(&key.secret).header("x-request-id", "forged");
        for name in IDENTITY {
            request = request.header(name, "forged").header(name.replace('-', "_"), "forged").header(name, "twice");
            request = request.header(name.replacen('-', "_", 1), "forged");
        }
        // What Connection names is removed on the way: that must not take our own word with it.
        let answer = request.header("connection", "x-consumer-id, X-Keyrack-Scopes, x-request-id").send().await;
        let seen = answer.clone().expect_status(200).json();
        for (name, value) in IDENTITY.into_iter().zip([
            keyrack.organization_id.as_str(),
            "acme",
            "default",
            &key.id,
            "Gr%C3%B6%C3%9Fe 100%25",
            "web",
            "b:write who:read",
            "member",
        ]) {
            assert_eq!(told(&seen, name), [value], "{name}");
        }
        assert_eq!(told(&seen, "x-request-id"), [answer.header("x-request-id").unwrap()]);

        // A denial tells nobody anything.
        let stranger = owner.make_key(json!({"name": "stranger", "scopes": ["b:write"]})).await;
        for answer in [http.get("/svc/who").send().await, http.get("/svc/who").bearer(&stranger.secret).send().await] {
            assert!(matches!(answer.status, 401 | 403), "{}", answer.text());
            assert!(IDENTITY.iter().all(|name| answer.header(name).is_none()), "{:?}", answer.headers);
        }
        assert_eq!(upstream.count(), 1);
    }

    async fn the_service_gets_neither_credentials_nor_what_concerns_the_connection(database: Database) {
        let (keyrack, upstream) = (start(database), Upstream::start().await);
        let (owner, http) = (keyrack.owner(), keyrack.http());
        let guard = json!({"scope": "a:read", "query_key": true});
        owner.make_route("/svc/*rest", guard, &format!("{}/base/", upstream.url())).await;
        let key = owner.make_key(json!({"name": "k", "scopes": ["a:*".replace('*', "read")]})).await;
        let secret = &key.secret;

        let request = http.get("/svc/a?x=%41&y=+%2B").header("x-api-key", secret).bearer("another");
        let request = request.header("cookie", "a=1; __Host-keyrack_session=stolen; b=\"2\"");
        let request = request.header("cookie", "__Host-keyrack_session=again").header("te", "trailers");
        let request = request.header("connection", "close, x-private").header("x-private", "between us");
        let request = request.header("keep-alive", "timeout=5").header("proxy-authorization", "Basic Og==");
        let request = request.header("upgrade", "h2c").header("proxy-connection", "keep-alive");
        let request = request.header("x-forwarded-for", "203.0.113.7").header("forwarded", "for=203.0.113.7");
        let seen = request.header("x-kept", "kept").send().await.expect_status(200).json();
        assert_eq!(seen["target"], "/base/svc/a?x=%41&y=+%2B");
        for gone in [
            "x-api-key",
            "authorization",
            "connection",
            "x-private",
            "keep-alive",
            "te",
            "upgrade",
            "proxy-connection",
            "proxy-authorization",
        ] {
            assert_eq!(seen_headers(&seen, gone), <[&str; 0]>::default(), "{gone}");
        }
        assert_eq!(seen_headers(&seen, "cookie"), ["a=1; b=\"2\""]);
        assert_eq!(seen_headers(&seen, "x-kept"), ["kept"]);
        assert_eq!(seen_headers(&seen, "x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(seen_headers(&seen, "host"), [upstream.address().to_string()]);
        assert!(!seen.to_string().contains(secret), "{seen}");

        // The rest of a query is not parsed and written anew.
        for (sent, arrives) in [
            (format!("?a=%26&api_key={secret}&b=%20"), "?a=%26&b=%20"),
            (format!("?api_key={secret}"), ""),
            (format!("?apiKey={secret}&&a"), "?&a"),
            (format!("?a=1;b&%61pi_key={secret}&c=%"), "?a=1;b&c=%"),
            (format!("?x=api_key&api_key={secret}"), "?x=api_key"),
        ] {
            let seen = http.get(&format!("/svc/a{sent}")).send().await.expect_status(200).json();
            assert_eq!(seen["target"], format!("/base/svc/a{arrives}"), "{sent}");
        }
    }

    async fn an_answer_of_the_service_cannot_act_as_ours(database: Database) {
        let upstream = Upstream::answering(|_| async {
            let answer = Response::builder().status(418).header("set-cookie", "mine=1");
            let answer = answer.header("set-cookie", "__Host-keyrack_session=fixed; Path=/; Secure");
            let answer = answer.header("content-security-policy", "default-src 'none'").header("x-own", "kept");
            let answer = answer.header("connection", "x-hop").header("x-hop", "1").header("keep-alive", "timeout=5");
            answer.body(Full::new(Bytes::from_static(b"short and stout"))).unwrap()
        })
        .await;
        let keyrack = start(database);
        keyrack.owner().make_route("/svc/page", json!({"public": true}), &upstream.url()).await;
        let http = keyrack.http();

        let answer = http.get("/svc/page").send().await.expect_status(418);
        assert_eq!(answer.text(), "short and stout");
        assert_eq!(answer.headers_named("set-cookie"), ["mine=1"]);
        assert_eq!((answer.header("x-own"), answer.header("x-hop"), answer.header("keep-alive")), (Some("kept"), None, None));
        let policies = answer.headers_named("content-security-policy");
        assert_eq!(policies, ["default-src 'none'", "sandbox allow-scripts allow-forms"]);
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));

        let worker = http.get("/svc/page").header("service-worker", "script").send().await;
        expect_refusal(worker, 403, "service_worker");
        assert_eq!(upstream.count(), 1);
    }

    /// A part goes there and back before the next is sent: neither the request nor the answer is gathered up first.
    async fn bodies_stream_both_ways(database: Database) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let upstream = format!("http://{}", listener.local_addr().unwrap());
        let echoing = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let head = read_until(&mut stream, b"\r\n\r\n").await;
            assert!(String::from_utf8_lossy(&head).to_lowercase().contains("transfer-encoding: chunked"));
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
            loop {
                let part = read_until(&mut stream, b"\r\n").await;
                let length = usize::from_str_radix(String::from_utf8_lossy(&part).trim(), 16).unwrap();
                let mut data = vec![0; length + 2];
                stream.read_exact(&mut data).await.unwrap();
                stream.write_all(&part).await.unwrap();
                stream.write_all(&data).await.unwrap();
                if length == 0 {
                    return;
                }
            }
        });
        let keyrack = start(database);
        keyrack.owner().make_route("/svc/echo", json!({"public": true}), &upstream).await;

        let mut stream = TcpStream::connect(keyrack.serving().address()).await.unwrap();
        let head = b"POST /svc/echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head).await.unwrap();
        let mut answer = Vec::new();
        for part in ["first", "second", "third and last"] {
            stream.write_all(format!("{:x}\r\n{part}\r\n", part.len()).as_bytes()).await.unwrap();
            let end = format!("{part}\r\n");
            answer.extend(read_until(&mut stream, end.as_bytes()).await);
        }
        stream.write_all(b"0\r\n\r\n").await.unwrap();
        answer.extend(read_until(&mut stream, b"0\r\n\r\n").await);
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", String::from_utf8_lossy(&answer));
        echoing.await.unwrap();
    }

    async fn a_key_that_is_refused_costs_the_service_nothing(database: Database) {
        let (keyrack, upstream) = (start(database), Upstream::start().await);
        keyrack.owner().make_route("/svc/x", json!({"scope": "a:read"}), &upstream.url()).await;
        let body = vec![b'x'; 1024 * 1024];
        let answer = keyrack.http().post("/svc/x").bearer("nope").body(body).try_send().await;
        if let Ok(answer) = answer {
            expect_unknown(answer);
        }
        assert_eq!(upstream.count(), 0);
    }
}
