//! Calendar months in UTC: what quotas are for.

use std::fmt;

use jiff::civil::{Date, date};
use jiff::tz::TimeZone;

use crate::Timestamp;

/// A calendar month in UTC. Months are in the order of time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Month(i32);

impl Month {
    /// The month of a moment.
    pub fn of(at: Timestamp) -> Self {
        let day = at.to_zoned(TimeZone::UTC).date();
        Self(i32::from(day.year()) * 12 + i32::from(day.month()) - 1)
    }

    /// The month of a number that [`Month::number`] gave.
    pub fn from_number(number: i64) -> Option<Self> {
        let month = Self(i32::try_from(number).ok()?);
        month.first_day().map(|_| month)
    }

    /// Months since the year 0: the form a database column holds.
    pub fn number(self) -> i64 {
        self.0.into()
    }

    /// Its first moment.
    pub fn start(self) -> Timestamp {
        let start = self.first_day().and_then(|day| day.to_zoned(TimeZone::UTC).ok());
        start.map_or(Timestamp::MAX, |start| start.timestamp())
    }

    /// The one after it.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    fn first_day(self) -> Option<Date> {
        let year = i16::try_from(self.0.div_euclid(12)).ok()?;
        let month = i8::try_from(self.0.rem_euclid(12) + 1).ok()?;
        Date::new(year, month, 1).ok()
    }
}

/// `2026-12`
impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = self.first_day().unwrap_or(date(9999, 12, 1));
        write!(f, "{:04}-{:02}", day.year(), day.month())
    }
}
