//! The keys that values are sealed with, wrapped by a master key that is not in the database.

use jiff::Timestamp;
use keyrack_core::{DataKeyId, OrganizationId, SecretId};
use uuid::Uuid;

use crate::driver::{FromRow, Row, args};
use crate::{Reader, Result, Secret, Writer, statements};

/// A data key as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrappedKey {
    /// Its id. Of an organization's that of the newest master key is in use.
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
        ORDER BY master_key_id DESC, id DESC LIMIT 1";
    LIST_OLDER = "SELECT id, organization_id, master_key_id, wrapped, created_at FROM data_key WHERE master_key_id < $1 ORDER BY id";
    WITHOUT = "SELECT DISTINCT organization_id FROM data_key d WHERE NOT EXISTS \
        (SELECT 1 FROM data_key n WHERE n.organization_id = d.organization_id AND n.master_key_id >= $1) LIMIT $2";
    MASTER_KEYS = "SELECT DISTINCT master_key_id AS value FROM data_key";
    DELETE_UNUSED = "DELETE FROM data_key WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM secret WHERE data_key_id = $1) \
        AND NOT EXISTS (SELECT 1 FROM key_text WHERE data_key_id = $1)";
    COUNT_SECRETS = "SELECT COUNT(*) AS value FROM secret WHERE data_key_id IN \
        (SELECT id FROM data_key WHERE master_key_id < $1)";
    SECRETS = "SELECT id, organization_id, name, scope, route_id, group_id, key_id, data_key_id, sealed, size, comment, \
        created_at, updated_at, CAST(NULL AS TEXT) AS owner_name FROM secret \
        WHERE data_key_id IN (SELECT id FROM data_key WHERE master_key_id < $1) AND (id > $2 OR $2 IS NULL) ORDER BY id LIMIT $3";
    RESEAL_SECRET = "UPDATE secret SET data_key_id = $2, sealed = $3 WHERE id = $1 AND sealed = $4";
    LETTERS = "SELECT id, sealed FROM letter ORDER BY id";
    FACTORS = "SELECT user_id AS id, sealed FROM second_factor ORDER BY user_id";
    RESEAL_LETTER = "UPDATE letter SET sealed = $2 WHERE id = $1 AND sealed = $3";
    RESEAL_FACTOR = "UPDATE second_factor SET sealed = $2 WHERE user_id = $1 AND sealed = $3";
}

/// Something that is sealed with a master key itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sealed {
    /// In which table it stands: `letter` or `second_factor`.
    pub table: &'static str,
    /// Of whom or what.
    pub id: Uuid,
    /// The value, sealed.
    pub sealed: Vec<u8>,
}

/// A row of one of those tables.
struct SealedRow(Uuid, Vec<u8>);

impl FromRow for SealedRow {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self(row.get("id")?, row.get("sealed")?))
    }
}

struct Number(i64);

impl FromRow for Number {
    fn from_row(row: &Row) -> Result<Self> {
        row.get("value").map(Self)
    }
}

struct Owner(OrganizationId);

impl FromRow for Owner {
    fn from_row(row: &Row) -> Result<Self> {
        row.get("organization_id").map(Self)
    }
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

    /// Data keys that are wrapped with an older master key than this one.
    pub async fn data_keys_under_older(&mut self, master_key: i64) -> Result<Vec<WrappedKey>> {
        self.tx.fetch_all(LIST_OLDER, args![master_key]).await
    }

    /// Organizations that have data keys, and none that is wrapped with this master key or a newer one.
    pub async fn organizations_without_data_key(&mut self, master_key: i64, limit: i64) -> Result<Vec<OrganizationId>> {
        let owners: Vec<Owner> = self.tx.fetch_all(WITHOUT, args![master_key, limit]).await?;
        Ok(owners.into_iter().map(|owner| owner.0).collect())
    }

    /// The master keys that data keys are wrapped with.
    pub async fn master_keys_of_data_keys(&mut self) -> Result<Vec<i64>> {
        let numbers: Vec<Number> = self.tx.fetch_all(MASTER_KEYS, &[]).await?;
        Ok(numbers.into_iter().map(|number| number.0).collect())
    }

    /// How many secrets are sealed with data keys of an older master key than this one.
    pub async fn count_secrets_under_older(&mut self, master_key: i64) -> Result<u64> {
        let count: i64 = self.tx.value(COUNT_SECRETS, args![master_key]).await?.unwrap_or(0);
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Those secrets, the oldest first.
    pub async fn secrets_under_older(
        &mut self,
        master_key: i64,
        after: Option<SecretId>,
        limit: i64,
    ) -> Result<Vec<Secret>> {
        self.tx.fetch_all(SECRETS, args![master_key, after, limit]).await
    }

    /// What letters hold.
    pub async fn list_sealed_letters(&mut self) -> Result<Vec<Sealed>> {
        self.list_sealed("letter", LETTERS).await
    }

    /// What codes of second factors are made from.
    pub async fn list_sealed_factors(&mut self) -> Result<Vec<Sealed>> {
        self.list_sealed("second_factor", FACTORS).await
    }

    async fn list_sealed(&mut self, table: &'static str, sql: &'static str) -> Result<Vec<Sealed>> {
        let rows: Vec<SealedRow> = self.tx.fetch_all(sql, &[]).await?;
        Ok(rows.into_iter().map(|SealedRow(id, sealed)| Sealed { table, id, sealed }).collect())
    }
}

impl Writer {
    /// Adds a data key.
    pub async fn insert_data_key(&mut self, k: &WrappedKey) -> Result<()> {
        let args = args![k.id, k.organization, k.master_key, k.wrapped.as_slice(), k.created_at];
        self.tx.execute_one(INSERT, args).await
    }

    /// Removes a data key if nothing is sealed with it. Whether it did.
    pub async fn delete_unused_data_key(&mut self, id: DataKeyId) -> Result<bool> {
        Ok(self.tx.execute(DELETE_UNUSED, args![id]).await? == 1)
    }

    /// Puts the value of a secret, sealed with another key, in the place of what is there. False if that is not what it was any more.
    pub async fn reseal_secret(
        &mut self,
        id: SecretId,
        data_key: DataKeyId,
        sealed: &[u8],
        before: &[u8],
    ) -> Result<bool> {
        Ok(self.tx.execute(RESEAL_SECRET, args![id, data_key, sealed, before]).await? == 1)
    }

    /// The same of what is sealed with a master key itself.
    pub async fn reseal(&mut self, before: &Sealed, sealed: &[u8]) -> Result<bool> {
        let sql = if before.table == "letter" { RESEAL_LETTER } else { RESEAL_FACTOR };
        Ok(self.tx.execute(sql, args![before.id, sealed, before.sealed.as_slice()]).await? == 1)
    }
}
