//! Units of windows that several processes count together: from the database, and back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use keyrack_core::RateLimit;
use keyrack_core::rate;
use tokio::sync::Mutex as AsyncMutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;
use uuid::Uuid;

use super::shared::{Allowance, Room, Shared};
use crate::engine::{Engine, Role};
use crate::serving::every;
use crate::{Error, Result};

/// How often it is looked which parts are over.
const SWEEP: Duration = Duration::from_secs(1);
/// How long after the end of a part its units go back at the latest, in microseconds. Whoever is busy gives them back with the
/// next question, and need not ask twice.
const KEPT: u64 = 5_000_000;
/// How long a window of which the database had too little is not asked for again: other processes may give some back. In
/// microseconds.
const ASK_AGAIN: i64 = 250_000;
/// How many ask the database at once for those who do not wait.
const AT_ONCE: usize = 4;
/// After so many looks windows that are over are forgotten: once a minute.
const FORGET_AFTER: u32 = 60;

/// The windows that are counted together.
pub(crate) struct Windows {
    /// Those of which this process holds units, by whose they are and their length in seconds.
    held: Mutex<HashMap<(Uuid, u32), Arc<Shared>>>,
    low: UnboundedSender<Arc<Shared>>,
    wanted: AsyncMutex<UnboundedReceiver<Arc<Shared>>>,
}

impl Default for Windows {
    fn default() -> Self {
        let (low, wanted) = unbounded_channel();
        Self { held: Mutex::default(), low, wanted: AsyncMutex::new(wanted) }
    }
}

impl Windows {
    /// Asks for more units of those windows of which few are left here. Nobody waits for that.
    pub(super) fn want_low<'w>(&self, windows: impl Iterator<Item = &'w Arc<Shared>>) {
        for window in windows.filter(|window| window.is_low()) {
            let _ = self.low.send(Arc::clone(window));
        }
    }

    /// Gives out no more of what is held: nobody knows how long this process, or the whole machine, has stood still.
    pub(crate) fn close_all(&self) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        for allowance in held.values().filter_map(|window| window.allowance.load_full()) {
            allowance.close();
        }
    }

    /// Gives up all that is held without giving it back: it may be of another life of the database.
    pub(crate) fn drop_all(&self) {
        let held = std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner));
        for window in held.into_values() {
            window.forget();
        }
    }

    fn hold(&self, window: &Arc<Shared>, limit: RateLimit) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.insert((window.owner, limit.seconds()), Arc::clone(window));
    }

    /// The windows of which something is held that may no longer be given out at a moment; all of them without one.
    fn over(&self, at: Option<i64>) -> Vec<Arc<Shared>> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |window: &&Arc<Shared>| match (at, window.allowance.load().as_ref()) {
            (Some(at), Some(allowance)) => {
                let kept = (allowance.limit.part() / 2).min(KEPT);
                at >= allowance.until.saturating_add_unsigned(kept)
            }
            _ => true,
        };
        held.values().filter(is_over).cloned().collect()
    }

    /// Forgets a window, unless it is another one by now.
    fn let_go(&self, window: &Arc<Shared>, limit: RateLimit) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (window.owner, limit.seconds());
        if held.get(&key).is_some_and(|held| Arc::ptr_eq(held, window)) {
            held.remove(&key);
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wish {
    /// So many units, for a request that waits for them.
    Units(u32),
    /// Only to know whether there are so many.
    Look(u32),
    /// More than are held, before they are needed.
    Ahead,
}

impl Wish {
    fn units(self) -> u32 {
        match self {
            Self::Units(units) | Self::Look(units) => units,
            Self::Ahead => 0,
        }
    }
}

impl Engine {
    /// Asks the database about a window, on behalf of a request that waits.
    pub(crate) async fn ask_for_window(
        &self,
        window: &Arc<Shared>,
        limit: RateLimit,
        wish: Wish,
        until: Instant,
    ) -> Result<()> {
        let myself = self.myself.get().and_then(Weak::upgrade).ok_or(Error::internal("the engine is gone"))?;
        let asked = Arc::clone(window);
        let asking = async move { myself.fetch_window(&asked, limit, wish, Some(until)).await };
        window.patience.wait(self, until, asking).await
    }

    /// Takes units of a window from the database, gives those back that this process held in an earlier part, and learns how
    /// the window stands.
    async fn fetch_window(
        &self,
        window: &Arc<Shared>,
        limit: RateLimit,
        wish: Wish,
        until: Option<Instant>,
    ) -> Result<()> {
        let _turn = window.patience.turn(until).await?;
        // What a part is numbered by and lasts is measured from before the question: it ends no later here than elsewhere.
        let asked_at = self.clock.uptime();
        if matches!(wish, Wish::Units(units) if window.room(limit, asked_at, units) != Room::Unknown) {
            return Ok(());
        }
        let before = window.allowance.load_full();
        let mut writer = self.store.write(&[]).await?;
        let locked = writer.lock_window(window.owner, limit).await?;
        let (now, heard_at) = (self.clock.common(locked.at), self.clock.uptime());
        let mut counts = locked.counts;
        counts.open(limit.part_at(now));
        let is_of_now = |held: &Allowance| held.limit == limit && held.counts.part() == counts.part();
        let kept = before.as_ref().filter(|held| is_of_now(held) && !held.is_closed());
        if let Some(other) = before.as_ref().filter(|_| kept.is_none()) {
            counts.give_back(other.counts.part(), other.close());
        }
        let held = kept.map_or(0, |kept| kept.unspent());
        let left = u64::from(limit.limit()).saturating_sub(counts.sum());
        let lacking = u64::from(wish.units()).saturating_sub(held);
        // Who only makes a call or two takes no more than it needs.
        let block = if self.role == Role::Server { rate::block(left, locked.nodes) } else { 0 };
        let taken = if lacking > left || matches!(wish, Wish::Look(_)) { 0 } else { block.max(lacking).min(left) };
        counts.add(taken);
        // If it is not known whether this was written, units that may be granted are not given out.
        writer.commit_window(window.owner, limit, &counts).await?;
        let unspent = kept.map_or_else(|| Arc::new(AtomicI64::new(0)), |kept| Arc::clone(&kept.unspent));
        unspent.fetch_add(int(taken), Ordering::AcqRel);
        let ends_in = (counts.part() + 1).saturating_mul(limit.part()).saturating_sub(u64::try_from(now).unwrap_or(0));
        // Longer than a part only where the database's clock went back.
        let ends_at = asked_at.saturating_add_unsigned(ends_in.min(limit.part()));
        let has_too_few = lacking > left || left == 0;
        let in_vain_until = if has_too_few { ends_at.min(self.clock.uptime() + ASK_AGAIN) } else { 0 };
        let (ahead, low) = (now - heard_at, int(taken) / 2);
        let allowance = Allowance { limit, counts, ahead, until: ends_at, in_vain_until, low, unspent };
        window.allowance.store(Some(Arc::new(allowance)));
        self.windows.hold(window, limit);
        Ok(())
    }

    /// Fetches units before they are needed, gives back what was not, and forgets windows in which nothing counts any more.
    pub(crate) async fn keep_windows(&self) {
        tokio::join!(self.fetch_windows_ahead(), self.sweep_windows());
    }

    async fn fetch_windows_ahead(&self) {
        let mut wanted = self.windows.wanted.lock().await;
        let wanted = stream::poll_fn(|context| wanted.poll_recv(context));
        let fetch = |window: Arc<Shared>| async move {
            window.wanted.store(false, Ordering::Release);
            let held = window.allowance.load_full();
            let Some(held) = held.filter(|held| self.clock.uptime() < held.until) else { return };
            if let Err(error) = self.fetch_window(&window, held.limit, Wish::Ahead, None).await {
                tracing::warn!(%error, "units of a rate limit could not be fetched ahead");
            }
        };
        wanted.for_each_concurrent(AT_ONCE, fetch).await;
    }

    async fn sweep_windows(&self) {
        let (mut sweep, mut looks) = (every(SWEEP), 0_u32);
        loop {
            sweep.tick().await;
            self.settle_windows(false).await;
            looks = looks.wrapping_add(1);
            if self.store.is_shared() && looks.is_multiple_of(FORGET_AFTER) {
                self.forget_windows().await;
            }
        }
    }

    /// Gives back what is left of parts that are over, or all there is.
    pub(crate) async fn settle_windows(&self, all: bool) {
        let over = self.windows.over((!all).then(|| self.clock.uptime()));
        let settle = |window: Arc<Shared>| async move {
            if let Err(error) = self.settle_window(&window, all).await {
                tracing::warn!(%error, "what is left of a rate limit could not be given back");
            }
        };
        stream::iter(over).for_each_concurrent(AT_ONCE, settle).await;
    }

    async fn settle_window(&self, window: &Arc<Shared>, all: bool) -> Result<()> {
        let _turn = window.patience.turn(None).await?;
        let Some(held) = window.allowance.load_full() else { return Ok(()) };
        if !all && self.clock.uptime() < held.until {
            // Somebody has asked meanwhile.
            return Ok(());
        }
        self.windows.let_go(window, held.limit);
        let unspent = held.close();
        if unspent == 0 {
            return Ok(());
        }
        let mut writer = self.store.write(&[]).await?;
        let mut counts = writer.lock_window(window.owner, held.limit).await?.counts;
        counts.give_back(held.counts.part(), unspent);
        writer.commit_window(window.owner, held.limit, &counts).await?;
        Ok(())
    }

    async fn forget_windows(&self) {
        let forgotten = async {
            let mut writer = self.store.write(&[]).await?;
            let now = writer.database_time().await?;
            writer.commit_forgotten_windows(self.clock.common(now)).await
        };
        if let Err(error) = forgotten.await {
            tracing::warn!(%error, "windows of rate limits that are over could not be forgotten");
        }
    }
}

fn int(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}
