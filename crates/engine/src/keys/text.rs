//! The texts of keys of recoverable groups: kept sealed, and shown to an owner who has just entered the password again.

use keyrack_core::seal::{self, DataKey};
use keyrack_core::status::Switch;
use keyrack_core::{Authority, KeyId, OrganizationId, PlainKey, Role};
use keyrack_store::{KeyGroup, KeyText, Writer};
use zeroize::Zeroizing;

use crate::actor::{Actor, Context};
use crate::engine::{Engine, Subject};
use crate::{Error, Result};

/// Where the text of a key belongs.
fn place_of(organization: OrganizationId, key: KeyId, version: i64) -> Vec<u8> {
    seal::place(&[b"key_text", organization.0.as_bytes(), key.0.as_bytes(), &version.to_be_bytes()])
}

impl Engine {
    /// Begins a change that makes a secret for a key of this group, with what its text is sealed with if it is to be kept.
    pub(super) async fn begin_keeping(
        &self,
        ctx: &Context,
        group: &KeyGroup,
    ) -> Result<(Writer, Authority, Option<DataKey>)> {
        if group.recoverable {
            let (mut writer, authority, key) = self.begin_sealing(ctx).await?;
            // It may have been switched off meanwhile, and what was kept erased.
            let now = writer.find_group(ctx.organization, group.id).await?;
            return Ok((writer, authority, now.is_some_and(|now| now.recoverable).then_some(key)));
        }
        let (writer, authority) = self.begin(ctx).await?;
        Ok((writer, authority, None))
    }

    /// Keeps the text of a key's secret.
    pub(super) async fn keep_text(
        &self,
        writer: &mut Writer,
        data_key: &DataKey,
        (organization, key, version): (OrganizationId, KeyId, i64),
        text: &PlainKey,
    ) -> Result<()> {
        let place = place_of(organization, key, version);
        let sealed = data_key.seal(&place, text.expose().as_bytes(), self.random.bytes()?);
        let sealed = sealed.ok_or(Error::internal("the text of a key could not be sealed"))?;
        let text = KeyText { key, version, organization, data_key: data_key.id(), sealed };
        Ok(writer.insert_key_text(&text).await?)
    }

    /// The text of a key's newest secret, for an owner of its organization who has just entered the password again. The audit log tells of
    /// it before it is shown.
    pub async fn reveal_key(&self, ctx: &Context, id: KeyId) -> Result<PlainKey> {
        let (mut writer, authority) = self.begin(ctx).await?;
        if !matches!(ctx.actor, Actor::User { .. }) {
            return Err(Error::forbidden(
                "key_not_accepted",
                "only an owner who is signed in looks at the text of a key",
            ));
        }
        if authority.role < Role::Owner {
            return Err(Error::forbidden("insufficient_role", "only an owner looks at the text of a key"));
        }
        let key = self.visible_key(&mut writer, ctx, id).await?;
        self.require_step_up(&mut writer, ctx).await?;
        let newest = writer.list_key_secrets(id).await?.last().map(|secret| secret.version);
        let kept = writer.list_key_texts(id).await?.into_iter().find(|text| Some(text.version) == newest);
        let not_kept =
            "the text of this key is not kept: its group is not recoverable, or was not when the key was made";
        let kept = kept
            .filter(|_| key.switch != Switch::Revoked)
            .ok_or_else(|| Error::conflict("not_recoverable", not_kept))?;
        let opened = self.open_key_text(&kept);
        let text = opened.ok_or(Error::internal("the text of a key cannot be opened"))?;
        let data = serde_json::json!({ "version": kept.version });
        let event = self.event(ctx, "key.revealed", Subject::key(id, &key.name, data))?;
        self.commit(writer, event).await?;
        Ok(text)
    }

    fn open_key_text(&self, kept: &KeyText) -> Option<PlainKey> {
        let bytes = self.data_keys.open(&place_of(kept.organization, kept.key, kept.version), &kept.sealed)?;
        Some(PlainKey::new(std::str::from_utf8(&bytes).ok()?.to_owned()))
    }

    /// A text sealed with another data key; `None` if it cannot be opened.
    pub(crate) fn reseal_key_text(&self, key: &DataKey, kept: &KeyText) -> Result<Option<Vec<u8>>> {
        let place = place_of(kept.organization, kept.key, kept.version);
        let opened: Option<Zeroizing<Vec<u8>>> = self.data_keys.open(&place, &kept.sealed);
        let Some(text) = opened else { return Ok(None) };
        let sealed = key.seal(&place, &text, self.random.bytes()?);
        sealed.map(Some).ok_or(Error::internal("the text of a key could not be sealed"))
    }
}
