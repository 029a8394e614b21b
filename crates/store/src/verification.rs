//! What the keyring holds: one row for each secret of each key.

use jiff::Timestamp;
use keyrack_core::format::Environment;
use keyrack_core::status::Switch;
use keyrack_core::{GroupId, KeyId, OrganizationId, WorkspaceId};

use crate::driver::{FromRow, Row, args};
use crate::{Reader, Result, statements};

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
        Ok(Self {
            digest: row.get("digest")?,
            pepper_id: row.get("pepper_id")?,
            slow_hash: row.get("slow_hash")?,
            version: row.get("version")?,
            secret_expires_at: row.get("secret_expires_at")?,
            key: row.get("id")?,
            name: row.get("name")?,
            organization: row.get("organization_id")?,
            group: row.get("group_id")?,
            workspace: row.get("workspace_id")?,
            environment: row.parse("environment", Environment::parse)?,
            switch: row.parse("switch", Switch::parse)?,
            expires_at: row.get("expires_at")?,
            scopes: row.get("scopes")?,
            ip_allowlist: row.get("ip_allowlist")?,
            metadata: row.get("metadata")?,
            imported: row.get("imported")?,
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
