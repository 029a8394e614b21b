//! Organizations: made by instance admins, changed by owners and instance admins.

use keyrack_core::quota::MAX_UNITS;
use keyrack_core::{
    Action, GroupId, Month, OrganizationId, OrganizationState, RateLimits, Role, Scope, ScopeSet, Tier, name,
};
use keyrack_store::{HashProfile, KeyGroup, NewEvent, Organization, SubjectKind, Writer};

use crate::actor::{Actor, Context};
use crate::engine::{Engine, Subject};
use crate::keys::{Page, read_rate_limits};
use crate::verify::Person;
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
    /// New rate limits as units and seconds, or none; instance admins only.
    pub rate_limits: Option<Option<Vec<(i64, i64)>>>,
    /// What it is to count as having used of its quota this month; instance admins only.
    pub quota_used: Option<u64>,
}

/// The event by which somebody sets what an organization has used of its quota.
pub(crate) const QUOTA_SET: &str = "quota.set";

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
        let rate_limits = RateLimits::default();
        let organization = Organization { id, slug, name, tier, state, rate_limits, created_at: now, updated_at: now };

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
                rate_limits: RateLimits::default(),
                recoverable: false,
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

    /// The organizations that a person belongs to, by name, each with their role there.
    pub async fn list_own_organizations(&self, person: &Person) -> Result<Vec<(Organization, Role)>> {
        let mut reader = self.reader().await?;
        let mut own = Vec::new();
        for organization in reader.list_organizations_of_user(person.user).await? {
            let member = reader.find_member(organization.id, person.user).await?;
            if let Some(member) = member.filter(|_| organization.state != OrganizationState::Deleted) {
                own.push((organization, member.role));
            }
        }
        own.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
        Ok(own)
    }

    /// The organization of the context.
    pub fn get_organization(&self, ctx: &Context) -> Result<Organization> {
        Ok(self.tenant(ctx)?.organization.clone())
    }

    /// Changes an organization. Tier and state are matters of the instance.
    pub async fn update_organization(&self, ctx: &Context, patch: OrganizationPatch) -> Result<Organization> {
        if patch.tier.is_some() || patch.state.is_some() || patch.rate_limits.is_some() || patch.quota_used.is_some() {
            Self::only_instance_admin(ctx)?;
        }
        if patch.quota_used.is_some_and(|used| used > MAX_UNITS) {
            return Err(Error::invalid("quota_used", format!("must be 0 to {MAX_UNITS}")));
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
        if let Some(limits) = patch.rate_limits {
            after.rate_limits = read_rate_limits(limits.as_deref())?;
        }
        let mut events = Vec::new();
        if after != before {
            after.updated_at = self.now();
            writer.update_organization(&after).await?;
            let data = serde_json::json!({ "before": told(&before), "after": told(&after) });
            events.push(self.event(ctx, "organization.changed", about(&after, data))?);
        }
        if let Some(used) = patch.quota_used {
            events.push(self.set_quota_used(ctx, &mut writer, &after, used).await?);
        }
        let mut events = events.into_iter();
        if let Some(first) = events.next() {
            self.commit_all(writer, first, events.collect()).await?;
        } else {
            drop(writer);
            self.settle_unchanged().await?;
        }
        Ok(after)
    }

    /// Sets the counter of this month. Whatever processes hold of the quota is void then.
    async fn set_quota_used(
        &self,
        ctx: &Context,
        writer: &mut Writer,
        organization: &Organization,
        used: u64,
    ) -> Result<NewEvent> {
        let month = Month::of(self.now());
        let (before, _) = writer.lock_quota(organization.id, month).await?;
        let after = writer.set_quota(organization.id, month, used).await?;
        let data = serde_json::json!({
            "month": month.to_string(),
            "month_number": month.number(),
            "epoch": after.epoch,
            "granted_before": before.granted,
            "used": used,
        });
        self.event(ctx, QUOTA_SET, about(organization, data))
    }
}

/// What the audit log tells of an organization.
fn told(o: &Organization) -> serde_json::Value {
    serde_json::json!({ "name": o.name, "tier": o.tier, "state": o.state, "rate_limits": o.rate_limits.to_text() })
}

fn about(organization: &Organization, data: serde_json::Value) -> Subject<'_> {
    Subject { kind: SubjectKind::Organization, id: organization.id.0, name: &organization.slug, data }
}
