//! What takes a look at every key of an organization: which had the most requests, and how many nobody uses.
//!
//! With very many keys that takes long, so people are shown what was found lately, while it is looked again beside that.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use keyrack_core::KeyId;
use keyrack_core::usage::{Network, Span, UNUSED_FOR};
use keyrack_store::{Reader, UsageKind, UsageOf, UsageSubject};

use super::INSTANCE;
use super::report::{KeyUsage, kept, longer};
use crate::Result;
use crate::engine::Engine;

/// How many keys and networks are named.
const TOP: i64 = 10;
/// What is found so quickly is looked for each time. In microseconds.
const QUICK: i64 = 50_000;
/// After how many times the time a look takes it is looked again: a twentieth of one processor goes into it at most.
const REST: i64 = 20;
/// What was found longer ago than this is not shown.
const OLD: SignedDuration = SignedDuration::from_mins(15);
/// Of how many it is remembered what was found.
const REMEMBERED: usize = 1000;

/// What a look at every key finds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AcrossKeys {
    /// When it was looked.
    pub at: Timestamp,
    /// The keys with the most requests.
    pub top_keys: Vec<KeyUsage>,
    /// Of an organization or the instance, the networks from which the most texts came that are no key.
    pub unknown_from: Option<Vec<(Network, u64)>>,
    /// How many live keys have not been used for 90 days, and are older than that.
    pub unused_keys: Option<u64>,
}

/// At what to look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) subject: UsageSubject,
    pub(super) of: UsageOf,
    pub(super) by: Span,
    pub(super) time: (Timestamp, Timestamp),
}

impl Look {
    /// Looks that differ in their time alone are of the time up to now.
    fn place(&self) -> (UsageSubject, Span) {
        (self.subject, self.by)
    }
}

/// What looks that took long have found lately.
#[derive(Default)]
pub(super) struct Lately(Mutex<HashMap<(UsageSubject, Span), Found>>);

struct Found {
    across: AcrossKeys,
    /// How long it took, in microseconds.
    took: i64,
    is_looking: bool,
}

impl Lately {
    /// What was found lately, and whether to look again beside it.
    fn find(&self, look: &Look, now: Timestamp) -> Option<(AcrossKeys, bool)> {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = found.get_mut(&look.place())?;
        let age = now.duration_since(found.across.at);
        if age > OLD || age.is_negative() {
            return None;
        }
        let is_due = age >= SignedDuration::from_micros(found.took.saturating_mul(REST)) && !found.is_looking;
        found.is_looking |= is_due;
        Some((found.across.clone(), is_due))
    }

    fn keep(&self, look: &Look, across: &AcrossKeys, took: i64) {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if took < QUICK {
            found.remove(&look.place());
            return;
        }
        if found.len() >= REMEMBERED && !found.contains_key(&look.place()) {
            let oldest = found.iter().min_by_key(|(_, found)| found.across.at).map(|(place, _)| *place);
            oldest.and_then(|place| found.remove(&place));
        }
        found.insert(look.place(), Found { across: across.clone(), took, is_looking: false });
    }

    /// A look has failed; the next who asks may try.
    fn release(&self, look: &Look) {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = found.get_mut(&look.place()) {
            found.is_looking = false;
        }
    }
}

impl Engine {
    /// What was found lately, or else what a look finds now.
    pub(super) async fn seen_across_keys(&self, look: Look) -> Result<AcrossKeys> {
        let Some((across, is_due)) = self.usage.lately.find(&look, self.now()) else {
            return self.look_and_keep(look).await;
        };
        if is_due && let Some(engine) = self.myself.get().and_then(std::sync::Weak::upgrade) {
            tokio::spawn(async move {
                if let Err(error) = engine.look_and_keep(look).await {
                    engine.usage.lately.release(&look);
                    tracing::warn!(%error, "the keys of an organization could not be compared");
                }
            });
        }
        Ok(across)
    }

    /// Looks at every key. One at a time does that.
    pub(super) async fn look_across_keys(&self, look: Look) -> Result<AcrossKeys> {
        let _turn = self.usage.reports.lock().await;
        find(&mut self.reader().await?, &look, self.now()).await
    }

    /// The same up to now, kept for who asks next: a look at another time must not be taken for it.
    async fn look_and_keep(&self, look: Look) -> Result<AcrossKeys> {
        let _turn = self.usage.reports.lock().await;
        let begun = self.clock.uptime();
        let across = find(&mut self.reader().await?, &look, self.now()).await?;
        self.usage.lately.keep(&look, &across, self.clock.uptime().saturating_sub(begun));
        Ok(across)
    }
}

async fn find(reader: &mut Reader, look: &Look, now: Timestamp) -> Result<AcrossKeys> {
    let Look { subject, of, by, time: (from, to) } = look;
    let span = longer(*by);
    let last = to.saturating_sub(SignedDuration::from_micros(1)).unwrap_or(*to);
    let time = kept((span.start_of(*from), span.next(span.start_of(last))), span, now);
    let mut top_keys = Vec::new();
    for top in reader.usage_top(of, UsageKind::Key, span, time, TOP).await? {
        let key = KeyId(top.id);
        let name = reader.find_key(of.organization, key).await?.map(|key| key.name);
        top_keys.push(KeyUsage { key, name, granted: top.granted, denied: top.denied });
    }
    let mut unknown_from = None;
    if matches!(subject.kind, UsageKind::Organization) {
        // By day there are none; the hours of those days are kept for a while.
        let span = (*by).min(Span::Hour);
        let top = reader.usage_top(of, UsageKind::Network, span, kept((*from, *to), span, now), TOP).await?;
        unknown_from = Some(top.iter().map(|top| (Network::from_bits(top.id), top.denied)).collect());
    }
    let mut unused_keys = None;
    if of.organization != INSTANCE {
        let since = now.saturating_sub(UNUSED_FOR).unwrap_or(Timestamp::MIN);
        unused_keys = Some(reader.count_unused_keys(of, now, since).await?);
    }
    Ok(AcrossKeys { at: now, top_keys, unknown_from, unused_keys })
}

#[cfg(test)]
mod tests {
    use keyrack_core::OrganizationId;
    use uuid::Uuid;

    use super::*;

    fn look(number: u128) -> Look {
        let organization = OrganizationId(Uuid::from_u128(number));
        Look {
            subject: UsageSubject::organization(organization),
            of: UsageOf { organization, group: None, workspace: None },
            by: Span::Day,
            time: (Timestamp::MIN, Timestamp::MAX),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn across(second: i64) -> AcrossKeys {
        AcrossKeys { at: at(second), top_keys: Vec::new(), unknown_from: None, unused_keys: Some(0) }
    }

    #[test]
    fn what_took_long_is_shown_for_a_while_and_looked_at_again_by_one() {
        let (lately, one) = (Lately::default(), look(1));
        assert_eq!(lately.find(&one, at(0)), None);
        lately.keep(&one, &across(0), 1_000_000);
        assert_eq!(lately.find(&look(2), at(0)), None, "of another organization");
        let known = |due| Some((across(0), due));
        assert_eq!(lately.find(&one, at(19)), known(false));
        assert_eq!(lately.find(&one, at(20)), known(true));
        assert_eq!(lately.find(&one, at(21)), known(false), "somebody looks");
        lately.release(&one);
        assert_eq!(lately.find(&one, at(22)), known(true), "who looked has failed");
        assert_eq!(lately.find(&one, at(15 * 60)), known(false));
        assert_eq!(lately.find(&one, at(15 * 60 + 1)), None, "too old");
        assert_eq!(lately.find(&one, at(-1)), None, "of another clock");
    }

    #[test]
    fn what_is_quick_is_looked_at_each_time_and_memory_is_bounded() {
        let lately = Lately::default();
        lately.keep(&look(1), &across(0), QUICK - 1);
        assert_eq!(lately.find(&look(1), at(0)), None);
        for number in 0..REMEMBERED as u128 + 10 {
            lately.keep(&look(number), &across(i64::try_from(number).unwrap()), QUICK);
        }
        assert_eq!(lately.0.lock().unwrap().len(), REMEMBERED);
        assert_eq!(lately.find(&look(9), at(9)), None, "the oldest are forgotten");
        assert!(lately.find(&look(10), at(10)).is_some());
        lately.keep(&look(10), &across(11), QUICK - 1);
        assert_eq!(lately.find(&look(10), at(11)), None, "it has become quick");
    }
}
