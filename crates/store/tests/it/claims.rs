//! One process serves a SQLite file; what it has applied is seen by others.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use keyrack_store::{Claim, Result, Store, StoreError};
use keyrack_testkit::Database;

use crate::samples;
use crate::support::{World, at};

fn is_refused(claim: &Result<Claim>) -> bool {
    matches!(claim, Err(StoreError::Claimed(_)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_claim_is_refused_while_the_first_lives() {
    let world = World::new(Database::Sqlite).await;
    let other = world.another_store().await;
    let claim = world.store.claim().await.unwrap();
    assert!(is_refused(&other.claim().await));
    assert!(is_refused(&world.store.claim().await), "also to the same process");

    drop(claim);
    let _next = other.claim().await.unwrap();
    assert!(is_refused(&world.store.claim().await));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_refusal_says_who_holds_it_and_what() {
    let world = World::new(Database::Sqlite).await;
    let _claim = world.store.claim().await.unwrap();
    let Err(StoreError::Claimed(text)) = world.another_store().await.claim().await else { panic!("not refused") };
    let file = world.store.sqlite_file().unwrap();
    assert!(text.contains(&format!("{}.lock", file.display())), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_database_has_a_claim_of_its_own() {
    let (one, two) = (World::new(Database::Sqlite).await, World::new(Database::Sqlite).await);
    let _one = one.store.claim().await.unwrap();
    let _two = two.store.claim().await.unwrap();
    assert!(is_refused(&one.store.claim().await));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_store_publishes_another_sees() {
    let world = World::new(Database::Sqlite).await;
    let guest = world.another_store().await;
    assert_eq!(guest.served_up_to().await.unwrap(), None, "nobody serves");

    let claim = world.store.claim().await.unwrap();
    assert_eq!(guest.served_up_to().await.unwrap(), Some(-1), "somebody serves, who has applied nothing yet");
    for seq in [0, 7, 12_345_678_901, 8] {
        claim.publish(seq).unwrap();
        assert_eq!(guest.served_up_to().await.unwrap(), Some(seq));
        assert_eq!(world.store.served_up_to().await.unwrap(), Some(seq));
    }
    drop(claim);
    // Not at once where this process is just making another one, which holds its files for an instant.
    until(|| async { guest.served_up_to().await.unwrap().is_none() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_claim_does_not_stand_by_what_the_last_one_published() {
    let world = World::new(Database::Sqlite).await;
    let claim = world.store.claim().await.unwrap();
    claim.publish(1_000).unwrap();
    drop(claim);
    // A backup may have been put in the place of the database meanwhile: 1,000 may be still to come.
    let _next = world.store.claim().await.unwrap();
    assert_eq!(world.another_store().await.served_up_to().await.unwrap(), Some(-1));
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_changes_neither_the_log_nor_an_organization() {
    let world = World::new(Database::Sqlite).await;
    let t = samples::tenancy(&world.store, "acme").await;
    let head = world.head().await;
    world.store.claim().await.unwrap().publish(3).unwrap();
    assert_eq!(world.head().await, head);
    assert!(world.read().await.list_settings(t.organization.id).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_only_ask_never_keep_a_server_from_its_claim() {
    let world = World::new(Database::Sqlite).await;
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
        drop(world.store.claim().await.unwrap());
        claimed += 1;
    }
    guests.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Waits for what another process does in its own time.
async fn until<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    let waiting = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), waiting).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
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

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_waits_for_those_who_only_ask() {
    let world = World::new(Database::Sqlite).await;
    let asking = asking(&world);
    let mut claim = Box::pin(world.store.claim());
    let waits = std::future::poll_fn(|cx| Poll::Ready(claim.as_mut().poll(cx).is_pending())).await;
    assert!(waits);
    drop(asking);
    claim.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_only_ask_are_not_taken_for_a_server() {
    let world = World::new(Database::Sqlite).await;
    let _asking = asking(&world);
    assert_eq!(world.store.served_up_to().await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_file_that_is_left_over_holds_nothing() {
    let world = World::new(Database::Sqlite).await;
    let lock = format!("{}.lock", world.store.sqlite_file().unwrap().display());
    std::fs::write(&lock, "00000000000000000042 and more").unwrap();
    assert_eq!(world.store.served_up_to().await.unwrap(), None);
    world.store.claim().await.unwrap();
}
