//! The gateway: what stands between a caller and a service, and nothing that lets one past the other.

mod cors;
mod egress;
mod forwarding;
mod long;
mod paths;
mod revocation;
mod routing;
mod targets;
mod websockets;

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// A service that does with each connection what it is told; its URL. It is there as long as the test runs.
async fn behind<F>(serve: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serve = Arc::new(serve);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream));
        }
    });
    url
}

/// Reads up to and including these bytes, one at a time, so that nothing behind them is taken.
async fn read_until(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut read = Vec::new();
    let reading = async {
        while !read.ends_with(end) {
            read.push(stream.read_u8().await.unwrap());
        }
    };
    let outcome = timeout(Duration::from_secs(20), reading).await;
    assert!(outcome.is_ok(), "nothing came behind {:?}", String::from_utf8_lossy(&read));
    read
}
