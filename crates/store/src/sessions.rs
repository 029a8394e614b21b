//! Sessions of people who have signed in.

use jiff::Timestamp;
use keyrack_core::{SessionId, UserId};

use crate::driver::{FromRow, Row, args};
use crate::{Reader, Result, Writer, statements};

/// A session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// From where it began.
    pub address: Option<String>,
    /// With which browser it began.
    pub user_agent: Option<String>,
    /// Whether it lets nobody in before a second factor has been given.
    pub awaits_second_factor: bool,
    /// When the password was entered again last.
    pub stepped_up_at: Option<Timestamp>,
}

statements! {
    INSERT = "INSERT INTO session (id, user_id, token_digest, created_at, expires_at, address, user_agent, \
        awaits_second_factor, stepped_up_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    FIND = "SELECT id, user_id, created_at, expires_at, address, user_agent, awaits_second_factor, stepped_up_at \
        FROM session WHERE token_digest = $1";
    FIND_BY_ID = "SELECT id, user_id, created_at, expires_at, address, user_agent, awaits_second_factor, stepped_up_at \
        FROM session WHERE id = $1";
    LIST_OF = "SELECT id, user_id, created_at, expires_at, address, user_agent, awaits_second_factor, stepped_up_at \
        FROM session WHERE user_id = $1 AND expires_at > $2 AND NOT awaits_second_factor ORDER BY id DESC";
    DELETE = "DELETE FROM session WHERE id = $1";
    DELETE_OF = "DELETE FROM session WHERE user_id = $1";
    DELETE_DEAD = "DELETE FROM session WHERE expires_at <= $1";
}

impl FromRow for Session {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            user: row.get("user_id")?,
            created_at: row.get("created_at")?,
            expires_at: row.get("expires_at")?,
            address: row.get("address")?,
            user_agent: row.get("user_agent")?,
            awaits_second_factor: row.get("awaits_second_factor")?,
            stepped_up_at: row.get("stepped_up_at")?,
        })
    }
}

impl Reader {
    /// The session of a cookie's digest, whether or not it has ended.
    pub async fn find_session(&mut self, token_digest: &[u8; 32]) -> Result<Option<Session>> {
        self.tx.fetch(FIND, args![token_digest.as_slice()]).await
    }

    /// A session by id, whether or not it has ended.
    pub async fn find_session_by_id(&mut self, id: SessionId) -> Result<Option<Session>> {
        self.tx.fetch(FIND_BY_ID, args![id]).await
    }

    /// The sessions with which a person is signed in, the newest first.
    pub async fn list_sessions_of(&mut self, user: UserId, now: Timestamp) -> Result<Vec<Session>> {
        self.tx.fetch_all(LIST_OF, args![user, now]).await
    }
}

impl Writer {
    /// Adds a session under the digest of its cookie's value, and clears away those that have ended by `now`.
    pub async fn insert_session(&mut self, s: &Session, token_digest: &[u8; 32], now: Timestamp) -> Result<()> {
        self.tx.execute(DELETE_DEAD, args![now]).await?;
        let (digest, address, agent) = (token_digest.as_slice(), s.address.as_deref(), s.user_agent.as_deref());
        let (awaits, stepped_up_at) = (s.awaits_second_factor, s.stepped_up_at);
        let args = args![s.id, s.user, digest, s.created_at, s.expires_at, address, agent, awaits, stepped_up_at];
        self.tx.execute_one(INSERT, args).await
    }

    /// Ends a session. Whether it was there.
    pub async fn delete_session(&mut self, id: SessionId) -> Result<bool> {
        Ok(self.tx.execute(DELETE, args![id]).await? == 1)
    }

    /// Ends every session of a person.
    pub async fn delete_sessions_of(&mut self, user: UserId) -> Result<u64> {
        self.tx.execute(DELETE_OF, args![user]).await
    }
}
