//! Bytes on a socket that are no request, two of them, or half of one.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use keyrack_testkit::http::raw;
use keyrack_testkit::{Database, Keyrack, Upstream};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{start, text};

/// What came back, request by request: each status, and the code in its body if there is one.
fn told(answer: &[u8]) -> Vec<(u16, String)> {
    let answer = String::from_utf8_lossy(answer).into_owned();
    let each = answer.split("HTTP/1.").skip(1).map(|part| {
        let status = part[1..].trim_start().split([' ', '\r']).next().unwrap().parse().unwrap();
        let code = part.split_once("\"error\":\"").map_or("", |(_, rest)| rest.split('"').next().unwrap());
        (status, code.to_owned())
    });
    each.collect()
}

/// Sends these bytes and then, on the same connection, a whole request. If it is answered too, that one closes.
async fn send(keyrack: &Keyrack, bytes: &[u8]) -> Vec<(u16, String)> {
    let next = b"GET /health/live HTTP/1.1\r\nHost: acme.test\r\nConnection: close\r\n\r\n";
    told(&raw(keyrack.serving().address(), [bytes, next].concat()).await)
}

fn head(lines: &str) -> Vec<u8> {
    format!("{}\r\n\r\n", lines.replace('\n', "\r\n")).into_bytes()
}

#[tokio::test]
async fn a_request_that_two_parsers_could_read_differently_is_refused() {
    let keyrack = start(Database::Sqlite);
    let key = &keyrack.management_key;
    let go_on = (200, String::new());
    // Nothing that came behind it is answered.
    let refused = |code: &str| vec![(400, code.to_owned())];
    for path in ["/api/session", "/health/live", "/nothing"] {
        for (lines, wanted) in [
            (format!("GET {path} HTTP/1.1\nHost: a.test\nHost: b.test"), refused("invalid_request")),
            (format!("GET {path} HTTP/1.1\nHost: a.test\nHost: a.test"), refused("invalid_request")),
            (format!("GET {path} HTTP/1.1\nAccept: */*"), refused("invalid_request")),
            (format!("GET {path} HTTP/1.1\nHost:"), refused("invalid_request")),
            (format!("GET {path} HTTP/1.1\nHost: a b"), refused("invalid_request")),
            (format!("GET {path} HTTP/1.1\nHost: ada@a.test"), refused("invalid_request")),
            (format!("GET {path} HTTP/1.1\nHost: a.test/x"), refused("invalid_request")),
            (format!("GET http://b.test{path} HTTP/1.1\nHost: a.test"), refused("invalid_request")),
            (format!("GET http://b.test{path} HTTP/1.1\nHost: a.test\nX-API-Key: {key}"), refused("invalid_request")),
            (format!("GET {path}/../x HTTP/1.1\nHost: a.test"), refused("non_canonical_path")),
            (format!("GET /{path} HTTP/1.1\nHost: a.test"), refused("non_canonical_path")),
            (format!("GET {path};x HTTP/1.1\nHost: a.test"), refused("non_canonical_path")),
            (format!("GET {path}%00 HTTP/1.1\nHost: a.test"), refused("non_canonical_path")),
            (format!("GET {path}\\x HTTP/1.1\nHost: a.test"), refused("non_canonical_path")),
            ("GET /\u{fc} HTTP/1.1\nHost: a.test".to_owned(), refused("non_canonical_path")),
            ("OPTIONS * HTTP/1.1\nHost: a.test".to_owned(), refused("non_canonical_path")),
            ("GET * HTTP/1.1\nHost: a.test".to_owned(), refused("non_canonical_path")),
            ("CONNECT b.test:443 HTTP/1.1\nHost: b.test:443".to_owned(), refused("non_canonical_path")),
        ] {
            assert_eq!(send(&keyrack, &head(&lines)).await, wanted, "{lines}");
        }
    }
    // One host, said twice in agreement, is one.
    let agreeing = "GET http://a.test/health/live HTTP/1.1\nHost: A.test";
    assert_eq!(send(&keyrack, &head(agreeing)).await, vec![go_on.clone(), go_on.clone()]);
    // Before 1.1 nobody had to name one; such a connection ends with its answer.
    assert_eq!(send(&keyrack, &head("GET /health/live HTTP/1.0")).await, vec![go_on]);
}

#[tokio::test]
async fn what_is_no_http_is_answered_with_400_and_the_connection_is_closed() {
    let keyrack = start(Database::Sqlite);
    let post = "POST /api/verify HTTP/1.1\r\nHost: a.test\r\nContent-Type: application/json\r\n";
    let keyed = format!("{post}X-API-Key: {}\r\n", keyrack.management_key);
    for bytes in [
        "GET /\r\n\r\n".to_owned(),
        "GET / HTTP/0.9\r\n\r\n".to_owned(),
        "GET / HTTP/2.0\r\n\r\n".to_owned(),
        "GET / HTTP/1.1 \r\n\r\n".to_owned(),
        "GET  / HTTP/1.1\r\n\r\n".to_owned(),
        "G@T / HTTP/1.1\r\nHost: a.test\r\n\r\n".to_owned(),
        "\0\0\0\0\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}".to_owned(),
        "GET /\0 HTTP/1.1\r\nHost: a.test\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: a.test\r\nX-A: a\0b\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: a.test\r\nX-A: b\r\n folded\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: a.test\r\n X-A: b\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost : a.test\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: a.test\r\nX A: b\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: a.test\r\n: b\r\n\r\n".to_owned(),
        format!("{keyed}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}x"),
        format!("{keyed}Content-Length: 2, 3\r\n\r\n{{}}x"),
        format!("{keyed}Content-Length: +2\r\n\r\n{{}}"),
        format!("{keyed}Content-Length: -2\r\n\r\n{{}}"),
        format!("{keyed}Content-Length: 0x2\r\n\r\n{{}}"),
        format!("{keyed}Content-Length: 99999999999999999999\r\n\r\n{{}}"),
        format!("{keyed}Transfer-Encoding: identity\r\n\r\n{{}}"),
        format!("{keyed}Transfer-Encoding: xchunked\r\n\r\n{{}}"),
        format!("{keyed}Transfer-Encoding: chunked, identity\r\n\r\n{{}}"),
        format!("{keyed}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
        format!("{keyed}Transfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n"),
    ] {
        assert_eq!(send(&keyrack, bytes.as_bytes()).await, vec![(400, String::new())], "{bytes:?}");
    }
    let many = "X-A: b\r\n".repeat(200);
    for bytes in [
        format!("GET / HTTP/1.1\r\nHost: a.test\r\nX-A: {}\r\n\r\n", "a".repeat(40_000)),
        format!("GET / HTTP/1.1\r\nHost: a.test\r\n{}: a\r\n\r\n", "a".repeat(40_000)),
        format!("GET /{} HTTP/1.1\r\nHost: a.test\r\n\r\n", "a".repeat(70_000)),
        format!("GET / HTTP/1.1\r\nHost: a.test\r\n{many}\r\n"),
    ] {
        let told = send(&keyrack, bytes.as_bytes()).await;
        assert!(matches!(told[..], [(431 | 414, _)]), "{told:?}: {bytes:.60}");
    }
    // Broken in the middle of a body: the request is refused, and what follows is no request.
    for tail in ["zz\r\n", "ffffffffffffffffff\r\n", "2\r\n{}x\r\n", "-1\r\n", "\r\n", "2 2\r\n"] {
        let told = send(&keyrack, format!("{keyed}Transfer-Encoding: chunked\r\n\r\n{tail}").as_bytes()).await;
        assert_eq!(told, vec![(400, "invalid_request".to_owned())], "{tail:?}");
    }
    let extension = format!("{keyed}Transfer-Encoding: chunked\r\n\r\n2;{}\r\n{{}}\r\n0\r\n\r\n", "a".repeat(40_000));
    assert_eq!(send(&keyrack, extension.as_bytes()).await[0].0, 400);
}

#[tokio::test]
async fn a_request_with_two_lengths_ends_where_its_chunks_end_and_its_connection_with_it() {
    let keyrack = start(Database::Sqlite);
    let upstream = Upstream::start().await;
    let target = json!({"kind": "upstream", "url": upstream.url()});
    let door = json!({"path": "/door", "guard": {"public": true}, "target": target});
    keyrack.owner().post("/api/routes").json(&door).send().await.expect_status(201);
    let smuggled = "GET /door?smuggled HTTP/1.1\r\nHost: a.test\r\nX-Ignore: x";
    for lengths in
        ["Content-Length: 60\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 60"]
    {
        for path in ["/door", "/api/session", "/nothing"] {
            let bytes = format!("POST {path} HTTP/1.1\r\nHost: a.test\r\n{lengths}\r\n\r\n0\r\n\r\n{smuggled}");
            let told = send(&keyrack, bytes.as_bytes()).await;
            assert_eq!(told.len(), 1, "{path} {lengths}: {told:?}");
        }
    }
    // A body that breaks off on its way to a service is its sender's fault.
    let broken = "POST /door HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
    assert_eq!(send(&keyrack, broken.as_bytes()).await, vec![(400, "invalid_request".to_owned())]);
    // Twice the same length is one, as the standard has it.
    let twice = "POST /door HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(send(&keyrack, twice.as_bytes()).await, vec![(200, String::new()), (200, String::new())]);
    for seen in upstream.seen() {
        assert_eq!(text(&seen["target"]), "/door", "{seen}");
        let headers = seen["headers"].as_array().unwrap();
        let lengths = headers.iter().filter(|h| h[0] == "content-length" || h[0] == "transfer-encoding").count();
        assert!(lengths <= 1, "the upstream sees one length: {seen}");
    }
}

#[tokio::test]
async fn methods_that_nobody_has_are_refused_and_two_keys_are_no_key() {
    let keyrack = start(Database::Sqlite);
    let key = &keyrack.management_key;
    for method in ["TRACE", "PUT", "FOO", "get", "PROPFIND", "CONNECT", "DELETE-ALL", &"M".repeat(1000)] {
        for (path, wanted) in [("/api/keys", (405, "method_not_allowed")), ("/nothing", (404, "not_found"))] {
            let lines = format!("{method} {path} HTTP/1.1\nHost: a.test\nX-API-Key: {key}");
            let told = send(&keyrack, &head(&lines)).await;
            assert_eq!(told, vec![(wanted.0, wanted.1.to_owned()), (200, String::new())], "{lines:.80}");
        }
    }
    for lines in [
        format!("X-API-Key: {key}\nX-API-Key: {key}"),
        format!("X-API-Key: {key}\nx-api-key: {key}"),
        format!("X-API-Key: {key}, {key}"),
        format!("X-API-Key: {key},{key}"),
        format!("Authorization: Bearer {key}\nAuthorization: Bearer {key}"),
        format!("Authorization: Bearer {key}, Bearer {key}"),
        format!("X-API-Key: wrong\nAuthorization: Bearer {key}"),
        format!("X-API-Key: \nX-API-Key: {key}"),
    ] {
        let told = send(&keyrack, &head(&format!("GET /api/session HTTP/1.1\nHost: a.test\n{lines}"))).await;
        assert_eq!(told, vec![(401, "invalid_api_key".to_owned()), (200, String::new())], "{lines}");
    }
    let folded = format!("GET /api/session HTTP/1.1\r\nHost: a.test\r\nX-API-Key:\r\n {key}\r\n\r\n");
    assert_eq!(send(&keyrack, folded.as_bytes()).await, vec![(400, String::new())]);
}

/// Sends these bytes and then nothing more; how long the connection stayed open, and what came back.
async fn fall_silent(server: SocketAddr, bytes: Vec<u8>) -> (Duration, Vec<(u16, String)>) {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let mut answer = Vec::new();
    // However it is closed: this end has seen it.
    let _ = tokio::time::timeout(Duration::from_secs(50), stream.read_to_end(&mut answer)).await.expect("it is closed");
    let told = if answer.starts_with(b"HTTP/1.") { told(&answer) } else { Vec::new() };
    (begun.elapsed(), told)
}

#[tokio::test]
async fn who_falls_silent_in_the_middle_is_not_waited_for() {
    let keyrack = start(Database::Sqlite);
    let upstream = Upstream::start().await;
    let target = json!({"kind": "upstream", "url": upstream.url()});
    let door = json!({"path": "/door", "guard": {"public": true}, "target": target});
    keyrack.owner().post("/api/routes").json(&door).send().await.expect_status(201);
    let key = &keyrack.management_key;
    let half = |path: &str, more: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: a.test\r\nContent-Type: application/json\r\n{more}\r\n{{").into_bytes()
    };
    let keyed = format!("X-API-Key: {key}\r\nContent-Length: 10\r\n");
    // In tens of seconds: the head of a request has ten, each part of a body twenty.
    let cases: Vec<(&str, Vec<u8>, u64, &[u16])> = vec![
        ("nothing", b"".to_vec(), 10, &[]),
        ("a letter", b"P".to_vec(), 10, &[]),
        ("half of HTTP/2", b"PRI * HTTP/2.0\r\n".to_vec(), 10, &[]),
        ("HTTP/2 and no request", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(), 10, &[]),
        ("half a line", b"GET /health".to_vec(), 10, &[]),
        ("half a head", b"GET /health/live HTTP/1.1\r\nHost: a.test\r\n".to_vec(), 10, &[]),
        ("lines that do not end", b"GET /health/live HTTP/1.1\rHost: a.test\r\r".to_vec(), 10, &[]),
        ("after an answer", b"GET /health/live HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec(), 10, &[200]),
        ("half a sign-in", half("/api/session", "Content-Length: 10\r\n"), 20, &[400]),
        ("half a question", half("/api/verify", &keyed), 20, &[400]),
        (
            "half a chunk",
            half("/api/verify", &format!("X-API-Key: {key}\r\nTransfer-Encoding: chunked\r\n")),
            0,
            &[400],
        ),
        ("half of what goes on to a service", half("/door", "Content-Length: 10\r\n"), 20, &[400]),
        ("half of what nobody reads", half("/api/verify", "Content-Length: 10\r\n"), 20, &[401]),
        ("an expectation", half("/api/session", "Expect: 100-continue\r\nContent-Length: 10\r\n"), 20, &[100, 400]),
    ];
    let server = keyrack.serving().address();
    let silent = cases
        .into_iter()
        .map(|(what, bytes, seconds, statuses)| (what, seconds, statuses, tokio::spawn(fall_silent(server, bytes))));
    for (what, seconds, statuses, outcome) in silent.collect::<Vec<_>>() {
        let (took, told) = outcome.await.unwrap();
        assert!(took < Duration::from_secs(seconds + 5), "{what}: {took:?}");
        let got: Vec<u16> = told.iter().map(|(status, _)| *status).collect();
        assert_eq!(got, statuses, "{what}: {told:?}");
    }
    keyrack.owner().get("/api/session").send().await.expect_status(200);
}
