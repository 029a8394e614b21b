//! Rate limits of keys, groups and organizations, and what has been counted of them.
//!
//! A process that serves alone counts in memory, and a restart opens every window anew. Such windows go by how long the machine
//! has been up, which nobody sets: a clock that is set back or forward neither opens nor stops one. Where several serve, they
//! count the windows of a minute and longer together, by the database's clock; of shorter ones each counts its own.

mod grants;
mod shared;
mod window;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use keyrack_core::rate::Level;
use keyrack_core::standing::{Owner, WindowStanding};
use keyrack_core::{RateLimit, RateLimits};
use uuid::Uuid;

pub(crate) use grants::{Windows, Wish};
pub(crate) use shared::{Room, Shared};
use window::{Counted, Window};

/// The shortest window, in seconds, that several processes count together. Of a shorter one they would have to ask each other
/// at nearly every request.
const SHARED_FROM: u32 = 60;

/// The rate limits of somebody, with what was counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits(Box<[Limited]>);

#[derive(Clone, Debug)]
struct Limited {
    limit: RateLimit,
    /// Made at the first use: most keys that have a limit are not in use.
    window: Arc<OnceLock<Counter>>,
}

/// Who counts.
#[derive(Debug)]
enum Counter {
    /// This process alone.
    Own(Window),
    /// All that serve the database together.
    Shared(Arc<Shared>),
}

impl Limits {
    /// These limits, with what was counted under earlier ones of windows as long: no change opens a window twice.
    pub(crate) fn after(earlier: Option<&Self>, limits: &RateLimits) -> Self {
        let counted = |limit: RateLimit| {
            let same = earlier?.0.iter().find(|before| before.limit.seconds() == limit.seconds())?;
            Some(Arc::clone(&same.window))
        };
        Self(limits.iter().map(|limit| Limited { limit, window: counted(limit).unwrap_or_default() }).collect())
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Somebody with limits.
pub(crate) type Holder<'l> = (Owner, Uuid, &'l Limits);

/// All rate limits that one request is counted against. Either all of them count it or none.
pub(crate) struct Applicable<'l> {
    limits: Vec<Applied<'l>>,
    /// Where longer windows are counted together.
    windows: Option<&'l Windows>,
    at: i64,
}

/// One of them.
struct Applied<'l> {
    of: Owner,
    limit: RateLimit,
    counter: &'l Counter,
    /// What it has counted of the request, and how it stands since.
    taken: Option<(Counted, Level)>,
}

impl<'l> Applicable<'l> {
    /// Those of a key, its group and its organization at a moment, in microseconds of the machine's uptime.
    pub(crate) fn new(
        holders: [Holder<'l>; 3],
        windows: Option<&'l Windows>,
        at: impl FnOnce() -> i64,
    ) -> Option<Self> {
        let count = holders.iter().map(|(_, _, limits)| limits.0.len()).sum();
        if count == 0 {
            return None;
        }
        let (mut limits, at) = (Vec::with_capacity(count), at());
        for (of, id, held) in holders {
            for limited in &held.0 {
                let counter = limited.counter(id, windows.is_some(), at);
                limits.push(Applied { of, limit: limited.limit, counter, taken: None });
            }
        }
        Some(Self { limits, windows, at })
    }

    /// Whether all of them allow so many units now.
    pub(crate) fn room(&self, units: u32) -> Room {
        let mut least = Room::Enough;
        for applied in &self.limits {
            match applied.counter.room(applied.limit, self.at, units) {
                Room::Enough => {}
                Room::TooLittle => return Room::TooLittle,
                Room::Unknown => least = Room::Unknown,
            }
        }
        least
    }

    /// Whether all of them seem to allow so many units, by what is known.
    pub(crate) fn seem_enough(&self, units: u32) -> bool {
        let is_enough = |applied: &Applied<'_>| applied.counter.level(applied.limit, self.at, units).remaining >= units;
        self.limits.iter().all(is_enough)
    }

    /// Those of which the database has to be asked.
    pub(crate) fn unknown(&self, units: u32) -> impl Iterator<Item = (&'l Arc<Shared>, RateLimit)> {
        let unknown = move |applied: &Applied<'l>| match applied.counter {
            Counter::Shared(window) if window.room(applied.limit, self.at, units) == Room::Unknown => {
                Some((window, applied.limit))
            }
            _ => None,
        };
        self.limits.iter().filter_map(unknown)
    }

    /// Counts units if all of them allow it.
    pub(crate) fn take(&mut self, units: u32) -> Room {
        for at in 0..self.limits.len() {
            let Applied { limit, counter, .. } = self.limits[at];
            match counter.take(limit, self.at, units) {
                Ok(taken) => self.limits[at].taken = Some(taken),
                Err(room) => {
                    self.give_back();
                    return room;
                }
            }
        }
        if let Some(windows) = self.windows {
            windows.want_low(self.limits.iter().filter_map(|applied| applied.counter.shared()));
        }
        Room::Enough
    }

    /// Gives back what was counted for nothing.
    pub(crate) fn give_back(&mut self) {
        for applied in &mut self.limits {
            if let Some((counted, _)) = applied.taken.take() {
                applied.counter.give_back(counted);
            }
        }
    }

    /// How they stand. With `refused` units that were not allowed, each says when it will allow them.
    pub(crate) fn standing(&self, refused: u32) -> Vec<WindowStanding> {
        let stand = |applied: &Applied<'_>| {
            let Applied { of, limit, counter, taken } = *applied;
            let level = taken.map_or_else(|| counter.level(limit, self.at, refused), |(_, level)| level);
            WindowStanding { of, limit, remaining: level.remaining, more_in: Duration::from_micros(level.more_in) }
        };
        self.limits.iter().map(stand).collect()
    }
}

impl Limited {
    fn counter(&self, owner: Uuid, is_shared: bool, at: i64) -> &Counter {
        self.window.get_or_init(|| {
            if is_shared && self.limit.seconds() >= SHARED_FROM {
                Counter::Shared(Arc::new(Shared::new(owner)))
            } else {
                Counter::Own(Window::new(self.limit, at))
            }
        })
    }
}

impl Counter {
    fn shared(&self) -> Option<&Arc<Shared>> {
        match self {
            Self::Own(_) => None,
            Self::Shared(window) => Some(window),
        }
    }

    fn room(&self, limit: RateLimit, at: i64, units: u32) -> Room {
        match self {
            Self::Own(window) if window.level(limit, at, units).remaining < units => Room::TooLittle,
            Self::Own(_) => Room::Enough,
            Self::Shared(window) => window.room(limit, at, units),
        }
    }

    fn take(&self, limit: RateLimit, at: i64, units: u32) -> Result<(Counted, Level), Room> {
        match self {
            Self::Own(window) => window.take(limit, at, units).ok_or(Room::TooLittle),
            Self::Shared(window) => Ok((window.take(limit, at, units)?, window.level(limit, at, 0))),
        }
    }

    fn give_back(&self, counted: Counted) {
        match self {
            Self::Own(window) => window.give_back(counted),
            Self::Shared(window) => window.give_back(counted),
        }
    }

    fn level(&self, limit: RateLimit, at: i64, units: u32) -> Level {
        match self {
            Self::Own(window) => window.level(limit, at, units),
            Self::Shared(window) => window.level(limit, at, units),
        }
    }
}
