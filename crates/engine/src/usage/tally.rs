//! What requests come to, added up by what they are told apart by.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher as _, Hash};
use std::net::IpAddr;

use compact_str::CompactString;
use foldhash::fast::FixedState;
use foldhash::{HashMap, HashMapExt as _, HashSet};
use jiff::Timestamp;
use keyrack_core::usage::{Label, MAX_ENDPOINTS, Method, Network, OTHER_ENDPOINT, Span, StatusClass};
use keyrack_core::{GroupId, KeyId, OrganizationId, Reason, WorkspaceId, from_micros, micros};
use keyrack_store::{SecretUse, UsageCounts, UsageKey, UsageKind, UsageStep, UsageSubject};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Seen;

/// How many endpoints of an organization are told apart on a day, those of all its keys together.
const MAX_ENDPOINTS_TOGETHER: usize = 512;
/// Of how many keys it is known which endpoints they have used on a day.
const MAX_KEYS: usize = 1 << 20;
/// How many networks are told apart in an hour at the doors of an organization.
const MAX_NETWORKS: usize = 1024;
/// And of all organizations together.
const MAX_NETWORKS_TOGETHER: usize = 1 << 16;
/// How many addresses are told apart from which a secret is used that another one replaces, between two flushes.
const MAX_OLD_FROM: usize = 32;
/// How many counts one batch of the journal has at most.
const COUNTS_PER_BATCH: usize = 4096;
/// The first byte of a batch, by which another layout would be known.
const LAYOUT: u8 = 1;

/// What a key belongs to, or a network: only an organization.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
struct Place {
    organization: OrganizationId,
    group: Option<GroupId>,
    workspace: Option<WorkspaceId>,
}

/// Things by numbers, so that each stands in memory once.
#[derive(Debug)]
struct Numbered<T> {
    things: Vec<T>,
    numbers: HashMap<T, u32>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { things: Vec::new(), numbers: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Numbered<T> {
    fn number(&mut self, thing: &T) -> u32 {
        if let Some(number) = self.numbers.get(thing) {
            return *number;
        }
        let number = u32::try_from(self.things.len()).unwrap_or(u32::MAX);
        self.things.push(thing.clone());
        self.numbers.insert(thing.clone(), number);
        number
    }

    fn get(&self, number: u32) -> &T {
        &self.things[number as usize]
    }
}

/// What a count is about, with numbers of what stands beside.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
struct CountKey {
    place: u32,
    subject: Uuid,
    /// In minutes since 1970.
    minute: i32,
    version: u32,
    label: u32,
    bucket: i8,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct LastUse {
    place: u32,
    at: i64,
    address: Option<IpAddr>,
    user_agent: u32,
    /// Of a secret that another one replaces: from where it was used when. Few have this.
    old_from: Option<BTreeMap<IpAddr, i64>>,
}

impl LastUse {
    fn add(&mut self, other: &Self) {
        for (address, at) in other.old_from.iter().flat_map(|from| from.iter()) {
            let known = self.old_from.get_or_insert_default();
            if known.len() < MAX_OLD_FROM || known.contains_key(address) {
                let latest = known.entry(*address).or_insert(*at);
                *latest = (*latest).max(*at);
            }
        }
        if self.at <= other.at {
            (self.place, self.at, self.address, self.user_agent) =
                (other.place, other.at, other.address, other.user_agent);
        }
    }
}

/// Counts and last uses.
#[derive(Debug, Default)]
pub(super) struct Tally {
    places: Numbered<Place>,
    labels: Numbered<Label>,
    user_agents: Numbered<CompactString>,
    counts: HashMap<CountKey, UsageCounts>,
    uses: HashMap<(KeyId, u32), LastUse>,
}

impl Tally {
    /// How many counts and uses it has: what it takes to write them down.
    pub(super) fn len(&self) -> usize {
        self.counts.len().max(self.uses.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn has_use_of(&self, key: KeyId, version: i64) -> bool {
        u32::try_from(version).is_ok_and(|version| self.uses.contains_key(&(key, version)))
    }

    pub(super) fn add(&mut self, mut seen: Seen, known: &mut Known) {
        let minute = i32::try_from(seen.at.as_second().div_euclid(60)).unwrap_or(i32::MAX);
        // At the door of another organization it is nobody's, and the door's pattern is not told to whoever has the key.
        let is_known = seen.matches && seen.label.denial != Some(Reason::WrongOrganization);
        let (place, subject) = if is_known {
            known.limit_endpoint(seen.organization, seen.key.0, &mut seen.label, seen.at);
            let place = Place { organization: seen.organization, group: Some(seen.group), workspace: seen.workspace };
            (place, seen.key.0)
        } else {
            // Who tries keys that are none can try any number of endpoints.
            seen.label.endpoint = CompactString::default();
            seen.version = 0;
            let network = known.limit_network(seen.door, Network::of(seen.address), seen.at);
            (Place { organization: seen.door, group: None, workspace: None }, network.bits())
        };
        let place = self.places.number(&place);
        if seen.counts != UsageCounts::default() {
            let label = self.labels.number(&seen.label);
            let key = CountKey { place, subject, minute, version: seen.version, label, bucket: seen.bucket };
            *self.counts.entry(key).or_default() += seen.counts;
        }
        if seen.is_use && seen.matches {
            let user_agent = self.user_agents.number(&seen.user_agent);
            let at = micros(seen.at);
            let old_from = seen.address.filter(|_| seen.is_old).map(|address| BTreeMap::from([(address, at)]));
            let last = LastUse { place, at, address: seen.address, user_agent, old_from };
            self.note_use((seen.key, seen.version), last);
        }
    }

    fn note_use(&mut self, secret: (KeyId, u32), last: LastUse) {
        match self.uses.entry(secret) {
            Entry::Occupied(mut known) => known.get_mut().add(&last),
            Entry::Vacant(place) => drop(place.insert(last)),
        }
    }

    /// Adds another one.
    pub(super) fn absorb(&mut self, other: Self) {
        if self.is_empty() {
            *self = other;
            return;
        }
        let places: Vec<u32> = other.places.things.iter().map(|place| self.places.number(place)).collect();
        let labels: Vec<u32> = other.labels.things.iter().map(|label| self.labels.number(label)).collect();
        let agents: Vec<u32> = other.user_agents.things.iter().map(|agent| self.user_agents.number(agent)).collect();
        for (key, counts) in other.counts {
            let key = CountKey { place: places[key.place as usize], label: labels[key.label as usize], ..key };
            *self.counts.entry(key).or_default() += counts;
        }
        for (secret, last) in other.uses {
            let place = places[last.place as usize];
            self.note_use(secret, LastUse { place, user_agent: agents[last.user_agent as usize], ..last });
        }
    }

    /// As batches for the journal, each with what its rows refer to.
    pub(super) fn to_batches(&self) -> Vec<Vec<u8>> {
        let counts: Vec<_> = self.counts.iter().collect();
        let uses: Vec<_> = self.uses.iter().collect();
        let batches = counts.len().max(uses.len()).div_ceil(COUNTS_PER_BATCH);
        let part = |len: usize, number: usize| {
            (number * COUNTS_PER_BATCH).min(len)..((number + 1) * COUNTS_PER_BATCH).min(len)
        };
        let batch = |number: usize| {
            let mut one = Self::default();
            for (key, count) in &counts[part(counts.len(), number)] {
                let (place, label) = (self.places.get(key.place), self.labels.get(key.label));
                let key = CountKey { place: one.places.number(place), label: one.labels.number(label), ..**key };
                one.counts.insert(key, **count);
            }
            for (secret, last) in &uses[part(uses.len(), number)] {
                let (place, agent) = (self.places.get(last.place), self.user_agents.get(last.user_agent));
                let (place, user_agent) = (one.places.number(place), one.user_agents.number(agent));
                one.uses.insert(**secret, LastUse { place, user_agent, ..(*last).clone() });
            }
            one.into_batch()
        };
        (0..batches).map(batch).collect()
    }

    fn into_batch(self) -> Vec<u8> {
        let written = Written {
            places: self.places.things,
            labels: self.labels.things.iter().map(WrittenLabel::of).collect(),
            user_agents: self.user_agents.things.iter().map(ToString::to_string).collect(),
            counts: self.counts.iter().map(|(key, counts)| (*key, Counted::of(counts))).collect(),
            uses: self.uses.into_iter().collect(),
        };
        // Writing into memory what was made for it does not fail.
        postcard::to_extend(&written, vec![LAYOUT]).unwrap_or_default()
    }

    /// From a batch of the journal; `None` if it is not one.
    pub(super) fn of_batch(batch: &[u8]) -> Option<Self> {
        let (&LAYOUT, rest) = batch.split_first()? else { return None };
        let written: Written = postcard::from_bytes(rest).ok()?;
        let mut tally = Self::default();
        for place in &written.places {
            tally.places.number(place);
        }
        for label in written.labels {
            tally.labels.number(&label.read());
        }
        for agent in &written.user_agents {
            tally.user_agents.number(&agent.as_str().into());
        }
        let is_whole = tally.places.things.len() == written.places.len()
            && written.counts.iter().all(|(key, _)| {
                (key.place as usize) < tally.places.things.len() && (key.label as usize) < tally.labels.things.len()
            })
            && written.uses.iter().all(|(_, last)| {
                (last.place as usize) < tally.places.things.len()
                    && (last.user_agent as usize) < tally.user_agents.things.len()
            });
        if !is_whole {
            return None;
        }
        tally.counts = written.counts.into_iter().map(|(key, counted)| (key, counted.read())).collect();
        tally.uses = written.uses.into_iter().collect();
        Some(tally)
    }

    /// In the order in which it is written down.
    pub(super) fn sorted(self) -> Sorted {
        let of = |tally: &Self, place: u32, subject: Uuid| (tally.places.get(place).organization, subject);
        let mut counts: Vec<_> =
            self.counts.iter().map(|(key, counts)| (of(&self, key.place, key.subject), *key, *counts)).collect();
        counts.sort_unstable_by_key(|(subject, ..)| *subject);
        let mut uses: Vec<_> =
            self.uses.iter().map(|(secret, last)| (of(&self, last.place, secret.0.0), *secret, last.clone())).collect();
        uses.sort_unstable_by_key(|(subject, ..)| *subject);
        let Self { places, labels, user_agents, .. } = self;
        Sorted { places, labels, user_agents, counts, uses, counted: 0, used: 0 }
    }
}

/// A tally as the journal has it.
#[derive(Serialize, Deserialize)]
struct Written {
    places: Vec<Place>,
    labels: Vec<WrittenLabel>,
    user_agents: Vec<String>,
    counts: Vec<(CountKey, Counted)>,
    uses: Vec<((KeyId, u32), LastUse)>,
}

#[derive(Clone, Serialize, Deserialize)]
struct WrittenLabel(String, String, u16, String);

impl WrittenLabel {
    fn of(label: &Label) -> Self {
        let denial = label.denial.map_or("", Reason::code);
        let status = u16::from(label.status.digit()) * 100;
        Self(label.endpoint.to_string(), label.method.as_str().to_owned(), status, denial.to_owned())
    }

    fn read(self) -> Label {
        Label {
            endpoint: self.0.into(),
            method: Method::of(&self.1),
            status: StatusClass::of(self.2),
            denial: Reason::parse(&self.3),
        }
    }
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Counted(u64, u64, u64, u64, u64);

impl Counted {
    fn of(c: &UsageCounts) -> Self {
        Self(c.requests, c.units, c.bytes_in, c.bytes_out, c.micros)
    }

    fn read(self) -> UsageCounts {
        let Self(requests, units, bytes_in, bytes_out, micros) = self;
        UsageCounts { requests, units, bytes_in, bytes_out, micros }
    }
}

/// By what a tally is sorted: a subject, and whose it is.
type Sort = (OrganizationId, Uuid);

/// A tally in the order in which it is written down, and how far it is.
#[derive(Debug)]
pub(super) struct Sorted {
    places: Numbered<Place>,
    labels: Numbered<Label>,
    user_agents: Numbered<CompactString>,
    counts: Vec<(Sort, CountKey, UsageCounts)>,
    uses: Vec<(Sort, (KeyId, u32), LastUse)>,
    counted: usize,
    used: usize,
}

/// The next part of a tally to be written down.
pub(super) struct Part {
    /// What it adds.
    pub(super) step: UsageStep,
    /// Up to where the tally is written down then; empty if that is all of it.
    pub(super) place: Vec<u8>,
    counted: usize,
    used: usize,
}

impl Part {
    /// Whether nothing is left behind it.
    pub(super) fn is_last(&self) -> bool {
        self.place.is_empty()
    }
}

impl Sorted {
    /// How many rows are left.
    pub(super) fn len(&self) -> usize {
        (self.counts.len() - self.counted).max(self.uses.len() - self.used)
    }

    /// Passes over what has been written down already.
    pub(super) fn skip(&mut self, place: &[u8]) {
        self.counted = self.counts.partition_point(|(sort, ..)| bytes_of(sort).as_slice() <= place);
        self.used = self.uses.partition_point(|(sort, ..)| bytes_of(sort).as_slice() <= place);
    }

    pub(super) fn has_use_of(&self, key: KeyId, version: i64) -> bool {
        let left = self.uses.get(self.used..).unwrap_or_default();
        u32::try_from(version).is_ok_and(|version| left.iter().any(|(_, secret, _)| *secret == (key, version)))
    }

    /// The next rows, about so many and all of a subject; with none left an empty part, which is the last.
    pub(super) fn next(&self, rows: usize) -> Part {
        let end = self.end(rows);
        let counted = end.map_or(self.counts.len(), |end| self.counts.partition_point(|(sort, ..)| *sort <= end));
        let used = end.map_or(self.uses.len(), |end| self.uses.partition_point(|(sort, ..)| *sort <= end));
        let mut step = UsageStep::default();
        let mut labels = HashSet::default();
        for (sort, key, counts) in &self.counts[self.counted..counted] {
            labels.insert(key.label);
            for subject in self.subjects(sort, key) {
                let version = if subject.kind == UsageKind::Key { key.version.into() } else { 0 };
                let start = from_micros(i64::from(key.minute) * Span::Minute.seconds() * 1_000_000);
                let label = self.labels.get(key.label).id();
                let key = UsageKey { start, subject, version, label, bucket: key.bucket };
                *step.counts.entry(key).or_default() += *counts;
            }
        }
        step.labels = labels.into_iter().map(|label| self.labels.get(label).clone()).collect();
        // In one order everywhere, so that two writers cannot wait for each other.
        step.labels.sort_by_cached_key(Label::id);
        step.uses = self.uses[self.used..used].iter().map(|(_, secret, last)| self.secret_use(*secret, last)).collect();
        let place = end.as_ref().map(bytes_of).unwrap_or_default();
        Part { step, place, counted, used }
    }

    /// It has been written down.
    pub(super) fn advance(&mut self, part: &Part) {
        self.counted = part.counted;
        self.used = part.used;
    }

    /// The subject of the row that is so many further, of whichever comes first; `None` if there are no more than that.
    fn end(&self, rows: usize) -> Option<Sort> {
        let count = self.counts.get(self.counted + rows).map(|(sort, ..)| *sort);
        let used = self.uses.get(self.used + rows).map(|(sort, ..)| *sort);
        count.into_iter().chain(used).min()
    }

    /// What a count is about, the organization last.
    fn subjects(&self, sort: &Sort, key: &CountKey) -> impl Iterator<Item = UsageSubject> {
        let place = self.places.get(key.place);
        let organization = sort.0;
        let of = move |kind, id| UsageSubject { organization, kind, id };
        let own = of(if place.group.is_some() { UsageKind::Key } else { UsageKind::Network }, sort.1);
        let group = place.group.map(|group| of(UsageKind::Group, group.0));
        let workspace = place.workspace.map(|workspace| of(UsageKind::Workspace, workspace.0));
        let whole = UsageSubject::organization(organization);
        [Some(own), group, workspace, Some(whole)].into_iter().flatten()
    }

    fn secret_use(&self, (key, version): (KeyId, u32), last: &LastUse) -> SecretUse {
        let user_agent = self.user_agents.get(last.user_agent);
        SecretUse {
            key,
            version: version.into(),
            at: from_micros(last.at),
            address: last.address,
            user_agent: (!user_agent.is_empty()).then(|| user_agent.to_string()),
            old_from: last.old_from.iter().flat_map(|from| from.iter()).map(|(a, at)| (*a, from_micros(*at))).collect(),
        }
    }
}

fn bytes_of((organization, subject): &Sort) -> Vec<u8> {
    [organization.0.as_bytes().as_slice(), subject.as_bytes()].concat()
}

/// What is told apart already: no more than so much is.
#[derive(Debug, Default)]
pub(super) struct Known {
    day: Timestamp,
    endpoints: HashMap<OrganizationId, HashSet<CompactString>>,
    /// By key, as hashes: a key that shares one with another endpoint counts it for that.
    of_keys: HashMap<Uuid, Vec<u32>>,
    hash: FixedState,
    hour: Timestamp,
    networks: HashMap<OrganizationId, HashSet<Network>>,
    told_apart: usize,
}

impl Known {
    fn limit_endpoint(&mut self, organization: OrganizationId, key: Uuid, label: &mut Label, at: Timestamp) {
        if label.endpoint.is_empty() {
            return;
        }
        let day = Span::Day.start_of(at);
        if self.day < day {
            (self.day, self.endpoints, self.of_keys) = (day, HashMap::new(), HashMap::new());
        }
        if !self.is_told_apart(organization, key, &label.endpoint) {
            label.endpoint = OTHER_ENDPOINT.into();
        }
    }

    fn is_told_apart(&mut self, organization: OrganizationId, key: Uuid, endpoint: &CompactString) -> bool {
        let together = self.endpoints.entry(organization).or_default();
        if !together.contains(endpoint) {
            if together.len() >= MAX_ENDPOINTS_TOGETHER {
                return false;
            }
            together.insert(endpoint.clone());
        }
        // With very many keys the rest of them count as one.
        let is_one = self.of_keys.len() < MAX_KEYS || self.of_keys.contains_key(&key);
        let known = self.of_keys.entry(if is_one { key } else { Uuid::nil() }).or_default();
        let hash = u32::try_from(self.hash.hash_one(endpoint) >> 32).unwrap_or(0);
        let is_known = known.contains(&hash);
        if !is_known && known.len() < MAX_ENDPOINTS {
            known.push(hash);
            return true;
        }
        is_known
    }

    fn limit_network(&mut self, door: OrganizationId, network: Network, at: Timestamp) -> Network {
        let hour = Span::Hour.start_of(at);
        if self.hour < hour {
            (self.hour, self.networks, self.told_apart) = (hour, HashMap::new(), 0);
        }
        let known = self.networks.entry(door).or_default();
        if known.contains(&network) {
            return network;
        }
        if known.len() >= MAX_NETWORKS || self.told_apart >= MAX_NETWORKS_TOGETHER {
            return Network::OTHER;
        }
        self.told_apart += 1;
        known.insert(network);
        network
    }
}
