//! The verification record of every key, in memory.
//!
//! Records are spread over shards by their digest; a shard is an immutable array sorted by digest that a change replaces.
//! Readers therefore wait for nothing, and a change copies some hundred records. Nothing here has a time to live: what the
//! log of changes says is applied, and nothing else changes a record.
//!
//! A look-up takes the same steps whether it finds a key or not, and never comes back without a record: what is done with it
//! then takes as long for nobody's digest as for somebody's.

use std::hint::black_box;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use compact_str::CompactString;
use foldhash::HashMap;
use jiff::Timestamp;
use keyrack_core::format::Environment;
use keyrack_core::status::{End, Switch};
use keyrack_core::{GroupId, IpAllowlist, KeyDigest, KeyId, RateLimits, ScopeSet, WorkspaceId};
use keyrack_store::{Rare, Redigest, VerificationRow};
use uuid::Uuid;

use crate::directory::{Tenant, TenantCell};
use crate::limits::Limits;

/// With a million keys a shard has 244 records, about 27 KB to copy on a change.
const SHARDS: usize = 4096;
/// How many marks a look-up compares with. Digests are spread so evenly that with a million keys one look-up in many thousands
/// does not find its place among them and searches the whole shard.
const WINDOW: usize = 64;

/// What many keys share: the tenant they belong to and what they may do there.
pub struct Profile {
    /// Their organization, as it is now.
    pub tenant: Arc<TenantCell>,
    /// Their group.
    pub group: GroupId,
    /// Their workspace.
    pub workspace: Option<WorkspaceId>,
    /// Their environment.
    pub environment: Environment,
    /// What they may do.
    pub scopes: ScopeSet,
    /// The same as text, which answers contain more often than not.
    pub scope_names: Box<[CompactString]>,
}

/// What few keys have.
#[derive(Default)]
pub struct Extra {
    /// Where the key works from.
    pub ip_allowlist: IpAllowlist,
    /// What its owner wrote down with it.
    pub metadata: Option<serde_json::Value>,
    /// How much it may ask for.
    limits: Limits,
    /// Its bcrypt hash.
    slow_hash: Option<Box<str>>,
}

impl Extra {
    /// `Some(None)` if there is nothing to keep, `None` if something cannot be read.
    fn of(rare: &Rare, limits: Limits) -> Option<Option<Self>> {
        let ip_allowlist = keyrack_store::parse_allowlist(rare.ip_allowlist.as_deref()).ok()?;
        let metadata = rare.metadata.as_deref().map(serde_json::from_str).transpose().ok()?;
        let slow_hash = rare.slow_hash.as_deref().map(Into::into);
        let is_plain = ip_allowlist.is_unrestricted() && metadata.is_none() && limits.is_empty() && slow_hash.is_none();
        Some((!is_plain).then_some(Self { ip_allowlist, metadata, limits, slow_hash }))
    }
}

/// One secret of one key.
#[derive(Clone)]
pub struct Record {
    digest: [u8; 32],
    /// The key.
    pub key: KeyId,
    /// What it shares with others.
    pub profile: Arc<Profile>,
    extra: Option<Arc<Extra>>,
    /// When it stops working.
    pub expires_at: End,
    /// When the secret does, before the key (the end of a rotation's overlap).
    pub secret_expires_at: End,
    /// Its name.
    pub name: CompactString,
    /// Which secret of the key.
    pub version: u32,
    /// What has been done to it.
    pub switch: Switch,
    /// False for a slow secret that nobody has presented since the start: its digest is not known in full.
    proven: bool,
}

impl Record {
    /// Where the key works from.
    pub fn ip_allowlist(&self) -> &IpAllowlist {
        static ANYWHERE: std::sync::LazyLock<IpAllowlist> = std::sync::LazyLock::new(IpAllowlist::default);
        self.extra.as_ref().map_or(&ANYWHERE, |extra| &extra.ip_allowlist)
    }

    /// What its owner wrote down with it.
    pub fn metadata(&self) -> Option<&serde_json::Value> {
        self.extra.as_ref()?.metadata.as_ref()
    }

    /// How much it may ask for, and what was counted of that.
    pub(crate) fn limits(&self) -> &Limits {
        static NONE: std::sync::LazyLock<Limits> = std::sync::LazyLock::new(Limits::default);
        self.extra.as_ref().map_or(&NONE, |extra| &extra.limits)
    }

    /// Whether it lets nobody in, whatever else is so.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.switch != Switch::Active || self.expires_at.has_come(now) || self.secret_expires_at.has_come(now)
    }

    /// That it is to get a digest under another pepper.
    pub(crate) fn redigest(&self, from: KeyDigest, (pepper, to): (i64, KeyDigest)) -> Redigest {
        let organization = self.profile.tenant.load().organization.id;
        Redigest { key: self.key, organization, version: self.version.into(), from, to, pepper }
    }

    /// Where it stands.
    pub(crate) fn locator(&self) -> u64 {
        KeyDigest::from_bytes(self.digest).locator()
    }

    fn is_same_secret(&self, other: &Self) -> bool {
        self.key == other.key && self.version == other.version
    }
}

/// Records sorted by their locators.
struct Shard {
    /// A part of the locator of each record, in their order: what is searched. Filled up with the greatest to a window.
    marks: Vec<u32>,
    /// The last one is nobody's, so that every digest has a place.
    records: Vec<Record>,
}

impl Shard {
    fn new(mut records: Vec<Record>, nobody: &Record) -> Self {
        let mut marks = Vec::with_capacity(WINDOW.max(records.len() + 1));
        marks.extend(records.iter().map(|record| mark_of(record.locator())));
        marks.resize(marks.capacity(), u32::MAX);
        records.reserve_exact(1);
        records.push(nobody.clone());
        Self { marks, records }
    }

    fn of_somebody(&self) -> &[Record] {
        &self.records[..self.records.len() - 1]
    }

    /// Where the first record with this mark stands, or would: counted among those around the place that an even spread gives
    /// it. No step depends on what is there.
    fn place(&self, mark: u32) -> usize {
        let expected = (u64::from(mark) * self.of_somebody().len() as u64) >> 32;
        let expected = usize::try_from(expected).unwrap_or(0);
        let from = expected.saturating_sub(WINDOW / 2).min(self.marks.len() - WINDOW);
        let before: u32 = self.marks[from..from + WINDOW].iter().map(|other| u32::from(*other < mark)).sum();
        let before = before as usize;
        let is_beyond = (before == 0 && from > 0) || (before == WINDOW && from + WINDOW < self.marks.len());
        if is_beyond { self.marks.partition_point(|other| *other < mark) } else { from + before }
    }
}

/// A record that was found, kept as it was at that moment.
pub struct Found {
    shard: Guard<Arc<Shard>>,
    at: usize,
}

impl std::ops::Deref for Found {
    type Target = Record;
    fn deref(&self) -> &Record {
        &self.shard.records[self.at]
    }
}

/// What a look-up came to.
pub struct LookUp {
    /// The record at the digest's place: the one that has it, or whichever stands there.
    pub found: Found,
    /// Whether it has the digest.
    pub matches: bool,
    /// It may have it: this bcrypt hash has yet to say so.
    pub slow_hash: Option<Box<str>>,
}

/// The keyring.
pub struct Keyring {
    shards: Box<[ArcSwap<Shard>]>,
    /// The record of nobody: no digest is known to be its own, and it would let nobody in.
    nobody: Record,
    /// What writers need: one at a time.
    writer: Mutex<Profiles>,
}

/// What records share.
#[derive(Default)]
struct Profiles {
    /// Profiles in use, so that keys alike share one: by where a key belongs, and then by the text of its scopes.
    alike: HashMap<Belonging, HashMap<Arc<str>, Arc<Profile>>>,
    /// Of keys that have any: all secrets of a key share them, and so do the records that come after.
    limits: HashMap<KeyId, Limits>,
}

type Belonging = (GroupId, Option<WorkspaceId>, Environment);

impl Profiles {
    fn of(&mut self, row: &VerificationRow, tenant: &Arc<TenantCell>) -> Option<Arc<Profile>> {
        let (group, workspace, environment) = (row.group, row.workspace, row.environment);
        let alike = self.alike.entry((group, workspace, environment)).or_default();
        if let Some(profile) = alike.get(&row.scopes) {
            return Some(profile.clone());
        }
        let scopes = ScopeSet::parse(&row.scopes.split_ascii_whitespace().collect::<Vec<_>>()).ok()?;
        let scope_names = scopes.to_strings().into_iter().map(CompactString::from).collect();
        let profile = Profile { tenant: tenant.clone(), group, workspace, environment, scopes, scope_names };
        let profile = Arc::new(profile);
        alike.insert(row.scopes.clone(), profile.clone());
        Some(profile)
    }

    fn limits(&mut self, key: KeyId, limits: Option<&str>) -> Option<Limits> {
        let Some(text) = limits else {
            if !self.limits.is_empty() {
                self.limits.remove(&key);
            }
            return Some(Limits::default());
        };
        let limits = Limits::after(self.limits.get(&key), &RateLimits::parse(text)?);
        self.limits.insert(key, limits.clone());
        Some(limits)
    }

    fn record(&mut self, row: &VerificationRow, tenant: &Arc<TenantCell>) -> Option<Record> {
        let rare = row.rare.as_deref();
        let limits = self.limits(row.key, rare.and_then(|rare| rare.rate_limits.as_deref()))?;
        Some(Record {
            digest: row.digest,
            key: row.key,
            profile: self.of(row, tenant)?,
            extra: rare.map_or(Some(None), |rare| Extra::of(rare, limits))?.map(Arc::new),
            expires_at: rare.and_then(|rare| rare.expires_at).into(),
            secret_expires_at: rare.and_then(|rare| rare.secret_expires_at).into(),
            name: row.name.clone(),
            version: u32::try_from(row.version).ok()?,
            switch: row.switch,
            proven: rare.is_none_or(|rare| rare.slow_hash.is_none()),
        })
    }
}

/// A row that makes no record: the database holds something this program never wrote.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("key {0} cannot be read from the database")]
pub struct Unreadable(pub KeyId);

impl Default for Keyring {
    fn default() -> Self {
        let profile = Profile {
            tenant: Arc::new(ArcSwap::from_pointee(Tenant::nobody())),
            group: GroupId(Uuid::nil()),
            workspace: None,
            environment: Environment::Live,
            scopes: ScopeSet::default(),
            scope_names: Box::default(),
        };
        let nobody = Record {
            digest: [u8::MAX; 32],
            key: KeyId(Uuid::nil()),
            profile: Arc::new(profile),
            extra: None,
            expires_at: End::NEVER,
            secret_expires_at: End::NEVER,
            name: CompactString::const_new(""),
            version: 0,
            switch: Switch::Revoked,
            proven: true,
        };
        let empty = || ArcSwap::from_pointee(Shard::new(Vec::new(), &nobody));
        Self { shards: std::iter::repeat_with(empty).take(SHARDS).collect(), nobody, writer: Mutex::default() }
    }
}

impl Keyring {
    /// Finds the key of a digest.
    pub fn find(&self, digest: &KeyDigest) -> LookUp {
        let locator = digest.locator();
        let mark = mark_of(locator);
        let shard = self.shard(locator).load();
        // Behind all of them the last one stands in. Nobody's only does where there is no other: what is looked at there is
        // looked at less often, and farther from hand.
        let mut at = shard.place(mark).min(shard.records.len().saturating_sub(2));
        loop {
            let record = &shard.records[at];
            if !record.proven && record.locator() == locator {
                let slow_hash = record.extra.as_ref().and_then(|extra| extra.slow_hash.clone());
                return LookUp { found: Found { shard, at }, matches: false, slow_hash };
            }
            let matches = record.proven & KeyDigest::from_bytes(record.digest).matches(digest);
            // What matches has the mark, and nearly all that has it matches: that two keys share one is too rare to be told by the
            // clock. A black box, or the compiler makes a branch that goes one way for keys and another for what is none.
            let is_shared = black_box(matches) != (shard.marks[at] == mark);
            if !is_shared || at + 1 == shard.records.len() {
                return LookUp { found: Found { shard, at }, matches, slow_hash: None };
            }
            at += 1;
        }
    }

    /// Finds a secret of a key by where it stands: for who does not present the secret itself.
    pub(crate) fn find_secret(&self, locator: u64, key: KeyId, version: u32) -> Option<Found> {
        let shard = self.shard(locator).load();
        let first = shard.of_somebody().partition_point(|record| record.locator() < locator);
        let same_place = shard.of_somebody()[first..].iter().take_while(|record| record.locator() == locator);
        let at = first + same_place.take_while(|r| (r.key, r.version) != (key, version)).count();
        let is_it = shard.of_somebody().get(at).is_some_and(|r| (r.key, r.version) == (key, version));
        is_it.then_some(Found { shard, at })
    }

    /// Notes that a slow secret has been presented, so that its digest answers from now on.
    pub fn prove(&self, proven: &Found, digest: &KeyDigest) {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.change(digest.locator(), |shard| {
            for record in shard.iter_mut().filter(|r| r.is_same_secret(proven) && !r.proven) {
                record.digest = *digest.as_bytes();
                record.proven = true;
            }
        });
    }

    /// Puts the secrets of one key in the place of what was known of them.
    pub fn put(&self, rows: &[VerificationRow], tenant: &Arc<TenantCell>) -> Result<(), Unreadable> {
        let mut profiles = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        for row in rows {
            let mut record = profiles.record(row, tenant).ok_or(Unreadable(row.key))?;
            self.change(record.locator(), |shard| {
                if let Some(at) = shard.iter().position(|r| r.is_same_secret(&record)) {
                    let old = shard.remove(at);
                    // What was proven stays proven: the hash of a secret never changes.
                    if old.proven && !record.proven {
                        record.digest = old.digest;
                        record.proven = true;
                    }
                }
                let at = shard.partition_point(|r| r.locator() < record.locator());
                shard.insert(at, record);
            });
        }
        Ok(())
    }

    /// Forgets a secret of a key by its digest.
    pub fn remove(&self, key: KeyId, digest: &[u8]) {
        let mut profiles = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        profiles.limits.remove(&key);
        let mut bytes = [0; 32];
        let length = digest.len().min(32);
        bytes[..length].copy_from_slice(&digest[..length]);
        self.change(KeyDigest::from_bytes(bytes).locator(), |shard| shard.retain(|r| r.key != key));
    }

    /// Forgets a secret of a key where it was before it was moved.
    pub(crate) fn leave(&self, locator: u64, key: KeyId) {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.change(locator, |shard| shard.retain(|r| r.key != key || r.locator() != locator));
    }

    /// Starts anew with what a [`Loader`] has gathered.
    pub fn replace(&self, loader: Loader) {
        let mut profiles = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        for (mut records, shard) in loader.shards.into_iter().zip(&self.shards) {
            records.sort_unstable_by_key(Record::locator);
            shard.store(Arc::new(Shard::new(records, &self.nobody)));
        }
        *profiles = loader.profiles;
    }

    /// How many secrets are held.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.load().of_somebody().len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, locator: u64) -> &ArcSwap<Shard> {
        &self.shards[shard_of(locator)]
    }

    fn change(&self, locator: u64, edit: impl FnOnce(&mut Vec<Record>)) {
        let cell = self.shard(locator);
        let old = cell.load();
        // Room for one more, and for nobody.
        let mut records = Vec::with_capacity(old.records.len() + 1);
        records.extend_from_slice(old.of_somebody());
        edit(&mut records);
        cell.store(Arc::new(Shard::new(records, &self.nobody)));
    }
}

/// Digests are evenly spread, so their first 12 bits choose the shard...
fn shard_of(locator: u64) -> usize {
    usize::try_from(locator >> 52).unwrap_or(0)
}

/// ...and the 32 bits behind tell where in it a record must stand.
fn mark_of(locator: u64) -> u32 {
    u32::try_from((locator << 12) >> 32).unwrap_or(u32::MAX)
}

/// Gathers every key before the keyring starts, or starts anew.
pub struct Loader {
    shards: Vec<Vec<Record>>,
    profiles: Profiles,
}

impl Loader {
    /// One with room for about so many secrets, and as many more as there turn out to be: places that are outgrown are only
    /// slowly given back.
    pub fn for_about(secrets: usize) -> Self {
        let each = secrets / SHARDS;
        // Digests are spread evenly: four standard deviations above the mean hold nearly all shards.
        let room = if each == 0 { 0 } else { each + 4 * each.isqrt() + 1 };
        let shards = std::iter::repeat_with(|| Vec::with_capacity(room)).take(SHARDS).collect();
        Self { shards, profiles: Profiles::default() }
    }

    /// Counts on from what a keyring has counted.
    pub(crate) fn counting_on(&mut self, keyring: &Keyring) {
        let counted = keyring.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.profiles.limits.clone_from(&counted.limits);
    }

    /// Takes one secret.
    pub fn add(&mut self, row: &VerificationRow, tenant: &Arc<TenantCell>) -> Result<(), Unreadable> {
        let record = self.profiles.record(row, tenant).ok_or(Unreadable(row.key))?;
        self.shards[shard_of(record.locator())].push(record);
        Ok(())
    }
}
