//! What the keyring holds: one row for each secret of each key.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use compact_str::CompactString;
use jiff::Timestamp;
use keyrack_core::format::Environment;
use keyrack_core::status::Switch;
use keyrack_core::{GroupId, KeyId, OrganizationId, WorkspaceId, from_micros};
use serde::{Deserialize, Deserializer};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::copying::Columns;
use crate::dialect::{self, Both};
use crate::driver::{FromRow, Row, Tx, args};
use crate::store::SQLITE_READERS;
use crate::{Reader, Result, Store, StoreError};

/// How many places a page of a SQLite file has.
const PAGE: u16 = 250;

/// A secret with all of its key that a decision needs. Lists are left as text, since most keys share theirs with others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerificationRow {
    /// The digest; of a slow secret only its first 8 bytes are known, and the rest is 0.
    pub digest: [u8; 32],
    /// Which secret of the key.
    pub version: i64,
    /// The key.
    pub key: KeyId,
    /// Its name.
    pub name: CompactString,
    /// Its organization.
    pub organization: OrganizationId,
    /// Its group.
    pub group: GroupId,
    /// Its workspace.
    pub workspace: Option<WorkspaceId>,
    /// Its environment.
    pub environment: Environment,
    /// What has been done to it.
    pub switch: Switch,
    /// Its scopes, with spaces between.
    pub scopes: Arc<str>,
    /// What few keys have.
    pub rare: Option<Box<Rare>>,
}

/// What few keys have. Rows are read and handed on by the million, most of them without any of it.
#[derive(Clone, Default, Debug, PartialEq, Eq, Deserialize)]
pub struct Rare {
    /// The bcrypt hash, if the group's profile is that.
    pub slow_hash: Option<String>,
    /// Until when the secret is taken.
    #[serde(deserialize_with = "moment")]
    pub secret_expires_at: Option<Timestamp>,
    /// Until when the key works.
    #[serde(deserialize_with = "moment")]
    pub expires_at: Option<Timestamp>,
    /// Its networks, with spaces between.
    pub ip_allowlist: Option<String>,
    /// Its metadata, as JSON.
    pub metadata: Option<String>,
    /// Its rate limits, units and seconds.
    pub rate_limits: Option<String>,
    /// Whether its text was made elsewhere.
    #[serde(deserialize_with = "flag")]
    pub imported: bool,
}

fn moment<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Option<Timestamp>, D::Error> {
    Ok(Option::<i64>::deserialize(from)?.map(from_micros))
}

/// SQLite has no JSON for truth values.
fn flag<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<bool, D::Error> {
    Ok(i64::deserialize(from)? != 0)
}

impl VerificationRow {
    /// Whether the text of the key was made elsewhere.
    pub fn is_imported(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.imported)
    }
}

/// Every column of a secret with its key, in the order in which [`VerificationRow`] reads them.
macro_rules! secrets {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            "SELECT s.digest, s.version, k.id, k.name, k.organization_id, k.group_id, k.workspace_id, k.environment, k.switch, \
            k.scopes, s.slow_hash, s.expires_at AS secret_expires_at, k.expires_at, k.ip_allowlist, k.metadata, k.rate_limits, k.imported \
            FROM key_secret s JOIN api_key k ON k.id = s.key_id",
            $after
        )
    };
}

/// All of them, from PostgreSQL.
const COPY: &str = secrets!("COPY (", ") TO STDOUT (FORMAT binary)");
/// Of some keys: their ids come as one JSON text, of which each database makes a list in its own way.
const OF_KEYS: Both = Both {
    sqlite: secrets!("", " WHERE k.id IN (SELECT unhex(value) FROM json_each($1)) ORDER BY k.id"),
    postgres: secrets!("", " WHERE k.id IN (SELECT value::uuid FROM json_array_elements_text($1::json)) ORDER BY k.id"),
};
const TOMBSTONES_OF_KEYS: Both = Both {
    sqlite: "SELECT key_id, digest FROM tombstone WHERE key_id IN (SELECT unhex(value) FROM json_each($1))",
    postgres: "SELECT key_id, digest FROM tombstone \
        WHERE key_id IN (SELECT value::uuid FROM json_array_elements_text($1::json))",
};
pub(crate) const BOTH: &[Both] = &[OF_KEYS, TOMBSTONES_OF_KEYS, dialect::ABOUT_HOW_MANY_SECRETS];

impl VerificationRow {
    /// `last` is the scopes of the row before, which are most often the same.
    fn copied(columns: &mut Columns<'_>, last: &mut Arc<str>) -> Result<Self> {
        Ok(Self {
            digest: padded(columns.bytes()?)?,
            version: columns.int()?,
            key: KeyId(columns.id()?),
            name: CompactString::new(columns.text()?),
            organization: OrganizationId(columns.id()?),
            group: GroupId(columns.id()?),
            workspace: columns.optional_id()?.map(WorkspaceId),
            environment: environment(columns.text()?)?,
            switch: switch(columns.text()?)?,
            scopes: shared(columns.text()?, last),
            rare: Rare {
                slow_hash: columns.optional_text()?,
                secret_expires_at: columns.optional_int()?.map(from_micros),
                expires_at: columns.optional_int()?.map(from_micros),
                ip_allowlist: columns.optional_text()?,
                metadata: columns.optional_text()?,
                rate_limits: columns.optional_text()?,
                imported: columns.truth()?,
            }
            .boxed(),
        })
    }
}

impl Rare {
    /// `None` if it is nothing.
    fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}

/// One text for many: that of the row before, if it is the same.
fn shared(text: &str, last: &mut Arc<str>) -> Arc<str> {
    if **last != *text {
        *last = text.into();
    }
    Arc::clone(last)
}

impl FromRow for VerificationRow {
    fn from_row(row: &Row) -> Result<Self> {
        let rare = Rare {
            slow_hash: row.at(10)?,
            secret_expires_at: row.at::<Option<i64>>(11)?.map(from_micros),
            expires_at: row.at::<Option<i64>>(12)?.map(from_micros),
            ip_allowlist: row.at(13)?,
            metadata: row.at(14)?,
            rate_limits: row.at(15)?,
            imported: row.at(16)?,
        };
        Ok(Self {
            digest: padded(&row.at::<Vec<u8>>(0)?)?,
            version: row.at(1)?,
            key: KeyId(row.at(2)?),
            name: CompactString::from(row.at::<String>(3)?),
            organization: OrganizationId(row.at(4)?),
            group: GroupId(row.at(5)?),
            workspace: row.at::<Option<Uuid>>(6)?.map(WorkspaceId),
            environment: environment(&row.at::<String>(7)?)?,
            switch: switch(&row.at::<String>(8)?)?,
            scopes: row.at::<String>(9)?.into(),
            rare: rare.boxed(),
        })
    }
}

fn padded(digest: &[u8]) -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    let known = bytes.get_mut(..digest.len()).ok_or(StoreError::Corrupt { column: "digest" })?;
    known.copy_from_slice(digest);
    Ok(bytes)
}

fn environment(text: &str) -> Result<Environment> {
    Environment::parse(text).ok_or(StoreError::Corrupt { column: "environment" })
}

fn switch(text: &str) -> Result<Switch> {
    Switch::parse(text).ok_or(StoreError::Corrupt { column: "switch" })
}

/// A row of a page, as [`dialect::SQLITE_PAGE_OF_SECRETS`] writes it.
#[derive(Deserialize)]
struct Written<'a> {
    /// The ids of the key, its organization and its group, the digest, and the id of the workspace if there is one.
    bytes: &'a str,
    version: i64,
    #[serde(borrow)]
    name: Cow<'a, str>,
    environment: &'a str,
    switch: &'a str,
    scopes: &'a str,
    rare: Option<Box<Rare>>,
}

impl Written<'_> {
    /// `last` is as in [`VerificationRow::copied`].
    fn read(self, last: &mut Arc<str>) -> Result<VerificationRow> {
        const DIGEST: usize = 3 * 16;
        let mut bytes = [0; DIGEST + 32 + 16];
        let bytes = unhex(self.bytes, &mut bytes)?;
        // Eight bytes or 32, alone or with sixteen behind them.
        let end = match bytes.len().checked_sub(DIGEST) {
            Some(8 | 24) => DIGEST + 8,
            Some(32 | 48) => DIGEST + 32,
            _ => return Err(StoreError::Corrupt { column: "of a key" }),
        };
        let id = |at: usize| bytes.get(at..at + 16).and_then(|id| Uuid::from_slice(id).ok());
        let must = |at| id(at).ok_or(StoreError::Corrupt { column: "id" });
        Ok(VerificationRow {
            digest: padded(bytes.get(DIGEST..end).unwrap_or_default())?,
            version: self.version,
            key: KeyId(must(0)?),
            name: CompactString::new(self.name),
            organization: OrganizationId(must(16)?),
            group: GroupId(must(32)?),
            workspace: id(end).map(WorkspaceId),
            environment: environment(self.environment)?,
            switch: switch(self.switch)?,
            scopes: shared(self.scopes, last),
            rare: self.rare,
        })
    }
}

/// The bytes that upper-case hexadecimal text stands for.
fn unhex<'b>(text: &str, bytes: &'b mut [u8]) -> Result<&'b [u8]> {
    let bytes = bytes.get_mut(..text.len() / 2).ok_or(StoreError::Corrupt { column: "of a key" })?;
    let read = data_encoding::HEXUPPER.decode_mut(text.as_bytes(), bytes);
    read.map_err(|_| StoreError::Corrupt { column: "of a key" })?;
    Ok(bytes)
}

struct Tombstone(KeyId, Vec<u8>);

impl FromRow for Tombstone {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self(row.get("key_id")?, row.get("digest")?))
    }
}

/// How many pages of a SQLite file are read at the same time: one for each processor, as far as the pool has connections.
fn loaders() -> usize {
    let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    processors.clamp(2, SQLITE_READERS as usize)
}

impl Store {
    /// Hands over the secrets of all keys, in no order. Each is as it was at the time of a snapshot, or is as it became since.
    pub async fn for_each_verification(
        &self,
        snapshot: &mut Reader,
        mut take: impl FnMut(VerificationRow),
    ) -> Result<()> {
        if matches!(snapshot.tx, Tx::Postgres(_)) {
            let mut last = Arc::default();
            let read = |columns: &mut Columns<'_>| VerificationRow::copied(columns, &mut last);
            return snapshot.tx.copy(COPY, read, take).await;
        }
        let last: i64 = snapshot.tx.value(dialect::ABOUT_HOW_MANY_SECRETS.sqlite, &[]).await?.unwrap_or(0);
        let next = Arc::new(AtomicI64::new(0));
        let (send, mut pages) = mpsc::channel(2 * loaders());
        for _ in 0..loaders() {
            let (store, next, send) = (self.clone(), Arc::clone(&next), send.clone());
            tokio::spawn(async move {
                if let Err(error) = store.send_secrets(last, &next, &send).await {
                    let _ = send.send(Err(error)).await;
                }
            });
        }
        drop(send);
        while let Some(page) = pages.recv().await {
            page?.into_iter().for_each(&mut take);
        }
        Ok(())
    }

    /// Reads page after page of a SQLite file, of those that nobody else has taken.
    async fn send_secrets(
        &self,
        last: i64,
        next: &AtomicI64,
        send: &mpsc::Sender<Result<Vec<VerificationRow>>>,
    ) -> Result<()> {
        let mut reader = self.read().await?;
        loop {
            let after = next.fetch_add(PAGE.into(), Ordering::Relaxed);
            if after >= last {
                return Ok(());
            }
            let page: Option<String> =
                reader.tx.value(dialect::SQLITE_PAGE_OF_SECRETS, args![after, after + i64::from(PAGE)]).await?;
            let page = page.unwrap_or_default();
            let mut rows = Vec::with_capacity(PAGE.into());
            let mut last = Arc::default();
            for row in serde_json::Deserializer::from_str(&page).into_iter::<Written<'_>>() {
                rows.push(row.map_err(|_| StoreError::Corrupt { column: "of a key" })?.read(&mut last)?);
            }
            if send.send(Ok(rows)).await.is_err() {
                // Nobody wants to know any more.
                return Ok(());
            }
        }
    }
}

impl Reader {
    /// About how many secrets there are; 0 if the database does not know.
    pub async fn about_how_many_secrets(&mut self) -> Result<usize> {
        let sql = dialect::ABOUT_HOW_MANY_SECRETS.of(&self.tx);
        let about: i64 = self.tx.value(sql, &[]).await?.unwrap_or(0);
        Ok(usize::try_from(about).unwrap_or(0))
    }

    /// The secrets of these keys, those of one key together.
    pub async fn verifications_of(&mut self, keys: &[KeyId]) -> Result<Vec<VerificationRow>> {
        let sql = OF_KEYS.of(&self.tx);
        self.tx.fetch_all(sql, args![as_json(keys)]).await
    }

    /// The digests that those of these keys had which are deleted, each with its key.
    pub async fn tombstones_of(&mut self, keys: &[KeyId]) -> Result<Vec<(KeyId, Vec<u8>)>> {
        let sql = TOMBSTONES_OF_KEYS.of(&self.tx);
        let tombstones = self.tx.fetch_all::<Tombstone>(sql, args![as_json(keys)]).await?;
        Ok(tombstones.into_iter().map(|Tombstone(key, digest)| (key, digest)).collect())
    }
}

fn as_json(keys: &[KeyId]) -> String {
    serde_json::json!(keys.iter().map(|key| key.0.as_simple().to_string()).collect::<Vec<_>>()).to_string()
}
