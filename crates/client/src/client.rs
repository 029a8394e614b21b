//! A typed client: one function for each call of the API.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::transport::{Transport, TransportError};
use crate::wire::{
    AddMember, AddedMember, ApiKey, AuditEvent, CreateGroup, CreateKey, CreateOrganization, CreateRoute, CreateSecret,
    CreateToken, CreateWorkspace, CreatedKey, CreatedToken, ErrorBody, Group, ImportKeys, ImportedKeys, KeySecret,
    KeyStatus, Member, Node, Notifications, Organization, Page, Quota, RevokeKey, RevokedKey, RotateKey, RotatedKey,
    Route, RouteLog, RouteMetrics, ScriptVersion, Secret, SecretScope, Settings, Tiers, TokenKeys, UpdateGroup,
    UpdateKey, UpdateMember, UpdateOrganization, UpdateRoute, UpdateSecret, UpdateSettings, UpdateTiers, Usage,
    UsageBy, Verified, VerifyKey, WhoAmI, Workspace,
};

/// Why a call gave no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No answer came.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The server refused.
    #[error("{}", describe(.body))]
    Refused {
        /// With this status.
        status: StatusCode,
        /// And these words.
        body: ErrorBody,
    },
    /// The answer cannot be read.
    #[error("the server's answer (status {status}) cannot be read")]
    Unreadable {
        /// Its status.
        status: StatusCode,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The key holds something no header can.
    #[error("the key holds characters that no key has")]
    Credential,
}

fn describe(body: &ErrorBody) -> String {
    // What is wrong with a field stands in the message already.
    let things: Vec<&str> = body.details.iter().filter(|d| d.field.is_none()).map(|d| &*d.message).collect();
    if things.is_empty() { body.message.clone() } else { format!("{}: {}", body.message, things.join("; ")) }
}

/// The result of a call.
pub type Answer<T> = Result<T, ClientError>;

/// A client of one server.
pub struct Client<T> {
    transport: T,
    authorization: Option<HeaderValue>,
    organization: Option<String>,
}

/// A list's address: a path and the parameters that are given.
struct Query(String);

impl Query {
    fn new(path: &str) -> Self {
        Self(path.to_owned())
    }

    fn with(mut self, name: &str, value: Option<impl ToString>) -> Self {
        if let Some(value) = value {
            self.0.push(if self.0.contains('?') { '&' } else { '?' });
            self.0.push_str(name);
            self.0.push('=');
            for byte in value.to_string().bytes() {
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    self.0.push(char::from(byte));
                } else {
                    const HEX: &[u8; 16] = b"0123456789ABCDEF";
                    let [high, low] = [byte >> 4, byte & 15].map(|digit| char::from(HEX[usize::from(digit)]));
                    self.0.extend(['%', high, low]);
                }
            }
        }
        self
    }
}

/// Which keys to list; see the parameters of `GET /api/keys`.
#[derive(Clone, Debug, Default)]
pub struct ListKeys {
    /// The name or id of a group.
    pub group: Option<String>,
    /// The slug or id of a workspace.
    pub workspace: Option<String>,
    /// A state.
    pub status: Option<KeyStatus>,
    /// A part of the name.
    pub name: Option<String>,
    /// Such as `30d`.
    pub unused_for: Option<String>,
    /// `created_at` or `last_used_at`.
    pub sort: Option<String>,
    /// How many.
    pub limit: Option<u32>,
    /// Where to start.
    pub cursor: Option<String>,
}

/// Which secrets to list; see the parameters of `GET /api/secrets`.
#[derive(Clone, Debug, Default)]
pub struct ListSecrets {
    /// Of this name.
    pub name: Option<String>,
    /// Of this kind.
    pub scope: Option<SecretScope>,
    /// Of this route, group or key.
    pub owner: Option<String>,
    /// With their values.
    pub values: bool,
    /// Where to start.
    pub cursor: Option<String>,
}

/// What usage to show; see the parameters of `GET /api/usage`.
#[derive(Clone, Debug, Default)]
pub struct UsageOf {
    /// Of a key, and nothing else.
    pub key: Option<Uuid>,
    /// Of a group: its name or id.
    pub group: Option<String>,
    /// Of a workspace: its slug or id.
    pub workspace: Option<String>,
    /// Of the instance.
    pub instance: bool,
    /// By which times.
    pub by: Option<UsageBy>,
    /// Since when.
    pub from: Option<Timestamp>,
    /// Up to when.
    pub until: Option<Timestamp>,
}

impl UsageOf {
    fn query(&self) -> Query {
        let path = self.key.map_or_else(|| "/api/usage".to_owned(), |key| format!("/api/keys/{key}/usage"));
        Query::new(&path)
            .with("group", self.group.as_deref())
            .with("workspace", self.workspace.as_deref())
            .with("instance", self.instance.then_some(true))
            .with("by", self.by)
            .with("from", self.from)
            .with("until", self.until)
    }
}

impl<T: Transport> Client<T> {
    /// A client that sends this key, if one is given, with every call.
    pub fn new(transport: T, key: Option<&str>) -> Answer<Self> {
        let authorization = key.map(|key| HeaderValue::try_from(format!("Bearer {key}"))).transpose();
        let mut authorization = authorization.map_err(|_| ClientError::Credential)?;
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        Ok(Self { transport, authorization, organization: None })
    }

    /// Names the organization that calls are about (its id), for callers that belong to several.
    #[must_use]
    pub fn in_organization(self, organization: impl Into<String>) -> Self {
        Self { organization: Some(organization.into()), ..self }
    }

    async fn call<R: DeserializeOwned>(&self, method: Method, path: &str, body: Option<&impl Serialize>) -> Answer<R> {
        let bytes = self.exchange(method, path, body).await?;
        let (status, body) = bytes;
        serde_json::from_slice(&body).map_err(|source| ClientError::Unreadable { status, source })
    }

    async fn exchange(&self, method: Method, path: &str, body: Option<&impl Serialize>) -> Answer<(StatusCode, Bytes)> {
        let unreadable = |source| ClientError::Unreadable { status: StatusCode::OK, source };
        let bytes = body.map(serde_json::to_vec).transpose().map_err(unreadable)?.unwrap_or_default();
        let mut request = Request::new(Bytes::from(bytes));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(|_| TransportError::Address(path.to_owned()))?;
        let headers = request.headers_mut();
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        if let Some(organization) = self.organization.as_deref().and_then(|o| HeaderValue::from_str(o).ok()) {
            headers.insert("keyrack-organization", organization);
        }
        let response = self.transport.send(request).await?;
        let (status, bytes) = (response.status(), response.into_body());
        if status.is_success() {
            return Ok((status, bytes));
        }
        match serde_json::from_slice(&bytes) {
            Ok(body) => Err(ClientError::Refused { status, body }),
            Err(source) => Err(ClientError::Unreadable { status, source }),
        }
    }

    async fn get<R: DeserializeOwned>(&self, path: &str) -> Answer<R> {
        self.call(Method::GET, path, None::<&()>).await
    }

    async fn post<R: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Answer<R> {
        self.call(Method::POST, path, Some(body)).await
    }

    async fn patch<R: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Answer<R> {
        self.call(Method::PATCH, path, Some(body)).await
    }

    async fn delete(&self, path: &str) -> Answer<()> {
        self.exchange(Method::DELETE, path, None::<&()>).await.map(|_| ())
    }

    /// Who am I.
    pub async fn session(&self) -> Answer<WhoAmI> {
        self.get("/api/session").await
    }

    /// Makes a key.
    pub async fn create_key(&self, key: &CreateKey) -> Answer<CreatedKey> {
        self.post("/api/keys", key).await
    }

    /// Imports keys: all or none.
    pub async fn import_keys(&self, keys: &ImportKeys) -> Answer<ImportedKeys> {
        self.post("/api/keys/import", keys).await
    }

    /// Lists keys.
    pub async fn list_keys(&self, q: &ListKeys) -> Answer<Page<ApiKey>> {
        let query = Query::new("/api/keys")
            .with("group", q.group.as_ref())
            .with("workspace", q.workspace.as_ref())
            .with("status", q.status)
            .with("name", q.name.as_ref())
            .with("unused_for", q.unused_for.as_ref())
            .with("sort", q.sort.as_ref())
            .with("limit", q.limit)
            .with("cursor", q.cursor.as_ref());
        self.get(&query.0).await
    }

    /// A key.
    pub async fn get_key(&self, id: Uuid) -> Answer<ApiKey> {
        self.get(&format!("/api/keys/{id}")).await
    }

    /// Changes a key.
    pub async fn update_key(&self, id: Uuid, patch: &UpdateKey) -> Answer<ApiKey> {
        self.patch(&format!("/api/keys/{id}"), patch).await
    }

    /// Rotates a key.
    pub async fn rotate_key(&self, id: Uuid, how: &RotateKey) -> Answer<RotatedKey> {
        self.post(&format!("/api/keys/{id}/rotate"), how).await
    }

    /// Revokes a key; when this returns, it lets nobody in.
    pub async fn revoke_key(&self, id: Uuid, why: &RevokeKey) -> Answer<RevokedKey> {
        self.post(&format!("/api/keys/{id}/revoke"), why).await
    }

    /// Deletes a key.
    pub async fn delete_key(&self, id: Uuid) -> Answer<()> {
        self.delete(&format!("/api/keys/{id}")).await
    }

    /// The secrets of a key.
    pub async fn list_key_secrets(&self, id: Uuid) -> Answer<Page<KeySecret>> {
        self.get(&format!("/api/keys/{id}/secrets")).await
    }

    /// Ends an overlap early.
    pub async fn end_overlap(&self, id: Uuid, version: i64) -> Answer<()> {
        self.delete(&format!("/api/keys/{id}/secrets/{version}")).await
    }

    /// Asks about a key.
    pub async fn verify_key(&self, question: &VerifyKey) -> Answer<Verified> {
        self.post("/api/verify", question).await
    }

    /// Lists the processes that serve.
    pub async fn list_nodes(&self) -> Answer<Page<Node>> {
        self.get("/api/nodes").await
    }

    /// Lists organizations.
    pub async fn list_organizations(&self, cursor: Option<&str>) -> Answer<Page<Organization>> {
        self.get(&Query::new("/api/organizations").with("limit", Some(100)).with("cursor", cursor).0).await
    }

    /// Makes an organization.
    pub async fn create_organization(&self, new: &CreateOrganization) -> Answer<Organization> {
        self.post("/api/organizations", new).await
    }

    /// Shows what an organization has used of its quota this month.
    pub async fn quota(&self, id: Uuid) -> Answer<Quota> {
        self.get(&format!("/api/organizations/{id}/quota")).await
    }

    /// Exchanges the key that calls for a token.
    pub async fn create_token(&self, new: &CreateToken) -> Answer<CreatedToken> {
        self.post("/api/tokens", new).await
    }

    /// Shows the keys that tokens are checked with.
    pub async fn token_keys(&self) -> Answer<TokenKeys> {
        self.get("/.well-known/keyrack/keys").await
    }

    /// Makes a new key that signs tokens.
    pub async fn create_signing_key(&self) -> Answer<TokenKeys> {
        self.post("/api/tokens/signing-keys", &serde_json::json!({})).await
    }

    /// Shows the tiers.
    pub async fn tiers(&self) -> Answer<Tiers> {
        self.get("/api/tiers").await
    }

    /// Changes tiers.
    pub async fn update_tiers(&self, patch: &UpdateTiers) -> Answer<Tiers> {
        self.patch("/api/tiers", patch).await
    }

    /// Changes an organization.
    pub async fn update_organization(&self, id: Uuid, patch: &UpdateOrganization) -> Answer<Organization> {
        self.patch(&format!("/api/organizations/{id}"), patch).await
    }

    /// Lists workspaces.
    pub async fn list_workspaces(&self) -> Answer<Page<Workspace>> {
        self.get("/api/workspaces").await
    }

    /// Makes a workspace.
    pub async fn create_workspace(&self, new: &CreateWorkspace) -> Answer<Workspace> {
        self.post("/api/workspaces", new).await
    }

    /// Deletes a workspace.
    pub async fn delete_workspace(&self, id: Uuid, revoke_keys: bool) -> Answer<()> {
        self.delete(&Query::new(&format!("/api/workspaces/{id}")).with("revoke_keys", Some(revoke_keys)).0).await
    }

    /// Lists groups.
    pub async fn list_groups(&self) -> Answer<Page<Group>> {
        self.get("/api/groups").await
    }

    /// Makes a group.
    pub async fn create_group(&self, new: &CreateGroup) -> Answer<Group> {
        self.post("/api/groups", new).await
    }

    /// Changes a group.
    pub async fn update_group(&self, id: Uuid, patch: &UpdateGroup) -> Answer<Group> {
        self.patch(&format!("/api/groups/{id}"), patch).await
    }

    /// Deletes a group.
    pub async fn delete_group(&self, id: Uuid, revoke_keys: bool) -> Answer<()> {
        self.delete(&Query::new(&format!("/api/groups/{id}")).with("revoke_keys", Some(revoke_keys)).0).await
    }

    /// Lists members.
    pub async fn list_members(&self, cursor: Option<&str>) -> Answer<Page<Member>> {
        self.get(&Query::new("/api/members").with("limit", Some(100)).with("cursor", cursor).0).await
    }

    /// Makes a person a member, or invites them.
    pub async fn add_member(&self, new: &AddMember) -> Answer<AddedMember> {
        self.post("/api/members", new).await
    }

    /// Changes a member's role.
    pub async fn update_member(&self, user: Uuid, patch: &UpdateMember) -> Answer<Member> {
        self.patch(&format!("/api/members/{user}"), patch).await
    }

    /// Removes a member.
    pub async fn remove_member(&self, user: Uuid) -> Answer<()> {
        self.delete(&format!("/api/members/{user}")).await
    }

    /// What owners and admins are told, newest first.
    pub async fn list_notifications(&self, limit: u32) -> Answer<Notifications> {
        self.get(&Query::new("/api/notifications").with("limit", Some(limit)).0).await
    }

    /// What was counted of requests.
    pub async fn usage(&self, of: &UsageOf) -> Answer<Usage> {
        self.get(&of.query().0).await
    }

    /// The same as a table of comma-separated values.
    pub async fn usage_table(&self, of: &UsageOf) -> Answer<String> {
        let path = of.query().with("format", Some("csv")).0;
        let (_, body) = self.exchange(Method::GET, &path, None::<&()>).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Lists routes.
    pub async fn list_routes(&self) -> Answer<Page<Route>> {
        self.get("/api/routes").await
    }

    /// Makes a route.
    pub async fn create_route(&self, new: &CreateRoute) -> Answer<Route> {
        self.post("/api/routes", new).await
    }

    /// Changes a route.
    pub async fn update_route(&self, id: Uuid, patch: &UpdateRoute) -> Answer<Route> {
        self.patch(&format!("/api/routes/{id}"), patch).await
    }

    /// The versions of a route's script, the newest first.
    pub async fn list_script_versions(&self, id: Uuid) -> Answer<Page<ScriptVersion>> {
        self.get(&format!("/api/routes/{id}/versions")).await
    }

    /// The log of a route, the newest first; or what came after one of its lines, the oldest first.
    pub async fn route_log(&self, id: Uuid, after: Option<Uuid>, limit: u32) -> Answer<Page<RouteLog>> {
        let after = after.map(|after| format!("&after={after}")).unwrap_or_default();
        self.get(&format!("/api/routes/{id}/logs?limit={limit}{after}")).await
    }

    /// What was counted of a route, by the last minutes, hours or days, or by those of a time.
    pub async fn route_metrics(
        &self,
        id: Uuid,
        by: UsageBy,
        (from, until): (Option<Timestamp>, Option<Timestamp>),
    ) -> Answer<RouteMetrics> {
        let query = Query::new(&format!("/api/routes/{id}/metrics")).with("by", Some(by));
        self.get(&query.with("from", from).with("until", until).0).await
    }

    /// A version of a route's script.
    pub async fn get_script_version(&self, id: Uuid, version: i64) -> Answer<ScriptVersion> {
        self.get(&format!("/api/routes/{id}/versions/{version}")).await
    }

    /// Deletes a route.
    pub async fn delete_route(&self, id: Uuid) -> Answer<()> {
        self.delete(&format!("/api/routes/{id}")).await
    }

    /// Lists secrets.
    pub async fn list_secrets(&self, q: &ListSecrets) -> Answer<Page<Secret>> {
        let query = Query::new("/api/secrets").with("name", q.name.as_deref()).with("scope", q.scope);
        let query = query.with("owner", q.owner.as_deref()).with("values", q.values.then_some(true));
        self.get(&query.with("cursor", q.cursor.as_deref()).0).await
    }

    /// Makes a secret.
    pub async fn create_secret(&self, new: &CreateSecret) -> Answer<Secret> {
        self.post("/api/secrets", new).await
    }

    /// Changes a secret.
    pub async fn update_secret(&self, id: Uuid, patch: &UpdateSecret) -> Answer<Secret> {
        self.patch(&format!("/api/secrets/{id}"), patch).await
    }

    /// Deletes a secret.
    pub async fn delete_secret(&self, id: Uuid) -> Answer<()> {
        self.delete(&format!("/api/secrets/{id}")).await
    }

    /// The settings.
    pub async fn settings(&self) -> Answer<Settings> {
        self.get("/api/settings").await
    }

    /// Changes settings.
    pub async fn update_settings(&self, patch: &UpdateSettings) -> Answer<Settings> {
        self.patch("/api/settings", patch).await
    }

    /// The audit log, newest first.
    pub async fn list_audit(&self, limit: u32, cursor: Option<&str>) -> Answer<Page<AuditEvent>> {
        self.get(&Query::new("/api/audit").with("limit", Some(limit)).with("cursor", cursor).0).await
    }
}
