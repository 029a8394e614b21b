//! The keys that values are sealed with, wrapped by a master key that is not in the database.

use jiff::Timestamp;
use keyrack_core::{DataKeyId, OrganizationId};

use crate::driver::{FromRow, Row, args};
use crate::{Reader, Result, Writer, statements};

/// A data key as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrappedKey {
    /// Its id. The newest of an organization is in use.
    pub id: DataKeyId,
    /// Whose values are sealed with it.
    pub organization: OrganizationId,
    /// The number of the master key that it is sealed with.
    pub master_key: i64,
    /// The key, sealed.
    pub wrapped: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
}

statements! {
    INSERT = "INSERT INTO data_key (id, organization_id, master_key_id, wrapped, created_at) VALUES ($1, $2, $3, $4, $5)";
    LIST = "SELECT id, organization_id, master_key_id, wrapped, created_at FROM data_key ORDER BY id";
    NEWEST = "SELECT id, organization_id, master_key_id, wrapped, created_at FROM data_key WHERE organization_id = $1 \
        ORDER BY id DESC LIMIT 1";
}

impl FromRow for WrappedKey {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            organization: row.get("organization_id")?,
            master_key: row.get("master_key_id")?,
            wrapped: row.get("wrapped")?,
            created_at: row.get("created_at")?,
        })
    }
}

impl Reader {
    /// All data keys of the instance, the oldest first.
    pub async fn list_data_keys(&mut self) -> Result<Vec<WrappedKey>> {
        self.tx.fetch_all(LIST, &[]).await
    }

    /// The data key that an organization's values are sealed with now.
    pub async fn newest_data_key(&mut self, organization: OrganizationId) -> Result<Option<WrappedKey>> {
        self.tx.fetch(NEWEST, args![organization]).await
    }
}

impl Writer {
    /// Adds a data key.
    pub async fn insert_data_key(&mut self, k: &WrappedKey) -> Result<()> {
        let args = args![k.id, k.organization, k.master_key, k.wrapped.as_slice(), k.created_at];
        self.tx.execute_one(INSERT, args).await
    }
}
