//! When keys were last used, gathered in memory and written down by the engine's loop.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::{HashMap, HashMapExt as _};
use jiff::Timestamp;
use keyrack_core::KeyId;

/// More of these than threads, so that a thread nearly always finds its own free.
const SLOTS: usize = 64;
/// A thread notes this many uses in the order they come before it sorts them out, all at once: each by itself would wait for
/// memory that is far away.
const RECENT: usize = 1024;

/// Which secret of which key.
type Secret = (KeyId, i64);
/// Which secret of which key, and when it was used.
pub(crate) type Use = (KeyId, i64, Timestamp);

/// Last uses since they were last written down.
pub(crate) struct Meter {
    slots: Box<[Slot]>,
    /// What is to be written down next. It stays here until it is, and whoever asks finds it here.
    due: Mutex<VecDeque<Use>>,
}

/// What one thread noted, on cache lines of its own: beside another's, each note would take the line from that thread.
#[derive(Default)]
#[repr(align(128))]
struct Slot(Mutex<Noted>);

#[derive(Default)]
struct Noted {
    recent: Vec<Use>,
    latest: HashMap<Secret, Timestamp>,
}

impl Noted {
    fn note(&mut self, key: KeyId, version: i64, at: Timestamp) {
        if let Some(last) = self.recent.last_mut().filter(|last| (last.0, last.1) == (key, version)) {
            last.2 = at;
            return;
        }
        if self.recent.len() == RECENT {
            self.sort_out();
        }
        self.recent.reserve_exact(RECENT - self.recent.len());
        self.recent.push((key, version, at));
    }

    fn sort_out(&mut self) {
        self.latest.extend(self.recent.drain(..).map(|(key, version, at)| ((key, version), at)));
    }

    /// What was noted, and an empty one with as much room in its place: it will soon be needed again.
    fn take(&mut self) -> Self {
        let room = HashMap::with_capacity(self.latest.len());
        Self { recent: std::mem::take(&mut self.recent), latest: std::mem::replace(&mut self.latest, room) }
    }

    fn has(&self, secret: Secret) -> bool {
        self.latest.contains_key(&secret) || self.recent.iter().any(|&(key, version, _)| (key, version) == secret)
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self { slots: std::iter::repeat_with(Slot::default).take(SLOTS).collect(), due: Mutex::default() }
    }
}

impl Meter {
    /// Notes a use. Waits for nothing: a slot that is being emptied is passed over for the next.
    pub(crate) fn note(&self, key: KeyId, version: i64, at: Timestamp) {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed));
        let own = OWN.with(|own| *own);
        for step in 0..SLOTS {
            if let Ok(mut slot) = self.slots[(own + step) % SLOTS].0.try_lock() {
                slot.note(key, version, at);
                return;
            }
        }
    }

    /// Makes all that was noted due, the latest use of each secret, sorted by key: neighbours in the database are then
    /// written together. With many keys in use this computes for milliseconds.
    pub(crate) fn gather(&self) {
        let mut due = self.due();
        let mut uses: Vec<Use> = std::mem::take(&mut *due).into();
        for slot in &self.slots {
            let mut noted = slot.0.lock().unwrap_or_else(PoisonError::into_inner).take();
            noted.sort_out();
            uses.extend(noted.latest.into_iter().map(|((key, version), at)| (key, version, at)));
        }
        // The latest use of a secret comes first, and stays.
        uses.sort_unstable_by_key(|&(key, version, at)| (key, version, std::cmp::Reverse(at)));
        uses.dedup_by_key(|&mut (key, version, _)| (key, version));
        *due = uses.into();
    }

    /// The next uses that are due, so many at most.
    pub(crate) fn due_next(&self, at_most: usize) -> Vec<Use> {
        self.due().iter().take(at_most).copied().collect()
    }

    /// They are in the database.
    pub(crate) fn written(&self, uses: &[Use]) {
        let mut due = self.due();
        for written in uses {
            // Whatever came in between is not lost.
            due.pop_front_if(|next| next == written);
        }
    }

    /// Whether this secret was used and that is not written down yet.
    pub(crate) fn has_use_of(&self, key: KeyId, version: i64) -> bool {
        // While it is held nothing moves from the slots.
        let due = self.due();
        let is_noted = |slot: &Slot| slot.0.lock().unwrap_or_else(PoisonError::into_inner).has((key, version));
        due.iter().any(|&(other, its, _)| (other, its) == (key, version)) || self.slots.iter().any(is_noted)
    }

    fn due(&self) -> MutexGuard<'_, VecDeque<Use>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use uuid::Uuid;

    use super::*;

    fn key(number: u128) -> KeyId {
        KeyId(Uuid::from_u128(number))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn all_due(meter: &Meter) -> Vec<Use> {
        meter.due_next(usize::MAX)
    }

    #[test]
    fn the_latest_use_of_each_secret_is_due_in_the_order_of_keys() {
        let meter = Arc::new(Meter::default());
        // More than a thread keeps unsorted, from several at once, each key at several times.
        let keys = 3 * RECENT as u128;
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let meter = &meter;
                scope.spawn(move || {
                    for round in 0..3 {
                        (0..keys).rev().for_each(|n| meter.note(key(n), 1, at(10 * round + thread)));
                    }
                });
            }
        });
        meter.gather();
        assert_eq!(all_due(&meter), (0..keys).map(|n| (key(n), 1, at(23))).collect::<Vec<_>>());
    }

    #[test]
    fn secrets_of_one_key_are_told_apart() {
        let meter = Meter::default();
        for (version, second) in [(2, 5), (1, 6), (2, 7), (2, 8), (1, 9)] {
            meter.note(key(7), version, at(second));
        }
        meter.gather();
        assert_eq!(all_due(&meter), [(key(7), 1, at(9)), (key(7), 2, at(8))]);
    }

    #[test]
    fn what_is_not_written_down_stays_due_and_is_known_all_the_while() {
        let meter = Meter::default();
        let knows = |meter: &Meter| [1, 2, 3].map(|n| meter.has_use_of(key(n), 1));
        meter.note(key(1), 1, at(1));
        meter.note(key(2), 1, at(1));
        assert_eq!(knows(&meter), [true, true, false], "noted");
        assert!(!meter.has_use_of(key(1), 2), "of another secret");
        meter.gather();
        assert_eq!(knows(&meter), [true, true, false], "due");

        let first = meter.due_next(1);
        assert_eq!(first, [(key(1), 1, at(1))]);
        meter.note(key(2), 1, at(4));
        meter.note(key(3), 1, at(4));
        meter.written(&first);
        assert_eq!(knows(&meter), [false, true, true], "one was written down");

        // The rest could not be: it comes again, with what was used since.
        let failed = meter.due_next(9);
        assert_eq!(failed, [(key(2), 1, at(1))]);
        meter.gather();
        assert_eq!(all_due(&meter), [(key(2), 1, at(4)), (key(3), 1, at(4))]);
        meter.written(&failed);
        assert_eq!(knows(&meter), [false, true, true], "a later use is not the one that was written down");
        meter.written(&all_due(&meter));
        assert_eq!(knows(&meter), [false; 3]);
    }
}
