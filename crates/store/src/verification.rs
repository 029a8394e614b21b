//! What the keyring holds: one row for each secret of each key.

use jiff::Timestamp;
use keyrack_core::format::Environment;
use keyrack_core::status::Switch;
use keyrack_core::{GroupId, KeyId, OrganizationId, WorkspaceId, from_micros};
use uuid::Uuid;

use crate::driver::{FromRow, Row, args};
use crate::{Reader, Result, StoreError, statements};

/// A secret with all of its key that a decision needs. Lists are left as text, since most keys share theirs with others.
#[derive(Clone, Debug)]
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

statements! {
    ALL = "SELECT s.digest, s.pepper_id, s.slow_hash, s.version, s.expires_at AS secret_expires_at, k.id, k.name, \
        k.organization_id, k.group_id, k.workspace_id, k.environment, k.switch, k.expires_at, k.scopes, k.ip_allowlist, \
        k.metadata, k.imported FROM key_secret s JOIN api_key k ON k.id = s.key_id";
    OF_KEY = "SELECT s.digest, s.pepper_id, s.slow_hash, s.version, s.expires_at AS secret_expires_at, k.id, k.name, \
        k.organization_id, k.group_id, k.workspace_id, k.environment, k.switch, k.expires_at, k.scopes, k.ip_allowlist, \
        k.metadata, k.imported FROM key_secret s JOIN api_key k ON k.id = s.key_id WHERE k.id = $1";
    TOMBSTONES_OF_KEY = "SELECT digest AS value FROM tombstone WHERE key_id = $1";
}

impl FromRow for VerificationRow {
    fn from_row(row: &Row) -> Result<Self> {
        let word =
            |place, column| -> Result<(String, StoreError)> { Ok((row.at(place)?, StoreError::Corrupt { column })) };
        let (environment, no_environment) = word(10, "environment")?;
        let (switch, no_switch) = word(11, "switch")?;
        Ok(Self {
            digest: row.at(0)?,
            pepper_id: row.at(1)?,
            slow_hash: row.at(2)?,
            version: row.at(3)?,
            secret_expires_at: row.at::<Option<i64>>(4)?.map(from_micros),
            key: KeyId(row.at(5)?),
            name: row.at(6)?,
            organization: OrganizationId(row.at(7)?),
            group: GroupId(row.at(8)?),
            workspace: row.at::<Option<Uuid>>(9)?.map(WorkspaceId),
            environment: Environment::parse(&environment).ok_or(no_environment)?,
            switch: Switch::parse(&switch).ok_or(no_switch)?,
            expires_at: row.at::<Option<i64>>(12)?.map(from_micros),
            scopes: row.at(13)?,
            ip_allowlist: row.at(14)?,
            metadata: row.at(15)?,
            imported: row.at(16)?,
        })
    }
}

struct Digest(Vec<u8>);

impl FromRow for Digest {
    fn from_row(row: &Row) -> Result<Self> {
        row.get("value").map(Self)
    }
}

impl Reader {
    /// Hands over the secrets of all keys as they arrive.
    pub async fn for_each_verification(&mut self, take: impl FnMut(VerificationRow) -> Result<()>) -> Result<()> {
        self.tx.for_each(ALL, &[], take).await
    }

    /// The secrets of one key.
    pub async fn verification_of(&mut self, key: KeyId) -> Result<Vec<VerificationRow>> {
        self.tx.fetch_all(OF_KEY, args![key]).await
    }

    /// The digests a deleted key had.
    pub async fn tombstones_of(&mut self, key: KeyId) -> Result<Vec<Vec<u8>>> {
        Ok(self.tx.fetch_all::<Digest>(TOMBSTONES_OF_KEY, args![key]).await?.into_iter().map(|d| d.0).collect())
    }
}
