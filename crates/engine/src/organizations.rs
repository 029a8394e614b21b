//! Organizations: made by instance admins, changed by owners and instance admins.

use keyrack_core::{Action, GroupId, OrganizationId, OrganizationState, Role, Scope, ScopeSet, Tier, name};
use keyrack_store::{HashProfile, KeyGroup, Organization, SubjectKind, Writer};

use crate::actor::{Actor, Context};
use crate::engine::{Engine, Subject};
use crate::keys::Page;
use crate::{Error, Result, settings};

/// What an organization is to be.
#[derive(Clone, Debug)]
pub struct NewOrganization {
    /// Its slug.
    pub slug: String,
    /// Its name; the slug if missing.
    pub name: Option<String>,
    /// What it pays for; free if missing.
    pub tier: Option<Tier>,
    /// The e-mail address of a user who is to own it. A signed-in maker owns it if this is missing.
    pub owner_email: Option<String>,
}

/// What of an organization is to change.
#[derive(Clone, Debug, Default)]
pub struct OrganizationPatch {
    /// A new name.
    pub name: Option<String>,
    /// A new tier; instance admins only.
    pub tier: Option<Tier>,
    /// A new state; instance admins only.
    pub state: Option<OrganizationState>,
}

/// The group whose keys may manage, until the settings say otherwise.
pub(crate) const MANAGEMENT: &str = "management";
/// The group of keys that name none.
pub(crate) const DEFAULT: &str = "default";

impl Engine {
    /// Refuses whoever may not act on the instance as a whole.
    pub fn only_instance_admin(ctx: &Context) -> Result<()> {
        if ctx.actor.is_instance_admin() {
            return Ok(());
        }
        Err(Error::forbidden("insufficient_scope", "this needs an instance admin (scope keyrack.instance:admin)"))
    }

    /// Makes an organization with its groups `default` and `management`.
    pub async fn create_organization(&self, ctx: &Context, new: NewOrganization) -> Result<Organization> {
        let slug = name::slug(&new.slug).map_err(|e| Error::invalid("slug", e))?;
        let name = name::name(new.name.as_deref().unwrap_or(&slug)).map_err(|e| Error::invalid("name", e))?;
        let now = self.now();
        let id = OrganizationId::new(now, self.random_id()?);
        let tier = new.tier.unwrap_or(Tier::Free);
        let state = OrganizationState::Active;
        let organization = Organization { id, slug, name, tier, state, created_at: now, updated_at: now };

        let (mut writer, _) = self.begin(ctx).await?;
        let owner = match (&new.owner_email, &ctx.actor) {
            (Some(email), _) => {
                let email = name::email(email).map_err(|e| Error::invalid("owner_email", e))?;
                let user = writer.find_user_by_email(&email).await?;
                user.ok_or_else(|| Error::invalid("owner_email", "no user has this e-mail address"))?.id
            }
            (None, Actor::User { id, .. }) => *id,
            (None, _) => return Err(Error::invalid("owner_email", "name the user who is to own the organization")),
        };
        self.insert_organization(&mut writer, &organization).await?;
        writer.insert_member(id, owner, Role::Owner, now).await?;
        let ctx = Context { organization: id, ..ctx.clone() };
        let data = serde_json::json!({ "tier": organization.tier, "owner": owner });
        let event = self.event(&ctx, "organization.created", about(&organization, data))?;
        self.commit(writer, event).await?;
        Ok(organization)
    }

    /// Writes a new organization with its two groups and the setting that names the access group.
    pub(crate) async fn insert_organization(&self, writer: &mut Writer, o: &Organization) -> Result<GroupId> {
        writer.insert_organization(o).await?;
        let all = [Scope { resource: keyrack_core::scope::Resource::Any, action: Action::Admin }];
        let own = [Scope { resource: keyrack_core::scope::Resource::AnyKeyrack, action: Action::Admin }];
        let management = ScopeSet::of(all.into_iter().chain(own));
        let read_only = keyrack_core::scope::Level::ReadOnly.scopes();
        let mut access = GroupId(uuid::Uuid::nil());
        for (name, description, default_scopes) in [
            (DEFAULT, "Keys that name no other group", read_only),
            (MANAGEMENT, "Keys that may manage this organization", management),
        ] {
            let group = KeyGroup {
                id: GroupId::new(o.created_at, self.random_id()?),
                organization: o.id,
                name: name.to_owned(),
                description: description.to_owned(),
                key_format: keyrack_core::KeyFormat::default(),
                former_formats: Vec::new(),
                hash_profile: HashProfile::HmacSha256,
                default_scopes,
                created_at: o.created_at,
                updated_at: o.created_at,
            };
            writer.insert_group(&group).await?;
            access = group.id;
        }
        writer.put_setting(o.id, settings::ACCESS_GROUPS, &serde_json::json!([access]), o.created_at).await?;
        Ok(access)
    }

    /// Organizations the actor may see: all for an instance admin, a person's own, a key's one.
    pub async fn list_organizations(
        &self,
        ctx: &Context,
        after: Option<OrganizationId>,
        limit: i64,
    ) -> Result<Page<Organization>> {
        let mut reader = self.reader().await?;
        let mut data = match &ctx.actor {
            actor if actor.is_instance_admin() => reader.list_organizations(after, limit + 1).await?,
            Actor::User { id, .. } => {
                let mut own = reader.list_organizations_of_user(*id).await?;
                own.retain(|o| after.is_none_or(|a| o.id > a));
                own
            }
            _ => reader.find_organization(ctx.organization).await?.into_iter().collect(),
        };
        let limit = usize::try_from(limit).unwrap_or(0);
        let has_more = data.len() > limit;
        data.truncate(limit);
        let next_cursor = data.last().filter(|_| has_more).map(|o| o.id.to_string());
        Ok(Page { data, next_cursor })
    }

    /// The organization of the context.
    pub fn get_organization(&self, ctx: &Context) -> Result<Organization> {
        Ok(self.tenant(ctx)?.organization.clone())
    }

    /// Changes an organization. Tier and state are matters of the instance.
    pub async fn update_organization(&self, ctx: &Context, patch: OrganizationPatch) -> Result<Organization> {
        if patch.tier.is_some() || patch.state.is_some() {
            Self::only_instance_admin(ctx)?;
        }
        let (mut writer, _) = self.begin(ctx).await?;
        let organization = writer.find_organization(ctx.organization).await?;
        let before = organization.ok_or(Error::NotFound("organization"))?;
        if before.state == OrganizationState::Deleted {
            return Err(Error::conflict("organization_deleted", "the organization is deleted for good"));
        }
        let mut after = before.clone();
        if let Some(text) = patch.name {
            after.name = name::name(&text).map_err(|e| Error::invalid("name", e))?;
        }
        after.tier = patch.tier.unwrap_or(before.tier);
        after.state = patch.state.unwrap_or(before.state);
        if after == before {
            drop(writer);
            self.settle_unchanged().await?;
            return Ok(before);
        }
        after.updated_at = self.now();
        writer.update_organization(&after).await?;
        let told = |o: &Organization| serde_json::json!({ "name": o.name, "tier": o.tier, "state": o.state });
        let data = serde_json::json!({ "before": told(&before), "after": told(&after) });
        let event = self.event(ctx, "organization.changed", about(&after, data))?;
        self.commit(writer, event).await?;
        Ok(after)
    }
}

fn about(organization: &Organization, data: serde_json::Value) -> Subject<'_> {
    Subject { kind: SubjectKind::Organization, id: organization.id.0, name: &organization.slug, data }
}
