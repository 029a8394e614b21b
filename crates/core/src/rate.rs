//! Rate limits: so many units within any window of so many seconds.
//!
//! A window is counted in [`PARTS`] parts and the running one, and all of them count. So no window of its length ever holds
//! more than the limit, wherever it begins; and since what is counted spans no more than 17/16 of it, a caller who asks
//! steadily at 0.9 of the rate is never refused.

/// The parts a window is counted in, beside the running one.
pub const PARTS: u64 = 16;
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
