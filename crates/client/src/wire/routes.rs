//! Routes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::text::{
    GroupReference, Host, KeyId, Method, Name, Organizations, PathPattern, Resource, Scope, ServiceUrl,
    WorkspaceReference,
};
use super::{Role, given};

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
    },
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
}

/// What of a route is to change: an absent field is kept, guard and target are replaced whole.
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
}
