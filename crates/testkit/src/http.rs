//! Plain HTTP/1.1 as a caller of the product speaks it, with answers that explain themselves when they are not as wanted, and
//! that the committed `OpenAPI` document has to allow.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use crate::contract;

/// How long an answer may take before the test fails.
const DEADLINE: Duration = Duration::from_mins(1);

/// A client of one server. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Http {
    base: String,
    key: Option<String>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Http {
    /// A client of the server at this URL, like `http://127.0.0.1:8000`.
    pub fn new(base: impl Into<String>) -> Self {
        Self::with(base, HttpConnector::new())
    }

    /// The same, seen by the server as coming from this address; on Linux every `127.x.y.z` is one of ours.
    pub fn from_address(base: impl Into<String>, address: IpAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_local_address(Some(address));
        Self::with(base, connector)
    }

    fn with(base: impl Into<String>, connector: HttpConnector) -> Self {
        let mut client = Client::builder(TokioExecutor::new());
        // Sooner than the server, which closes a connection after ten seconds, perhaps while something is sent over it.
        client.pool_timer(TokioTimer::new()).pool_idle_timeout(Duration::from_secs(3));
        let client = client.build(connector);
        Self { base: base.into().trim_end_matches('/').to_owned(), key: None, client }
    }

    /// The same client, presenting this key as bearer in every request.
    #[must_use]
    pub fn with_bearer(&self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self.clone() }
    }

    /// The URL that paths are added to.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A request for a path, which may have a query and is sent as it stands.
    #[track_caller]
    pub fn request(&self, method: &str, path: &str) -> Request {
        let method = Method::from_bytes(method.as_bytes()).unwrap_or_else(|error| panic!("{method}: {error}"));
        let url = format!("{}{path}", self.base);
        let uri: Uri = url.parse().unwrap_or_else(|error| panic!("{url}: {error}; send it by http::raw"));
        let mut request = http::Request::new(Full::default());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        let request = Request { request, client: self.client.clone() };
        match &self.key {
            Some(key) => request.bearer(key),
            None => request,
        }
    }

    /// A GET request.
    #[track_caller]
    pub fn get(&self, path: &str) -> Request {
        self.request("GET", path)
    }

    /// A POST request.
    #[track_caller]
    pub fn post(&self, path: &str) -> Request {
        self.request("POST", path)
    }
}

/// A request that is about to be sent.
#[derive(Debug)]
#[must_use]
pub struct Request {
    request: http::Request<Full<Bytes>>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Request {
    /// Adds a header; one that is there already stays beside it. A value may hold any bytes that HTTP can carry.
    #[track_caller]
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        let name = HeaderName::from_bytes(name.as_ref()).expect("the name of a header");
        let value = HeaderValue::from_bytes(value.as_ref()).expect("the value of a header");
        self.request.headers_mut().append(name, value);
        self
    }

    /// Presents a key as bearer, in place of one that the client presents.
    #[track_caller]
    pub fn bearer(mut self, key: impl AsRef<str>) -> Self {
        self.request.headers_mut().remove(http::header::AUTHORIZATION);
        self.header("authorization", format!("Bearer {}", key.as_ref()))
    }

    /// Sends JSON.
    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    /// Sends these bytes as the body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        *self.request.body_mut() = Full::new(body.into());
        self
    }

    /// Sends it and reads the whole answer.
    pub async fn send(self) -> Answer {
        self.try_send().await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same, for tests in which there may be no answer. The error says why.
    pub async fn try_send(self) -> Result<Answer, String> {
        let Self { request, client } = self;
        let asked = format!("{} {}", request.method(), request.uri());
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let exchange = async {
            let (parts, body) = client.request(request).await.map_err(|error| explain(&error))?.into_parts();
            let body = body.collect().await.map_err(|error| explain(&error))?.to_bytes();
            Ok::<_, String>((parts, body))
        };
        let (parts, body) = timeout(DEADLINE, exchange)
            .await
            .map_err(|_| format!("{asked}: no answer in {DEADLINE:?}"))?
            .map_err(|error| format!("{asked}: {error}"))?;
        let answer = Answer { status: parts.status.as_u16(), headers: parts.headers, body, asked };
        contract::check(&method, &path, &answer);
        Ok(answer)
    }
}

/// The whole answer to a request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status code.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    asked: String,
}

impl Answer {
    /// Fails the test, with the whole answer, unless the status is this one.
    #[track_caller]
    pub fn expect_status(self, status: u16) -> Self {
        assert!(
            self.status == status,
            "{}: status {} instead of {status}\n{:#?}\n{}",
            self.asked,
            self.status,
            self.headers,
            self.text()
        );
        self
    }

    /// The first value of a header, if it is there.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// All values of a header.
    pub fn headers_named(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
    }

    /// Its body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Its body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{}: {}, no JSON: {error}\n{}", self.asked, self.status, self.text()))
    }
}

/// Sends bytes as they are over a connection of their own, and reads until the server closes it.
pub async fn raw(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let until = Instant::now() + DEADLINE;
    let mut answer = Vec::new();
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap_or_else(|error| panic!("{address}: {error}"));
        // A server may answer and close before it has read everything: then what it said is the result.
        let _ = stream.write_all(bytes.as_ref()).await;
        while let Ok(1..) = stream.read_buf(&mut answer).await {}
    };
    let outcome = timeout_at(until, exchange).await;
    assert!(outcome.is_ok(), "{address} kept the connection open after\n{}", String::from_utf8_lossy(&answer));
    answer
}

/// An error with its causes, which is where hyper says what happened.
fn explain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
