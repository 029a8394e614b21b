//! The verification record of every key, in memory.
//!
//! Records are spread over shards by their digest; a shard is an immutable array sorted by digest that a change replaces.
//! Readers therefore wait for nothing, and a change copies some hundred records. Nothing here has a time to live: what the
//! log of changes says is applied, and nothing else changes a record.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use compact_str::CompactString;
use jiff::Timestamp;
use keyrack_core::format::Environment;
use keyrack_core::status::{KeyState, Switch};
use keyrack_core::{GroupId, IpAllowlist, KeyDigest, KeyId, ScopeSet, WorkspaceId, from_micros, micros};
use keyrack_store::VerificationRow;

use crate::directory::TenantCell;

/// With a million keys a shard has 244 records, about 27 KB to copy on a change.
const SHARDS: usize = 4096;
const NEVER: i64 = i64::MAX;

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
}

/// What few keys have.
#[derive(Default)]
pub struct Extra {
    /// Where the key works from.
    pub ip_allowlist: IpAllowlist,
    /// What its owner wrote down with it.
    pub metadata: Option<serde_json::Value>,
    /// Its bcrypt hash.
    slow_hash: Option<Box<str>>,
}

/// One secret of one key. Times are microseconds, to keep the record small.
#[derive(Clone)]
pub struct Record {
    digest: [u8; 32],
    /// The key.
    pub key: KeyId,
    /// What it shares with others.
    pub profile: Arc<Profile>,
    extra: Option<Arc<Extra>>,
    expires_at: i64,
    secret_expires_at: i64,
    /// Its name.
    pub name: CompactString,
    /// Which secret of the key.
    pub version: u32,
    switch: Switch,
    /// False for a slow secret that nobody has presented since the start: its digest is not known in full.
    proven: bool,
}

impl Record {
    /// Switch and expiry of the key.
    pub fn state(&self) -> KeyState {
        KeyState { switch: self.switch, expires_at: moment(self.expires_at) }
    }

    /// Until when the secret is taken.
    pub fn secret_expires_at(&self) -> Option<Timestamp> {
        moment(self.secret_expires_at)
    }

    /// Where the key works from.
    pub fn ip_allowlist(&self) -> &IpAllowlist {
        static ANYWHERE: std::sync::LazyLock<IpAllowlist> = std::sync::LazyLock::new(IpAllowlist::default);
        self.extra.as_ref().map_or(&ANYWHERE, |extra| &extra.ip_allowlist)
    }

    /// What its owner wrote down with it.
    pub fn metadata(&self) -> Option<&serde_json::Value> {
        self.extra.as_ref()?.metadata.as_ref()
    }

    fn locator(&self) -> u64 {
        KeyDigest::from_bytes(self.digest).locator()
    }

    fn is_same_secret(&self, other: &Self) -> bool {
        self.key == other.key && self.version == other.version
    }
}

fn moment(value: i64) -> Option<Timestamp> {
    (value != NEVER).then(|| from_micros(value))
}

type Shard = Vec<Record>;

/// A record that was found, kept as it was at that moment.
pub struct Found {
    shard: Guard<Arc<Shard>>,
    at: usize,
}

impl std::ops::Deref for Found {
    type Target = Record;
    fn deref(&self) -> &Record {
        &self.shard[self.at]
    }
}

/// What a look-up came to.
pub enum LookUp {
    /// No key has this digest.
    Unknown,
    /// This one has.
    Found(Found),
    /// This one may have: its bcrypt hash has yet to say so.
    Slow {
        /// The record.
        found: Found,
        /// The hash to compare with.
        hash: Box<str>,
    },
}

/// The keyring.
pub struct Keyring {
    shards: Box<[ArcSwap<Shard>]>,
    /// What writers need: one at a time.
    writer: Mutex<Profiles>,
}

/// Profiles in use, so that keys alike share one.
#[derive(Default)]
struct Profiles(HashMap<(GroupId, Option<WorkspaceId>, Environment, String), Arc<Profile>>);

impl Profiles {
    fn of(&mut self, row: &VerificationRow, tenant: &Arc<TenantCell>) -> Option<Arc<Profile>> {
        let key = (row.group, row.workspace, row.environment, row.scopes.clone());
        if let Some(profile) = self.0.get(&key) {
            return Some(profile.clone());
        }
        let scopes = ScopeSet::parse(&row.scopes.split_ascii_whitespace().collect::<Vec<_>>()).ok()?;
        let (group, workspace, environment) = (row.group, row.workspace, row.environment);
        let profile = Arc::new(Profile { tenant: tenant.clone(), group, workspace, environment, scopes });
        self.0.insert(key, profile.clone());
        Some(profile)
    }

    fn record(&mut self, row: &VerificationRow, tenant: &Arc<TenantCell>) -> Option<Record> {
        let mut digest = [0; 32];
        digest.get_mut(..row.digest.len())?.copy_from_slice(&row.digest);
        let ip_allowlist = keyrack_store::parse_allowlist(row.ip_allowlist.as_deref()).ok()?;
        let metadata = row.metadata.as_deref().map(serde_json::from_str).transpose().ok()?;
        let slow_hash = row.slow_hash.as_deref().map(Into::into);
        let plain = ip_allowlist.is_unrestricted() && metadata.is_none() && slow_hash.is_none();
        Some(Record {
            digest,
            key: row.key,
            profile: self.of(row, tenant)?,
            extra: (!plain).then(|| Arc::new(Extra { ip_allowlist, metadata, slow_hash })),
            expires_at: row.expires_at.map_or(NEVER, micros),
            secret_expires_at: row.secret_expires_at.map_or(NEVER, micros),
            name: CompactString::new(&row.name),
            version: u32::try_from(row.version).ok()?,
            switch: row.switch,
            proven: row.slow_hash.is_none(),
        })
    }
}

/// A row that makes no record: the database holds something this program never wrote.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("key {0} cannot be read from the database")]
pub struct Unreadable(pub KeyId);

impl Default for Keyring {
    fn default() -> Self {
        let shards = std::iter::repeat_with(ArcSwap::<Shard>::default).take(SHARDS).collect();
        Self { shards, writer: Mutex::default() }
    }
}

impl Keyring {
    /// Finds the key of a digest.
    pub fn find(&self, digest: &KeyDigest) -> LookUp {
        let shard = self.shard(digest.locator()).load();
        let locator = digest.locator();
        let from = position(&shard, locator);
        for at in from..shard.len() {
            let record = &shard[at];
            if record.locator() != locator {
                break;
            }
            if record.proven && KeyDigest::from_bytes(record.digest).matches(digest) {
                return LookUp::Found(Found { shard, at });
            }
            if !record.proven {
                let hash = record.extra.as_ref().and_then(|extra| extra.slow_hash.clone());
                return hash.map_or(LookUp::Unknown, |hash| LookUp::Slow { found: Found { shard, at }, hash });
            }
        }
        LookUp::Unknown
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
                let at = position(shard, record.locator());
                shard.insert(at, record);
            });
        }
        Ok(())
    }

    /// Forgets a secret of a key by its digest.
    pub fn remove(&self, key: KeyId, digest: &[u8]) {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = [0; 32];
        let length = digest.len().min(32);
        bytes[..length].copy_from_slice(&digest[..length]);
        self.change(KeyDigest::from_bytes(bytes).locator(), |shard| shard.retain(|r| r.key != key));
    }

    /// Starts anew with what a [`Loader`] has gathered.
    pub fn replace(&self, loader: Loader) {
        let mut profiles = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        for (mut records, shard) in loader.shards.into_iter().zip(&self.shards) {
            records.sort_unstable_by_key(Record::locator);
            records.shrink_to_fit();
            shard.store(Arc::new(records));
        }
        *profiles = loader.profiles;
    }

    /// How many secrets are held.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.load().len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, locator: u64) -> &ArcSwap<Shard> {
        &self.shards[shard_of(locator)]
    }

    fn change(&self, locator: u64, edit: impl FnOnce(&mut Shard)) {
        let cell = self.shard(locator);
        let old = cell.load();
        let mut shard = Vec::with_capacity(old.len() + 1);
        shard.extend_from_slice(&old);
        edit(&mut shard);
        cell.store(Arc::new(shard));
    }
}

/// Digests are evenly spread, so their first 12 bits choose the shard...
fn shard_of(locator: u64) -> usize {
    usize::try_from(locator >> 52).unwrap_or(0)
}

/// ...and the bits behind tell about where in it a record must stand: the search starts there and gallops.
fn position(shard: &[Record], locator: u64) -> usize {
    let count = shard.len() as u128;
    let guess = (u128::from(locator << 12) * count) >> 64;
    let guess = usize::try_from(guess).unwrap_or(0).min(shard.len());
    let is_before = |record: &Record| record.locator() < locator;
    let mut step = 4;
    if guess < shard.len() && is_before(&shard[guess]) {
        let mut from = guess;
        loop {
            let to = (from + step).min(shard.len());
            if to == shard.len() || !is_before(&shard[to]) {
                return from + shard[from..to].partition_point(is_before);
            }
            from = to;
            step *= 2;
        }
    }
    let mut to = guess;
    loop {
        let from = to.saturating_sub(step);
        if from == 0 || is_before(&shard[from]) {
            return from + shard[from..to].partition_point(is_before);
        }
        to = from;
        step *= 2;
    }
}

/// Gathers every key before the keyring starts, or starts anew.
pub struct Loader {
    shards: Vec<Shard>,
    profiles: Profiles,
}

impl Default for Loader {
    fn default() -> Self {
        Self { shards: std::iter::repeat_with(Vec::new).take(SHARDS).collect(), profiles: Profiles::default() }
    }
}

impl Loader {
    /// Takes one secret.
    pub fn add(&mut self, row: &VerificationRow, tenant: &Arc<TenantCell>) -> Result<(), Unreadable> {
        let record = self.profiles.record(row, tenant).ok_or(Unreadable(row.key))?;
        self.shards[shard_of(record.locator())].push(record);
        Ok(())
    }
}
