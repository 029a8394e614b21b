//! Making a key.

use std::sync::Arc;

use jiff::Timestamp;
use keyrack_core::status::Switch;
use keyrack_core::{Environment, KeyId, NotificationId, PlainKey, name};
use keyrack_store::{ApiKey, KeyGroup};

use super::{
    KeyView, find_workspace, read_addresses, read_expiry, read_metadata, read_rate_limits, read_scopes, too_strong,
};
use crate::actor::{Context, authority_of};
use crate::directory::Tenant;
use crate::engine::{Engine, Subject};
use crate::{Error, Result, notices};

/// What a key is to be. The default is a live, enabled key of the group `default` with that group's scopes.
#[derive(Clone, Debug, Default)]
pub struct NewKey {
    /// Its name; taken from the description if it is missing.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// For real use or for tests.
    pub environment: Environment,
    /// The name or id of its group; `default` if missing.
    pub group: Option<String>,
    /// The slug or id of the workspace it is bound to.
    pub workspace: Option<String>,
    /// What it may do; the group's default if neither this nor a level is given.
    pub scopes: Option<Vec<String>>,
    /// `read_only` or `read_write`, instead of scopes.
    pub level: Option<String>,
    /// Until when it works.
    pub expires_at: Option<Timestamp>,
    /// Says expressly that it has no expiry (true), or that it has one (false).
    pub never_expires: Option<bool>,
    /// Whether it is made switched off.
    pub disabled: bool,
    /// Where it works from.
    pub ip_allowlist: Option<Vec<String>>,
    /// How much it may ask for, as units and seconds.
    pub rate_limits: Option<Vec<(i64, i64)>>,
    /// A JSON object to keep with it.
    pub metadata: Option<serde_json::Value>,
}

/// A key that was made.
pub struct CreatedKey {
    /// The key.
    pub key: KeyView,
    /// Its text, to be shown this once; `None` on a replay and for imported keys.
    pub secret: Option<PlainKey>,
    /// Whether an earlier request with the same idempotency key had made it.
    pub is_replay: bool,
}

impl Engine {
    /// Makes a key. Its text is in the answer and nowhere else.
    pub async fn create_key(&self, ctx: &Context, new: NewKey) -> Result<CreatedKey> {
        let _in_flight = self.enter(ctx)?;
        if let Some(id) = self.replayed(ctx).await? {
            let key = self.visible_key(&mut self.reader().await?, ctx, KeyId(id)).await?;
            return Ok(CreatedKey { key: self.view(key)?, secret: None, is_replay: true });
        }
        let tenant = self.tenant(ctx)?;
        let now = self.now();
        let (draft, group) = self.draft(ctx, &tenant, new, now)?;
        let (plain, secret) = self.draw(&group, draft.environment, (1, now)).await?;
        let key = ApiKey { display_prefix: secret.display_prefix.clone(), last4: secret.last4.clone(), ..draft };

        let (mut writer, authority, keeping) = self.begin_keeping(ctx, &group).await?;
        let in_access_group = tenant.is_access_group(group.id);
        authority_of(&key, in_access_group).within(&authority).map_err(too_strong)?;
        writer.insert_key(&key, &secret).await?;
        if let Some(data_key) = &keeping {
            self.keep_text(&mut writer, data_key, (key.organization, key.id, secret.version), &plain).await?;
        }
        self.remember(&mut writer, ctx, key.id.0).await?;
        let id = NotificationId::new(now, self.random_id()?);
        writer.insert_notification(&notices::of_new_key(id, &key)).await?;
        let data = serde_json::json!({
            "group": group.name,
            "scopes": key.scopes.to_strings(),
            "expires_at": key.expires_at,
            "rate_limits": key.rate_limits.to_text(),
            "description": key.description,
            "last4": key.last4,
        });
        let event = self.event(ctx, "key.created", Subject::key(key.id, &key.name, data))?;
        self.commit(writer, event).await?;
        Ok(CreatedKey { key: self.view(key)?, secret: Some(plain), is_replay: false })
    }

    /// Checks what a key is to be, and makes it but for its secret.
    pub(super) fn draft(
        &self,
        ctx: &Context,
        tenant: &Arc<Tenant>,
        new: NewKey,
        now: Timestamp,
    ) -> Result<(ApiKey, KeyGroup)> {
        let description = name::description(new.description.as_deref().unwrap_or_default());
        let description = description.map_err(|e| Error::invalid("description", e))?;
        let name = match &new.name {
            Some(name) => name.clone(),
            None if description.is_empty() => return Err(Error::invalid("name", "give a name or a description")),
            None => description.chars().take(name::MAX_NAME).collect(),
        };
        let name = name::name(&name).map_err(|e| Error::invalid("name", e))?;
        let group = tenant.group(new.group.as_deref().unwrap_or("default"));
        let group = group.ok_or_else(|| Error::invalid("group", "no such group"))?.clone();
        let workspace = find_workspace(ctx, tenant, new.workspace.as_deref())?;
        let scopes = read_scopes(new.scopes.as_deref(), new.level.as_deref())?;
        let expires_at = read_expiry(new.expires_at, now)?;
        match (new.never_expires, expires_at) {
            (Some(true), Some(_)) => return Err(Error::invalid("never_expires", "is true, but expires_at is given")),
            (Some(false), None) => return Err(Error::invalid("never_expires", "is false, but expires_at is missing")),
            _ => {}
        }
        let key = ApiKey {
            id: KeyId::new(now, self.random_id()?),
            organization: ctx.organization,
            group: group.id,
            workspace,
            name,
            description,
            environment: new.environment,
            scopes: scopes.unwrap_or_else(|| group.default_scopes.clone()),
            switch: if new.disabled { Switch::Disabled } else { Switch::Active },
            expires_at,
            ip_allowlist: read_addresses(new.ip_allowlist.as_deref())?,
            rate_limits: read_rate_limits(new.rate_limits.as_deref())?,
            metadata: read_metadata(new.metadata)?,
            imported: false,
            created_at: now,
            created_by: ctx.actor.user(),
            updated_at: now,
            revoked_at: None,
            revoke_reason: None,
            last_used_at: None,
            display_prefix: String::new(),
            last4: String::new(),
        };
        Ok((key, group))
    }
}
