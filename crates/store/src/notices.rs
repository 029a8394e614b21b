//! What owners and admins are told of: the state of their keys, and what they have used.
//!
//! Whoever tells of something leaves a mark in the same transaction, so that nothing is told twice, whoever looks.

use jiff::{SignedDuration, Timestamp};
use keyrack_core::{KeyId, Month, NotificationId, OrganizationId};
use uuid::Uuid;

use crate::driver::{FromRow, Row, args};
use crate::{Reader, Result, SubjectKind, Writer, statements};

/// How many keys are told of at once.
const AT_ONCE: i64 = 1000;

/// Something that owners and admins of an organization are told.
#[derive(Clone, PartialEq, Debug)]
pub struct Notification {
    /// Its id.
    pub id: NotificationId,
    /// Whose.
    pub organization: OrganizationId,
    /// What it is about, in one word.
    pub kind: String,
    /// What kind of thing it is about.
    pub subject_kind: SubjectKind,
    /// Which.
    pub subject_id: Option<Uuid>,
    /// Its name then.
    pub subject_name: String,
    /// The rest.
    pub data: serde_json::Value,
    /// When.
    pub created_at: Timestamp,
}

/// A key of which something is to be told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DueKey {
    /// The key.
    pub key: KeyId,
    /// Its organization.
    pub organization: OrganizationId,
    /// Its name.
    pub name: String,
    /// When it expires, or was last used or made.
    pub at: Timestamp,
}

/// A secret that another one replaces and that is still taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OldSecret {
    /// Its key.
    pub key: KeyId,
    /// The key's organization.
    pub organization: OrganizationId,
    /// The key's name.
    pub name: String,
    /// Which secret.
    pub version: i64,
    /// When it was replaced.
    pub replaced_at: Timestamp,
    /// Until when it is taken.
    pub expires_at: Timestamp,
    /// When it was last used.
    pub last_used_at: Option<Timestamp>,
}

/// When a key was last used, or made.
macro_rules! idle_since {
    () => {
        "COALESCE((SELECT MAX(u.last_used_at) FROM key_use u WHERE u.key_id = k.id), k.created_at)"
    };
}

/// Live keys that have fallen idle since their organization was last told: $2 since when, $3 now.
macro_rules! idle {
    () => {
        concat!(
            "WHERE k.switch = 'active' AND k.created_at <= $2 AND (k.expires_at IS NULL OR k.expires_at > $3) AND ",
            idle_since!(),
            " <= $2 AND (n.mark IS NULL OR ",
            idle_since!(),
            " > n.mark)"
        )
    };
}

statements! {
    EXPIRING = "SELECT k.id, k.organization_id, k.name, k.expires_at AS at FROM api_key k \
        LEFT JOIN notice_mark n ON n.subject = k.id AND n.kind = $1 \
        WHERE (k.expires_at, k.id) > ($2, $3) AND k.expires_at <= $4 AND k.switch = 'active' AND k.created_at < k.expires_at - $5 \
        AND (n.mark IS NULL OR n.mark <> k.expires_at) ORDER BY k.expires_at, k.id LIMIT $6";
    FALLEN_IDLE = concat!("SELECT k.organization_id AS id, COUNT(*) AS count FROM api_key k \
        LEFT JOIN notice_mark n ON n.subject = k.organization_id AND n.kind = $1 ", idle!(), " GROUP BY k.organization_id");
    LIST_FALLEN_IDLE = concat!("SELECT k.id, k.organization_id, k.name, ", idle_since!(), " AS at FROM api_key k \
        LEFT JOIN notice_mark n ON n.subject = k.organization_id AND n.kind = $1 ", idle!(),
        " AND k.organization_id = $4 ORDER BY k.id LIMIT $5");
    OLD_SECRETS = "SELECT s.key_id, k.organization_id, k.name, s.version, t.created_at AS replaced_at, s.expires_at, \
        u.last_used_at FROM key_secret s JOIN key_secret t ON t.key_id = s.key_id AND t.version = s.version + 1 \
        JOIN api_key k ON k.id = s.key_id LEFT JOIN key_use u ON u.key_id = s.key_id AND u.version = s.version \
        WHERE s.expires_at > $1 AND k.switch = 'active' AND (k.expires_at IS NULL OR k.expires_at > s.expires_at) \
        ORDER BY k.organization_id, s.key_id";
    OLD_USES = "SELECT address, last_used_at FROM old_secret_use WHERE key_id = $1 AND version = $2 \
        ORDER BY last_used_at DESC, address LIMIT $3";
    FORGET_OLD_USES = "DELETE FROM old_secret_use WHERE last_used_at < $1";
    QUOTAS = "SELECT organization_id, granted FROM quota WHERE month = $1";
    IS_MARKED = "SELECT mark AS value FROM notice_mark WHERE subject = $1 AND kind = $2";
    MARK = "INSERT INTO notice_mark (subject, kind, mark) VALUES ($1, $2, $3) \
        ON CONFLICT (subject, kind) DO UPDATE SET mark = excluded.mark WHERE notice_mark.mark <> excluded.mark";
    INSERT = "INSERT INTO notification (id, organization_id, kind, subject_kind, subject_id, subject_name, data, created_at, \
        is_mailed) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, FALSE)";
    LIST = "SELECT id, organization_id, kind, subject_kind, subject_id, subject_name, data, created_at FROM notification \
        WHERE organization_id = $1 AND (id < $2 OR $2 IS NULL) ORDER BY id DESC LIMIT $3";
    FIND = "SELECT id, organization_id, kind, subject_kind, subject_id, subject_name, data, created_at FROM notification \
        WHERE organization_id = $1 AND id = $2";
    READ = "INSERT INTO notification_read (reader, organization_id, up_to) VALUES ($1, $2, $3) \
        ON CONFLICT (reader, organization_id) DO UPDATE SET up_to = excluded.up_to WHERE notification_read.up_to < excluded.up_to";
    READ_UP_TO = "SELECT up_to AS value FROM notification_read WHERE reader = $1 AND organization_id = $2";
    UNREAD = "SELECT COUNT(*) AS value FROM (SELECT 1 FROM notification WHERE organization_id = $1 AND (id > $2 OR $2 IS NULL) \
        LIMIT 100) AS newest";
    FORGET = "DELETE FROM notification WHERE created_at < $1";
}

impl FromRow for DueKey {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            key: row.get("id")?,
            organization: row.get("organization_id")?,
            name: row.get("name")?,
            at: row.get("at")?,
        })
    }
}

impl FromRow for OldSecret {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            key: row.get("key_id")?,
            organization: row.get("organization_id")?,
            name: row.get("name")?,
            version: row.get("version")?,
            replaced_at: row.get("replaced_at")?,
            expires_at: row.get("expires_at")?,
            last_used_at: row.get("last_used_at")?,
        })
    }
}

impl FromRow for Notification {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            organization: row.get("organization_id")?,
            kind: row.get("kind")?,
            subject_kind: row.parse("subject_kind", SubjectKind::parse)?,
            subject_id: row.get("subject_id")?,
            subject_name: row.get("subject_name")?,
            data: row.json("data")?,
            created_at: row.get("created_at")?,
        })
    }
}

struct Used(OrganizationId, u64);

impl FromRow for Used {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self(row.get("organization_id")?, u64::try_from(row.get::<i64>("granted")?).unwrap_or(0)))
    }
}

struct Counted(OrganizationId, u64);

impl FromRow for Counted {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self(row.get("id")?, u64::try_from(row.get::<i64>("count")?).unwrap_or(0)))
    }
}

struct OldUse(String, Timestamp);

impl FromRow for OldUse {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self(row.get("address")?, row.get("last_used_at")?))
    }
}

impl Reader {
    /// Live keys that expire behind this place (a moment, and of that moment a key) and not after a moment, and were made so long
    /// before that they lived once without this being so; those that the word has not been said of. The next so to expire
    /// first, so many at most.
    pub async fn keys_expiring(
        &mut self,
        word: &'static str,
        (after, until): ((Timestamp, KeyId), Timestamp),
        lived_before: SignedDuration,
    ) -> Result<Vec<DueKey>> {
        let lived_before = i64::try_from(lived_before.as_micros()).unwrap_or(i64::MAX);
        self.tx.fetch_all(EXPIRING, args![word, after.0, after.1, until, lived_before, AT_ONCE]).await
    }

    /// Organizations of which live keys have not been used since a moment, and were made before it, and how many: those that it
    /// has not been told of yet. Looks at every key.
    pub async fn fallen_idle(
        &mut self,
        word: &'static str,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<(OrganizationId, u64)>> {
        let counted = self.tx.fetch_all::<Counted>(FALLEN_IDLE, args![word, since, now]).await?;
        Ok(counted.into_iter().map(|Counted(organization, count)| (organization, count)).collect())
    }

    /// The first so many of those keys.
    pub async fn list_fallen_idle(
        &mut self,
        word: &'static str,
        (since, now): (Timestamp, Timestamp),
        organization: OrganizationId,
        limit: i64,
    ) -> Result<Vec<DueKey>> {
        self.tx.fetch_all(LIST_FALLEN_IDLE, args![word, since, now, organization, limit]).await
    }

    /// Every secret of a live key that another one replaces and that is still taken.
    pub async fn old_secrets(&mut self, now: Timestamp) -> Result<Vec<OldSecret>> {
        self.tx.fetch_all(OLD_SECRETS, args![now]).await
    }

    /// From where such a secret was used, the latest first.
    pub async fn old_secret_uses(&mut self, key: KeyId, version: i64, limit: i64) -> Result<Vec<(String, Timestamp)>> {
        let uses = self.tx.fetch_all::<OldUse>(OLD_USES, args![key, version, limit]).await?;
        Ok(uses.into_iter().map(|OldUse(address, at)| (address, at)).collect())
    }

    /// What every organization has been granted of its quota of a month.
    pub async fn quotas_of(&mut self, month: Month) -> Result<Vec<(OrganizationId, u64)>> {
        let used = self.tx.fetch_all::<Used>(QUOTAS, args![month.number()]).await?;
        Ok(used.into_iter().map(|Used(organization, granted)| (organization, granted)).collect())
    }

    /// Whether a word has been said of something, at this mark.
    pub async fn is_marked(&mut self, subject: Uuid, word: &'static str, mark: i64) -> Result<bool> {
        Ok(self.tx.value::<i64>(IS_MARKED, args![subject, word]).await? == Some(mark))
    }

    /// What owners and admins have been told, the newest first.
    pub async fn list_notifications(
        &mut self,
        organization: OrganizationId,
        before: Option<NotificationId>,
        limit: i64,
    ) -> Result<Vec<Notification>> {
        self.tx.fetch_all(LIST, args![organization, before, limit]).await
    }

    /// One of them.
    pub async fn find_notification(
        &mut self,
        organization: OrganizationId,
        id: NotificationId,
    ) -> Result<Option<Notification>> {
        self.tx.fetch(FIND, args![organization, id]).await
    }

    /// Up to where somebody has read them.
    pub async fn notifications_read(
        &mut self,
        organization: OrganizationId,
        reader: Uuid,
    ) -> Result<Option<NotificationId>> {
        self.tx.value(READ_UP_TO, args![reader, organization]).await
    }

    /// How many there are behind one of them, up to a hundred.
    pub async fn count_notifications(
        &mut self,
        organization: OrganizationId,
        after: Option<NotificationId>,
    ) -> Result<u64> {
        let counted: i64 = self.tx.value(UNREAD, args![organization, after]).await?.unwrap_or(0);
        Ok(u64::try_from(counted).unwrap_or(0))
    }
}

impl Writer {
    /// Notes that a word is being said of something at this mark; false if it has been said already.
    pub async fn mark_notice(&mut self, subject: Uuid, word: &'static str, mark: i64) -> Result<bool> {
        Ok(self.tx.execute(MARK, args![subject, word, mark]).await? == 1)
    }

    /// Tells owners and admins of something.
    pub async fn insert_notification(&mut self, n: &Notification) -> Result<()> {
        let args = args![
            n.id,
            n.organization,
            &n.kind,
            n.subject_kind.as_str(),
            n.subject_id,
            &n.subject_name,
            n.data.to_string(),
            n.created_at
        ];
        self.tx.execute_one(INSERT, args).await
    }

    /// Notes up to where somebody has read, and commits. What they have read changes nothing for others: it has no event.
    pub async fn commit_notifications_read(
        mut self,
        organization: OrganizationId,
        reader: Uuid,
        up_to: NotificationId,
    ) -> Result<()> {
        self.tx.execute(READ, args![reader, organization, up_to]).await?;
        self.reader.tx.commit().await
    }

    /// Forgets what was told, and from where old secrets were used, before these moments; and commits.
    pub async fn commit_notices_forgotten(mut self, told: Timestamp, used: Timestamp) -> Result<()> {
        self.tx.execute(FORGET, args![told]).await?;
        self.tx.execute(FORGET_OLD_USES, args![used]).await?;
        self.reader.tx.commit().await
    }
}
