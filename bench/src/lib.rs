//! What the benches share: a tenant, and any number of keys in it whose texts follow from their numbers.

pub mod instance;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use keyrack_core::format::SECRET_BYTES;
use keyrack_core::status::Switch;
use keyrack_core::{
    Environment, GroupId, KeyFormat, KeyId, OrganizationId, OrganizationState, Pepper, PlainKey, RateLimits, TextHash,
    Tier,
};
use keyrack_engine::directory::{Tenant, TenantCell};
use keyrack_store::{Organization, VerificationRow};
use uuid::Uuid;

/// Random numbers that repeat: `SplitMix64`, spread well enough and quick enough for millions.
pub struct Numbers(u64);

impl Numbers {
    /// The numbers that follow from a seed.
    pub fn from_seed(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// The next one.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next one, below a bound.
    pub fn below(&mut self, bound: usize) -> usize {
        let product = u128::from(self.draw()) * bound as u128;
        usize::try_from(product >> 64).unwrap_or(0)
    }
}

fn random(number: u64) -> [u8; SECRET_BYTES] {
    let mut random = [0; SECRET_BYTES];
    let mut numbers = Numbers::from_seed(number);
    for chunk in random.chunks_exact_mut(8) {
        chunk.copy_from_slice(&numbers.draw().to_be_bytes());
    }
    random
}

/// The text of the key with this number. Any two differ, and none is guessed more easily than another by the index.
pub fn text(number: u64) -> PlainKey {
    KeyFormat::default().write(Environment::Live, &random(number))
}

/// A text that begins like the key with this number, as far as lists show it, and is none, though well formed.
pub fn beside(number: u64) -> PlainKey {
    let mut random = random(number);
    random[SECRET_BYTES / 2..].iter_mut().for_each(|byte| *byte = !*byte);
    KeyFormat::default().write(Environment::Live, &random)
}

/// The pepper of the benches.
pub fn pepper() -> Pepper {
    Pepper::new(1, &[7; 32])
}

/// The digest of the key with this number.
pub fn digest(number: u64) -> [u8; 32] {
    *pepper().digest(&TextHash::of(text(number).expose())).as_bytes()
}

/// An organization without anything in it.
pub fn tenant() -> Arc<TenantCell> {
    let now = Timestamp::UNIX_EPOCH;
    let organization = Organization {
        id: OrganizationId(Uuid::from_u128(1)),
        slug: "bench".to_owned(),
        name: "Bench".to_owned(),
        tier: Tier::Enterprise,
        state: OrganizationState::Active,
        rate_limits: RateLimits::default(),
        created_at: now,
        updated_at: now,
    };
    let tenant = Tenant::new(organization, HashMap::new(), HashMap::new(), BTreeSet::new());
    Arc::new(ArcSwap::from_pointee(tenant))
}

/// The verification record of the key with this number, as the database gives it.
pub fn row(number: u64) -> VerificationRow {
    VerificationRow {
        digest: digest(number),
        version: 1,
        key: KeyId(Uuid::from_u128(u128::from(number))),
        name: format!("key {number}").into(),
        organization: OrganizationId(Uuid::from_u128(1)),
        group: GroupId(Uuid::from_u128(2)),
        workspace: None,
        environment: Environment::Live,
        switch: Switch::Active,
        scopes: "contacts:read contacts:write".into(),
        rare: None,
    }
}
