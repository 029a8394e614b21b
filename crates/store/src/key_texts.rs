//! The texts of keys, sealed, for groups that ask for them to be kept.

use keyrack_core::{DataKeyId, GroupId, KeyId, OrganizationId};

use crate::driver::{FromRow, Row, args};
use crate::{Reader, Result, Writer, statements};

/// The text of a key as it is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyText {
    /// The key.
    pub key: KeyId,
    /// Which of its secrets it is.
    pub version: i64,
    /// Whose key it is.
    pub organization: OrganizationId,
    /// What it is sealed with.
    pub data_key: DataKeyId,
    /// The text, sealed.
    pub sealed: Vec<u8>,
}

statements! {
    INSERT = "INSERT INTO key_text (key_id, version, organization_id, data_key_id, sealed) VALUES ($1, $2, $3, $4, $5)";
    LIST_OF = "SELECT key_id, version, organization_id, data_key_id, sealed FROM key_text WHERE key_id = $1 ORDER BY version";
    ERASE = "DELETE FROM key_text WHERE key_id = $1";
    ERASE_VERSION = "DELETE FROM key_text WHERE key_id = $1 AND version = $2";
    ERASE_GROUP = "DELETE FROM key_text WHERE key_id IN (SELECT id FROM api_key WHERE organization_id = $1 AND group_id = $2)";
    UNDER_OLDER = "SELECT key_id, version, organization_id, data_key_id, sealed FROM key_text \
        WHERE data_key_id IN (SELECT id FROM data_key WHERE master_key_id < $1) AND (key_id > $2 OR $2 IS NULL) \
        ORDER BY key_id, version LIMIT $3";
    COUNT_UNDER_OLDER = "SELECT COUNT(*) AS value FROM key_text WHERE data_key_id IN \
        (SELECT id FROM data_key WHERE master_key_id < $1)";
    RESEAL = "UPDATE key_text SET data_key_id = $3, sealed = $4 WHERE key_id = $1 AND version = $2 AND sealed = $5";
}

impl FromRow for KeyText {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            key: row.get("key_id")?,
            version: row.get("version")?,
            organization: row.get("organization_id")?,
            data_key: row.get("data_key_id")?,
            sealed: row.get("sealed")?,
        })
    }
}

impl Reader {
    /// The texts of a key that are kept, the oldest first.
    pub async fn list_key_texts(&mut self, key: KeyId) -> Result<Vec<KeyText>> {
        self.tx.fetch_all(LIST_OF, args![key]).await
    }

    /// Texts that are sealed with data keys of an older master key than this one, behind a key: of each key one is kept.
    pub async fn key_texts_under_older(
        &mut self,
        master_key: i64,
        after: Option<KeyId>,
        limit: i64,
    ) -> Result<Vec<KeyText>> {
        self.tx.fetch_all(UNDER_OLDER, args![master_key, after, limit]).await
    }

    /// How many there are.
    pub async fn count_key_texts_under_older(&mut self, master_key: i64) -> Result<u64> {
        let count: i64 = self.tx.value(COUNT_UNDER_OLDER, args![master_key]).await?.unwrap_or(0);
        Ok(u64::try_from(count).unwrap_or(0))
    }
}

impl Writer {
    /// Keeps the text of a key.
    pub async fn insert_key_text(&mut self, text: &KeyText) -> Result<()> {
        let args = args![text.key, text.version, text.organization, text.data_key, text.sealed.as_slice()];
        self.tx.execute_one(INSERT, args).await
    }

    /// Forgets the texts of a key, or of one of its secrets.
    pub async fn erase_key_texts(&mut self, key: KeyId, version: Option<i64>) -> Result<()> {
        match version {
            None => self.tx.execute(ERASE, args![key]).await?,
            Some(version) => self.tx.execute(ERASE_VERSION, args![key, version]).await?,
        };
        Ok(())
    }

    /// Forgets the texts of all keys of a group; how many there were.
    pub async fn erase_key_texts_of_group(&mut self, organization: OrganizationId, group: GroupId) -> Result<u64> {
        self.tx.execute(ERASE_GROUP, args![organization, group]).await
    }

    /// Puts a text, sealed with another key, in the place of what is there. False if that is not what it was any more.
    pub async fn reseal_key_text(&mut self, before: &KeyText, data_key: DataKeyId, sealed: &[u8]) -> Result<bool> {
        let args = args![before.key, before.version, data_key, sealed, before.sealed.as_slice()];
        Ok(self.tx.execute(RESEAL, args).await? == 1)
    }
}
