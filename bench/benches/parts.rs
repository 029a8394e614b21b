//! The parts of a decision, one by one: digest, look-up, decide.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use jiff::Timestamp;
use keyrack_bench::{digest, pepper, row, tenant, text};
use keyrack_core::decide::{Caller, KeyFacts, Place, Request};
use keyrack_core::guard::{Audience, Demand};
use keyrack_core::status::{End, Switch};
use keyrack_core::{
    Guard, IpAllowlist, KeyDigest, KeyId, OrganizationId, OrganizationState, ScopeSet, TextHash, decide, format,
};
use keyrack_engine::keyring::{Keyring, Loader};
use uuid::Uuid;

fn parts(c: &mut Criterion) {
    let key = text(1);
    c.bench_function("format and checksum", |b| b.iter(|| format::readings(black_box(key.expose())).count()));
    let pepper = pepper();
    c.bench_function("digest", |b| b.iter(|| pepper.digest(&TextHash::of(black_box(key.expose())))));
}

fn deciding(c: &mut Criterion) {
    let organization = OrganizationId(Uuid::from_u128(1));
    let scopes = ScopeSet::parse(&["contacts:read", "contacts:write", "invoices:read"]).unwrap_or_default();
    let anywhere = IpAllowlist::default();
    let demand = "contacts:write".parse().ok().map(Demand::Scope);
    let guard = Guard { demand, ..Guard::new(Audience::Own(organization)) };
    let facts = KeyFacts {
        key: KeyId(Uuid::from_u128(3)),
        group: keyrack_core::GroupId(Uuid::from_u128(2)),
        organization,
        organization_state: OrganizationState::Active,
        in_access_group: false,
        workspace: None,
        secret_matches: true,
        switch: Switch::Active,
        expires_at: End::NEVER,
        secret_expires_at: End::NEVER,
        scopes: &scopes,
        narrowed_to: None,
        ip_allowlist: &anywhere,
    };
    let request = Request { method: "POST", address: None, place: Place::Nowhere };
    let now = Timestamp::UNIX_EPOCH;
    c.bench_function("decide", |b| b.iter(|| decide(black_box(&guard), Caller::Key(facts), &request, now)));
}

fn keyring(c: &mut Criterion) {
    let mut group = c.benchmark_group("keyring");
    let tenant = tenant();
    for size in [1_000_u64, 1_000_000] {
        let mut loader = Loader::for_about(0);
        for number in 0..size {
            let _ = loader.add(&row(number), &tenant);
        }
        let keyring = Keyring::default();
        keyring.replace(loader);
        // Far more than the caches hold, in no order.
        let wanted: Vec<KeyDigest> = (0..100_000).map(|i| KeyDigest::from_bytes(digest(i * 7919 % size))).collect();
        let mut at = 0;
        group.bench_function(BenchmarkId::new("find", size), |b| {
            b.iter(|| {
                at = (at + 1) % wanted.len();
                keyring.find(black_box(&wanted[at])).matches
            });
        });
        let changed = [row(1)];
        group.bench_function(BenchmarkId::new("put", size), |b| b.iter(|| keyring.put(&changed, &tenant).is_ok()));
    }
    group.finish();
}

criterion_group!(benches, parts, deciding, keyring);
criterion_main!(benches);
