//! People: accounts, memberships and invitations.

use jiff::Timestamp;
use keyrack_core::{InvitationId, OrganizationId, Role, UserId};

use crate::driver::{FromRow, Row, args};
use crate::{Reader, Result, Writer, statements};

/// A person.
#[derive(Clone, Debug)]
pub struct UserAccount {
    /// Their id.
    pub id: UserId,
    /// Their e-mail address, in lower case.
    pub email: String,
    /// Their name.
    pub name: String,
    /// The argon2id hash of their password; `None` until they have set one.
    pub password_hash: Option<String>,
    /// Whether they may act on the instance as a whole.
    pub is_instance_admin: bool,
    /// When the account was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A person's place in an organization.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Where.
    pub organization: OrganizationId,
    /// Who.
    pub user: UserId,
    /// Their e-mail address.
    pub email: String,
    /// Their name.
    pub name: String,
    /// As what.
    pub role: Role,
    /// Since when.
    pub created_at: Timestamp,
}

/// An invitation that waits to be accepted.
#[derive(Clone, Debug)]
pub struct Invitation {
    /// Its id.
    pub id: InvitationId,
    /// Where to.
    pub organization: OrganizationId,
    /// Who is invited.
    pub email: String,
    /// As what.
    pub role: Role,
    /// When it was sent.
    pub created_at: Timestamp,
    /// Until when it can be accepted.
    pub expires_at: Timestamp,
}

statements! {
    INSERT_USER = "INSERT INTO user_account (id, email, name, password_hash, is_instance_admin, created_at, updated_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    UPDATE_USER = "UPDATE user_account SET name = $2, password_hash = $3, is_instance_admin = $4, updated_at = $5 WHERE id = $1";
    FIND_USER = "SELECT id, email, name, password_hash, is_instance_admin, created_at, updated_at \
        FROM user_account WHERE id = $1";
    FIND_USER_BY_EMAIL = "SELECT id, email, name, password_hash, is_instance_admin, created_at, updated_at \
        FROM user_account WHERE email = $1";
    LIST_USERS = "SELECT id, email, name, password_hash, is_instance_admin, created_at, updated_at \
        FROM user_account WHERE (id > $1 OR $1 IS NULL) ORDER BY id LIMIT $2";
    INSERT_MEMBER = "INSERT INTO member (organization_id, user_id, role, created_at) VALUES ($1, $2, $3, $4)";
    UPDATE_MEMBER = "UPDATE member SET role = $3 WHERE organization_id = $1 AND user_id = $2";
    DELETE_MEMBER = "DELETE FROM member WHERE organization_id = $1 AND user_id = $2";
    FIND_MEMBER = "SELECT m.organization_id, m.user_id, u.email, u.name, m.role, m.created_at \
        FROM member m JOIN user_account u ON u.id = m.user_id WHERE m.organization_id = $1 AND m.user_id = $2";
    LIST_MEMBERS = "SELECT m.organization_id, m.user_id, u.email, u.name, m.role, m.created_at \
        FROM member m JOIN user_account u ON u.id = m.user_id \
        WHERE m.organization_id = $1 AND (m.user_id > $2 OR $2 IS NULL) ORDER BY m.user_id LIMIT $3";
    COUNT_OWNERS = "SELECT COUNT(*) AS value FROM member WHERE organization_id = $1 AND role = 'owner'";
    END_SESSIONS_OF_STRANGER = "DELETE FROM session WHERE user_id = $1 \
        AND NOT EXISTS (SELECT 1 FROM member WHERE user_id = $1) \
        AND NOT EXISTS (SELECT 1 FROM user_account WHERE id = $1 AND is_instance_admin)";
    FORGET_MAKER = "UPDATE api_key SET created_by = NULL WHERE organization_id = $1 AND created_by = $2";
    INSERT_INVITATION = "INSERT INTO invitation (id, organization_id, email, role, token_digest, created_at, expires_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    DELETE_INVITATION = "DELETE FROM invitation WHERE organization_id = $1 AND id = $2";
    DELETE_INVITATIONS_FOR = "DELETE FROM invitation WHERE organization_id = $1 AND email = $2";
    FIND_INVITATION = "SELECT id, organization_id, email, role, created_at, expires_at FROM invitation \
        WHERE token_digest = $1";
    LIST_INVITATIONS = "SELECT id, organization_id, email, role, created_at, expires_at FROM invitation \
        WHERE organization_id = $1 AND expires_at > $2 ORDER BY id";
}

impl FromRow for UserAccount {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            email: row.get("email")?,
            name: row.get("name")?,
            password_hash: row.get("password_hash")?,
            is_instance_admin: row.get("is_instance_admin")?,
            created_at: row.get("created_at")?,
            updated_at: row.get("updated_at")?,
        })
    }
}

impl FromRow for Member {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            organization: row.get("organization_id")?,
            user: row.get("user_id")?,
            email: row.get("email")?,
            name: row.get("name")?,
            role: row.parse("role", Role::parse)?,
            created_at: row.get("created_at")?,
        })
    }
}

impl FromRow for Invitation {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            organization: row.get("organization_id")?,
            email: row.get("email")?,
            role: row.parse("role", Role::parse)?,
            created_at: row.get("created_at")?,
            expires_at: row.get("expires_at")?,
        })
    }
}

impl Reader {
    /// A person by id.
    pub async fn find_user(&mut self, id: UserId) -> Result<Option<UserAccount>> {
        self.tx.fetch(FIND_USER, args![id]).await
    }

    /// A person by e-mail address (in lower case).
    pub async fn find_user_by_email(&mut self, email: &str) -> Result<Option<UserAccount>> {
        self.tx.fetch(FIND_USER_BY_EMAIL, args![email]).await
    }

    /// People in the order their accounts were made, after an id.
    pub async fn list_users(&mut self, after: Option<UserId>, limit: i64) -> Result<Vec<UserAccount>> {
        self.tx.fetch_all(LIST_USERS, args![after, limit]).await
    }

    /// A person's place in an organization.
    pub async fn find_member(&mut self, organization: OrganizationId, user: UserId) -> Result<Option<Member>> {
        self.tx.fetch(FIND_MEMBER, args![organization, user]).await
    }

    /// The members of an organization, after an id.
    pub async fn list_members(
        &mut self,
        organization: OrganizationId,
        after: Option<UserId>,
        limit: i64,
    ) -> Result<Vec<Member>> {
        self.tx.fetch_all(LIST_MEMBERS, args![organization, after, limit]).await
    }

    /// How many owners an organization has.
    pub async fn count_owners(&mut self, organization: OrganizationId) -> Result<i64> {
        Ok(self.tx.value(COUNT_OWNERS, args![organization]).await?.unwrap_or(0))
    }

    /// The invitation of a token's digest.
    pub async fn find_invitation(&mut self, token_digest: &[u8; 32]) -> Result<Option<Invitation>> {
        self.tx.fetch(FIND_INVITATION, args![token_digest.as_slice()]).await
    }

    /// The invitations of an organization that can still be accepted.
    pub async fn list_invitations(&mut self, organization: OrganizationId, now: Timestamp) -> Result<Vec<Invitation>> {
        self.tx.fetch_all(LIST_INVITATIONS, args![organization, now]).await
    }
}

impl Writer {
    /// Adds a person.
    pub async fn insert_user(&mut self, u: &UserAccount) -> Result<()> {
        let hash = u.password_hash.as_deref();
        let args = args![u.id, &u.email, &u.name, hash, u.is_instance_admin, u.created_at, u.updated_at];
        self.tx.execute_one(INSERT_USER, args).await
    }

    /// Writes name, password hash and instance right of a person.
    pub async fn update_user(&mut self, u: &UserAccount) -> Result<()> {
        let hash = u.password_hash.as_deref();
        self.tx.execute_one(UPDATE_USER, args![u.id, &u.name, hash, u.is_instance_admin, u.updated_at]).await
    }

    /// Adds a member.
    pub async fn insert_member(
        &mut self,
        organization: OrganizationId,
        user: UserId,
        role: Role,
        now: Timestamp,
    ) -> Result<()> {
        self.tx.execute_one(INSERT_MEMBER, args![organization, user, role.as_str(), now]).await
    }

    /// Writes a member's role.
    pub async fn update_member(&mut self, organization: OrganizationId, user: UserId, role: Role) -> Result<()> {
        self.tx.execute_one(UPDATE_MEMBER, args![organization, user, role.as_str()]).await
    }

    /// Removes a member. The keys they made go on working and forget who made them. Who is a member nowhere then, and no instance
    /// admin, has no session any more.
    pub async fn delete_member(&mut self, organization: OrganizationId, user: UserId) -> Result<()> {
        self.tx.execute_one(DELETE_MEMBER, args![organization, user]).await?;
        self.tx.execute(END_SESSIONS_OF_STRANGER, args![user]).await?;
        self.tx.execute(FORGET_MAKER, args![organization, user]).await.map(|_| ())
    }

    /// Adds an invitation; an earlier one for the same address is void.
    pub async fn insert_invitation(&mut self, i: &Invitation, token_digest: &[u8; 32]) -> Result<()> {
        self.tx.execute(DELETE_INVITATIONS_FOR, args![i.organization, &i.email]).await?;
        let digest = token_digest.as_slice();
        let args = args![i.id, i.organization, &i.email, i.role.as_str(), digest, i.created_at, i.expires_at];
        self.tx.execute_one(INSERT_INVITATION, args).await
    }

    /// Takes an invitation back, or away once it is accepted. Whether it was there.
    pub async fn delete_invitation(&mut self, organization: OrganizationId, id: InvitationId) -> Result<bool> {
        Ok(self.tx.execute(DELETE_INVITATION, args![organization, id]).await? == 1)
    }
}
