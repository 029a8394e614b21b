//! The `OpenAPI` document, and the page that shows it.

use std::fmt::Write as _;

use askama::Template;
use axum::response::{Html, IntoResponse, Response};
use http::HeaderValue;
use http::header::CONTENT_SECURITY_POLICY;
use keyrack_client::wire::{ErrorBody, text};
use serde_json::Value;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{OpenApi, ToSchema};

use crate::error::ApiError;

/// RFC 9457: the error body for who asks for `application/problem+json`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used; the server writes it by hand")]
struct Problem {
    /// Always `about:blank`: the status and the code say what it is.
    r#type: String,
    /// What the status means.
    title: String,
    /// The status.
    status: u16,
    /// What is wrong, for people.
    detail: String,
    /// A stable word for it.
    code: String,
    /// Names this request in the logs.
    instance: Option<String>,
    /// Which fields or things it is about.
    errors: Option<Vec<keyrack_client::wire::ErrorDetail>>,
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Keyrack", description = "API keys for people who run APIs."),
    components(schemas(ErrorBody, Problem)),
    tags(
        (name = "keys", description = "Keys: made, rotated, revoked"),
        (name = "verification", description = "Decisions about keys"),
        (name = "usage", description = "What was counted of requests"),
        (name = "notifications", description = "What owners and admins are told"),
        (name = "tokens", description = "Short-lived tokens that stand for a key"),
        (name = "groups", description = "Groups of keys"),
        (name = "workspaces", description = "Places in an organization"),
        (name = "routes", description = "Guarded doors to other services"),
        (name = "secrets", description = "Named values that callers are given, each its own"),
        (name = "organizations", description = "Tenants"),
        (name = "members", description = "People in an organization"),
        (name = "settings", description = "How an organization works"),
        (name = "audit", description = "What happened"),
        (name = "session", description = "Who am I"),
        (name = "profile", description = "A person's own account"),
        (name = "nodes", description = "Processes that serve together"),
        (name = "health", description = "How the server is"),
    )
)]
struct Skeleton;

/// The document without its paths.
pub(crate) fn skeleton() -> utoipa::openapi::OpenApi {
    let mut document = Skeleton::openapi();
    document.info.license = Some(utoipa::openapi::info::License::new("Apache-2.0 OR MIT"));
    let components = document.components.get_or_insert_default();
    // Those of fields come along with them; those of parameters would be missing.
    components.schemas.extend(text::schemas());
    let header = |name: &str| SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new(name)));
    components.add_security_scheme("api_key", header("X-API-Key"));
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    let cookie = SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new(crate::cookie::SESSION)));
    components.add_security_scheme("session", cookie);
    document
}

/// Says of every variant of a type that it has no other fields, as is true of every body: the derive leaves that out.
pub(crate) fn close_variants(document: &mut utoipa::openapi::OpenApi) {
    use utoipa::openapi::schema::{AdditionalProperties, Schema};
    let schemas = document.components.iter_mut().flat_map(|components| components.schemas.values_mut());
    for schema in schemas {
        let utoipa::openapi::RefOr::T(Schema::OneOf(choice)) = schema else { continue };
        for variant in &mut choice.items {
            if let utoipa::openapi::RefOr::T(Schema::Object(object)) = variant {
                object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
            }
        }
    }
}

/// The whole document as pretty JSON with a newline at its end: what is committed.
pub(crate) fn text(document: &utoipa::openapi::OpenApi) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(document).map(|text| text + "\n")
}

#[derive(Template)]
#[template(path = "docs.html")]
struct DocsPage {
    version: String,
    sections: Vec<Section>,
    texts: Vec<Row>,
}

struct Section {
    name: String,
    description: String,
    operations: Vec<Operation>,
}

struct Operation {
    id: String,
    method: String,
    path: String,
    summary: String,
    description: Prose,
    needs: String,
    parameters: Vec<Row>,
    fields: Vec<Row>,
    answers: Vec<Row>,
}

struct Row {
    name: String,
    kind: String,
    meaning: Prose,
    is_required: bool,
}

/// Text in which every other part, beginning with the second, stood between backticks.
struct Prose(Vec<String>);

impl Prose {
    fn read(value: &Value) -> Self {
        Self(value.as_str().unwrap_or_default().split('`').map(str::to_owned).collect())
    }
}

/// `GET /docs`: the document as a page, without script.
pub(crate) fn page(document: &Value) -> Response {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let sections = document["tags"].as_array().into_iter().flatten().map(|tag| Section {
        name: text(&tag["name"]),
        description: text(&tag["description"]),
        operations: operations(document, &tag["name"]),
    });
    let page =
        DocsPage { version: text(&document["info"]["version"]), sections: sections.collect(), texts: texts(document) };
    match page.render() {
        Ok(html) => {
            let mut response = Html(html).into_response();
            let policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";
            response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
            response
        }
        Err(error) => {
            tracing::error!(%error, "the page of the API could not be written");
            ApiError::internal().into_response()
        }
    }
}

fn operations(document: &Value, tag: &Value) -> Vec<Operation> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let paths = document["paths"].as_object().into_iter().flatten();
    let each = paths.flat_map(|(path, item)| item.as_object().into_iter().flatten().map(move |(m, op)| (path, m, op)));
    let tagged = each.filter(|(_, _, op)| op["tags"].as_array().is_some_and(|tags| tags.contains(tag)));
    let described = tagged.map(|(path, method, op)| Operation {
        id: text(&op["operationId"]),
        method: method.to_uppercase(),
        path: path.clone(),
        summary: text(&op["summary"]),
        description: Prose::read(&op["description"]),
        needs: text(&op["x-keyrack-needs"]["in_words"]),
        parameters: parameters(op),
        fields: fields(document, op),
        answers: answers(op),
    });
    described.collect()
}

fn parameters(operation: &Value) -> Vec<Row> {
    let each = operation["parameters"].as_array().into_iter().flatten();
    let rows = each.map(|p| Row {
        name: p["name"].as_str().unwrap_or_default().to_owned(),
        kind: format!("{} ({})", kind(&p["schema"]), p["in"].as_str().unwrap_or_default()),
        meaning: Prose::read(&p["description"]),
        is_required: p["required"].as_bool().unwrap_or(false),
    });
    rows.collect()
}

fn fields(document: &Value, operation: &Value) -> Vec<Row> {
    let content = operation["requestBody"]["content"].as_object();
    let schema = content.and_then(|content| content.values().next()).map(|media| &media["schema"]);
    let Some(schema) = schema.map(|schema| resolve(document, schema)) else { return Vec::new() };
    let required = schema["required"].as_array();
    let rows = schema["properties"].as_object().into_iter().flatten().map(|(name, property)| Row {
        name: name.clone(),
        kind: kind(property),
        meaning: meaning(property),
        is_required: required.is_some_and(|names| names.iter().any(|n| n == name)),
    });
    rows.collect()
}

fn answers(operation: &Value) -> Vec<Row> {
    let each = operation["responses"].as_object().into_iter().flatten();
    let rows = each.map(|(status, answer)| Row {
        name: status.clone(),
        kind: answer["content"]["application/json"]["schema"]
            .as_object()
            .map(|_| ())
            .map_or(String::new(), |()| kind(&answer["content"]["application/json"]["schema"])),
        meaning: Prose::read(&answer["description"]),
        is_required: false,
    });
    rows.collect()
}

/// What a field means. Beside the choice of nothing it stands at the other choice.
fn meaning(property: &Value) -> Prose {
    let choices = property["oneOf"].as_array().into_iter().flatten().map(|choice| &choice["description"]);
    let said = std::iter::once(&property["description"]).chain(choices).find(|text| text.is_string());
    Prose::read(said.unwrap_or(&Value::Null))
}

/// The texts that fields and parameters are of, each with what it may hold.
fn texts(document: &Value) -> Vec<Row> {
    let schemas = document["components"]["schemas"].as_object().into_iter().flatten();
    let texts = schemas.filter(|(_, schema)| matches!(schema["type"].as_str(), Some("string" | "integer")));
    let rows = texts.map(|(name, schema)| Row {
        name: name.clone(),
        kind: held(schema),
        meaning: Prose::read(&schema["description"]),
        is_required: false,
    });
    rows.collect()
}

fn held(schema: &Value) -> String {
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
    }
    match (schema["minLength"].as_i64(), schema["maxLength"].as_i64()) {
        (Some(least), Some(most)) => format!("{least} to {most} characters"),
        (None, Some(most)) => format!("up to {most} characters"),
        (Some(least), None) => format!("{least} characters or more"),
        (None, None) => String::new(),
    }
}

fn resolve<'d>(document: &'d Value, schema: &'d Value) -> &'d Value {
    let mut choices = schema["oneOf"].as_array().into_iter().flatten();
    let schema = choices.find(|choice| choice["$ref"].is_string()).unwrap_or(schema);
    match schema["$ref"].as_str().and_then(|r| r.strip_prefix('#')) {
        Some(pointer) => document.pointer(pointer).unwrap_or(schema),
        None => schema,
    }
}

/// A schema in a few words.
fn kind(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return name.strip_prefix("Page_").map_or_else(|| name.to_owned(), |of| format!("page of {of}"));
    }
    if let Some(options) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
        let named: Vec<String> = options.iter().map(kind).filter(|k| k != "null").collect();
        return named.join(" or ");
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).filter(|t| *t != "null").collect(),
        _ => Vec::new(),
    };
    let mut text = types.join(" or ");
    if let Some(format) = schema["format"].as_str() {
        let _ = write!(text, " ({format})");
    }
    if text == "array" {
        text = format!("list of {}", kind(&schema["items"]));
    }
    text
}
