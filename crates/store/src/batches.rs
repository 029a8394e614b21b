//! Many keys at once: each statement has a price of its own, and a million of them would take an hour.
//!
//! The rows come as one JSON text, of which each database makes rows in its own way.

use jiff::Timestamp;
use keyrack_core::{KeyId, OrganizationId};
use serde_json::{Value, json};

use crate::dialect::Both;
use crate::driver::{Arg, FromRow, Row, args};
use crate::groups::scopes_text;
use crate::keys::{ApiKey, NewSecret, folded};
use crate::{Reader, Result, StoreError, Writer};

/// Writes a statement for both: a list of rows, an id and bytes are written differently.
macro_rules! both {
    ($statement:ident) => {
        Both {
            sqlite: $statement!("json_each($1)", "unhex(", ")", "unhex(", ")"),
            postgres: $statement!("json_array_elements(CAST($1 AS JSON))", "CAST(", " AS UUID)", "decode(", ", 'hex')"),
        }
    };
}

macro_rules! insert_keys {
    ($rows:literal, $id:literal, $end:literal, $($bytes:literal),*) => {
        concat!(
            "INSERT INTO api_key (id, organization_id, group_id, workspace_id, created_by, name, name_folded, description, \
             environment, scopes, switch, ip_allowlist, metadata, rate_limits, expires_at, created_at, updated_at, imported) SELECT ",
            $id, "value->>0", $end, ", ", $id, "value->>1", $end, ", ", $id, "value->>2", $end, ", ",
            $id, "value->>3", $end, ", ", $id, "value->>4", $end,
            ", value->>5, value->>6, value->>7, value->>8, value->>9, value->>10, value->>11, value->>12, \
             value->>13, CAST(value->>14 AS BIGINT), CAST(value->>15 AS BIGINT), CAST(value->>16 AS BIGINT), \
             CAST(value->>17 AS BOOLEAN) FROM ",
            $rows
        )
    };
}

macro_rules! insert_secrets {
    ($rows:literal, $id:literal, $end:literal, $bytes:literal, $bytes_end:literal) => {
        concat!(
            "INSERT INTO key_secret (key_id, digest, version, pepper_id, slow_hash, display_prefix, last4, created_at) SELECT ",
            $id, "value->>0", $end, ", ", $bytes, "value->>1", $bytes_end,
            ", CAST(value->>2 AS BIGINT), CAST(value->>3 AS BIGINT), value->>4, value->>5, value->>6, \
             CAST(value->>7 AS BIGINT) FROM ",
            $rows
        )
    };
}

/// Digests that begin alike are taken for equal: a slow one is known by its first 8 bytes only.
macro_rules! known {
    ($rows:literal, $id:literal, $end:literal, $bytes:literal, $bytes_end:literal) => {
        concat!(
            "SELECT CAST(value->>0 AS BIGINT) AS value FROM ",
            $rows,
            " AS r WHERE EXISTS (SELECT 1 FROM key_secret \
             WHERE digest >= ",
            $bytes,
            "value->>1",
            $bytes_end,
            " AND digest <= ",
            $bytes,
            "value->>2",
            $bytes_end,
            ") OR EXISTS (SELECT 1 FROM tombstone \
             WHERE digest >= ",
            $bytes,
            "value->>1",
            $bytes_end,
            " AND digest <= ",
            $bytes,
            "value->>2",
            $bytes_end,
            ")"
        )
    };
}

macro_rules! ids {
    ($rows:literal, $id:literal, $end:literal) => {
        concat!("(SELECT ", $id, "value->>0", $end, " FROM ", $rows, ")")
    };
}

macro_rules! bury {
    ($rows:literal, $id:literal, $end:literal, $($bytes:literal),*) => {
        concat!(
            "INSERT INTO tombstone (digest, pepper_id, key_id, organization_id, name, deleted_at) \
             SELECT s.digest, s.pepper_id, k.id, k.organization_id, k.name, $2 \
             FROM key_secret s JOIN api_key k ON k.id = s.key_id WHERE k.id IN ",
            ids!($rows, $id, $end)
        )
    };
}

macro_rules! delete_secrets {
    ($rows:literal, $id:literal, $end:literal, $($bytes:literal),*) => {
        concat!("DELETE FROM key_secret WHERE key_id IN ", ids!($rows, $id, $end))
    };
}

macro_rules! delete_uses {
    ($rows:literal, $id:literal, $end:literal, $($bytes:literal),*) => {
        concat!("DELETE FROM key_use WHERE key_id IN ", ids!($rows, $id, $end))
    };
}

macro_rules! delete_keys {
    ($rows:literal, $id:literal, $end:literal, $($bytes:literal),*) => {
        concat!("DELETE FROM api_key WHERE organization_id = $2 AND id IN ", ids!($rows, $id, $end))
    };
}

const INSERT_KEYS: Both = both!(insert_keys);
const INSERT_SECRETS: Both = both!(insert_secrets);
const KNOWN: Both = both!(known);
const BURY: Both = both!(bury);
const DELETE_SECRETS: Both = both!(delete_secrets);
const DELETE_USES: Both = both!(delete_uses);
const DELETE_KEYS: Both = both!(delete_keys);

pub(crate) const STATEMENTS: &[Both] =
    &[INSERT_KEYS, INSERT_SECRETS, KNOWN, BURY, DELETE_SECRETS, DELETE_USES, DELETE_KEYS];

struct Place(i64);

impl FromRow for Place {
    fn from_row(row: &Row) -> Result<Self> {
        row.get("value").map(Self)
    }
}

impl Reader {
    /// Which of these digests are of texts that are, or ever were, keys anywhere in the instance: their places in the list.
    pub async fn known_digests(&mut self, digests: &[[u8; 32]]) -> Result<Vec<usize>> {
        let row = |(at, digest): (usize, &[u8; 32])| {
            let mut last = [0xff; 32];
            last[..8].copy_from_slice(&digest[..8]);
            json!([at, hex(&digest[..8]), hex(&last)])
        };
        let rows: Value = digests.iter().enumerate().map(row).collect();
        let sql = KNOWN.of(&self.tx);
        let places = self.tx.fetch_all::<Place>(sql, args![rows.to_string()]).await?;
        Ok(places.into_iter().filter_map(|place| usize::try_from(place.0).ok()).collect())
    }

    /// Whether the text of this digest is, or ever was, a key anywhere in the instance.
    pub async fn is_digest_known(&mut self, digest: &[u8; 32]) -> Result<bool> {
        Ok(!self.known_digests(&[*digest]).await?.is_empty())
    }
}

impl Writer {
    /// Adds keys, each with its first secret.
    pub async fn insert_keys(&mut self, keys: &[(&ApiKey, &NewSecret)]) -> Result<()> {
        let rows: Value = keys.iter().map(|(key, _)| key_row(key)).collect();
        let secrets: Value = keys.iter().map(|(key, secret)| secret_row(key.id, secret)).collect();
        self.execute_all(&INSERT_KEYS, &rows, keys.len()).await?;
        self.execute_all(&INSERT_SECRETS, &secrets, keys.len()).await
    }

    /// Adds a key with its first secret.
    pub async fn insert_key(&mut self, key: &ApiKey, secret: &NewSecret) -> Result<()> {
        self.insert_keys(&[(key, secret)]).await
    }

    /// Removes keys of an organization and leaves their tombstones.
    pub async fn delete_keys(&mut self, organization: OrganizationId, keys: &[KeyId], now: Timestamp) -> Result<()> {
        let rows: Value = keys.iter().map(|key| json!([hex(key.0.as_bytes())])).collect();
        let rows = rows.to_string();
        self.execute(&BURY, args![&rows, now]).await?;
        self.execute(&DELETE_SECRETS, args![&rows]).await?;
        self.execute(&DELETE_USES, args![&rows]).await?;
        let deleted = self.execute(&DELETE_KEYS, args![&rows, organization]).await?;
        expect(deleted, keys.len())
    }

    /// Removes a key and leaves its tombstones.
    pub async fn delete_key(&mut self, organization: OrganizationId, key: KeyId, now: Timestamp) -> Result<()> {
        self.delete_keys(organization, &[key], now).await
    }

    async fn execute_all(&mut self, statement: &Both, rows: &Value, count: usize) -> Result<()> {
        let done = self.execute(statement, args![rows.to_string()]).await?;
        expect(done, count)
    }

    async fn execute(&mut self, statement: &Both, args: &[Arg]) -> Result<u64> {
        let sql = statement.of(&self.tx);
        self.tx.execute(sql, args).await
    }
}

fn expect(done: u64, count: usize) -> Result<()> {
    if usize::try_from(done) == Ok(count) { Ok(()) } else { Err(StoreError::RowsAffected(done)) }
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// In the order of the statement.
fn key_row(k: &ApiKey) -> Value {
    json!([
        hex(k.id.0.as_bytes()),
        hex(k.organization.0.as_bytes()),
        hex(k.group.0.as_bytes()),
        k.workspace.map(|id| hex(id.0.as_bytes())),
        k.created_by.map(|id| hex(id.0.as_bytes())),
        k.name,
        folded(&k.name),
        k.description,
        k.environment.as_str(),
        scopes_text(&k.scopes),
        k.switch.as_str(),
        k.ip_allowlist.to_strings().map(|networks| networks.join(" ")),
        k.metadata.as_ref().map(ToString::to_string),
        k.rate_limits.to_text(),
        k.expires_at.map(keyrack_core::micros),
        keyrack_core::micros(k.created_at),
        keyrack_core::micros(k.updated_at),
        k.imported,
    ])
}

/// In the order of the statement.
fn secret_row(key: KeyId, s: &NewSecret) -> Value {
    json!([
        hex(key.0.as_bytes()),
        hex(&s.digest),
        s.version,
        s.pepper_id,
        s.slow_hash,
        s.display_prefix,
        s.last4,
        keyrack_core::micros(s.created_at),
    ])
}
