//! A small real HTTP server to stand behind the product: it says what reached it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A server on a free port of 127.0.0.1, stopped on drop.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Value>>>,
    accepting: JoinHandle<()>,
}

impl Upstream {
    /// Starts one that answers every request with 200 and a description of it, the one that [`Upstream::seen`] keeps.
    pub async fn start() -> Self {
        Self::answering(|request| async move {
            let body = Bytes::from(described(&request).to_string());
            Response::builder().header("content-type", "application/json").body(Full::new(body)).expect("a response")
        })
        .await
    }

    /// Starts one that answers as told.
    pub async fn answering<F>(answer: impl Fn(Request<Bytes>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let seen = Arc::default();
        let accepting = tokio::spawn(accept(listener, Arc::new(answer), Arc::clone(&seen)));
        Self { address, seen, accepting }
    }

    /// Its URL, like `http://127.0.0.1:40000`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests reached it whole.
    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// What reached it, in order: `version`, `method`, `target` (as received, neither decoded nor put in order), `headers` (pairs),
    /// `body_length` and `body` (as text).
    pub fn seen(&self) -> Vec<Value> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Takes connections until aborted, and all that it has taken end with it.
async fn accept<A, F>(listener: TcpListener, answer: Arc<A>, seen: Arc<Mutex<Vec<Value>>>)
where
    A: Fn(Request<Bytes>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                connections.spawn(serve(stream, Arc::clone(&answer), Arc::clone(&seen)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve<A, F>(stream: TcpStream, answer: Arc<A>, seen: Arc<Mutex<Vec<Value>>>)
where
    A: Fn(Request<Bytes>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
        async move {
            let (parts, body) = request.into_parts();
            let Ok(body) = body.collect().await else {
                return Ok::<_, Infallible>(Response::builder().status(400).body(Full::default()).expect("a response"));
            };
            let request = Request::from_parts(parts, body.to_bytes());
            seen.lock().unwrap().push(described(&request));
            Ok(answer(request).await)
        }
    });
    // A peer that goes away is no failure of the upstream.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

fn described(request: &Request<Bytes>) -> Value {
    let headers = request.headers().iter();
    json!({
        "version": format!("{:?}", request.version()).trim_start_matches("HTTP/"),
        "method": request.method().as_str(),
        "target": request.uri().to_string(),
        "headers": headers
            .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
            .collect::<Vec<_>>(),
        "body_length": request.body().len(),
        "body": String::from_utf8_lossy(request.body()),
    })
}
