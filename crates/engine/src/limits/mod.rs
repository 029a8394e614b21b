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
use keyrack_core::{RateLimit, RateLimits};
use uuid::Uuid;

pub(crate) use grants::{Windows, Wish};
pub(crate) use shared::{Room, Shared};
use window::{Counted, Window};

/// The shortest window, in seconds, that several processes count together. Of a shorter one they would have to ask each other
/// at nearly every request.
const SHARED_FROM: u32 = 60;

/// Whose limit it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// The key's own.
    Key,
    /// Of all keys of its group together.
    Group,
    /// Of all keys of its organization together.
    Organization,
}

impl Owner {
    /// The word that is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Group => "group",
            Self::Organization => "organization",
        }
    }
}

/// How a rate limit stands after a decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WindowStanding {
    /// Whose it is.
    pub of: Owner,
    /// What it allows.
    pub limit: RateLimit,
    /// How many units are left.
    pub remaining: u32,
    /// In how long there are more.
    pub more_in: Duration,
}

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
    limits: Vec<(Owner, Uuid, &'l Limited)>,
    /// Where longer windows are counted together.
    windows: Option<&'l Windows>,
    at: i64,
}

impl<'l> Applicable<'l> {
    /// Those of a key, its group and its organization at a moment, in microseconds of the machine's uptime.
    pub(crate) fn new(
        holders: [Holder<'l>; 3],
        windows: Option<&'l Windows>,
        at: impl FnOnce() -> i64,
    ) -> Option<Self> {
        if holders.iter().all(|(_, _, limits)| limits.is_empty()) {
            return None;
        }
        let each = |(of, id, limits): Holder<'l>| limits.0.iter().map(move |limited| (of, id, limited));
        Some(Self { limits: holders.into_iter().flat_map(each).collect(), windows, at: at() })
    }

    /// Whether all of them allow so many units now.
    pub(crate) fn room(&self, units: u32) -> Room {
        let mut least = Room::Enough;
        for (_, id, limited) in &self.limits {
            let room = match self.counter(*id, limited) {
                Counter::Own(window) if window.level(limited.limit, self.at, units).remaining < units => {
                    Room::TooLittle
                }
                Counter::Own(_) => Room::Enough,
                Counter::Shared(window) => window.room(limited.limit, self.at, units),
            };
            match room {
                Room::Enough => {}
                Room::TooLittle => return room,
                Room::Unknown => least = room,
            }
        }
        least
    }

    /// Those of which the database has to be asked.
    pub(crate) fn unknown(&self, units: u32) -> impl Iterator<Item = (Arc<Shared>, RateLimit)> {
        let unknown = move |(_, id, limited): &(Owner, Uuid, &Limited)| match self.counter(*id, limited) {
            Counter::Shared(window) if window.room(limited.limit, self.at, units) == Room::Unknown => {
                Some((Arc::clone(window), limited.limit))
            }
            _ => None,
        };
        self.limits.iter().filter_map(unknown)
    }

    /// Counts units if all of them allow it.
    pub(crate) fn take(&self, units: u32) -> Room {
        let mut taken = Vec::with_capacity(self.limits.len());
        for (_, id, limited) in &self.limits {
            let counter = self.counter(*id, limited);
            match self.take_of(counter, limited.limit, units) {
                Ok(units) => taken.push((counter, units)),
                Err(room) => {
                    for (counter, units) in taken {
                        counter.give_back(units);
                    }
                    return room;
                }
            }
        }
        Room::Enough
    }

    fn take_of(&self, counter: &Counter, limit: RateLimit, units: u32) -> Result<Counted, Room> {
        match counter {
            Counter::Own(window) => window.take(limit, self.at, units).ok_or(Room::TooLittle),
            Counter::Shared(window) => {
                let taken = window.take(limit, self.at, units)?;
                if let Some(windows) = self.windows.filter(|_| window.is_low()) {
                    windows.want(window);
                }
                Ok(taken)
            }
        }
    }

    /// How they stand. With `refused` units that were not allowed, each says when it will allow them.
    pub(crate) fn standing(&self, refused: u32) -> Vec<WindowStanding> {
        let stand = |(of, id, limited): &(Owner, Uuid, &Limited)| {
            let level = self.counter(*id, limited).level(limited.limit, self.at, refused);
            let more_in = Duration::from_micros(level.more_in);
            WindowStanding { of: *of, limit: limited.limit, remaining: level.remaining, more_in }
        };
        self.limits.iter().map(stand).collect()
    }

    fn counter<'w>(&self, owner: Uuid, limited: &'w Limited) -> &'w Counter {
        let is_shared = self.windows.is_some() && limited.limit.seconds() >= SHARED_FROM;
        let own = || Counter::Own(Window::new(limited.limit, self.at));
        let new = || if is_shared { Counter::Shared(Arc::new(Shared::new(owner))) } else { own() };
        limited.window.get_or_init(new)
    }
}

impl Counter {
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
