//! How long something took, many times.

use std::fmt;
use std::time::Duration;

/// The times taken.
#[derive(Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        self.extend([time]);
    }

    pub(crate) fn extend(&mut self, times: impl IntoIterator<Item = Duration>) {
        self.0.extend(times);
        self.0.sort_unstable();
    }

    /// The time within which so many percent of them stayed.
    fn within(&self, percent: usize) -> u128 {
        let place = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
        self.0.get(place).map_or(0, Duration::as_millis)
    }
}

impl fmt::Display for Times {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [median, p99, most] = [50, 99, 100].map(|percent| self.within(percent));
        write!(formatter, "{median} ms (median), {p99} (p99), {most} (most)")
    }
}
