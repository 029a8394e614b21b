//! Secrets: named values, sealed, that callers are given.

use jiff::Timestamp;
use keyrack_core::{DataKeyId, OrganizationId, SecretId, SecretScope};
use uuid::Uuid;

use crate::driver::{FromRow, Row, args};
use crate::{Reader, Result, StoreError, Writer, statements};

/// A secret as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Secret {
    /// Its id.
    pub id: SecretId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// Its name, the only one of its scope.
    pub name: String,
    /// Who is given it.
    pub scope: SecretScope,
    /// What that scope is called: the name of the route, group or key. Read only, and not everywhere.
    pub owner_name: Option<String>,
    /// What it is sealed with.
    pub data_key: DataKeyId,
    /// Its value, sealed.
    pub sealed: Vec<u8>,
    /// How many bytes the value has.
    pub size: i64,
    /// What it is for.
    pub comment: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Which secrets of an organization are asked for.
#[derive(Clone, Default, Debug)]
pub struct SecretFilter {
    /// Of this name.
    pub name: Option<String>,
    /// Of this kind of scope.
    pub scope: Option<&'static str>,
    /// Of this owner.
    pub owner: Option<Uuid>,
    /// After this one.
    pub after: Option<SecretId>,
}

statements! {
    INSERT = "INSERT INTO secret (id, organization_id, name, scope, owner_id, route_id, group_id, key_id, data_key_id, sealed, size, \
        comment, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
    UPDATE = "UPDATE secret SET data_key_id = $3, sealed = $4, size = $5, comment = $6, updated_at = $7 \
        WHERE organization_id = $1 AND id = $2";
    DELETE = "DELETE FROM secret WHERE organization_id = $1 AND id = $2";
    FIND = "SELECT s.id, s.organization_id, s.name, s.scope, s.route_id, s.group_id, s.key_id, s.data_key_id, s.sealed, s.size, \
        s.comment, s.created_at, s.updated_at, COALESCE(k.name, g.name, r.name) AS owner_name FROM secret s \
        LEFT JOIN api_key k ON k.id = s.key_id LEFT JOIN key_group g ON g.id = s.group_id LEFT JOIN route r ON r.id = s.route_id \
        WHERE s.organization_id = $1 AND s.id = $2";
    FIND_ANYWHERE = "SELECT id, organization_id, name, scope, route_id, group_id, key_id, data_key_id, sealed, size, comment, \
        created_at, updated_at, CAST(NULL AS TEXT) AS owner_name FROM secret WHERE id = $1";
    LIST = "SELECT s.id, s.organization_id, s.name, s.scope, s.route_id, s.group_id, s.key_id, s.data_key_id, s.sealed, s.size, \
        s.comment, s.created_at, s.updated_at, COALESCE(k.name, g.name, r.name) AS owner_name FROM secret s \
        LEFT JOIN api_key k ON k.id = s.key_id LEFT JOIN key_group g ON g.id = s.group_id LEFT JOIN route r ON r.id = s.route_id \
        WHERE s.organization_id = $1 AND (s.name = $2 OR $2 IS NULL) AND (s.scope = $3 OR $3 IS NULL) \
        AND (s.owner_id = $4 OR $4 IS NULL) AND (s.id > $5 OR $5 IS NULL) ORDER BY s.id LIMIT $6";
    LIST_ALL = "SELECT id, organization_id, name, scope, route_id, group_id, key_id, data_key_id, sealed, size, comment, \
        created_at, updated_at, CAST(NULL AS TEXT) AS owner_name FROM secret WHERE id > $1 OR $1 IS NULL ORDER BY id LIMIT $2";
}

impl FromRow for Secret {
    fn from_row(row: &Row) -> Result<Self> {
        let mut owner = None;
        for column in ["route_id", "group_id", "key_id"] {
            owner = owner.or(row.get::<Option<Uuid>>(column)?);
        }
        let scope: String = row.get("scope")?;
        Ok(Self {
            id: row.get("id")?,
            organization: row.get("organization_id")?,
            name: row.get("name")?,
            scope: SecretScope::of(&scope, owner).ok_or(StoreError::Corrupt { column: "scope" })?,
            owner_name: row.get("owner_name")?,
            data_key: row.get("data_key_id")?,
            sealed: row.get("sealed")?,
            size: row.get("size")?,
            comment: row.get("comment")?,
            created_at: row.get("created_at")?,
            updated_at: row.get("updated_at")?,
        })
    }
}

impl Reader {
    /// A secret of an organization.
    pub async fn find_secret(&mut self, organization: OrganizationId, id: SecretId) -> Result<Option<Secret>> {
        self.tx.fetch(FIND, args![organization, id]).await
    }

    /// A secret, whosever it is.
    pub async fn find_secret_anywhere(&mut self, id: SecretId) -> Result<Option<Secret>> {
        self.tx.fetch(FIND_ANYWHERE, args![id]).await
    }

    /// Secrets of an organization, the oldest first.
    pub async fn list_secrets(
        &mut self,
        organization: OrganizationId,
        filter: &SecretFilter,
        limit: i64,
    ) -> Result<Vec<Secret>> {
        let SecretFilter { name, scope, owner, after } = filter;
        self.tx.fetch_all(LIST, args![organization, name.as_deref(), *scope, *owner, *after, limit]).await
    }

    /// Secrets of the whole instance, the oldest first.
    pub async fn list_all_secrets(&mut self, after: Option<SecretId>, limit: i64) -> Result<Vec<Secret>> {
        self.tx.fetch_all(LIST_ALL, args![after, limit]).await
    }
}

impl Writer {
    /// Adds a secret.
    pub async fn insert_secret(&mut self, s: &Secret) -> Result<()> {
        let of = |kind: &str| s.scope.owner().filter(|_| s.scope.as_str() == kind);
        let args = args![
            s.id,
            s.organization,
            &s.name,
            s.scope.as_str(),
            s.scope.owner().unwrap_or(s.organization.0),
            of("route"),
            of("group"),
            of("key"),
            s.data_key,
            s.sealed.as_slice(),
            s.size,
            &s.comment,
            s.created_at,
            s.updated_at,
        ];
        self.tx.execute_one(INSERT, args).await
    }

    /// Writes everything of a secret that may change.
    pub async fn update_secret(&mut self, s: &Secret) -> Result<()> {
        let args = args![s.organization, s.id, s.data_key, s.sealed.as_slice(), s.size, &s.comment, s.updated_at];
        self.tx.execute_one(UPDATE, args).await
    }

    /// Removes a secret.
    pub async fn delete_secret(&mut self, organization: OrganizationId, id: SecretId) -> Result<()> {
        self.tx.execute_one(DELETE, args![organization, id]).await
    }
}
