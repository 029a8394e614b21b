//! Rate limits that several processes count together.

use keyrack_core::RateLimit;
use keyrack_core::rate::{COUNTED, Counts};
use keyrack_store::StoreError;
use keyrack_testkit::{Database, both_databases};
use uuid::Uuid;

use crate::samples;
use crate::support::World;

fn limit(seconds: i64) -> RateLimit {
    RateLimit::new(10, seconds).unwrap()
}

fn counts(part: u64, running: u64) -> Counts {
    let mut units = [0; COUNTED];
    units[0] = running;
    Counts::new(part, units)
}

/// What is granted of a window.
async fn granted(world: &World, owner: Uuid, limit: RateLimit) -> Counts {
    world.write().await.lock_window(owner, limit).await.unwrap().counts
}

async fn grant(world: &World, owner: Uuid, limit: RateLimit, counts: &Counts) {
    let mut writer = world.write().await;
    writer.lock_window(owner, limit).await.unwrap();
    writer.commit_window(owner, limit, counts).await.unwrap();
}

both_databases! {
    async fn what_was_granted_is_found_again(database: Database) {
        let world = World::new(database).await;
        let (one, other) = (samples::id(), samples::id());
        grant(&world, one, limit(60), &counts(7, 3)).await;
        assert_eq!(granted(&world, one, limit(60)).await, counts(7, 3));
        for (owner, limit) in [(other, limit(60)), (one, limit(61))] {
            assert_eq!(granted(&world, owner, limit).await, Counts::default(), "counted apart");
        }
        let mut more = counts(7, 3);
        more.open(9);
        more.add(4);
        grant(&world, one, limit(60), &more).await;
        assert_eq!(granted(&world, one, limit(60)).await, more);
        // Not committed: nothing has happened.
        let mut writer = world.write().await;
        writer.lock_window(other, limit(60)).await.unwrap();
        drop(writer);
        assert_eq!(granted(&world, other, limit(60)).await, Counts::default());
    }

    async fn windows_that_are_over_are_forgotten(database: Database) {
        let world = World::new(database).await;
        let (old, live) = (samples::id(), samples::id());
        let limit = limit(160);
        grant(&world, old, limit, &counts(1000, 5)).await;
        grant(&world, live, limit, &counts(1001, 5)).await;
        // Parts of ten seconds: the last that counts what was counted in part 1000 is number 1016.
        let forgotten = world.write().await.commit_forgotten_windows(10_170_000_000).await.unwrap();
        assert_eq!(forgotten, 0);
        let forgotten = world.write().await.commit_forgotten_windows(10_170_000_001).await.unwrap();
        assert_eq!(forgotten, 1);
        assert_eq!(granted(&world, old, limit).await, Counts::default());
        assert_eq!(granted(&world, live, limit).await, counts(1001, 5));
    }

    async fn a_row_that_cannot_be_read_grants_nothing(database: Database) {
        let world = World::new(database).await;
        let owner = samples::id();
        grant(&world, owner, limit(60), &counts(7, 3)).await;
        for granted in ["", "1 2 3", "many", "-1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0"] {
            world.look().await.run(&format!("UPDATE rate_window SET granted = '{granted}'")).await;
            let locked = world.write().await.lock_window(owner, limit(60)).await;
            assert!(matches!(locked, Err(StoreError::Corrupt { column: "granted" })), "{granted:?}: {locked:?}");
        }
    }

    async fn who_locks_a_window_sees_what_all_before_have_taken(database: Database) {
        let world = World::new(database).await;
        let owner = samples::id();
        let take = async || {
            let mut writer = world.write().await;
            let mut counts = writer.lock_window(owner, limit(60)).await.unwrap().counts;
            counts.add(1);
            writer.commit_window(owner, limit(60), &counts).await.unwrap();
        };
        futures_util::future::join_all((0..40).map(|_| take())).await;
        assert_eq!(granted(&world, owner, limit(60)).await, counts(0, 40));
    }

    async fn the_clock_of_the_database_goes_on(database: Database) {
        let world = World::new(database).await;
        let before = world.write().await.database_time().await.unwrap();
        let locked = world.write().await.lock_window(samples::id(), limit(60)).await.unwrap();
        assert!(before > 1_700_000_000_000_000 && locked.at >= before, "{before} {}", locked.at);
        assert_eq!(locked.nodes, 1, "at least whoever asks");
    }
}
