//! Every endpoint with every kind of caller, with fields that not everybody may fill in who may call it, and with ids of others
//! wherever an id may stand.
//!
//! They are driven by the committed document: what an operation needs (`x-keyrack-needs`), and what the fields of a
//! request stand for (`x-keyrack-refers-to`). Written by hand is a valid request for each operation, in
//! `samples`; an operation without one fails by name. So is the list of such fields, in `fields`: no document tells of them.

mod callers;
mod fields;
mod ids;
mod samples;

use std::fmt;

use keyrack_testkit::http::Request;
use serde::Deserialize;
use serde_json::Value;

use crate::support::{document, text};
use samples::Sample;

/// An operation as the document describes it.
struct Operation {
    id: String,
    method: String,
    path: String,
    needs: Needs,
    /// The status of its success.
    success: u16,
    body: Option<Media>,
    /// Where a request may name something of an organization.
    places: Vec<Place>,
}

/// What it needs of its caller.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Needs {
    #[serde(rename = "in_words")]
    _in_words: String,
    keys: Keys,
    scope: Option<String>,
    sessions: Sessions,
    workspace_keys: WorkspaceKeys,
    /// Whether a token may be presented instead of its key.
    tokens: bool,
}

/// Which keys are let in.
#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Keys {
    None,
    Access,
    Any,
}

/// Whose sessions are let in.
#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Sessions {
    None,
    Any,
    Members,
    Owners,
    InstanceAdmins,
}

/// What keys see that are bound to a workspace.
#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum WorkspaceKeys {
    None,
    OwnRows,
    All,
}

impl Needs {
    /// Whether no credential is looked at.
    fn nothing(&self) -> bool {
        self.keys == Keys::None && self.sessions == Sessions::None
    }
}

/// How a body is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Media {
    Json,
    Form,
}

/// A place of a request that stands for something.
#[derive(Clone)]
struct Place {
    at: At,
    /// For what.
    refers_to: String,
}

/// Where in a request.
#[derive(Clone, PartialEq, Eq, Debug)]
enum At {
    Path(String),
    Query(String),
    Header(String),
    /// A JSON pointer; `0` for what stands in a list.
    Body(String),
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(name) => write!(f, "{{{name}}}"),
            Self::Query(name) => write!(f, "?{name}="),
            Self::Header(name) => write!(f, "{name}:"),
            Self::Body(pointer) => f.write_str(pointer),
        }
    }
}

/// A value that a request may hold: where, its schema, and whether the schema has a name.
struct Leaf {
    at: At,
    schema: Value,
    is_named: bool,
}

/// These need a device that makes codes: `accounts` has one.
const ELSEWHERE: [&str; 4] = ["beginSecondFactor", "confirmSecondFactor", "removeSecondFactor", "renewRecoveryCodes"];

/// Every operation of the document.
fn operations() -> Vec<Operation> {
    let document = document();
    let paths = document["paths"].as_object().unwrap().iter();
    let each = paths.flat_map(|(path, item)| item.as_object().unwrap().iter().map(move |(m, op)| (path, m, op)));
    let each = each.filter(|(_, _, operation)| !ELSEWHERE.contains(&operation["operationId"].as_str().unwrap()));
    each.map(|(path, method, operation)| Operation {
        id: text(&operation["operationId"]),
        method: method.to_uppercase(),
        path: path.clone(),
        needs: Needs::deserialize(&operation["x-keyrack-needs"]).unwrap_or_else(|e| panic!("{method} {path}: {e}")),
        success: success(operation),
        body: body(operation).map(|(media, _)| media),
        places: leaves(&document, operation).into_iter().filter_map(Leaf::place).collect(),
    })
    .collect()
}

fn success(operation: &Value) -> u16 {
    let mut statuses = operation["responses"].as_object().unwrap().keys().filter_map(|status| status.parse().ok());
    statuses.find(|status| (200..300).contains(status)).unwrap_or_else(|| panic!("no success: {operation}"))
}

fn body(operation: &Value) -> Option<(Media, &Value)> {
    let content = &operation["requestBody"]["content"];
    let of = |media: &str| content.get(media).map(|it| &it["schema"]);
    let form = || of("application/x-www-form-urlencoded").map(|schema| (Media::Form, schema));
    of("application/json").map(|schema| (Media::Json, schema)).or_else(form)
}

/// Every value that a request of an operation may hold.
fn leaves(document: &Value, operation: &Value) -> Vec<Leaf> {
    let mut found = Vec::new();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let name = text(&parameter["name"]);
        let at = match parameter["in"].as_str().unwrap() {
            "path" => At::Path(name),
            "query" => At::Query(name),
            "header" => At::Header(name),
            other => panic!("a parameter in {other}?"),
        };
        let (schema, is_named) = followed(document, &parameter["schema"]);
        found.push(Leaf { at, schema: schema.clone(), is_named });
    }
    if let Some((_, schema)) = body(operation) {
        descend(document, schema, "", &mut found);
    }
    found
}

fn descend(document: &Value, schema: &Value, pointer: &str, found: &mut Vec<Leaf>) {
    let (schema, is_named) = followed(document, schema);
    if let Some(fields) = schema["properties"].as_object() {
        for (name, field) in fields {
            descend(document, field, &format!("{pointer}/{name}"), found);
        }
    } else if schema["items"].is_object() {
        descend(document, &schema["items"], &format!("{pointer}/0"), found);
    } else if let Some(choices) = schema["oneOf"].as_array() {
        for choice in choices {
            descend(document, choice, pointer, found);
        }
    } else {
        found.push(Leaf { at: At::Body(pointer.to_owned()), schema: schema.clone(), is_named });
    }
}

/// What a schema is, apart from whether it may be null; and whether it is one with a name.
fn followed<'d>(document: &'d Value, schema: &'d Value) -> (&'d Value, bool) {
    if let Some(name) = schema["$ref"].as_str() {
        let named = document.pointer(name.trim_start_matches('#')).unwrap_or_else(|| panic!("{name} is nowhere"));
        return (followed(document, named).0, true);
    }
    let choices = schema["oneOf"].as_array().map_or(&[][..], Vec::as_slice);
    match choices.iter().filter(|choice| choice["type"] != "null").collect::<Vec<_>>()[..] {
        [only] => followed(document, only),
        _ => (schema, false),
    }
}

impl Leaf {
    fn refers_to(&self) -> Option<&str> {
        self.schema["x-keyrack-refers-to"].as_str()
    }

    fn place(self) -> Option<Place> {
        Some(Place { refers_to: self.refers_to()?.to_owned(), at: self.at })
    }
}

impl Operation {
    /// A request like the sample, from nobody.
    fn request(&self, http: &keyrack_testkit::Http, sample: &Sample) -> Request {
        let mut path = self.path.clone();
        for (name, value) in &sample.path {
            path = path.replace(&format!("{{{name}}}"), value);
        }
        let query: Vec<String> = sample.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !query.is_empty() {
            path = format!("{path}?{}", query.join("&"));
        }
        let request = http.request(&self.method, &path);
        let request = sample.headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        match self.body {
            None => request,
            Some(Media::Json) => request.json(&sample.body),
            Some(Media::Form) => {
                let fields = sample.body.as_object().into_iter().flatten();
                let form: Vec<String> = fields.map(|(name, value)| format!("{name}={}", text(value))).collect();
                request.header("content-type", "application/x-www-form-urlencoded").body(form.join("&"))
            }
        }
    }

    /// Whether its path names something.
    fn names_something(&self) -> bool {
        self.places.iter().any(|place| matches!(place.at, At::Path(_)))
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} {})", self.id, self.method, self.path)
    }
}

#[test]
fn what_the_document_says_of_security_is_what_an_operation_needs() {
    let document = document();
    for operation in operations() {
        let method = operation.method.to_lowercase();
        let security = document["paths"][&operation.path][method]["security"].as_array().unwrap();
        let ways = security.iter().flat_map(|way| way.as_object().unwrap());
        let needs = &operation.needs;
        let expected: &[&str] = match needs.keys {
            _ if needs.nothing() => &[],
            Keys::None => &["session"],
            _ if needs.sessions == Sessions::None => &["api_key", "bearer"],
            Keys::Access | Keys::Any => &["api_key", "bearer", "session"],
        };
        assert_eq!(ways.clone().map(|(way, _)| way.as_str()).collect::<Vec<_>>(), expected, "{operation}");
        for (way, scopes) in ways {
            assert_eq!(scopes[0].as_str(), needs.scope.as_deref(), "{operation} {way}");
        }
    }
}

/// What anybody may call; and what any key may, of whatever group.
const OPEN: [&str; 6] = ["live", "ready", "signIn", "acceptInvitation", "getTokenKeys", "giveUpKey"];
const FOR_ANY_KEY: [&str; 5] = ["whoAmI", "verifyKey", "verifyKeys", "introspect", "createToken"];

/// The matrices believe what the table of endpoints says. So what it leaves open is said here a second time.
#[test]
fn no_other_operation_is_open() {
    let (mut open, mut for_any_key): (Vec<_>, Vec<_>) = (OPEN.into(), FOR_ANY_KEY.into());
    for operation in operations() {
        let expected = if operation.needs.nothing() { &mut open } else { &mut for_any_key };
        if operation.needs.nothing() || operation.needs.keys == Keys::Any {
            let at = expected.iter().position(|id| *id == operation.id);
            expected.remove(at.unwrap_or_else(|| panic!("{operation} is open")));
        }
    }
    assert!(open.is_empty() && for_any_key.is_empty(), "{open:?} {for_any_key:?}");
}

/// Texts of requests that stand for nothing of an organization and need no name of their own.
const PLAIN: [(&str, &str); 16] = [
    ("signIn", "/email"),
    ("signIn", "/password"),
    ("verifyKey", "/method"),
    ("verifyKey", "/user_agent"),
    ("verifyKeys", "/keys/0/method"),
    ("verifyKeys", "/keys/0/user_agent"),
    ("signIn", "/code"),
    ("stepUp", "/password"),
    ("stepUp", "/code"),
    ("changePassword", "/current_password"),
    ("changePassword", "/new_password"),
    ("introspect", "/token_type_hint"),
    ("giveUpKey", "/token_type_hint"),
    ("listKeys", "?name="),
    ("listKeys", "?unused_for="),
    ("listAudit", "?kind="),
];

#[test]
fn whatever_names_something_in_a_request_says_what() {
    let document = document();
    let mut plain = Vec::new();
    for operation in operations() {
        for leaf in leaves(&document, &document["paths"][&operation.path][operation.method.to_lowercase()]) {
            if leaf.refers_to().is_some() {
                continue;
            }
            let at = &leaf.at;
            let is_id = matches!(at, At::Path(_) | At::Header(_)) || leaf.schema["format"] == "uuid";
            assert!(
                !is_id,
                "{operation} {at} does not say what it refers to: give it a type of wire/text.rs that does"
            );
            let is_bare = leaf.schema["type"].to_string().contains("string")
                && !leaf.is_named
                && leaf.schema["format"] != "date-time"
                && leaf.schema["enum"].is_null();
            if is_bare {
                let found = PLAIN.iter().find(|(id, place)| *id == operation.id && *place == at.to_string());
                let known = found.unwrap_or_else(|| {
                    panic!("{operation} {at} is any text: give it a type of wire/text.rs, or a line in PLAIN")
                });
                plain.push(known);
            }
        }
    }
    assert_eq!(plain.len(), PLAIN.len(), "some of PLAIN are gone; only these are there: {plain:?}");
}
