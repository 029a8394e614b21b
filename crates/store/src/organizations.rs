//! Organizations and their workspaces.

use jiff::Timestamp;
use keyrack_core::{OrganizationId, OrganizationState, RateLimits, Tier, WorkspaceId};

use crate::driver::{FromRow, Row, args};
use crate::keys::parse_rate_limits;
use crate::{Reader, Result, Writer, statements};

/// A tenant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Organization {
    /// Its id.
    pub id: OrganizationId,
    /// Its slug: never changes, never used again.
    pub slug: String,
    /// Its name.
    pub name: String,
    /// What it pays for.
    pub tier: Tier,
    /// Whether it is in use.
    pub state: OrganizationState,
    /// How much all its keys together may ask for.
    pub rate_limits: RateLimits,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A named place in an organization.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Workspace {
    /// Its id.
    pub id: WorkspaceId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// Its slug, unique in the organization.
    pub slug: String,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

statements! {
    INSERT_ORGANIZATION = "INSERT INTO organization (id, slug, name, tier, state, created_at, updated_at, rate_limits) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    UPDATE_ORGANIZATION = "UPDATE organization SET name = $2, tier = $3, state = $4, updated_at = $5, rate_limits = $6 WHERE id = $1";
    FIND_ORGANIZATION = "SELECT id, slug, name, tier, state, rate_limits, created_at, updated_at FROM organization WHERE id = $1";
    FIND_ORGANIZATION_BY_SLUG =
        "SELECT id, slug, name, tier, state, rate_limits, created_at, updated_at FROM organization WHERE slug = $1";
    LIST_ORGANIZATIONS = "SELECT id, slug, name, tier, state, rate_limits, created_at, updated_at FROM organization \
        WHERE (id > $1 OR $1 IS NULL) ORDER BY id LIMIT $2";
    LIST_ORGANIZATIONS_OF_USER = "SELECT o.id, o.slug, o.name, o.tier, o.state, o.rate_limits, o.created_at, o.updated_at \
        FROM organization o JOIN member m ON m.organization_id = o.id WHERE m.user_id = $1 ORDER BY o.id";
    INSERT_WORKSPACE = "INSERT INTO workspace (id, organization_id, slug, name, created_at, updated_at) \
        VALUES ($1, $2, $3, $4, $5, $6)";
    UPDATE_WORKSPACE = "UPDATE workspace SET name = $3, updated_at = $4 WHERE organization_id = $1 AND id = $2";
    DELETE_WORKSPACE = "DELETE FROM workspace WHERE organization_id = $1 AND id = $2";
    FIND_WORKSPACE = "SELECT id, organization_id, slug, name, created_at, updated_at FROM workspace \
        WHERE organization_id = $1 AND id = $2";
    LIST_WORKSPACES = "SELECT id, organization_id, slug, name, created_at, updated_at FROM workspace \
        WHERE organization_id = $1 ORDER BY id";
}

impl FromRow for Organization {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            slug: row.get("slug")?,
            name: row.get("name")?,
            tier: row.parse("tier", Tier::parse)?,
            state: row.parse("state", OrganizationState::parse)?,
            rate_limits: parse_rate_limits(row.get::<Option<String>>("rate_limits")?.as_deref())?,
            created_at: row.get("created_at")?,
            updated_at: row.get("updated_at")?,
        })
    }
}

impl FromRow for Workspace {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            organization: row.get("organization_id")?,
            slug: row.get("slug")?,
            name: row.get("name")?,
            created_at: row.get("created_at")?,
            updated_at: row.get("updated_at")?,
        })
    }
}

impl Reader {
    /// An organization, whatever its state.
    pub async fn find_organization(&mut self, id: OrganizationId) -> Result<Option<Organization>> {
        self.tx.fetch(FIND_ORGANIZATION, args![id]).await
    }

    /// The organization of a slug, whatever its state.
    pub async fn find_organization_by_slug(&mut self, slug: &str) -> Result<Option<Organization>> {
        self.tx.fetch(FIND_ORGANIZATION_BY_SLUG, args![slug]).await
    }

    /// Organizations in the order they were made, after an id.
    pub async fn list_organizations(&mut self, after: Option<OrganizationId>, limit: i64) -> Result<Vec<Organization>> {
        self.tx.fetch_all(LIST_ORGANIZATIONS, args![after, limit]).await
    }

    /// The organizations a person is a member of.
    pub async fn list_organizations_of_user(&mut self, user: keyrack_core::UserId) -> Result<Vec<Organization>> {
        self.tx.fetch_all(LIST_ORGANIZATIONS_OF_USER, args![user]).await
    }

    /// A workspace of an organization.
    pub async fn find_workspace(&mut self, organization: OrganizationId, id: WorkspaceId) -> Result<Option<Workspace>> {
        self.tx.fetch(FIND_WORKSPACE, args![organization, id]).await
    }

    /// All workspaces of an organization.
    pub async fn list_workspaces(&mut self, organization: OrganizationId) -> Result<Vec<Workspace>> {
        self.tx.fetch_all(LIST_WORKSPACES, args![organization]).await
    }
}

impl Writer {
    /// Adds an organization.
    pub async fn insert_organization(&mut self, o: &Organization) -> Result<()> {
        let args = args![
            o.id,
            &o.slug,
            &o.name,
            o.tier.as_str(),
            o.state.as_str(),
            o.created_at,
            o.updated_at,
            o.rate_limits.to_text()
        ];
        self.tx.execute_one(INSERT_ORGANIZATION, args).await
    }

    /// Writes name, tier and state of an organization.
    pub async fn update_organization(&mut self, o: &Organization) -> Result<()> {
        let args = args![o.id, &o.name, o.tier.as_str(), o.state.as_str(), o.updated_at, o.rate_limits.to_text()];
        self.tx.execute_one(UPDATE_ORGANIZATION, args).await
    }

    /// Adds a workspace.
    pub async fn insert_workspace(&mut self, w: &Workspace) -> Result<()> {
        let args = args![w.id, w.organization, &w.slug, &w.name, w.created_at, w.updated_at];
        self.tx.execute_one(INSERT_WORKSPACE, args).await
    }

    /// Writes the name of a workspace.
    pub async fn update_workspace(&mut self, w: &Workspace) -> Result<()> {
        self.tx.execute_one(UPDATE_WORKSPACE, args![w.organization, w.id, &w.name, w.updated_at]).await
    }

    /// Removes a workspace that no key is bound to.
    pub async fn delete_workspace(&mut self, organization: OrganizationId, id: WorkspaceId) -> Result<()> {
        self.tx.execute_one(DELETE_WORKSPACE, args![organization, id]).await
    }
}
