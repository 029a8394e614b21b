//! What owners and admins are told of without asking: keys that expire or that nobody uses, quotas that run out, secrets that
//! can be ended or should not be yet.
//!
//! Each is an event in the log and a notification, made once, in one transaction with the mark that says so.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keyrack_core::usage::{Span, UNUSED_FOR};
use keyrack_core::{KeyId, Month, NotificationId, OrganizationId, micros};
use keyrack_store::{ActorKind, DueKey, NewEvent, Notification, OldSecret, SubjectKind};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::actor::Context;
use crate::engine::Engine;
use crate::keys::Page;
use crate::{Error, Result};

mod words;

pub use words::told;

/// How often it is looked whether there is anything to tell.
const ROUND: Duration = Duration::from_secs(30);
/// In how many rounds it is looked for keys that nobody uses: all keys are looked at for that.
const UNUSED_EVERY: u32 = 120;
/// In how many days a key expires when that is told, each with the days of the next.
const EXPIRING: [(&str, i64, i64); 3] = [("expiring.14", 14, 7), ("expiring.7", 7, 1), ("expiring.1", 1, 0)];
/// For how long after it is told that a key has expired, if nobody served at the time.
const EXPIRED_WITHIN: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How many unused keys are named.
const UNUSED_NAMED: i64 = 100;
/// At how many hundredths of a quota it is told.
const QUOTA_AT: [(&str, u64); 2] = [("quota.100", 100), ("quota.80", 80)];
/// How long an old secret is silent until it is safe to end.
const SILENT_FOR: SignedDuration = SignedDuration::from_hours(24);
/// How many addresses are named from which an old secret is still used.
const ADDRESSES: i64 = 20;
/// For how long notifications are kept, and the addresses of old secrets.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(365 * 24);
const ADDRESSES_KEPT_FOR: SignedDuration = SignedDuration::from_hours(31 * 24);

/// Something to be told.
struct Telling {
    /// The kinds of the notification and of the event.
    kind: (&'static str, &'static str),
    organization: OrganizationId,
    /// The key, if it is about one.
    key: Option<(Uuid, String)>,
    data: Value,
    /// Of what it is marked that this has been told.
    marks: Vec<(Uuid, &'static str, i64)>,
    /// The keys that are told of, one for each mark, where those are of keys; what was told already is left out.
    keys: Vec<Value>,
}

/// Notifications for somebody.
#[derive(Clone, Debug)]
pub struct Notifications {
    /// A part of them, the newest first, each with whether whoever asks has read it.
    pub page: Page<(Notification, bool)>,
    /// How many of all they have not read, up to a hundred.
    pub unread: u64,
}

impl Engine {
    /// Tells what there is to tell as long as the process serves.
    pub(crate) async fn keep_telling(&self) {
        let mut round = crate::serving::every(ROUND);
        let mut number = 0_u32;
        loop {
            round.tick().await;
            if !self.is_serving() {
                continue;
            }
            if let Err(error) = self.tell(number.is_multiple_of(UNUSED_EVERY)).await {
                tracing::warn!(%error, "owners and admins could not be told something, and will be later");
            }
            number = number.wrapping_add(1);
        }
    }

    /// Tells what there is to tell now; of keys that nobody uses only if that is asked for. What cannot be told keeps nobody from
    /// being told the rest.
    pub async fn tell(&self, of_unused: bool) -> Result<()> {
        let now = self.now();
        let expiry = self.tell_of_expiry(now).await;
        let quotas = self.tell_of_quotas(now).await;
        let secrets = self.tell_of_old_secrets(now).await;
        if of_unused {
            let unused = self.tell_of_unused(now).await;
            let forgotten = self.store.write(&[]).await?;
            forgotten.commit_notices_forgotten(before(now, KEPT_FOR), before(now, ADDRESSES_KEPT_FOR)).await?;
            unused?;
        }
        expiry.and(quotas).and(secrets)
    }

    async fn tell_of_expiry(&self, now: Timestamp) -> Result<()> {
        let ahead = |days: i64| before(now, -SignedDuration::from_hours(24 * days));
        for (word, days, next) in EXPIRING {
            let (kind, time) = (("API_KEY_EXPIRING", "key.expiring"), (ahead(next), ahead(days)));
            let lived_before = SignedDuration::from_hours(24 * days);
            self.tell_of_keys(kind, word, time, lived_before, &json!({ "days": days })).await?;
        }
        let (kind, time) = (("API_KEY_EXPIRED", "key.expired"), (before(now, EXPIRED_WITHIN), now));
        self.tell_of_keys(kind, "expired", time, SignedDuration::ZERO, &json!({})).await
    }

    /// Tells of keys that expire in a time, those of an organization together.
    async fn tell_of_keys(
        &self,
        kind: (&'static str, &'static str),
        word: &'static str,
        (after, until): (Timestamp, Timestamp),
        lived_before: SignedDuration,
        data: &Value,
    ) -> Result<()> {
        let mut place = (after, KeyId(Uuid::max()));
        loop {
            let mut due = self.reader().await?.keys_expiring(word, (place, until), lived_before).await?;
            let Some(last) = due.last() else { return Ok(()) };
            place = (last.at, last.key);
            due.sort_by_key(|due| due.organization);
            for due in due.chunk_by(|one, next| one.organization == next.organization) {
                let Some(first) = due.first() else { continue };
                self.give(Telling {
                    kind,
                    organization: first.organization,
                    key: (due.len() == 1).then(|| (first.key.0, first.name.clone())),
                    data: data.clone(),
                    keys: due.iter().map(shown).collect(),
                    marks: due.iter().map(|due| (due.key.0, word, micros(due.at))).collect(),
                })
                .await?;
            }
        }
    }

    /// Tells each organization once a day of the keys that have fallen idle since it was last told.
    async fn tell_of_unused(&self, now: Timestamp) -> Result<()> {
        let since = before(Span::Day.start_of(now), UNUSED_FOR);
        let organizations = self.reader().await?.fallen_idle("unused", since, now).await?;
        for (organization, count) in organizations {
            let time = (since, now);
            let keys = self.reader().await?.list_fallen_idle("unused", time, organization, UNUSED_NAMED).await?;
            let data = json!({
                "days": UNUSED_FOR.as_hours() / 24,
                "count": count,
                "keys": keys.iter().map(shown).collect::<Vec<_>>(),
            });
            let key = keys.first().filter(|_| count == 1).map(|key| (key.key.0, key.name.clone()));
            let marks = vec![(organization.0, "unused", micros(since))];
            let kind = ("API_KEY_UNUSED", "key.unused");
            self.give(Telling { kind, organization, key, data, marks, keys: Vec::new() }).await?;
        }
        Ok(())
    }

    async fn tell_of_quotas(&self, now: Timestamp) -> Result<()> {
        let month = Month::of(now);
        for (organization, granted) in self.reader().await?.quotas_of(month).await? {
            let Some(tenant) = self.directory.tenant(organization) else { continue };
            let Some(limit) = self.tiers.load().limit(tenant.organization.tier) else { continue };
            let reached = |of: u64| u128::from(granted) * 100 >= u128::from(limit) * u128::from(of);
            let Some((word, of)) = QUOTA_AT.into_iter().find(|(_, of)| reached(*of)) else { continue };
            if self.reader().await?.is_marked(organization.0, word, month.number()).await? {
                continue;
            }
            let data = json!({
                "percent": of,
                "month": month.to_string(),
                "used": granted.min(limit),
                "monthly_limit": limit,
                "resets_at": month.next().start(),
            });
            // Whoever has used all of it need not be told afterwards that most of it is used.
            let all = QUOTA_AT.into_iter().filter(|(_, lower)| *lower <= of);
            let marks = all.map(|(word, _)| (organization.0, word, month.number())).collect();
            let kind = ("QUOTA_REACHED", "quota.reached");
            self.give(Telling { kind, organization, key: None, data, marks, keys: Vec::new() }).await?;
        }
        Ok(())
    }

    async fn tell_of_old_secrets(&self, now: Timestamp) -> Result<()> {
        let mut reader = self.reader().await?;
        let mut telling = Vec::new();
        for secret in reader.old_secrets(now).await? {
            let Some((kind, word)) = state_of(&secret, now) else { continue };
            if reader.is_marked(secret.key.0, word, secret.version).await? {
                continue;
            }
            let uses = reader.old_secret_uses(secret.key, secret.version, ADDRESSES).await?;
            telling.push((secret, kind, word, uses));
        }
        drop(reader);
        for (secret, kind, word, uses) in telling {
            let uses: Vec<Value> =
                uses.into_iter().map(|(address, at)| json!({ "address": address, "last_used_at": at })).collect();
            let data = json!({
                "version": secret.version,
                "expires_at": secret.expires_at,
                "last_used_at": secret.last_used_at,
                "used_from": uses,
            });
            let marks = vec![(secret.key.0, word, secret.version)];
            let key = Some((secret.key.0, secret.name));
            let organization = secret.organization;
            self.give(Telling { kind, organization, key, data, marks, keys: Vec::new() }).await?;
        }
        Ok(())
    }

    /// Makes the event and the notification, unless another process has.
    async fn give(&self, telling: Telling) -> Result<()> {
        let Telling { kind: (kind, event_kind), organization, key, mut data, marks, keys } = telling;
        let mut writer = self.store.write(&[organization]).await?;
        let (mut is_new, mut new_keys) = (false, Vec::new());
        for (at, (subject, word, mark)) in marks.into_iter().enumerate() {
            if writer.mark_notice(subject, word, mark).await? {
                is_new = true;
                new_keys.extend(keys.get(at).cloned());
            }
        }
        if !is_new {
            return Ok(());
        }
        if !keys.is_empty() {
            data["count"] = new_keys.len().into();
            data["keys"] = new_keys.into();
        }
        let tenant = self.directory.tenant(organization).ok_or(Error::NotFound("organization"))?;
        let (subject_kind, (id, name)) = match key {
            Some(key) => (SubjectKind::Key, key),
            None => (SubjectKind::Organization, (organization.0, tenant.organization.name.clone())),
        };
        let now = self.now();
        let notification = Notification {
            id: NotificationId::new(now, self.random_id()?),
            organization,
            kind: kind.to_owned(),
            subject_kind,
            subject_id: Some(id),
            subject_name: name.clone(),
            data: data.clone(),
            created_at: now,
        };
        writer.insert_notification(&notification).await?;
        let event = NewEvent {
            id: keyrack_core::EventId::new(now, self.random_id()?),
            at: now,
            organization: Some(organization),
            kind: event_kind,
            actor_kind: ActorKind::System,
            actor_id: None,
            actor_name: "keyrack".to_owned(),
            subject_kind,
            subject_id: Some(id),
            subject_name: name,
            data,
            request_id: None,
        };
        self.commit(writer, event).await.map(drop)
    }

    /// What owners and admins of the organization have been told.
    pub async fn list_notifications(
        &self,
        ctx: &Context,
        before: Option<NotificationId>,
        limit: i64,
    ) -> Result<Notifications> {
        let mut reader = self.reader().await?;
        let mut data = reader.list_notifications(ctx.organization, before, limit + 1).await?;
        let has_more = data.len() > usize::try_from(limit).unwrap_or(0);
        data.truncate(usize::try_from(limit).unwrap_or(0));
        let next_cursor = data.last().filter(|_| has_more).map(|last| last.id.to_string());
        let read = reader.notifications_read(ctx.organization, reader_of(ctx)).await?;
        let unread = reader.count_notifications(ctx.organization, read).await?;
        let is_read = |one: Notification| (read.is_some_and(|read| one.id <= read), one);
        let data = data.into_iter().map(is_read).map(|(is_read, one)| (one, is_read)).collect();
        Ok(Notifications { page: Page { data, next_cursor }, unread })
    }

    /// How many of those whoever asks has not read, up to a hundred.
    pub async fn count_unread(&self, ctx: &Context) -> Result<u64> {
        let mut reader = self.reader().await?;
        let read = reader.notifications_read(ctx.organization, reader_of(ctx)).await?;
        Ok(reader.count_notifications(ctx.organization, read).await?)
    }

    /// Notes that whoever asks has read them up to one of them.
    pub async fn read_notifications(&self, ctx: &Context, up_to: NotificationId) -> Result<()> {
        let read = self.reader().await?.find_notification(ctx.organization, up_to).await?;
        let up_to = read.ok_or(Error::NotFound("notification"))?.id;
        Ok(self.store.write(&[]).await?.commit_notifications_read(ctx.organization, reader_of(ctx), up_to).await?)
    }
}

/// A key, as data of a notice.
fn shown(due: &DueKey) -> Value {
    json!({ "id": due.key.0, "name": due.name, "at": due.at })
}

fn before(now: Timestamp, age: SignedDuration) -> Timestamp {
    now.saturating_sub(age).unwrap_or(if age.is_negative() { Timestamp::MAX } else { Timestamp::MIN })
}

/// Who reads: a person, a key, or the host.
fn reader_of(ctx: &Context) -> Uuid {
    ctx.actor.id().or(ctx.actor.user().map(|user| user.0)).unwrap_or_default()
}

/// What is to be told of a secret that another one replaces: that it has been silent for a day, or that it is still in use
/// when three quarters of its time, or all but a day, are over.
fn state_of(secret: &OldSecret, now: Timestamp) -> Option<((&'static str, &'static str), &'static str)> {
    let quarter = secret.expires_at.duration_since(secret.replaced_at) / 4;
    let last = quarter.min(SILENT_FOR);
    let since = |at: Timestamp| now.duration_since(at);
    let used = secret.last_used_at.unwrap_or(Timestamp::MIN);
    if since(used.max(secret.replaced_at)) >= SILENT_FOR {
        Some((("OLD_SECRET_SILENT", "secret.silent"), "secret.silent"))
    } else if secret.expires_at.duration_since(now) <= last && since(used) <= last {
        Some((("OLD_SECRET_IN_USE", "secret.in_use"), "secret.in_use"))
    } else {
        None
    }
}

/// What owners and admins are told of a key that was made.
pub(crate) fn of_new_key(id: NotificationId, key: &keyrack_store::ApiKey) -> Notification {
    Notification {
        id,
        organization: key.organization,
        kind: "API_KEY_CREATED".to_owned(),
        subject_kind: SubjectKind::Key,
        subject_id: Some(key.id.0),
        subject_name: key.name.clone(),
        data: json!({ "description": key.description, "last4": key.last4 }),
        created_at: key.created_at,
    }
}

/// What they are told of keys that were imported together.
pub(crate) fn of_imported_keys(id: NotificationId, first: &keyrack_store::ApiKey, count: usize) -> Notification {
    let data = json!({ "count": count });
    Notification { kind: "API_KEYS_IMPORTED".to_owned(), data, ..of_new_key(id, first) }
}
