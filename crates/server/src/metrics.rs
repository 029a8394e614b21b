//! Counters of decisions, for Prometheus. No label holds anything a caller can choose.

use keyrack_core::Reason;
use metrics::{Counter, counter};
use std::sync::LazyLock;

/// The doors that count.
#[derive(Clone, Copy)]
pub(crate) enum Door {
    /// The management API, about its own callers.
    Api,
    /// `/api/verify`.
    Verify,
    /// `/api/introspect`.
    Introspect,
    /// The gateway.
    Gateway,
}

const DOORS: [&str; 4] = ["api", "verify", "introspect", "gateway"];

struct Counters {
    granted: [Counter; DOORS.len()],
    denied: [Vec<Counter>; DOORS.len()],
}

/// Counters are looked up once: the look-up by labels costs more than the decision.
static COUNTERS: LazyLock<Counters> = LazyLock::new(|| {
    let named = |door, code| counter!("keyrack_decisions_total", "door" => door, "code" => code);
    Counters {
        granted: DOORS.map(|door| named(door, "VALID")),
        denied: DOORS.map(|door| Reason::ALL.iter().map(|reason| named(door, reason.code())).collect()),
    }
});

/// Counts a decision: a grant, or a denial and its reason.
pub(crate) fn decided(door: Door, reason: Option<Reason>) {
    match reason {
        None => COUNTERS.granted[door as usize].increment(1),
        // The reasons stand in the order of their numbers, so that none is found sooner than another.
        Some(reason) => COUNTERS.denied[door as usize][reason as usize].increment(1),
    }
}
