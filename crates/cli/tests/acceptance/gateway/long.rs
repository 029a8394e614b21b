//! Requests that take long, are large, or end in the middle.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use keyrack_testkit::{Database, Keyrack, Upstream};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{behind, read_until};
use crate::support::{Caller as _, start};

const GIBIBYTE: usize = 1 << 30;
const PIECE: usize = 1 << 20;
/// By how much the server may grow that carries one.
const GROWS_BY: usize = 48 << 20;

/// Sends back as many bytes as it was sent, after the last of them. A path that ends in `down` is sent a gibibyte.
async fn mirror(mut stream: TcpStream) {
    let head = String::from_utf8(read_until(&mut stream, b"\r\n\r\n").await).unwrap().to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut left: usize = length.map_or(0, |length| length.parse().unwrap());
    let mut piece = vec![0; PIECE];
    while left > 0 {
        let read = stream.read(&mut piece).await.unwrap();
        assert!(read > 0, "the body ends {left} bytes too early");
        left -= read;
    }
    let sends = if head.contains("/down ") { GIBIBYTE } else { 0 };
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {sends}\r\nconnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
    for _ in 0..sends / PIECE {
        stream.write_all(&piece).await.unwrap();
    }
}

async fn connected(keyrack: &Keyrack, head: &str) -> TcpStream {
    let mut stream = TcpStream::connect(keyrack.serving().address()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// Everything up to the end of the connection, however that comes.
async fn all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let reading = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer));
    drop(reading.await.expect("it ends"));
    String::from_utf8_lossy(&answer).into_owned()
}

/// How much memory the most of a process was, in bytes.
fn peak(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

async fn http2(address: SocketAddr) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gibibyte_goes_either_way_without_being_kept() {
    let keyrack = start(Database::Sqlite);
    let owner = keyrack.owner();
    owner.make_route("/big/*rest", json!({"scope": "big:write"}), &behind(mirror).await).await;
    let key = owner.make_key(json!({"name": "k", "scopes": ["big:write"]})).await;
    let head = |method: &str, path: &str, length: usize| {
        let secret = &key.secret;
        format!("{method} {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {secret}\r\ncontent-length: {length}\r\n\r\n")
    };
    let before = peak(keyrack.serving().program.id());
    let mut stream = connected(&keyrack, &head("POST", "/big/up", GIBIBYTE)).await;
    let piece = vec![b'x'; PIECE];
    for _ in 0..GIBIBYTE / PIECE {
        stream.write_all(&piece).await.unwrap();
    }
    let answer = read_until(&mut stream, b"\r\n\r\n").await;
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));

    let mut stream = connected(&keyrack, &head("POST", "/big/down", 0)).await;
    read_until(&mut stream, b"\r\n\r\n").await;
    let (mut came, mut piece) = (0, vec![0; PIECE]);
    while came < GIBIBYTE {
        let read = stream.read(&mut piece).await.unwrap();
        assert!(read > 0, "the answer ends {} bytes too early", GIBIBYTE - came);
        came += read;
    }
    let grown = peak(keyrack.serving().program.id()) - before;
    assert!(grown < GROWS_BY, "{grown} bytes more");
    // A body is counted as it goes by.
    let mut told = Value::Null;
    for _ in 0..100 {
        told = owner.show(&format!("{}/usage", key.path())).await["total"].clone();
        if told["bytes_out"].as_u64().is_some_and(|bytes| bytes >= GIBIBYTE as u64) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!((told["bytes_in"].as_u64(), told["bytes_out"].as_u64()), (Some(1 << 30), Some(1 << 30)), "{told}");
}

keyrack_testkit::both_databases! {
    async fn events_arrive_one_by_one(database: Database) {
        let (said, hear) = tokio::sync::mpsc::unbounded_channel::<&str>();
        let hear = std::sync::Arc::new(tokio::sync::Mutex::new(hear));
        let events = behind(move |mut stream: TcpStream| {
            let hear = std::sync::Arc::clone(&hear);
            async move {
                read_until(&mut stream, b"\r\n\r\n").await;
                let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
                stream.write_all(head).await.unwrap();
                while let Some(event) = hear.lock().await.recv().await {
                    stream.write_all(format!("data: {event}\n\n").as_bytes()).await.unwrap();
                }
            }
        })
        .await;
        let keyrack = start(database);
        keyrack.owner().make_route("/events", json!({"public": true}), &events).await;
        let mut stream = connected(&keyrack, "GET /events HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n").await;
        let head = String::from_utf8(read_until(&mut stream, b"\r\n\r\n").await).unwrap();
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        for event in ["first", "second", "third"] {
            said.send(event).unwrap();
            read_until(&mut stream, format!("data: {event}\n\n").as_bytes()).await;
        }
    }

    async fn what_ends_in_the_middle_is_never_taken_for_whole(database: Database) {
        let dying = |answer: &'static str| {
            behind(move |mut stream: TcpStream| async move {
                read_until(&mut stream, b"\r\n\r\n").await;
                stream.write_all(answer.as_bytes()).await.unwrap();
            })
        };
        let keyrack = start(database);
        let owner = keyrack.owner();
        let by_length = dying("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
        let by_chunks = dying("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n").await;
        let in_the_head = dying("HTTP/1.1 200 OK\r\ncontent-le").await;
        let nonsense = dying("SSH-2.0-OpenSSH_9.2p1\r\n\r\n").await;
        owner.make_route("/length", json!({"public": true}), &by_length).await;
        owner.make_route("/chunks", json!({"public": true}), &by_chunks).await;
        owner.make_route("/head", json!({"public": true}), &in_the_head).await;
        owner.make_route("/nonsense", json!({"public": true}), &nonsense).await;
        let mut stream = connected(&keyrack, "GET /length HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let answer = all(&mut stream).await;
        // What had come may be lost with the connection.
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        assert!(body.len() < 10 && (answer.is_empty() || answer.contains("content-length: 10")), "{answer}");
        let mut stream = connected(&keyrack, "GET /chunks HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let answer = all(&mut stream).await;
        assert!(!answer.ends_with("\r\n0\r\n\r\n"), "without the last chunk: {answer}");
        for path in ["/head", "/nonsense"] {
            keyrack.http().get(path).send().await.expect_status(502);
        }
        // A caller who gives up in the middle: the service is told by the end of the connection.
        let (gone, is_gone) = tokio::sync::oneshot::channel();
        let gone = std::sync::Mutex::new(Some(gone));
        let waiting = behind(move |mut stream: TcpStream| {
            let gone = gone.lock().unwrap().take();
            async move {
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest).await;
                let _ = gone.unwrap().send(rest.len());
            }
        })
        .await;
        owner.make_route("/waiting", json!({"public": true}), &waiting).await;
        let head = "POST /waiting HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf";
        let mut stream = connected(&keyrack, head).await;
        stream.shutdown().await.unwrap();
        drop(stream);
        timeout(Duration::from_secs(20), is_gone).await.unwrap().unwrap();
    }

    /// Who closes one side of a connection is taken for gone: nothing is done any more for somebody who has hung up.
    async fn whoever_closes_one_side_is_gone(database: Database) {
        let (keyrack, upstream) = (start(database), Upstream::start().await);
        keyrack.owner().make_route("/svc/x", json!({"public": true}), &upstream.url()).await;
        for head in ["POST /svc/x HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nso", "GET /svc/x HTTP/1.1\r\nho"] {
            let mut stream = connected(&keyrack, head).await;
            stream.shutdown().await.unwrap();
            let answer = all(&mut stream).await;
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
        }
        assert_eq!(upstream.count(), 0, "half a request is none");
        keyrack.http().get("/svc/x").send().await.expect_status(200);
    }

    async fn a_thousand_at_once_each_have_their_own_answer(database: Database) {
        let (keyrack, upstream) = (start(database), Upstream::start().await);
        let owner = keyrack.owner();
        owner.make_route("/svc/*rest", json!({"scope": "a:read"}), &upstream.url()).await;
        let key = owner.make_key(json!({"name": "k", "scopes": ["a:read"]})).await;
        let mut streams = Vec::new();
        for at in 0..1000 {
            let head = format!("GET /svc/{at} HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\n", key.secret);
            streams.push((at, connected(&keyrack, &head).await));
        }
        // All of them have begun.
        let ended = join_all(streams.into_iter().map(async |(at, mut stream)| {
            stream.write_all(b"connection: close\r\n\r\n").await.unwrap();
            let answer = all(&mut stream).await;
            answer.starts_with("HTTP/1.1 200 ") && answer.contains(&format!(r#""target":"/svc/{at}""#))
        }))
        .await;
        assert_eq!(ended.into_iter().filter(|is_right| *is_right).count(), 1000);
    }

    /// All requests to a service that speaks HTTP/2 share a connection.
    async fn answers_that_nobody_reads_hold_up_nobody_else(database: Database) {
        let large = Upstream::answering(|request| async move {
            let size = if request.uri().path().ends_with("large") { 64 << 20 } else { 4 };
            http::Response::new(Full::new(Bytes::from(vec![b'x'; size])))
        })
        .await;
        let keyrack = start(database);
        let target = json!({"kind": "upstream", "url": large.url(), "http2": true});
        let wanted = json!({"path": "/svc/*rest", "guard": {"public": true}, "target": target});
        keyrack.owner().make("/api/routes", wanted).await;
        let mut unread = Vec::new();
        for _ in 0..16 {
            let mut stream = connected(&keyrack, "GET /svc/large HTTP/1.1\r\nhost: x\r\n\r\n").await;
            read_until(&mut stream, b"\r\n\r\n").await;
            unread.push(stream);
        }
        let small = timeout(Duration::from_secs(10), keyrack.http().get("/svc/small").send()).await;
        assert_eq!(small.expect("it is answered").expect_status(200).text(), "xxxx");
    }

    async fn http_2_is_spoken_without_being_asked(database: Database) {
        let (keyrack, upstream) = (start(database), Upstream::start().await);
        let owner = keyrack.owner();
        owner.make_route("/svc/*rest", json!({"scope": "a:write"}), &upstream.url()).await;
        let key = owner.make_key(json!({"name": "k", "scopes": ["a:write"]})).await;
        let address = keyrack.serving().address();
        let sender = http2(address).await;
        let ask = |at: usize, secret: &str| {
            let mut sender = sender.clone();
            let request = Request::post(format!("http://{address}/svc/{at}?x=%20")).header("x-api-key", secret);
            let request = request.body(Full::new(Bytes::from(format!("body {at}")))).unwrap();
            async move {
                let answer = sender.send_request(request).await.unwrap();
                let status = answer.status().as_u16();
                (status, answer.into_body().collect().await.unwrap().to_bytes())
            }
        };
        for (at, (status, body)) in join_all((0..200).map(|at| ask(at, &key.secret))).await.into_iter().enumerate() {
            let seen: Value = serde_json::from_slice(&body).unwrap();
            let told = (status, &seen["target"], &seen["body"]);
            assert_eq!(told, (200, &json!(format!("/svc/{at}?x=%20")), &json!(format!("body {at}"))));
        }
        assert_eq!(ask(0, "nope").await.0, 401);
        // HTTP/2 tells by itself where a body ends; a service in HTTP/1.1 would go by the header.
        for lengths in [["4", "4"], ["4", "40"]] {
            let request = Request::post(format!("http://{address}/svc/x")).header("x-api-key", &key.secret);
            let request = lengths.iter().fold(request, |request, length| request.header("content-length", *length));
            let sent = sender.clone().send_request(request.body(Full::new(Bytes::from("body"))).unwrap()).await;
            assert!(sent.is_err() || sent.is_ok_and(|answer| answer.status() == 400), "{lengths:?}");
        }
        owner.revoke(&key).await;
        assert_eq!(ask(0, &key.secret).await.0, 401, "over the same connection");
        assert_eq!(upstream.count(), 200);
    }
}
