//! Groups of keys.

use jiff::Timestamp;
use keyrack_core::{Body, GroupId, KeyFormat, OrganizationId, RateLimits, ScopeSet};

use crate::driver::{FromRow, Row, args};
use crate::event::words;
use crate::keys::parse_rate_limits;
use crate::{Reader, Result, StoreError, Writer, statements};

words! {
    /// How the keys of a group are remembered.
    HashProfile {
        /// HMAC-SHA-256 under the pepper. The default: a key's 256 random bits need no slow hash.
        HmacSha256 = "hmac-sha256",
        /// bcrypt, for those whose rules ask for it.
        Bcrypt = "bcrypt",
    }
}

/// A named set of keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyGroup {
    /// Its id.
    pub id: GroupId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// Its name, unique in the organization.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// How new keys look.
    pub key_format: KeyFormat,
    /// How keys looked that were made before the format changed.
    pub former_formats: Vec<KeyFormat>,
    /// How its keys are remembered.
    pub hash_profile: HashProfile,
    /// The scopes of a key that is made without any.
    pub default_scopes: ScopeSet,
    /// How much all its keys together may ask for.
    pub rate_limits: RateLimits,
    /// Whether the texts of its keys are kept, sealed.
    pub recoverable: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

statements! {
    INSERT = "INSERT INTO key_group (id, organization_id, name, description, key_prefix, key_body, former_formats, \
        hash_profile, default_scopes, created_at, updated_at, rate_limits, recoverable) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
    UPDATE = "UPDATE key_group SET name = $3, description = $4, key_prefix = $5, key_body = $6, former_formats = $7, \
        default_scopes = $8, updated_at = $9, rate_limits = $10, recoverable = $11 WHERE organization_id = $1 AND id = $2";
    DELETE = "DELETE FROM key_group WHERE organization_id = $1 AND id = $2";
    FIND = "SELECT id, organization_id, name, description, key_prefix, key_body, former_formats, hash_profile, \
        default_scopes, rate_limits, recoverable, created_at, updated_at FROM key_group WHERE organization_id = $1 AND id = $2";
    FIND_BY_NAME = "SELECT id, organization_id, name, description, key_prefix, key_body, former_formats, hash_profile, \
        default_scopes, rate_limits, recoverable, created_at, updated_at FROM key_group WHERE organization_id = $1 AND name = $2";
    LIST = "SELECT id, organization_id, name, description, key_prefix, key_body, former_formats, hash_profile, \
        default_scopes, rate_limits, recoverable, created_at, updated_at FROM key_group WHERE organization_id = $1 ORDER BY id";
}

pub(crate) fn scopes_text(scopes: &ScopeSet) -> String {
    scopes.to_strings().join(" ")
}

pub(crate) fn parse_scopes(text: &str) -> Option<ScopeSet> {
    ScopeSet::parse(&text.split_ascii_whitespace().collect::<Vec<_>>()).ok()
}

impl FromRow for KeyGroup {
    fn from_row(row: &Row) -> Result<Self> {
        let body = row.parse("key_body", Body::parse)?;
        Ok(Self {
            id: row.get("id")?,
            organization: row.get("organization_id")?,
            name: row.get("name")?,
            description: row.get("description")?,
            key_format: KeyFormat::new(row.get("key_prefix")?, body)
                .map_err(|_| StoreError::Corrupt { column: "key_prefix" })?,
            former_formats: row.json("former_formats")?,
            hash_profile: row.parse("hash_profile", HashProfile::parse)?,
            default_scopes: row.parse("default_scopes", parse_scopes)?,
            rate_limits: parse_rate_limits(row.get::<Option<String>>("rate_limits")?.as_deref())?,
            recoverable: row.get("recoverable")?,
            created_at: row.get("created_at")?,
            updated_at: row.get("updated_at")?,
        })
    }
}

fn formats_text(formats: &[KeyFormat]) -> String {
    serde_json::json!(formats).to_string()
}

impl Reader {
    /// A group of an organization.
    pub async fn find_group(&mut self, organization: OrganizationId, id: GroupId) -> Result<Option<KeyGroup>> {
        self.tx.fetch(FIND, args![organization, id]).await
    }

    /// The group of a name.
    pub async fn find_group_by_name(&mut self, organization: OrganizationId, name: &str) -> Result<Option<KeyGroup>> {
        self.tx.fetch(FIND_BY_NAME, args![organization, name]).await
    }

    /// All groups of an organization.
    pub async fn list_groups(&mut self, organization: OrganizationId) -> Result<Vec<KeyGroup>> {
        self.tx.fetch_all(LIST, args![organization]).await
    }
}

impl Writer {
    /// Adds a group.
    pub async fn insert_group(&mut self, g: &KeyGroup) -> Result<()> {
        let args = args![
            g.id,
            g.organization,
            &g.name,
            &g.description,
            g.key_format.prefix(),
            g.key_format.body().as_str(),
            formats_text(&g.former_formats),
            g.hash_profile.as_str(),
            scopes_text(&g.default_scopes),
            g.created_at,
            g.updated_at,
            g.rate_limits.to_text(),
            g.recoverable,
        ];
        self.tx.execute_one(INSERT, args).await
    }

    /// Writes everything of a group that may change.
    pub async fn update_group(&mut self, g: &KeyGroup) -> Result<()> {
        let args = args![
            g.organization,
            g.id,
            &g.name,
            &g.description,
            g.key_format.prefix(),
            g.key_format.body().as_str(),
            formats_text(&g.former_formats),
            scopes_text(&g.default_scopes),
            g.updated_at,
            g.rate_limits.to_text(),
            g.recoverable,
        ];
        self.tx.execute_one(UPDATE, args).await
    }

    /// Removes a group that holds no key.
    pub async fn delete_group(&mut self, organization: OrganizationId, id: GroupId) -> Result<()> {
        self.tx.execute_one(DELETE, args![organization, id]).await
    }
}
