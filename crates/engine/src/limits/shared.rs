//! A rate limit that several processes count together: the units of it that this one holds.
//!
//! As with a quota, units are granted by the database and given out from memory. What is granted counts in the part of the
//! window that runs then, and may be given out until that part ends; what is left goes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use arc_swap::ArcSwapOption;
use keyrack_core::RateLimit;
use keyrack_core::rate::{Counts, Level};
use uuid::Uuid;

use super::window::Counted;
use crate::patience::Patience;

/// What closed units are: so few that nobody ever gives out any of them.
const CLOSED: i64 = i64::MIN / 2;

/// A window of a key, a group or an organization.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) owner: Uuid,
    pub(super) allowance: ArcSwapOption<Allowance>,
    /// Whether somebody has been asked to fetch more.
    pub(super) wanted: AtomicBool,
    pub(super) patience: Patience,
}

/// What this process may give out, and what it knows of the window.
#[derive(Debug)]
pub(super) struct Allowance {
    pub(super) limit: RateLimit,
    /// What was granted to whomever when this process asked last, itself included.
    pub(super) counts: Counts,
    /// What the clock that numbers the parts is ahead of the machine's uptime, in microseconds.
    pub(super) ahead: i64,
    /// When the part ends for which units were granted, by the machine's uptime.
    pub(super) until: i64,
    /// Until when the database, which had too few, need not be asked again.
    pub(super) in_vain_until: i64,
    /// Below this more are fetched.
    pub(super) low: i64,
    pub(super) unspent: Arc<AtomicI64>,
}

/// Whether there is room for units.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Room {
    /// There is.
    Enough,
    /// There is not.
    TooLittle,
    /// The database has to be asked.
    Unknown,
}

impl Shared {
    /// One of which nothing is known.
    pub(crate) fn new(owner: Uuid) -> Self {
        Self { owner, allowance: ArcSwapOption::empty(), wanted: AtomicBool::new(false), patience: Patience::default() }
    }

    /// Whether units can be given out now.
    pub(crate) fn room(&self, limit: RateLimit, at: i64, units: u32) -> Room {
        match self.allowance.load().as_ref().filter(|allowance| allowance.limit == limit) {
            Some(allowance) => allowance.room(at, units),
            None => Room::Unknown,
        }
    }

    /// Gives out units if so many are held; if not, whether it is known that there are none.
    pub(crate) fn take(&self, limit: RateLimit, at: i64, units: u32) -> Result<Counted, Room> {
        let allowance = self.allowance.load();
        let allowance = allowance.as_ref().filter(|allowance| allowance.limit == limit).ok_or(Room::Unknown)?;
        if at < allowance.until && allowance.spend(units.into()) {
            return Ok(Counted { part: allowance.counts.part(), units });
        }
        Err(allowance.room(at, units))
    }

    /// Whether more should be fetched; true once.
    pub(crate) fn is_low(&self) -> bool {
        let is_low = |allowance: &Arc<Allowance>| allowance.unspent.load(Ordering::Acquire) < allowance.low;
        self.allowance.load().as_ref().is_some_and(is_low) && !self.wanted.swap(true, Ordering::AcqRel)
    }

    /// Gives back what was given out for nothing. Of a part that is over it is lost.
    pub(crate) fn give_back(&self, counted: Counted) {
        if let Some(allowance) = self.allowance.load().as_ref().filter(|a| a.counts.part() == counted.part) {
            allowance.unspent.fetch_add(counted.units.into(), Ordering::AcqRel);
        }
    }

    /// How the limit stands, as far as this process knows; with `units`, when so many will be left.
    pub(crate) fn level(&self, limit: RateLimit, at: i64, units: u32) -> Level {
        match self.allowance.load().as_ref() {
            Some(allowance) => allowance.level(limit, at, units),
            None => Level { remaining: limit.limit(), more_in: 0 },
        }
    }

    /// Forgets all that is held and known.
    pub(super) fn forget(&self) {
        if let Some(allowance) = self.allowance.swap(None) {
            allowance.close();
        }
    }
}

impl Allowance {
    fn room(&self, at: i64, units: u32) -> Room {
        if at < self.until && self.unspent.load(Ordering::Acquire) >= units.into() {
            Room::Enough
        } else if at < self.in_vain_until && self.level(self.limit, at, units).remaining < units {
            Room::TooLittle
        } else {
            Room::Unknown
        }
    }

    fn spend(&self, units: i64) -> bool {
        let spend = |unspent: i64| (unspent >= units).then(|| unspent - units);
        self.unspent.fetch_update(Ordering::AcqRel, Ordering::Acquire, spend).is_ok()
    }

    fn level(&self, limit: RateLimit, at: i64, units: u32) -> Level {
        let at = at.saturating_add(self.ahead);
        let mut counts = self.counts.clone();
        // What is held is not used.
        counts.give_back(self.counts.part(), self.unspent());
        counts.open(limit.part_at(at));
        counts.level(limit, at, units)
    }

    pub(super) fn unspent(&self) -> u64 {
        u64::try_from(self.unspent.load(Ordering::Acquire)).unwrap_or(0)
    }

    /// Whether nothing of it can be given out any more.
    pub(super) fn is_closed(&self) -> bool {
        self.unspent.load(Ordering::Acquire) < 0
    }

    /// Lets nobody give out any more of it; what was left.
    pub(super) fn close(&self) -> u64 {
        u64::try_from(self.unspent.swap(CLOSED, Ordering::AcqRel)).unwrap_or(0)
    }
}
