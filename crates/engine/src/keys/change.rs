//! Changing, revoking and deleting a key.

use jiff::Timestamp;
use keyrack_core::status::Switch;
use keyrack_core::{KeyId, KeyStatus, name};
use keyrack_store::{ApiKey, Writer};

use super::{KeyView, read_addresses, read_expiry, read_metadata, read_rate_limits, read_scopes, too_strong};
use crate::actor::{Context, authority_of};
use crate::engine::{Engine, Subject};
use crate::settle::Receipt;
use crate::{Error, Result};

/// The longest reason for a revocation, in characters.
const MAX_REASON: usize = 200;

/// What is to change. The outer `None` keeps a value, the inner one clears it.
#[derive(Clone, Debug, Default)]
pub struct KeyPatch {
    /// A new name.
    pub name: Option<String>,
    /// A new description.
    pub description: Option<String>,
    /// New scopes.
    pub scopes: Option<Vec<String>>,
    /// A level instead of scopes.
    pub level: Option<String>,
    /// Switch it on or off.
    pub enabled: Option<bool>,
    /// A new expiry, or none.
    pub expires_at: Option<Option<Timestamp>>,
    /// New networks, or any.
    pub ip_allowlist: Option<Option<Vec<String>>>,
    /// New rate limits as units and seconds, or none.
    pub rate_limits: Option<Option<Vec<(i64, i64)>>>,
    /// New metadata, or none.
    pub metadata: Option<Option<serde_json::Value>>,
    /// When the key was changed last, as whoever changes it has seen it: if somebody has changed it since, nothing is done.
    pub if_unchanged_since: Option<Timestamp>,
}

impl Engine {
    /// Changes a key. Both what it was and what it becomes must be within the actor's authority.
    pub async fn update_key(&self, ctx: &Context, id: KeyId, patch: KeyPatch) -> Result<KeyView> {
        let now = self.now();
        let tenant = self.tenant(ctx)?;
        let (mut writer, authority) = self.begin(ctx).await?;
        let before = self.visible_key(&mut writer, ctx, id).await?;
        if matches!(before.status(now), KeyStatus::Revoked | KeyStatus::Expired) {
            let message = format!("the key is {} for good", before.status(now).as_str());
            return Err(Error::conflict("key_final", message));
        }
        if patch.if_unchanged_since.is_some_and(|seen| seen != before.updated_at) {
            let message = "somebody else has changed the key since you opened this; load it again to see what";
            return Err(Error::conflict("changed_meanwhile", message));
        }
        let after = patched(&before, patch, now)?;
        let in_access_group = tenant.is_access_group(before.group);
        for key in [&before, &after] {
            authority_of(key, in_access_group).within(&authority).map_err(too_strong)?;
        }
        if after == before {
            drop(writer);
            self.settle_unchanged().await?;
            return self.view(before);
        }
        let after = ApiKey { updated_at: now, ..after };
        writer.update_key(&after).await?;
        let data = serde_json::json!({ "before": told(&before), "after": told(&after) });
        let event = self.event(ctx, "key.changed", Subject::key(id, &after.name, data))?;
        self.commit(writer, event).await?;
        self.view(after)
    }

    /// Withdraws a key for good. When this returns, no request is let in with it. Revoking a revoked key changes nothing.
    pub async fn revoke_key(&self, ctx: &Context, id: KeyId, reason: Option<&str>) -> Result<(KeyView, Receipt)> {
        let reason = reason.map(name::description).transpose().map_err(|e| Error::invalid("reason", e))?;
        if reason.as_ref().is_some_and(|r| r.chars().count() > MAX_REASON) {
            return Err(Error::invalid("reason", format!("must have at most {MAX_REASON} characters")));
        }
        let (writer, _) = self.begin(ctx).await?;
        self.revoke(ctx, writer, id, reason).await
    }

    /// The same in a transaction that has begun, by whoever may.
    pub(crate) async fn revoke(
        &self,
        ctx: &Context,
        mut writer: Writer,
        id: KeyId,
        reason: Option<String>,
    ) -> Result<(KeyView, Receipt)> {
        let now = self.now();
        let key = self.visible_key(&mut writer, ctx, id).await?;
        if key.switch == Switch::Revoked {
            drop(writer);
            let receipt = self.settle_unchanged().await?;
            return Ok((self.view(key)?, receipt));
        }
        let key =
            ApiKey { switch: Switch::Revoked, revoked_at: Some(now), revoke_reason: reason, updated_at: now, ..key };
        writer.update_key(&key).await?;
        writer.erase_key_texts(id, None).await?;
        let data = serde_json::json!({ "reason": key.revoke_reason });
        let event = self.event(ctx, "key.revoked", Subject::key(id, &key.name, data))?;
        let receipt = self.commit(writer, event).await?;
        Ok((self.view(key)?, receipt))
    }

    /// Removes a key. A tombstone stays, so that the audit log can name it and its text can never come back.
    pub async fn delete_key(&self, ctx: &Context, id: KeyId) -> Result<()> {
        let (mut writer, _) = self.begin(ctx).await?;
        let key = self.visible_key(&mut writer, ctx, id).await?;
        writer.delete_key(ctx.organization, id, self.now()).await?;
        let event = self.event(ctx, "key.deleted", Subject::key(id, &key.name, serde_json::json!({})))?;
        self.commit(writer, event).await.map(|_| ())
    }
}

fn patched(before: &ApiKey, patch: KeyPatch, now: Timestamp) -> Result<ApiKey> {
    let mut key = before.clone();
    if let Some(text) = patch.name {
        key.name = name::name(&text).map_err(|e| Error::invalid("name", e))?;
    }
    if let Some(text) = patch.description {
        key.description = name::description(&text).map_err(|e| Error::invalid("description", e))?;
    }
    if let Some(scopes) = read_scopes(patch.scopes.as_deref(), patch.level.as_deref())? {
        key.scopes = scopes;
    }
    if let Some(enabled) = patch.enabled {
        key.switch = if enabled { Switch::Active } else { Switch::Disabled };
    }
    if let Some(at) = patch.expires_at {
        key.expires_at = read_expiry(at, now)?;
    }
    if let Some(networks) = patch.ip_allowlist {
        key.ip_allowlist = read_addresses(networks.as_deref())?;
    }
    if let Some(limits) = patch.rate_limits {
        key.rate_limits = read_rate_limits(limits.as_deref())?;
    }
    if let Some(metadata) = patch.metadata {
        key.metadata = read_metadata(metadata)?;
    }
    Ok(key)
}

/// What the audit log tells of a key's state.
fn told(key: &ApiKey) -> serde_json::Value {
    serde_json::json!({
        "name": key.name,
        "description": key.description,
        "scopes": key.scopes.to_strings(),
        "enabled": key.switch == Switch::Active,
        "expires_at": key.expires_at,
        "ip_allowlist": key.ip_allowlist.to_strings(),
        "rate_limits": key.rate_limits.to_text(),
    })
}
