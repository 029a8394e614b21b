//! Monthly quotas: how many units a process takes from the database at once, to give them out from memory.

/// The greatest number of units a quota may have, or be said to have used.
pub const MAX_UNITS: u64 = 1 << 52;

/// How many units one of `nodes` processes takes at once of a quota of which `granted` are taken already: an eighth of its
/// share of the rest, so that all find some as long as there are any, and no more than a hundredth of the whole, so that a
/// crash loses little. 0 if none is left.
pub fn block(limit: u64, granted: u64, nodes: u64) -> u64 {
    let remaining = limit.saturating_sub(granted);
    let share = remaining / nodes.max(1).saturating_mul(8);
    share.clamp(1, (limit / 100).max(1)).min(remaining)
}
