//! The processes that serve one PostgreSQL database: what each tells the others, and what they do when one falls silent.

use std::time::Duration;

use keyrack_core::NodeId;
use keyrack_store::{Membership, Node};
use keyrack_testkit::Database;

use crate::samples;
use crate::support::{World, commit};

async fn world() -> Option<World> {
    if Database::Postgres.is_available() { Some(World::new(Database::Postgres).await) } else { None }
}

fn node(world: &World, name: &str) -> (NodeId, Membership) {
    let id = NodeId(samples::id());
    (id, world.store.membership(id, name.to_owned(), "1.2.3".to_owned()).unwrap())
}

async fn listed(world: &World) -> Vec<Node> {
    world.read().await.list_nodes().await.unwrap()
}

#[tokio::test]
async fn on_sqlite_there_are_none() {
    let world = World::new(Database::Sqlite).await;
    assert!(world.store.membership(NodeId(samples::id()), "here".to_owned(), "1".to_owned()).is_none());
    assert!(world.store.calls().await.unwrap().is_none());
    assert_eq!(listed(&world).await, []);
}

#[tokio::test]
async fn a_node_is_listed_from_when_it_joins_until_it_leaves() {
    let Some(world) = world().await else { return };
    let (first_id, mut first) = node(&world, "first");
    let (second_id, mut second) = node(&world, "second");
    assert_eq!(world.store.served_up_to().await.unwrap(), None);
    first.join(1, &[]).await.unwrap();
    second.join(0, &[]).await.unwrap();
    let nodes = listed(&world).await;
    let told: Vec<_> = nodes.iter().map(|n| (n.id, &*n.name, &*n.version, n.applied)).collect();
    assert_eq!(told, [(first_id, "first", "1.2.3", 1), (second_id, "second", "1.2.3", 0)]);
    world.look().await.run("UPDATE node SET seen_at = seen_at - 5000000").await;
    assert!(listed(&world).await.iter().all(|n| n.silent_for >= Duration::from_secs(5)));
    assert_eq!(world.store.served_up_to().await.unwrap(), Some(0), "the slowest");

    second.renew(1, &[]).await.unwrap().unwrap();
    let renewed = listed(&world).await;
    assert_eq!((renewed[1].applied, renewed[1].started_at), (1, nodes[1].started_at));
    assert!(renewed[1].silent_for < renewed[0].silent_for);
    assert_eq!((renewed[0].id, renewed[0].applied), (first_id, 1));

    first.leave().await.unwrap();
    assert_eq!(listed(&world).await.iter().map(|n| n.id).collect::<Vec<_>>(), [second_id]);
    second.leave().await.unwrap();
    assert_eq!(world.store.served_up_to().await.unwrap(), None);
}

#[tokio::test]
async fn a_renewal_is_answered_with_the_head_of_the_log() {
    let Some(world) = world().await else { return };
    let (_, mut member) = node(&world, "here");
    member.join(0, &[]).await.unwrap();
    for _ in 0..3 {
        assert_eq!(member.renew(0, &[]).await.unwrap(), Some(world.head().await));
        commit(world.write().await).await;
    }
}

/// The number is taken before the commit, and another change may be numbered after it only once that is over.
#[tokio::test]
async fn a_change_that_commits_late_is_in_no_head_before_and_never_stepped_over() {
    let Some(world) = world().await else { return };
    let (_, mut member) = node(&world, "here");
    member.join(0, &[]).await.unwrap();
    let before = world.head().await;
    let mut late = world.look().await;
    late.run("BEGIN; UPDATE feed_head SET seq = seq + 1").await;
    let other = world.another_store().await;
    let mut next = tokio::spawn(async move { commit(other.write(&[]).await.unwrap()).await });
    for _ in 0..50 {
        assert_eq!(member.renew(0, &[]).await.unwrap(), Some(before));
        assert!(tokio::time::timeout(Duration::from_millis(2), &mut next).await.is_err(), "it waits");
    }
    late.run("COMMIT").await;
    assert_eq!(next.await.unwrap(), before.seq + 2);
    assert_eq!(member.renew(0, &[]).await.unwrap().unwrap().seq, before.seq + 2);
}

#[tokio::test]
async fn a_node_is_forgotten_only_as_it_was_seen_and_learns_it() {
    let Some(world) = world().await else { return };
    let (_, mut silent) = node(&world, "silent");
    let (id, mut member) = node(&world, "here");
    silent.join(1, &[]).await.unwrap();
    member.join(1, &[]).await.unwrap();
    let seen = async || listed(&world).await.into_iter().find(|node| node.name == "silent").unwrap();
    let before = seen().await;
    silent.renew(1, &[]).await.unwrap().unwrap();
    member.forget(&before).await.unwrap();
    assert_eq!(listed(&world).await.len(), 2, "it has renewed since");
    member.forget(&seen().await).await.unwrap();
    assert_eq!(listed(&world).await.iter().map(|n| n.id).collect::<Vec<_>>(), [id]);
    assert_eq!(silent.renew(1, &[]).await.unwrap(), None);
    assert_eq!(listed(&world).await.len(), 1, "a renewal makes no row");
    silent.join(1, &[]).await.unwrap();
    assert_eq!(silent.renew(1, &[]).await.unwrap(), Some(world.head().await));
}

#[tokio::test]
async fn a_commit_calls_whoever_listens() {
    let Some(world) = world().await else { return };
    let mut calls = world.another_store().await.calls().await.unwrap().unwrap();
    for _ in 0..3 {
        commit(world.write().await).await;
        tokio::time::timeout(Duration::from_secs(30), calls.next()).await.unwrap().unwrap();
    }
    drop(world.write().await);
    assert!(tokio::time::timeout(Duration::from_millis(100), calls.next()).await.is_err(), "nothing was committed");
}

#[tokio::test]
async fn a_connection_that_was_ended_is_made_anew_and_the_row_is_still_there() {
    let Some(world) = world().await else { return };
    let (_, mut member) = node(&world, "here");
    member.join(1, &[]).await.unwrap();
    let end = "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity \
        WHERE datname = current_database() AND query LIKE 'INSERT INTO node%'";
    world.look().await.run(end).await;
    assert!(member.renew(1, &[]).await.is_err());
    assert_eq!(member.renew(1, &[]).await.unwrap(), Some(world.head().await));
}
