//! What owners and admins are told without asking, once.

use keyrack_core::{KeyId, NodeId, NotificationId, Tier, Timestamp};
use keyrack_engine::{AuditFilter, Error, NewKey, OrganizationPatch, RotateKey};
use keyrack_store::{SecretUse, UsagePlace, UsageStep};
use keyrack_testkit::{Database, both_databases};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{OWNER, PASSWORD, World, named, shown};

const DAY: i64 = 24 * 60 * 60;

impl World {
    /// What has been told, but for keys that were made; the oldest first.
    async fn told(&self) -> Vec<(String, String, Value)> {
        let mut told = Vec::new();
        for (one, _) in self.engine.list_notifications(&self.host(), None, 200).await.unwrap().page.data {
            if one.kind != "API_KEY_CREATED" {
                told.insert(0, (one.kind, one.subject_name, one.data));
            }
        }
        told
    }

    /// What there is to tell now, looked for twice at once.
    async fn tell(&self) -> Vec<(String, String, Value)> {
        let before = self.told().await.len();
        // Notifications are listed by when they were made.
        self.clock.advance(1);
        let (one, another) = tokio::join!(Box::pin(self.engine.tell(true)), Box::pin(self.engine.tell(true)));
        one.unwrap();
        another.unwrap();
        self.told().await.split_off(before)
    }

    async fn note_use(&self, key: KeyId, version: i64, at: Timestamp, from: &[&str]) {
        let addresses = from.iter().map(|address| (address.parse().unwrap(), at));
        let used = SecretUse { key, version, at, address: None, user_agent: None, old_from: addresses.collect() };
        let random = self.engine.random_bits().unwrap();
        let place = UsagePlace { writer: NodeId::new(self.now(), random), generation: 1, place: Vec::new() };
        let store = self.store().await;
        store.write(&[]).await.unwrap().commit_usage_writer(&place).await.unwrap();
        let step = UsageStep { uses: vec![used], ..UsageStep::default() };
        assert!(store.write(&[]).await.unwrap().commit_usage(&place, &place.next_generation(), &step).await.unwrap());
    }
}

fn kinds(told: &[(String, String, Value)]) -> Vec<(&str, &str, Option<i64>)> {
    told.iter().map(|(kind, name, data)| (&**kind, &**name, data["days"].as_i64())).collect()
}

both_databases! {
    async fn a_key_that_expires_is_told_of_two_weeks_one_week_and_a_day_before_and_then(database: Database) {
        let world = World::new(database).await;
        let lives = |days: i64| Some(world.later(days * DAY));
        let new = |name: &str, days| NewKey { expires_at: lives(days), ..named(name) };
        let (long, text) = world.key(new("long", 30)).await;
        let (short, _) = world.key(new("short", 3)).await;
        assert_eq!(world.tell().await, []);
        let mut at = 0;
        let mut look = async |day: i64| {
            world.clock.advance((day - at) * DAY);
            at = day;
            let told = world.tell().await;
            assert_eq!(world.tell().await, [], "once");
            kinds(&told).into_iter().map(|(kind, name, days)| (kind.to_owned(), name.to_owned(), days)).collect::<Vec<_>>()
        };
        let told = |kind: &str, name: &str, days| vec![(kind.to_owned(), name.to_owned(), days)];
        assert_eq!(look(1).await, [], "who is made for three days knows that they are few");
        assert_eq!(look(2).await, told("API_KEY_EXPIRING", "short", Some(1)));
        assert_eq!(look(3).await, told("API_KEY_EXPIRED", "short", None));
        assert_eq!(look(16).await, told("API_KEY_EXPIRING", "long", Some(14)));
        assert_eq!(look(22).await, []);
        assert_eq!(look(23).await, told("API_KEY_EXPIRING", "long", Some(7)));
        // Given more time, it is told again.
        let patch = keyrack_engine::KeyPatch { expires_at: Some(lives(30 - 23 + 20)), ..keyrack_engine::KeyPatch::default() };
        world.engine.update_key(&world.host(), long.key.id, patch).await.unwrap();
        assert_eq!(look(35).await, [], "fifteen days are left");
        assert_eq!(look(37).await, told("API_KEY_EXPIRING", "long", Some(14)));
        assert_eq!(look(49).await, told("API_KEY_EXPIRING", "long", Some(1)), "nobody looked in between");
        assert!(world.passes(&text).await);
        assert_eq!(look(50).await, told("API_KEY_EXPIRED", "long", None));
        assert!(!world.passes(&text).await);

        let data = &world.told().await[0].2;
        assert_eq!(data["keys"], json!([{"id": short.key.id, "name": "short", "at": short.key.expires_at}]));
        let filter = AuditFilter { kind: Some("key.expired".to_owned()), ..AuditFilter::default() };
        let events = world.engine.list_audit(&world.host(), &filter, 10).await.unwrap().data;
        let subjects: Vec<_> = events.iter().map(|e| (e.subject_id, &*e.actor_name)).collect();
        assert_eq!(subjects, [(Some(long.key.id.0), "keyrack"), (Some(short.key.id.0), "keyrack")]);
    }

    async fn keys_that_nobody_uses_are_told_of_together_once_a_day(database: Database) {
        let world = World::new(database).await;
        // At noon.
        world.clock.advance(4 * DAY / 24);
        let (used, _) = world.plain_key("used").await;
        let (idle, _) = world.plain_key("idle").await;
        let (gone, _) = world.plain_key("gone").await;
        world.engine.revoke_key(&world.host(), gone, None).await.unwrap();
        world.clock.advance(80 * DAY);
        world.note_use(used, 1, world.now(), &[]).await;
        assert_eq!(world.tell().await, []);
        world.clock.advance(10 * DAY + DAY / 4);
        assert_eq!(world.tell().await, [], "the day is not over");
        world.clock.advance(DAY / 2);
        let told = world.tell().await;
        assert_eq!(kinds(&told), [("API_KEY_UNUSED", "acme", Some(90))]);
        let names: Vec<&str> = told[0].2["keys"].as_array().unwrap().iter().map(|k| k["name"].as_str().unwrap()).collect();
        assert_eq!((names.len(), &told[0].2["count"]), (2, &json!(2)), "and the first key of all");
        assert!(names.contains(&"idle") && !names.contains(&"gone"), "{names:?}");
        assert_eq!(world.tell().await, [], "once");
        world.clock.advance(DAY);
        assert_eq!(world.tell().await, [], "once");
        // Used, and idle again.
        world.note_use(idle, 1, world.now(), &[]).await;
        world.clock.advance(80 * DAY);
        assert_eq!(kinds(&world.tell().await), [("API_KEY_UNUSED", "used", Some(90))]);
        world.clock.advance(11 * DAY);
        assert_eq!(kinds(&world.tell().await), [("API_KEY_UNUSED", "idle", Some(90))]);
    }

    async fn a_quota_is_told_of_at_80_and_100_hundredths_each_month(database: Database) {
        let world = World::with_quota(database).await;
        let set = async |used: u64| {
            let patch = OrganizationPatch { quota_used: Some(used), ..OrganizationPatch::default() };
            world.engine.update_organization(&world.host(), patch).await.unwrap();
        };
        let percents = |told: Vec<(String, String, Value)>| -> Vec<i64> {
            told.iter().map(|(kind, _, data)| (data["percent"].as_i64().filter(|_| kind == "QUOTA_REACHED")).unwrap()).collect()
        };
        set(7_999).await;
        assert_eq!(percents(world.tell().await), [0; 0]);
        set(8_000).await;
        let told = world.tell().await;
        let data = &told[0].2;
        assert_eq!((&data["used"], &data["monthly_limit"], &data["month"]), (&json!(8000), &json!(10_000), &json!("2027-01")));
        assert_eq!(percents(told), [80]);
        set(9_999).await;
        assert_eq!(percents(world.tell().await), [0; 0]);
        set(10_000).await;
        assert_eq!(percents(world.tell().await), [100]);
        world.clock.advance(31 * DAY);
        set(10_000).await;
        assert_eq!(percents(world.tell().await), [100], "who has used all of it is not told of most of it");
        world.clock.advance(31 * DAY);
        set(9_000).await;
        world.set_tier_of(Tier::Enterprise).await;
        assert_eq!(percents(world.tell().await), [0; 0], "there is no limit");
    }

    async fn an_old_secret_is_told_of_when_it_can_be_ended_or_is_still_in_use(database: Database) {
        let world = World::new(database).await;
        let rotate = async |name: &str, days: i64| {
            let (id, _) = world.plain_key(name).await;
            let how = RotateKey { overlap_seconds: Some(days * DAY), force: false };
            world.engine.rotate_key(&world.host(), id, how).await.unwrap();
            id
        };
        let (silent, busy, brief) = (rotate("silent", 10).await, rotate("busy", 10).await, rotate("brief", 1).await);
        let hour = DAY / 24;
        world.clock.advance(23 * hour);
        world.note_use(busy, 1, world.now(), &["198.51.100.1"]).await;
        world.note_use(brief, 1, world.later(-hour), &["203.0.113.9", "2001:db8::1"]).await;
        let at = world.later(-hour);
        let told = world.tell().await;
        assert_eq!(kinds(&told), [("OLD_SECRET_IN_USE", "brief", None)]);
        let from = json!([{"address": "2001:db8::1", "last_used_at": at}, {"address": "203.0.113.9", "last_used_at": at}]);
        assert_eq!((&told[0].2["used_from"], &told[0].2["version"]), (&from, &json!(1)));
        world.clock.advance(hour);
        assert_eq!(kinds(&world.tell().await), [("OLD_SECRET_SILENT", "silent", None)]);
        world.clock.advance(8 * DAY - hour);
        world.note_use(busy, 1, world.now(), &["198.51.100.2"]).await;
        assert_eq!(world.tell().await, []);
        world.clock.advance(hour);
        let told = world.tell().await;
        assert_eq!(kinds(&told), [("OLD_SECRET_IN_USE", "busy", None)]);
        assert_eq!(told[0].2["used_from"].as_array().unwrap().len(), 2);
        world.clock.advance(2 * DAY);
        assert_eq!(world.tell().await, [], "they have ended");
        let _ = silent;
    }

    async fn a_new_key_is_told_of_and_each_reads_for_themselves(database: Database) {
        let world = World::new(database).await;
        world.clock.advance(1);
        let new = NewKey { description: Some("For the shop".to_owned()), ..named("shop") };
        let (key, text) = shown(world.engine.create_key(&world.host(), new).await.unwrap());
        world.clock.advance(1);
        world.plain_key("second").await;
        let (ada, _) = world.signed_in(OWNER, PASSWORD).await;
        let list = async || world.engine.list_notifications(&ada, None, 200).await.unwrap();
        let told = list().await;
        assert_eq!(told.unread, 3, "with the first of all");
        let [second, shop, _] = told.page.data.as_slice() else { panic!("{told:?}") };
        assert_eq!((&*second.0.subject_name, &*shop.0.kind), ("second", "API_KEY_CREATED"));
        assert_eq!(shop.0.subject_id, Some(key.key.id.0));
        assert_eq!(shop.0.data, json!({"description": "For the shop", "last4": text[text.len() - 4..]}));

        world.engine.read_notifications(&ada, shop.0.id).await.unwrap();
        let read = list().await;
        assert_eq!(read.page.data.iter().map(|(_, read)| *read).collect::<Vec<_>>(), [false, true, true]);
        assert_eq!(read.unread, 1);
        world.engine.read_notifications(&ada, second.0.id).await.unwrap();
        world.engine.read_notifications(&ada, shop.0.id).await.unwrap();
        assert_eq!(list().await.unread, 0, "what was read stays read");
        let unknown = world.engine.read_notifications(&ada, NotificationId(Uuid::max())).await;
        assert!(matches!(unknown, Err(Error::NotFound("notification"))));

        let page = world.engine.list_notifications(&ada, None, 1).await.unwrap().page;
        let next = page.next_cursor.unwrap().parse().unwrap();
        let rest = world.engine.list_notifications(&ada, Some(next), 1).await.unwrap().page;
        assert_eq!((rest.data[0].0.id, rest.next_cursor), (shop.0.id, Some(shop.0.id.to_string())));
        assert_eq!(world.engine.list_notifications(&world.host(), None, 9).await.unwrap().unread, 3);
    }
}
