//! The client against the upstream: both ends of ours, and raw sockets against each.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use keyrack_testkit::http::raw;
use keyrack_testkit::{Http, Upstream};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;

#[tokio::test]
async fn the_upstream_says_what_reached_it() {
    let upstream = Upstream::start().await;
    let http = Http::new(upstream.url());
    let answer = http
        .request("PUT", "/a//b/%2e%2E/./c%2Fd?x=%41&x")
        .header("x-twice", "one")
        .header("x-twice", [b'z', 0xfc])
        .header("host", "api.acme.test")
        .bearer("secret")
        .body("hello")
        .send()
        .await
        .expect_status(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let seen = answer.json();
    assert_eq!(seen["method"], "PUT");
    assert_eq!(seen["target"], "/a//b/%2e%2E/./c%2Fd?x=%41&x");
    assert_eq!((&seen["body_length"], &seen["body"]), (&json!(5), &json!("hello")));
    let headers = seen["headers"].as_array().unwrap();
    for wanted in [
        json!(["x-twice", "one"]),
        json!(["x-twice", "z\u{fffd}"]),
        json!(["host", "api.acme.test"]),
        json!(["authorization", "Bearer secret"]),
    ] {
        assert!(headers.contains(&wanted), "{wanted} is not in {headers:?}");
    }
    assert_eq!(headers.iter().filter(|pair| pair[0] == "host").count(), 1);
    assert_eq!(upstream.seen(), [seen]);
}

#[tokio::test]
async fn requests_are_counted() {
    let upstream = Upstream::start().await;
    let http = Http::new(upstream.url());
    assert_eq!(upstream.count(), 0);
    for sent in 1..=3 {
        http.get("/").send().await.expect_status(200);
        assert_eq!(upstream.count(), sent);
    }
    let body = json!({"name": "x"});
    let seen = http.post("/").json(&body).send().await.json();
    assert!(seen["headers"].as_array().unwrap().contains(&json!(["content-type", "application/json"])));
    assert_eq!(seen["body"].as_str().unwrap(), body.to_string());
}

#[tokio::test]
async fn a_client_may_present_a_key_each_time() {
    let upstream = Upstream::start().await;
    let http = Http::new(format!("{}/", upstream.url())).with_bearer("always");
    assert_eq!(http.base(), upstream.url());
    let presented = |seen: serde_json::Value| {
        let headers = seen["headers"].as_array().unwrap().clone();
        headers.into_iter().filter(|pair| pair[0] == "authorization").map(|pair| pair[1].clone()).collect::<Vec<_>>()
    };
    assert_eq!(presented(http.get("/").send().await.json()), ["Bearer always"]);
    assert_eq!(presented(http.get("/").bearer("once").send().await.json()), ["Bearer once"]);
}

#[tokio::test]
async fn an_upstream_answers_as_told_and_many_at_once() {
    let gate = Arc::new(Notify::new());
    let inside = Arc::clone(&gate);
    let upstream = Upstream::answering(move |request| {
        let gate = Arc::clone(&inside);
        async move {
            if request.uri().path() == "/slow" {
                gate.notified().await;
            }
            let (first, second) = ("a=1", "b=2");
            let response = Response::builder().status(503).header("set-cookie", first).header("set-cookie", second);
            response.body(Full::new(Bytes::from_static(b"busy"))).unwrap()
        }
    })
    .await;
    let http = Http::new(upstream.url());
    let slow = tokio::spawn(http.get("/slow").send());
    let fast = http.get("/fast").send().await.expect_status(503);
    assert_eq!((fast.text().as_str(), fast.headers_named("set-cookie")), ("busy", vec!["a=1", "b=2"]));
    gate.notify_one();
    slow.await.unwrap().expect_status(503);
}

#[tokio::test]
async fn an_upstream_ends_with_its_handle() {
    let upstream = Upstream::start().await;
    let address = upstream.address();
    let http = Http::new(upstream.url());
    http.get("/").send().await.expect_status(200);
    drop(upstream);
    // The task is told to end, and does at its next breath.
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let error = http.get("/").try_send().await.unwrap_err();
    assert!(error.contains("GET http://127.0.0.1") && error.contains("refused"), "{error}");
}

#[tokio::test]
async fn an_unexpected_status_shows_the_answer() {
    let upstream = Upstream::start().await;
    let asked = Http::new(upstream.url()).get("/where").send();
    let failure = tokio::spawn(async move { asked.await.expect_status(201) }).await.unwrap_err().into_panic();
    let text = failure.downcast_ref::<String>().unwrap();
    for part in ["/where", "200 instead of 201", "content-type", "body_length"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let asked = Http::new(upstream.url()).get("/").send().await;
    let failure = std::panic::catch_unwind(|| http_text_as_json(asked.clone())).unwrap_err();
    assert!(failure.downcast_ref::<String>().unwrap().contains("no JSON"));
}

fn http_text_as_json(mut answer: keyrack_testkit::Answer) -> serde_json::Value {
    answer.body = Bytes::from_static(b"<html>");
    answer.json()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_may_come_from_another_address() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let http = Http::from_address(format!("http://{}", listener.local_addr().unwrap()), [127, 0, 0, 9].into());
    let sending = tokio::spawn(http.get("/").try_send());
    let (_, peer) = listener.accept().await.unwrap();
    assert_eq!(peer.ip().to_string(), "127.0.0.9");
    sending.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn raw_bytes_reach_the_server_as_they_are() {
    let upstream = Upstream::start().await;
    let answer = raw(upstream.address(), "GET / /p HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.starts_with(b"HTTP/1.1 400"), "{answer:?}");
    let answer = raw(upstream.address(), b"GET http://x/p HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(r#""target":"http://x/p""#), "{answer}");
}

#[tokio::test]
async fn raw_keeps_what_was_said_before_a_rude_end() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0; 4]).await.unwrap();
        stream.write_all(b"said").await.unwrap();
    });
    assert_eq!(raw(address, b"1234").await, b"said");
    server.await.unwrap();
}
