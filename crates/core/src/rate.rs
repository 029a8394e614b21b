//! Rate limits: so many units within any window of so many seconds.
//!
//! A window is counted in [`PARTS`] parts and the running one, and all of them count. So no window of its length ever holds
//! more than the limit, wherever it begins; and since what is counted spans no more than 17/16 of it, a caller who asks
//! steadily at 0.9 of the rate is never refused.

/// The parts a window is counted in, beside the running one.
pub const PARTS: u64 = 16;
/// How many parts count: the running one too.
pub const COUNTED: usize = 17;
const _: () = assert!(COUNTED as u64 == PARTS + 1, "all parts and the running one");
/// The most units a limit may allow.
pub const MAX_LIMIT: u32 = 1_000_000_000;
/// The longest window, in seconds: 31 days.
pub const MAX_WINDOW: u32 = 31 * 24 * 60 * 60;
/// The most limits of one key, group or organization.
pub const MAX_LIMITS: usize = 8;

/// So many units within any window of so many seconds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RateLimit {
    limit: u32,
    seconds: u32,
}

/// Why numbers are no rate limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RateLimitError {
    /// Not within 1 and [`MAX_LIMIT`].
    #[error("limit must be 1 to {MAX_LIMIT}")]
    Limit,
    /// Not within 1 and [`MAX_WINDOW`].
    #[error("window_seconds must be 1 to {MAX_WINDOW} (31 days)")]
    Window,
    /// An empty list would allow nothing; null means no limit.
    #[error("must not be empty; leave it out or give null for no limit")]
    Empty,
    /// More than [`MAX_LIMITS`].
    #[error("must have at most {MAX_LIMITS} limits")]
    TooMany,
}

impl RateLimit {
    /// So many units within so many seconds.
    pub fn new(limit: i64, seconds: i64) -> Result<Self, RateLimitError> {
        let within = |number: i64, most: u32| u32::try_from(number).ok().filter(|n| (1..=most).contains(n));
        Ok(Self {
            limit: within(limit, MAX_LIMIT).ok_or(RateLimitError::Limit)?,
            seconds: within(seconds, MAX_WINDOW).ok_or(RateLimitError::Window)?,
        })
    }

    /// How many units.
    pub fn limit(self) -> u32 {
        self.limit
    }

    /// Within how many seconds.
    pub fn seconds(self) -> u32 {
        self.seconds
    }

    /// How long a part of the window is, in microseconds.
    pub fn part(self) -> u64 {
        u64::from(self.seconds) * 1_000_000 / PARTS
    }

    /// The number of the part that a moment lies in, given as microseconds of whichever clock.
    pub fn part_at(self, at: i64) -> u64 {
        u64::try_from(at).unwrap_or(0) / self.part()
    }

    /// Whether whoever keeps this limit keeps the other too.
    fn implies(self, other: Self) -> bool {
        let windows = u64::from(other.seconds).div_ceil(self.seconds.into());
        u64::from(self.limit) * windows <= other.limit.into()
    }
}

/// The rate limits of a key, a group or an organization, the shortest window first. The default restricts nothing.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct RateLimits(Box<[RateLimit]>);

impl RateLimits {
    /// Limits given as units and seconds; `None` restricts nothing. The error comes with the position it speaks of.
    pub fn new(limits: Option<&[(i64, i64)]>) -> Result<Self, (usize, RateLimitError)> {
        let Some(limits) = limits else { return Ok(Self::default()) };
        if limits.is_empty() {
            return Err((0, RateLimitError::Empty));
        }
        if limits.len() > MAX_LIMITS {
            return Err((MAX_LIMITS, RateLimitError::TooMany));
        }
        let read = limits.iter().enumerate().map(|(at, (limit, s))| RateLimit::new(*limit, *s).map_err(|e| (at, e)));
        let mut read = read.collect::<Result<Vec<_>, _>>()?;
        // Of two for the same window the stricter one says all.
        read.sort_unstable_by_key(|limit| (limit.seconds, limit.limit));
        read.dedup_by_key(|limit| limit.seconds);
        Ok(Self(read.into()))
    }

    /// Reads what [`RateLimits::to_text`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let pair = |word: &str| word.split_once('/').and_then(|(l, s)| Some((l.parse().ok()?, s.parse().ok()?)));
        let pairs = text.split_ascii_whitespace().map(pair).collect::<Option<Vec<(i64, i64)>>>()?;
        Self::new(Some(&pairs)).ok()
    }

    /// The form a database column holds, `10/1 1000/3600`; `None` if nothing is restricted.
    pub fn to_text(&self) -> Option<String> {
        let words: Vec<_> = self.0.iter().map(|limit| format!("{}/{}", limit.limit, limit.seconds)).collect();
        (!words.is_empty()).then(|| words.join(" "))
    }

    /// Whether nothing is restricted.
    pub fn is_unrestricted(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them, the shortest window first.
    pub fn iter(&self) -> impl Iterator<Item = RateLimit> + '_ {
        self.0.iter().copied()
    }

    /// Whether whoever keeps the others keeps these too.
    pub fn cover(&self, others: &Self) -> bool {
        self.iter().all(|ours| others.iter().any(|theirs| theirs.implies(ours)))
    }
}

/// How a limit stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Level {
    /// How many units are left.
    pub remaining: u32,
    /// In how many microseconds more are; 0 if all are left.
    pub more_in: u64,
}

/// What was counted of a window, in each part that counts. By default nothing, ever.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// The number of the running part.
    part: u64,
    /// The running part first.
    units: [u64; COUNTED],
}

impl Counts {
    /// With this number of the running part, and what was counted in it and in those before.
    pub fn new(part: u64, newest_first: [u64; COUNTED]) -> Self {
        Self { part, units: newest_first }
    }

    /// The number of the running part.
    pub fn part(&self) -> u64 {
        self.part
    }

    /// How many units count.
    pub fn sum(&self) -> u64 {
        self.units.iter().fold(0, |sum, units| sum.saturating_add(*units))
    }

    /// Lets a part begin. What has begun stays: a part before it changes nothing.
    pub fn open(&mut self, part: u64) {
        let begun = usize::try_from(part.saturating_sub(self.part)).unwrap_or(COUNTED).min(COUNTED);
        self.units.rotate_right(begun % COUNTED);
        self.units[..begun].fill(0);
        self.part = self.part.max(part);
    }

    /// Counts units in the running part.
    pub fn add(&mut self, units: u64) {
        self.units[0] = self.units[0].saturating_add(units);
    }

    /// Counts units no longer that were counted in some part.
    pub fn give_back(&mut self, part: u64, units: u64) {
        let age = self.part.checked_sub(part).and_then(|age| usize::try_from(age).ok());
        if let Some(counted) = age.and_then(|age| self.units.get_mut(age)) {
            *counted = counted.saturating_sub(units);
        }
    }

    /// How a limit stands by them; with `units`, when so many will be left.
    pub fn level(&self, limit: RateLimit, at: i64, units: u32) -> Level {
        let used = self.sum();
        let remaining = u64::from(limit.limit()).saturating_sub(used);
        // So many have to leave; if nobody asks for any, the next that do.
        let wanted = u64::from(units).saturating_sub(remaining).max(1);
        let mut left = 0;
        let leaves = self.units.iter().rev().position(|count| {
            left += count;
            left >= wanted
        });
        // The oldest is the first to leave.
        let parts = leaves.map_or(PARTS + 1, |at| at as u64 + 1);
        let begins = (self.part + parts) * limit.part();
        let more_in = if used == 0 && wanted <= 1 { 0 } else { begins.saturating_sub(u64::try_from(at).unwrap_or(0)) };
        Level { remaining: u32::try_from(remaining).unwrap_or(u32::MAX), more_in }
    }

    /// When nothing of them counts any more, in microseconds of the clock that numbers the parts.
    pub fn over_at(&self, limit: RateLimit) -> i64 {
        i64::try_from(self.part.saturating_add(PARTS + 1).saturating_mul(limit.part())).unwrap_or(i64::MAX)
    }

    /// The form a database column holds: a number for each part, the running one first.
    pub fn to_text(&self) -> String {
        self.units.map(|units| units.to_string()).join(" ")
    }

    /// Reads what [`Counts::to_text`] wrote.
    pub fn parse(part: u64, text: &str) -> Option<Self> {
        let units = text.split_ascii_whitespace().map(str::parse).collect::<Result<Vec<_>, _>>().ok()?;
        Some(Self { part, units: units.try_into().ok()? })
    }
}

/// How many units one of `nodes` processes takes at once of those that are left in a window which all of them count: an eighth
/// of its share, so that all find some as long as there are any. What it does not spend comes back when the part ends.
pub fn block(left: u64, nodes: u64) -> u64 {
    (left / nodes.max(1).saturating_mul(8)).max(1).min(left)
}
