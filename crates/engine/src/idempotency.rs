//! Requests that may be repeated without doing their work twice.

use jiff::{SignedDuration, Timestamp};
use keyrack_store::{Replay, Writer};
use uuid::Uuid;

use crate::actor::Context;
use crate::engine::Engine;
use crate::{Error, Result};

/// How long a repetition is recognised.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24);

fn horizon(now: Timestamp) -> Timestamp {
    now.saturating_sub(REMEMBERED).unwrap_or(Timestamp::MIN)
}

impl Engine {
    /// What an earlier request with the same idempotency key made. Another request under that key is refused.
    pub(crate) async fn replayed(&self, ctx: &Context) -> Result<Option<Uuid>> {
        let (Some(idempotency), Some(actor)) = (&ctx.idempotency, ctx.actor.id()) else { return Ok(None) };
        let since = horizon(self.now());
        match self.reader().await?.find_replay(ctx.organization, actor, &idempotency.key, since).await? {
            None => Ok(None),
            Some(replay) if replay.request_hash == idempotency.request_hash => Ok(Some(replay.result_id)),
            Some(_) => Err(Error::IdempotencyMismatch),
        }
    }

    /// Remembers what this request made, in its transaction.
    pub(crate) async fn remember(&self, writer: &mut Writer, ctx: &Context, result_id: Uuid) -> Result<()> {
        let (Some(idempotency), Some(actor)) = (&ctx.idempotency, ctx.actor.id()) else { return Ok(()) };
        let replay = Replay { request_hash: idempotency.request_hash, result_id };
        let now = self.now();
        let times = (horizon(now), now);
        Ok(writer.insert_replay(ctx.organization, actor, &idempotency.key, &replay, times).await?)
    }
}
