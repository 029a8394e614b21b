//! The committed `OpenAPI` document, against which every answer of the management API is held, in whichever test it comes.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use http::Method;
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::http::Answer;

static DOCUMENT: LazyLock<Document> = LazyLock::new(Document::read);

/// Under these paths Keyrack itself answers, and the document says how.
const DESCRIBED: [&str; 2] = ["/api/", "/health/"];

/// Fails the test if an answer to a request for this path is not one that the document allows: its status, its media type,
/// and the form of its body.
pub(crate) fn check(method: &Method, path: &str, answer: &Answer) {
    if DESCRIBED.iter().any(|prefix| path.starts_with(prefix)) {
        DOCUMENT.check(method, path, answer);
    }
}

struct Document {
    document: Value,
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

impl Document {
    fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
        let text = std::fs::read_to_string(path).expect("the committed document");
        Self { document: serde_json::from_str(&text).expect("JSON"), validators: Mutex::default() }
    }

    fn check(&self, method: &Method, path: &str, answer: &Answer) {
        let status = answer.status.to_string();
        let asked = format!("{method} {path}: {status}");
        if answer.status == 431 {
            // The head was too long to be read to its end, so nobody knows what it asked for.
            return assert!(answer.body.is_empty(), "{asked}, with a body");
        }
        // A HEAD is answered like a GET, without the body.
        let name = if method == Method::HEAD { "get".to_owned() } else { method.as_str().to_lowercase() };
        let (template, said) = match self.path(path) {
            Some((template, item)) if item[&name].is_object() => (template, &item[&name]["responses"][&status]),
            Some((template, _)) => {
                let is_refusal = matches!(answer.status, 400 | 405);
                assert!(is_refusal, "{asked}, but the document does not say that {template} takes it");
                return self.check_error(&asked, answer);
            }
            None => {
                let is_refusal = matches!(answer.status, 400 | 404);
                assert!(is_refusal, "{asked}, but the document knows no such path\n{}", answer.text());
                return self.check_error(&asked, answer);
            }
        };
        assert!(said.is_object(), "{asked}, which the document does not say of {template}\n{}", answer.text());
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{asked}");
        assert!(answer.header("x-request-id").is_some(), "{asked}, without the request's id");
        if method == Method::HEAD || said["content"].is_null() {
            assert_eq!(answer.text(), "", "{asked}, with a body");
            return;
        }
        let media = answer.header("content-type").unwrap_or_default();
        let schema = &said["content"][media]["schema"];
        assert!(schema.is_object(), "{asked}: the document does not say {media:?}");
        if media != "text/csv" {
            self.check_body(schema, &asked, answer);
        }
    }

    /// The path of the document that a path falls under: of several, the one with the fewest places to fill.
    fn path(&self, path: &str) -> Option<(&String, &Value)> {
        let fits = |template: &str| {
            template.split('/').count() == path.split('/').count()
                && template
                    .split('/')
                    .zip(path.split('/'))
                    .all(|(t, p)| t == p || (t.starts_with('{') && !p.is_empty()))
        };
        let paths = self.document["paths"].as_object().expect("paths");
        paths.iter().filter(|(template, _)| fits(template)).min_by_key(|(template, _)| template.matches('{').count())
    }

    fn check_error(&self, asked: &str, answer: &Answer) {
        let name = match answer.header("content-type") {
            Some("application/json") => "ErrorBody",
            Some("application/problem+json") => "Problem",
            other => panic!("{asked}: {other:?} is no error body\n{}", answer.text()),
        };
        if !answer.body.is_empty() {
            self.check_body(&json!({"$ref": format!("#/components/schemas/{name}")}), asked, answer);
        }
    }

    fn check_body(&self, schema: &Value, asked: &str, answer: &Answer) {
        let body = answer.json();
        let validator = self.validator(schema);
        if !validator.is_valid(&body) {
            let errors = validator.iter_errors(&body).map(|error| format!("{error} at {}", error.instance_path()));
            panic!("{asked}: the document does not allow {body}: {:?}", errors.collect::<Vec<_>>());
        }
    }

    fn validator(&self, schema: &Value) -> Arc<Validator> {
        let mut validators = self.validators.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let draft = "https://json-schema.org/draft/2020-12/schema";
            let whole = json!({"$schema": draft, "components": self.document["components"], "allOf": [schema]});
            Arc::new(jsonschema::validator_for(&whole).expect("a schema"))
        };
        Arc::clone(validators.entry(schema.to_string()).or_insert_with(make))
    }
}
