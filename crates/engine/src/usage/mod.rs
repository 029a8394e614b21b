//! What is counted of requests: noted where they are answered, gathered, kept, and read again.
//!
//! A thread that answers notes what it saw in a list of its own and goes on. Beside it the lists are added up (`tally`), written
//! into a journal or straight into the counts of minutes (`keep`), and those into hours and days (`tend`).

mod across;
mod keep;
mod report;
mod tally;
mod tend;
#[cfg(test)]
mod tests;
mod visit;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use compact_str::CompactString;
use jiff::Timestamp;
use keyrack_core::usage::{Label, MAX_USER_AGENT};
use keyrack_core::{GroupId, KeyId, OrganizationId, WorkspaceId};
use keyrack_store::UsageCounts;
use tokio::sync::Notify;
use uuid::Uuid;

pub use across::AcrossKeys;
pub(crate) use report::bounds;
pub use report::{EndpointUse, KeyUsage, SecretUsage, TimeUse, UsageAbout, UsageQuery, UsageReport, UsageTotals, WEEK};
pub use visit::Visit;
pub(crate) use visit::seen;

use keep::Kept;

/// More of these than threads, so that a thread nearly always finds its own free.
const SLOTS: usize = 64;
/// A thread hands over what it noted once it is so much.
const HANDED_OVER: usize = 1024;
/// How many lists may wait to be added up; what is noted beyond that is lost, and counted as that. They take some 100 MB.
const MAX_WAITING: usize = 512;
/// With so many waiting, whoever adds up is called before its time.
const CALL_AT: usize = 64;

/// What a door tells of a request beside what is decided by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Call<'r> {
    /// The pattern of the route, or what else the endpoint is called; empty if that is not known.
    pub endpoint: &'r str,
    /// What the client calls itself.
    pub user_agent: Option<&'r str>,
    /// Whose door it is; `None` for Keyrack's own.
    pub door: Option<OrganizationId>,
}

/// One request, or several alike.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// When the last of them was.
    pub(crate) at: Timestamp,
    /// The key at the place of what was presented, and whether it is the key: nobody looks at that before all is added up, for
    /// noting it must not take another time.
    pub(crate) key: KeyId,
    pub(crate) matches: bool,
    pub(crate) version: u32,
    pub(crate) group: GroupId,
    pub(crate) workspace: Option<WorkspaceId>,
    pub(crate) organization: OrganizationId,
    /// Whose door it was.
    pub(crate) door: OrganizationId,
    pub(crate) address: Option<IpAddr>,
    pub(crate) user_agent: CompactString,
    pub(crate) label: Label,
    pub(crate) bucket: i8,
    pub(crate) counts: UsageCounts,
    /// Whether the key was used: it let somebody in.
    pub(crate) is_use: bool,
    /// Whether another secret of the key replaces the one that was used.
    pub(crate) is_old: bool,
}

impl Seen {
    fn is_like(&self, other: &Self) -> bool {
        let minute = |seen: &Self| seen.at.as_second().div_euclid(60);
        self.key == other.key
            && self.version == other.version
            && self.matches == other.matches
            && self.bucket == other.bucket
            && self.is_use == other.is_use
            && self.door == other.door
            && self.is_old == other.is_old
            && self.address == other.address
            && minute(self) == minute(other)
            && self.label == other.label
    }
}

/// As much of what a client calls itself as is kept. Control characters would be read by terminals, and PostgreSQL keeps no
/// NUL.
pub(crate) fn user_agent(text: Option<&str>) -> CompactString {
    let text = text.unwrap_or_default();
    let text = text.get(..text.floor_char_boundary(MAX_USER_AGENT)).unwrap_or_default();
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// What one thread noted, on cache lines of its own: beside another's, each note would take the line from that thread.
#[derive(Default)]
#[repr(align(128))]
struct Slot(Mutex<Vec<Seen>>);

/// What was seen, from the moment it is noted to the moment it is written down.
pub(crate) struct Usage {
    slots: Box<[Slot]>,
    waiting: Mutex<Vec<Vec<Seen>>>,
    /// Whoever adds up is called.
    called: Notify,
    kept: Mutex<Kept>,
    /// One report at a time looks at every key.
    reports: tokio::sync::Mutex<()>,
    lately: across::Lately,
    lost: AtomicU64,
    lag: Lag,
}

/// How far what is written down is behind, as whoever watches is told: they do not wait for whoever adds up.
struct Lag {
    rows: AtomicUsize,
    since: Instant,
    /// In microseconds after that.
    flushed: AtomicU64,
}

impl Default for Usage {
    fn default() -> Self {
        Self {
            slots: std::iter::repeat_with(Slot::default).take(SLOTS).collect(),
            waiting: Mutex::default(),
            called: Notify::new(),
            kept: Mutex::default(),
            reports: tokio::sync::Mutex::default(),
            lately: across::Lately::default(),
            lost: AtomicU64::new(0),
            lag: Lag { rows: AtomicUsize::new(0), since: Instant::now(), flushed: AtomicU64::new(0) },
        }
    }
}

impl Usage {
    /// Notes a request. Waits for nothing: a slot that is being emptied is passed over for the next.
    pub(crate) fn note(&self, seen: Seen) {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed));
        let own = OWN.with(|own| *own);
        for step in 0..SLOTS {
            let Ok(mut slot) = self.slots[(own + step) % SLOTS].0.try_lock() else { continue };
            if let Some(last) = slot.last_mut().filter(|last| last.is_like(&seen)) {
                last.counts += seen.counts;
                last.at = seen.at;
                last.user_agent = seen.user_agent;
                return;
            }
            if slot.capacity() == 0 {
                slot.reserve_exact(HANDED_OVER);
            }
            slot.push(seen);
            if slot.len() >= HANDED_OVER {
                self.hand_over(&mut slot);
            }
            return;
        }
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    fn hand_over(&self, slot: &mut Vec<Seen>) {
        // Whoever has no room to hand it over keeps it, and tries again with the next.
        let Ok(mut waiting) = self.waiting.try_lock() else { return };
        if waiting.len() >= MAX_WAITING {
            self.lost.fetch_add(slot.iter().map(|seen| seen.counts.requests).sum(), Ordering::Relaxed);
            slot.clear();
            return;
        }
        waiting.push(std::mem::replace(slot, Vec::with_capacity(HANDED_OVER)));
        if waiting.len().is_multiple_of(CALL_AT) {
            self.called.notify_one();
        }
    }

    /// How many requests could not be counted, because they came faster than they could be added up.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// How many rows are in memory and not in the counts yet, and how long ago they were last written down.
    pub(crate) fn lag(&self) -> (usize, Duration) {
        let flushed = Duration::from_micros(self.lag.flushed.load(Ordering::Relaxed));
        (self.lag.rows.load(Ordering::Relaxed), self.lag.since.elapsed().saturating_sub(flushed))
    }

    /// Everything that was noted until now has been written down where it belongs.
    fn note_flushed(&self) {
        let micros = u64::try_from(self.lag.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.lag.flushed.store(micros, Ordering::Relaxed);
    }

    /// Adds up all that was noted. With many keys in use this computes for milliseconds.
    pub(crate) fn gather(&self) {
        let mut kept = self.kept();
        let mut lists = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        for slot in &self.slots {
            let noted = std::mem::take(&mut *slot.0.lock().unwrap_or_else(PoisonError::into_inner));
            if !noted.is_empty() {
                lists.push(noted);
            }
        }
        for seen in lists.into_iter().flatten() {
            let requests = seen.counts.requests;
            if !kept.add(seen) {
                self.lost.fetch_add(requests, Ordering::Relaxed);
            }
        }
        self.lag.rows.store(kept.rows(), Ordering::Relaxed);
    }

    /// Whether this secret was used and that is not written down yet. Adds up all that was noted first.
    pub(crate) fn has_use_of(&self, key: KeyId, version: i64) -> bool {
        self.gather();
        self.kept().has_use_of(key, version)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The organization that stands for the instance.
pub(crate) const INSTANCE: OrganizationId = OrganizationId(Uuid::nil());
