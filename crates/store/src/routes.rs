//! Routes. Guard and target are kept as JSON; what they mean is the engine's matter.

use jiff::Timestamp;
use keyrack_core::{OrganizationId, RouteId};

use crate::driver::{FromRow, Row, args};
use crate::{Reader, Result, Writer, statements};

/// A guarded door as it is stored.
#[derive(Clone, PartialEq, Debug)]
pub struct Route {
    /// Its id.
    pub id: RouteId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// Its name.
    pub name: String,
    /// The host it answers on; `None` for the organization's own place.
    pub host: Option<String>,
    /// Its path pattern.
    pub path: String,
    /// The methods it takes.
    pub methods: Vec<String>,
    /// Whether it is open at all.
    pub enabled: bool,
    /// What it asks of callers.
    pub guard: serde_json::Value,
    /// What is behind it.
    pub target: serde_json::Value,
    /// Which web pages of other origins may call it; `None` for none.
    pub cors: Option<serde_json::Value>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

statements! {
    INSERT = "INSERT INTO route (id, organization_id, name, host, path, methods, enabled, guard, target, cors, \
        created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
    UPDATE = "UPDATE route SET name = $3, host = $4, path = $5, methods = $6, enabled = $7, guard = $8, target = $9, \
        cors = $10, updated_at = $11 WHERE organization_id = $1 AND id = $2";
    DELETE = "DELETE FROM route WHERE organization_id = $1 AND id = $2";
    FIND = "SELECT id, organization_id, name, host, path, methods, enabled, guard, target, cors, created_at, updated_at \
        FROM route WHERE organization_id = $1 AND id = $2";
    LIST_OF = "SELECT id, organization_id, name, host, path, methods, enabled, guard, target, cors, created_at, updated_at \
        FROM route WHERE organization_id = $1 ORDER BY id";
    LIST_ALL = "SELECT id, organization_id, name, host, path, methods, enabled, guard, target, cors, created_at, updated_at \
        FROM route ORDER BY id";
}

impl FromRow for Route {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            organization: row.get("organization_id")?,
            name: row.get("name")?,
            host: row.get("host")?,
            path: row.get("path")?,
            methods: row.json("methods")?,
            enabled: row.get("enabled")?,
            guard: row.json("guard")?,
            target: row.json("target")?,
            cors: row.json("cors")?,
            created_at: row.get("created_at")?,
            updated_at: row.get("updated_at")?,
        })
    }
}

impl Reader {
    /// A route of an organization.
    pub async fn find_route(&mut self, organization: OrganizationId, id: RouteId) -> Result<Option<Route>> {
        self.tx.fetch(FIND, args![organization, id]).await
    }

    /// All routes of an organization.
    pub async fn list_routes(&mut self, organization: OrganizationId) -> Result<Vec<Route>> {
        self.tx.fetch_all(LIST_OF, args![organization]).await
    }

    /// All routes of the instance.
    pub async fn list_all_routes(&mut self) -> Result<Vec<Route>> {
        self.tx.fetch_all(LIST_ALL, args![]).await
    }
}

impl Writer {
    /// Adds a route.
    pub async fn insert_route(&mut self, r: &Route) -> Result<()> {
        let args = args![
            r.id,
            r.organization,
            &r.name,
            r.host.as_deref(),
            &r.path,
            serde_json::json!(r.methods).to_string(),
            r.enabled,
            r.guard.to_string(),
            r.target.to_string(),
            serde_json::json!(r.cors).to_string(),
            r.created_at,
            r.updated_at,
        ];
        self.tx.execute_one(INSERT, args).await
    }

    /// Writes everything of a route that may change.
    pub async fn update_route(&mut self, r: &Route) -> Result<()> {
        let args = args![
            r.organization,
            r.id,
            &r.name,
            r.host.as_deref(),
            &r.path,
            serde_json::json!(r.methods).to_string(),
            r.enabled,
            r.guard.to_string(),
            r.target.to_string(),
            serde_json::json!(r.cors).to_string(),
            r.updated_at,
        ];
        self.tx.execute_one(UPDATE, args).await
    }

    /// Removes a route.
    pub async fn delete_route(&mut self, organization: OrganizationId, id: RouteId) -> Result<()> {
        self.tx.execute_one(DELETE, args![organization, id]).await
    }
}
