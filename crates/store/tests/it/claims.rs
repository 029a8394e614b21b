//! One process serves a database; what it has applied is seen by others.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use keyrack_store::{Claim, Result, Store, StoreError};
use keyrack_testkit::{Database, both_databases};

use crate::samples;
use crate::support::{World, at};

fn is_refused(claim: &Result<Claim>) -> bool {
    matches!(claim, Err(StoreError::Claimed(_)))
}

both_databases! {
    async fn a_second_claim_is_refused_while_the_first_lives(database: Database) {
        let world = World::new(database).await;
        let other = world.another_store().await;
        let mut claim = world.store.claim().await.unwrap();
        assert!(is_refused(&other.claim().await));
        assert!(is_refused(&world.store.claim().await), "also to the same process");
        claim.check().await.unwrap();

        drop(claim);
        let mut next = freed(&other).await;
        next.check().await.unwrap();
        assert!(is_refused(&world.store.claim().await));
    }

    async fn the_refusal_says_who_holds_it_and_what(database: Database) {
        let world = World::new(database).await;
        let _claim = world.store.claim().await.unwrap();
        let Err(StoreError::Claimed(text)) = world.another_store().await.claim().await else { panic!("not refused") };
        match world.store.sqlite_file() {
            Some(file) => assert!(text.contains(&format!("{}.lock", file.display())), "{text}"),
            None => assert!(text.contains("PostgreSQL"), "{text}"),
        }
    }

    async fn each_database_has_a_claim_of_its_own(database: Database) {
        let (one, two) = (World::new(database).await, World::new(database).await);
        let _one = one.store.claim().await.unwrap();
        let _two = two.store.claim().await.unwrap();
        assert!(is_refused(&one.store.claim().await));
    }

    async fn what_one_store_publishes_another_sees(database: Database) {
        let world = World::new(database).await;
        let guest = world.another_store().await;
        assert_eq!(guest.served_up_to().await.unwrap(), None, "nobody serves");

        let mut claim = world.store.claim().await.unwrap();
        assert_eq!(guest.served_up_to().await.unwrap(), Some(-1), "somebody serves, who has applied nothing yet");
        for seq in [0, 7, 12_345_678_901, 8] {
            claim.publish(seq).await.unwrap();
            assert_eq!(guest.served_up_to().await.unwrap(), Some(seq));
            assert_eq!(world.store.served_up_to().await.unwrap(), Some(seq));
        }
        drop(claim);
        until(|| async { guest.served_up_to().await.unwrap().is_none() }).await;
    }

    async fn a_new_claim_does_not_stand_by_what_the_last_one_published(database: Database) {
        let world = World::new(database).await;
        let mut claim = world.store.claim().await.unwrap();
        claim.publish(1_000).await.unwrap();
        drop(claim);
        // A backup may have been put in the place of the database meanwhile: 1,000 may be still to come.
        let _next = freed(&world.store).await;
        assert_eq!(world.another_store().await.served_up_to().await.unwrap(), Some(-1));
    }

    async fn publishing_changes_neither_the_log_nor_an_organization(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let head = world.head().await;
        world.store.claim().await.unwrap().publish(3).await.unwrap();
        assert_eq!(world.head().await, head);
        assert!(world.read().await.list_settings(t.organization.id).await.unwrap().is_empty());
    }

    async fn those_who_only_ask_never_keep_a_server_from_its_claim(database: Database) {
        let world = World::new(database).await;
        let asked = Arc::new(AtomicUsize::new(0));
        let guests: Vec<_> = (0..2)
            .map(|_| {
                tokio::spawn({
                    let (asked, url) = (Arc::clone(&asked), world.url.clone());
                    async move {
                        let store = Store::open(&url, at(1)).await.unwrap();
                        loop {
                            store.served_up_to().await.unwrap();
                            asked.fetch_add(1, Ordering::Relaxed);
                            tokio::task::yield_now().await;
                        }
                    }
                })
            })
            .collect();
        let mut claimed = 0;
        while claimed < 20 || asked.load(Ordering::Relaxed) < 500 {
            // Nobody else claims it.
            drop(freed(&world.store).await);
            claimed += 1;
        }
        guests.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// Waits for what the other side of a closed connection does in its own time.
async fn until<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    let waiting = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), waiting).await.unwrap();
}

/// The claim, as soon as the one that was dropped is gone: at once on SQLite; PostgreSQL hears of a closed connection
/// later.
async fn freed(store: &Store) -> Claim {
    if store.sqlite_file().is_some() {
        return store.claim().await.unwrap();
    }
    until(|| async { store.served_up_to().await.unwrap().is_none() }).await;
    store.claim().await.unwrap()
}

#[tokio::test]
async fn a_link_to_the_file_leads_to_the_same_claim() {
    let world = World::new(Database::Sqlite).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("link.db");
    std::os::unix::fs::symlink(world.store.sqlite_file().unwrap(), &link).unwrap();
    let linked = Store::open(&format!("sqlite:{}", link.display()), at(1)).await.unwrap();
    let _claim = world.store.claim().await.unwrap();
    assert!(is_refused(&linked.claim().await));
}

/// Whoever asks whether a server is there takes this lock for an instant.
fn asking(world: &World) -> File {
    let name = format!("{}.lock", world.store.sqlite_file().unwrap().display());
    let file = File::options().write(true).create(true).truncate(false).open(name).unwrap();
    file.try_lock_shared().unwrap();
    file
}

#[tokio::test]
async fn a_claim_waits_for_those_who_only_ask() {
    let world = World::new(Database::Sqlite).await;
    let asking = asking(&world);
    let mut claim = Box::pin(world.store.claim());
    let waits = std::future::poll_fn(|cx| Poll::Ready(claim.as_mut().poll(cx).is_pending())).await;
    assert!(waits);
    drop(asking);
    claim.await.unwrap();
}

#[tokio::test]
async fn those_who_only_ask_are_not_taken_for_a_server() {
    let world = World::new(Database::Sqlite).await;
    let _asking = asking(&world);
    assert_eq!(world.store.served_up_to().await.unwrap(), None);
}

#[tokio::test]
async fn a_lock_file_that_is_left_over_holds_nothing() {
    let world = World::new(Database::Sqlite).await;
    let lock = format!("{}.lock", world.store.sqlite_file().unwrap().display());
    std::fs::write(&lock, "00000000000000000042 and more").unwrap();
    assert_eq!(world.store.served_up_to().await.unwrap(), None);
    world.store.claim().await.unwrap();
}
