//! Bringing keys along that were made elsewhere: their text, or its SHA-256.

use std::collections::HashSet;

use keyrack_core::format::{imported_display_prefix, is_importable};
use keyrack_core::{NotificationId, PlainKey, TextHash};
use keyrack_store::{ApiKey, HashProfile, NewSecret};

use super::{KeyView, NewKey, too_strong};
use crate::actor::{Context, authority_of};
use crate::engine::{Engine, Subject};
use crate::{Error, Result, notices};

/// The most keys imported at once; they are all imported, or none is.
pub const MAX_IMPORT: usize = 1000;
/// The most keys imported at once into a group with the bcrypt profile: each takes a quarter of a second.
const MAX_SLOW_IMPORT: usize = 16;

/// A key to be imported.
pub struct ImportKey {
    /// What it is to be.
    pub new: NewKey,
    /// Its text...
    pub text: Option<PlainKey>,
    /// ...or the SHA-256 of its text, in 64 hexadecimal digits.
    pub sha256: Option<String>,
}

struct Prepared {
    key: ApiKey,
    secret: NewSecret,
    /// Of its text, under each pepper: it may have been a key before the pepper changed.
    digests: Vec<[u8; 32]>,
    in_access_group: bool,
    /// Its text, if it is to be kept.
    text: Option<PlainKey>,
}

impl Engine {
    /// Imports up to [`MAX_IMPORT`] keys, in the order given: all of them or none.
    pub async fn import_keys(&self, ctx: &Context, keys: Vec<ImportKey>) -> Result<Vec<KeyView>> {
        if keys.is_empty() || keys.len() > MAX_IMPORT {
            return Err(Error::invalid("keys", format!("must be 1 to {MAX_IMPORT} keys")));
        }
        let count = keys.len();
        let mut prepared = Vec::with_capacity(count);
        let mut seen = HashSet::with_capacity(count);
        for (at, key) in keys.into_iter().enumerate() {
            let one = self.prepare_import(ctx, key, count).await.map_err(|error| within(at, error))?;
            if !seen.insert(one.digests.clone()) {
                return Err(Error::invalid(format!("keys[{at}]"), "is the same key as an earlier one of the list"));
            }
            prepared.push(one);
        }
        let (mut writer, authority, data_key) = if prepared.iter().any(|one| one.text.is_some()) {
            let (writer, authority, key) = self.begin_sealing(ctx).await?;
            (writer, authority, Some(key))
        } else {
            let (writer, authority) = self.begin(ctx).await?;
            (writer, authority, None)
        };
        for one in &prepared {
            authority_of(&one.key, one.in_access_group).within(&authority).map_err(too_strong)?;
        }
        let digests: Vec<_> = prepared.iter().flat_map(|one| one.digests.iter().copied()).collect();
        if let Some(known) = writer.known_digests(&digests).await?.into_iter().min() {
            let at = known * prepared.len() / digests.len();
            return Err(Error::conflict("key_known", format!("keys[{at}] is known already, or once was")));
        }
        let rows: Vec<_> = prepared.iter().map(|one| (&one.key, &one.secret)).collect();
        writer.insert_keys(&rows).await?;
        for one in &prepared {
            let Some((text, data_key)) = one.text.as_ref().zip(data_key.as_ref()) else { continue };
            let group = writer.find_group(ctx.organization, one.key.group).await?;
            if group.is_some_and(|group| group.recoverable) {
                let of = (one.key.organization, one.key.id, one.secret.version);
                self.keep_text(&mut writer, data_key, of, text).await?;
            }
        }
        let ids: Vec<_> = prepared.iter().map(|one| one.key.id).collect();
        let data = serde_json::json!({ "key_ids": ids, "count": count });
        let first = &prepared[0].key;
        let id = NotificationId::new(self.now(), self.random_id()?);
        writer.insert_notification(&notices::of_imported_keys(id, first, count)).await?;
        let event = self.event(ctx, "key.imported", Subject::key(first.id, &first.name, data))?;
        self.commit(writer, event).await?;
        prepared.into_iter().map(|one| self.view(one.key)).collect()
    }

    async fn prepare_import(&self, ctx: &Context, import: ImportKey, count: usize) -> Result<Prepared> {
        let tenant = self.tenant(ctx)?;
        let now = self.now();
        let (draft, group) = self.draft(ctx, &tenant, import.new, now)?;
        if group.hash_profile == HashProfile::Bcrypt && count > MAX_SLOW_IMPORT {
            let message = format!("at most {MAX_SLOW_IMPORT} keys of a bcrypt group are imported at once");
            return Err(Error::invalid("group", message));
        }
        let (hash, shown) = match (&import.text, &import.sha256) {
            (Some(text), None) => {
                if !is_importable(text.expose()) {
                    let message = "must be 16 to 128 printable ASCII characters without comma or space";
                    return Err(Error::invalid("key", message));
                }
                let shown = (imported_display_prefix(text).to_owned(), text.last4().to_owned());
                (TextHash::of(text.expose()), shown)
            }
            (None, Some(hex)) => {
                let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok();
                let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
                let bytes = bytes.ok_or_else(|| Error::invalid("sha256", "must be 64 hexadecimal digits"))?;
                (TextHash::imported(bytes), (String::new(), String::new()))
            }
            _ => return Err(Error::invalid("key", "give either key or sha256")),
        };
        let digests = self.peppers.known().iter().map(|pepper| *pepper.digest(&hash).as_bytes()).collect();
        let secret = self.digest_for(&group, &hash).await?.into_secret(1, shown, now);
        let (display_prefix, last4) = (secret.display_prefix.clone(), secret.last4.clone());
        let key = ApiKey { imported: true, display_prefix, last4, ..draft };
        let in_access_group = tenant.is_access_group(group.id);
        let text = import.text.filter(|_| group.recoverable);
        Ok(Prepared { key, secret, digests, in_access_group, text })
    }
}

fn within(at: usize, error: Error) -> Error {
    match error {
        Error::Invalid(field) => Error::invalid(format!("keys[{at}].{}", field.field), field.message),
        other => other,
    }
}
