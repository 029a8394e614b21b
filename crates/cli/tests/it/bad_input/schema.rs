//! The request bodies of the `OpenAPI` document, and how each of them can be wrong.

use serde_json::{Map, Value, json};

use crate::support::document;

/// An operation that takes a JSON body.
pub(crate) struct Operation {
    /// Its id.
    pub(crate) id: String,
    /// Its method.
    pub(crate) method: String,
    /// Its path, with `{name}` for parameters.
    pub(crate) path: String,
    /// Whether it may be called without a body.
    pub(crate) is_optional: bool,
    /// The body's schema.
    pub(crate) schema: Value,
}

/// Every operation that takes a JSON body.
pub(crate) fn operations() -> Vec<Operation> {
    let document = document();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            if !schema.is_null() {
                let id = operation["operationId"].as_str().unwrap().to_owned();
                found.push(Operation {
                    is_optional: ["rotateKey", "revokeKey", "createToken"].contains(&&*id),
                    id,
                    method: method.to_uppercase(),
                    path: path.clone(),
                    schema: resolved(&document, schema),
                });
            }
        }
    }
    found
}

/// A schema with what it refers to in its place.
fn resolved(document: &Value, schema: &Value) -> Value {
    match schema {
        Value::Object(members) => match members.get("$ref").and_then(Value::as_str) {
            Some(reference) => resolved(document, document.pointer(reference.trim_start_matches('#')).unwrap()),
            None => members.iter().map(|(name, member)| (name.clone(), resolved(document, member))).collect(),
        },
        Value::Array(list) => list.iter().map(|member| resolved(document, member)).collect(),
        other => other.clone(),
    }
}

/// What a schema says apart from whether null is allowed.
fn given(schema: &Value) -> (Value, bool) {
    let is_null = |schema: &Value| schema["type"] == "null";
    if let Some(options) = schema["oneOf"].as_array().filter(|options| options.iter().any(is_null)) {
        return (options.iter().find(|option| !is_null(option)).unwrap().clone(), true);
    }
    match schema["type"].as_array() {
        Some(types) => {
            let mut plain = schema.clone();
            plain["type"] = types.iter().find(|name| *name != "null").unwrap().clone();
            (plain, types.contains(&json!("null")))
        }
        None => (schema.clone(), false),
    }
}

/// Whether null is allowed.
pub(crate) fn is_nullable(schema: &Value) -> bool {
    given(schema).1
}

/// Something that a schema allows, without what may be left out.
pub(crate) fn sample(schema: &Value) -> Value {
    let (schema, _) = given(schema);
    if let Some(first) = schema["enum"].get(0).or(schema["const"].as_str().map(|_| &schema["const"])) {
        return first.clone();
    }
    if let Some(first) = schema["oneOf"].get(0) {
        return sample(first);
    }
    match (schema["type"].as_str().unwrap_or_default(), schema["format"].as_str()) {
        ("string", Some("date-time")) => json!("2100-01-01T00:00:00Z"),
        ("string", _) => json!("x"),
        ("boolean", _) => json!(true),
        ("integer", _) => json!(1),
        ("array", _) => json!([sample(&schema["items"])]),
        ("object", _) => {
            let required = schema["required"].as_array().into_iter().flatten();
            let each = required.map(|name| name.as_str().unwrap());
            Value::Object(each.map(|name| (name.to_owned(), sample(&schema["properties"][name]))).collect())
        }
        other => panic!("what is {other:?}? {schema}"),
    }
}

/// A wrong body, and the field that the answer names.
pub(crate) type Wrong = (Value, String);

/// What a schema does not allow, each with the path of the field that is wrong.
pub(crate) fn wrong(schema: &Value, path: &str) -> Vec<Wrong> {
    let (schema, is_nullable) = given(schema);
    let mut found: Vec<Wrong> = Vec::new();
    let mut here = |values: &[Value]| found.extend(values.iter().map(|value| (value.clone(), path.to_owned())));
    if !is_nullable {
        here(&[Value::Null]);
    }
    if schema["oneOf"].is_array() {
        // One of several objects, told apart by `kind`: of what else is wrong with it, the whole is named.
        let mut unknown = sample(&schema);
        unknown["zebra"] = json!(1);
        here(&[json!([]), json!(["upstream", "http://localhost"]), json!("upstream"), json!(1), json!({})]);
        here(&[
            unknown,
            json!({"kind": "upstream", "url": 1}),
            json!({"kind": "upstream"}),
            json!({"url": "http://x"}),
        ]);
        found.push((json!({"kind": "nothing", "url": "http://x"}), format!("{path}.kind")));
        found.push((json!({"kind": 1}), format!("{path}.kind")));
        return found;
    }
    match (schema["type"].as_str().unwrap_or_default(), schema["format"].as_str()) {
        ("string", format) => {
            here(&[json!(1), json!(1.5), json!(true), json!({}), json!([]), json!(["x"])]);
            if schema["enum"].is_array() {
                here(&[json!(""), json!("zebra"), json!("LIVE"), json!("owner "), json!("\0")]);
            }
            if format == Some("date-time") {
                here(&[json!(""), json!("soon"), json!("2100-01-01"), json!("2100-02-30T00:00:00Z")]);
            }
        }
        ("boolean", _) => here(&[json!("true"), json!(0), json!(1), json!({}), json!([])]),
        ("integer", _) => {
            here(&[json!("1"), json!(1.5), json!(1e30), json!(u64::MAX), json!(true), json!({}), json!([])]);
        }
        ("array", _) => {
            here(&[json!("x"), json!(1), json!(true), json!({}), json!({"0": "x"})]);
            let good = sample(&schema["items"]);
            for (value, at) in wrong(&schema["items"], &format!("{path}[0]")) {
                found.push((json!([value]), at));
            }
            for (value, at) in wrong(&schema["items"], &format!("{path}[1]")) {
                found.push((json!([good, value]), at));
            }
        }
        ("object", _) => {
            let name = if path.is_empty() { "body" } else { path };
            for value in [json!("x"), json!(1), json!(true), json!([])] {
                found.push((value, name.to_owned()));
            }
            if path.is_empty() {
                found[0] = (Value::Null, name.to_owned());
            }
            found.extend(
                schema["properties"].as_object().map_or_else(Vec::new, |fields| of_fields(&schema, fields, path)),
            );
        }
        other => panic!("what is {other:?}? {schema}"),
    }
    found
}

/// What is wrong with the fields of an object: one of them, one too many, or one too few.
fn of_fields(schema: &Value, fields: &Map<String, Value>, path: &str) -> Vec<Wrong> {
    let whole = if path.is_empty() { "body" } else { path };
    let at = |name: &str| match (path, name) {
        (_, "") => whole.to_owned(),
        ("", name) => name.to_owned(),
        _ => format!("{path}.{name}"),
    };
    let mut found = Vec::new();
    for (name, field) in fields {
        for (value, place) in wrong(field, &at(name)) {
            let mut body = sample(schema);
            body[name] = value;
            found.push((body, place));
        }
    }
    for unknown in ["zebra", "", "Name", "name ", "$ref", "__proto__", "id", "created_at", "organization_id"] {
        let mut body = sample(schema);
        body[unknown] = json!(null);
        found.push((body, at(unknown)));
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        let mut body = sample(schema);
        body.as_object_mut().unwrap().remove(name.as_str().unwrap());
        found.push((body, whole.to_owned()));
    }
    found
}
