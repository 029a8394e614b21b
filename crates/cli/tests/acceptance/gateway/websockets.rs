//! `WebSocket`s through a door.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use http::HeaderValue;
use keyrack_testkit::{Database, Upstream};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, accept_hdr_async, connect_async};

use super::{behind, read_until};
use crate::support::{Caller as _, Person, start};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Says back what it is told, and first of all who it was told is calling.
async fn echo(stream: TcpStream) {
    let mut caller = String::new();
    #[expect(clippy::result_large_err, reason = "it is tungstenite's")]
    let greet = |request: &Request, mut response: Response| {
        caller = request.headers()["x-keyrack-key-name"].to_str().unwrap().to_owned();
        assert!(!request.headers().contains_key("x-api-key"), "the credential is taken off");
        response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("echo"));
        Ok(response)
    };
    let mut socket = accept_hdr_async(stream, greet).await.unwrap();
    socket.send(Message::text(caller)).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        if message.is_close() {
            break;
        }
        socket.send(message).await.unwrap();
    }
}

async fn open(address: SocketAddr, path: &str, secret: &str) -> Result<Socket, Error> {
    let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
    request.headers_mut().insert("x-api-key", secret.parse().unwrap());
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("echo"));
    Ok(connect_async(request).await?.0)
}

fn refused(outcome: Result<Socket, Error>) -> u16 {
    match outcome {
        Err(Error::Http(response)) => response.status().as_u16(),
        other => panic!("{other:?}"),
    }
}

keyrack_testkit::both_databases! {
    async fn bytes_go_both_ways_once_the_handshake_is_let_in(database: Database) {
        let keyrack = start(database);
        let owner = keyrack.owner();
        let address = keyrack.serving().address();
        owner.make_route("/live/*rest", json!({"scope": "live:read"}), &behind(echo).await).await;
        let key = owner.make_key(json!({"name": "dashboard", "scopes": ["live:read"]})).await;
        let other = owner.make_key(json!({"name": "other", "scopes": ["a:read"]})).await;

        let mut socket = open(address, "/live/feed?x=1", &key.secret).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("dashboard"));
        for message in [Message::text("a"), Message::binary(vec![7; 1024 * 1024]), Message::text("ü".repeat(70_000))] {
            socket.send(message.clone()).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), message);
        }
        socket.close(None).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            assert!(message.is_close(), "{message}");
        }

        assert_eq!(refused(open(address, "/live/feed", "nope").await), 401);
        assert_eq!(refused(open(address, "/live/feed", &other.secret).await), 403);
        assert_eq!(refused(open(address, "/elsewhere", &key.secret).await), 404);
        owner.revoke(&key).await;
        assert_eq!(refused(open(address, "/live/feed", &key.secret).await), 401);
    }

    async fn a_hundred_at_once_each_have_their_own(database: Database) {
        let keyrack = start(database);
        let owner = keyrack.owner();
        owner.make_route("/live", json!({"scope": "live:read"}), &behind(echo).await).await;
        let key = owner.make_key(json!({"name": "k", "scopes": ["live:read"]})).await;
        let mut sockets = Vec::new();
        for _ in 0..100 {
            sockets.push(open(keyrack.serving().address(), "/live", &key.secret).await.unwrap());
        }
        for (at, socket) in sockets.iter_mut().enumerate() {
            socket.send(Message::text(at.to_string())).await.unwrap();
        }
        for (at, socket) in sockets.iter_mut().enumerate() {
            assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("k"));
            assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(at.to_string()));
        }
    }

    async fn when_both_are_silent_for_as_long_as_the_route_says_it_ends(database: Database) {
        let keyrack = start(database);
        let owner = keyrack.owner();
        let target = json!({"kind": "upstream", "url": behind(echo).await, "idle_timeout_seconds": 1});
        owner.make("/api/routes", json!({"path": "/live", "guard": {"scope": "live:read"}, "target": target})).await;
        let key = owner.make_key(json!({"name": "k", "scopes": ["live:read"]})).await;
        let mut socket = open(keyrack.serving().address(), "/live", &key.secret).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("k"));
        assert!(socket.next().await.unwrap().is_err(), "cut, and not closed by either");
    }

    async fn what_went_through_is_counted_also_if_the_server_stops_meanwhile(database: Database) {
        let mut keyrack = start(database);
        let owner = keyrack.owner();
        owner.make_route("/live", json!({"scope": "live:read"}), &behind(echo).await).await;
        let key = owner.make_key(json!({"name": "k", "scopes": ["live:read"]})).await;
        let mut socket = open(keyrack.serving().address(), "/live", &key.secret).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("k"));
        socket.send(Message::binary(vec![7; 100_000])).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::binary(vec![7; 100_000]));
        keyrack.stop();
        assert!(socket.next().await.is_none_or(|end| end.is_err()), "cut");
        keyrack.start_again();
        let used = keyrack.owner().show(&format!("/api/keys/{}/usage", key.id)).await;
        for direction in ["bytes_in", "bytes_out"] {
            assert!(used["total"][direction].as_u64().is_some_and(|bytes| bytes > 100_000), "{direction}: {used}");
        }
    }

    /// No browser hides from a page of another site what comes back over a WebSocket.
    async fn a_page_of_another_site_opens_none_in_the_name_of_whoever_is_signed_in(database: Database) {
        let keyrack = start(database);
        let address = keyrack.serving().address();
        keyrack.owner().make_route("/live", json!({"scope": "live:read", "sessions": true}), &behind(echo).await).await;
        let person = Person::owner(&keyrack).await;
        let from = async |origin: String| {
            let mut request = format!("ws://{address}/live").into_client_request().unwrap();
            request.headers_mut().insert("cookie", person.cookie.parse().unwrap());
            request.headers_mut().insert("origin", origin.parse().unwrap());
            request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("echo"));
            connect_async(request).await.map(|(socket, _)| socket)
        };
        assert_eq!(refused(from("https://evil.example.com".to_owned()).await), 403);
        let mut own = from(format!("http://{address}")).await.unwrap();
        assert_eq!(own.next().await.unwrap().unwrap(), Message::text("-"), "a page of ours, and no key");
    }

    /// Anything else that a connection could become would go past what is decided about each request.
    async fn nothing_else_is_made_of_a_connection(database: Database) {
        let (keyrack, upstream) = (start(database), Upstream::start().await);
        let owner = keyrack.owner();
        owner.make_route("/svc/x", json!({"public": true}), &upstream.url()).await;
        for upgrade in ["h2c", "tls/1.0", "websocket2", "foo"] {
            let request = keyrack.http().get("/svc/x").header("connection", "upgrade").header("upgrade", upgrade);
            let seen = request.send().await.expect_status(200).json();
            assert!(!seen["headers"].to_string().contains("upgrade"), "{seen}");
        }
        // A service that goes on to something nobody asked for.
        let eager = behind(|mut stream: TcpStream| async move {
            read_until(&mut stream, b"\r\n\r\n").await;
            let answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
        })
        .await;
        owner.make_route("/svc/eager", json!({"public": true}), &eager).await;
        keyrack.http().get("/svc/eager").send().await.expect_status(502);
    }
}
