//! Letters that wait to be sent by mail, and what is to be written in the next ones.

use jiff::Timestamp;
use keyrack_core::{LetterId, OrganizationId};

use crate::driver::{FromRow, Row, args};
use crate::{Member, Notification, Reader, Result, Writer, statements};

/// Of what it is marked when an organization was last written to; see [`Writer::mark_notice`].
const MAILED: &str = "mailed";

/// A letter that waits to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Letter {
    /// Its id.
    pub id: LetterId,
    /// To which e-mail address.
    pub recipient: String,
    /// What it says, sealed.
    pub sealed: Vec<u8>,
    /// How often it was begun to send it.
    pub attempts: i64,
    /// When to send it; while somebody does, when to try again if nothing is heard of that.
    pub due_at: Timestamp,
    /// When it was written.
    pub created_at: Timestamp,
}

/// An organization that has been told something which was not sent by mail yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unmailed {
    /// Which.
    pub organization: OrganizationId,
    /// When it was last written to.
    pub mailed_at: Option<Timestamp>,
}

statements! {
    INSERT = "INSERT INTO letter (id, recipient, sealed, attempts, due_at, created_at) VALUES ($1, $2, $3, $4, $5, $6)";
    IS_DUE = "SELECT 1 AS due FROM letter WHERE due_at <= $1 LIMIT 1";
    // Who waited for another that took it finds it not due any more.
    TAKE = "UPDATE letter SET due_at = $2, attempts = attempts + 1 \
        WHERE id = (SELECT id FROM letter WHERE due_at <= $1 ORDER BY due_at LIMIT 1) AND due_at <= $1 \
        RETURNING id, recipient, sealed, attempts, due_at, created_at";
    PUT_OFF = "UPDATE letter SET due_at = $2 WHERE id = $1";
    DELETE = "DELETE FROM letter WHERE id = $1";
    DELETE_ALL = "DELETE FROM letter";
    UNMAILED = "SELECT u.organization_id, m.mark FROM (SELECT DISTINCT organization_id FROM notification WHERE NOT is_mailed) u \
        LEFT JOIN notice_mark m ON m.subject = u.organization_id AND m.kind = $1";
    LIST_UNMAILED = "SELECT id, organization_id, kind, subject_kind, subject_id, subject_name, data, created_at FROM notification \
        WHERE organization_id = $1 AND NOT is_mailed ORDER BY id DESC LIMIT $2";
    NOTE_MAILED = "UPDATE notification SET is_mailed = TRUE WHERE organization_id = $1 AND NOT is_mailed";
    NOTE_ALL_MAILED = "UPDATE notification SET is_mailed = TRUE WHERE NOT is_mailed";
    LIST_MANAGERS = "SELECT m.organization_id, m.user_id, u.email, u.name, m.role, m.created_at \
        FROM member m JOIN user_account u ON u.id = m.user_id \
        WHERE m.organization_id = $1 AND m.role IN ('owner', 'admin') ORDER BY m.user_id";
}

impl FromRow for Letter {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            recipient: row.get("recipient")?,
            sealed: row.get("sealed")?,
            attempts: row.get("attempts")?,
            due_at: row.get("due_at")?,
            created_at: row.get("created_at")?,
        })
    }
}

impl FromRow for Unmailed {
    fn from_row(row: &Row) -> Result<Self> {
        let mark: Option<i64> = row.get("mark")?;
        Ok(Self { organization: row.get("organization_id")?, mailed_at: mark.map(keyrack_core::from_micros) })
    }
}

struct Due;

impl FromRow for Due {
    fn from_row(_: &Row) -> Result<Self> {
        Ok(Self)
    }
}

impl Reader {
    /// Whether a letter is to be sent now.
    pub async fn is_letter_due(&mut self, now: Timestamp) -> Result<bool> {
        Ok(self.tx.fetch::<Due>(IS_DUE, args![now]).await?.is_some())
    }

    /// Organizations that have been told something which was not sent by mail yet.
    pub async fn unmailed(&mut self) -> Result<Vec<Unmailed>> {
        self.tx.fetch_all(UNMAILED, args![MAILED]).await
    }

    /// The owners and admins of an organization.
    pub async fn list_managers(&mut self, organization: OrganizationId) -> Result<Vec<Member>> {
        self.tx.fetch_all(LIST_MANAGERS, args![organization]).await
    }
}

impl Writer {
    /// Adds a letter.
    pub async fn insert_letter(&mut self, l: &Letter) -> Result<()> {
        let args = args![l.id, &l.recipient, l.sealed.as_slice(), l.attempts, l.due_at, l.created_at];
        self.tx.execute_one(INSERT, args).await
    }

    /// Takes the letter that has been due for longest, to send it, and commits. Nobody else takes it before `until`.
    pub async fn commit_letter_taken(mut self, now: Timestamp, until: Timestamp) -> Result<Option<Letter>> {
        let letter = self.tx.fetch(TAKE, args![now, until]).await?;
        self.reader.tx.commit().await?;
        Ok(letter)
    }

    /// Puts a letter off that could not be sent, and commits.
    pub async fn commit_letter_put_off(mut self, id: LetterId, until: Timestamp) -> Result<()> {
        self.tx.execute(PUT_OFF, args![id, until]).await?;
        self.reader.tx.commit().await
    }

    /// Removes a letter that was sent, or given up, and commits.
    pub async fn commit_letter_ended(mut self, id: LetterId) -> Result<()> {
        self.tx.execute(DELETE, args![id]).await?;
        self.reader.tx.commit().await
    }

    /// Takes what an organization has been told and what was not sent by mail: the newest of them, so many at most, and how many
    /// there are of all. From `now` on it counts as sent.
    pub async fn take_unmailed(
        &mut self,
        organization: OrganizationId,
        limit: i64,
        now: Timestamp,
    ) -> Result<(Vec<Notification>, u64)> {
        let newest = self.tx.fetch_all(LIST_UNMAILED, args![organization, limit]).await?;
        let count = self.tx.execute(NOTE_MAILED, args![organization]).await?;
        if count > 0 {
            self.mark_notice(organization.0, MAILED, keyrack_core::micros(now)).await?;
        }
        Ok((newest, count))
    }

    /// Commits letters that were written because of what was told before. They are its consequence, no change of their own: there is no event.
    pub async fn commit_letters(self) -> Result<()> {
        self.reader.tx.commit().await
    }

    /// Throws away all letters, and what the next ones would say; and commits.
    pub async fn commit_letters_discarded(mut self) -> Result<()> {
        self.tx.execute(DELETE_ALL, &[]).await?;
        self.tx.execute(NOTE_ALL_MAILED, &[]).await?;
        self.reader.tx.commit().await
    }
}
