//! How long a request waits for the database, where it has to.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout_at};

use crate::engine::Engine;
use crate::{Error, Result};

/// How long a request whose units have to be fetched waits for the database.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the others are told so at once after one has waited in vain. In microseconds.
const AWAY: i64 = 1_000_000;

/// Those who have to ask the database about one thing: one of them at a time does. That somebody has waited in vain is
/// remembered, so that others need not find out one after another.
#[derive(Default, Debug)]
pub(crate) struct Patience {
    turn: Mutex<()>,
    /// By the machine's uptime, until when nobody waits.
    away_until: AtomicI64,
}

impl Patience {
    /// Until when a request waits that begins to now.
    pub(crate) fn until() -> Instant {
        Instant::now() + PATIENCE
    }

    /// Waits for one's turn to ask; with `until`, no longer than whoever wants to know.
    pub(crate) async fn turn(&self, until: Option<Instant>) -> Result<MutexGuard<'_, ()>> {
        match until {
            None => Ok(self.turn.lock().await),
            Some(until) => timeout_at(until, self.turn.lock()).await.map_err(|_| unheard()),
        }
    }

    /// Waits for what asks the database, but not for ever. It goes on as a task of its own: whoever hangs up leaves nothing
    /// half done, and whoever comes behind need not begin anew.
    pub(crate) async fn wait<T: Send + 'static>(
        &self,
        engine: &Engine,
        until: Instant,
        asking: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        if engine.clock.uptime() < self.away_until.load(Ordering::Acquire) {
            return Err(unheard());
        }
        match timeout_at(until, tokio::spawn(asking)).await {
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(Error::NotFound(what)))) => Err(Error::NotFound(what)),
            failed => {
                self.away_until.store(engine.clock.uptime() + AWAY, Ordering::Release);
                match failed {
                    Ok(Ok(Err(error))) => Err(error),
                    _ => Err(unheard()),
                }
            }
        }
    }
}

fn unheard() -> Error {
    Error::Unavailable("the database that counts units does not answer", None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_has_waited_long_enough_leaves_the_queue() {
        let patience = Patience::default();
        let turn = patience.turn(Some(Patience::until())).await.unwrap();
        assert!(matches!(patience.turn(Some(Instant::now())).await, Err(Error::Unavailable(..))));
        drop(turn);
        assert!(patience.turn(Some(Instant::now())).await.is_ok());
    }
}
