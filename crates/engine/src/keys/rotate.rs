//! Giving a key a new secret while the old one still works for a while.

use jiff::{SignedDuration, Timestamp};
use keyrack_core::{KeyId, KeyStatus, PlainKey};
use keyrack_store::{ApiKey, KeySecret};

use super::{KeyView, too_strong};
use crate::actor::{Context, authority_of};
use crate::engine::{Engine, Subject};
use crate::{Error, Result};

/// How long the old secret lives on, if nobody says otherwise: a day.
pub const DEFAULT_OVERLAP: i64 = 24 * 60 * 60;
/// How long it may live on at most: 30 days.
pub const MAX_OVERLAP: i64 = 30 * 24 * 60 * 60;

/// How to rotate.
#[derive(Clone, Copy, Debug, Default)]
pub struct RotateKey {
    /// How many seconds the old secret lives on, 0 to [`MAX_OVERLAP`].
    pub overlap_seconds: Option<i64>,
    /// Rotate although two secrets are in use: the older one ends at once.
    pub force: bool,
}

/// A key with its new secret.
pub struct RotatedKey {
    /// The key; its id is what it was.
    pub key: KeyView,
    /// The new text, to be shown this once; `None` on a replay.
    pub secret: Option<PlainKey>,
    /// Until when the old secret is taken.
    pub previous_secret_expires_at: Option<Timestamp>,
    /// Whether an earlier request with the same idempotency key had rotated it.
    pub is_replay: bool,
}

impl Engine {
    /// Makes a new secret for a key. The old one is taken until the overlap ends, never longer than the key lives.
    pub async fn rotate_key(&self, ctx: &Context, id: KeyId, how: RotateKey) -> Result<RotatedKey> {
        let overlap = how.overlap_seconds.unwrap_or(DEFAULT_OVERLAP);
        if !(0..=MAX_OVERLAP).contains(&overlap) {
            return Err(Error::invalid("overlap_seconds", format!("must be 0 to {MAX_OVERLAP} (30 days)")));
        }
        let _in_flight = self.enter(ctx)?;
        if self.replayed(ctx).await?.is_some() {
            self.settle_unchanged().await?;
            return self.replay_rotation(ctx, id).await;
        }
        let now = self.now();
        let tenant = self.tenant(ctx)?;
        let seen = self.visible_key(&mut self.reader().await?, ctx, id).await?;
        let group = tenant.groups.get(&seen.group).ok_or(Error::NotFound("group"))?;
        let secrets = self.reader().await?.list_key_secrets(id).await?;
        let newest = secrets.last().map_or(0, |s| s.version);
        let is_asked = secrets.len() > 1 && secrets.last().is_some_and(|s| s.last_used_at.is_none());
        // Read before the transaction: others may hold much of it, and every change would wait.
        let is_journaled = is_asked && self.has_journaled_use(id, newest).await?;
        let (plain, secret) = self.draw(group, seen.environment, (newest + 1, now)).await?;

        let (mut writer, authority, keeping) = self.begin_keeping(ctx, group).await?;
        let key = self.visible_key(&mut writer, ctx, id).await?;
        authority_of(&key, tenant.is_access_group(key.group)).within(&authority).map_err(too_strong)?;
        if matches!(key.status(now), KeyStatus::Revoked | KeyStatus::Expired) {
            let message = format!("the key is {}; make a new one", key.status(now).as_str());
            return Err(Error::conflict("key_final", message));
        }
        // It may have been used since uses were last written down. What is in memory no more by now is read behind it.
        let is_noted = is_asked && self.with_usage(move |usage| usage.has_use_of(id, newest)).await != Some(false);
        let secrets = writer.list_key_secrets(id).await?;
        if secrets.last().is_none_or(|s| s.version != newest) {
            return Err(Error::conflict("rotation_in_progress", "the key is being rotated by somebody else"));
        }
        let is_unused = |s: &KeySecret| s.last_used_at.is_none() && !is_noted && !is_journaled;
        let ending = ending(&key, &secrets, is_unused, how, overlap, now)?;
        for (version, at) in &ending.ends {
            writer.end_secret(id, *version, *at).await?;
            // What is shown is the newest.
            writer.erase_key_texts(id, Some(*version)).await?;
        }
        writer.insert_key_secret(id, &secret).await?;
        if let Some(data_key) = &keeping {
            self.keep_text(&mut writer, data_key, (key.organization, id, secret.version), &plain).await?;
        }
        self.remember(&mut writer, ctx, id.0).await?;
        let data = serde_json::json!({
            "version": secret.version,
            "previous_secret_expires_at": ending.previous,
            "last4": secret.last4,
        });
        let event = self.event(ctx, "key.rotated", Subject::key(id, &key.name, data))?;
        self.commit(writer, event).await?;
        let key = ApiKey { display_prefix: secret.display_prefix, last4: secret.last4, ..key };
        let key = self.view(key)?;
        Ok(RotatedKey { key, secret: Some(plain), previous_secret_expires_at: ending.previous, is_replay: false })
    }

    async fn replay_rotation(&self, ctx: &Context, id: KeyId) -> Result<RotatedKey> {
        let mut reader = self.reader().await?;
        let key = self.visible_key(&mut reader, ctx, id).await?;
        let previous = reader.list_key_secrets(id).await?.iter().rev().find_map(|s| s.expires_at);
        let key = self.view(key)?;
        Ok(RotatedKey { key, secret: None, previous_secret_expires_at: previous, is_replay: true })
    }

    /// The secrets of a key, oldest first.
    pub async fn list_key_secrets(&self, ctx: &Context, id: KeyId) -> Result<Vec<KeySecret>> {
        let mut reader = self.reader().await?;
        self.visible_key(&mut reader, ctx, id).await?;
        Ok(reader.list_key_secrets(id).await?)
    }

    /// Ends an overlap early: the old secret is taken no more.
    pub async fn end_overlap(&self, ctx: &Context, id: KeyId, version: i64) -> Result<()> {
        let now = self.now();
        let (mut writer, _) = self.begin(ctx).await?;
        let key = self.visible_key(&mut writer, ctx, id).await?;
        let secrets = writer.list_key_secrets(id).await?;
        let secret = secrets.iter().find(|s| s.version == version).ok_or(Error::NotFound("secret"))?;
        if secrets.last().is_some_and(|newest| newest.version == version) {
            let message = "this is the key's newest secret; rotate or revoke the key instead";
            return Err(Error::conflict("newest_secret", message));
        }
        if !is_live(secret, now) {
            drop(writer);
            return self.settle_unchanged().await.map(|_| ());
        }
        writer.end_secret(id, version, now).await?;
        let data = serde_json::json!({ "version": version });
        let event = self.event(ctx, "key.overlap_ended", Subject::key(id, &key.name, data))?;
        self.commit(writer, event).await.map(|_| ())
    }
}

fn is_live(secret: &KeySecret, now: Timestamp) -> bool {
    secret.expires_at.is_none_or(|at| at > now)
}

/// Which secrets end when, once a new one is there.
struct Ending {
    ends: Vec<(i64, Timestamp)>,
    previous: Option<Timestamp>,
}

fn ending(
    key: &ApiKey,
    secrets: &[KeySecret],
    is_unused: impl Fn(&KeySecret) -> bool,
    how: RotateKey,
    overlap: i64,
    now: Timestamp,
) -> Result<Ending> {
    let end = now.saturating_add(SignedDuration::from_secs(overlap)).unwrap_or(Timestamp::MAX);
    let end = key.expires_at.map_or(end, |expiry| expiry.min(end));
    let live: Vec<&KeySecret> = secrets.iter().filter(|s| is_live(s, now)).collect();
    match live[..] {
        [newest] => Ok(Ending { ends: vec![(newest.version, end)], previous: Some(end) }),
        [older, newest] if is_unused(newest) => {
            // The newest was never used, so it is lost: its place is taken, and the old one keeps its time.
            let stays = if how.overlap_seconds.is_some() { end } else { older.expires_at.unwrap_or(end) };
            Ok(Ending { ends: vec![(newest.version, now), (older.version, stays)], previous: Some(stays) })
        }
        [older, newest] if how.force => {
            Ok(Ending { ends: vec![(older.version, now), (newest.version, end)], previous: Some(end) })
        }
        [_, _] => Err(Error::conflict(
            "overlap_in_progress",
            "two secrets of the key are in use; end the overlap first, or give force: true to end the older one now",
        )),
        _ => Err(Error::internal("a key has no live secret, or more than two")),
    }
}
