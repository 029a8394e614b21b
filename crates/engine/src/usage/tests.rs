//! Counts on their way into a database, and what is left of them when a process ends at any moment.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use keyrack_core::token::MasterKey;
use keyrack_core::usage::{Label, Method, Network, Span, UNTIMED};
use keyrack_core::{GroupId, KeyId, OrganizationId, Pepper, Reason};
use keyrack_store::{Store, UsageCounts, UsageKind, UsageOf, UsageSubject};
use keyrack_testkit::{Database, both_databases};
use uuid::Uuid;

use super::keep::FEW;
use super::{INSTANCE, Seen};
use crate::clock::{Clock as _, OsRandom, SystemClock};
use crate::engine::{Engine, Parts, Role};

const ACME: OrganizationId = OrganizationId(Uuid::from_u128(0xacce));
const GROUP: GroupId = GroupId(Uuid::from_u128(0x9e09));
/// More keys than are written down without a journal.
const MANY: usize = FEW + 1000;

async fn start(url: &str) -> Arc<Engine> {
    let (clock, random) = (Arc::new(SystemClock), Arc::new(OsRandom::default()));
    let store = Store::open(url, SystemClock.now()).await.unwrap();
    let (peppers, master_keys) = (vec![Pepper::new(1, &[7; 32])], vec![MasterKey::new(1, &[8; 32])]);
    Engine::start(
        Parts { store, clock, random, peppers, master_keys, keyfile: None, master_key_days: None },
        Role::Guest { keys: false },
    )
    .await
    .unwrap()
}

async fn fresh(database: Database) -> (tempfile::TempDir, String, Arc<Engine>) {
    let directory = tempfile::tempdir().unwrap();
    let url = database.fresh(Path::new(directory.path())).unwrap();
    let engine = start(&url).await;
    (directory, url, engine)
}

fn key(number: usize) -> KeyId {
    KeyId(Uuid::from_u128(0x1000_0000 + number as u128))
}

fn use_of(number: usize) -> Seen {
    Seen {
        at: SystemClock.now(),
        key: key(number),
        matches: true,
        version: 1,
        group: GROUP,
        workspace: None,
        organization: ACME,
        door: INSTANCE,
        address: Some([192, 0, 2, 1].into()),
        user_agent: CompactString::const_new("test"),
        label: Label { endpoint: "/door".into(), method: Method::Get, ..Label::default() },
        bucket: UNTIMED,
        counts: UsageCounts { requests: 1, units: 2, ..UsageCounts::default() },
        is_use: true,
        is_old: false,
    }
}

fn note(engine: &Engine, numbers: impl IntoIterator<Item = usize>) {
    numbers.into_iter().for_each(|number| engine.usage.note(use_of(number)));
}

async fn counted(engine: &Engine, subject: UsageSubject) -> UsageCounts {
    let now = SystemClock.now();
    let (from, to) = (Span::Day.start_of(now), Span::Day.next(Span::Day.next(Span::Day.start_of(now))));
    let mut counts = UsageCounts::default();
    let rows = engine.store.read().await.unwrap().usage(&subject, Span::Day, from, to).await.unwrap();
    for row in rows {
        counts += row.counts;
    }
    counts
}

/// Requests of the organization as a whole, and of all its keys together.
async fn requests(engine: &Engine) -> (u64, u64) {
    let now = SystemClock.now();
    let time = (Span::Day.start_of(now), Span::Day.next(Span::Day.next(Span::Day.start_of(now))));
    let of = UsageOf { organization: ACME, group: None, workspace: None };
    let mut reader = engine.store.read().await.unwrap();
    let keys = reader.usage_top(&of, UsageKind::Key, Span::Day, time, 1_000_000).await.unwrap();
    let whole = counted(engine, UsageSubject::organization(ACME)).await;
    (whole.requests, keys.iter().map(|key| key.granted + key.denied).sum())
}

async fn batches(engine: &Engine) -> usize {
    let mut reader = engine.store.read().await.unwrap();
    let mut batches = 0;
    for place in reader.usage_places().await.unwrap() {
        batches += reader.usage_journal(place.writer, 0, 0).await.unwrap().len();
    }
    batches
}

both_databases! {
    async fn little_is_written_straight_down(database: Database) {
        let (_directory, _, engine) = fresh(database).await;
        for round in 1..=3 {
            note(&engine, (0..500).chain(0..10));
            assert!(engine.usage.has_use_of(key(7), 1), "in memory");
            engine.flush_usage(None).await;
            assert_eq!(requests(&engine).await, (510 * round, 510 * round));
            assert_eq!(batches(&engine).await, 0);
            assert!(!engine.usage.has_use_of(key(7), 1), "where everybody sees it");
        }
        let of_seven = UsageSubject { organization: ACME, kind: UsageKind::Key, id: key(7).0 };
        let twice = UsageCounts { requests: 6, units: 12, ..UsageCounts::default() };
        assert_eq!(counted(&engine, of_seven).await, twice);
        let of_group = UsageSubject { organization: ACME, kind: UsageKind::Group, id: GROUP.0 };
        assert_eq!(counted(&engine, of_group).await.requests, 1530);
        engine.end_usage().await;
        assert_eq!(engine.store.read().await.unwrap().usage_places().await.unwrap(), []);
    }

    async fn much_goes_into_the_journal_until_the_rush_is_over(database: Database) {
        let (_directory, _, engine) = fresh(database).await;
        for round in 1..=3 {
            note(&engine, 0..MANY);
            engine.flush_usage(Some(Duration::MAX)).await;
            assert_eq!(requests(&engine).await, (0, 0));
            assert!(batches(&engine).await >= 2 * round);
            assert!(engine.usage.has_use_of(key(7), 1));
        }
        note(&engine, 0..10);
        engine.flush_usage(Some(Duration::MAX)).await;
        let all = 3 * MANY as u64 + 10;
        assert_eq!(requests(&engine).await, (all, all));
        assert_eq!(batches(&engine).await, 0);
        // And from there as before.
        note(&engine, 0..10);
        engine.flush_usage(None).await;
        assert_eq!(requests(&engine).await, (all + 10, all + 10));
    }

    async fn what_a_process_leaves_in_the_journal_is_added_up_once_by_another(database: Database) {
        let (_directory, url, engine) = fresh(database).await;
        for _ in 0..2 {
            note(&engine, 0..MANY);
            engine.flush_usage(Some(Duration::MAX)).await;
        }
        // The first steps of adding it up are made, and what comes meanwhile is in the journal.
        note(&engine, 0..10);
        engine.flush_usage(Some(Duration::ZERO)).await;
        note(&engine, 0..MANY);
        engine.flush_usage(Some(Duration::ZERO)).await;
        let (half, of_keys) = requests(&engine).await;
        assert!(half > 0 && half < 2 * MANY as u64 && half == of_keys, "{half} {of_keys}");

        let heirs = [start(&url).await, start(&url).await];
        assert!(heirs[0].has_journaled_use(key(MANY - 1), 1).await.unwrap(), "in the journal of another");
        for heir in &heirs {
            let mut seen = Vec::new();
            for _ in 0..2 {
                heir.adopt_usage(&mut seen).await.unwrap();
            }
            let all = 3 * MANY as u64 + 10;
            assert_eq!(requests(heir).await, (all, all));
            assert_eq!(batches(heir).await, 0);
            assert!(!heir.has_journaled_use(key(MANY - 1), 1).await.unwrap());
        }
        // It was not gone but slow. What it had is another's now; what it counts from here on is its own.
        engine.flush_usage(None).await;
        note(&engine, 0..10);
        engine.flush_usage(None).await;
        let all = 3 * MANY as u64 + 20;
        assert_eq!(requests(&engine).await, (all, all));
    }

    async fn an_end_in_good_order_leaves_nothing(database: Database) {
        let (_directory, _, engine) = fresh(database).await;
        note(&engine, 0..MANY);
        engine.flush_usage(Some(Duration::MAX)).await;
        note(&engine, 0..MANY);
        engine.end_usage().await;
        let all = 2 * MANY as u64;
        assert_eq!(requests(&engine).await, (all, all));
        assert_eq!(engine.store.read().await.unwrap().usage_places().await.unwrap(), []);
    }

    async fn each_network_is_counted_for_itself(database: Database) {
        let (_directory, _, engine) = fresh(database).await;
        for (last, requests) in [(1, 3), (2, 1), (1, 2), (3, 5)] {
            let address = Some([198, 51, last, 1].into());
            let label = Label { denial: Some(Reason::NotFound), ..Label::default() };
            for _ in 0..requests {
                let label = label.clone();
                engine.usage.note(Seen { matches: false, is_use: false, door: ACME, address, label, ..use_of(0) });
            }
        }
        engine.flush_usage(None).await;
        let now = SystemClock.now();
        let time = (Span::Day.start_of(now), Span::Day.next(Span::Day.next(Span::Day.start_of(now))));
        let of = UsageOf { organization: ACME, group: None, workspace: None };
        let mut reader = engine.store.read().await.unwrap();
        let networks = reader.usage_top(&of, UsageKind::Network, Span::Hour, time, 9).await.unwrap();
        let told: Vec<_> = networks.iter().map(|top| (Network::from_bits(top.id).to_string(), top.denied)).collect();
        let expected = [("198.51.1.0/24", 5), ("198.51.3.0/24", 5), ("198.51.2.0/24", 1)];
        assert_eq!(told, expected.map(|(network, requests)| (network.to_owned(), requests)));
    }

    async fn any_number_of_networks_and_endpoints_takes_bounded_room(database: Database) {
        let (_directory, _, engine) = fresh(database).await;
        for number in 0..200_000_u32 {
            let address = Some(std::net::IpAddr::V4((number << 8).into()));
            let label = Label { denial: Some(Reason::NotFound), ..Label::default() };
            let seen = Seen { matches: false, is_use: false, door: ACME, address, label, ..use_of(0) };
            engine.usage.note(seen);
            if number % 100_000 == 0 {
                engine.flush_usage(None).await;
            }
        }
        for number in 0..1000 {
            let label = Label { endpoint: format!("/at/{number}").into(), ..Label::default() };
            engine.usage.note(Seen { label, ..use_of(1) });
        }
        engine.flush_usage(None).await;
        let now = SystemClock.now();
        let time = (Span::Day.start_of(now), Span::Day.next(Span::Day.next(Span::Day.start_of(now))));
        let of = UsageOf { organization: ACME, group: None, workspace: None };
        let mut reader = engine.store.read().await.unwrap();
        let networks = reader.usage_top(&of, UsageKind::Network, Span::Hour, time, 10_000).await.unwrap();
        assert!(networks.len() <= 2 * 1025, "a thousand an hour, and this may be the end of one: {}", networks.len());
        assert_eq!(networks[0].id, Network::OTHER.bits());
        assert_eq!(networks.iter().map(|network| network.denied).sum::<u64>(), 200_000);
        let subject = UsageSubject { organization: ACME, kind: UsageKind::Key, id: key(1).0 };
        let rows = reader.usage(&subject, Span::Day, time.0, time.1).await.unwrap();
        assert!(rows.len() <= 2 * 65, "{}", rows.len());
        let other = rows.iter().find(|row| row.label.endpoint == "other").unwrap();
        assert!(other.counts.requests >= 800);
    }
}
