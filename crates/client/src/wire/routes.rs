//! Routes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema as _, ToSchema};
use uuid::Uuid;

use super::text::{
    GroupReference, HeaderName, HeaderValue, Host, KeyId, Method, Name, Organizations, Origin, PathPattern, PathPrefix,
    Resource, Scope, ScriptSource, SecretName, ServiceUrl, WorkspaceReference,
};
use super::{Role, given, present};

/// A door: host, path and methods, what it asks of callers, and what is behind it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Route {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// The host it answers on; null for the organization's own place.
    #[schema(required)]
    pub host: Option<String>,
    /// Its path, with `:name` for a segment and a final `*rest`.
    pub path: String,
    /// The methods it takes.
    pub methods: Vec<String>,
    /// Whether it is open.
    pub enabled: bool,
    /// What it asks.
    pub guard: Guard,
    /// What is behind it.
    pub target: Target,
    /// Which web pages of other origins may call it; null for none.
    #[schema(required)]
    pub cors: Option<Cors>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// What a door asks: `public` alone, or everything else that is given.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Guard {
    /// Anonymous callers pass; a key that is sent must still be good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<bool>,
    /// Whose keys are taken: `own` (if missing), or `any` for those of every organization (instance admins only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Organizations>)]
    pub organizations: Option<String>,
    /// Keys of these groups, by name or id, are let in...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<GroupReference>>)]
    pub groups: Option<Vec<String>>,
    /// ...or these keys, by id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<KeyId>>)]
    pub keys: Option<Vec<String>>,
    /// The scope that is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Scope>)]
    pub scope: Option<String>,
    /// Or the resource: read for GET, HEAD and OPTIONS, write for the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Resource>)]
    pub resource: Option<String>,
    /// Roles that are let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<Role>>,
    /// The workspace of the door, by slug or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<WorkspaceReference>)]
    pub workspace: Option<String>,
    /// Signed-in people are let in too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<bool>,
    /// A key may stand in the query (`?api_key=`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_key: Option<bool>,
}

/// What is behind a door.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Target {
    /// Another HTTP service.
    Upstream {
        /// Its address; the path of a request is appended.
        #[schema(value_type = ServiceUrl, examples("http://127.0.0.1:9000"))]
        url: String,
        /// What is cut off the beginning of a request's path before that: the beginning of the route's path, up to a `/`. With a path
        /// in the address, one beginning takes the place of another.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<PathPrefix>, examples("/v1"))]
        strip_prefix: Option<String>,
        /// Headers that it is sent, whatever the caller sent under their names. Everybody who may see the route sees them: no place
        /// for secrets.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        #[schema(schema_with = headers)]
        headers: BTreeMap<String, String>,
        /// Headers that it is sent with the secrets of these names: those of the caller's key, of its group, of the route or of the
        /// organization, whichever says most of the caller. Who has none is not let through. Needs `keyrack.secrets:read`.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        #[schema(schema_with = secret_headers)]
        secret_headers: BTreeMap<String, String>,
        /// The largest body of a request, in bytes; any if missing. More is 413.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_body_bytes: Option<u64>,
        /// How long it may take to begin its answer once it has the request; 60 if missing. Then the caller gets 504.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(minimum = 1, maximum = 86400)]
        timeout_seconds: Option<u32>,
        /// How long it may be silent in the middle of its answer, or both sides of a WebSocket; 300 if missing. Then the connection
        /// ends.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(minimum = 1, maximum = 86400)]
        idle_timeout_seconds: Option<u32>,
        /// It is spoken to in HTTP/2 without asking first, also without TLS. With TLS that is agreed on in any case.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        http2: bool,
    },
    /// A small function in JavaScript. Saving one needs `keyrack.secrets:read`: it may ask for its callers' secrets.
    Script {
        /// An ES module: `export default async function (request, ctx) { return new Response("hello"); }`.
        #[schema(value_type = ScriptSource, examples("export default () => new Response(\"hello\");"))]
        source: String,
    },
}

/// What the script of a route says, or said before.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ScriptVersion {
    /// From 1.
    pub version: i64,
    /// How long it is.
    pub bytes: u64,
    /// Since when.
    pub created_at: Timestamp,
    /// The module; left out in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub source: Option<String>,
}

impl Target {
    /// A service at an address, and nothing said beside.
    pub fn upstream(url: impl Into<String>) -> Self {
        Self::Upstream {
            url: url.into(),
            strip_prefix: None,
            headers: BTreeMap::new(),
            secret_headers: BTreeMap::new(),
            max_body_bytes: None,
            timeout_seconds: None,
            idle_timeout_seconds: None,
            http2: false,
        }
    }
}

fn headers() -> RefOr<Schema> {
    let headers = ObjectBuilder::new().schema_type(Type::Object);
    let headers = headers.property_names(Some(HeaderName::schema())).additional_properties(Some(HeaderValue::schema()));
    let description = "Headers that it is sent, whatever the caller sent under their names. Everybody who may see the route \
        sees them: no place for secrets.";
    headers.max_properties(Some(32)).description(Some(description)).into()
}

fn secret_headers() -> RefOr<Schema> {
    let headers = ObjectBuilder::new().schema_type(Type::Object);
    let headers = headers.property_names(Some(HeaderName::schema())).additional_properties(Some(SecretName::schema()));
    let description = "Headers that it is sent with the secrets of these names: those of the caller's key, of its group, of the \
        route or of the organization, whichever says most of the caller. Who has none is not let through. Needs \
        `keyrack.secrets:read`.";
    headers.max_properties(Some(32)).description(Some(description)).into()
}

/// Which web pages of other origins may call a door (CORS). Their preflights are answered without a key.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Cors {
    /// Where the pages come from, such as `https://app.example.com`; `*` alone for anywhere.
    #[schema(value_type = Vec<Origin>, min_items = 1, max_items = 64)]
    pub origins: Vec<String>,
    /// Which headers they may send; any if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<HeaderName>>, max_items = 64)]
    pub headers: Option<Vec<String>>,
    /// Which headers of the service's answers they may read, beside those that Keyrack writes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<HeaderName>, max_items = 64, required = false)]
    pub expose: Vec<String>,
    /// How long a browser may remember that, in seconds; 600 if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 86400)]
    pub max_age_seconds: Option<u32>,
    /// Cookies of the service go along. Not with `*`, and not where sessions are let in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub credentials: bool,
}

/// What a route is to be.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRoute {
    /// Its name; the path if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Name>)]
    pub name: Option<String>,
    /// The host it answers on; instance admins only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Host>)]
    pub host: Option<String>,
    /// Its path.
    #[schema(value_type = PathPattern)]
    pub path: String,
    /// The methods it takes; GET HEAD POST PUT PATCH DELETE if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Method>>, min_items = 1)]
    pub methods: Option<Vec<String>>,
    /// `true` if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// What it asks.
    pub guard: Guard,
    /// What is behind it.
    pub target: Target,
    /// Which web pages of other origins may call it; none if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
}

/// What of a route is to change: an absent field is kept, guard, target and cors are replaced whole.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateRoute {
    /// A new name.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Name>)]
    pub name: Option<String>,
    /// A new path.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<PathPattern>)]
    pub path: Option<String>,
    /// New methods.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Vec<Method>>, min_items = 1)]
    pub methods: Option<Vec<String>>,
    /// Open or close it.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub enabled: Option<bool>,
    /// A new guard.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub guard: Option<Guard>,
    /// A new target.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub target: Option<Target>,
    /// Which web pages of other origins may call it; null for none.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Cors>)]
    pub cors: Option<Option<Cors>>,
}
