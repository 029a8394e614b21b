//! The units that this process holds of an organization's quota.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use keyrack_core::Month;
use keyrack_core::standing::QuotaStanding;

use super::Spent;
use crate::patience::Patience;

/// After so many looks at an idle block its units go back: five seconds at most after they were last spent.
const IDLE_LOOKS: u8 = 4;
/// What a closed block holds: so little that nobody ever spends any of it.
const CLOSED: i64 = i64::MIN / 2;

/// The part of an organization's quota that this process holds.
#[derive(Default, Debug)]
pub(crate) struct Quota {
    pub(super) block: ArcSwapOption<Block>,
    /// Units that an organization without a limit has spent, and that are not written down yet.
    pub(super) owed: AtomicI64,
    /// Up to which month and epoch blocks are void: somebody has set the counter.
    void: Mutex<Option<(Month, i64)>>,
    /// Whether somebody has been asked to fetch more.
    pub(super) wanted: AtomicBool,
    /// By the machine's uptime, until when the database need not be asked.
    pub(super) in_vain_until: AtomicI64,
    pub(super) patience: Patience,
}

/// Units of one month, granted under one epoch of the counter and one limit.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) month: Month,
    pub(super) ends: Timestamp,
    pub(super) epoch: i64,
    pub(super) limit: u64,
    pub(super) unspent: AtomicI64,
    /// The limit less all that was granted, and our own unspent.
    pub(super) left: AtomicI64,
    /// How many units had been granted to whomever when this process was granted some last.
    pub(super) granted: AtomicI64,
    /// Below this more are fetched.
    pub(super) low: AtomicI64,
    pub(super) is_used: AtomicBool,
    pub(super) idle_looks: AtomicU8,
}

impl Block {
    /// Units of a month and an epoch, taken when `granted` had been granted to whomever.
    pub(super) fn new((month, epoch): (Month, i64), limit: u64, granted: u64, taken: u64) -> Self {
        Self {
            month,
            ends: month.next().start(),
            epoch,
            limit,
            unspent: AtomicI64::new(int(taken)),
            left: AtomicI64::new(int(limit.saturating_sub(granted))),
            granted: AtomicI64::new(int(granted + taken)),
            low: AtomicI64::new(int(taken) / 2),
            is_used: AtomicBool::new(true),
            idle_looks: AtomicU8::new(0),
        }
    }

    /// Adds more, taken when `granted` had been granted to whomever.
    pub(super) fn add(&self, granted: u64, taken: u64) {
        // What we take we have left. What others took since the last time nobody has.
        let by_others = int(granted) - self.granted.swap(int(granted + taken), Ordering::AcqRel);
        self.left.fetch_sub(by_others, Ordering::AcqRel);
        self.unspent.fetch_add(int(taken), Ordering::AcqRel);
        self.low.store(int(taken) / 2, Ordering::Relaxed);
        self.idle_looks.store(0, Ordering::Relaxed);
    }

    pub(super) fn fits(&self, limit: u64, now: Timestamp) -> bool {
        self.limit == limit && now < self.ends
    }

    /// Spends units, if there are so many. How many are left then, here and in all.
    pub(super) fn spend(&self, units: i64) -> Option<(i64, i64)> {
        let spend = |unspent: i64| (unspent >= units).then(|| unspent - units);
        let unspent = self.unspent.fetch_update(Ordering::AcqRel, Ordering::Acquire, spend).ok()? - units;
        if !self.is_used.load(Ordering::Relaxed) {
            self.is_used.store(true, Ordering::Relaxed);
        }
        Some((unspent, self.left.fetch_sub(units, Ordering::AcqRel) - units))
    }

    /// Lets nobody spend any more of it; what was not spent.
    pub(super) fn close(&self) -> u64 {
        u64::try_from(self.unspent.swap(CLOSED, Ordering::AcqRel)).unwrap_or(0)
    }

    /// Whether nothing of it can be spent any more.
    pub(super) fn is_closed(&self) -> bool {
        self.unspent.load(Ordering::Acquire) < 0
    }

    /// Whether nothing of it was spent for a while, or ever will be.
    pub(super) fn is_idle(&self) -> bool {
        if self.is_used.swap(false, Ordering::AcqRel) {
            self.idle_looks.store(0, Ordering::Relaxed);
            return false;
        }
        self.idle_looks.fetch_add(1, Ordering::Relaxed) + 1 >= IDLE_LOOKS
    }

    pub(super) fn standing(&self, left: i64) -> QuotaStanding {
        QuotaStanding { limit: self.limit, remaining: u64::try_from(left).unwrap_or(0), resets_at: self.ends }
    }
}

fn int(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}

impl Quota {
    /// Spends units of the block that is held, if that is of this limit and month and has so many. The flag says that more
    /// should be fetched.
    pub(super) fn spend(&self, limit: u64, units: u32, now: Timestamp) -> Option<(Spent, bool)> {
        let block = self.block.load();
        let block = block.as_ref().filter(|block| block.fits(limit, now))?;
        let (unspent, left) = block.spend(units.into())?;
        let is_low = unspent < block.low.load(Ordering::Relaxed) && !self.wanted.swap(true, Ordering::AcqRel);
        Some((Spent { standing: Some(block.standing(left)) }, is_low))
    }

    /// Gives up what is held.
    pub(super) fn forget(&self) {
        *self.void_up_to() = None;
        if let Some(block) = self.block.swap(None) {
            block.close();
        }
        self.in_vain_until.store(0, Ordering::Release);
    }

    /// How the block stands that is held, if it is of this limit and month; and whether it has so many units.
    pub(super) fn look(&self, limit: u64, units: u32, now: Timestamp) -> Option<(QuotaStanding, bool)> {
        let block = self.block.load();
        let block = block.as_ref().filter(|block| block.fits(limit, now))?;
        let left = block.left.load(Ordering::Acquire);
        Some((block.standing(left), block.unspent.load(Ordering::Acquire) >= units.into()))
    }

    /// Somebody has set the counter: blocks granted up to this epoch of that month, or in a month before, are void.
    pub(crate) fn void(&self, month: Month, epoch: i64) {
        let mut void = self.void_up_to();
        *void = (*void).max(Some((month, epoch)));
        if let Some(block) = self.block.load().as_ref().filter(|block| (block.month, block.epoch) <= (month, epoch)) {
            block.close();
        }
        // What was spent before without being written down is in what somebody has set.
        self.owed.store(0, Ordering::Release);
        self.in_vain_until.store(0, Ordering::Release);
    }

    /// Puts a block in the place of the one before, unless it is void already.
    pub(super) fn install(&self, block: Arc<Block>) {
        let void = self.void_up_to();
        if void.is_some_and(|void| (block.month, block.epoch) <= void) {
            block.close();
        }
        self.block.store(Some(block));
    }

    fn void_up_to(&self) -> MutexGuard<'_, Option<(Month, i64)>> {
        self.void.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
