//! What was counted of requests.

use std::collections::BTreeMap;

use keyrack_core::usage::{Label, Method, Network, Span, StatusClass};
use keyrack_core::{KeyId, NodeId, OrganizationId, Reason, Timestamp, from_micros, micros};
use keyrack_store::{
    ApiKey, SecretUse, UsageCounts, UsageKey, UsageKind, UsageOf, UsagePlace, UsageStep, UsageSubject, UsageTop,
};
use keyrack_testkit::{Database, both_databases};
use uuid::Uuid;

use crate::samples;
use crate::support::{World, at, commit};

fn label(endpoint: &str, denial: Option<Reason>) -> Label {
    Label { endpoint: endpoint.into(), method: Method::Get, status: StatusClass::of(200), denial }
}

fn counts(requests: u64) -> UsageCounts {
    UsageCounts { requests, units: 2 * requests, bytes_in: 3, bytes_out: 5, micros: 7 * requests }
}

/// The beginning of a minute, so many after one.
fn minute(number: i64) -> Timestamp {
    from_micros((1_799_999_940 + 60 * number) * 1_000_000)
}

fn hour(number: i64) -> Timestamp {
    from_micros((1_800_000_000 + 3600 * number) * 1_000_000)
}

fn key(organization: OrganizationId, id: Uuid) -> UsageSubject {
    UsageSubject { organization, kind: UsageKind::Key, id }
}

fn of(subject: UsageSubject, start: Timestamp) -> UsageKey {
    UsageKey { start, subject, version: 1, label: label("/contacts", None).id(), bucket: 12 }
}

fn step(counted: impl IntoIterator<Item = (UsageKey, UsageCounts)>) -> UsageStep {
    let labels = vec![label("/contacts", None), label("/contacts", Some(Reason::Expired))];
    UsageStep { labels, counts: counted.into_iter().collect(), uses: Vec::new() }
}

async fn writer(world: &World) -> UsagePlace {
    let place = UsagePlace { writer: NodeId(samples::id()), generation: 1, place: Vec::new() };
    world.write().await.commit_usage_writer(&place).await.unwrap();
    place
}

async fn add(world: &World, step: &UsageStep) {
    let from = writer(world).await;
    assert!(world.write().await.commit_usage(&from, &from.next_generation(), step).await.unwrap());
}

/// What was counted of a subject by span; the first and the last are told.
async fn requests(
    world: &World,
    subject: &UsageSubject,
    span: Span,
    from: Timestamp,
    to: Timestamp,
) -> BTreeMap<i64, u64> {
    let mut found = BTreeMap::new();
    for row in world.read().await.usage(subject, span, from, to).await.unwrap() {
        *found.entry(micros(span.start_of(row.start)) / 1_000_000).or_insert(0) += row.counts.requests;
    }
    found
}

both_databases! {
    async fn a_step_is_added_up_once_however_often_it_is_made(database: Database) {
        let world = World::new(database).await;
        let organization = samples::tenancy(&world.store, "acme").await.organization.id;
        let subject = key(organization, samples::id());
        let step = step([(of(subject, minute(1)), counts(5))]);
        let from = writer(&world).await;
        let half = UsagePlace { place: b"half".to_vec(), ..from.clone() };
        for _ in 0..3 {
            assert!(world.write().await.commit_usage(&from, &half, &step).await.unwrap(), "made, or known to be made");
        }
        assert!(world.write().await.commit_usage(&half, &from.next_generation(), &step).await.unwrap());
        assert!(!world.write().await.commit_usage(&from, &half, &step).await.unwrap(), "somebody is further");

        let rows = world.read().await.usage(&subject, Span::Minute, minute(0), minute(9)).await.unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].start, rows[0].version, rows[0].bucket), (minute(1), 1, 12));
        assert_eq!(rows[0].label, label("/contacts", None));
        assert_eq!(rows[0].counts, UsageCounts { bytes_in: 6, bytes_out: 10, ..counts(10) });

        let end = from.next_generation();
        world.write().await.commit_usage_end(&from).await.unwrap();
        assert_eq!(world.read().await.usage_places().await.unwrap(), std::slice::from_ref(&end), "not where it is not");
        world.write().await.commit_usage_end(&end).await.unwrap();
        assert_eq!(world.read().await.usage_places().await.unwrap(), []);
        assert!(!world.write().await.commit_usage(&end, &end.next_generation(), &step).await.unwrap(), "unknown");
    }

    async fn reports_are_the_same_at_every_step_of_adding_up(database: Database) {
        let world = World::new(database).await;
        let organization = samples::tenancy(&world.store, "acme").await.organization.id;
        // More subjects than are added up at once, in the last minute of an hour and in the first three of the next.
        let keys: Vec<_> = (0..2300).map(|_| key(organization, samples::id())).collect();
        let whole = UsageSubject::organization(organization);
        let minutes = [(0, 1), (1, 10), (2, 100), (3, 1000)];
        for (number, each) in minutes {
            let mut counted: BTreeMap<_, _> = keys.iter().map(|key| (of(*key, minute(number)), counts(each))).collect();
            counted.insert(of(whole, minute(number)), counts(each));
            add(&world, &step(counted)).await;
        }
        let asked = [keys[0], keys[1000], keys[1001], keys[2299], whole];
        let all = |hours: &[(i64, u64)]| -> BTreeMap<i64, u64> {
            hours.iter().map(|&(number, requests)| (micros(hour(number)) / 1_000_000, requests)).collect()
        };
        let check = async |when: &str| {
            for subject in &asked {
                let hours = requests(&world, subject, Span::Hour, hour(-1), hour(1)).await;
                assert_eq!(hours, all(&[(-1, 1), (0, 1110)]), "{when}");
                let by_day = requests(&world, subject, Span::Day, hour(-8), hour(16)).await;
                assert_eq!(by_day.values().copied().collect::<Vec<_>>(), [1111], "{when}");
            }
            let of = UsageOf { organization, group: None, workspace: None };
            let top = world.read().await.usage_top(&of, UsageKind::Key, Span::Day, (hour(-8), hour(16)), 3).await;
            let first = |key: &UsageSubject| UsageTop { id: key.id, granted: 1111, denied: 0 };
            assert_eq!(top.unwrap(), [first(&keys[0]), first(&keys[1]), first(&keys[2])], "{when}");
        };
        check("not added up at all").await;
        let mut steps = 0;
        while world.write().await.commit_usage_rolled(Span::Minute, minute(3)).await.unwrap() {
            steps += 1;
            check(&format!("after {steps} steps")).await;
        }
        assert_eq!(steps, 9, "three minutes of three steps; the fourth is not over");
        check("when there is nothing left to add up").await;
        // Only of an hour whose minutes have all been added to it.
        while world.write().await.commit_usage_rolled(Span::Hour, hour(0)).await.unwrap() {
            steps += 1;
            check(&format!("after {steps} steps")).await;
        }
        assert_eq!(steps, 12);

        // What comes too late for its hour, and for its day, is added there.
        let late = |number, each| {
            step(asked.iter().map(|key| (of(*key, minute(number)), counts(each))))
        };
        add(&world, &late(0, 10_000)).await;
        add(&world, &late(1, 20_000)).await;
        add(&world, &late(3, 30_000)).await;
        for subject in &asked {
            let hours = requests(&world, subject, Span::Hour, hour(-1), hour(1)).await;
            assert_eq!(hours, all(&[(-1, 10_001), (0, 51_110)]));
            let by_day = requests(&world, subject, Span::Day, hour(-8), hour(16)).await;
            assert_eq!(by_day.values().copied().collect::<Vec<_>>(), [61_111]);
        }
    }

    async fn what_is_too_old_is_forgotten(database: Database) {
        let world = World::new(database).await;
        let organization = samples::tenancy(&world.store, "acme").await.organization.id;
        let keys: Vec<_> = (0..1500).map(|_| key(organization, samples::id())).collect();
        for number in 0..3 {
            add(&world, &step(keys.iter().map(|key| (of(*key, minute(number)), counts(1))))).await;
        }
        while world.write().await.commit_usage_rolled(Span::Minute, minute(5)).await.unwrap() {}
        let mut steps = 0;
        while world.write().await.commit_usage_expired(Span::Minute, minute(2)).await.unwrap() {
            steps += 1;
        }
        assert_eq!(steps, 4, "of two minutes, each in two steps");
        for key in [keys[0], keys[1499]] {
            assert_eq!(requests(&world, &key, Span::Minute, minute(0), minute(9)).await.len(), 1);
            let hours = requests(&world, &key, Span::Hour, hour(-1), hour(1)).await;
            assert_eq!(hours.into_values().collect::<Vec<_>>(), [1, 2], "hours are kept for longer");
        }
    }

    async fn networks_are_not_added_to_days(database: Database) {
        let world = World::new(database).await;
        let organization = samples::tenancy(&world.store, "acme").await.organization.id;
        let network = Network::of(Some([203, 0, 113, 7].into()));
        let subject = UsageSubject { organization, kind: UsageKind::Network, id: network.bits() };
        add(&world, &step([(of(subject, minute(1)), counts(4))])).await;
        while world.write().await.commit_usage_rolled(Span::Minute, hour(1)).await.unwrap() {}
        while world.write().await.commit_usage_rolled(Span::Hour, hour(1)).await.unwrap() {}
        assert_eq!(requests(&world, &subject, Span::Hour, hour(0), hour(1)).await.len(), 1);
        assert_eq!(requests(&world, &subject, Span::Day, hour(-8), hour(16)).await.len(), 0);
    }

    async fn a_journal_is_read_in_order_and_handed_on(database: Database) {
        let world = World::new(database).await;
        let place = writer(&world).await;
        let batch = |generation: i64, number: i64| format!("{generation} {number}").into_bytes();
        let batches: Vec<_> = (0..20).map(|number| batch(1, number)).collect();
        for _ in 0..2 {
            let written = world.write().await.commit_usage_journal(place.writer, 1, 0, &batches).await;
            assert!(written.unwrap(), "whoever does not know may write it again");
        }
        world.write().await.commit_usage_journal(place.writer, 2, 0, &[batch(2, 0)]).await.unwrap();
        let read = async |writer: NodeId| {
            let mut all = Vec::new();
            let mut at = (0, 0);
            loop {
                let page = world.read().await.usage_journal(writer, at.0, at.1).await.unwrap();
                let Some(last) = page.last() else { return all };
                at = (last.generation, last.number);
                all.extend(page.into_iter().map(|one| one.batch));
            }
        };
        let expected: Vec<_> = batches.iter().cloned().chain([batch(2, 0)]).collect();
        assert_eq!(read(place.writer).await, expected);

        let heir = UsagePlace { writer: NodeId(samples::id()), ..place.clone() };
        assert!(world.write().await.commit_usage_taken_over(place.writer, heir.writer).await.unwrap());
        assert!(!world.write().await.commit_usage_taken_over(place.writer, NodeId(samples::id())).await.unwrap());
        assert!(!world.write().await.commit_usage_journal(place.writer, 3, 0, &batches).await.unwrap());
        assert_eq!(read(place.writer).await, Vec::<Vec<u8>>::new());
        assert_eq!(read(heir.writer).await, expected);

        // With a generation its batches go.
        world.write().await.commit_usage(&heir, &heir.next_generation(), &step([])).await.unwrap();
        assert_eq!(read(heir.writer).await, [batch(2, 0)]);
    }

    async fn the_last_use_of_a_secret_is_kept_with_where_from(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let one = samples::key(&t.group, "billing");
        let mut writer = world.write().await;
        writer.insert_key(&one, &samples::secret(1)).await.unwrap();
        commit(writer).await;
        let used = |seconds, address: [u8; 4], agent: Option<&str>| SecretUse {
            key: one.id,
            version: 1,
            at: at(seconds),
            address: Some(address.into()),
            user_agent: agent.map(str::to_owned),
            old_from: Vec::new(),
        };
        for uses in [used(5, [192, 0, 2, 1], Some("cron")), used(9, [192, 0, 2, 9], None), used(7, [192, 0, 2, 7], Some("x"))] {
            add(&world, &UsageStep { uses: vec![uses], ..UsageStep::default() }).await;
        }
        let secret = world.read().await.list_key_secrets(one.id).await.unwrap().remove(0);
        let last = (secret.last_used_at, secret.last_address.as_deref(), secret.last_user_agent.as_deref());
        assert_eq!(last, (Some(at(9)), Some("192.0.2.9"), None));
    }

    async fn the_most_seen_and_the_unused_are_found(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let other = samples::tenancy(&world.store, "other").await;
        let keys: Vec<ApiKey> = (0..4).map(|n| samples::key(&t.group, &format!("key {n}"))).collect();
        let mut writer = world.write().await;
        for key in &keys {
            writer.insert_key(key, &samples::secret(1)).await.unwrap();
        }
        commit(writer).await;
        let organization = t.organization.id;
        let denied = |key: UsageKey| UsageKey { label: label("/contacts", Some(Reason::Expired)).id(), ..key };
        let gone = KeyId(samples::id());
        let subject = |id: KeyId| of(key(organization, id.0), minute(1));
        add(&world, &step([
            (subject(keys[0].id), counts(5)),
            (subject(keys[1].id), counts(3)),
            (denied(subject(keys[1].id)), counts(4)),
            (subject(gone), counts(6)),
            (of(key(other.organization.id, samples::id()), minute(1)), counts(99)),
        ])).await;
        samples::note_uses(&world.store, &[(keys[0].id, 1, at(50)), (keys[1].id, 1, at(10))]).await;

        let mut reader = world.read().await;
        let all = UsageOf { organization, group: None, workspace: None };
        let grouped = UsageOf { group: Some(t.group.id), ..all };
        let top = |id: KeyId, granted, denied| UsageTop { id: id.0, granted, denied };
        let time = (minute(0), minute(9));
        let found = reader.usage_top(&all, UsageKind::Key, Span::Minute, time, 2).await.unwrap();
        assert_eq!(found, [top(keys[1].id, 3, 4), top(gone, 6, 0)]);
        let found = reader.usage_top(&grouped, UsageKind::Key, Span::Minute, time, 9).await.unwrap();
        assert_eq!(found, [top(keys[1].id, 3, 4), top(keys[0].id, 5, 0)]);
        for (of, since, unused) in [(all, 20, 3), (grouped, 20, 3), (all, 60, 4), (all, 5, 2)] {
            assert_eq!(reader.count_unused_keys(&of, at(100), at(since)).await.unwrap(), unused);
        }
        let elsewhere = UsageOf { organization: other.organization.id, ..all };
        assert_eq!(reader.count_unused_keys(&elsewhere, at(100), at(60)).await.unwrap(), 0);
    }
}
