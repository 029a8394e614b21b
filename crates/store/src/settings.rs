//! Settings: small values by name, of an organization or of the instance.

use jiff::Timestamp;
use keyrack_core::OrganizationId;
use uuid::Uuid;

use crate::driver::{FromRow, Row, args};
use crate::{Reader, Result, Writer, statements};

/// Under this id stand the settings of the instance.
pub const INSTANCE: OrganizationId = OrganizationId(Uuid::nil());

statements! {
    FIND = "SELECT value FROM setting WHERE organization_id = $1 AND name = $2";
    LIST = "SELECT name, value FROM setting WHERE organization_id = $1 ORDER BY name";
    PUT = "INSERT INTO setting (organization_id, name, value, updated_at) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (organization_id, name) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at";
}

struct Named(String, serde_json::Value);

impl FromRow for Named {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self(row.get("name")?, row.json("value")?))
    }
}

struct Value(serde_json::Value);

impl FromRow for Value {
    fn from_row(row: &Row) -> Result<Self> {
        row.json("value").map(Self)
    }
}

impl Reader {
    /// The value of a setting.
    pub async fn find_setting(
        &mut self,
        organization: OrganizationId,
        name: &'static str,
    ) -> Result<Option<serde_json::Value>> {
        Ok(self.tx.fetch::<Value>(FIND, args![organization, name]).await?.map(|v| v.0))
    }

    /// All settings of an organization.
    pub async fn list_settings(&mut self, organization: OrganizationId) -> Result<Vec<(String, serde_json::Value)>> {
        Ok(self.tx.fetch_all::<Named>(LIST, args![organization]).await?.into_iter().map(|n| (n.0, n.1)).collect())
    }
}

impl Writer {
    /// Sets a setting.
    pub async fn put_setting(
        &mut self,
        organization: OrganizationId,
        name: &'static str,
        value: &serde_json::Value,
        now: Timestamp,
    ) -> Result<()> {
        self.tx.execute_one(PUT, args![organization, name, value.to_string(), now]).await
    }
}
