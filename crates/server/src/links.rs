//! What of one answer goes into another request: the links of the `OpenAPI` document.

use serde_json::{Value, json};
use utoipa::openapi::link::Link;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{OpenApi, RefOr};

/// From the answer of an operation, by its status, to others: the value goes into their parameter of that name.
const TO_PARAMETERS: [(&str, &str, &str, &str, &[&str]); 11] = [
    ("createKey", "201", "id", "/key/id", &KEY),
    ("rotateKey", "200", "id", "/key/id", &KEY),
    ("importKeys", "201", "id", "/data/0/id", &KEY),
    ("createGroup", "201", "id", "/id", &["getGroup", "updateGroup", "deleteGroup"]),
    ("createWorkspace", "201", "id", "/id", &["getWorkspace", "updateWorkspace", "deleteWorkspace"]),
    ("createRoute", "201", "id", "/id", &["getRoute", "updateRoute", "deleteRoute"]),
    ("createSecret", "201", "id", "/id", &["getSecret", "updateSecret", "deleteSecret"]),
    ("createOrganization", "201", "id", "/id", &["getOrganization", "updateOrganization"]),
    ("acceptInvitation", "201", "user_id", "/user_id", &["updateMember", "removeMember"]),
    ("listNotifications", "200", "id", "/data/0/id", &["readNotification"]),
    ("listKeySecrets", "200", "version", "/data/0/version", &["endOverlap"]),
];
const KEY: [&str; 8] =
    ["getKey", "getKeyUsage", "updateKey", "rotateKey", "revealKey", "revokeKey", "listKeySecrets", "deleteKey"];

/// The same into a field of their body.
const TO_FIELDS: [(&str, &str, &str, &str, &str); 3] = [
    ("createKey", "201", "key", "/secret", "verifyKey"),
    ("createKey", "201", "token", "/secret", "introspect"),
    ("addMember", "201", "token", "/invitation/token", "acceptInvitation"),
];

/// Adds every link.
pub(crate) fn add(document: &mut OpenApi) {
    for (from, status, parameter, value, to) in TO_PARAMETERS {
        for to in to {
            let link = Link::builder().operation_id(*to).parameter(parameter, body(value));
            // The rest of what it needs stands in the request that was answered.
            let link = if *to == "endOverlap" { link.parameter("id", "$request.path.id") } else { link };
            put(document, from, status, to, &link.build());
        }
    }
    for (from, status, field, value, to) in TO_FIELDS {
        let link = Link::builder().operation_id(to).request_body(Some(json!({ field: body(value) })));
        put(document, from, status, to, &link.build());
    }
}

fn body(pointer: &str) -> Value {
    Value::String(format!("$response.body#{pointer}"))
}

fn put(document: &mut OpenApi, from: &str, status: &str, name: &str, link: &Link) {
    let paths = document.paths.paths.values_mut();
    let operations = paths.flat_map(|item| {
        [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch].into_iter().flatten()
    });
    let is_meant = |operation: &&mut Operation| operation.operation_id.as_deref() == Some(from);
    for operation in operations.filter(is_meant) {
        if let Some(RefOr::T(answer)) = operation.responses.responses.get_mut(status) {
            answer.links.insert(name.to_owned(), link.clone().into());
        }
    }
}
