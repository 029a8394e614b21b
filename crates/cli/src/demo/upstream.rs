//! The small service behind the demo's routes: contacts in memory, and a toy embedding.

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How many numbers an embedding has.
const DIMENSIONS: usize = 384;
/// The largest body it reads.
const MAX_BODY: usize = 1024 * 1024;

type Contacts = Arc<Mutex<Vec<Value>>>;

/// Starts the service on a free port; it ends with the task.
pub(crate) async fn start() -> anyhow::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("the demo's upstream cannot listen")?;
    let address = listener.local_addr()?;
    let contacts: Contacts = Arc::default();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let contacts = contacts.clone();
            let service = service_fn(move |request| answer(request, contacts.clone()));
            tokio::spawn(async move {
                let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok((address, task))
}

async fn answer(request: Request<Incoming>, contacts: Contacts) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let header = |name: &str| parts.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("-").to_owned();
    let caller = json!({ "organization": header("x-consumer-username"), "key": header("x-keyrack-key-name") });
    let body =
        Limited::new(body, MAX_BODY).collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let (status, value) = match (parts.method, parts.uri.path()) {
        (Method::GET, "/contacts") => {
            let contacts = contacts.lock().unwrap_or_else(PoisonError::into_inner).clone();
            (StatusCode::OK, json!({ "data": contacts, "caller": caller }))
        }
        (Method::POST, "/contacts") => match serde_json::from_slice::<Value>(&body) {
            Ok(contact) => {
                contacts.lock().unwrap_or_else(PoisonError::into_inner).push(contact.clone());
                (StatusCode::CREATED, json!({ "data": contact, "caller": caller }))
            }
            Err(_) => (StatusCode::BAD_REQUEST, json!({ "error": "send JSON" })),
        },
        (Method::GET, "/v1/embeddings") => {
            let about = "hashed n-grams of the text; a toy that shows the plumbing, not a language model";
            (StatusCode::OK, json!({ "model": "hashed-ngrams", "dimensions": DIMENSIONS, "about": about }))
        }
        (Method::POST, "/v1/embeddings") => {
            let value: Value = serde_json::from_slice(&body).unwrap_or_default();
            let text = value["text"].as_str().or(value["input"].as_str()).unwrap_or_default().to_owned();
            (StatusCode::OK, json!({ "model": "hashed-ngrams", "embedding": embed(&text) }))
        }
        (Method::GET, path) => (StatusCode::OK, json!({ "path": path, "caller": caller })),
        _ => (StatusCode::NOT_FOUND, json!({ "error": "not found" })),
    };
    let mut response = Response::new(Full::new(Bytes::from(value.to_string() + "\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Counts the n-grams of a text (one to three characters) in hashed places, scaled to length one.
fn embed(text: &str) -> Vec<f32> {
    let characters: Vec<char> = text.to_lowercase().chars().collect();
    let mut vector = vec![0.0_f32; DIMENSIONS];
    for gram in (1..=3).flat_map(|n| characters.windows(n)) {
        let mut hasher = DefaultHasher::new();
        gram.hash(&mut hasher);
        let place = usize::try_from(hasher.finish() % DIMENSIONS as u64).unwrap_or(0);
        vector[place] += 1.0;
    }
    let length = vector.iter().map(|v| v * v).sum::<f32>().sqrt();
    if length > 0.0 {
        for value in &mut vector {
            *value /= length;
        }
    }
    vector
}
