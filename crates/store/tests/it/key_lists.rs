//! Lists of keys: whole, in order, and narrowed as asked.

use std::collections::BTreeSet;

use keyrack_core::status::Switch;
use keyrack_core::{KeyId, KeyStatus, OrganizationId, Timestamp, micros};
use keyrack_store::{ApiKey, KeyFilter, KeyPosition, KeySort};
use keyrack_testkit::{Database, both_databases};

use crate::samples::{self, Tenancy};
use crate::support::{World, at, commit};

const MANY: usize = 2_500;
/// Divides [`MANY`] into pages of which the last is not full.
const PAGE: usize = 96;

fn position(key: &ApiKey) -> KeyPosition {
    KeyPosition { last_used: key.last_used_at.map_or(0, micros), id: key.id }
}

/// Every page of a list, one after the other.
async fn pages(world: &World, organization: OrganizationId, filter: KeyFilter) -> Vec<ApiKey> {
    let mut all: Vec<ApiKey> = Vec::new();
    loop {
        let filter = KeyFilter { after: all.last().map(position), ..filter.clone() };
        let limit = i64::try_from(PAGE).unwrap();
        let page = world.read().await.list_keys(organization, &filter, at(0), limit).await.unwrap();
        let is_last = page.len() < PAGE;
        all.extend(page);
        if is_last {
            return all;
        }
    }
}

async fn insert(world: &World, keys: &[ApiKey]) {
    let mut writer = world.write().await;
    for key in keys {
        writer.insert_key(key, &samples::secret(1)).await.unwrap();
    }
    commit(writer).await;
}

/// The names of those that a filter lets through.
async fn names(world: &World, t: &Tenancy, filter: KeyFilter, now: Timestamp) -> BTreeSet<String> {
    let keys = world.read().await.list_keys(t.organization.id, &filter, now, 1000).await.unwrap();
    keys.into_iter().map(|key| key.name).collect()
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

both_databases! {
    async fn both_orders_page_through_all_keys_once(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let other = samples::tenancy(&world.store, "other").await;
        let keys: Vec<_> = (0..MANY).map(|n| samples::key(&t.group, &format!("key {n}"))).collect();
        insert(&world, &keys).await;
        insert(&world, &[samples::key(&other.group, "foreign")]).await;
        // A third was never used, and many were used at the same moment, more of them than a page holds.
        let moments = |n: usize| at(i64::try_from(n % 7).unwrap());
        let used: Vec<_> = keys.iter().enumerate().filter(|(n, _)| n % 3 != 0).collect();
        let uses: Vec<_> = used.iter().map(|(n, key)| (key.id, 1, moments(*n))).collect();
        samples::note_uses(&world.store, &uses).await;

        let by_creation = pages(&world, t.organization.id, KeyFilter::default()).await;
        let newest_first: Vec<KeyId> = keys.iter().rev().map(|key| key.id).collect();
        assert_eq!(by_creation.iter().map(|key| key.id).collect::<Vec<_>>(), newest_first);

        let filter = KeyFilter { sort: KeySort::LastUsedAt, ..KeyFilter::default() };
        let by_use = pages(&world, t.organization.id, filter).await;
        let mut wanted: Vec<_> = by_creation.iter().map(|key| (key.last_used_at.map_or(0, micros), key.id)).collect();
        wanted.sort_unstable();
        assert_eq!(by_use.iter().map(|key| (key.last_used_at.map_or(0, micros), key.id)).collect::<Vec<_>>(), wanted);
        assert_eq!(by_use.iter().filter(|key| key.last_used_at.is_none()).count(), MANY.div_ceil(3));
    }

    async fn a_search_by_name_takes_every_character_for_itself(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let all = ["50% off", "50 off", "a_b", "axb", "hey!", "hey", "!%_", "C:\\path", "it's", "[a-z]*", "\"", "."];
        insert(&world, &all.map(|name| samples::key(&t.group, name))).await;
        for (part, wanted) in [
            ("%", set(["50% off", "!%_"])),
            ("_", set(["a_b", "!%_"])),
            ("!", set(["hey!", "!%_"])),
            ("!%_", set(["!%_"])),
            ("!!", set([])),
            ("%%", set([])),
            ("a_b", set(["a_b"])),
            ("\\", set(["C:\\path"])),
            ("'", set(["it's"])),
            ("\"", set(["\""])),
            ("*", set(["[a-z]*"])),
            (".", set(["."])),
            ("hey", set(["hey", "hey!"])),
            ("no\0such", set([])),
        ] {
            let filter = KeyFilter { name_contains: Some(part.to_owned()), ..KeyFilter::default() };
            assert_eq!(names(&world, &t, filter, at(0)).await, wanted, "{part:?}");
        }
    }

    async fn a_search_by_name_takes_no_heed_of_the_case_of_any_letter(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let all = ["Ärger", "ÄRGER 2", "Größe", "Ελλάδα", "Ленин", "Plain"];
        insert(&world, &all.map(|name| samples::key(&t.group, name))).await;
        let filter = |part: &str| KeyFilter { name_contains: Some(part.to_owned()), ..KeyFilter::default() };
        for (part, wanted) in [
            ("är", set(["Ärger", "ÄRGER 2"])),
            ("Är", set(["Ärger", "ÄRGER 2"])),
            ("ÄR", set(["Ärger", "ÄRGER 2"])),
            ("GRÖ", set(["Größe"])),
            ("ΕΛΛ", set(["Ελλάδα"])),
            ("ЛЕН", set(["Ленин"])),
            ("pLAIN", set(["Plain"])),
        ] {
            assert_eq!(names(&world, &t, filter(part), at(0)).await, wanted, "{part:?}");
        }
        let mut key = samples::key(&t.group, "before");
        insert(&world, std::slice::from_ref(&key)).await;
        key.name = "ÜBER".to_owned();
        let mut writer = world.write().await;
        writer.update_key(&key).await.unwrap();
        commit(writer).await;
        assert_eq!(
            names(&world, &t, filter("über"), at(0)).await,
            set(["ÜBER"]),
            "a new name is found like a first one"
        );
        assert_eq!(names(&world, &t, filter("before"), at(0)).await, set([]));
    }

    async fn each_member_of_the_filter_narrows_and_they_narrow_together(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let other_group = samples::group(t.organization.id, "other");
        let mut writer = world.write().await;
        writer.insert_group(&other_group).await.unwrap();
        commit(writer).await;
        let now = at(1000);
        let keys = [
            samples::key(&t.group, "plain"),
            ApiKey { workspace: Some(t.workspace.id), ..samples::key(&t.group, "bound") },
            samples::key(&other_group, "elsewhere"),
            ApiKey { switch: Switch::Disabled, ..samples::key(&t.group, "off") },
            ApiKey { expires_at: Some(now), ..samples::key(&t.group, "over") },
            ApiKey { expires_at: Some(at(1001)), ..samples::key(&t.group, "ending") },
            ApiKey { switch: Switch::Disabled, expires_at: Some(at(9)), ..samples::key(&t.group, "off and over") },
            ApiKey { switch: Switch::Revoked, expires_at: Some(at(9)), ..samples::key(&t.group, "withdrawn") },
        ];
        insert(&world, &keys).await;
        let all = set(["plain", "bound", "elsewhere", "off", "over", "ending", "off and over", "withdrawn"]);
        let none = KeyFilter::default();
        let status = |status| KeyFilter { status: Some(status), ..none.clone() };
        for (filter, wanted) in [
            (none.clone(), all.clone()),
            (KeyFilter { group: Some(other_group.id), ..none.clone() }, set(["elsewhere"])),
            (KeyFilter { workspace: Some(t.workspace.id), ..none.clone() }, set(["bound"])),
            (status(KeyStatus::Active), set(["plain", "bound", "elsewhere", "ending"])),
            (status(KeyStatus::Disabled), set(["off"])),
            (status(KeyStatus::Expired), set(["over", "off and over"])),
            (status(KeyStatus::Revoked), set(["withdrawn"])),
            (KeyFilter { group: Some(t.group.id), ..status(KeyStatus::Active) }, set(["plain", "bound", "ending"])),
            (KeyFilter { name_contains: Some("o".to_owned()), ..status(KeyStatus::Active) }, set(["bound"])),
            (KeyFilter { workspace: Some(t.workspace.id), ..status(KeyStatus::Revoked) }, set([])),
        ] {
            for sort in [KeySort::CreatedAt, KeySort::LastUsedAt] {
                let filter = KeyFilter { sort, ..filter.clone() };
                assert_eq!(names(&world, &t, filter.clone(), now).await, wanted, "{filter:?}");
            }
        }
        // The status a list is narrowed by is the one each key shows.
        for key in world.read().await.list_keys(t.organization.id, &none, now, 99).await.unwrap() {
            assert!(names(&world, &t, status(key.status(now)), now).await.contains(&key.name), "{}", key.name);
        }
    }

    async fn unused_keys_are_those_older_than_the_moment_and_not_used_since(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let since = at(500);
        let made = |name, seconds| ApiKey { created_at: at(seconds), ..samples::key(&t.group, name) };
        let keys = [
            made("old, never used", 100),
            made("old, used before", 100),
            made("old, used then", 100),
            made("old, used after", 100),
            made("made then", 500),
            made("new", 600),
        ];
        insert(&world, &keys).await;
        let uses = [(keys[1].id, 1, at(499)), (keys[2].id, 1, since), (keys[3].id, 1, at(501))];
        samples::note_uses(&world.store, &uses).await;
        let filter = KeyFilter { unused_since: Some(since), ..KeyFilter::default() };
        let wanted = set(["old, never used", "old, used before"]);
        assert_eq!(names(&world, &t, filter, at(1000)).await, wanted);
    }
}
