//! What is measured, for Prometheus. No label holds anything a caller can choose.

use std::sync::LazyLock;
use std::time::Duration;

use http::StatusCode;
use keyrack_core::Reason;
use keyrack_engine::Vitals;
use metrics::{
    Counter, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

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
    /// `/forward-auth`.
    ForwardAuth,
    /// `/extauthz`.
    ExtAuthz,
}

const DOORS: [&str; 6] = ["api", "verify", "introspect", "gateway", "forward_auth", "ext_authz"];

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

/// What answers a request.
#[derive(Clone, Copy)]
pub(crate) enum Front {
    /// The management API and its documentation.
    Own,
    /// `/api/verify`, `/api/verify/batch` and `/api/introspect`.
    Verify,
    /// The gateway.
    Gateway,
    /// `/forward-auth` and `/extauthz`.
    ForwardAuth,
}

const FRONTS: [&str; 4] = ["api", "verify", "gateway", "forward_auth"];
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
/// How long answers take: the name of the histogram.
pub const REQUEST_SECONDS: &str = "keyrack_request_duration_seconds";
/// Its buckets, in seconds.
pub const REQUEST_BUCKETS: [f64; 15] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

static TIMES: LazyLock<[[Histogram; CLASSES.len()]; FRONTS.len()]> = LazyLock::new(|| {
    FRONTS.map(|front| CLASSES.map(|class| histogram!(REQUEST_SECONDS, "front" => front, "status" => class)))
});

/// Measures how long an answer took to begin.
pub(crate) fn took(front: Front, status: StatusCode, elapsed: Duration) {
    let class = usize::from(status.as_u16() / 100);
    if let Some(times) = TIMES[front as usize].get(class) {
        times.record(elapsed.as_secs_f64());
    }
}

/// Says what each of them is.
pub fn describe() {
    describe_counter!("keyrack_decisions_total", "Decisions by door and code; VALID lets in");
    describe_counter!("keyrack_shed_total", "Requests refused because there was no room for them");
    describe_counter!("keyrack_usage_lost_total", "Requests that came faster than they could be counted");
    describe_counter!("keyrack_letters_total", "Letters by what became of an attempt to send them");
    describe_histogram!(REQUEST_SECONDS, Unit::Seconds, "Until an answer began, by what answered and its status");
    describe_gauge!("keyrack_serving", "1 while this process may decide");
    describe_gauge!("keyrack_keyring_secrets", "Secrets of keys that are held in memory");
    describe_gauge!("keyrack_feed_applied", "The number of the newest change that decisions know");
    describe_gauge!("keyrack_feed_age_seconds", "Since it was last known that decisions know every change");
    describe_gauge!("keyrack_usage_unwritten", "Rows of usage that are in memory and not in the counts yet");
    describe_gauge!("keyrack_usage_flush_age_seconds", "Since usage was last written down");
    describe_gauge!("keyrack_pool_connections", "Connections to the database by pool and state");
    describe_gauge!("keyrack_build_info", "1, with the version");
}

/// Writes down how the process is, for whoever asks now.
pub fn observe(vitals: &Vitals) {
    #[expect(clippy::cast_precision_loss, reason = "a gauge")]
    let number = |number: usize| number as f64;
    #[expect(clippy::cast_precision_loss, reason = "a gauge")]
    let applied = vitals.applied as f64;
    gauge!("keyrack_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    gauge!("keyrack_serving").set(f64::from(u8::from(vitals.is_serving)));
    gauge!("keyrack_keyring_secrets").set(number(vitals.secrets));
    gauge!("keyrack_feed_applied").set(applied);
    gauge!("keyrack_feed_age_seconds").set(vitals.feed_age.as_secs_f64());
    gauge!("keyrack_usage_unwritten").set(number(vitals.usage_unwritten));
    gauge!("keyrack_usage_flush_age_seconds").set(vitals.usage_age.as_secs_f64());
    counter!("keyrack_usage_lost_total").absolute(vitals.usage_lost);
    for (outcome, count) in ["sent", "failed", "given_up"].into_iter().zip(vitals.letters) {
        counter!("keyrack_letters_total", "outcome" => outcome).absolute(count);
    }
    for pool in &vitals.pools {
        let gauge = |state| gauge!("keyrack_pool_connections", "pool" => pool.name, "state" => state);
        gauge("busy").set(number(pool.open.saturating_sub(pool.idle)));
        gauge("idle").set(number(pool.idle));
    }
}
