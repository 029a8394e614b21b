//! HTTPS at the listener.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use keyrack_testkit::{Keyrack, Program, Upstream};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{KEYRACK, free_port};

/// A certificate for `localhost` that signs itself, and its key, in two files.
fn issue(directory: &Path) -> CertificateDer<'static> {
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(directory.join("key.pem"), issued.signing_key.serialize_pem()).unwrap();
    std::fs::write(directory.join("cert.pem"), issued.cert.pem()).unwrap();
    CertificateDer::from_pem_slice(issued.cert.pem().as_bytes()).unwrap()
}

/// Connects, if what is presented is this certificate.
async fn connect(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    protocol: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

async fn said(mut stream: impl AsyncReadWrite, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // An end without a word is an end.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

trait AsyncReadWrite: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin {}
impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> AsyncReadWrite for S {}

const LIVE: &str = "GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// Serves HTTPS, over a database that is made for it; and the id of a public route to a service.
struct Secure {
    _keyrack: Keyrack,
    serving: keyrack_testkit::process::Running,
    address: SocketAddr,
    /// Where it answers over gRPC.
    grpc: SocketAddr,
    directory: TempDir,
    certificate: CertificateDer<'static>,
    service: Upstream,
}

impl Secure {
    async fn start() -> Self {
        let service = Upstream::start().await;
        let mut keyrack = Keyrack::start(KEYRACK, keyrack_testkit::Database::Sqlite);
        let target = serde_json::json!({"kind": "upstream", "url": service.url()});
        let route = serde_json::json!({"path": "/svc/x", "guard": {"public": true}, "target": target});
        keyrack.owner().post("/api/routes").json(&route).send().await.expect_status(201);
        keyrack.stop();
        let directory = tempfile::tempdir().unwrap();
        let certificate = issue(directory.path());
        let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let grpc = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let program = keyrack.command("serve").args(["--listen", "127.0.0.1:0", "--egress-allow", "127.0.0.1/32"]);
        let program = program.args(["--grpc-listen", &grpc.to_string(), "--trusted-proxies", "127.0.0.1/32"]);
        let serving = program.args(["--tls-certificate", &at("cert.pem"), "--tls-key", &at("key.pem")]).start();
        let line = serving.wait_line(|line| line.contains("listens on"));
        let address = line.split_once("https://").unwrap().1.trim().parse().unwrap();
        Self { _keyrack: keyrack, serving, address, grpc, directory, certificate, service }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn https_is_spoken_in_both_versions_and_nothing_else() {
    let secure = Secure::start().await;
    let stream = connect(secure.address, &secure.certificate, b"http/1.1").await.unwrap();
    let answer = said(stream, LIVE).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    let stream = connect(secure.address, &secure.certificate, b"h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://localhost/svc/x").body(Full::<Bytes>::default()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let seen: Value = serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
    let headers = seen["headers"].as_array().unwrap();
    assert!(headers.contains(&serde_json::json!(["x-forwarded-proto", "https"])), "{seen}");
    assert_eq!(secure.service.count(), 1);

    let plain = said(TcpStream::connect(secure.address).await.unwrap(), LIVE).await;
    assert!(!plain.contains("HTTP/"), "{plain}");
    // Whoever says nothing of TLS keeps nobody else from it.
    let _silent: Vec<_> = futures_util::future::join_all((0..200).map(|_| TcpStream::connect(secure.address))).await;
    connect(secure.address, &secure.certificate, b"http/1.1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn over_grpc_nothing_else_is_spoken_either() {
    let secure = Secure::start().await;
    let stream = connect(secure.grpc, &secure.certificate, b"h2").await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    // An empty message, and before it that it is not compressed and has no bytes.
    let request = Request::post("https://localhost/grpc.health.v1.Health/Check");
    let request = request.header("content-type", "application/grpc").header("te", "trailers");
    let answer = sender.send_request(request.body(Full::new(Bytes::from_static(&[0; 5]))).unwrap()).await.unwrap();
    let answer = answer.into_body().collect().await.unwrap();
    assert_eq!(answer.trailers().unwrap()["grpc-status"], "0");
    // It serves (`ServingStatus` 1).
    assert_eq!(answer.to_bytes().as_ref(), [0, 0, 0, 0, 2, 8, 1]);

    let mut plain = TcpStream::connect(secure.grpc).await.unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    // No more than the word (an alert) that this is no TLS.
    assert!(answer.first().is_none_or(|first| *first == 21), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_taken_up_and_a_broken_one_is_not() {
    let secure = Secure::start().await;
    let before = secure.certificate.clone();
    std::fs::write(secure.directory.path().join("key.pem"), "no key").unwrap();
    secure.serving.wait_error_line(|line| line.contains("certificate is not taken"));
    connect(secure.address, &before, b"http/1.1").await.unwrap();
    let after = issue(secure.directory.path());
    let renewed = async {
        while connect(secure.address, &after, b"http/1.1").await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(40), renewed).await.unwrap();
    assert!(connect(secure.address, &before, b"http/1.1").await.is_err(), "the one before is gone");
}

#[test]
fn what_cannot_be_presented_is_told_before_anything_is_served() {
    let directory = tempfile::tempdir().unwrap();
    issue(directory.path());
    let other = tempfile::tempdir().unwrap();
    issue(other.path());
    let at = |directory: &TempDir, name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(directory.path().join("empty.pem"), "").unwrap();
    for (certificate, key, told) in [
        (at(&directory, "missing.pem"), at(&directory, "key.pem"), "missing.pem"),
        (at(&directory, "empty.pem"), at(&directory, "key.pem"), "empty.pem"),
        (at(&directory, "key.pem"), at(&directory, "cert.pem"), "key.pem"),
        (at(&directory, "cert.pem"), at(&other, "key.pem"), "cannot be used"),
    ] {
        let program = Program::new(KEYRACK).directory(directory.path()).args(["serve", "--listen", "127.0.0.1:0"]);
        let ended = program.args(["--tls-certificate", &certificate, "--tls-key", &key]).run();
        assert!(!ended.status.success(), "{told}");
        assert!(ended.stderr.contains(told), "{told}: {}", ended.stderr);
    }
    assert!(!directory.path().join("keyrack.db").exists(), "nothing is made");
}
