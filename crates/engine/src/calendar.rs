//! What time it is: never earlier than what has been written down, and not believed when it jumps ahead.
//!
//! A clock that is set back must not bring back to life what has expired, and one that is set ahead by mistake must not let
//! things expire, or be written down: from then on it could not be set back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use jiff::Timestamp;
use keyrack_core::{from_micros, micros};

use crate::clock::Clock;
use crate::{Error, Result};

const MINUTE: i64 = 60 * 1_000_000;
/// How far the wall clock may run ahead of the time that has passed since it was last believed.
const AHEAD: i64 = 5 * MINUTE;
/// How long an instance may have been switched off before somebody has to say that the clock is right.
const SWITCHED_OFF: i64 = 30 * 24 * 60 * MINUTE;

/// Tells the time, and whether to believe it.
pub(crate) struct Calendar {
    clock: Arc<dyn Clock>,
    /// The latest moment that is known to have been.
    latest: AtomicI64,
    /// What the wall clock showed when the machine started, by what was believed of it last.
    started: AtomicI64,
    is_doubted: AtomicBool,
}

impl Calendar {
    /// Begins with the latest moment that was written down, if there is one.
    pub(crate) fn new(clock: Arc<dyn Clock>, latest: Option<Timestamp>) -> Self {
        let (wall, latest) = (micros(clock.now()), latest.map(micros));
        let believed = latest.map_or(wall, |latest| wall.min(latest.saturating_add(SWITCHED_OFF)));
        let started = AtomicI64::new(believed - clock.uptime());
        let latest = AtomicI64::new(latest.unwrap_or(i64::MIN));
        let calendar = Self { clock, latest, started, is_doubted: AtomicBool::new(false) };
        calendar.look();
        calendar
    }

    /// The present moment.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now().max(from_micros(self.latest.load(Ordering::Acquire)))
    }

    /// Whether the clock was believed when it was last looked at.
    pub(crate) fn is_believed(&self) -> bool {
        !self.is_doubted.load(Ordering::Acquire)
    }

    /// Looks whether the clock can be believed, and says so in the log when that has changed.
    pub(crate) fn look(&self) -> bool {
        let ahead = self.ahead();
        let is_doubted = ahead > AHEAD;
        match (self.is_doubted.swap(is_doubted, Ordering::AcqRel), is_doubted) {
            (false, true) => tracing::error!(
                clock = %self.clock.now(),
                minutes_ahead = ahead / MINUTE,
                "the clock is ahead of the time that can have passed: nothing is decided or changed until it is set right, \
                 or until it is accepted by: keyrack doctor --accept-clock"
            ),
            (true, false) => tracing::info!("the clock is believed again"),
            _ => {}
        }
        !is_doubted
    }

    /// Fails while the clock is not believed: nothing may be written down under such a time.
    pub(crate) fn check(&self) -> Result<()> {
        if self.look() {
            return Ok(());
        }
        Err(Error::Unavailable("the clock has jumped ahead and is not believed (see keyrack doctor)", None))
    }

    /// Takes note of a moment that was written down: it has been.
    pub(crate) fn raise(&self, moment: Timestamp) {
        self.latest.fetch_max(micros(moment), Ordering::AcqRel);
    }

    /// Believes the clock, as far as it is not ahead of a moment that somebody has said to be right.
    pub(crate) fn accept(&self, moment: Timestamp) {
        let wall = micros(self.clock.now());
        if wall <= micros(moment).saturating_add(AHEAD) {
            self.started.store(wall - self.clock.uptime(), Ordering::Release);
        }
        self.look();
    }

    /// What the wall clock shows, whether it is believed or not.
    pub(crate) fn wall(&self) -> Timestamp {
        self.clock.now()
    }

    /// How far the wall clock is ahead of the time that can have passed, in microseconds.
    fn ahead(&self) -> i64 {
        micros(self.clock.now()) - self.clock.uptime() - self.started.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// What the wall clock shows and how long the machine has been up, both in minutes.
    struct Clocks(Mutex<(i64, i64)>);

    impl Clocks {
        fn set(&self, wall: i64, uptime: i64) {
            *self.0.lock().unwrap() = (wall, uptime);
        }
    }

    impl Clock for Clocks {
        fn now(&self) -> Timestamp {
            at(self.0.lock().unwrap().0)
        }

        fn uptime(&self) -> i64 {
            self.0.lock().unwrap().1 * MINUTE
        }
    }

    const MONTH: i64 = 30 * 24 * 60;

    fn at(minutes: i64) -> Timestamp {
        from_micros(minutes * MINUTE)
    }

    /// Started at minute 1,000 with the machine 10 minutes up.
    fn calendar(latest: Option<i64>) -> (Arc<Clocks>, Calendar) {
        let clocks = Arc::new(Clocks(Mutex::new((1_000, 10))));
        (Arc::clone(&clocks), Calendar::new(clocks, latest.map(at)))
    }

    #[test]
    fn it_is_never_earlier_than_what_was_written_down() {
        let (clocks, calendar) = calendar(Some(990));
        assert_eq!(calendar.now(), at(1_000));
        clocks.set(500, 11);
        assert_eq!(calendar.now(), at(990), "set back, it stands");
        calendar.raise(at(995));
        calendar.raise(at(992));
        assert_eq!(calendar.now(), at(995));
        assert!(calendar.look(), "behind is no reason for doubt");
    }

    #[test]
    fn it_may_run_five_minutes_ahead_of_the_time_that_passed() {
        let (clocks, calendar) = calendar(None);
        for (wall, uptime, is_believed) in
            [(1_000, 10, true), (1_100, 110, true), (1_105, 110, true), (1_106, 110, false), (1_104, 110, true)]
        {
            clocks.set(wall, uptime);
            assert_eq!((calendar.look(), calendar.is_believed()), (is_believed, is_believed), "{wall}");
            assert_eq!(calendar.check().is_ok(), is_believed);
        }
    }

    #[test]
    fn what_is_accepted_is_believed_from_then_on() {
        let (clocks, calendar) = calendar(None);
        clocks.set(5_000, 10);
        assert!(!calendar.look());
        calendar.accept(at(4_000));
        assert!(!calendar.is_believed(), "what was accepted is earlier by far: it was not this machine's clock");
        calendar.accept(at(4_999));
        assert!(calendar.is_believed());
        clocks.set(5_100, 104);
        assert!(!calendar.look());
    }

    #[test]
    fn after_a_month_switched_off_somebody_has_to_say_that_it_is_right() {
        for (latest, is_believed) in [(1_000 - MONTH, true), (1_000 - MONTH - 6, false)] {
            let (clocks, calendar) = calendar(Some(latest));
            assert_eq!(calendar.is_believed(), is_believed);
            if !is_believed {
                clocks.set(900, 10);
                assert!(calendar.look(), "or it is set right");
                clocks.set(1_000, 10);
                assert!(!calendar.look());
                calendar.accept(at(1_000));
                assert!(calendar.is_believed());
            }
        }
    }
}
