//! What requests with an `Idempotency-Key` made, so that a repetition makes nothing new.

use jiff::Timestamp;
use keyrack_core::OrganizationId;
use uuid::Uuid;

use crate::driver::{FromRow, Row, args};
use crate::{Reader, Result, StoreError, Writer, statements};

/// An earlier request under the same idempotency key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replay {
    /// SHA-256 of what was asked.
    pub request_hash: [u8; 32],
    /// What it made.
    pub result_id: Uuid,
}

statements! {
    FIND = "SELECT request_hash, result_id FROM idempotency \
        WHERE organization_id = $1 AND actor_id = $2 AND key = $3 AND created_at > $4";
    DELETE_OLD = "DELETE FROM idempotency WHERE created_at <= $1";
    INSERT = "INSERT INTO idempotency (organization_id, actor_id, key, request_hash, result_id, created_at) \
        VALUES ($1, $2, $3, $4, $5, $6)";
}

impl FromRow for Replay {
    fn from_row(row: &Row) -> Result<Self> {
        let hash: Vec<u8> = row.get("request_hash")?;
        let request_hash = hash.try_into().map_err(|_| StoreError::Corrupt { column: "request_hash" })?;
        Ok(Self { request_hash, result_id: row.get("result_id")? })
    }
}

impl Reader {
    /// What was made under a key by this actor since a moment.
    pub async fn find_replay(
        &mut self,
        organization: OrganizationId,
        actor: Uuid,
        key: &str,
        since: Timestamp,
    ) -> Result<Option<Replay>> {
        self.tx.fetch(FIND, args![organization, actor, key, since]).await
    }
}

impl Writer {
    /// Remembers what was made under a key, and forgets what is older than `since`.
    pub async fn insert_replay(
        &mut self,
        organization: OrganizationId,
        actor: Uuid,
        key: &str,
        replay: &Replay,
        (since, now): (Timestamp, Timestamp),
    ) -> Result<()> {
        self.tx.execute(DELETE_OLD, args![since]).await?;
        let args = args![organization, actor, key, replay.request_hash.as_slice(), replay.result_id, now];
        self.tx.execute_one(INSERT, args).await
    }
}
