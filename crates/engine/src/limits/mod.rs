//! Rate limits of keys, groups and organizations, and what has been counted of them in memory.
//!
//! A restart opens every window anew. Windows are counted by how long the machine has been up, which nobody sets: a clock that
//! is set back or forward neither opens nor stops one.

mod window;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use keyrack_core::{RateLimit, RateLimits};

use window::{Counted, Window};

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
    window: Arc<OnceLock<Window>>,
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

/// All rate limits that one request is counted against. Either all of them count it or none.
pub(crate) struct Applicable<'l> {
    limits: Vec<(Owner, &'l Limited)>,
    at: i64,
}

impl<'l> Applicable<'l> {
    /// Those of a key, its group and its organization at a moment, in microseconds of the machine's uptime.
    pub(crate) fn new(owners: [(Owner, &'l Limits); 3], at: impl FnOnce() -> i64) -> Option<Self> {
        if owners.iter().all(|(_, limits)| limits.is_empty()) {
            return None;
        }
        let limits = owners.into_iter().flat_map(|(owner, limits)| limits.0.iter().map(move |limit| (owner, limit)));
        Some(Self { limits: limits.collect(), at: at() })
    }

    /// Whether all of them allow so many units now.
    pub(crate) fn allow(&self, units: u32) -> bool {
        self.limits.iter().all(|(_, limited)| {
            let level = self.window(limited).level(limited.limit, self.at, units);
            level.remaining >= units
        })
    }

    /// Counts units if all of them allow it.
    pub(crate) fn take(&self, units: u32) -> bool {
        let mut taken: Vec<(&Limited, Counted)> = Vec::with_capacity(self.limits.len());
        for (_, limited) in &self.limits {
            let Some(counted) = self.window(limited).take(limited.limit, self.at, units) else {
                for (limited, counted) in taken {
                    self.window(limited).give_back(counted);
                }
                return false;
            };
            taken.push((limited, counted));
        }
        true
    }

    /// How they stand. With `refused` units that were not allowed, each says when it will allow them.
    pub(crate) fn standing(&self, refused: u32) -> Vec<WindowStanding> {
        let stand = |(of, limited): &(Owner, &Limited)| {
            let level = self.window(limited).level(limited.limit, self.at, refused);
            let more_in = Duration::from_micros(level.more_in);
            WindowStanding { of: *of, limit: limited.limit, remaining: level.remaining, more_in }
        };
        self.limits.iter().map(stand).collect()
    }

    fn window<'w>(&self, limited: &'w Limited) -> &'w Window {
        limited.window.get_or_init(|| Window::new(limited.limit, self.at))
    }
}
