//! Calls that keep a list of the operations they were for.

use std::cell::RefCell;
use std::collections::BTreeSet;

use keyrack_testkit::Http;
use keyrack_testkit::http::Request;
use serde_json::{Value, json};

/// The document, and what of it has been seen.
pub(crate) struct Recorder {
    document: Value,
    http: Http,
    key: String,
    seen: RefCell<BTreeSet<(String, String)>>,
}

impl Recorder {
    pub(crate) fn new(http: Http, key: &str) -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
        let document = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        Self { document, http, key: key.to_owned(), seen: RefCell::default() }
    }

    /// Every operation, as method and path.
    pub(crate) fn operations(&self) -> Vec<(String, String)> {
        let paths = self.document["paths"].as_object().unwrap();
        let each = paths.iter().flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path.clone()))
        });
        each.collect()
    }

    /// What has not been called yet.
    pub(crate) fn unseen(&self) -> Vec<(String, String)> {
        let seen = self.seen.borrow();
        self.operations().into_iter().filter(|operation| !seen.contains(operation)).collect()
    }

    /// Whether the document says that an operation takes anybody.
    pub(crate) fn is_open(&self, method: &str, path: &str) -> bool {
        self.operation(method, path)["security"] == json!([{}])
    }

    fn operation(&self, method: &str, path: &str) -> &Value {
        &self.document["paths"][path][method.to_lowercase()]
    }

    /// Calls as an instance admin. `at` fills the places of the path in their order.
    pub(crate) async fn call(&self, method: &str, path: &str, at: &[&str], body: Option<Value>, status: u16) -> Value {
        let request = self.request(method, path, at).header("x-api-key", &self.key);
        let request = if let Some(body) = &body { request.json(body) } else { request };
        self.check(method, path, request, status).await
    }

    /// The key of an instance admin.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// A request to a path as it is, without a credential.
    pub(crate) fn raw(&self, method: &str, path: &str) -> Request {
        self.http.request(method, path)
    }

    /// A request without a credential.
    pub(crate) fn request(&self, method: &str, path: &str, at: &[&str]) -> Request {
        let mut filled = path.to_owned();
        for value in at {
            let (from, to) = (filled.find('{').unwrap(), filled.find('}').unwrap());
            filled.replace_range(from..=to, value);
        }
        self.http.request(method, &filled)
    }

    /// Sends a request for an operation; like every answer of a test, the one to it is held against the document.
    pub(crate) async fn check(&self, method: &str, path: &str, request: Request, status: u16) -> Value {
        let answer = request.send().await.expect_status(status);
        self.seen.borrow_mut().insert((method.to_owned(), path.to_owned()));
        if answer.body.is_empty() { Value::Null } else { answer.json() }
    }
}
