//! Secrets of keys that get a digest under another pepper.

use jiff::Timestamp;
use keyrack_core::{EventId, KeyDigest, KeyId, OrganizationId};

use crate::driver::{FromRow, Row, args};
use crate::{Reader, Result, Writer, statements};

/// A secret that is found elsewhere than before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MovedSecret {
    /// The key.
    pub key: KeyId,
    /// Which of its secrets it is.
    pub version: i64,
    /// Where it was found before ([`KeyDigest::locator`]).
    pub left: u64,
    /// Where it is found now.
    pub place: u64,
    /// Since when.
    pub moved_at: Timestamp,
}

/// A new digest of a secret.
#[derive(Clone, Copy)]
pub struct Redigest {
    /// The key.
    pub key: KeyId,
    /// Its organization.
    pub organization: OrganizationId,
    /// Which of its secrets it is.
    pub version: i64,
    /// What it has.
    pub from: KeyDigest,
    /// What it gets...
    pub to: KeyDigest,
    /// ...under this pepper.
    pub pepper: i64,
}

/// A key with a secret under an older pepper.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeftKey {
    /// The key.
    pub key: KeyId,
    /// Its organization.
    pub organization: OrganizationId,
    /// Its name.
    pub name: String,
}

/// Secrets under the pepper $1 that could still let somebody in after $2.
macro_rules! left {
    () => {
        "FROM key_secret s JOIN api_key k ON k.id = s.key_id JOIN organization o ON o.id = k.organization_id \
         WHERE s.pepper_id = $1 AND k.switch <> 'revoked' AND o.state <> 'deleted' AND (s.expires_at IS NULL OR s.expires_at > $2)"
    };
}

statements! {
    REDIGEST = "UPDATE key_secret SET digest = $4, pepper_id = $5 WHERE key_id = $1 AND version = $2 AND digest = $3";
    NOTE = "INSERT INTO moved_secret (event_id, key_id, version, left_place, place, moved_at) VALUES ($1, $2, $3, $4, $5, $6)";
    MOVED_BY = "SELECT key_id, version, left_place, place, moved_at FROM moved_secret WHERE event_id = $1";
    MOVED_SINCE = "SELECT key_id, version, left_place, place, moved_at FROM moved_secret WHERE moved_at >= $1";
    FORGET = "DELETE FROM moved_secret WHERE moved_at < $1";
    IS_SOMETHING_TO_FORGET = "SELECT 1 AS value FROM moved_secret WHERE moved_at < $1 LIMIT 1";
    COUNT_LEFT = concat!("SELECT count(*) AS value ", left!());
    LEFT = concat!("SELECT k.id, k.organization_id, k.name ", left!(), " LIMIT $3");
}

impl FromRow for MovedSecret {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            key: row.get("key_id")?,
            version: row.get("version")?,
            left: row.get::<i64>("left_place")?.cast_unsigned(),
            place: row.get::<i64>("place")?.cast_unsigned(),
            moved_at: row.get("moved_at")?,
        })
    }
}

impl FromRow for LeftKey {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self { key: row.get("id")?, organization: row.get("organization_id")?, name: row.get("name")? })
    }
}

impl Reader {
    /// The secrets that were moved with this event.
    pub async fn secrets_moved_by(&mut self, event: EventId) -> Result<Vec<MovedSecret>> {
        self.tx.fetch_all(MOVED_BY, args![event]).await
    }

    /// The secrets that were moved since a moment.
    pub async fn secrets_moved_since(&mut self, since: Timestamp) -> Result<Vec<MovedSecret>> {
        self.tx.fetch_all(MOVED_SINCE, args![since]).await
    }

    /// Whether secrets are noted that were moved before a moment.
    pub async fn has_moves_before(&mut self, before: Timestamp) -> Result<bool> {
        Ok(self.tx.value::<i64>(IS_SOMETHING_TO_FORGET, args![before]).await?.is_some())
    }

    /// How many secrets under this pepper could still let somebody in, now or once their key is enabled or lives longer.
    pub async fn count_secrets_under_pepper(&mut self, pepper: i64, now: Timestamp) -> Result<u64> {
        let counted: i64 = self.tx.value(COUNT_LEFT, args![pepper, now]).await?.unwrap_or(0);
        Ok(u64::try_from(counted).unwrap_or(0))
    }

    /// Some of the keys of those secrets.
    pub async fn keys_under_pepper(&mut self, pepper: i64, now: Timestamp, limit: i64) -> Result<Vec<LeftKey>> {
        self.tx.fetch_all(LEFT, args![pepper, now, limit]).await
    }
}

impl Writer {
    /// Gives a secret a digest under another pepper, with the event that tells so; whether it still had the one from before.
    pub async fn redigest(&mut self, of: &Redigest, event: EventId, now: Timestamp) -> Result<bool> {
        let whole = (of.from.as_bytes().as_slice(), of.to.as_bytes().as_slice());
        // Of a slow secret the database has only the first 8 bytes.
        for (from, to) in [whole, (&whole.0[..8], &whole.1[..8])] {
            if self.tx.execute(REDIGEST, args![of.key, of.version, from, to, of.pepper]).await? == 1 {
                let places = [of.from, of.to].map(|digest| digest.locator().cast_signed());
                let note = args![event, of.key, of.version, places[0], places[1], now];
                return self.tx.execute_one(NOTE, note).await.map(|()| true);
            }
        }
        Ok(false)
    }

    /// Forgets where secrets were that were moved before a moment, and commits.
    pub async fn commit_moves_forgotten(mut self, before: Timestamp) -> Result<()> {
        self.tx.execute(FORGET, args![before]).await?;
        self.reader.tx.commit().await
    }
}
