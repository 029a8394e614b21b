//! The counters of monthly quotas.

use keyrack_core::{Month, OrganizationId};
use keyrack_store::QuotaCount;
use keyrack_testkit::{Database, both_databases};

use crate::samples;
use crate::support::{World, at};

fn count(granted: u64, epoch: i64) -> QuotaCount {
    QuotaCount { granted, epoch }
}

async fn quota(world: &World, organization: OrganizationId, month: Month) -> QuotaCount {
    world.read().await.find_quota(organization, month).await.unwrap()
}

both_databases! {
    async fn units_are_granted_and_returned(database: Database) {
        let world = World::new(database).await;
        let organization = samples::tenancy(&world.store, "acme").await.organization.id;
        let other = samples::tenancy(&world.store, "other").await.organization.id;
        let month = Month::of(at(0));
        assert_eq!(quota(&world, organization, month).await, count(0, 0));

        let mut writer = world.write().await;
        assert_eq!(writer.lock_quota(organization, month).await.unwrap(), (count(0, 0), true));
        writer.grant_units(organization, month, 0, 100).await.unwrap();
        writer.commit_quota(Some(at(7))).await.unwrap();
        assert_eq!(quota(&world, organization, month).await, count(100, 0));
        assert_eq!(world.read().await.latest_time().await.unwrap(), Some(at(7)));

        let mut writer = world.write().await;
        assert_eq!(writer.lock_quota(organization, month).await.unwrap(), (count(100, 0), false));
        writer.return_units(organization, month, 0, 40).await.unwrap();
        writer.commit_quota(None).await.unwrap();
        assert_eq!(quota(&world, organization, month).await, count(60, 0));
        for (organization, month) in [(organization, month.next()), (other, month)] {
            assert_eq!(quota(&world, organization, month).await, count(0, 0), "counted apart");
        }
    }

    async fn what_was_granted_before_the_counter_was_set_is_void(database: Database) {
        let world = World::new(database).await;
        let organization = samples::tenancy(&world.store, "acme").await.organization.id;
        let month = Month::of(at(0));
        let mut writer = world.write().await;
        writer.lock_quota(organization, month).await.unwrap();
        writer.grant_units(organization, month, 0, 100).await.unwrap();
        assert_eq!(writer.set_quota(organization, month, 9_999).await.unwrap(), count(9_999, 1));
        // Neither counts any more.
        writer.grant_units(organization, month, 0, 100).await.unwrap();
        writer.return_units(organization, month, 0, 100).await.unwrap();
        writer.commit_quota(None).await.unwrap();
        assert_eq!(quota(&world, organization, month).await, count(9_999, 1));
        // More than was granted does not come back.
        let mut writer = world.write().await;
        writer.lock_quota(organization, month).await.unwrap();
        writer.return_units(organization, month, 1, 10_000).await.unwrap();
        writer.commit_quota(None).await.unwrap();
        assert_eq!(quota(&world, organization, month).await, count(9_999, 1));
    }

    async fn whoever_locks_a_counter_waits_for_the_other(database: Database) {
        let world = World::new(database).await;
        let organization = samples::tenancy(&world.store, "acme").await.organization.id;
        let month = Month::of(at(0));
        let stores = [world.another_store().await, world.another_store().await];
        let take = async |store: &keyrack_store::Store| {
            for _ in 0..50 {
                let mut writer = store.write(&[]).await.unwrap();
                let (seen, _) = writer.lock_quota(organization, month).await.unwrap();
                writer.grant_units(organization, month, seen.epoch, 1).await.unwrap();
                let after = writer.find_quota(organization, month).await.unwrap();
                assert_eq!(after.granted, seen.granted + 1);
                writer.commit_quota(None).await.unwrap();
            }
        };
        tokio::join!(take(&stores[0]), take(&stores[1]));
        assert_eq!(quota(&world, organization, month).await, count(100, 0));
    }
}
