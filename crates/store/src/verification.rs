//! What the keyring holds: one row for each secret of each key.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use keyrack_core::format::Environment;
use keyrack_core::status::Switch;
use keyrack_core::{GroupId, KeyId, OrganizationId, WorkspaceId, from_micros};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::dialect::{self, Both};
use crate::driver::{FromRow, Row, Tx, args};
use crate::{Reader, Result, Store, StoreError, statements};

/// How many pages of a SQLite file are read at the same time.
const LOADERS: usize = 2;
/// How many places a page has.
const PAGE: i64 = 250;

/// A secret with all of its key that a decision needs. Lists are left as text, since most keys share theirs with others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerificationRow {
    /// The digest, or its first 8 bytes.
    pub digest: Vec<u8>,
    /// Under which pepper.
    pub pepper_id: i64,
    /// The bcrypt hash, if the group's profile is that.
    pub slow_hash: Option<String>,
    /// Which secret of the key.
    pub version: i64,
    /// Until when the secret is taken.
    pub secret_expires_at: Option<Timestamp>,
    /// The key.
    pub key: KeyId,
    /// Its name.
    pub name: String,
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
    /// Until when it works.
    pub expires_at: Option<Timestamp>,
    /// Its scopes, with spaces between.
    pub scopes: String,
    /// Its networks, with spaces between.
    pub ip_allowlist: Option<String>,
    /// Its metadata, as JSON.
    pub metadata: Option<String>,
    /// Whether its text was made elsewhere.
    pub imported: bool,
}

/// Every column of a secret with its key, in the order of [`Columns`].
macro_rules! secrets {
    ($($rest:literal)?) => {
        concat!(
            "SELECT s.digest, s.pepper_id, s.slow_hash, s.version, s.expires_at AS secret_expires_at, k.id, k.name, \
            k.organization_id, k.group_id, k.workspace_id, k.environment, k.switch, k.expires_at, k.scopes, \
            k.ip_allowlist, k.metadata, k.imported FROM key_secret s JOIN api_key k ON k.id = s.key_id"
            $(, " ", $rest)?
        )
    };
}

statements! {
    ALL = secrets!();
}

/// Of some keys: their ids come as one JSON text, of which each database makes a list in its own way.
const OF_KEYS: Both = Both {
    sqlite: secrets!("WHERE k.id IN (SELECT unhex(value) FROM json_each($1)) ORDER BY k.id"),
    postgres: secrets!("WHERE k.id IN (SELECT value::uuid FROM json_array_elements_text($1::json)) ORDER BY k.id"),
};
const TOMBSTONES_OF_KEYS: Both = Both {
    sqlite: "SELECT key_id, digest FROM tombstone WHERE key_id IN (SELECT unhex(value) FROM json_each($1))",
    postgres: "SELECT key_id, digest FROM tombstone \
        WHERE key_id IN (SELECT value::uuid FROM json_array_elements_text($1::json))",
};
pub(crate) const BOTH: &[Both] = &[OF_KEYS, TOMBSTONES_OF_KEYS, dialect::ABOUT_HOW_MANY_SECRETS];

/// The columns of a secret as they are stored, in the order of the statements.
#[derive(Deserialize)]
struct Columns<'a> {
    #[serde(deserialize_with = "hex")]
    digest: Vec<u8>,
    pepper_id: i64,
    slow_hash: Option<String>,
    version: i64,
    secret_expires_at: Option<i64>,
    key: Uuid,
    name: String,
    organization: Uuid,
    group: Uuid,
    workspace: Option<Uuid>,
    #[serde(borrow)]
    environment: Cow<'a, str>,
    #[serde(borrow)]
    switch: Cow<'a, str>,
    expires_at: Option<i64>,
    scopes: String,
    ip_allowlist: Option<String>,
    metadata: Option<String>,
    #[serde(deserialize_with = "flag")]
    imported: bool,
}

/// SQLite has no JSON for bytes.
fn hex<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Vec<u8>, D::Error> {
    let text = <&str>::deserialize(from)?;
    data_encoding::HEXUPPER.decode(text.as_bytes()).map_err(D::Error::custom)
}

/// Nor has it truth values.
fn flag<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<bool, D::Error> {
    i64::deserialize(from).map(|number| number != 0)
}

impl TryFrom<Columns<'_>> for VerificationRow {
    type Error = StoreError;

    fn try_from(columns: Columns<'_>) -> Result<Self> {
        let unreadable = |column| StoreError::Corrupt { column };
        Ok(Self {
            digest: columns.digest,
            pepper_id: columns.pepper_id,
            slow_hash: columns.slow_hash,
            version: columns.version,
            secret_expires_at: columns.secret_expires_at.map(from_micros),
            key: KeyId(columns.key),
            name: columns.name,
            organization: OrganizationId(columns.organization),
            group: GroupId(columns.group),
            workspace: columns.workspace.map(WorkspaceId),
            environment: Environment::parse(&columns.environment).ok_or(unreadable("environment"))?,
            switch: Switch::parse(&columns.switch).ok_or(unreadable("switch"))?,
            expires_at: columns.expires_at.map(from_micros),
            scopes: columns.scopes,
            ip_allowlist: columns.ip_allowlist,
            metadata: columns.metadata,
            imported: columns.imported,
        })
    }
}

impl FromRow for VerificationRow {
    fn from_row(row: &Row) -> Result<Self> {
        let columns = Columns {
            digest: row.at(0)?,
            pepper_id: row.at(1)?,
            slow_hash: row.at(2)?,
            version: row.at(3)?,
            secret_expires_at: row.at(4)?,
            key: row.at(5)?,
            name: row.at(6)?,
            organization: row.at(7)?,
            group: row.at(8)?,
            workspace: row.at(9)?,
            environment: Cow::Owned(row.at(10)?),
            switch: Cow::Owned(row.at(11)?),
            expires_at: row.at(12)?,
            scopes: row.at(13)?,
            ip_allowlist: row.at(14)?,
            metadata: row.at(15)?,
            imported: row.at(16)?,
        };
        columns.try_into()
    }
}

struct Tombstone(KeyId, Vec<u8>);

impl FromRow for Tombstone {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self(row.get("key_id")?, row.get("digest")?))
    }
}

impl Store {
    /// Hands over the secrets of all keys, in no order. Each is as it was at the time of a snapshot, or is as it became since.
    pub async fn for_each_verification(
        &self,
        snapshot: &mut Reader,
        mut take: impl FnMut(VerificationRow) -> Result<()>,
    ) -> Result<()> {
        if matches!(snapshot.tx, Tx::Postgres(_)) {
            return snapshot.tx.for_each(ALL, &[], take).await;
        }
        let last: i64 = snapshot.tx.value(dialect::ABOUT_HOW_MANY_SECRETS.sqlite, &[]).await?.unwrap_or(0);
        let next = Arc::new(AtomicI64::new(0));
        let (send, mut pages) = mpsc::channel(2 * LOADERS);
        for _ in 0..LOADERS {
            let (store, next, send) = (self.clone(), Arc::clone(&next), send.clone());
            tokio::spawn(async move {
                if let Err(error) = store.send_secrets(last, &next, &send).await {
                    let _ = send.send(Err(error)).await;
                }
            });
        }
        drop(send);
        while let Some(page) = pages.recv().await {
            for row in page? {
                take(row)?;
            }
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
            let after = next.fetch_add(PAGE, Ordering::Relaxed);
            if after >= last {
                return Ok(());
            }
            let page: Option<String> =
                reader.tx.value(dialect::SQLITE_PAGE_OF_SECRETS, args![after, after + PAGE]).await?;
            let page = page.unwrap_or_default();
            let rows: Vec<Columns<'_>> =
                serde_json::from_str(&page).map_err(|_| StoreError::Corrupt { column: "of a key" })?;
            let rows: Result<Vec<VerificationRow>> = rows.into_iter().map(TryInto::try_into).collect();
            if send.send(rows).await.is_err() {
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
