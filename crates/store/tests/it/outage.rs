//! A PostgreSQL server that goes away and comes back.

use std::io::{Read, Write};
use std::net::TcpListener;

use keyrack_core::Role;
use keyrack_store::{Membership, Store, StoreError};
use keyrack_testkit::Database;
use keyrack_testkit::postgres::PrivateCluster;

use crate::samples;
use crate::support::{Look, World, at, commit, is_unavailable};

fn member(store: &Store) -> Membership {
    let id = keyrack_core::NodeId(samples::id());
    store.membership(id, "here".to_owned(), "0".to_owned()).unwrap()
}

async fn begun(url: &str) -> Store {
    let store = Store::open(url, at(0)).await.unwrap();
    let mut writer = store.write(&[]).await.unwrap();
    writer.begin_epoch(samples::id()).await.unwrap();
    commit(writer).await;
    store
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_server_is_away_everything_is_unavailable_and_then_goes_on() {
    let Some(mut cluster) = PrivateCluster::start() else { return };
    let url = cluster.fresh_database();
    let store = begun(&url).await;
    let t = samples::tenancy(&store, "acme").await;
    let mut member = member(&store);
    member.join(2, &[]).await.unwrap();
    let head = store.read().await.unwrap().feed_head().await.unwrap();

    // One change is under way, and one look.
    let mut writer = store.write(&[t.organization.id]).await.unwrap();
    writer.insert_member(t.organization.id, t.user.id, Role::Owner, at(5)).await.unwrap();
    let mut reader = store.read().await.unwrap();
    reader.feed_head().await.unwrap();

    cluster.stop();
    assert!(is_unavailable(&member.renew(2, &[]).await));
    assert!(is_unavailable(&member.join(3, &[]).await));
    assert!(is_unavailable(&reader.feed_head().await));
    assert!(is_unavailable(&writer.commit(samples::event("member.added"), vec![]).await));
    // Each of these waits for the server as long as the store has patience, so they wait together.
    let (read, write, served, calls, opened) =
        tokio::join!(store.read(), store.write(&[]), store.served_up_to(), store.calls(), Store::open(&url, at(0)));
    for (what, is_so) in [
        ("read", is_unavailable(&read)),
        ("write", is_unavailable(&write)),
        ("served_up_to", is_unavailable(&served)),
        ("calls", is_unavailable(&calls)),
        ("open", is_unavailable(&opened)),
    ] {
        assert!(is_so, "{what}");
    }

    cluster.start_again();
    let mut reader = store.read().await.unwrap();
    assert_eq!(reader.feed_head().await.unwrap(), head, "what was not acknowledged is not there");
    assert_eq!(reader.find_member(t.organization.id, t.user.id).await.unwrap(), None);
    drop(reader);
    assert_eq!(member.renew(2, &[]).await.unwrap(), head, "its connection is made anew");
    let mut writer = store.write(&[t.organization.id]).await.unwrap();
    writer.insert_member(t.organization.id, t.user.id, Role::Owner, at(5)).await.unwrap();
    let seq = commit(writer).await;
    assert_eq!(seq, head.unwrap().seq + 1);
    member.renew(seq, &[]).await.unwrap();
    assert_eq!(store.served_up_to().await.unwrap(), Some(seq));
}

/// A server that is killed may be in the middle of a word. None of its ways to fall silent is a fault of a statement.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_while_a_connection_is_made_is_unavailable() {
    // After it was asked whether it speaks TLS; after it said no; in the middle of its next word.
    for said in ["", "N", "NR\0\0"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("postgres://ada@{}/keyrack", listener.local_addr().unwrap());
        let dying = std::thread::spawn(move || {
            for connection in listener.incoming().take(1) {
                let mut connection = connection.unwrap();
                let mut asked = [0; 8];
                connection.read_exact(&mut asked).unwrap();
                connection.write_all(said.as_bytes()).unwrap();
            }
        });
        let opened = Store::open(&url, at(0)).await;
        assert!(is_unavailable(&opened), "{said:?}: {:?}", opened.err());
        dying.join().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_takes_no_writes_for_now_is_unavailable_and_then_goes_on() {
    if !Database::Postgres.is_available() {
        return;
    }
    let world = World::new(Database::Postgres).await;
    let head = world.head().await;
    let name = world.url.rsplit_once('/').unwrap().1.split('?').next().unwrap().to_owned();
    // As on a standby, or where an administrator has closed it.
    let mut look = Look::at(&world.url).await;
    look.run(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
    let closed = Store::open(&world.url, at(1)).await;
    assert!(is_unavailable(&closed), "{:?}", closed.err());

    look.run("SET default_transaction_read_only = off").await;
    look.run(&format!("ALTER DATABASE {name} RESET default_transaction_read_only")).await;
    let store = Store::open(&world.url, at(1)).await.unwrap();
    assert_eq!(store.read().await.unwrap().feed_head().await.unwrap(), Some(head));
    commit(store.write(&[]).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_never_there_is_unavailable() {
    let opened = Store::open("postgres://postgres@127.0.0.1:1/keyrack", at(0)).await;
    assert!(is_unavailable(&opened), "{:?}", opened.err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_waits_too_long_for_a_lock_is_unavailable() {
    if !Database::Postgres.is_available() {
        return;
    }
    let world = World::new(Database::Postgres).await;
    let mut look = world.look().await;
    look.run("BEGIN; LOCK TABLE organization IN ACCESS EXCLUSIVE MODE").await;
    let name = world.url.rsplit_once('/').unwrap().1.split('?').next().unwrap().to_owned();
    world.look().await.run(&format!("ALTER DATABASE {name} SET lock_timeout = 50")).await;
    let store = world.another_store().await;
    let mut writer = store.write(&[]).await.unwrap();
    let inserted = writer.insert_organization(&samples::organization("acme")).await;
    assert!(is_unavailable(&inserted), "{inserted:?}");
    let broken = writer.commit(samples::event("x"), vec![]).await;
    assert!(!matches!(broken, Ok(_) | Err(StoreError::Conflict(_))), "the transaction is over");
}
