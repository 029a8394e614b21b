//! Keys, their secrets, and what is left of the deleted ones.

use jiff::Timestamp;
use keyrack_core::status::{KeyState, KeyStatus, Switch};
use keyrack_core::{
    Environment, GroupId, IpAllowlist, KeyId, OrganizationId, RateLimits, ScopeSet, UserId, WorkspaceId,
};

use crate::driver::{FromRow, Row, args};
use crate::groups::{parse_scopes, scopes_text};
use crate::{Reader, Result, StoreError, Writer, statements};

/// A key as it is stored, with how its newest secret may be shown.
#[derive(Clone, PartialEq, Debug)]
pub struct ApiKey {
    /// Its id, which no rotation changes.
    pub id: KeyId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// Its group.
    pub group: GroupId,
    /// The workspace it is bound to; `None` for the whole organization.
    pub workspace: Option<WorkspaceId>,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// For real use or for tests.
    pub environment: Environment,
    /// What it may do.
    pub scopes: ScopeSet,
    /// What has been done to it.
    pub switch: Switch,
    /// Until when it works.
    pub expires_at: Option<Timestamp>,
    /// Where it works from.
    pub ip_allowlist: IpAllowlist,
    /// How much it may ask for.
    pub rate_limits: RateLimits,
    /// Whatever its owner wrote down with it: a JSON object.
    pub metadata: Option<serde_json::Value>,
    /// Whether its text was made elsewhere.
    pub imported: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// The person who made it, as long as they are a member.
    pub created_by: Option<UserId>,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Why it was revoked.
    pub revoke_reason: Option<String>,
    /// When it was last let in.
    pub last_used_at: Option<Timestamp>,
    /// The beginning of its newest secret.
    pub display_prefix: String,
    /// The end of its newest secret.
    pub last4: String,
}

impl ApiKey {
    /// What it is at a moment.
    pub fn status(&self, now: Timestamp) -> KeyStatus {
        KeyState { switch: self.switch, expires_at: self.expires_at }.status(now)
    }
}

/// A secret as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeySecret {
    /// Which one of its key, from 1.
    pub version: i64,
    /// Its visible beginning.
    pub display_prefix: String,
    /// Its visible end.
    pub last4: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it is taken; `None` as long as the key is.
    pub expires_at: Option<Timestamp>,
    /// When it last let somebody in.
    pub last_used_at: Option<Timestamp>,
    /// From where, as far as that is known.
    pub last_address: Option<String>,
    /// What the client called itself then.
    pub last_user_agent: Option<String>,
}

/// A secret to be stored.
#[derive(Clone, Debug)]
pub struct NewSecret {
    /// Which one of its key.
    pub version: i64,
    /// Under which pepper it was digested.
    pub pepper_id: i64,
    /// The digest, or its first 8 bytes beside a slow hash.
    pub digest: Vec<u8>,
    /// The bcrypt hash.
    pub slow_hash: Option<String>,
    /// Its visible beginning.
    pub display_prefix: String,
    /// Its visible end.
    pub last4: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// In which order keys are listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum KeySort {
    /// Newest first.
    #[default]
    CreatedAt,
    /// Never used first, then longest unused.
    LastUsedAt,
}

/// Where a page of keys starts: behind the key with this id and, where that is the order, this last use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyPosition {
    /// Last use in microseconds, 0 for never.
    pub last_used: i64,
    /// The key.
    pub id: KeyId,
}

/// Which keys are wanted.
#[derive(Clone, Debug, Default)]
pub struct KeyFilter {
    /// Only of this group.
    pub group: Option<GroupId>,
    /// Only of this workspace.
    pub workspace: Option<WorkspaceId>,
    /// Only in this state.
    pub status: Option<KeyStatus>,
    /// Only with this in their name, whatever the case of its letters.
    pub name_contains: Option<String>,
    /// Only not used since this moment (and made before it).
    pub unused_since: Option<Timestamp>,
    /// The order.
    pub sort: KeySort,
    /// Where to start.
    pub after: Option<KeyPosition>,
}

/// When any secret of a key last let somebody in.
macro_rules! last_use {
    () => {
        "(SELECT MAX(u.last_used_at) FROM key_use u WHERE u.key_id = k.id)"
    };
}

/// A key with its newest secret.
macro_rules! select_key {
    () => {
        concat!(
            "SELECT k.id, k.organization_id, k.group_id, k.workspace_id, k.name, k.description, k.environment, k.scopes, \
             k.switch, k.expires_at, k.ip_allowlist, k.metadata, k.rate_limits, k.imported, k.created_at, k.created_by, k.updated_at, \
             k.revoked_at, k.revoke_reason, s.display_prefix, s.last4, ",
            last_use!(),
            " AS last_used_at FROM api_key k JOIN key_secret s ON s.key_id = k.id \
             AND s.version = (SELECT MAX(version) FROM key_secret WHERE key_id = k.id) "
        )
    };
}

/// What [`KeyFilter`] asks: $1 organization, $2 group, $3 workspace, $4 status, $5 now, $6 name pattern, $7 unused since.
/// A placeholder first stands where its type shows: of `$2 IS NULL` alone PostgreSQL cannot tell it.
macro_rules! filter_keys {
    () => {
        concat!(
            "WHERE k.organization_id = $1 AND (k.group_id = $2 OR $2 IS NULL) \
             AND (k.workspace_id = $3 OR $3 IS NULL) AND ($4 = CASE WHEN k.switch <> 'revoked' AND k.expires_at <= $5 \
             THEN 'expired' ELSE k.switch END OR $4 IS NULL) AND (k.name_folded LIKE $6 ESCAPE '!' OR $6 IS NULL) \
             AND ((k.created_at < $7 AND COALESCE(",
            last_use!(),
            ", 0) < $7) OR $7 IS NULL) "
        )
    };
}

statements! {
    FIND = concat!(select_key!(), "WHERE k.organization_id = $1 AND k.id = $2");
    FIND_ANYWHERE = concat!(select_key!(), "WHERE k.id = $1");
    LIST_BY_CREATION = concat!(select_key!(), filter_keys!(), "AND (k.id < $8 OR $8 IS NULL) ORDER BY k.id DESC LIMIT $9");
    // No index has the order of last uses, so all of them are looked at: once, and nothing else of keys that are not on the page.
    LIST_BY_USE = concat!("WITH candidate AS MATERIALIZED (SELECT k.id, COALESCE(", last_use!(), ", 0) AS used FROM api_key k ",
        filter_keys!(), ") ", select_key!(), "WHERE k.id IN (SELECT id FROM candidate WHERE used > $8 OR (used = $8 AND id > $9) \
        OR $8 IS NULL ORDER BY used, id LIMIT $10) ORDER BY COALESCE(", last_use!(), ", 0), k.id");
    LIST_LIVE_OF_GROUP = concat!(select_key!(), "WHERE k.organization_id = $1 AND k.group_id = $2 \
        AND k.switch <> 'revoked' AND (k.expires_at IS NULL OR k.expires_at > $3) ORDER BY k.id LIMIT $4");
    LIST_LIVE_OF_WORKSPACE = concat!(select_key!(), "WHERE k.organization_id = $1 AND k.workspace_id = $2 \
        AND k.switch <> 'revoked' AND (k.expires_at IS NULL OR k.expires_at > $3) ORDER BY k.id LIMIT $4");
    LIST_OF_GROUP = concat!(select_key!(), "WHERE k.organization_id = $1 AND k.group_id = $2 ORDER BY k.id LIMIT $3");
    LIST_OF_WORKSPACE = concat!(select_key!(), "WHERE k.organization_id = $1 AND k.workspace_id = $2 ORDER BY k.id LIMIT $3");
    UPDATE = "UPDATE api_key SET name = $3, name_folded = $4, description = $5, scopes = $6, switch = $7, \
        expires_at = $8, ip_allowlist = $9, metadata = $10, updated_at = $11, revoked_at = $12, revoke_reason = $13, \
        rate_limits = $14 \
        WHERE organization_id = $1 AND id = $2";
    INSERT_SECRET = "INSERT INTO key_secret (key_id, version, pepper_id, digest, slow_hash, display_prefix, last4, \
        created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    END_SECRET = "UPDATE key_secret SET expires_at = $3 WHERE key_id = $1 AND version = $2";
    LIST_SECRETS = "SELECT s.version, s.display_prefix, s.last4, s.created_at, s.expires_at, u.last_used_at, u.address, \
        u.user_agent FROM key_secret s LEFT JOIN key_use u ON u.key_id = s.key_id AND u.version = s.version \
        WHERE s.key_id = $1 ORDER BY s.version";
}

impl FromRow for ApiKey {
    fn from_row(row: &Row) -> Result<Self> {
        let metadata: Option<String> = row.get("metadata")?;
        let metadata = metadata.map(|text| serde_json::from_str(&text)).transpose();
        Ok(Self {
            id: row.get("id")?,
            organization: row.get("organization_id")?,
            group: row.get("group_id")?,
            workspace: row.get("workspace_id")?,
            name: row.get("name")?,
            description: row.get("description")?,
            environment: row.parse("environment", Environment::parse)?,
            scopes: row.parse("scopes", parse_scopes)?,
            switch: row.parse("switch", Switch::parse)?,
            expires_at: row.get("expires_at")?,
            ip_allowlist: parse_allowlist(row.get::<Option<String>>("ip_allowlist")?.as_deref())?,
            rate_limits: parse_rate_limits(row.get::<Option<String>>("rate_limits")?.as_deref())?,
            metadata: metadata.map_err(|_| StoreError::Corrupt { column: "metadata" })?,
            imported: row.get("imported")?,
            created_at: row.get("created_at")?,
            created_by: row.get("created_by")?,
            updated_at: row.get("updated_at")?,
            revoked_at: row.get("revoked_at")?,
            revoke_reason: row.get("revoke_reason")?,
            last_used_at: row.get("last_used_at")?,
            display_prefix: row.get("display_prefix")?,
            last4: row.get("last4")?,
        })
    }
}

impl FromRow for KeySecret {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            version: row.get("version")?,
            display_prefix: row.get("display_prefix")?,
            last4: row.get("last4")?,
            created_at: row.get("created_at")?,
            expires_at: row.get("expires_at")?,
            last_used_at: row.get("last_used_at")?,
            last_address: row.get("address")?,
            last_user_agent: row.get("user_agent")?,
        })
    }
}

/// Reads the column `ip_allowlist`: networks with spaces between, or nothing.
pub fn parse_allowlist(text: Option<&str>) -> Result<IpAllowlist> {
    let networks: Option<Vec<&str>> = text.map(|text| text.split_ascii_whitespace().collect());
    IpAllowlist::parse(networks.as_deref()).map_err(|_| StoreError::Corrupt { column: "ip_allowlist" })
}

/// Reads a column `rate_limits`: units and seconds, or nothing.
pub(crate) fn parse_rate_limits(text: Option<&str>) -> Result<RateLimits> {
    let Some(text) = text else { return Ok(RateLimits::default()) };
    RateLimits::parse(text).ok_or(StoreError::Corrupt { column: "rate_limits" })
}

/// A name as it is searched: without the case of any letter, which the databases fold each in its own way.
pub(crate) fn folded(name: &str) -> String {
    name.to_lowercase()
}

/// The text that [`LIST_BY_CREATION`] compares folded names with.
fn pattern(part: &str) -> String {
    let escaped = folded(part).replace('!', "!!").replace('%', "!%").replace('_', "!_");
    format!("%{escaped}%")
}

impl Reader {
    /// A key of an organization.
    pub async fn find_key(&mut self, organization: OrganizationId, id: KeyId) -> Result<Option<ApiKey>> {
        self.tx.fetch(FIND, args![organization, id]).await
    }

    /// A key of whatever organization: for those who act on the instance.
    pub async fn find_key_anywhere(&mut self, id: KeyId) -> Result<Option<ApiKey>> {
        self.tx.fetch(FIND_ANYWHERE, args![id]).await
    }

    /// A page of an organization's keys.
    pub async fn list_keys(
        &mut self,
        organization: OrganizationId,
        f: &KeyFilter,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<ApiKey>> {
        // PostgreSQL refuses such text as a whole.
        if f.name_contains.as_ref().is_some_and(|part| part.contains('\0')) {
            return Ok(Vec::new());
        }
        let status = f.status.map(KeyStatus::as_str);
        let name = f.name_contains.as_deref().map(pattern);
        let id = f.after.map(|p| p.id);
        match f.sort {
            KeySort::CreatedAt => {
                let args = args![organization, f.group, f.workspace, status, now, name, f.unused_since, id, limit];
                self.tx.fetch_all(LIST_BY_CREATION, args).await
            }
            KeySort::LastUsedAt => {
                let used = f.after.map(|p| p.last_used);
                let args =
                    args![organization, f.group, f.workspace, status, now, name, f.unused_since, used, id, limit];
                self.tx.fetch_all(LIST_BY_USE, args).await
            }
        }
    }

    /// Keys of a group; with `live_at` only those neither revoked nor expired then.
    pub async fn keys_of_group(
        &mut self,
        organization: OrganizationId,
        group: GroupId,
        live_at: Option<Timestamp>,
        limit: i64,
    ) -> Result<Vec<ApiKey>> {
        match live_at {
            Some(now) => self.tx.fetch_all(LIST_LIVE_OF_GROUP, args![organization, group, now, limit]).await,
            None => self.tx.fetch_all(LIST_OF_GROUP, args![organization, group, limit]).await,
        }
    }

    /// Keys bound to a workspace; with `live_at` only those neither revoked nor expired then.
    pub async fn keys_of_workspace(
        &mut self,
        organization: OrganizationId,
        workspace: WorkspaceId,
        live_at: Option<Timestamp>,
        limit: i64,
    ) -> Result<Vec<ApiKey>> {
        match live_at {
            Some(now) => self.tx.fetch_all(LIST_LIVE_OF_WORKSPACE, args![organization, workspace, now, limit]).await,
            None => self.tx.fetch_all(LIST_OF_WORKSPACE, args![organization, workspace, limit]).await,
        }
    }

    /// The secrets of a key, oldest first.
    pub async fn list_key_secrets(&mut self, key: KeyId) -> Result<Vec<KeySecret>> {
        self.tx.fetch_all(LIST_SECRETS, args![key]).await
    }
}

impl Writer {
    /// Writes everything of a key that may change.
    pub async fn update_key(&mut self, k: &ApiKey) -> Result<()> {
        let args = args![
            k.organization,
            k.id,
            &k.name,
            folded(&k.name),
            &k.description,
            scopes_text(&k.scopes),
            k.switch.as_str(),
            k.expires_at,
            k.ip_allowlist.to_strings().map(|n| n.join(" ")),
            k.metadata.as_ref().map(ToString::to_string),
            k.updated_at,
            k.revoked_at,
            k.revoke_reason.as_deref(),
            k.rate_limits.to_text(),
        ];
        self.tx.execute_one(UPDATE, args).await
    }

    /// Adds a secret to a key.
    pub async fn insert_key_secret(&mut self, key: KeyId, s: &NewSecret) -> Result<()> {
        let args = args![
            key,
            s.version,
            s.pepper_id,
            s.digest.as_slice(),
            s.slow_hash.as_deref(),
            &s.display_prefix,
            &s.last4,
            s.created_at
        ];
        self.tx.execute_one(INSERT_SECRET, args).await
    }

    /// Sets until when a secret is taken.
    pub async fn end_secret(&mut self, key: KeyId, version: i64, at: Timestamp) -> Result<()> {
        self.tx.execute_one(END_SECRET, args![key, version, at]).await
    }
}
