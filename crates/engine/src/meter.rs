//! When keys were last used, gathered in memory and written down by the engine's loop.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::{HashMap, HashMapExt as _};
use jiff::Timestamp;
use keyrack_core::KeyId;

/// More of these than threads, so that a thread nearly always finds its own free.
const SLOTS: usize = 64;

/// Last uses since they were last written down.
pub struct Meter {
    slots: Box<[Slot]>,
}

/// What one thread noted, on cache lines of its own: beside another's, each note would take the line from that thread.
#[derive(Default)]
#[repr(align(128))]
struct Slot(Mutex<HashMap<(KeyId, i64), Timestamp>>);

/// Uses that were taken out. They go back, unless they are said to be written down.
pub struct Taken<'m> {
    meter: &'m Meter,
    uses: Vec<(KeyId, i64, Timestamp)>,
}

impl Taken<'_> {
    /// Which secret of which key, and when it was last used.
    pub fn uses(&self) -> &[(KeyId, i64, Timestamp)] {
        &self.uses
    }

    /// They are in the database.
    pub fn written(mut self) {
        self.uses.clear();
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.meter.give_back(&self.uses);
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self { slots: std::iter::repeat_with(Slot::default).take(SLOTS).collect() }
    }
}

impl Meter {
    /// Notes a use. Waits for nothing: a slot that is being emptied is passed over for the next.
    pub fn note(&self, key: KeyId, version: i64, at: Timestamp) {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed));
        let own = OWN.with(|own| *own);
        for step in 0..SLOTS {
            if let Ok(mut slot) = self.slots[(own + step) % SLOTS].0.try_lock() {
                slot.insert((key, version), at);
                return;
            }
        }
    }

    /// Takes out all that was noted, the latest use of each secret.
    pub fn take(&self) -> Taken<'_> {
        let mut latest: HashMap<(KeyId, i64), Timestamp> = HashMap::new();
        for slot in &self.slots {
            let noted = slot.0.lock().map(|mut slot| std::mem::take(&mut *slot)).unwrap_or_default();
            for (secret, at) in noted {
                latest.entry(secret).and_modify(|seen| *seen = at.max(*seen)).or_insert(at);
            }
        }
        Taken { meter: self, uses: latest.into_iter().map(|((key, version), at)| (key, version, at)).collect() }
    }

    /// Takes back what could not be written down.
    fn give_back(&self, uses: &[(KeyId, i64, Timestamp)]) {
        if let Ok(mut slot) = self.slots[0].0.lock() {
            for &(key, version, at) in uses {
                slot.entry((key, version)).and_modify(|seen| *seen = at.max(*seen)).or_insert(at);
            }
        }
    }
}
