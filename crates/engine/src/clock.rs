//! Where time and randomness come from. Everything else takes them as arguments or asks these.

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use jiff::Timestamp;
use keyrack_core::from_micros;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// The present moment, in whole microseconds.
    fn now(&self) -> Timestamp;

    /// How long the machine has been up, in microseconds, its sleep included. Nobody sets this one.
    fn uptime(&self) -> i64 {
        self.reading().boot
    }

    /// The time by which processes on several machines count together, in microseconds: what the database's clock shows, unless
    /// a test tells the time.
    fn common(&self, of_database: i64) -> i64 {
        of_database
    }

    /// Both clocks of the machine at once, to measure how long something has lasted. Not the same as [`Clock::now`] where
    /// that is set by hand.
    fn reading(&self) -> Reading {
        Reading::of_machine()
    }
}

/// What two clocks of the machine show, in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// Since the machine started. It goes on while the machine sleeps or a process is suspended, and nobody sets it.
    pub boot: i64,
    /// Since 1970. Where a whole machine is frozen and thawed, only this one tells.
    pub wall: i64,
}

impl Reading {
    fn of_machine() -> Self {
        use rustix::time::{ClockId, Timespec, clock_gettime};
        let micros = |time: Timespec| time.tv_sec * 1_000_000 + time.tv_nsec / 1000;
        Self { boot: micros(clock_gettime(ClockId::Boottime)), wall: micros(clock_gettime(ClockId::Realtime)) }
    }
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the place that reads the clock")]
    fn now(&self) -> Timestamp {
        // Cut to what the database keeps, so that a moment read back equals the one written.
        from_micros(Timestamp::now().as_microsecond())
    }
}

/// A clock that stands where its file says (RFC 3339), for tests of months and expiry. When it is moved, as much time has
/// passed; a second word in the file, in RFC 3339 too, says up to when it has, for tests of a clock that was set wrong.
#[cfg(feature = "test-clock")]
#[derive(Clone, Debug)]
pub struct FileClock(pub std::path::PathBuf);

#[cfg(feature = "test-clock")]
impl FileClock {
    fn words(&self) -> impl Iterator<Item = Timestamp> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        text.split_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<_>>().into_iter()
    }
}

#[cfg(feature = "test-clock")]
impl Clock for FileClock {
    fn now(&self) -> Timestamp {
        self.words().next().unwrap_or(Timestamp::UNIX_EPOCH)
    }

    fn uptime(&self) -> i64 {
        keyrack_core::micros(self.words().last().unwrap_or(Timestamp::UNIX_EPOCH))
    }

    fn common(&self, _: i64) -> i64 {
        self.uptime()
    }
}

/// Draws random bytes.
pub trait Random: Send + Sync {
    /// Fills the bytes with randomness fit for secrets.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoRandomness>;
}

/// The operating system gave no randomness.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the operating system gives no randomness")]
pub struct NoRandomness;

/// The randomness of the operating system.
#[derive(Clone, Debug, Default)]
pub struct OsRandom(SystemRandom);

impl Random for OsRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoRandomness> {
        self.0.fill(bytes).map_err(|_| NoRandomness)
    }
}

impl dyn Random + '_ {
    /// An array of random bytes.
    pub fn bytes<const N: usize>(&self) -> Result<[u8; N], NoRandomness> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }
}
