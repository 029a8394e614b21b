//! Groups of keys.

use keyrack_core::format::FormatError;
use keyrack_core::{Action, Body, GroupId, KeyFormat, Role, Scope, ScopeSet, name};
use keyrack_store::{HashProfile, KeyGroup, SubjectKind};

use crate::actor::{Context, authority_of};
use crate::engine::{Engine, Subject};
use crate::keys::{read_rate_limits, read_scopes, too_strong};
use crate::workspaces::refuse_live;
use crate::{Error, Result};

/// What a group is to be.
#[derive(Clone, Debug, Default)]
pub struct NewGroup {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// How its keys look: prefix and body; the default if missing.
    pub key_format: Option<(Option<String>, Body)>,
    /// How its keys are remembered.
    pub hash_profile: Option<HashProfile>,
    /// The scopes of a key made without any; `*:read` if missing.
    pub default_scopes: Option<Vec<String>>,
    /// How much all its keys together may ask for, as units and seconds.
    pub rate_limits: Option<Vec<(i64, i64)>>,
    /// Whether the texts of its keys are kept, sealed.
    pub recoverable: bool,
}

/// What of a group is to change.
#[derive(Clone, Debug, Default)]
pub struct GroupPatch {
    /// A new name.
    pub name: Option<String>,
    /// A new description.
    pub description: Option<String>,
    /// How keys made from now on look.
    pub key_format: Option<(Option<String>, Body)>,
    /// New default scopes.
    pub default_scopes: Option<Vec<String>>,
    /// New rate limits as units and seconds, or none.
    pub rate_limits: Option<Option<Vec<(i64, i64)>>>,
    /// Whether the texts of keys made from now on are kept, sealed. What is kept is forgotten if not.
    pub recoverable: Option<bool>,
}

fn read_format(format: (Option<String>, Body)) -> Result<KeyFormat> {
    KeyFormat::new(format.0, format.1).map_err(|e: FormatError| Error::invalid("key_format.prefix", e))
}

impl Engine {
    /// Makes a group.
    pub async fn create_group(&self, ctx: &Context, new: NewGroup) -> Result<KeyGroup> {
        let description = name::description(new.description.as_deref().unwrap_or_default());
        let scopes = read_default_scopes(new.default_scopes.as_deref())?;
        let now = self.now();
        let group = KeyGroup {
            id: GroupId::new(now, self.random_id()?),
            organization: ctx.organization,
            name: name::group(&new.name).map_err(|e| Error::invalid("name", e))?,
            description: description.map_err(|e| Error::invalid("description", e))?,
            key_format: new.key_format.map(read_format).transpose()?.unwrap_or_default(),
            former_formats: Vec::new(),
            hash_profile: new.hash_profile.unwrap_or(HashProfile::HmacSha256),
            default_scopes: scopes.unwrap_or_else(|| keyrack_core::scope::Level::ReadOnly.scopes()),
            rate_limits: read_rate_limits(new.rate_limits.as_deref())?,
            recoverable: new.recoverable,
            created_at: now,
            updated_at: now,
        };
        let (mut writer, authority) = self.begin(ctx).await?;
        authority
            .scopes
            .covers(&group.default_scopes)
            .map_err(|s| too_strong(keyrack_core::authority::Excess::Scope(s)))?;
        writer.insert_group(&group).await?;
        let event = self.event(ctx, "group.created", about(&group))?;
        self.commit(writer, event).await?;
        Ok(group)
    }

    /// The groups of the organization.
    pub async fn list_groups(&self, ctx: &Context) -> Result<Vec<KeyGroup>> {
        Ok(self.reader().await?.list_groups(ctx.organization).await?)
    }

    /// A group.
    pub async fn get_group(&self, ctx: &Context, id: GroupId) -> Result<KeyGroup> {
        self.reader().await?.find_group(ctx.organization, id).await?.ok_or(Error::NotFound("group"))
    }

    /// Changes a group. Keys that exist keep their look and their scopes.
    pub async fn update_group(&self, ctx: &Context, id: GroupId, patch: GroupPatch) -> Result<KeyGroup> {
        let (mut writer, authority) = self.begin(ctx).await?;
        let before = writer.find_group(ctx.organization, id).await?.ok_or(Error::NotFound("group"))?;
        let mut after = before.clone();
        if let Some(text) = patch.name {
            after.name = name::group(&text).map_err(|e| Error::invalid("name", e))?;
        }
        if let Some(text) = patch.description {
            after.description = name::description(&text).map_err(|e| Error::invalid("description", e))?;
        }
        if let Some(format) = patch.key_format.map(read_format).transpose()? {
            if !before.former_formats.contains(&before.key_format) && format != before.key_format {
                after.former_formats.push(before.key_format.clone());
            }
            after.key_format = format;
        }
        if let Some(scopes) = read_default_scopes(patch.default_scopes.as_deref())? {
            authority.scopes.covers(&scopes).map_err(|s| too_strong(keyrack_core::authority::Excess::Scope(s)))?;
            after.default_scopes = scopes;
        }
        if let Some(limits) = patch.rate_limits {
            // A key is held to the limits of its group, and does not lift them.
            if authority.group == Some(id) && !authority.scopes.grants(&Scope::keyrack("groups", Action::Admin)) {
                return Err(too_strong(keyrack_core::authority::Excess::Group));
            }
            after.rate_limits = read_rate_limits(limits.as_deref())?;
        }
        after.recoverable = patch.recoverable.unwrap_or(before.recoverable);
        if after == before {
            drop(writer);
            self.settle_unchanged().await?;
            return Ok(before);
        }
        if !after.recoverable {
            writer.erase_key_texts_of_group(ctx.organization, id).await?;
        }
        after.updated_at = self.now();
        writer.update_group(&after).await?;
        let event = self.event(ctx, "group.changed", about(&after))?;
        self.commit(writer, event).await?;
        Ok(after)
    }

    /// Deletes a group. One with live keys, or one that a route or the access setting names, is left alone; with
    /// `revoke_keys` its keys are revoked along with it.
    pub async fn delete_group(&self, ctx: &Context, id: GroupId, revoke_keys: bool) -> Result<()> {
        let tenant = self.tenant(ctx)?;
        let (mut writer, authority) = self.begin(ctx).await?;
        let group = writer.find_group(ctx.organization, id).await?.ok_or(Error::NotFound("group"))?;
        if tenant.is_access_group(id) {
            let message = "the setting access_groups names this group; take it out there first".to_owned();
            let details = vec!["setting access_groups".to_owned()];
            return Err(Error::Conflict { code: "in_use", message, details });
        }
        self.refuse_if_named(ctx, &mut writer, |guard| guard.names_group(&id.to_string())).await?;
        if !revoke_keys {
            refuse_live(&writer.keys_of_group(ctx.organization, id, Some(self.now()), 10).await?)?;
        }
        let keys = writer.keys_of_group(ctx.organization, id, None, 100_001).await?;
        if authority.role < Role::Admin {
            for key in &keys {
                authority_of(key, false).within(&authority).map_err(too_strong)?;
            }
        }
        let (first, more) = self.bury(ctx, &mut writer, keys, "group.deleted", about(&group)).await?;
        writer.delete_group(ctx.organization, id).await?;
        self.commit_all(writer, first, more).await.map(|_| ())
    }
}

fn read_default_scopes(scopes: Option<&[String]>) -> Result<Option<ScopeSet>> {
    read_scopes(scopes, None).map_err(|error| match error {
        Error::Invalid(field) => Error::invalid(format!("default_{}", field.field), field.message),
        other => other,
    })
}

fn about(group: &KeyGroup) -> Subject<'_> {
    let data = serde_json::json!({
        "name": group.name,
        "key_format": group.key_format,
        "hash_profile": group.hash_profile.as_str(),
        "default_scopes": group.default_scopes.to_strings(),
        "rate_limits": group.rate_limits.to_text(),
        "recoverable": group.recoverable,
    });
    Subject { kind: SubjectKind::Group, id: group.id.0, name: &group.name, data }
}
