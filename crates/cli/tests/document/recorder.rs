//! Calls that check each answer against the document before they hand it on.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use jsonschema::Validator;
use keyrack_testkit::http::Request;
use keyrack_testkit::{Answer, Http};
use serde_json::{Value, json};

/// The document, and what of it has been seen.
pub(crate) struct Recorder {
    document: Value,
    http: Http,
    key: String,
    seen: RefCell<BTreeSet<(String, String)>>,
    validators: RefCell<BTreeMap<String, Validator>>,
}

impl Recorder {
    pub(crate) fn new(http: Http, key: &str) -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
        let document = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let (seen, validators) = (RefCell::default(), RefCell::default());
        Self { document, http, key: key.to_owned(), seen, validators }
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

    /// Sends a request and holds the answer against the document: the status is one of the operation's, and the body has
    /// the form that the document gives it.
    pub(crate) async fn check(&self, method: &str, path: &str, request: Request, status: u16) -> Value {
        let answer = request.send().await.expect_status(status);
        self.seen.borrow_mut().insert((method.to_owned(), path.to_owned()));
        let said = &self.operation(method, path)["responses"][status.to_string()];
        assert!(said.is_object(), "{method} {path} answers {status}, which the document does not say");
        let media = answer.header("content-type").unwrap_or_default().to_owned();
        let schema = &said["content"][&media]["schema"];
        if said["content"].is_null() {
            assert_eq!(answer.text(), "", "{method} {path} {status}: the document says there is no body");
            return Value::Null;
        }
        assert!(schema.is_object(), "{method} {path} {status}: the document does not say {media:?}");
        let body = answer.json();
        self.assert_valid(schema, &body, &format!("{method} {path} {status}"));
        assert_secret_free(&answer);
        body
    }

    fn assert_valid(&self, schema: &Value, body: &Value, what: &str) {
        let mut validators = self.validators.borrow_mut();
        let validator = validators.entry(schema.to_string()).or_insert_with(|| {
            let components = &self.document["components"];
            let draft = "https://json-schema.org/draft/2020-12/schema";
            jsonschema::validator_for(&json!({"$schema": draft, "components": components, "allOf": [schema]})).unwrap()
        });
        let errors: Vec<String> =
            validator.iter_errors(body).map(|error| format!("{} at {}", error, error.instance_path())).collect();
        assert!(errors.is_empty(), "{what}: {errors:?} in {body}");
    }
}

/// Answers under /api are for nobody's cache.
fn assert_secret_free(answer: &Answer) {
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(answer.header("x-request-id").is_some());
}
