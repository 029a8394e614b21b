//! What scripts of routes say, and what they said before.

use jiff::Timestamp;
use keyrack_core::RouteId;

use crate::driver::{FromRow, Row, args};
use crate::{Reader, Result, Writer, statements};

/// What the script of a route said from a moment on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScriptVersion {
    /// From 1.
    pub version: i64,
    /// The module.
    pub source: String,
    /// Since when.
    pub created_at: Timestamp,
}

statements! {
    INSERT = "INSERT INTO script_version (route_id, version, source, created_at) VALUES ($1, $2, $3, $4)";
    LIST = "SELECT version, source, created_at FROM script_version WHERE route_id = $1 ORDER BY version DESC LIMIT $2";
    FIND = "SELECT version, source, created_at FROM script_version WHERE route_id = $1 AND version = $2";
    FORGET = "DELETE FROM script_version WHERE route_id = $1 AND version <= $2";
}

impl FromRow for ScriptVersion {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self { version: row.get("version")?, source: row.get("source")?, created_at: row.get("created_at")? })
    }
}

impl Reader {
    /// The versions of a route's script, the newest first.
    pub async fn list_script_versions(&mut self, route: RouteId, limit: i64) -> Result<Vec<ScriptVersion>> {
        self.tx.fetch_all(LIST, args![route, limit]).await
    }

    /// A version of a route's script.
    pub async fn find_script_version(&mut self, route: RouteId, version: i64) -> Result<Option<ScriptVersion>> {
        self.tx.fetch(FIND, args![route, version]).await
    }
}

impl Writer {
    /// Adds a version of a route's script.
    pub async fn insert_script_version(&mut self, route: RouteId, added: &ScriptVersion) -> Result<()> {
        self.tx.execute_one(INSERT, args![route, added.version, &added.source, added.created_at]).await
    }

    /// Forgets the versions of a route's script up to this one.
    pub async fn forget_script_versions(&mut self, route: RouteId, until: i64) -> Result<()> {
        self.tx.execute(FORGET, args![route, until]).await.map(drop)
    }
}
