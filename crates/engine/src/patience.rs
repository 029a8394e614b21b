//! How long a request waits for the database, where it has to.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::engine::Engine;
use crate::{Error, Result};

/// How long a request whose units have to be fetched waits for the database.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the others are told so at once after one has waited in vain. In microseconds.
const AWAY: i64 = 1_000_000;

/// Remembers that somebody has waited in vain, so that others need not find out one after another.
#[derive(Default, Debug)]
pub(crate) struct Patience {
    /// By the machine's uptime, until when nobody waits.
    away_until: AtomicI64,
}

impl Patience {
    /// Waits for what asks the database, but not for ever. It goes on as a task of its own: whoever hangs up leaves nothing
    /// half done, and whoever comes behind need not begin anew.
    pub(crate) async fn wait<T: Send + 'static>(
        &self,
        engine: &Engine,
        asking: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let unheard = || Error::Unavailable("the database that counts units does not answer", None);
        if engine.clock.uptime() < self.away_until.load(Ordering::Acquire) {
            return Err(unheard());
        }
        match tokio::time::timeout(PATIENCE, tokio::spawn(asking)).await {
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
