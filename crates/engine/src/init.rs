//! The first organization of an instance, its owner and its first key.

use keyrack_core::{OrganizationId, OrganizationState, PlainKey, RateLimits, Role, Tier, UserId, name};
use keyrack_store::{INSTANCE, Organization, SubjectKind, UserAccount};

use crate::actor::Context;
use crate::engine::{Engine, Subject};
use crate::keys::NewKey;
use crate::organizations::MANAGEMENT;
use crate::{Error, Result};

/// What the instance starts with.
#[derive(Clone, Debug)]
pub struct NewInstance {
    /// The slug of the first organization.
    pub slug: String,
    /// Its name; the slug if missing.
    pub name: Option<String>,
    /// What it counts as paying for; free if missing.
    pub tier: Option<Tier>,
    /// The e-mail address of its owner, the first instance admin.
    pub owner_email: String,
    /// Their password.
    pub owner_password: String,
    /// Whether a key is made too that may do everything.
    pub with_management_key: bool,
}

/// What it started with.
pub struct Initialized {
    /// The first organization.
    pub organization: OrganizationId,
    /// Its owner.
    pub user: UserId,
    /// A key that may do everything, if one was asked for; shown this once.
    pub management_key: Option<PlainKey>,
}

impl Engine {
    /// Makes the first organization, its owner and a management key. `None` if there is an organization already: then
    /// nothing is changed.
    pub async fn initialize(&self, new: NewInstance) -> Result<Option<Initialized>> {
        if self.is_initialized().await? {
            return Ok(None);
        }
        let slug = name::slug(&new.slug).map_err(|e| Error::invalid("organization", e))?;
        let title = name::name(new.name.as_deref().unwrap_or(&slug)).map_err(|e| Error::invalid("name", e))?;
        let email = name::email(&new.owner_email).map_err(|e| Error::invalid("owner_email", e))?;
        let password_hash = Some(self.passwords.hash_password(&new.owner_password).await?);
        let now = self.now();
        let organization = Organization {
            id: OrganizationId::new(now, self.random_id()?),
            slug,
            name: title,
            tier: new.tier.unwrap_or(Tier::Free),
            state: OrganizationState::Active,
            rate_limits: RateLimits::default(),
            created_at: now,
            updated_at: now,
        };
        let user = UserAccount {
            id: UserId::new(now, self.random_id()?),
            name: name::of_address(&email),
            email,
            password_hash,
            is_instance_admin: true,
            created_at: now,
            updated_at: now,
        };
        // Under the lock of the instance, so that of two first starts one wins.
        let mut writer = self.store.write(&[INSTANCE]).await?;
        if !writer.list_organizations(None, 1).await?.is_empty() {
            return Ok(None);
        }
        writer.insert_user(&user).await?;
        self.insert_organization(&mut writer, &organization).await?;
        writer.insert_member(organization.id, user.id, Role::Owner, now).await?;
        let default = serde_json::json!(organization.id);
        writer.put_setting(INSTANCE, crate::routes::DEFAULT_ORGANIZATION, &default, now).await?;
        let ctx = Context::host(organization.id);
        let data = serde_json::json!({ "owner": user.id });
        let subject =
            Subject { kind: SubjectKind::Organization, id: organization.id.0, name: &organization.slug, data };
        let event = self.event(&ctx, "organization.created", subject)?;
        self.commit(writer, event).await?;

        let made = |management_key| Initialized { organization: organization.id, user: user.id, management_key };
        if !new.with_management_key {
            return Ok(Some(made(None)));
        }
        let key = NewKey {
            name: Some("first management key".to_owned()),
            group: Some(MANAGEMENT.to_owned()),
            scopes: Some(["*:admin", "keyrack.*:admin", "keyrack.instance:admin"].map(str::to_owned).to_vec()),
            ..NewKey::default()
        };
        let created = self.create_key(&ctx, key).await?;
        Ok(Some(made(created.secret)))
    }

    /// Whether there is an organization.
    pub async fn is_initialized(&self) -> Result<bool> {
        Ok(!self.reader().await?.list_organizations(None, 1).await?.is_empty())
    }

    /// The organization that owns the default host: the first one.
    pub async fn default_organization(&self) -> Result<Option<OrganizationId>> {
        let value = self.reader().await?.find_setting(INSTANCE, crate::routes::DEFAULT_ORGANIZATION).await?;
        Ok(value.and_then(|v| serde_json::from_value(v).ok()))
    }
}
